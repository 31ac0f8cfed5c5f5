"""What run.sh measured: medians, ratios, and the tables of docs/performance.md.

report.py [--docs FILE] RESULTS. RESULTS is a folder of files that each begin with a line about the
machine, followed by one line for each run. Of each mode the newest file that has it counts."""

import argparse
import json
import pathlib
import sys
from statistics import median

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
NOISE_MAX = 0.12
PEERS = {
    "engine": "engine",
    "engine-codec": "engine, shipped codec",
    "engine-chat": "engine, chat example's script",
    "ceiling": "ceiling",
    "ceiling-single": "ceiling, a write for each message",
    "bun": "Bun",
    "nats": "nats-server",
    "nchan": "nginx with nchan",
    "ws": "ws",
    "socketio": "socket.io",
    "nginx-lua": "nginx with lua",
    "gateway": "GatewayWorker",
    "workerman": "Workerman",
}


# ---- numbers for people ----


def count(value):
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}" if abs(value) < 100 * size else f"{value / size:.0f}{unit}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def milliseconds(value):
    value /= 1000
    return f"{value:.3g} ms" if value < 100 else f"{value:.0f} ms"


def nanoseconds(value):
    return f"{value:.0f} ns"


def amount(value):
    return f"{value:,.0f}"


# ---- what is read from a run ----


def of_load(key):
    return lambda run: run["load"].get(key)


def of_consumer(key):
    return lambda run: (run["consumer"] or {}).get(key)


def rate(run):
    return run["load"].get("msgs_per_s", run["load"].get("rounds_per_s"))


def settled(key):
    return lambda run: run["load"].get("settled_" + key, run["load"].get(key))


def cpu_of_one(run):
    rate = run["load"].get("per_server_cpu_s")
    return 1e9 / rate if rate else None


class Column:
    """One figure of a mode. The first column of a mode has its spread and its ratios."""

    def __init__(self, mode, title, read, show=count):
        self.mode, self.title, self.read, self.show = mode, title, read, show


def first_and_p99(mode, title, read):
    return [Column(mode, title, read), Column(mode, "p99", of_load("lat_p99_us"), milliseconds)]


def fanout(mode, title):
    return first_and_p99(mode, title, of_load("deliveries_per_s"))


TABLES = [
    ("Echo: 100 connections",
     [*first_and_p99("echo1", "depth 1: messages per second of server CPU", of_load("per_server_cpu_s")),
      *first_and_p99("echo16", "depth 16: messages/s", rate)]),
    ("Fan-out: deliveries/s",
     [*fanout("fan1k", "1,000 subscribers, window 16"), *fanout("fan10k", "10,000 subscribers, window 8")]),
    ("A single publish to 10,000, four times a second",
     [Column("publish10k", "until the last has it, p50", of_load("complete_p50_us"), milliseconds),
      Column("publish10k", "others' echo meanwhile, p99", of_load("bystander_p99_us"), milliseconds),
      Column("publish10k", "longest", of_load("bystander_max_us"), milliseconds)]),
    ("Many channels, and slow readers",
     [*fanout("channels", "10,000 channels of 10: deliveries/s"),
      Column("mixed", "mixed: p99 of a delivery", of_load("lat_p99_us"), milliseconds),
      Column("mixed", "others' echo meanwhile, p99", of_load("echo_p99_us"), milliseconds)]),
    ("Through a consumer and back: 100 connections",
     [*first_and_p99("roundtrip1", "depth 1: round trips/s", rate),
      *first_and_p99("roundtrip16", "depth 16: round trips/s", rate)]),
    ("Queue to one consumer, one way: events/s",
     [Column("queue", "consumer on the other core", of_consumer("events_per_s")),
      Column("queue-near", "consumer on the same core", of_consumer("events_per_s"))]),
    ("Connections",
     [Column("idle10k", "resident bytes of an idle one of 10,000", settled("rss_per_conn"), amount),
      Column("connect", "connects/s", of_load("connects_per_s")),
      Column("login", "connects with a login/s", of_load("connects_per_s"))]),
    ("Two workers on both cores, beside engine-bench",
     [*first_and_p99("echo16-2", "echo, depth 16: messages/s", rate),
      *fanout("fan1k-2", "1,000 subscribers, window 16: deliveries/s")]),
]
GROWTH = [
    ("growth-fanout", "CPU for one delivery", "subscribers", cpu_of_one, nanoseconds),
    ("growth-memory", "Resident bytes of an idle connection", "connections", settled("rss_per_conn"), amount),
    ("growth-load", "p50 at a part of the most that each can take", "% of the maximum", of_load("lat_p50_us"),
     milliseconds),
    ("growth-load", "p99 at a part of the most that each can take", "% of the maximum", of_load("lat_p99_us"),
     milliseconds),
]


# ---- results ----


class Results:
    """Runs by mode, point and peer, and the heads of the files that they come from."""

    def __init__(self):
        self.heads, self.runs, self.modes = [], {}, set()

    def add_file(self, head, runs):
        """Files are added newest first."""
        fresh = [run for run in runs if run["mode"] not in self.modes]
        for run in fresh:
            self.runs.setdefault((run["mode"], run["point"], run["peer"]), []).append(run)
        self.modes |= {run["mode"] for run in fresh}
        if fresh:
            self.heads.append(head)

    def of(self, mode, peer, point="-"):
        return self.runs.get((mode, point, peer), [])

    def peers(self, *modes):
        there = {peer for mode, _, peer in self.runs if mode in modes}
        return [peer for peer in PEERS if peer in there] + sorted(there - set(PEERS))

    def points(self, mode):
        return sorted({point for of, point, _ in self.runs if of == mode}, key=float)


