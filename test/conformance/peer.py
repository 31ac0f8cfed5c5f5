"""Many WebSocket conversations at once, in one thread: each sends exactly the octets of its case and judges
exactly what comes back.

A case is a list of steps. `bytes` are sent as one segment, `Chunks` as many, one in each turn of the loop. The other
steps say what must come next: nothing that a step does not name may come. The last step says how it ends."""

import collections
import copy
import dataclasses
import errno
import functools
import os
import select
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "whole"))

import wsclient  # noqa: E402
from wsclient import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_frame, frame  # noqa: E402, F401

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the sample of RFC 6455, section 1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
READ = 1 << 20
AT_ONCE = 150
KEPT = 1 << 16  # bytes of a payload, at most
MASK = b"\x37\xfa\x21\x3d"


class Wrong(Exception):
    """The peer did what it must not."""


def unmasked(opcode, payload=b"", rsv=0):
    """A frame as a server sends it."""
    return frame(opcode, payload, rsv=rsv, mask=None)


def masked(opcode, payload=b"", **fields):
    """A frame as a client sends it. One mask for all: a case is the same octets in each run."""
    make = masked_again if len(payload) < KEPT else frame
    return make(opcode, payload, **{"mask": MASK, **fields})


@functools.lru_cache(512)
def masked_again(opcode, payload, **fields):
    """The kinds of server get the same frames, one soon after the other."""
    return frame(opcode, payload, **fields)


def shown(data):
    data = bytes(data)
    return data[:40].hex(" ") + (f" … {len(data)} bytes" if len(data) > 40 else "")


# ---- steps

class Chunks:
    """Segments of `sizes` bytes: a number, or a list of them of which the last serves for the rest."""

    def __init__(self, data, sizes=1):
        self.data, self.sizes = data, [sizes] if isinstance(sizes, int) else list(sizes)

    def parts(self):
        at = 0
        for i in range(len(self.data)):
            size = self.sizes[min(i, len(self.sizes) - 1)]
            if at >= len(self.data):
                return
            yield self.data[at:at + size]
            at += size


class Get:
    """Exactly these octets."""

    def __init__(self, octets):
        self.octets, self.at = octets, 0

    def judge(self, play):
        have = min(len(play.buffer), len(self.octets) - self.at)
        want = self.octets[self.at:self.at + have]
        if play.buffer[:have] != want:
            raise Wrong(f"got {shown(play.buffer)}, not {shown(self.octets[self.at:])}")
        del play.buffer[:have]
        self.at += have
        return self.at == len(self.octets)


class Answer:
    """What this server answers to a message: an echo, or what its kind says."""

    def __init__(self, opcode, payload):
        self.opcode, self.payload, self.exact = opcode, payload, None

    def judge(self, play):
        if play.server.answer:
            got = play.frame()
            return got is not None and play.server.answer(got, self.opcode, self.payload)
        if self.exact is None:
            self.exact = Get(unmasked(self.opcode, self.payload))
        return self.exact.judge(play)


class Ask:
    """Looks at the next whole frame: `check(play, frame)` raises Wrong, or returns."""

    def __init__(self, check):
        self.check = check

    def judge(self, play):
        got = play.frame()
        if got is None:
            return False
        self.check(play, got)
        return True


class Fail:
    """A close frame with one of the codes, and the end: nothing but these."""

    def __init__(self, *codes):
        self.codes, self.seen = codes, False

    def judge(self, play):
        if not self.seen:
            got = play.frame()
            if got is None:
                play.open_end("no close frame")
                return False
            self.check(got)
            self.seen = True
        if play.buffer:
            raise Wrong(f"more behind the close frame: {shown(play.buffer)}")
        return play.ended

    def check(self, got):
        if got.opcode != CLOSE or got.rsv or not got.fin:
            raise Wrong(f"got opcode {got.opcode}: {shown(got.payload)}, not a close frame with {self.codes}")
        code = got.code if len(got.payload) != 1 else "one byte"
        if code not in self.codes:
            raise Wrong(f"closed with {code}, not {'/'.join(map(str, self.codes))}")
        try:
            got.payload[2:].decode()
        except UnicodeDecodeError:
            raise Wrong("the reason is not UTF-8") from None


class Bye(Fail):
    """The answer to a close frame: the same code, 1000 or none."""

    def __init__(self, code=1000):
        super().__init__(code, 1000, None)


