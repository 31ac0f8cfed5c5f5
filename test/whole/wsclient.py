"""A blocking WebSocket client that sends exactly the octets it is told to, right or wrong."""

import base64
import dataclasses
import hashlib
import os
import pathlib
import socket
import struct

from harness import seconds

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MASK = object()


class Closed(Exception):
    """The peer ended the connection; `reset` tells a RST from a FIN."""

    def __init__(self, reset=False):
        super().__init__("connection reset" if reset else "end of stream")
        self.reset = reset


@dataclasses.dataclass
class Frame:
    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def code(self):
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None

    @property
    def text(self):
        return self.payload.decode()


@dataclasses.dataclass
class Answer:
    status: int
    reason: str
    headers: dict  # lower-case names
    body: bytes
    raw: bytes


def xor(data, key):
    if not data:
        return b""
    n = len(data)
    repeated = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(n, "big")


def frame(opcode, payload=b"", *, fin=True, rsv=0, mask=MASK, length=None, form=None):
    """One frame. `mask`: 4 bytes, or None for none; `length`: what the header claims; `form`: 7, 16 or
    64 bits for the length, whatever would be the shortest."""
    if isinstance(payload, str):
        payload = payload.encode()
    key = os.urandom(4) if mask is MASK else mask
    claimed = len(payload) if length is None else length
    form = form or (7 if claimed < 126 else 16 if claimed < 65536 else 64)
    high = 0x80 if key is not None else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if form == 7:
        head += bytes([high | claimed])
    elif form == 16:
        head += bytes([high | 126]) + struct.pack("!H", claimed)
    else:
        head += bytes([high | 127]) + struct.pack("!Q", claimed)
    return head + (key + xor(payload, key) if key is not None else payload)


def close_frame(code=None, reason=b"", **fields):
    body = b"" if code is None else struct.pack("!H", code) + reason
    return frame(CLOSE, body, **fields)


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def parse_frame(buffer, at=0):
    """The frame at that place and where it ends, or None when it is not complete. No masks: servers
    send none."""
    if len(buffer) - at < 2:
        return None
    first, second = buffer[at], buffer[at + 1]
    assert not second & 0x80, "a server must not mask"
    length, head = second & 0x7F, 2
    if length == 126:
        if len(buffer) - at < 4:
            return None
        length, head = struct.unpack_from("!H", buffer, at + 2)[0], 4
    elif length == 127:
        if len(buffer) - at < 10:
            return None
        length, head = struct.unpack_from("!Q", buffer, at + 2)[0], 10
    shortest = 2 if length < 126 else 4 if length < 65536 else 10
    assert head == shortest, f"{length} bytes announced with a header of {head}"
    end = at + head + length
    if len(buffer) < end:
        return None
    return Frame(first & 0x0F, bytes(buffer[at + head:end]), bool(first & 0x80), first >> 4 & 7), end


def place(at):
    """A port of 127.0.0.1, (HOST, PORT), or the pathlib.Path of a Unix socket: its family and what connect takes."""
    if isinstance(at, pathlib.Path):
        return socket.AF_UNIX, str(at)
    host, port = ("127.0.0.1", at) if isinstance(at, int) else at
    return socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port)


