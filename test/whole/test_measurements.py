"""The measurements run: figures come out, and the tables stand where they belong. What the figures are is not looked at."""

import json
import os
import subprocess

import pytest

from harness import ROOT, binary

BUILD = os.path.dirname(binary())
RUN = ROOT / "test/bench/run.sh"


@pytest.fixture
def bench(tmp_path):
    """Calls run.sh with results in a folder of the test's own; gives its standard output."""
    environment = {**os.environ, "BUILD": BUILD, "ENGINE": binary(), "BENCH_RESULTS": str(tmp_path / "results")}

    def call(*words, status=0):
        done = subprocess.run([RUN, *words], env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr

    return call


def runs_in(folder):
    path, = folder.glob("*.jsonl")
    head, *runs = map(json.loads, path.read_text().splitlines())
    return head, runs


@pytest.mark.timeout(300)
def test_a_quick_run_of_the_engine_beside_the_ceiling(bench, tmp_path):
    docs = tmp_path / "performance.md"
    docs.write_text((ROOT / "docs/performance.md").read_text())
    text = bench("--quick", "--rounds", "1", "--setting", "nat", "--peers", "engine ceiling", "--modes",
                 "echo1 fan1k roundtrip1", "--write-docs", "--docs", docs)
    head, runs = runs_in(tmp_path / "results")
    assert head["size"] == "quick" and set(head["versions"]) == {"engine", "ceiling"}
    assert [(run["mode"], run["peer"]) for run in runs] == [
        ("echo1", "engine"), ("echo1", "ceiling"), ("fan1k", "engine"), ("fan1k", "ceiling"), ("roundtrip1", "engine")]
    by = {(run["mode"], run["peer"]): run for run in runs}
    for peer in ("engine", "ceiling"):
        assert by["echo1", peer]["load"]["msgs_per_s"] > 0
        assert by["fan1k", peer]["load"]["deliveries_per_s"] > 0
        assert by["fan1k", peer]["load"]["lost"] == 0
    assert by["roundtrip1", "engine"]["consumer"]["events"] > 0
    assert by["roundtrip1", "engine"]["load"]["msgs_per_s"] > 0
    tables = docs.read_text().split("<!-- measured: begin -->")[1].split("<!-- measured: end -->")[0]
    assert "| ceiling |" in tables and tables.strip() in text
    assert "## What a message costs" in docs.read_text()
    assert bench("--report").startswith(tables.strip())
    assert not list((tmp_path / "results").glob("run.*")), "files of the runs are left"


@pytest.mark.parametrize("words, message", [
    (["--modes", "echo2"], "no mode echo2; there are: echo1 "),
    (["--peers", "nobody"], "no peer nobody; there are: engine "),
    (["--rounds"], "--rounds needs a value"),
    (["--rounds", "0"], "--rounds is a number"),
    (["--setting", "loose"], "--setting is pin or nat"),
    (["--fast"], "unknown option --fast"),
])
def test_a_call_that_is_wrong_says_so(bench, words, message):
    assert message in bench(*words, status=2)
