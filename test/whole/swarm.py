"""Thousands of chat clients in one thread, over epoll."""

import select
import socket
import time

import wsclient
from harness import seconds

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Member:
    __slots__ = ("sock", "buffer", "want", "upgraded", "got", "closed")

    def __init__(self, sock):
        self.sock, self.buffer, self.want = sock, bytearray(), 0
        self.upgraded, self.got, self.closed = False, [], False


class Swarm:
    """Connects `count` clients to a port from several loopback addresses; `ask` sends one text to all of
    them in batches and waits for as many frames from each."""

    def __init__(self, port, count, path="/chat", sources=8):
        self.poll, self.members = select.epoll(), {}
        self.port, self.path, self.sources = port, path, sources
        for begin in range(0, count, 200):
            batch = [self._open(i) for i in range(begin, min(begin + 200, count))]
            request = wsclient.upgrade(path, KEY, port=port)
            for member in batch:
                member.sock.sendall(request)
            self.wait(lambda batch=batch: all(m.upgraded for m in batch), "the handshakes")

    def _open(self, i):
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.bind((f"127.0.0.{2 + i % self.sources}", 0))
        sock.settimeout(seconds(10))
        sock.connect(("127.0.0.1", self.port))
        sock.setblocking(False)
        member = Member(sock)
        self.members[sock.fileno()] = member
        self.poll.register(sock.fileno(), select.EPOLLIN)
        return member

    def wait(self, done, what, limit=60):
        end = time.monotonic() + seconds(limit)
        while not done():
            assert time.monotonic() < end, what
            for fd, _ in self.poll.poll(0.1):
                self._read(self.members[fd], fd)

    def _read(self, member, fd):
        try:
            data = member.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            member.closed = True
            self.poll.unregister(fd)
            return
        member.buffer += data
        if not member.upgraded:
            head, end, rest = bytes(member.buffer).partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101 "), head
            member.upgraded = True
            member.buffer[:] = rest
        while found := wsclient.parse_frame(member.buffer):
            del member.buffer[:found[1]]
            if found[0].opcode == wsclient.PING:  # of a test that takes long; they come seldom, and so fit the socket
                member.sock.send(wsclient.frame(wsclient.PONG, found[0].payload))
            else:
                member.got.append(found[0])

    def ask(self, data, frames, batch=1000):
        """Sends the same octets to all, a batch at a time."""
        members = list(self.members.values())
        for begin in range(0, len(members), batch):
            part = members[begin:begin + batch]
            for member in part:
                member.want = len(member.got) + frames
                member.sock.sendall(data)
            self.wait(lambda part=part: all(len(m.got) >= m.want for m in part), f"answers to {data!r}")

    def every(self):
        return self.members.values()

    def drop(self):
        for member in self.members.values():
            member.sock.close()
        self.poll.close()
