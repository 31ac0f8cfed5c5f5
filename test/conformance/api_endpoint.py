"""The API endpoint, which libwebsockets serves: it answers each message with one text frame. Where it differs from the
servers of users, this table says what it does instead, as steps that are played and judged in their place."""

import dataclasses
import json
import re

import cases
from peer import BINARY, CLOSE, PONG, TEXT, Answer, Bye, Chunks, Fail, Get, Shaken, Then, Wrong, request, unmasked

LIMIT = 4 * cases.MIB
MALFORMED = 101  # docs/consumers.md
# Its handshake is libwebsockets' HTTP, which keeps connections and refuses in its own ways: engine/api/api_test.c.
GROUPS = {**cases.GROUPS, **cases.LIMITS, **cases.BIG}


def answer(got, opcode, payload):
    """What the API says to what is no request of its own. `opcode` is None where any message may have been the one."""
    if got.opcode != TEXT or not got.fin or got.rsv:
        raise Wrong(f"got opcode {got.opcode}, fin {got.fin}, rsv {got.rsv}")
    error = json.loads(got.payload).get("error") or {}
    if error.get("code") != MALFORMED or (opcode and error["message"].startswith("a binary frame") != (opcode == BINARY)):
        raise Wrong(f"got {got.payload}")
    return True


class Ends:
    """The connection ends without a word, by a reset too."""

    def judge(self, play):
        if play.buffer:
            raise Wrong(f"not the end but {bytes(play.buffer[:40])}")
        play.reset = False
        return play.ended


class Loosely:
    """Answers and pongs in any order among each other. `owed` are the pongs that may come, in order, of which some may be
    left out, but not the first of `pongs`. With `before_end` a close frame or the end is next, and may come before all."""

    def __init__(self, answers, pongs, owed, before_end):
        self.answers, self.must, self.owed, self.before_end = answers, pongs[:1], owed, before_end
        self.pongs = pongs

    def judge(self, play):
        self.owed += self.pongs
        self.pongs = []
        while found := play.peek():
            if found[0].opcode == CLOSE:
                break
            self.take(play.frame())
        if self.before_end:
            return bool(found) or play.ended
        return not self.answers and not self.must

    def take(self, got):
        if got.opcode != PONG:
            answer(got, None, None)
            self.answers -= 1
        elif got.payload not in self.owed:
            raise Wrong(f"a pong {got.payload} that no ping asked for")
        else:
            if got.payload in self.must:
                self.must = []
            del self.owed[:self.owed.index(got.payload) + 1]
        if self.answers < 0:
            raise Wrong("more answers than messages")


# ---- what it does instead: the steps of a case, changed

def loosely(server, case):
    return [Then(lambda play: loosened(case.steps))]


def loosened(steps):
    out, answers, pongs, owed = [], 0, [], []
    if steps[-4:-3] == cases.well()[:1]:  # its ping may be one of those that get no pong
        steps = [*steps[:-4], *steps[-2:]]
    for step in steps:
        if isinstance(step, Answer):
            answers += 1
        elif isinstance(step, Get):
            pongs.append(step.octets[2:])
        else:
            ends = isinstance(step, (Fail, Ends))
            if answers or pongs or ends:
                out.append(Loosely(answers, pongs, owed, ends))
            out.append(step)
            answers, pongs = 0, []
    return out


def instead_of_failing(*steps):
    """Order is loose where it is judged before that."""
    def change(server, case):
        out = [*case.steps[:-1], *steps]
        return [Then(lambda play: loosened(out))] if any(isinstance(step, (Answer, Get)) for step in case.steps) else out
    return change


ends = instead_of_failing(Ends())
accepted = instead_of_failing(Answer(None, None), *cases.well())
well = instead_of_failing(*cases.well())


def echoed(body):
    """`body` makes that of the close frame from the last word of the case's name."""
    def change(server, case):
        word = re.sub(", .*", "", case.name).split(" ")[-1]
        return [*case.steps[:-1], Get(unmasked(CLOSE, body(word))), Ends()]
    return change


def ponged(server, case):
    size = re.search(r"of (\d+)", case.name)
    body = cases.text_of(int(size[1])) if size else b"x"
    return loosely(server, dataclasses.replace(case, steps=[*case.steps[:-1], cases.pong(body), *cases.well()]))


def with_the_answer(server, case):
    """The client waits for the answer to its request."""
    first = request(server)
    sent, _, *rest = case.steps
    sent = sent.data if isinstance(sent, Chunks) else sent
    return [first, Shaken(), sent[len(first):], *rest]


# cases, in words, what it does
ALWAYS = [
    (r"forms/(16|64) bits/.*", "lengths that are not the shortest are accepted", accepted),
    (r"forms/(control|top bit|16 bits for 5)/.*", "ends without a close frame", ends),
    (r"control/(close|ping|pong) of (\d{4,}|12[67])(,.*)?", "ends without a close frame", ends),
    (r"closing/reason of (124|125|126|1000|65536)", "ends without a close frame where the control frame is too long", ends),
    (r"closing/reason [0-9a-f]+, invalid", "ends without a close frame where the reason is not UTF-8", ends),
    (r"closing/reason [0-9a-f]+, cut", "a reason that ends inside a character is echoed", echoed(lambda word: b"\x03\xe8" + bytes.fromhex(word))),
    (r"closing/code 101[234]", "codes 1012 to 1014 are answered with 1002", instead_of_failing(Fail(1002))),
    (r"closing/code ([5-9]\d{3}|\d{5})", "codes from 5000 on are echoed", echoed(lambda word: int(word).to_bytes(2, "big"))),
    (r"closing/body of one byte \d+", "a body of one byte is echoed", echoed(lambda word: bytes([int(word)]))),
    (r"unmasked/(text|binary|continuation).*", "frames without a mask are accepted", accepted),
    (r"unmasked/ping.*", "frames without a mask are accepted", ponged),
    (r"unmasked/pong.*", "frames without a mask are accepted", well),
    (r"unmasked/close.*", "frames without a mask are accepted", instead_of_failing(Bye(1000))),
    (r"sizes/.* declared.*", "a length above the limit fails when the first byte of its payload has come",
     instead_of_failing(b"x", Fail(1009))),
    (r"utf8/cut [0-9a-f]+/in fragments", "a character cut off by an empty last fragment is answered with error 101", accepted),
]
# What depends on when it writes
SOMETIMES = [
    (r"closing/ignored behind it/.*, at once", "ends without a close frame where bad frames came in one segment with the client's", ends),
    (r"start/with the request.*", "frames in one segment with the request may be lost; those sent after its answer are served", with_the_answer),
    (r"(opcodes|bits|control|sequences|closing)/.*",
     "a pong goes out before answers that wait, one for the pings that came meanwhile; what waits when the close frame is due is not sent", loosely),
]


def changed(server, case, table):
    """The case with what it does instead, or None where the table does not have it."""
    for names, words, change in table:
        if re.fullmatch(names, case.name):
            return dataclasses.replace(case, steps=change(server, case), instead=words)
    return None
