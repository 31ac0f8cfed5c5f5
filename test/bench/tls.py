"""What TLS costs the engine: processor time of each echo, and memory of each idle connection.

test/bench/tls.py [MESSAGES [CONNECTIONS]]; ENGINE names the program. The client is slow and does not matter:
the engine's own processor time is read before and after."""

import os
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "whole"))

from harness import FIXTURES, Engine  # noqa: E402
from tls import Authority  # noqa: E402
from wsclient import TEXT, Client, connect, frame  # noqa: E402

MESSAGES, CONNECTIONS = (int(word) for word in (sys.argv[1:] + ["20000", "1000"][len(sys.argv) - 1:]))
SIZES, DEPTHS, ROUNDS = (64, 1024, 16384), (1, 16), 3
HANDSHAKES = 300
CPUS = os.sched_getaffinity(0)


def cpu(engine):
    """Seconds, from the scheduler: ticks miss a thread that sleeps after each message."""
    threads = pathlib.Path(f"/proc/{engine.process.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def pin(engine):
    """On a CPU of its own: what a wake-up costs depends on where the other side runs."""
    cpus = sorted(CPUS)
    for thread in pathlib.Path(f"/proc/{engine.process.pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cpus[:1])
    os.sched_setaffinity(0, cpus[1:] or cpus)


def echo(engine, tls, size, depth, count):
    """Microseconds of the engine for each message."""
    with connect(engine.port, tls=tls) as client:
        batch = frame(TEXT, "x" * size) * depth
        expected = (len(batch) // depth - 4) * depth
        before = cpu(engine)
        for _ in range(count // depth):
            client.sock.sendall(batch)
            left = expected
            while left > 0:
                left -= len(client.sock.recv(min(left, 1 << 18)))
        return (cpu(engine) - before) / count * 1e6


def idle(engine, tls):
    """Bytes of each connection, when the worker has rested."""
    warm = connect(engine.port, tls=tls)
    time.sleep(3)
    before = engine.resident()
    clients = [connect(engine.port, tls=tls) for _ in range(CONNECTIONS)]
    time.sleep(5)
    bytes_each = (engine.resident() - before) / CONNECTIONS
    for client in [warm, *clients]:
        client.drop()
    return bytes_each


def handshake(engine, tls):
    """Milliseconds of the engine."""
    before = cpu(engine)
    for _ in range(HANDSHAKES):
        Client(engine.port, tls=tls).drop()
    return (cpu(engine) - before) / HANDSHAKES * 1e3


def measure(name, folder, section, tls):
    os.sched_setaffinity(0, CPUS)
    (folder / name).mkdir()
    text = (FIXTURES / "kinds" / "websocket.lua").read_text()
    engine = Engine(folder / name, text, workers=1, files={"app.lua": (FIXTURES / "echo_app.lua").read_text()},
                    server={"protocol": "websocket", "readTimeout": 0, **section}, options={"path": "/chat"})
    with engine:
        pin(engine)
        echo(engine, tls, 64, 16, MESSAGES)
        for size in SIZES:
            for depth in DEPTHS:
                costs = [echo(engine, tls, size, depth, MESSAGES // (1 if size < 10000 else 4)) for _ in range(ROUNDS)]
                print(f"{name} echo {size} B depth {depth}: {statistics.median(costs):.2f} us of the engine", flush=True)
        print(f"{name} handshake: {handshake(engine, tls):.3f} ms of the engine", flush=True)
        print(f"{name} idle: {idle(engine, tls):.0f} B a connection", flush=True)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        authority = Authority(folder)
        trust = authority.trust()

        def wrap(sock):
            sock.settimeout(10)
            return trust.wrap_socket(sock, server_hostname="localhost")

        measure("plain", folder, {}, None)
        measure("tls", folder, {"tls": authority.server()}, wrap)


main()