class Refused:
    """An HTTP answer of such a status, with a reason and `Connection: close`, and the end."""

    def __init__(self, *statuses, headers=()):
        self.statuses, self.headers = statuses, headers

    def judge(self, play):
        if not play.ended:
            return False
        head, end, body = bytes(play.buffer).partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = lines[0].split(" ", 2)
        if not end or status[0] != "HTTP/1.1" or len(status) < 3:
            raise Wrong(f"no HTTP answer: {shown(play.buffer)}")
        fields = collections.defaultdict(list)
        for line in lines[1:]:
            name, _, value = line.partition(":")
            fields[name.lower()].append(value.strip())
        said = ", ".join(fields["connection"]).lower().split(", ")
        if int(status[1]) not in self.statuses:
            raise Wrong(f"refused with {status[1]}, not {'/'.join(map(str, self.statuses))}")
        if not status[2] or "close" not in said or fields["content-length"] != [str(len(body))]:
            raise Wrong(f"answered {head!r} {body!r}")
        for name, value in self.headers:
            if fields[name] != [value]:
                raise Wrong(f"{name} is {fields[name]}, not {value}")
        play.buffer.clear()
        return True


class Shaken:
    """The 101 answer. `check(headers)` looks at its fields."""

    def __init__(self, accept=ACCEPT, check=None):
        self.accept, self.check = accept, check

    def judge(self, play):
        at = play.buffer.find(b"\r\n\r\n")
        if at < 0:
            play.open_end("no answer to the handshake")
            return False
        head = bytes(play.buffer[:at])
        del play.buffer[:at + 4]
        if not head.startswith(b"HTTP/1.1 101 ") or b"\r\nSec-WebSocket-Accept: " + self.accept not in head:
            raise Wrong(f"answered {head!r}")
        fields = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
        play.headers = {name.decode().lower(): value.strip().decode() for name, _, value in fields}
        if len(play.headers) != len(fields):
            raise Wrong(f"a header twice: {head!r}")
        (self.check or no_extension)(play.headers)
        return True


def no_extension(headers):
    if set(headers) != {"upgrade", "connection", "sec-websocket-accept"}:
        raise Wrong(f"answered with {headers}")
    if headers["upgrade"].lower() != "websocket" or headers["connection"].lower() != "upgrade":
        raise Wrong(f"answered with {headers}")


class Then:
    """Steps that are made when it is their turn: `make(play)` gives them."""

    def __init__(self, make):
        self.make = make


# ---- cases

@dataclasses.dataclass
class Case:
    name: str  # group/what/variation
    steps: list
    shake: bool = True  # begins with a handshake
    headers: tuple = ()
    lossy: bool = False  # the server may be gone before all is sent, and a reset may then destroy its last words
    quiet: int = 5  # seconds without progress that are too many
    instead: str = ""  # in words, if the steps are what a server does that differs

    @property
    def group(self):
        return self.name.partition("/")[0]


@dataclasses.dataclass
class Server:
    name: str
    port: int
    path: str = "/chat"
    limit: int = 16 << 20
    answer: object = None  # judges what comes for a message; None: it must be the same message
    patience: int = 60  # seconds at most that a case waits without progress


def request(server, headers=()):
    return wsclient.upgrade(server.path, KEY, headers, host=f"127.0.0.1:{server.port}")


