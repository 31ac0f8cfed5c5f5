"""Judges a chaos run by the ledgers of its clients and the records of its consumers. What must hold:

once      An event is recorded by one consumer, once, and only what a client has sent is.
order     Each consumer records the events of one client in the order sent, from "open" to "close".
kept      What the engine has acknowledged ("a N": the push has returned) is recorded, or was in the window of a
          consumer that died: one that lived when it was handed over, or had died just before, recorded none of that
          client's later events, and has lost no more than its window altogether.
answered  What a consumer was told to stand in a client's write queue has come, if that client closed in order.
fan-out   A client gets the publishes of one consumer in order, without a gap from the first to the last.
clients   No client that answers pings is closed or broken off, and each message is acknowledged in order.

While the set of consumers stands still, a client's events go to one of them. So a gap between two events that the
same consumer A recorded is explained only by another that came and died in between; a gap between A and B by the
death of A, or of one that came in between."""

import collections
import dataclasses

import harness

WINDOW = 256 * 1024  # docs/consumers.md, "What can be lost"
HEAD = 100           # bytes of an event around its text, at least
MARGIN = harness.seconds(2)


@dataclasses.dataclass(eq=False)
class Life:
    """One consumer: its events by client, in order, and how it ended."""
    name: str
    begun: float = None
    died: float = None  # killed, or dropped while it stood still; None: it lost nothing
    events: dict = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    sent: list = dataclasses.field(default_factory=list)
    published: int = 0
    published_at: float = 0.0


def read_life(name, lines, died=None, excused=False):
    """`excused`: it was made to stand still, so when the engine dropped it that counts as its death."""
    life = Life(name, died=died)
    for line in lines:
        if not line.endswith("\n"):
            break  # its writer was killed
        kind, at, *words = line.split()
        if kind == "begin":
            life.begun = float(at)
        elif kind == "e":
            client, what, number = int(words[0]), words[1], int(words[2])
            place = {"open": -1, "close": 1 << 60}.get(what, number)
            life.events[client].append((place, float(at)))
        elif kind == "sent":
            life.sent.append((int(words[0]), int(words[1])))
        elif kind == "published":
            life.published, life.published_at = int(words[0]), float(at)
        elif kind == "end" and words[0] == "dropped" and excused:
            life.died = float(at)
    return life


@dataclasses.dataclass
class Verdict:
    faults: list
    recorded: int = 0
    accepted: int = 0
    lost: int = 0       # in windows of consumers that died
    lost_most: int = 0  # bytes, of one of them
    publishes: int = 0


def judge(ledgers, lives, pauses=(), margin=MARGIN):
    """`pauses`: (from, to) when the engine or a consumer stood still; `margin`: for what takes its time, in seconds: a
    death to be noticed, an event to be read."""
    clock = Clock(pauses, margin)
    verdict = Verdict([])
    known = {ledger.id: ledger for ledger in ledgers if ledger.id is not None}
    records = _records(lives, known, verdict)
    _kept(known, records, [life for life in lives if life.died is not None], clock, verdict)
    _answered(known, lives, verdict)
    _fan_out(known, lives, verdict)
    for ledger in ledgers:
        verdict.faults += [f"{_who(ledger)}: {fault}" for fault in ledger.faults]
    verdict.accepted = sum(sum(ledger.accepted) for ledger in ledgers)
    verdict.publishes = sum(life.published for life in lives)
    return verdict


def _who(ledger):
    return f"client {ledger.id} ({ledger.server})"


def _records(lives, known, verdict):
    """client -> place -> (time, life), while once and order are checked."""
    found = collections.defaultdict(dict)
    for life in lives:
        for client, events in life.events.items():
            last = None
            for place, at in events:
                if last is not None and place <= last:
                    verdict.faults.append(f"order: {life.name} got {place} of client {client} after {last}")
                if place in found[client]:
                    verdict.faults.append(
                        f"once: {place} of client {client} went to {found[client][place][1].name} and {life.name}")
                ledger = known.get(client)
                if ledger and place < 1 << 60 and place >= len(ledger.sent):
                    verdict.faults.append(f"once: {life.name} got {place} of client {client}, which was never sent")
                found[client][place] = (at, life)
                last = place
                verdict.recorded += 1
    return found


