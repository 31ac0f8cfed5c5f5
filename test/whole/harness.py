"""Runs the engine as users do: a configuration file, the binary, its ports, its signals."""

import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE / "fixtures"
CHAT_ENTRY = ROOT / "examples" / "chat" / "entry.lua"
SLOW = os.environ.get("SLOW", "") not in ("", "0")

SANITIZER = re.compile(r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:")


def binary():
    return os.path.abspath(os.environ.get("ENGINE") or ROOT / "build" / "release" / "engine")


def chat_binary():
    return os.path.abspath(os.environ.get("CHAT") or ROOT / "build" / "release" / "chat")


def probe_binary():
    return os.path.abspath(os.environ.get("PROBE") or ROOT / "build" / "release" / "tests" / "probe")


def keys_binary():
    return os.path.abspath(os.environ.get("KEYS") or ROOT / "build" / "release" / "tests" / "keys")


def times(n):
    """A count of repetitions, fewer when a sanitizer makes each of them slow."""
    return max(1, n // 10) if SLOW else n


def seconds(s):
    """A limit that is only reached when something is broken."""
    return s * 5 if SLOW else s


def wait_until(condition, limit=10, what="condition"):
    """Polls until `condition()` is true and returns what it gave. No limit is below ten seconds: a machine may be busy."""
    limit = seconds(max(limit, 10))
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {limit} s")
        time.sleep(0.02)


PORTS = range(10000, 32000)  # below the ephemeral ones, so that no outgoing connection takes one meanwhile
LAST_PORT = pathlib.Path(tempfile.gettempdir()) / f"mixengine-test-port-{os.getuid()}"


def next_port():
    """Counts on over all processes of tests that run at the same time."""
    with open(LAST_PORT, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        port = int(file.read() or random.choice(PORTS)) + 1
        port = port if port in PORTS else PORTS[0]
        file.truncate(0)
        file.write(str(port))
    return port


def free_port():
    """One that no other test is given soon."""
    while True:
        port = next_port()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def has_ipv6():
    """Has the kernel an IPv6 loopback?"""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def yaml(value, depth=0):
    """Block style, as people write it; strings are quoted as JSON, which YAML reads."""
    pad = "  " * depth
    if isinstance(value, dict) and value:
        return "".join(f"{pad}{key}:{_nested(item, depth)}" for key, item in value.items())
    if isinstance(value, list) and value:
        return "".join(f"{pad}-{_nested(item, depth)}" for item in value)
    return f"{pad}{json.dumps(value)}\n"


def _nested(item, depth):
    if isinstance(item, (dict, list)) and item:
        return "\n" + yaml(item, depth + 1)
    return " " + json.dumps(item) + "\n"


class Engine:
    """One engine process with one server block of generation 1 (more through `servers`)."""

    def __init__(self, folder, entry, *, mode="single", workers=2, queue=None, server=None,
                 options=None, servers=None, files=None, api=None, center=None, users=None,
                 engine=None, logging=None, redis=None, env=None):
        self.folder = pathlib.Path(folder)
        self.mode, self.workers, self.env = mode, workers, env or {}
        self.center_port, self.api_port, self.port = free_port(), free_port(), free_port()
        self.process = None
        self.log_path = self.folder / "logs" / "engine.log"
        (self.folder / "conf").mkdir(parents=True, exist_ok=True)
        (self.folder / "lua").mkdir(exist_ok=True)
        (self.folder / "logs").mkdir(exist_ok=True)
        for name, text in (files or {}).items():
            path = self.folder / "lua" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if entry is not None:
            self.write_entry(entry)
        block = {"port": self.port, "bind": "127.0.0.1", "entry": "lua/entry.lua"}
        if options:
            block["options"] = [{"name": k, "value": v} for k, v in options.items()]
        block.update(server or {})
        self.config = {
            "logging": {"filename": "logs/engine.log", "level": "info", **(logging or {})},
            "center": {
                "apiServer": {"port": self.center_port, "bind": "127.0.0.1", **(center or {})},
            },
            "engine": {
                "apiServer": {"port": self.api_port, "bind": "127.0.0.1", **(api or {})},
                **(engine or {}),
                "servers": [block] + (servers or []),
            },
        }
        if queue or redis:
            self.config["engine"]["luavm"] = {k: v for k, v in (("queue", queue), ("redis", redis)) if v}
        if users:
            self.config["access"] = {"users": users}
        self.config_path = self.folder / "conf" / "engine.yaml"
        self.config_path.write_text(yaml(self.config))

    def write_entry(self, entry):
        """Text of a script, or the path of one."""
        text = entry.read_text() if isinstance(entry, pathlib.Path) else entry
        (self.folder / "lua" / "entry.lua").write_text(text)

    def command(self, *words):
        return [binary(), *words, "-f", str(self.config_path)]

    def start(self, wait=True):
        self._began = time.monotonic()
        self._readies = len(re.findall(r"\bready\b", self.output()))
        self._stdout = open(self.folder / "stdout", "ab")
        self._stderr = open(self.folder / "stderr", "ab")
        self.process = subprocess.Popen(
            self.command(self.mode) + (["-p", str(self.workers)] if self.workers else []),
            stdin=subprocess.DEVNULL, stdout=self._stdout, stderr=self._stderr,
            cwd=self.folder, env={**os.environ, **self.env})
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        def ready():
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output()}"
            return len(re.findall(r"\bready\b", self.output())) > self._readies
        wait_until(ready, 15, "ready")

    def run(self, *words, limit=20):
        """Runs a command to its end: the status, standard output, standard error."""
        done = subprocess.run(self.command(*words), cwd=self.folder, env={**os.environ, **self.env},
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds(limit))
        text = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        assert not SANITIZER.search(text[0] + text[1]), text[0] + text[1]
        return done.returncode, *text

    def _read(self, path):
        return path.read_text(errors="replace") if path.exists() else ""

    def stdout(self):
        return self._read(self.folder / "stdout")

    def stderr(self):
        return self._read(self.folder / "stderr")

    def log(self):
        return self._read(self.log_path)

    def output(self):
        return self.stdout() + self.stderr() + self.log()

    def wait_output(self, pattern, limit=10):
        return wait_until(lambda: re.search(pattern, self.output()), limit, f"{pattern!r} in the output")

    def logged_once(self, text, by=1):
        """That is in the log, and no more often than the line every 10 s that the engine has for what repeats, on
        each worker if it is said `by` workers."""
        def found():
            return [line for line in self.log().splitlines() if text in line]
        lines = wait_until(found, what=f"{text!r} in the log")
        assert len(lines) <= by * (1 + (time.monotonic() - self._began) / 10), lines
        return True

    def running(self):
        return self.process is not None and self.process.poll() is None

    def cpu(self):
        """Seconds that it has computed for."""
        fields = self._read(self._proc / "stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self):
        """Bytes of physical memory that it has."""
        return self._status("VmRSS")

    def peak(self):
        """The most that was resident."""
        return self._status("VmHWM")

    def descriptors(self):
        """What each descriptor that it has open is."""
        found = []
        for link in (self._proc / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(link))
        return found

    @property
    def _proc(self):
        return pathlib.Path("/proc", str(self.process.pid))

    def _status(self, key):
        return int(re.search(rf"{key}:\s+(\d+) kB", self._read(self._proc / "status"))[1]) << 10

    def stop(self, limit=15):
        """SIGTERM must end it with status 0, and no sanitizer may have spoken."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(seconds(limit))
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop:\n{self.output()[-4000:]}") from None
        self._close_files()
        self.process = None
        self.check_sanitizers()
        assert status == 0, f"status {status}:\n{self.output()[-4000:]}"

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._close_files()
            self.process = None

    def _close_files(self):
        self._stdout.close()
        self._stderr.close()

    def check_sanitizers(self):
        text = self.stdout() + self.stderr()
        assert not SANITIZER.search(text), text

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, traceback):
        if kind is None:
            self.stop()
        else:
            self.kill()

    @property
    def center(self):
        return f"127.0.0.1:{self.center_port}"

    def http(self, method, path, body=None, headers=None, port=None):
        """One request: status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.api_port, timeout=seconds(10))
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def metrics(self):
        """Every sample by its name with labels, and by its bare name the sum over its labels."""
        status, _, body = self.http("GET", "/metrics")
        assert status == 200, status
        return parse_metrics(body.decode())

    def metric(self, name):
        found = self.metrics()
        assert name in found, f"{name} is not in /metrics"
        return found[name]

    def wait_metric(self, name, value, limit=10):
        last = []

        def there():
            last[:] = [self.metric(name)]
            return last[0] == value
        try:
            wait_until(there, limit)
        except AssertionError:
            raise AssertionError(f"{name} is {last}, not {value}") from None


def parse_metrics(text):
    samples = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.match(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})?\s+(\S+)', line)
        assert match, f"not a metric: {line!r}"
        name, labels, value = match.group(1), match.group(2), float(match.group(3))
        if labels:
            samples[name + labels] = value
        samples[name] = samples.get(name, 0) + value
    return samples