class Play:
    """One case on one connection."""

    def __init__(self, server, case, poll):
        self.server, self.case, self.poll = server, case, poll
        self.steps = collections.deque(map(copy.copy, case.steps))  # a step may stand in several cases
        if case.shake:
            if not any(isinstance(step, Shaken) for step in case.steps[:1]):
                self.steps.appendleft(Shaken())
            self.steps.appendleft(request(server, case.headers))
        self.buffer, self.out = bytearray(), b""
        self.parts = None  # of the Chunks that are being sent
        self.quiet = min(case.quiet, server.patience)
        self.ended = self.reset = self.done = False
        self.waits_to_write = self.wrong = None
        self.sock = socket.socket()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect(("127.0.0.1", server.port))  # on this machine that is done at once
        self.sock.setblocking(False)
        self.begun = self.moved = time.monotonic()
        poll.register(self.sock, select.EPOLLIN)

    def peek(self):
        """The next whole frame and its length, or None."""
        try:
            return wsclient.parse_frame(self.buffer)
        except AssertionError as error:
            raise Wrong(str(error)) from None

    def frame(self):
        """The next whole frame, taken off the buffer."""
        found = self.peek()
        if not found:
            return None
        del self.buffer[:found[1]]
        return found[0]

    def open_end(self, why):
        if self.ended:
            raise Wrong(f"{why}: {'a reset' if self.reset else 'the end'} behind {shown(self.buffer) or 'nothing'}")

    def read(self):
        while not self.ended:
            try:
                data = self.sock.recv(READ)
            except BlockingIOError:
                return
            except (ConnectionResetError, BrokenPipeError):
                self.ended = self.reset = True
                return
            self.moved = time.monotonic()
            self.ended = not data
            self.buffer += data
            if len(data) < READ and data:
                return

    def write(self):
        """False: the kernel takes no more now."""
        while self.out and not self.ended:
            try:
                sent = self.sock.send(self.out)
            except BlockingIOError:
                self.watch(True)
                return False
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                    raise
                self.out = b""  # what it did before is still to be read
                return True
            self.moved = time.monotonic()
            self.out = self.out[sent:]
        self.watch(False)
        return True

    def watch(self, writes):
        if bool(self.waits_to_write) != writes:
            self.waits_to_write = writes
            self.poll.modify(self.sock, select.EPOLLIN | (select.EPOLLOUT if writes else 0))

    def go_on(self):
        """Takes what steps can be taken. True: it wants another turn without anything having come."""
        try:
            return self.take_steps()
        except Wrong as wrong:
            self.finish(str(wrong))
            return False

    def take_steps(self):
        while not self.done:
            if self.out and not self.write():
                return False
            if self.parts is not None:
                self.out = next(self.parts, None)
                if self.out is None or self.ended:
                    self.parts, self.out = None, b""
                    continue
                self.out = memoryview(self.out)
                self.write()
                return not self.out
            if not self.steps:
                self.finish_in_order()
                return False
            step = self.steps[0]
            if isinstance(step, (bytes, bytearray)):
                self.out = memoryview(step)
            elif isinstance(step, Chunks):
                self.parts = step.parts()
            elif isinstance(step, Then):
                self.steps.popleft()
                self.steps.extendleft(map(copy.copy, reversed(step.make(self))))
                continue
            elif not step.judge(self):
                if self.ended:
                    self.open_end(f"the connection ended before {type(step).__name__}")
                return False
            self.steps.popleft()
        return False

    def finish_in_order(self):
        if self.buffer:
            raise Wrong(f"more than was asked for: {shown(self.buffer)}")
        if self.ended and self.reset:
            raise Wrong("ended with a reset")
        self.finish(None)

    def finish(self, wrong):
        if wrong and self.case.lossy and self.reset:
            wrong = None
        self.done, self.wrong = True, wrong
        self.took = time.monotonic() - self.begun
        self.poll.unregister(self.sock)
        self.sock.close()

    def give_up(self):
        step = self.steps[0] if self.steps else None
        self.finish(f"nothing for {self.quiet} s while waiting for {type(step).__name__}"
                    f"{' ' + '/'.join(map(str, step.codes)) if isinstance(step, Fail) else ''}; "
                    f"there is {shown(self.buffer) or 'nothing'}")


def play_all(pairs, slow=1, on_end=lambda play: True, at_once=AT_ONCE):
    """Plays (server, case) pairs. `on_end` is told of each; false ends it all."""
    pairs = iter(pairs)
    poll = select.epoll()
    plays, again, more = {}, [], True
    looked = time.monotonic()

    def end(play):
        plays.pop(play.fd)
        return on_end(play)

    while True:
        while more and len(plays) < at_once:
            pair = next(pairs, None)
            if pair is None:
                more = False
                break
            play = Play(*pair, poll)
            play.fd = play.sock.fileno()
            plays[play.fd] = play
            play.go_on()  # the request leaves at once: to make the next case may take longer than a handshake may
            again.append(play)
        if not plays:
            return
        turn, again = again, []
        for fd, _ in poll.poll(0 if turn else 0.2):
            play = plays.get(fd)
            if play and not play.done:
                play.read()
                if play not in turn:
                    turn.append(play)
        for play in turn:
            if not play.done and play.go_on():
                again.append(play)
            if play.done and plays.get(play.fd) is play and not end(play):
                for left in list(plays.values()):
                    left.finish("given up")
                return
        now = time.monotonic()
        if now - looked > 0.5:
            looked = now
            for play in [p for p in plays.values() if now - p.moved > p.quiet * slow]:
                play.give_up()
                if not end(play):
                    return


def result(play):
    return {"case": play.case.name, "server": play.server.name,
            "result": "fail" if play.wrong else "differs" if play.case.instead else "pass", "ms": round(play.took * 1000, 1),
            **({"why": play.wrong} if play.wrong else {}), **({"instead": play.case.instead} if play.case.instead else {})}