def _kept(known, records, dead, clock, verdict):
    blamed, lost = collections.Counter(), 0
    dead = sorted(dead, key=lambda life: life.died)
    for client, ledger in known.items():
        for gap in _gaps(ledger, records[client]):
            suspects = [life for life in dead if _explains(life, gap, client, clock)]
            if not suspects:
                verdict.faults.append(f"kept: {_who(ledger)} lost {gap.places} between {gap.names}")
            for place in gap.places:
                size = HEAD + (ledger.sizes[place] if 0 <= place < len(ledger.sizes) else 0)
                lost += size
                if suspects:
                    blamed[_likely(suspects, _pushed(ledger, place)).name] += size
            verdict.lost += len(gap.places)
    verdict.lost_most = max(blamed.values(), default=0)
    for name, size in blamed.items():
        if size > WINDOW:
            verdict.faults.append(f"kept: {name} died with {size} bytes, more than its window")
    if lost > WINDOW * len(dead):
        verdict.faults.append(f"kept: {lost} bytes lost, more than the windows of {len(dead)} consumers")


def _sent(ledger, place):
    if 0 <= place < len(ledger.sent):
        return ledger.sent[place]
    return ledger.born if place < 0 else ledger.ended or ledger.born


def _pushed(ledger, place):
    """A little after it was: handlers that wait for something push later than their clients send."""
    return ledger.settled_at[place] if 0 <= place < len(ledger.settled_at) else _sent(ledger, place)


def _likely(suspects, pushed):
    """The one that died next."""
    return next((life for life in suspects if life.died >= pushed), suspects[-1])


@dataclasses.dataclass
class Gap:
    places: list
    sent: float   # when the first of them was
    before: tuple  # (time, life) of the event recorded before it, or None
    after: tuple

    @property
    def names(self):
        return " and ".join(side[1].name if side else "nobody" for side in (self.before, self.after))


def _gaps(ledger, records):
    """Runs of acknowledged events that nobody recorded."""
    due = [-1] + [n for n, yes in enumerate(ledger.accepted) if yes] + [1 << 60]
    before, missing = None, []
    for place in due:
        if place in records:
            if missing:
                yield _gap(ledger, missing, before, records[place])
            before, missing = records[place], []
        else:
            missing.append(place)
    if missing:
        yield _gap(ledger, missing, before, None)


def _gap(ledger, missing, before, after):
    return Gap(missing, _sent(ledger, missing[0]), before, after)


@dataclasses.dataclass
class Clock:
    pauses: list
    margin: float

    def longer(self, begin, end):
        """Is it longer than the margin from one to the other, pauses not counted?"""
        if end - begin <= self.margin:
            return False
        stops = sum(max(0, min(end, to) - max(begin, at)) for at, to in self.pauses)
        return end - begin - stops > self.margin


def _explains(life, gap, client, clock):
    later = [place for place, _ in life.events.get(client, ()) if place > gap.places[-1]]
    if later or clock.longer(life.died, gap.sent):
        return False
    if gap.after and clock.longer(gap.after[0], life.died):
        return False
    if gap.before and gap.after and gap.before[1] is gap.after[1]:
        return life.begun is None or not clock.longer(life.begun, gap.before[0])
    return True


def _answered(known, lives, verdict):
    for life in lives:
        for client, number in life.sent:
            ledger = known.get(client)
            if ledger and ledger.orderly and not (number < len(ledger.answered) and ledger.answered[number]):
                verdict.faults.append(f"answered: {_who(ledger)} never got the answer of {life.name} to {number}")


def _fan_out(known, lives, verdict):
    for ledger in known.values():
        for life in lives:
            first, last = ledger.room.get(life.name, (None, None))
            was_there = life.begun is not None and ledger.opened < life.begun
            if first is not None and was_there and first != 1:
                verdict.faults.append(f"fan-out: {_who(ledger)} missed the first {first - 1} of {life.name}")
            due = ledger.orderly and ledger.left and life.published and ledger.left > life.published_at
            if due and (was_there or first is not None) and (last or 0) < life.published:
                verdict.faults.append(f"fan-out: {_who(ledger)} got {last} of the {life.published} of {life.name}")
