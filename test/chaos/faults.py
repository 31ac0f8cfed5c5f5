"""What a chaos run does to its world. Each fault is a function of (world, random) that has undone itself when it
returns, or is undone by the world's tending; `FAULTS` says how often each comes."""

import contextlib
import os
import resource
import signal
import socket
import time

import tls
import wsclient
import world as worlds

SLOW_STOP = worlds.STALL_TIMEOUT + 1.5  # seconds: a consumer that stands still this long is dropped
GOOD = "-- touched {}\n"
BROKEN = ("function on_message(", "error('broken at load')", "function init() error('broken in init') end")


class Skipped(Exception):
    """There was nobody to do it to."""


def _take(world, dice):
    recorder = world.take(dice)
    if recorder is None:
        raise Skipped
    return recorder


def kill_consumer(world, random):
    """SIGKILL, half the time when something stands in its window; another comes after a while, or at once."""
    recorder = _take(world, random)
    if random.random() < 0.5:
        recorder.signal(signal.SIGSTOP)
        time.sleep(random.random())
    recorder.kill()
    time.sleep(random.choice((0, 0, 0.5)))
    world.retire(recorder)
    world.tend()


def kill_all_consumers(world, random):
    taken = []
    while recorder := world.take(random):
        taken.append(recorder)
        recorder.kill()
    time.sleep(random.random())
    for recorder in taken:
        world.retire(recorder)
    world.tend()


def _stop(world, random, duration, excused):
    recorder = _take(world, random)
    recorder.excused |= excused
    world.pause(recorder.process, duration)
    world.give(recorder)


def stop_consumer(world, random):
    _stop(world, random, 0.2 + random.random() * (worlds.STALL_TIMEOUT - 1.5), False)


def stall_consumer(world, random):
    """Long enough to be dropped, if anything comes for it meanwhile."""
    _stop(world, random, SLOW_STOP, True)
    time.sleep(0.2)
    world.tend()


def retire_consumer(world, random):
    """In order: nothing may be lost with it."""
    world.dismiss(_take(world, random))
    world.tend()


def add_consumer(world, random):
    """One more than there should be, until the next that goes."""
    if len(world.recorders) + world.taken >= world.consumers + 2:
        raise Skipped
    world.add_consumer()


def kill_redis(world, random):
    world.redis.kill()
    time.sleep(random.random())
    world.redis.start()


def stop_redis(world, random):
    world.redis.stop()
    time.sleep(random.random() * 2)
    world.redis.go_on()


def kill_backend(world, random):
    world.backend.kill()
    time.sleep(random.random())
    world.backend = worlds.Program(*world.backend.words[1:])


def stop_backend(world, random):
    world.backend.signal(signal.SIGSTOP)
    time.sleep(random.random() * 2)
    world.backend.signal(signal.SIGCONT)


def _each(world, count, action):
    world.clients_do(lambda: [action(member) for member in world.swarm.pick(count)])


def reset_clients(world, random):
    _each(world, random.randint(1, 10), lambda m: m.drop(True))


def hang_up_clients(world, random):
    """A FIN without a closing handshake, in the middle of whatever they were saying."""
    _each(world, random.randint(1, 10), lambda m: m.drop(False))


def close_clients(world, random):
    _each(world, random.randint(1, 15), lambda m: m.close())


def half_open_clients(world, random):
    """They never say anything again: the engine finds them by its pings."""
    _each(world, random.randint(1, 4), world.swarm.silence)


def slow_clients(world, random):
    _each(world, random.randint(1, 8), lambda m: world.swarm.deafen(m, 0.5 + 2 * random.random()))


def burst(world, random):
    def send(member):
        for _ in range(40):
            if not member.closing:
                member.send(100)
    _each(world, 30, send)


def strangers(world, random):
    """They connect and send what is no handshake, or half of one, and some frames that are wrong."""
    for _ in range(10):
        with socket.socket() as sock:
            sock.settimeout(5)
            sock.connect(("127.0.0.1", random.choice(list(world.ports.values()))))
            sock.sendall(random.choice((
                random.randbytes(200), b"GET /chat HT", b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
                wsclient.upgrade("/chat", "x" * 24)[:-2])))
            if random.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def churn(world, random):
    """A hundred clients that come, say a word and go."""
    for _ in range(20):
        socks = [socket.create_connection(("127.0.0.1", port), 10) for port in world.ports.values()]
        for i, name in enumerate(world.ports):
            if name in world.contexts:
                socks[i] = tls.Tls(socks[i], world.contexts[name])
        for sock in socks:
            sock.sendall(wsclient.upgrade("/chat", "dGhlIHNhbXBsZSBub25jZQ==") + wsclient.frame(wsclient.PING, "x"))
        for sock in socks:
            sock.recv(100)
            sock.close()


