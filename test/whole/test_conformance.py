"""The WebSocket suite (test/conformance): every case on the built-in protocol, a third of them on each of the other servers;
under sanitizers one in ten. scripts/conformance.sh plays all of them everywhere."""

import json
import sys

import pytest

from harness import HERE, SLOW, seconds

sys.path.insert(0, str(HERE.parent / "conformance"))

import suite  # noqa: E402

CHOICE, LEAST = (suite.Choice(every=10), 5000) if SLOW else (suite.Choice(others=3), 30000)


@pytest.mark.timeout(seconds(180))
def test_every_case(tmp_path):
    report = suite.run(tmp_path, CHOICE)
    report.print()
    report.write(tmp_path / "conformance.json")
    assert len(json.loads((tmp_path / "conformance.json").read_text())["results"]) > LEAST
    assert not [f"{r['server']}: {r['case']}: {r['why']}" for r in report.failures()][:50]
