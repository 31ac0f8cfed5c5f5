#!/usr/bin/python3
"""What well-behaved clients see while others misbehave: an echo, quiet and beside each kind of abuse, as rows of a table.

    test/bench/overload.py [KIND…]        (all of them; ENGINE and BENCH name other programs)

The engine has one worker and runs on the first CPU. All else is on the last one: 20 clients that echo 2,000 messages a second on
schedule, and the abuse, before which the clients go (SCHED_FIFO, as root; else they share the CPU, and the figures are worse).
`elsewhere` is an abuse that has nothing to do with the engine: what the machine costs by itself. CPU is the engine's, memory the
most that was resident, then what is resident two seconds after the abuse, and how many descriptors are open that were not before.
"""

import contextlib
import json
import os
import pathlib
import select
import socket
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
from wsclient import BINARY, CONTINUATION, PING, TEXT, Closed, connect, frame, upgrade  # noqa: E402

BENCH = os.environ.get("BENCH") or pathlib.Path(binary()).parent / "engine-bench"
ECHO = ROOM.replace('subscribe("room")', 'subscribe("other")')
LAST_CPU = max(os.sched_getaffinity(0))
KIB, MIB = 1 << 10, 1 << 20
SECONDS = 2


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
        while theirs.recv(64 * KIB):
            pass
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


KINDS = {f.__name__: f for f in (elsewhere, pings, unread_pings, fragments, empty, bombs, headers, handshakes, readers,
                                 hasty_consumer, garbage_consumer, dead_consumer, unfinished)}


# ---- who measures


class Ports:
    def __init__(self, server, api, room):
        self.server, self.api, self.room = int(server), int(api), int(room)


def start():
    server = {"protocol": "websocket", "pingInterval": 0}
    room = {**server, "bind": "127.0.0.1", "port": 0, "entry": "lua/room.lua",
            "slowClient": "dropOldest", "maxBacklog": 256 * KIB, "writeTimeout": 0}
    engine = Engine(tempfile.mkdtemp(), ECHO, workers=1, files={"room.lua": ROOM},
                    server={**server, "handshakeTimeout": 5, "compression": True}, servers=[room],
                    engine={"memoryLimit": 64 * MIB}, queue={"stallTimeout": 1, "fullTimeout": 10})
    engine.room_port = engine.config["engine"]["servers"][1]["port"] = free_port()
    engine.config_path.write_text(json.dumps(engine.config))
    command = engine.command
    engine.command = lambda *words: ["taskset", "-c", "0", *command(*words)]
    return engine.start()


def first():
    """Before all else on this CPU."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def echo(engine):
    command = [BENCH, "echo", "--conns", "20", "--rate", "2000", "--time", str(SECONDS), "--warmup", "0.3", "--json",
               "--url", f"ws://127.0.0.1:{engine.port}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=first)
    if not done.stdout:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


@contextlib.contextmanager
def abuse(kind, engine):
    if not kind:
        yield
        return
    command = [sys.executable, __file__, "abuse", kind, *map(str, (engine.port, engine.api_port, engine.room_port))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        yield
        if process.poll() is not None:
            raise RuntimeError(f"{kind} has ended by itself")
    finally:
        process.kill()
        process.wait()


def measure(kind):
    engine = start()
    echo(engine)  # what is there once somebody was served
    before = len(kept(engine))
    with abuse(kind, engine):
        cpu, begun = engine.cpu(), time.monotonic()
        found = echo(engine)
        cpu = (engine.cpu() - cpu) / (time.monotonic() - begun)
    time.sleep(2)
    print(f"| {kind or 'quiet'} | {found['lat_p50_us']:.0f} | {found['lat_p99_us']:.0f} | {found['unanswered']} | {cpu:.2f} "
          f"| {engine.peak() / MIB:.0f} | {engine.resident() / MIB:.0f} | {len(kept(engine)) - before} |", flush=True)
    engine.stop()


def main():
    os.sched_setaffinity(0, {LAST_CPU})
    if sys.argv[1:2] == ["abuse"]:
        KINDS[sys.argv[2]](Ports(*sys.argv[3:]))
    print("| beside | p50 µs | p99 µs | unanswered | CPU | MiB at most | MiB after | descriptors |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for kind in [None, *(sys.argv[1:] or KINDS)]:
        measure(kind)


main()
