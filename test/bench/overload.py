#!/usr/bin/python3
"""What well-behaved clients see while others misbehave: an echo, quiet and beside each kind of abuse, as rows of a table.

    test/bench/overload.py [KIND…]        (all of them; ENGINE and BENCH name other programs)

The engine has one worker and runs on the first CPU. All else is on the last one: 20 clients that echo 2,000 messages a second on
schedule, and the abuse, before which the clients go (SCHED_FIFO, as root; else they share the CPU, and the figures are worse).
`elsewhere` is an abuse that has nothing to do with the engine: what the machine costs by itself. A row is of one engine, rounds
with the abuse and without it by turns; of the figures their medians. `times`: the p99 beside the abuse to the quiet one.
`unanswered` are echoes of all rounds; `ended` how many of the abuse's clients the engine has closed. CPU is the engine's, memory
the most that was resident, then what is resident two seconds after the abuse, and how many descriptors are open that were not
before.
"""

import contextlib
import json
import os
import pathlib
import select
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "whole"))

from abuse import GARBAGE, NOBODY, ROOM, commands, kept, raw_sockets  # noqa: E402
from consumer import Api, Consumer  # noqa: E402
from harness import Engine, binary, free_port  # noqa: E402
from swarm import KEY  # noqa: E402
from tls import Authority  # noqa: E402
from wsclient import BINARY, CONTINUATION, PING, TEXT, Closed, connect, frame, upgrade  # noqa: E402

BENCH = os.environ.get("BENCH") or pathlib.Path(binary()).parent / "engine-bench"
ECHO = ROOM.replace('subscribe("room")', 'subscribe("other")')
LAST_CPU = max(os.sched_getaffinity(0))
KIB, MIB = 1 << 10, 1 << 20
CEILING = 100
ROUNDS, SECONDS = 5, 1.0
ERRORS = """
local function deeper() return 1 + deeper() end

function on_message(msg)
    if msg.data == "allocate" then
        local all = {}
        while true do all[#all + 1] = ("x"):rep(1000) .. #all end
    elseif msg.data == "recurse" then
        deeper()
    end
    error("as was asked for")
end
"""
OPTIONS = {"allocate": {"luavm": {"memoryLimit": "16 MiB"}}}  # of the engine, for that kind


# ---- kinds of abuse: each gets the ports, says when it is under way, and goes on until it is killed


def ready():
    print("ready", flush=True)


def pour(sock, data, reads=True):
    """`data` over and over, as fast as it is taken, until the peer closes."""
    sock.setblocking(False)
    view, at = memoryview(data), 0
    while True:
        readable, writable, _ = select.select([sock] if reads else [], [sock], [])
        if readable and not sock.recv(MIB):
            return
        if writable:
            at = (at + sock.send(view[at:at + 256 * KIB])) % len(data)


def flood(ports, data, begin=b"", reads=True):
    ready()
    while True:
        with contextlib.suppress(OSError, Closed), connect(ports.server) as client:
            client.raw(begin)
            pour(client.sock, data, reads)


