#!/usr/bin/python3
"""What well-behaved clients see while a script loops or fails: an echo, as rows of a table.

    test/bench/hostile.py        (ENGINE and BENCH name other programs)

The engine has two workers, on all CPUs. 20 clients of one worker echo 2,000 messages a second on schedule, before all else
on their CPU if this runs as root; one more client, of the same worker or of the other one, makes the script misbehave.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "whole"))

from harness import Engine, binary  # noqa: E402
from lab import ENTRY, Lab, LuaError  # noqa: E402
from wsclient import Closed  # noqa: E402

BENCH = os.environ.get("BENCH") or pathlib.Path(binary()).parent / "engine-bench"
CONNS, SECONDS = 20, 3
LOOP = "~while true do local t = {} end"
PREEMPT = {"preempt": True}
# What ends with an error, over and over.
FAILING = {
    "allocates until its limit of 16 MiB": "local t = {} while true do t = {t} end",
    "recurses until it fails": "local function f() return f() + 1 end f()",
    "fails at each message": "error('failed')",
}


def on_worker(port, worker, count):
    """`count` clients of that worker, and none of the other one: who comes next becomes the other one's, that has fewer."""
    clients = [Lab(port) for _ in range(2 * count)]
    for client in clients:
        if client.worker != worker:
            client.drop()
    return [client for client in clients if client.worker == worker]


def echo(engine):
    command = [BENCH, "echo", "--conns", str(CONNS), "--rate", "2000", "--time", str(SECONDS), "--warmup", "0.3", "--json",
               "--url", f"ws://127.0.0.1:{engine.port}/"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=first)


def first():
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def loop_until(done, clients, pause):
    """One client after the other, as each is closed for it; without preempt the first one loops on. Returns how many were closed."""
    closed = 0
    while done.poll() is None and clients:
        client = clients.pop()
        client.sock.settimeout(SECONDS)
        client.send(LOOP)
        with contextlib.suppress(TimeoutError):
            client.end()
            closed += 1
        end = time.monotonic() + pause
        while done.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
    return closed


def fail_until(done, clients, code):
    """A client again and again, as soon as it has its error, or if that was refused memory. Returns how many were closed."""
    closed = 0
    while done.poll() is None and clients:
        clients[-1].sock.settimeout(0.05)
        try:
            clients[-1].lua(code)
        except (LuaError, TimeoutError):
            pass
        except Closed:
            clients.pop()
            closed += 1
    return closed


def measure(what, luavm, where, pause=0.0, failing=None):
    engine = Engine(tempfile.mkdtemp(), ENTRY, workers=2, engine={"luavm": luavm}).start()
    worker = 0
    idle = on_worker(engine.port, worker, CONNS + 80)  # so that the clients that echo are the other worker's
    engine.wait_metric("mixengine_connections", len(idle))
    loopers = {"other": idle[:60], "same": [], None: []}[where]
    done = echo(engine)
    if where == "same":
        engine.wait_metric("mixengine_connections", len(idle) + CONNS)
        for client in idle:
            client.drop()
        engine.wait_metric("mixengine_connections", CONNS)
        loopers = on_worker(engine.port, 1 - worker, 60)
    time.sleep(0.5)
    ended = fail_until(done, loopers, failing) if failing else loop_until(done, loopers, pause)
    found = json.loads(done.communicate()[0])
    print(f"| {what} | {found['lat_p50_us']:.0f} | {found['lat_p99_us']:.0f} | {found['lat_max_us']:.0f} "
          f"| {found['unanswered']} | {ended} |", flush=True)
    engine.kill()


def main():
    print("| script | p50 µs | p99 µs | most | unanswered | ended |\n| --- | --- | --- | --- | --- | --- |", flush=True)
    measure("quiet", {}, None)
    measure("loops on the other worker, no preempt", {}, "other")
    limited = {"memoryLimit": 16 << 20}
    measure("quiet, memoryLimit", limited, None)
    for what, code in FAILING.items():
        measure(f"{what} on the other worker, memoryLimit", limited, "other", failing=code)
    measure("quiet, preempt", PREEMPT, None)
    measure("loops on the other worker, preempt, without a pause", PREEMPT, "other")
    measure("loops once in 2 s on the same worker, preempt", PREEMPT, "same", pause=2)
    measure("the same without a pause", PREEMPT, "same")
    measure("once in 2 s, handlerBudget 10", {**PREEMPT, "handlerBudget": 10}, "same", pause=2)


main()