class Client:
    """A connection to one port (`place`); `handshake` makes it a WebSocket. `first`: bytes sent at once;
    `tls`: makes what stands in for the socket from there on (tls.over)."""

    def __init__(self, port, *, timeout=10, source=None, receive_buffer=None, first=b"", tls=None):
        family, address = place(port)
        self.sock = socket.socket(family)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
            self.sock.bind((source, 0))
        if family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(seconds(timeout))
        self.host = f"127.0.0.1:{port}" if isinstance(port, int) else "localhost"
        self.buffer = bytearray()
        self.answer = None
        try:
            self.sock.connect(address)
            self.sock.sendall(first)
            if tls:
                self.sock = tls(self.sock)
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.drop()

    def timeout(self, limit):
        self.sock.settimeout(seconds(limit))
        return self

    # bytes

    def raw(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed(reset=True) from None

    def chunks(self, data, size):
        """Every chunk a segment of its own (TCP_NODELAY)."""
        for at in range(0, len(data), size):
            self.raw(data[at:at + size])

    def more(self):
        try:
            data = self.sock.recv(262144)
        except ConnectionResetError:
            raise Closed(reset=True) from None
        if not data:
            raise Closed()
        self.buffer += data

    def line(self, end=b"\n"):
        """Up to and without `end`, for servers that do not speak WebSocket."""
        while end not in self.buffer:
            self.more()
        text, _, rest = bytes(self.buffer).partition(end)
        self.buffer[:] = rest
        return text

    def rest(self):
        """Every byte until the peer closes."""
        try:
            while True:
                self.more()
        except Closed:
            return bytes(self.buffer)

    # the handshake

    def http(self):
        """Reads one HTTP answer."""
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        _, status, *reason = lines[0].split(" ", 2)
        headers = {}
        for text in lines[1:]:
            name, colon, value = text.partition(":")
            assert colon and value[:1] in ("", " "), text
            headers[name.lower()] = value.strip()
        body = b""
        self.buffer[:] = rest
        if int(status) != 101:
            length = headers.get("content-length")
            try:
                while length is None or len(self.buffer) < int(length):
                    self.more()
            except Closed:
                if length is not None:
                    raise
            body = bytes(self.buffer)
            self.buffer.clear()
        return Answer(int(status), reason[0] if reason else "", headers, body, head)

    def handshake(self, path="/chat", headers=(), request=None, check=True):
        self.key = base64.b64encode(os.urandom(16)).decode()
        if request is None:
            request = upgrade(path, self.key, headers, host=self.host)
        self.raw(request)
        self.answer = self.http()
        if check:
            assert self.answer.status == 101, self.answer
            assert self.answer.headers["sec-websocket-accept"] == accept_of(self.key)
        return self

    # frames

    def frame(self, opcode, payload=b"", **fields):
        self.raw(frame(opcode, payload, **fields))
        return self

    def send(self, text):
        return self.frame(TEXT, text)

    def recv(self):
        """The next frame, whatever it is."""
        while True:
            found = parse_frame(self.buffer)
            if found:
                del self.buffer[:found[1]]
                return found[0]
            self.more()

    def text(self):
        """The next text message; the server's pings are answered on the way."""
        got = self.recv_message()
        assert got.opcode == TEXT, got
        return got.text

    def recv_message(self):
        """The next frame that is no ping; the server's pings are answered."""
        while True:
            got = self.recv()
            if got.opcode != PING:
                assert got.fin and not got.rsv, got
                return got
            self.frame(PONG, got.payload)

    def ask(self, text):
        self.send(text)
        return self.text()

    def ping(self, payload=b"?"):
        """A ping, and its pong must be the next frame."""
        self.frame(PING, payload)
        got = self.recv()
        assert (got.opcode, got.payload) == (PONG, payload), got
        return self

    def silent(self, limit):
        """True when nothing arrives within `limit` seconds (not scaled)."""
        if self.buffer:
            return False
        self.sock.settimeout(limit)
        try:
            self.more()
            return False
        except socket.timeout:
            return True
        finally:
            self.sock.settimeout(seconds(10))

    # the end

    def end(self):
        """Reads until the peer closes; returns the frames that came before and how it ended."""
        frames = []
        try:
            while True:
                frames.append(self.recv())
        except Closed as closed:
            return frames, closed

    def shutdown(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Closes with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def drop(self):
        self.sock.close()

    def close(self, code=1000):
        """The closing handshake, to its end: the server closes TCP first."""
        self.raw(close_frame(code))
        frames, closed = self.end()
        assert frames and frames[-1].opcode == CLOSE, frames
        assert not closed.reset
        self.drop()
        return frames


def upgrade(path, key, headers=(), port=80, host=None):
    lines = [f"GET {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{port}'}", "Upgrade: websocket",
             "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
             *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def connect(port, path="/chat", headers=(), **options):
    client = Client(port, **options)
    try:
        return client.handshake(path, headers)
    except BaseException:
        client.drop()
        raise


def assert_turned_away(port, **options):
    """With a reset, which may come before connect() has returned."""
    try:
        with Client(port, **options) as client:
            frames, closed = client.end()
    except ConnectionError:
        return
    assert frames == [] and closed.reset
