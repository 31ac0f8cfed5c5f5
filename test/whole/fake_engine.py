"""An engine that a test plays by hand: a center with any answers, and nodes whose every byte is the test's."""

import collections
import contextlib
import http.server
import json
import socket
import struct
import threading

import wsclient
from harness import free_port, seconds
from wsclient import CLOSE, PING, PONG, TEXT, Frame, frame

DONE = {"s": True, "f": 0, "t": 1}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self):
        center = self.server.owner
        center.requests.append((self.path, dict(self.headers)))
        center.gate.wait(60)
        status, body = center.answers.get(self.path) or (200, self.usual(center))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def usual(self, center):
        if self.path == "/version":
            return b'{"apis":["v1"],"api":["v1"],"engine":"0"}'
        return json.dumps({"nodes": center.nodes}).encode()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # the asker has gone


class Center:
    def __init__(self, nodes, start=True):
        self.nodes = [node.entry() for node in nodes]
        self.answers = {}  # path: (status, body), in place of the usual one
        self.requests = []  # (path, headers), in the order they came
        self.gate = threading.Event()  # nothing is answered while it is not set
        self.gate.set()
        self.port, self.server = free_port(), None
        if start:
            self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.owner = self
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.gate.set()
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


class Node:
    def __init__(self, number="1", receive_buffer=None):
        self.id, self.receive_buffer = number, receive_buffer
        self.port, self.listener, self.peers = free_port(), None, []
        self.listen()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def entry(self):
        return {"id": self.id, "api_server": self.address, "host": self.address,
                "ip": "127.0.0.1", "port": self.port}

    def listen(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.receive_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(8)

    def accept(self, limit=20):
        """The next connection; nothing of it has been read."""
        self.listener.settimeout(seconds(limit))
        sock, _ = self.listener.accept()
        peer = Peer(sock, self.id)
        self.peers.append(peer)
        return peer

    def connect(self, limit=20):
        """The next connection, as far as consuming."""
        peer = self.accept(limit).upgrade()
        peer.consumed = peer.request("queue.pop")
        peer.reply(peer.consumed)
        return peer

    def nobody(self, limit):
        """True when nobody connects within `limit` seconds (not scaled)."""
        self.listener.settimeout(limit)
        try:
            self.listener.accept()[0].close()
            return False
        except socket.timeout:
            return True

    def close(self):
        self.listener.close()
        for peer in self.peers:
            peer.drop()


def unmask(buffer):
    """The first frame of a client and where it ends, or None when it is not complete."""
    if len(buffer) < 2:
        return None
    assert buffer[1] & 0x80, "a client must mask"
    length, head = buffer[1] & 0x7F, 2
    if length > 125:
        form, head = ("!H", 4) if length == 126 else ("!Q", 10)
        if len(buffer) < head:
            return None
        length = struct.unpack_from(form, buffer, 2)[0]
    end = head + 4 + length
    if len(buffer) < end:
        return None
    payload = wsclient.xor(bytes(buffer[head + 4:end]), bytes(buffer[head:head + 4]))
    return Frame(buffer[0] & 0x0F, payload, bool(buffer[0] & 0x80), buffer[0] >> 4 & 7), end


class Peer:
    """The engine's end of one connection."""

    def __init__(self, sock, node):
        sock.settimeout(seconds(10))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.node, self.buffer = sock, node, bytearray()
        self.unsent, self.sending = collections.deque(), threading.Lock()

    # the handshake

    def head(self):
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer[:] = rest
        first, *lines = head.decode().split("\r\n")
        self.path = first.split(" ")[1]
        self.headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        return self

    def upgrade(self):
        self.head()
        assert self.path == "/ws/v1", self.path
        accept = wsclient.accept_of(self.headers["sec-websocket-key"])
        self.raw(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  f"Sec-WebSocket-Accept: {accept}\r\n\r\n").encode())
        return self

    # what the consumer sends

    def more(self):
        data = self.sock.recv(262144)
        if not data:
            raise wsclient.Closed()
        self.buffer += data

    def recv(self):
        while True:
            found = unmask(self.buffer)
            if found:
                del self.buffer[:found[1]]
                return found[0]
            self.more()

    def text(self):
        """The next text message, whatever its fragments; pings are answered on the way."""
        message = b""
        while True:
            got = self.recv()
            if got.opcode == PING:
                self.raw(frame(PONG, got.payload, mask=None))
            elif got.opcode != PONG:
                assert got.opcode in (TEXT, wsclient.CONTINUATION), got
                message += got.payload
                if got.fin:
                    return message.decode()

    def request(self, method=None):
        """The next command, which must have just these members."""
        got = json.loads(self.text())
        assert got.keys() == {"m", "p", "i"}, got
        assert method in (None, got["m"]), got
        return got

    # what the engine sends

    def raw(self, data):
        """From any thread: what comes while another sends is left to that one, so that no frame is cut by the next."""
        self.unsent.append(data)
        while self.unsent and self.sending.acquire(blocking=False):
            try:
                while self.unsent:
                    self.sock.sendall(self.unsent.popleft())
            finally:
                self.sending.release()
        return self

    def send(self, text):
        return self.raw(frame(TEXT, text, mask=None))

    def json(self, value):
        return self.send(json.dumps(value))

    def reply(self, request, result=None):
        return self.json({"E": None, "r": result or DONE, "i": request["i"]})

    def error(self, request, code, message):
        return self.json({"E": {"c": code, "m": message}, "i": request["i"]})

    def event(self, data, client="7", topic="a"):
        return self.send(event_text(data, client, topic, self.node))

    # the end

    def end(self):
        """Reads until the consumer closes; the frames before that."""
        frames = []
        try:
            while True:
                frames.append(self.recv())
        except (wsclient.Closed, ConnectionResetError):
            return frames

    def closing(self):
        """The consumer's close frame, answered, if it still waits for that."""
        while (got := self.recv()).opcode != CLOSE:
            pass
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.raw(frame(CLOSE, got.payload, mask=None))
        return got.code

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def drop(self):
        self.sock.close()


def event_text(data, client="7", topic="a", node="1"):
    return json.dumps({"e": "queue.pop", "p": {"n": node, "c": client, "t": topic, "d": data}, "id": None})
