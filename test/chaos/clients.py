"""Clients that send numbered messages over WebSocket and keep a ledger of what became of them: many of them in one
thread, over epoll."""

import collections
import random
import select
import socket
import ssl
import struct
import time

import wsclient

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
KINDS = "mmmmmmmmmmrhsw"  # mostly plain messages; see app.lua
IN_FLIGHT = 20            # messages of one client without an acknowledgement, outside of bursts


class Ledger:
    """What one client has sent and heard. It outlives its connection."""

    def __init__(self, server):
        self.server, self.id = server, None
        self.born, self.opened, self.left, self.ended = time.monotonic(), None, None, None
        self.orderly = False         # did both sides close, so that all that was queued has come?
        self.sent, self.sizes = [], []
        self.accepted = bytearray()  # by number: 1 when the engine said that it is in the queue
        self.settled_at = []         # by number: when it said that, or that it is not
        self.refused = 0
        self.answered = bytearray()  # by number: a consumer's answers
        self.heard = {}              # consumer -> the last number that it answered
        self.room = {}               # consumer -> the first and the last publish of its that came
        self.faults = []             # what must not be

    @property
    def settled(self):
        return self.id is not None and len(self.accepted) == len(self.sent)

    def take(self, text):
        word, *rest = text.split(" ", 2)
        {"id": self._id, "a": self._accepted, "x": self._refused, "r": self._answer, "p": self._publish}[word](*rest)

    def _id(self, number):
        self.id, self.opened = int(number), time.monotonic()

    def _settle(self, number, how):
        if int(number) != len(self.accepted):
            self.faults.append(f"acknowledgement of {number} in place of {len(self.accepted)}")
        self.accepted.append(how)
        self.settled_at.append(time.monotonic())

    def _accepted(self, number):
        self._settle(number, 1)

    def _refused(self, number, why):
        self._settle(number, 0)
        self.refused += 1

    def _answer(self, consumer, number):
        number = int(number)
        if number >= len(self.sent):
            self.faults.append(f"an answer to {number}, which was never sent")
            return
        self.answered.extend(b"\0" * (number + 1 - len(self.answered)))
        if self.answered[number]:
            self.faults.append(f"two answers to {number}")
        self.answered[number] = 1
        if number <= self.heard.get(consumer, -1):
            self.faults.append(f"{consumer} answers {number} after {self.heard[consumer]}")
        self.heard[consumer] = number

    def _publish(self, consumer, sequence):
        sequence = int(sequence)
        first, last = self.room.get(consumer, (sequence, sequence - 1))
        if sequence != last + 1:
            self.faults.append(f"fan-out: publish {sequence} of {consumer} after {last}")
        self.room[consumer] = first, sequence


class Member:
    """One connection."""

    def __init__(self, swarm, server, port, source):
        self.swarm, self.ledger = swarm, Ledger(server)
        self.sock = socket.socket()
        self.sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        self.sock.bind((source, 0))
        self.sock.setblocking(False)
        self.out, self.buffer = bytearray(), bytearray()
        self.upgraded, self.closing, self.deaf_until = False, False, 0.0
        self.say(wsclient.upgrade("/chat", KEY, port=port))
        self.sock.connect_ex(("127.0.0.1", port))

    def fileno(self):
        return self.sock.fileno()

    @property
    def idle(self):
        return not self.closing and self.upgraded and len(self.ledger.sent) - len(self.ledger.accepted) < IN_FLIGHT

    def send(self, pad):
        ledger = self.ledger
        text = f"{self.swarm.random.choice(KINDS)} {len(ledger.sent)} {'x' * pad}"
        ledger.sent.append(time.monotonic())
        ledger.sizes.append(len(text))
        self.write(wsclient.frame(wsclient.TEXT, text))

    def say(self, data):
        self.out += data

    def hear(self, data):
        self.buffer += data
        self.parse()

    def write(self, data):
        self.say(data)
        self.flush()

    def flush(self):
        try:
            while self.out:
                del self.out[:self.sock.send(self.out)]
        except BlockingIOError:
            pass
        except OSError:
            self.swarm.gone(self)
            return
        self.swarm.watch(self)

    def close(self):
        """Orderly; the engine answers with a close frame, after all that it has queued."""
        if not self.closing:
            self.closing, self.ledger.left = True, time.monotonic()
            self.write(wsclient.close_frame(1000))

    def read(self):
        try:
            while data := self.sock.recv(65536):
                self.hear(data)
        except BlockingIOError:
            return
        except OSError:
            pass
        self.swarm.gone(self)

    def parse(self):
        if not self.upgraded:
            head, end, rest = bytes(self.buffer).partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self.ledger.faults.append(f"handshake: {head[:40]}")
            self.upgraded = True
            self.buffer[:] = rest
        at = 0
        while found := wsclient.parse_frame(self.buffer, at):
            got, at = found
            self.handle(got)
        del self.buffer[:at]

    def handle(self, got):
        if got.opcode == wsclient.TEXT:
            self.ledger.take(got.text)
        elif got.opcode == wsclient.PING:
            self.say(wsclient.frame(wsclient.PONG, got.payload))
        elif got.opcode == wsclient.CLOSE:
            if self.closing:
                self.ledger.orderly = True
            elif self.swarm.engine_stops and got.code == 1001:
                self.ledger.orderly = self.closing = True
                self.say(wsclient.close_frame(1001))
            else:
                self.ledger.faults.append(f"closed with {got.code} {got.payload[2:].decode()}")
                self.closing = True

    def drop(self, reset):
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.closing = True  # whatever becomes of it, it is our doing
        self.swarm.gone(self)