def stop_engine(world, random):
    world.pause(world.engine.process, random.choice((0.1, 0.5, worlds.STALL_TIMEOUT + 1)))


def hang_up_storm(world, random):
    for _ in range(50):
        world.engine.process.send_signal(signal.SIGHUP)
        time.sleep(0.01)


def _write_app(world, text):
    path = world.engine.folder / "lua" / "app.lua"
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def reload_script(world, random):
    _write_app(world, (worlds.HERE / "app.lua").read_text() + GOOD.format(random.random()))
    world.engine.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)


def break_script(world, random):
    """The old one goes on; then the good one comes back."""
    _write_app(world, random.choice(BROKEN))
    world.engine.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    reload_script(world, random)


def _write_config(world, text):
    world.engine.config_path.write_text(text)
    world.engine.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)


def reload_config(world, random):
    text = world.engine.config_path.read_text()
    level = random.choice(("info", "debug", "warn"))
    for old in ("info", "debug", "warn"):
        text = text.replace(f'level: "{old}"', f'level: "{level}"')
    _write_config(world, text)


def break_config(world, random):
    good = world.engine.config_path.read_text()
    _write_config(world, random.choice(("engine: [", "engine:\n  servers: 5\n", good + "\ngarbage\n")))
    _write_config(world, good)


def move_log(world, random):
    path = world.engine.log_path
    if path.exists():
        path.rename(path.with_name(f"moved.{random.randrange(10)}"))
    world.engine.process.send_signal(signal.SIGHUP)


def no_descriptors(world, random):
    """The engine may open nothing more for a while."""
    pid = world.engine.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 2, hard))
    try:
        _each(world, 10, lambda m: m.drop(True))
        time.sleep(random.random())
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def step_clock(world, random):
    """The wall clock jumps by hours, forward or back."""
    world.clock.step(random.choice((-1, 1)) * random.randint(1, 9 * 3600))
    time.sleep(0.2)


def endless_loop(world, random):
    """Of a script: who started it is closed."""
    _is_closed(world, 1011, "127.0.0.66", wsclient.frame(wsclient.TEXT, "l 0 "))


def flood_frames(world, random):
    _is_closed(world, 1008, "127.0.0.67", wsclient.frame(wsclient.PING, "?") * 5000)


def _is_closed(world, code, source, data):
    with wsclient.connect(world.ports["websocket"], source=source, timeout=30) as client:
        client.raw(data)
        frames, _ = client.end()
        if not frames or frames[-1].opcode != wsclient.CLOSE or frames[-1].code != code:
            world.faults.append(f"a client that should have been closed with {code}: {frames[-1:]}")


def flood_connects(world, random):
    """Beyond what one address may."""
    port = random.choice(list(world.ports.values()))
    for _ in range(2000):
        with contextlib.suppress(OSError):
            wsclient.Client(port, source="127.0.0.68").reset()


def hoard_memory(world, random):
    """More than memoryLimit in messages that do not end; the engine closes who has sent them, or does not read on."""
    data = wsclient.upgrade("/chat", "dGhlIHNhbXBsZSBub25jZQ==") + wsclient.frame(
        wsclient.TEXT, bytes((1 << 20) - 1), fin=False)
    hoarders = []
    for _ in range(80):
        with contextlib.suppress(OSError, wsclient.Closed):
            hoarders.append(wsclient.Client(world.ports["websocket"], source="127.0.0.69").timeout(0.5))
            hoarders[-1].raw(data)
    time.sleep(1)
    for hoarder in hoarders:
        hoarder.reset()


def swap_certificate(world, random):
    world.swap_certificate(random.randrange(2))
    world.engine.process.send_signal(signal.SIGHUP)


# By weight. GENTLE ones are those under which nothing may be lost: the soak's.
FAULTS = {
    kill_consumer: 8, kill_all_consumers: 1, stop_consumer: 2, stall_consumer: 1, retire_consumer: 3, add_consumer: 2,
    kill_redis: 2, stop_redis: 2, kill_backend: 2, stop_backend: 2, reset_clients: 4, hang_up_clients: 4,
    close_clients: 4, half_open_clients: 3, slow_clients: 4, burst: 4, strangers: 3, churn: 3, stop_engine: 2,
    hang_up_storm: 1, reload_script: 3, break_script: 2, reload_config: 2, break_config: 2, move_log: 2,
    no_descriptors: 2, step_clock: 3,
}
GENTLE = {retire_consumer: 1, reset_clients: 4, hang_up_clients: 4, close_clients: 6, half_open_clients: 2,
          slow_clients: 4, burst: 4, strangers: 3, churn: 6, reload_script: 3, break_script: 1, reload_config: 2,
          move_log: 1}
# These too where the world is guarded.
GUARDED = {endless_loop: 3, flood_frames: 3, flood_connects: 2, hoard_memory: 2, swap_certificate: 3}
