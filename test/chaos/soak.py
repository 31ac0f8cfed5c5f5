#!/usr/bin/env python3
"""Runs an engine under mixed traffic, churn and reloads, samples what it takes, and says whether that grows.
See scripts/soak.sh."""

import argparse
import csv
import pathlib
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from run import Storm  # noqa: E402
from world import World  # noqa: E402
import curve  # noqa: E402
import faults  # noqa: E402

FIELDS = ("rss", "lua", "fds", "threads", "connections", "suspended", "depth", "lag")
# What may not grow, and by how much of its own median over the second half it may in an hour, or in all of this run
# where that is longer; the least bound is for what is small.
BOUNDS = {"rss": (0.10, 4 << 20), "lua": (0.20, 2 << 20), "fds": (0.10, 20), "threads": (0.0, 2)}


def slope(points):
    """Of the line through them after Theil and Sen: the median of the slopes of all pairs, here of 400 points at most,
    so that neither peaks nor the saw teeth of a collector count."""
    step = max(1, len(points) // 400)
    points = points[::step]
    slopes = [(y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(points) for x2, y2 in points[i + 1:] if x2 > x1]
    return statistics.median(slopes) if slopes else 0.0


def judge(rows):
    """For each bounded field: its name, median, growth in an hour, bound, and whether that is flat."""
    end = rows[-1]["time"]
    half = [row for row in rows if row["time"] >= end / 2]
    found = []
    for name, (share, least) in BOUNDS.items():
        middle = statistics.median(row[name] for row in half)
        growth = slope([(row["time"], row[name]) for row in half]) * max(3600, end)
        bound = max(share * middle, least)
        found.append((name, middle, growth, bound, growth <= bound))
    return found


def sample(world, begin):
    now = world.reading()
    return {"time": round(time.monotonic() - begin, 1), **{name: now[name] for name in FIELDS}}


def soak(folder, hours, every, seed, out, **options):
    dice = random.Random(seed)
    world = World(folder, seed=dice.random(), **options)
    try:
        world.start()
        begin, rows = time.monotonic(), []
        storm = Storm(world, dice, faults.GENTLE, 1.0)
        with open(out / "soak.csv", "w", newline="") as file:
            table = csv.DictWriter(file, ("time", *FIELDS))
            table.writeheader()
            while time.monotonic() - begin < hours * 3600:
                time.sleep(every)
                world.tend()
                rows.append(sample(world, begin))
                table.writerow(rows[-1])
                file.flush()
        storm.end()
        world.wind_down()
        world.stop()
        return tell(world, storm, rows, out)
    finally:
        world.kill()


def tell(world, storm, rows, out):
    verdict = world.verdict()
    sent = sum(len(ledger.sent) for ledger in world.swarm.ledgers)
    print(f"{rows[-1]['time']:.0f} s, {len(world.swarm.ledgers)} clients, {sent} messages, {verdict.publishes} publishes, "
          f"{verdict.lost} lost; " + ", ".join(f"{name} {n}" for name, n in sorted(storm.counts.items())))
    result = judge(rows)
    for name, middle, growth, bound, flat in result:
        print(f"{'flat   ' if flat else 'GROWING'} {name}: median {middle:.0f}, growth in an hour {growth:+.0f}, "
              f"bound {bound:.0f}")
    for name in ("rss", "lua", "fds", "connections"):
        print(curve.text(name, [(row["time"], row[name]) for row in rows]))
    (out / "soak.svg").write_text(curve.svg({
        "resident memory, MiB": [(row["time"], row["rss"] / (1 << 20)) for row in rows],
        "Lua heap, MiB": [(row["time"], row["lua"] / (1 << 20)) for row in rows],
        "open files": [(row["time"], row["fds"]) for row in rows],
        "connections": [(row["time"], row["connections"]) for row in rows]}))
    wrong = world.faults + verdict.faults
    for fault in wrong[:30]:
        print("FAULT " + fault)
    good = not wrong and all(flat for *_, flat in result)
    print("all is well: flat" if good else "not well")
    return good


def main():
    options = argparse.ArgumentParser(prog="scripts/soak.sh", description=__doc__)
    options.add_argument("hours", type=float)
    options.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/soak"),
                         help="where soak.csv and soak.svg go")
    options.add_argument("--every", type=float, default=3, help="seconds between samples")
    options.add_argument("--rate", type=float, default=300, help="messages in a second")
    options.add_argument("--clients", type=int, default=100)
    options.add_argument("--plain", action="store_true", help="without TLS, limits, memoryLimit and preempt")
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    given = options.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    given.out.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"seed {given.seed}, samples in {given.out}/soak.csv", flush=True)
    good = soak(folder, given.hours, given.every, given.seed, given.out, rate=given.rate, clients_count=given.clients,
                guarded=not given.plain)
    shutil.rmtree(folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