def load(folder):
    results = Results()
    for path in sorted(pathlib.Path(folder).glob("*.jsonl"), reverse=True):
        head, *runs = [json.loads(line) for line in path.read_text().splitlines()]
        results.add_file(head, runs)
    return results


def values(runs, read):
    return [value for value in map(read, runs) if value is not None]


def ratio(runs, others, read):
    """The median of the ratios of runs of one round; None without such a pair."""
    theirs = {run["round"]: read(run) for run in others}
    pairs = [(read(run), theirs.get(run["round"])) for run in runs]
    ratios = [mine / other for mine, other in pairs if mine is not None and other]
    return median(ratios) if ratios else None


def faults(run):
    load = run["load"]
    return sum(load.get(key, 0) for key in ("lost", "duplicated_or_reordered", "protocol_errors",
                                            "dropped_during_run", "payload_mismatch", "connect_failed"))


def marks(runs):
    noisy = any(run["load"].get("other_cpu_cores", 0) >= NOISE_MAX for run in runs)
    return ("~" if noisy else "") + ("!" if any(map(faults, runs)) else "")


# ---- tables ----


def table(rows):
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(runs, column, spread):
    numbers = values(runs, column.read)
    if not numbers:
        return ""
    text = column.show(median(numbers))
    if spread and len(numbers) > 1:
        text += f" ({column.show(min(numbers))} to {column.show(max(numbers))})"
    return text + (marks(runs) if spread else "")


def side_by_side(results, title, columns):
    """None when none of its modes was measured."""
    columns = [column for column in columns if column.mode in results.modes]
    if not columns:
        return None
    head, leads = [""], set()
    for column in columns:
        head.append(column.title)
        if column.mode not in {lead.mode for lead in leads}:
            leads.add(column)
            head.append("engine ÷ it")
    rows = [head]
    for peer in results.peers(*(column.mode for column in columns)):
        row = [PEERS.get(peer, peer)]
        for column in columns:
            runs = results.of(column.mode, peer)
            row.append(cell(runs, column, column in leads))
            if column in leads:
                of_engine = ratio(results.of(column.mode, "engine"), runs, column.read)
                row.append("" if peer == "engine" or of_engine is None else f"{of_engine:.2f}")
        rows.append(row)
    return f"### {title}\n\n{table(rows)}"


def growth(results, mode, title, unit, read, show):
    if mode not in results.modes:
        return None
    peers = results.peers(mode)
    rows = [[unit, *(PEERS.get(peer, peer) for peer in peers)]]
    for point in results.points(mode):
        row = [f"{int(point):,}"]
        for peer in peers:
            numbers = values(results.of(mode, peer, point), read)
            row.append(show(median(numbers)) if numbers else "")
        rows.append(row)
    return f"### {title}\n\n{table(rows)}"


def machine(head):
    pinned = {"pin": "server on CPU 0, engine-bench on CPU 1", "nat": "nothing pinned"}[head["setting"]]
    quick = "" if head["size"] == "full" else " **A quick run, whose figures mean nothing.**"
    return (f"{head['cores']} cores of {head['machine']}, {head['memory_gib']} GiB, {head['kernel']}, {head['system']}; "
            f"{pinned}.{quick}")


def rounds(heads):
    numbers = [int(head["rounds"]) for head in heads]
    low, high = min(numbers), max(numbers)
    return f"Medians of {low} runs." if low == high else f"Medians of {low} to {high} runs."


def versions(heads):
    all_versions = {}
    for head in reversed(heads):
        all_versions.update(head["versions"])
    return [(PEERS[peer], all_versions[peer]) for peer in PEERS if peer in all_versions]


def document(results):
    days = sorted({head["day"] for head in results.heads})
    machines = list(dict.fromkeys(map(machine, results.heads)))
    day = " to ".join(dict.fromkeys((days[0], days[-1])))
    parts = [" ".join([f"Measured {day}.", *machines, rounds(results.heads)])]
    parts += [side_by_side(results, *each) for each in TABLES]
    parts += [growth(results, *each) for each in GROWTH]
    parts.append("### Versions\n\n" + table([["", ""], *map(list, versions(results.heads))]))
    return "\n\n".join(part for part in parts if part)


def put(text, tables):
    """The text with what stands between the marks replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no {BEGIN} … {END} in it")
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


# ---- the program ----


def all_ratios(results):
    """For the terminal: each kind of engine against each other peer."""
    lines = []
    for title, columns in TABLES:
        for mode in dict.fromkeys(column.mode for column in columns):
            lead = next(column for column in columns if column.mode == mode)
            for ours in [peer for peer in results.peers(mode) if peer.startswith("engine")]:
                found = [(peer, ratio(results.of(mode, ours), results.of(mode, peer), lead.read))
                         for peer in results.peers(mode) if peer != ours]
                lines.append(f"{mode:12} {ours:13} " + "  ".join(f"{value:.2f} × {peer}" for peer, value in found if value))
    return "\n".join(line.rstrip() for line in lines)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs")
    parser.add_argument("results")
    options = parser.parse_args(arguments)
    results = load(options.results)
    if not results.heads:
        sys.exit(f"report.py: no runs in {options.results}")
    tables = document(results)
    print(tables + "\n\n" + all_ratios(results))
    if options.docs:
        path = pathlib.Path(options.docs)
        path.write_text(put(path.read_text(), tables))


if __name__ == "__main__":
    main(sys.argv[1:])
