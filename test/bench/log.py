#!/usr/bin/python3
"""What a line of the log costs the worker that logs it, and how long a call takes at the most.

    test/bench/log.py          (ENGINE names another program)

A script logs lines of 120 bytes, 2,000 at a time and ROUNDS times, each within the buffer of the log; CPU is that of
the worker's thread alone. In the last row the log's writer stands still (ptrace), as on a disk that does not answer, and
the buffer is full.
"""

import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "whole"))

import lab  # noqa: E402
from harness import Engine, wait_until  # noqa: E402
from ptrace import stop_writer  # noqa: E402

LINES, ROUNDS = 2000, 50
CLOCK = """
local ffi = require('ffi')
pcall(ffi.cdef, 'typedef struct { long s, ns; } stamp; int clock_gettime(int, stamp *);')
local at = ffi.new('stamp')
local function now(clock) ffi.C.clock_gettime(clock, at) return tonumber(at.s) * 1e6 + tonumber(at.ns) / 1e3 end
local CPU, WALL = 3, 1
local x = ('x'):rep(100)
"""
CASES = {
    "below the level": "mix.log(mix.DEBUG, x)",
    "a line": "mix.log(mix.INFO, string.format('%07d%07d ', round, i) .. x)",
    "a repeat that is held back": "mix.log(mix.INFO, x)",
}


def measure(client, code, rounds=ROUNDS):
    """Medians of the rounds: CPU of a line and the longest of the calls, in microseconds."""
    found = []
    for number in range(rounds):
        line = CLOCK + f"local round = {number} local before, longest = now(CPU), 0 for i = 1, {LINES} do {code} end " \
            f"local cpu = now(CPU) - before for i = 1, {LINES} do local t = now(WALL) {code} t = now(WALL) - t " \
            f"if t > longest then longest = t end end return cpu / {LINES}, longest"
        found.append(client.lua(line))
    return [sorted(column)[rounds // 2] for column in zip(*found)]


def show(name, figures, lost):
    print(f"| {name} | {figures[0]:.2f} | {figures[1]:.0f} | {lost:.0f} |", flush=True)


def lost(engine):
    return engine.metric("mixengine_log_lines_lost_total")


def main():
    print("| what | CPU of a line, µs | longest of 2,000 calls, µs | lines lost |\n| --- | --- | --- | --- |")
    with Engine(tempfile.mkdtemp(), lab.ENTRY, workers=1) as engine, lab.Lab(engine.port) as client:
        for name, code in CASES.items():
            before = lost(engine)
            show(name, measure(client, code), lost(engine) - before)
        client.lua("mix.log(mix.WARN, 'last')")
        wait_until(lambda: "lua: last" in engine.log(), 10, "the line")
        before, writer = lost(engine), stop_writer(engine, client)
        client.lua(CLOCK + "for i = 1, 10000 do mix.log(mix.INFO, i .. ' ' .. x) end")
        show("a line, the disk does not answer", measure(client, CASES["a line"]), lost(engine) - before)
        writer.go_on()


main()
