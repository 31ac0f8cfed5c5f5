#!/usr/bin/python3
"""The WebSocket suite: one engine with every kind of server, each case on each server that it is for. Prints the cases
that fail and a table, and writes a report with each case. ENGINE names another binary, SLOW=1 is for sanitizers."""

import argparse
import collections
import copy
import itertools
import json
import pathlib
import sys
import tempfile
import time
import zlib

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "whole")]

import harness  # noqa: E402
import kinds  # noqa: E402

import api_endpoint  # noqa: E402
import cases  # noqa: E402
import deflated  # noqa: E402
import handshakes  # noqa: E402
import peer  # noqa: E402

LIMIT, SMALL = 16 << 20, 1 << 16
COMPRESSED = {"compressed": {"threshold": 0}, "compressed, contexts kept": {"threshold": 0, "contextTakeover": True}}
PLAIN = {**cases.GROUPS, "handshake": handshakes.handshakes, "deflate": deflated.deflate_off}
HEAVY_AT_ONCE = 6  # connections with messages of many mebibytes


def slug(name):
    return name.replace(" ", "_").replace(",", "")


class Servers:
    """One engine with them all: kind by kind a server with a large limit and one with a small one, and the built-in protocol
    with compression."""

    def __init__(self, folder, codec=None):
        self.blocks, self.made = [], []
        for kind in kinds.KINDS:
            self.add(kind, kind, {**PLAIN, **cases.BIG}, maxMessageSize=LIMIT)
            self.add(kind, f"{kind} small", {**cases.LIMITS, "handshake": handshakes.slow}, maxMessageSize=SMALL, handshakeTimeout=1)
        for name, compression in COMPRESSED.items():
            groups = {"deflate": deflated.deflate}
            self.add("websocket", f"websocket {name}", groups, maxMessageSize=LIMIT, compression=compression)
            self.add("websocket", f"websocket {name} small", {"deflate": deflated.limits}, maxMessageSize=SMALL, compression=compression)
        files = {f"{slug(kind)}.lua": entry.read_text() for kind, entry in kinds.ENTRIES.items()}
        files["app.lua"] = (harness.FIXTURES / "echo_app.lua").read_text()
        if codec:  # beside the entry file it wins
            files["protocols/websocket.lua"] = codec.read_text()
        first, *rest = self.blocks
        self.engine = harness.Engine(folder, None, server=first, servers=rest, files=files, workers=2)
        self.made[0][0].port = self.engine.port
        api = peer.Server("api", self.engine.api_port, "/ws/v1", api_endpoint.LIMIT, api_endpoint.answer, patience=3)
        self.made.append((api, {**api_endpoint.GROUPS, "deflate": deflated.deflate_off}))

    def add(self, kind, name, groups, **keys):
        port = harness.free_port() if self.blocks else 0
        block = {"entry": f"lua/{slug(kind)}.lua", "bind": "127.0.0.1", "options": [{"name": "path", "value": kinds.PATH}],
                 "maxBacklog": 256 * cases.MIB, **kinds.KINDS[kind], **keys}
        self.blocks.append({**block, "port": port} if port else block)
        self.made.append((peer.Server(name, port, limit=keys["maxMessageSize"]), groups))

    def pairs(self, choice, heavy):
        """Server by server in turn, so that no server waits for the cases of another."""
        for row in itertools.zip_longest(*[self.pairs_of(server, groups, choice, heavy) for server, groups in self.made]):
            yield from (pair for pair in row if pair and choice.has(*pair))

    @staticmethod
    def pairs_of(server, groups, choice, heavy):
        for name, make in groups.items():
            if heavy == (name in cases.BIG) and choice.has_group(server, name):
                for case in make(server):
                    yield server, (server.answer and api_endpoint.changed(server, case, api_endpoint.ALWAYS)) or case


