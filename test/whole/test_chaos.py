"""A short chaos run, and that its oracle sees what is wrong."""

import sys

import pytest

from harness import ROOT, SLOW, seconds

sys.path.insert(0, str(ROOT / "test" / "chaos"))

import clients  # noqa: E402
import curve  # noqa: E402
import oracle  # noqa: E402
import run  # noqa: E402
import soak  # noqa: E402


@pytest.mark.timeout(seconds(180))
def test_forty_seconds_of_chaos(tmp_path):
    found, verdict = run.chaos(tmp_path, 2 / 3, 20250101, pause=0.3, rate=50 if SLOW else 300)
    assert found == []
    assert verdict.recorded > 500 and verdict.publishes > 20


# ---- the oracle, on histories that were made up

class History:
    """One client whose messages 0 to 9 were acknowledged, and two consumers: a got 0 to 4, b the rest."""

    def __init__(self):
        ledger = self.ledger = clients.Ledger("websocket")
        ledger.id, ledger.born, ledger.opened, ledger.left, ledger.ended = 7, 0.0, 0.5, 21.0, 22.0
        ledger.sent, ledger.sizes = [1.0 + i for i in range(10)], [100] * 10
        ledger.settled_at = [1.05 + i for i in range(10)]
        ledger.accepted, ledger.answered, ledger.orderly = bytearray(b"\1" * 10), bytearray(b"\1" * 10), True
        self.a, self.b = oracle.Life("a", begun=0.6), oracle.Life("b", begun=0.6)
        self.a.events[7] = [(-1, 0.5)] + [(i, 1.1 + i) for i in range(5)]
        self.b.events[7] = [(i, 1.1 + i) for i in range(5, 10)] + [(1 << 60, 22.0)]
        self.a.published, self.a.published_at = 5, 5.0
        ledger.room = {"a": (1, 5)}
        self.a.sent = [(7, i) for i in range(5)]

    def judge(self):
        return oracle.judge([self.ledger], [self.a, self.b], margin=2)


def test_a_good_history():
    verdict = History().judge()
    assert verdict.faults == [] and verdict.recorded == 12 and verdict.accepted == 10 and verdict.lost == 0


def lose(history):
    del history.b.events[7][2]


def lose_at_the_seam(history):
    del history.a.events[7][-1]


def lose_the_end(history):
    del history.b.events[7][-1]


def swap(history):
    events = history.b.events[7]
    events[1], events[2] = events[2], events[1]


def record_twice(history):
    history.b.events[7].insert(2, history.b.events[7][1])


def record_at_both(history):
    history.b.events[7].insert(0, (4, 6.0))


def invent(history):
    history.b.events[7].insert(5, (10, 12.0))


def lose_an_answer(history):
    history.ledger.answered[3] = 0


def lose_the_last_publish(history):
    history.ledger.room["a"] = (1, 4)


def lose_the_first_publish(history):
    history.ledger.room["a"] = (2, 5)


def a_broken_client(history):
    history.ledger.faults.append("the connection broke")


def the_wrong_one_died(history):
    """Its death was long before what is missing."""
    lose(history)
    history.a.died = 2.0


def nobody_came_between(history):
    """It died in time, but was there all along: the client was the other's."""
    lose(history)
    history.a.died = 9.0
    history.a.begun = -10.0


def more_than_a_window(history):
    lose_at_the_seam(history)
    history.a.died = 6.0
    history.ledger.sizes[4] = oracle.WINDOW


@pytest.mark.parametrize("change, law", [
    (lose, "kept"), (lose_at_the_seam, "kept"), (lose_the_end, "kept"), (swap, "order"), (record_twice, "order"),
    (record_at_both, "once"), (invent, "once"), (lose_an_answer, "answered"), (lose_the_last_publish, "fan-out"),
    (lose_the_first_publish, "fan-out"), (a_broken_client, "client 7"), (the_wrong_one_died, "kept"),
    (nobody_came_between, "kept"), (more_than_a_window, "kept")], ids=lambda v: getattr(v, "__name__", v))
def test_the_oracle_sees(change, law):
    history = History()
    change(history)
    assert any(fault.startswith(law) for fault in history.judge().faults)


def test_the_oracle_excuses_a_window():
    history = History()
    lose_at_the_seam(history)
    history.a.died = 6.0
    verdict = history.judge()
    assert verdict.faults == [] and verdict.lost == 1 and verdict.lost_most == 100 + oracle.HEAD


@pytest.mark.parametrize("words, fault", [
    (["a 1"], "acknowledgement of 1"), (["r a 0", "r a 0"], "two answers"), (["r a 1", "r a 0"], "answers 0 after 1"),
    (["r a 5"], "never sent"), (["p a 1", "p a 3"], "publish 3 of a after 1")])
def test_ledgers_see(words, fault):
    ledger = clients.Ledger("websocket")
    ledger.sent = [0.0, 0.0]
    for word in words:
        ledger.take(word)
    assert any(fault in found for found in ledger.faults)


# ---- the soak's verdict

def rows(rss, seconds_long=1200):
    return [{"time": t, "rss": rss(t), "lua": 4e6, "fds": 120 + t % 5, "threads": 9, "connections": 100}
            for t in range(0, seconds_long, 3)]


@pytest.mark.parametrize("rss, flat", [
    (lambda t: 40e6, True), (lambda t: 40e6 + (t * 7919 % 13) * 1e5, True), (lambda t: 40e6 + 5e3 * t, False),
    (lambda t: 20e6 + min(t, 500) * 4e4, True), (lambda t: 40e6 + (2e7 if t % 100 == 0 else 0), True)],
    ids=["level", "noise", "a leak", "a rise at first", "peaks"])
def test_flat_or_growing(rss, flat):
    found = {name: ok for name, *_, ok in soak.judge(rows(rss))}
    assert found == {"rss": flat, "lua": True, "fds": True, "threads": True}


def test_curves():
    points = [(t, 10 + t % 3) for t in range(100)]
    assert curve.text("rss", points).endswith(" 12")
    assert curve.svg({"resident": points}).count("<polyline") == 1