def elsewhere(_):
    """Into a socket pair, whose other end reads."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        while theirs.recv(64 * KIB):
            pass
        os._exit(0)
    ready()
    pour(ours, bytes(130000), reads=False)


def pings(ports):
    flood(ports, frame(PING, b"?" * 20) * 5000)


def unread_pings(ports):
    """Whose answers are not read: it is closed for that, and comes again."""
    flood(ports, frame(PING, b"?" * 20) * 5000, reads=False)


def fragments(ports):
    """Empty ones, without an end."""
    flood(ports, frame(CONTINUATION, fin=False) * 5000, begin=frame(TEXT, fin=False))


def empty(ports):
    """Messages, which come back."""
    flood(ports, frame(TEXT) * 5000)


def bombs(ports):
    """64 MiB in 64 KiB; a message is over at 1 MiB."""
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(bytes(64 * MIB)) + packer.flush(zlib.Z_SYNC_FLUSH)
    bomb = frame(BINARY, packed[:-4], rsv=4)
    ready()
    while True:
        with contextlib.suppress(OSError, Closed), \
                connect(ports.server, headers=["Sec-WebSocket-Extensions: permessage-deflate"]) as client:
            client.raw(bomb)
            client.end()


def headers(ports):
    """10,000, each of which sends a byte a second and is closed after 5."""
    request = upgrade("/", KEY)
    slow = raw_sockets(ports.server, 10000, request[:1])
    ready()
    at = 1
    while True:
        for i, sock in enumerate(slow):
            with contextlib.suppress(OSError):
                sock.send(request[at:at + 1])
            if i % 100 == 99:
                time.sleep(0.01)
        at += 1


def handshakes(ports):
    """Come, ask and leave."""
    ready()
    while True:
        for sock in raw_sockets(ports.server, 20, upgrade("/", KEY)):
            sock.close()


def tls_handshakes(ports):
    """Clients that say hello, hear the answer, for which the engine has signed, and leave."""
    outgoing = ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    hello = outgoing.read()
    ready()
    while True:
        clients = raw_sockets(ports.secure, 20, hello)
        for sock in clients:
            sock.setblocking(True)
            sock.recv(4096)
            sock.close()


def past_the_ceiling(ports):
    """Connects beyond maxConnections."""
    there = raw_sockets(ports.full, CEILING, upgrade("/", KEY))
    ready()
    while there:
        with contextlib.suppress(OSError):
            for sock in raw_sockets(ports.full, 20, b""):
                sock.close()


def ask_for(what, ports):
    """One message after the other, each of which is an error of the script."""
    with connect(ports.errors) as client:
        ready()
        while True:
            client.send(what).frame(PING, "?")
            client.recv()


def allocate(ports):
    """Until the script's memoryLimit, at each message."""
    ask_for("allocate", ports)


def recurse(ports):
    ask_for("recurse", ports)


def raise_errors(ports):
    ask_for("raise", ports)


def readers(ports):
    """1,000 that do not read, in a room that gets 50 messages of 10,000 bytes a second."""
    slow = raw_sockets(ports.room, 1000, upgrade("/", KEY), receive_buffer=4096)
    with Api(ports.api) as api:
        for i in range(1 << 30):
            assert slow and api.publish("room", f"{i} " + "x" * 10000).error is None
            if i == 200:
                ready()
            time.sleep(0.02 if i > 200 else 0)


def hasty_consumer(ports):
    """Commands without an end; the answers are not read."""
    data = commands(1000, NOBODY, "x" * 100)
    ready()
    while True:
        with contextlib.suppress(OSError), Api(ports.api) as api:
            pour(api.sock, data, reads=False)


def busy_consumer(ports):
    """Commands without an end; the answers are read."""
    ready()
    with Api(ports.api) as api:
        pour(api.sock, commands(1000, NOBODY, "x" * 100))


def garbage_consumer(ports):
    ready()
    while True:
        for data in GARBAGE.values():
            with contextlib.suppress(OSError), Api(ports.api) as api:
                pour(api.sock, data * 100)


def dead_consumer(ports):
    """It takes messages and does not read, while a client pushes as fast as it may; another takes its place when it is dropped."""
    with connect(ports.room, timeout=60) as client:
        dead = Consumer(ports.api, topics=["work"], receive_buffer=4096)
        dead.wait_consuming()
        ready()
        while True:
            client.send("@" + "x" * 4000)
            while not select.select([client.sock], [], [], 2)[0]:
                dead = Consumer(ports.api, topics=["work"], receive_buffer=4096)
                dead.wait_consuming()
            client.recv()


def unfinished(ports):
    """100 messages of 1 MiB that do not end, over and over; memoryLimit is 64 MiB."""
    ready()
    data = frame(TEXT, b"x" * (MIB - 1), fin=False)
    while True:
        clients = []
        for _ in range(100):
            with contextlib.suppress(OSError, Closed):
                clients.append(connect(ports.server, timeout=0.5))
                clients[-1].raw(data)
        for client in clients:
            client.drop()


KINDS = {f.__name__: f for f in (elsewhere, pings, unread_pings, fragments, empty, bombs, headers, handshakes,
                                 tls_handshakes, past_the_ceiling, readers, busy_consumer, hasty_consumer, garbage_consumer,
                                 dead_consumer, unfinished, raise_errors, recurse, allocate)}


# ---- who measures


class Ports:
    def __init__(self, *ports):
        self.server, self.api, self.room, self.full, self.secure, self.errors = map(int, ports)