class Report:
    def __init__(self, stop_early):
        self.results, self.stop_early, self.begun = [], stop_early, time.monotonic()
        self.again = []  # what the API endpoint may do in another way

    def add(self, play):
        if play.server.answer and play.wrong and not play.case.instead:
            case = api_endpoint.changed(play.server, play.case, api_endpoint.SOMETIMES)
            if case:
                self.again.append((play.server, case))
                return True
        result = peer.result(play)
        self.results.append(result)
        return not (self.stop_early and result["result"] == "fail")

    def failures(self):
        return [r for r in self.results if r["result"] == "fail"]

    def table(self):
        """By group and server: passed / all, with what differs or fails."""
        counts = collections.defaultdict(collections.Counter)
        for r in self.results:
            counts[r["case"].partition("/")[0], r["server"].replace(" small", "")][r["result"]] += 1
        groups = list(dict.fromkeys(group for group, _ in counts))
        servers = list(dict.fromkeys(server for _, server in counts))
        rows = [["group", *servers]]
        for group in groups:
            rows.append([group, *[self.cell(counts[group, server]) for server in servers]])
        total = [sum((counts[group, server] for group in groups), collections.Counter()) for server in servers]
        rows.append(["all", *[self.cell(count) for count in total]])
        return rows

    @staticmethod
    def cell(count):
        return ", ".join([str(count["pass"]), *[f"{count[what]} {word}" for what, word in (("differs", "differ"), ("fail", "FAIL")) if count[what]]]) if count else ""

    def print(self, out=sys.stdout):
        for r in self.failures():
            print(f"FAIL  {r['server']}: {r['case']}: {r['why']}", file=out)
        rows = self.table()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip(), file=out)
        print(f"{len(self.results)} cases, {len(self.failures())} failures, {time.monotonic() - self.begun:.1f} s", file=out)

    def write(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join(json.dumps(r, ensure_ascii=False) for r in self.results)
        path.write_text(f'{{"seconds": {time.monotonic() - self.begun:.1f}, "cases": {len(self.results)}, "failures": {len(self.failures())}, "results": [\n{lines}\n]}}\n')


class Choice:
    """What is played: servers and cases whose names begin so; of them one in `every`, on servers other than the built-in
    protocol's one in `others`: the same ones in each run."""

    def __init__(self, servers="", names="", every=1, others=None):
        self.servers, self.names = tuple(servers.split("|")), tuple(names.split("|"))
        self.every, self.others = every, others or every

    def has_group(self, server, group):
        return server.name.startswith(self.servers) and any(group.startswith(name) or name.startswith(group) for name in self.names)

    def has(self, server, case):
        every = self.every if server.name.startswith("websocket") else self.others
        return case.name.startswith(self.names) and zlib.crc32(f"{server.name} {case.name}".encode()) % every == 0

    def few(self):
        few = copy.copy(self)
        few.every, few.others = 20 * self.every, 20 * self.others
        return few


def run(folder, choice=Choice(), stop_early=False, codec=None):
    """Plays them on an engine of its own, which must end well. What stops early begins with a few of each group."""
    servers, report = Servers(folder, codec), Report(stop_early)
    slow = 5 if harness.SLOW else 1
    with servers.engine:
        for part in [choice.few(), choice] if stop_early else [choice]:
            for heavy, at_once in ((False, peer.AT_ONCE), (True, HEAVY_AT_ONCE)):
                peer.play_all(servers.pairs(part, heavy), slow, report.add, at_once)
                if stop_early and report.failures():
                    return report
        peer.play_all(report.again, slow, report.add)
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, help="where the report goes")
    parser.add_argument("--case", default="", help="cases whose name begins so; several with |")
    parser.add_argument("--server", default="", help="servers whose name begins so; several with |")
    parser.add_argument("--every", type=int, default=1, help="one case in so many")
    parser.add_argument("--stop-early", action="store_true", help="at the first failure")
    parser.add_argument("--codec", type=pathlib.Path, help="a protocols/websocket.lua instead of the shipped one")
    options = parser.parse_args()
    choice = Choice(options.server, options.case, options.every)
    with tempfile.TemporaryDirectory(prefix="conformance") as folder:
        report = run(pathlib.Path(folder), choice, options.stop_early, options.codec)
    report.print()
    if options.out:
        report.write(options.out)
    return 1 if report.failures() or not report.results else 0


if __name__ == "__main__":
    sys.exit(main())