class Secure(Member):
    """One over TLS."""

    def __init__(self, swarm, server, port, source, context):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.early, self.shaken = bytearray(), False
        super().__init__(swarm, server, port, source)

    def say(self, data):
        self.early += data
        try:
            if not self.shaken:
                self.tls.do_handshake()
                self.shaken = True
            if self.early:
                self.tls.write(self.early)
                self.early.clear()
        except ssl.SSLWantReadError:
            pass
        self.out += self.outgoing.read()

    def hear(self, data):
        self.incoming.write(data)
        self.say(b"")
        try:
            while self.shaken and (got := self.tls.read(65536)):
                super().hear(got)
        except ssl.SSLWantReadError:
            pass


class Swarm:
    """Keeps `count` clients on `ports` (name -> port) talking; only the thread of `run` touches them. Others hand
    it functions with `do`. `contexts`: name -> ssl's, of those ports that have TLS."""

    def __init__(self, ports, count, rate, seed, contexts=None):
        self.random, self.contexts = random.Random(seed), contexts or {}
        self.ports, self.count, self.rate = list(ports.items()), count, rate
        self.members, self.ledgers, self.mute = {}, [], []
        self.poll, self.watched = select.epoll(), {}
        self.todo, self.talking, self.stopping, self.opened = collections.deque(), True, False, 0
        self.engine_stops = False  # then it may say 1001 to anybody
        self.owed = 0.0

    def do(self, function):
        self.todo.append(function)

    def open(self):
        server, port = self.ports[self.opened % len(self.ports)]
        source, context = f"127.0.0.{2 + self.opened % 8}", self.contexts.get(server)
        member = Secure(self, server, port, source, context) if context else Member(self, server, port, source)
        self.opened += 1
        self.members[member.fileno()] = member
        self.ledgers.append(member.ledger)
        self.watched[member.fileno()] = select.EPOLLIN | select.EPOLLOUT
        self.poll.register(member.fileno(), self.watched[member.fileno()])

    def watch(self, member):
        fd = member.fileno()
        deaf = member.deaf_until > time.monotonic()
        events = (0 if deaf else select.EPOLLIN) | (select.EPOLLOUT if member.out else 0)
        if fd in self.watched and self.watched[fd] != events:
            self.watched[fd] = events
            self.poll.modify(fd, events)

    def gone(self, member):
        fd = member.fileno()
        if fd not in self.watched:
            return
        if not member.closing:
            member.ledger.faults.append("the connection broke")
        member.ledger.ended = time.monotonic()
        self.poll.unregister(fd)
        del self.watched[fd], self.members[fd]
        member.sock.close()

    def talkers(self):
        return [m for m in self.members.values() if m.idle]

    def pick(self, count):
        found = [m for m in self.members.values() if m.upgraded and not m.closing]
        return self.random.sample(found, min(count, len(found)))

    def silence(self, member):
        """Half open: it is there for TCP, but never reads, writes or answers again."""
        member.closing = True
        member.ledger.ended = time.monotonic()
        self.poll.unregister(member.fileno())
        del self.watched[member.fileno()], self.members[member.fileno()]
        self.mute.append(member.sock)

    def deafen(self, member, duration):
        member.deaf_until = time.monotonic() + duration
        self.watch(member)

    def run(self):
        while not self.stopping:
            begin = time.monotonic()
            for fd, events in self.poll.poll(0.02):
                member = self.members.get(fd)
                if member and events & select.EPOLLOUT:
                    member.flush()
                if fd in self.members and events & ~select.EPOLLOUT:
                    member.read()
                if fd in self.members:
                    self.watch(member)
            while self.todo:
                self.todo.popleft()()
            self.turn(time.monotonic() - begin)

    def turn(self, elapsed):
        now = time.monotonic()
        for member in [m for m in self.members.values() if m.deaf_until and m.deaf_until <= now]:
            member.deaf_until = 0.0
            self.watch(member)
        if not self.talking:
            return
        coming = 0 if self.engine_stops else min(20, self.count - len(self.members))
        for _ in range(coming):
            self.open()
        self.owed = min(self.owed + elapsed * self.rate, self.rate)
        talkers = self.talkers() if self.owed >= 1 else []
        while self.owed >= 1 and talkers:
            self.owed -= 1
            member = self.random.choice(talkers)
            member.send(self.random.choice((20, 200, 1000)))
            if not member.idle:
                talkers.remove(member)
