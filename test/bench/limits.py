#!/usr/bin/python3
"""Figures on floods: what they cost the engine, what a client beside them sees, and what is left of them.

    test/bench/limits.py [beside] [ceiling] [baseline]     (all of them; ENGINE and BENCH name other programs)

The engine runs on the first CPU, all else on the last. The floods come from 127.0.0.66, the client beside them (20
connections, 2,000 echoes a second on schedule) from 127.0.0.1; with `limits`, those of LIMITS hold.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "whole"))

from abuse import FILES, LINES, limited  # noqa: E402
from harness import Engine, binary  # noqa: E402
from wsclient import CONTINUATION, PING, TEXT, Client, frame, upgrade  # noqa: E402

BENCH = os.environ.get("BENCH") or pathlib.Path(binary()).parent / "engine-bench"
ECHO = "function on_message(msg) mix.websocket():send(msg.data, msg.type) end"
LIMITS = {"messagesPerSecond": 500, "bytesPerSecond": "1 MiB", "connectsPerSecond": 20, "connectionsPerAddress": 100,
          "burst": 2}
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FLOODS = {"pings": frame(PING) * 20000, "fragments": frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 20000}
LAST_CPU = max(os.sched_getaffinity(0))


def flood(kind, port):
    """Until it is killed. Connects that leave at once are about 4,000 a second: more would be a test of the kernel."""
    count = 0
    while True:
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.bind(("127.0.0.66", 0))
        sock.settimeout(1)
        try:
            sock.connect(("127.0.0.1", 9 if kind == "elsewhere" else port))
            if kind in FLOODS:
                sock.sendall(upgrade("/", KEY))
                while True:
                    sock.recv(1 << 16)
                    sock.sendall(FLOODS[kind])
        except OSError:
            pass
        sock.close()
        count += 1
        if kind not in FLOODS and count % 20 == 0:
            time.sleep(0.004)


def make(entry, **options):
    engine = Engine(tempfile.mkdtemp(), entry, workers=1, **options)
    command = engine.command
    engine.command = lambda *words: ["taskset", "-c", "0", *command(*words)]
    return engine


def echo(kind, limits):
    engine = make(ECHO, server={"protocol": "websocket", "limits": limits}).start()
    floods = [subprocess.Popen([sys.executable, __file__, "flood", kind, str(engine.port)]) for _ in range(2 if kind else 0)]
    time.sleep(0.5)
    cpu, since = engine.cpu(), time.monotonic()
    bench = subprocess.run([BENCH, "echo", "--conns", "20", "--rate", "2000", "--time", "2", "--warmup", "0.3", "--json",
                            "--url", f"ws://127.0.0.1:{engine.port}/"], capture_output=True, text=True, check=True)
    share = (engine.cpu() - cpu) / (time.monotonic() - since)
    answer, metrics = json.loads(bench.stdout), engine.metrics()
    for process in floods:
        process.kill()
        process.wait()
    refused = int(metrics["mixengine_refused_total"])
    closed = sum(int(v) for k, v in metrics.items() if k.startswith("mixengine_closes_total{") and '"limit"' in k)
    print(f"{kind or 'quiet':10} limits {'on ' if limits else 'off'}: p50 {answer['lat_p50_us']:.0f} us, p99 "
          f"{answer['lat_p99_us']:.0f} us, CPU {share:.2f}, closed {closed}, refused {refused}, "
          f"{engine.resident() >> 10} kB", flush=True)
    engine.stop()


def beside():
    for kind in None, "elsewhere", "pings", "fragments", "connects":
        for limits in {}, LIMITS:
            echo(kind, limits)


def ceiling():
    engine = limited(make(LINES + FILES), 300)
    flood_of = [socket.socket() for _ in range(2000)]
    for sock in flood_of:
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", engine.port))
    engine.wait_output("no new connections for now")
    before = engine.cpu()
    time.sleep(5)
    print(f"ceiling: {engine.metric('mixengine_connections'):.0f} of 2,000 served, {len(engine.descriptors())} of 300 "
          f"descriptors, {engine.cpu() - before:.2f} s of CPU in 5 s", flush=True)
    for sock in flood_of:
        sock.close()
    engine.wait_metric("mixengine_connections", 0, 30)
    print(f"         lines in the log: {engine.log().count('no new connections')}", flush=True)
    engine.stop()


def come_and_go(limits):
    engine = make(ECHO, server={"protocol": "websocket", "limits": limits, "handshakeTimeout": 1}).start()
    time.sleep(2.5)  # a worker without work gives memory back
    before, since = engine.resident() >> 10, time.monotonic()
    for i in range(50000):
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)
        sock.bind((f"127.0.0.{2 + i % 100}", 0))
        sock.connect(("127.0.0.1", engine.port))
        sock.close()
    took = time.monotonic() - since
    silent = [Client(engine.port, source=f"127.0.1.{1 + i % 200}") for i in range(5000)]
    peak = engine.resident() >> 10
    for client in silent:
        client.rest()
        client.drop()
    engine.wait_metric("mixengine_connections", 0, 30)
    time.sleep(2.5)
    print(f"50,000 come and go in {took:.1f} s, then 5,000 are silent; limits {'on' if limits else 'off'}: {before} kB "
          f"before, {peak} kB with the silent ones, {engine.resident() >> 10} kB after, {len(engine.descriptors())} "
          f"descriptors, {engine.metric('mixengine_addresses'):.0f} addresses kept", flush=True)
    engine.stop()


def baseline():
    for limits in {}, {"connectsPerSecond": 1000000, "connectionsPerAddress": 1000, "messagesPerSecond": 1000}:
        come_and_go(limits)


PARTS = {"beside": beside, "ceiling": ceiling, "baseline": baseline}
os.sched_setaffinity(0, {LAST_CPU})
if sys.argv[1:2] == ["flood"]:
    flood(sys.argv[2], int(sys.argv[3]))
for part in sys.argv[1:] or PARTS:
    PARTS[part]()
