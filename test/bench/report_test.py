"""Unit tests of report.py: /usr/bin/python3 -m unittest discover -s test/bench -p '*_test.py'"""

import json
import pathlib
import tempfile
import unittest

import report

HEAD = {"day": "2030-01-02", "machine": "a machine", "cores": 2, "memory_gib": 8, "kernel": "Linux 6", "system": "Debian",
        "setting": "pin", "size": "full", "rounds": 3, "versions": {"engine": "mixengine 1", "bun": "Bun 2"}}


def run_of(peer, mode, round_, consumer=None, point="-", **load):
    return {"peer": peer, "mode": mode, "point": point, "round": round_, "load": load, "consumer": consumer}


def echo(peer, *rates, **others):
    return [run_of(peer, "echo16", i, msgs_per_s=rate, lat_p99_us=1000.0 * i, **others)
            for i, rate in enumerate(rates, 1)]


def results_of(*runs, head=HEAD):
    results = report.Results()
    results.add_file(head, list(runs))
    return results


def rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


class Numbers(unittest.TestCase):
    def test_counts_have_three_digits(self):
        for value, text in [(0.5, "0.5"), (42, "42"), (104, "104"), (999, "999"), (1885, "1.89k"), (34000, "34k"),
                            (144116, "144k"), (1221080, "1.22M"), (2.13e8, "213M")]:
            self.assertEqual(report.count(value), text)

    def test_times(self):
        self.assertEqual(report.milliseconds(739), "0.739 ms")
        self.assertEqual(report.milliseconds(136839), "137 ms")
        self.assertEqual(report.nanoseconds(1234.6), "1235 ns")
        self.assertEqual(report.amount(10423.4), "10,423")


class Ratios(unittest.TestCase):
    def test_are_medians_of_runs_of_the_same_round(self):
        # The machine was half as fast in the last two rounds: the ratio of the medians would be 1.2.
        engine, bun = echo("engine", 200, 120, 110), echo("bun", 100, 100, 50)
        self.assertAlmostEqual(report.ratio(engine, bun, report.rate), 2.0)

    def test_leave_rounds_out_that_the_other_has_not(self):
        engine, bun = echo("engine", 300, 100, 100), echo("bun", 100)
        self.assertAlmostEqual(report.ratio(engine, bun, report.rate), 3.0)

    def test_without_a_pair_there_is_none(self):
        self.assertIsNone(report.ratio(echo("engine", 1), [], report.rate))
        self.assertIsNone(report.ratio([run_of("engine", "queue", 1)], [run_of("bun", "queue", 1)], report.rate))


class Tables(unittest.TestCase):
    def test_the_middle_run_its_spread_and_the_ratio(self):
        text = report.document(results_of(*echo("engine", 2e6, 1e6, 3e6), *echo("bun", 1e6, 1e6, 1e6)))
        self.assertIn("### Echo", text)
        head, _, engine, bun = rows(text)[:4]
        self.assertEqual(head, ["", "depth 16: messages/s", "engine ÷ it", "p99"])
        self.assertEqual(engine, ["engine", "2M (1M to 3M)", "", "2 ms"])
        self.assertEqual(bun, ["Bun", "1M (1M to 1M)", "2.00", "2 ms"])

    def test_modes_that_were_not_measured_are_not_there(self):
        text = report.document(results_of(*echo("engine", 1)))
        self.assertNotIn("Fan-out", text)
        self.assertNotIn("depth 1:", text)
        self.assertNotIn("CPU for one delivery", text)

    def test_a_consumer_tells_the_events(self):
        runs = [run_of("engine", "queue", 1, {"events_per_s": 250000}, rounds_per_s=1)]
        self.assertIn("| engine | 250k |", report.document(results_of(*runs)))

    def test_a_run_beside_other_work_and_a_run_with_losses_are_marked(self):
        engine = echo("engine", 1e6, other_cpu_cores=0.2)
        bun = echo("bun", 1e6, other_cpu_cores=0.01, dropped_during_run=1)
        _, _, first, second = rows(report.document(results_of(*engine, *bun)))[:4]
        self.assertEqual((first[1], second[1]), ("1M~", "1M!"))

    def test_growth_goes_by_points_in_their_order(self):
        runs = [run_of(peer, "growth-memory", 1, point=point, rss_per_conn=size)
                for point, size in (("10000", 900), ("1000", 950)) for peer in ("engine", "bun")]
        text = report.document(results_of(*runs))
        self.assertEqual(rows(text)[:4], [["connections", "engine", "Bun"], ["---"] * 3, ["1,000", "950", "950"],
                                          ["10,000", "900", "900"]])

    def test_memory_is_told_after_it_has_settled(self):
        runs = [run_of("engine", "idle10k", 1, rss_per_conn=2000, settled_rss_per_conn=1000)]
        self.assertIn("| engine | 1,000 |", report.document(results_of(*runs)))

    def test_day_machine_and_versions(self):
        text = report.document(results_of(*echo("engine", 1)))
        self.assertIn("Measured 2030-01-02. 2 cores of a machine, 8 GiB, Linux 6, Debian; server on CPU 0", text)
        self.assertIn("| Bun | Bun 2 |", text)
        self.assertNotIn("quick", text)
        quick = report.document(results_of(*echo("engine", 1), head={**HEAD, "size": "quick"}))
        self.assertIn("figures mean nothing", quick)


class Files(unittest.TestCase):
    def test_of_each_mode_the_newest_file_counts(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, day, runs in [("20300101.jsonl", "2030-01-01", [*echo("bun", 1), run_of("bun", "echo1", 1)]),
                                    ("20300102.jsonl", "2030-01-02", echo("engine", 2))]:
                lines = map(json.dumps, [{**HEAD, "day": day}, *runs])
                pathlib.Path(folder, name).write_text("\n".join(lines) + "\n")
            results = report.load(folder)
        self.assertEqual(results.peers("echo16"), ["engine"])
        self.assertEqual(results.peers("echo1"), ["bun"])
        self.assertEqual([head["day"] for head in results.heads], ["2030-01-02", "2030-01-01"])
        self.assertIn("Measured 2030-01-01 to 2030-01-02.", report.document(results))

    def test_the_tables_take_the_place_between_the_marks(self):
        before = f"# Title\n{report.BEGIN}\nold\n{report.END}\nrest\n"
        after = report.put(before, "new")
        self.assertEqual(after, f"# Title\n{report.BEGIN}\nnew\n{report.END}\nrest\n")
        self.assertEqual(report.put(after, "new"), after)

    def test_a_page_without_the_marks_is_left_alone(self):
        for page in ("none", report.BEGIN, report.END + report.BEGIN):
            with self.assertRaises(ValueError):
                report.put(page, "new")


if __name__ == "__main__":
    unittest.main()
