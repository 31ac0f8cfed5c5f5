"""A redis server of the tests' own, on a port of 127.0.0.1 with a folder that goes with it, and a client."""

import contextlib
import pathlib
import signal
import socket
import subprocess

from harness import free_port, seconds, wait_until


class Error(Exception):
    pass


class Client:
    """One connection, one command at a time."""

    def __init__(self, port, password=None):
        self.sock = socket.create_connection(("127.0.0.1", port), seconds(10))
        self.file = self.sock.makefile("rb")
        if password:
            self("AUTH", password)

    def send(self, *words):
        parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.sock.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise Error(rest.decode())
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if int(rest) < 0:
            return None
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2]
        return [self.reply() for _ in range(int(rest))]

    def __call__(self, *words):
        self.send(*words)
        return self.reply()

    def close(self):
        self.file.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Redis:
    def __init__(self, folder, password=None):
        self.folder, self.port, self.password = folder, free_port(), password
        self.process = None

    @property
    def addr(self):
        return f"127.0.0.1:{self.port}"

    def client(self):
        return Client(self.port, self.password)

    def start(self):
        words = ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir", self.folder, "--save", "",
                 "--appendonly", "no"]
        if self.password:
            words += ["--requirepass", self.password]
        with open(self.folder / "redis.log", "ab") as log:
            self.process = subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def ready():
            assert self.process.poll() is None, (self.folder / "redis.log").read_text()
            with contextlib.suppress(OSError), self.client() as client:
                return client("PING") == "PONG"
        wait_until(ready, 15, "redis answers")
        return self

    def run(self, *words):
        with self.client() as client:
            return client(*words)

    def stop(self):
        """Until `go_on` it is there but does nothing."""
        self.process.send_signal(signal.SIGSTOP)
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", what="stopped")

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def connections(self):
        """Those of others, as the lines of CLIENT LIST."""
        with self.client() as client:
            own = b"id=%d " % client("CLIENT", "ID")
            return [line for line in client("CLIENT", "LIST").splitlines() if not line.startswith(own)]
