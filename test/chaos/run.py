#!/usr/bin/env python3
"""test/chaos/run.py MINUTES [--seed N]: an engine under traffic and faults, and an oracle (oracle.py) that says
whether anything was lost, sent twice or out of order. Fractions of a minute are fine. Status 0: all is well."""

import argparse
import collections
import pathlib
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from world import World  # noqa: E402
import clock  # noqa: E402
import faults  # noqa: E402
from harness import SLOW  # noqa: E402

RSS_GROWTH = 1 << 40 if SLOW else 16 << 20  # bytes above the start, at most, when all have gone; a sanitizer keeps them
TOLD = 30              # faults that are printed


def target(fault):
    """What it is done to: the last word of its name. Consumers are taken one by one, so many may suffer at once."""
    return fault.__name__ if fault.__name__.endswith("consumer") else fault.__name__.split("_")[-1]


class Storm:
    """Two threads that do what the dice say, so that faults overlap; not two of the same target."""

    def __init__(self, world, dice, weights, pause):
        self.world, self.weights, self.pause = world, weights, pause
        self.counts, self.over = collections.Counter(), threading.Event()
        self.locks = collections.defaultdict(threading.Lock)
        self.threads = [threading.Thread(target=self._run, args=(random.Random(dice.random()),)) for _ in range(2)]
        for thread in self.threads:
            thread.start()

    def _run(self, dice):
        while not self.over.wait(dice.random() * 2 * self.pause):
            fault, = dice.choices(list(self.weights), self.weights.values())
            try:
                with self.locks[target(fault)]:
                    fault(self.world, dice)
                self.counts[fault.__name__] += 1
            except faults.Skipped:
                pass
            except Exception:
                self.world.faults.append(f"{fault.__name__}: {traceback.format_exc()}")

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def progress(world, storm, begin):
    ledgers = list(world.swarm.ledgers)
    sent, accepted = (sum(len(getattr(ledger, what)) for ledger in ledgers) for what in ("sent", "accepted"))
    now = world.reading()
    print(f"{time.monotonic() - begin:6.0f} s  {sum(storm.counts.values())} faults  {sent} sent  {accepted} acknowledged  "
          f"{len(ledgers)} clients so far, {now['connections']:.0f} now  {now['rss'] >> 20} MiB  {now['fds']} files",
          flush=True)


def chaos(folder, minutes, seed, *, pause=0.5, **options):
    """Runs it and prints; returns what was found wrong, and what the oracle counted."""
    dice = random.Random(seed)
    with clock.Shim(folder) as shim:
        world = World(folder, seed=dice.random(), env=shim.env, **options)
        world.clock = shim
        try:
            return _run(world, dice, minutes, pause)
        finally:
            world.kill()


def _run(world, dice, minutes, pause):
    world.start()
    begin = time.monotonic()
    storm = Storm(world, dice, {**faults.FAULTS, **(faults.GUARDED if world.guarded else {})}, pause)
    try:
        end = begin + 60 * minutes
        while time.monotonic() < end:
            time.sleep(min(10, max(0.1, end - time.monotonic())))
            world.tend()
            progress(world, storm, begin)
    finally:
        storm.end()
    world.tend()
    world.wind_down()
    last = world.compare(world.baseline["rss"] + RSS_GROWTH)
    if world.guarded:
        print("\nguards: " + ", ".join(f"{name} {n:.0f}" for name, n in world.guards().items()))
    world.stop()
    verdict = world.verdict()
    tell(world, storm, verdict, last, time.monotonic() - begin)
    return world.faults + verdict.faults, verdict


def tell(world, storm, verdict, last, took):
    print("\nfaults: " + ", ".join(f"{name} {n}" for name, n in sorted(storm.counts.items())))
    dead = [life for life in world.lives() if life.died]
    ledgers = world.swarm.ledgers
    print(f"{took:.0f} s, {len(ledgers)} clients, {sum(len(ledger.sent) for ledger in ledgers)} messages sent, "
          f"{verdict.accepted} acknowledged, {verdict.recorded} events recorded, {verdict.publishes} publishes, "
          f"{sum(ledger.refused for ledger in ledgers)} refused")
    print(f"{len(dead)} consumers died; {verdict.lost} events lost in their windows, {verdict.lost_most} bytes with one "
          f"at most; {len(world.retired) - len(dead)} retired")
    print(f"resident {world.baseline['rss'] >> 20} MiB at the start, {last['rss'] >> 20} at the end; files "
          f"{world.baseline['fds']} and {last['fds']}")
    found = world.faults + verdict.faults
    for fault in found[:TOLD]:
        print("FAULT " + fault)
    print(f"{len(found)} things are wrong" if found else "all is well")


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("minutes", type=float)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options.add_argument("--pause", type=float, default=0.5, help="seconds between faults, on the average")
    options.add_argument("--rate", type=float, default=300, help="messages in a second")
    options.add_argument("--plain", action="store_true", help="without TLS, limits, memoryLimit and preempt")
    given = options.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"seed {given.seed}, files in {folder}", flush=True)
    found, _ = chaos(folder, given.minutes, given.seed, pause=given.pause, rate=given.rate, guarded=not given.plain)
    if not found:
        shutil.rmtree(folder)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