def start(kind):
    folder = pathlib.Path(tempfile.mkdtemp())
    server = {"protocol": "websocket", "pingInterval": 0}
    others = [
        {"entry": "lua/room.lua", "slowClient": "dropOldest", "maxBacklog": 256 * KIB, "writeTimeout": 0},
        {"entry": "lua/entry.lua", "maxConnections": CEILING},
        {"entry": "lua/entry.lua", "tls": Authority(folder).server()},
        {"entry": "lua/errors.lua"},
    ]
    others = [{**server, "bind": "127.0.0.1", "port": free_port(), **other} for other in others]
    engine = Engine(folder, ECHO, workers=1, files={"room.lua": ROOM, "errors.lua": ERRORS},
                    server={**server, "handshakeTimeout": 5, "compression": True}, servers=others,
                    engine={"memoryLimit": 64 * MIB})
    engine.config["engine"]["luavm"] = {"queue": {"stallTimeout": 1, "fullTimeout": 2},
                                        **OPTIONS.get(kind, {}).get("luavm", {})}
    engine.config_path.write_text(json.dumps(engine.config))
    engine.ports = [engine.port, engine.api_port, *(other["port"] for other in others)]
    command = engine.command
    engine.command = lambda *words: ["taskset", "-c", "0", *command(*words)]
    return engine.start()


def first():
    """Before all else on this CPU."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def echo(engine):
    command = [BENCH, "echo", "--conns", "20", "--rate", "2000", "--time", str(SECONDS), "--warmup", "0.2", "--json",
               "--url", f"ws://127.0.0.1:{engine.port}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=first)
    if not done.stdout:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


@contextlib.contextmanager
def abuse(kind, engine):
    command = [sys.executable, __file__, "abuse", kind, *map(str, engine.ports)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        yield
        if process.poll() is not None:
            raise RuntimeError(f"{kind} has ended by itself")
    finally:
        process.kill()
        process.wait()


def ended(engine):
    """Clients that the engine has closed."""
    return sum(n for name, n in engine.metrics().items() if name.startswith("mixengine_closes_total{")
               and not any(f'reason="{reason}"' in name for reason in ("client", "reset", "stop")))


def loud(kind, engine):
    """An echo beside the abuse, and the engine's share of the CPU."""
    with abuse(kind, engine):
        cpu, begun = engine.cpu(), time.monotonic()
        found = echo(engine)
        cpu = (engine.cpu() - cpu) / (time.monotonic() - begun)
    engine.wait_metric("mixengine_connections", 0, 30)
    engine.wait_metric("mixengine_api_consumers", 0, 30)
    return found, cpu


def measure(kind):
    engine = start(kind)
    echo(engine)  # what is there once somebody was served
    engine.wait_metric("mixengine_connections", 0)
    before = len(kept(engine))
    quiet, beside, cpu = [], [], []
    for _ in range(ROUNDS):
        quiet.append(echo(engine))
        found, share = loud(kind, engine)
        beside.append(found)
        cpu.append(share)
    closed = ended(engine)
    time.sleep(2)

    def middle(rounds, what):
        return statistics.median(found[what] for found in rounds)
    before99, p99 = middle(quiet, "lat_p99_us"), middle(beside, "lat_p99_us")
    print(f"| `{kind}` | {middle(quiet, 'lat_p50_us'):.0f}, {before99:.0f} | {middle(beside, 'lat_p50_us'):.0f}, {p99:.0f} "
          f"| {p99 / before99:.1f} | {sum(found['unanswered'] for found in beside)} | {closed:.0f} "
          f"| {statistics.median(cpu):.2f} | {engine.peak() / MIB:.0f} | {engine.resident() / MIB:.0f} "
          f"| {len(kept(engine)) - before} |", flush=True)
    engine.kill()


def main():
    os.sched_setaffinity(0, {LAST_CPU})
    if sys.argv[1:2] == ["abuse"]:
        KINDS[sys.argv[2]](Ports(*sys.argv[3:]))
    print("| beside | quiet p50, p99 µs | p50, p99 µs | times | unanswered | ended | CPU | MiB at most | after | descriptors |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for kind in sys.argv[1:] or KINDS:
        measure(kind)


main()
