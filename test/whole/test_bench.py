"""engine-bench measures the engine and the ceiling, loses nothing that they send, and tells on a server
that breaks the rules. Nothing here depends on how fast anything is."""

import base64
import hashlib
import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import threading

import pytest

import harness
from tls import Authority

BUILD = pathlib.Path(harness.binary()).parent
BENCH = os.path.abspath(os.environ.get("BENCH") or BUILD / "engine-bench")
CEILING = os.path.abspath(os.environ.get("CEILING") or BUILD / "tests/ceiling")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SUBSCRIBE = ("--pre", "sub", "--pre-expect", "ok")
JOIN = ("--join", "sub:{c}", "--join-expect", "ok{c}")


def bench(*words):
    """Status, standard output, standard error."""
    done = subprocess.run([BENCH, *map(str, words)], capture_output=True, text=True, timeout=harness.seconds(50))
    assert not harness.SANITIZER.search(done.stderr), done.stderr
    return done.returncode, done.stdout, done.stderr


def measure(mode, port, *words, status=0, scheme="ws"):
    """The report of a run against 127.0.0.1:port."""
    code, out, err = bench(mode, "--url", f"{scheme}://127.0.0.1:{port}/", "--json", *words)
    assert code == status, f"status {code}\n{out}\n{err}"
    assert out.count("\n") == 1
    return json.loads(out)


def publisher(port, frame="pub:{msg}", scheme="ws"):
    return "--pub-ws", f"{scheme}://127.0.0.1:{port}/", "--pub-frame", frame


def has_percentiles(report, prefix):
    values = [report[f"{prefix}_{name}_us"] for name in ("p50", "p90", "p99", "p99_9", "max")]
    assert values == sorted(values) and values[0] > 0, values


@pytest.fixture(scope="module")
def engine(make_shared):
    return make_shared((harness.FIXTURES / "bench.lua"), server={"protocol": "websocket"})


class Server:
    def __init__(self, port, pid):
        self.port, self.pid = port, pid


@pytest.fixture(scope="module", params=["engine", "ceiling", "ceiling -b"])
def server(request, tmp_path_factory):
    """Each of those that echo, and fan out one channel."""
    if request.param == "engine":
        engine = request.getfixturevalue("engine")
        yield Server(engine.port, engine.process.pid)
        return
    port = harness.free_port()
    process = subprocess.Popen([CEILING, str(port), *request.param.split()[1:]])
    try:
        harness.wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 10, "the ceiling's port")
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait()


# ---- every mode

@pytest.mark.parametrize("depth", [1, 16])
def test_echo(server, depth):
    report = measure("echo", server.port, "--conns", 10, "--depth", depth, "--time", harness.seconds(0.3), "--warmup", 0.1,
                     "--pid", server.pid, "--label", 'a "label"')
    assert report["mode"] == "echo" and report["label"] == 'a "label"'
    assert report["conns"] == report["connected"] == 10
    assert report["messages"] > 0 and report["msgs_per_s"] > 0
    assert report["payload_mismatch"] == report["unanswered"] == report["unexpected"] == 0
    assert report["protocol_errors"] == report["dropped_during_run"] == 0
    assert report["server_rss"] > 1 << 20
    assert {"server_cpu_cores", "client_cpu_cores", "other_cpu_cores", "connects_per_s"} <= set(report)
    has_percentiles(report, "lat")


def test_echo_of_binary_frames_of_every_length(server):
    for size in (1, 125, 126, 65535, 65536):
        report = measure("echo", server.port, "--conns", 2, "--size", size, "--time", harness.seconds(0.1),
                         "--warmup", 0, "--binary", "--threads", 2)
        assert report["messages"] > 0 and report["size"] == size


def test_echo_by_a_schedule(server):
    """What was due is what was sent: the rate does not give way to a slow server."""
    report = measure("echo", server.port, "--conns", 7, "--rate", 500, "--time", 0.5, "--warmup", 0.1)
    assert report["rate"] == 500
    assert abs(report["messages"] + report["not_sent_in_time"] - 500 * report["seconds"]) <= 2
    assert report["unanswered"] == report["unexpected"] == 0
    has_percentiles(report, "lat")


@pytest.mark.parametrize("words", [("--window", 8), ("--rate", 2000), ("--threads", 3), ("--stream",)])
def test_fanout(server, words):
    messages = harness.times(300)
    report = measure("fanout", server.port, "--conns", 50, "--messages", messages, *SUBSCRIBE, *publisher(server.port),
                     *words)
    assert report["published"] == report["complete_messages"] == messages
    assert report["delivered"] == 50 * messages
    assert report["lost"] == report["gaps"] == report["duplicated_or_reordered"] == 0
    assert report["logins_per_s"] > 0
    has_percentiles(report, "lat")
    has_percentiles(report, "complete")


def test_fanout_beside_bystanders(server):
    report = measure("fanout", server.port, "--conns", 50, "--messages", 100, "--rate", 400, *SUBSCRIBE,
                     *publisher(server.port), "--bystanders", 3, "--bystander-rate", 200)
    assert report["delivered"] == 5000 and report["lost"] == 0
    assert report["connected"] == 50 and report["bystander_conns"] == 3
    assert report["bystander_messages"] > 0
    assert report["bystander_unanswered"] == report["bystander_wrong"] == 0
    has_percentiles(report, "bystander")


def test_channels(engine):
    """Each of 20 connections subscribes to 25 of 100 channels, and gets what is published there alone."""
    report = measure("channels", engine.port, "--conns", 20, "--channels", 100, "--subscribers", 5,
                     "--messages", 1000, *JOIN, *publisher(engine.port, "pub:{c}:{msg}"))
    assert report["channels"] == 100 and report["subscribers"] == 5
    assert report["delivered"] == 5000 and report["complete_messages"] == 1000
    assert report["lost"] == report["gaps"] == report["duplicated_or_reordered"] == 0


def test_channels_that_a_server_mixes_up(engine):
    """All go to channel 0: its subscribers, who have a quarter of the channels, get what is not theirs."""
    report = measure("channels", engine.port, "--conns", 20, "--channels", 100, "--subscribers", 5, "--window", 200, "--drain", 2,
                     "--messages", 200, *JOIN, *publisher(engine.port, "pub:0:{msg}"), status=1)
    assert report["stray"] == report["lost"] == 750 and report["delivered"] == 250


def test_mixed(server):
    """The fast ones get everything; what the slow ones do not get is told, and is no error."""
    messages = harness.times(2000)
    report = measure("mixed", server.port, "--conns", 10, "--slow", 3, "--slow-rate", 1000, "--messages", messages,
                     "--size", 2000, "--drain", 5, *SUBSCRIBE, *publisher(server.port))
    assert report["fast_conns"] == 7 and report["slow_conns"] == 3
    assert report["delivered"] == 7 * messages
    assert report["lost"] == report["duplicated_or_reordered"] == report["fast_disconnected"] == 0
    assert report["slow_delivered"] + report["slow_lost"] == 3 * messages
    assert report["slow_disconnected"] <= 3 and "echo_unanswered" in report
    assert report["echo_conns"] == 10 and report["echo_wrong"] == 0


def test_slow_readers_that_a_server_ends(make_engine):
    engine = make_engine((harness.FIXTURES / "bench.lua"), workers=1,
                         server={"protocol": "websocket", "maxBacklog": "64 KiB"})
    report = measure("mixed", engine.port, "--conns", 4, "--slow", 1, "--messages", 400, "--size", 30000, "--window", 1,
                     *SUBSCRIBE, *publisher(engine.port))
    assert report["slow_disconnected"] == 1 and report["slow_lost"] > 0
    assert report["delivered"] == 1200 and report["fast_disconnected"] == report["dropped_during_run"] == 0


def test_idle(server):
    report = measure("idle", server.port, "--conns", 100, "--hold", 0.2, "--settle", 0.1, "--pid", server.pid,
                     "--children", *SUBSCRIBE)
    assert report["connected"] == report["alive_at_end"] == 100
    assert report["server_procs"] >= 1 and report["rss_after"] > 0 and report["settled_rss"] > 0
    assert report["connects_per_s"] > 0 and report["logins_per_s"] > 0 and report["login_p50_us"] > 0
    assert {"rss_per_conn", "pss_per_conn", "settled_rss_per_conn", "kernel_slab_per_conn_pair"} <= set(report)


def test_script(server):
    report = measure("script", server.port, "--conns", 5, "--step-nowait", "x{i}", "--step-expect", "x{i}",
                     "--step", "r{n}.", "--step-expect", "r{n}.", "--time", harness.seconds(0.3), "--warmup", 0.1)
    assert report["rounds"] > 0 and report["unexpected"] == 0
    has_percentiles(report, "lat")


def test_over_tls(make_engine, tmp_path):
    """Messages of many records, of more than is read at once, and slow readers."""
    engine = make_engine((harness.FIXTURES / "bench.lua"),
                         server={"protocol": "websocket", "maxBacklog": "64 MiB", "tls": Authority(tmp_path).server()})
    for size in 1, 64, 600000:
        report = measure("echo", engine.port, "--conns", 5, "--depth", 4, "--size", size, "--time", harness.seconds(0.3),
                         "--warmup", 0, scheme="wss")
        assert report["messages"] > 0 and report["connected"] == 5
        assert report["payload_mismatch"] == report["unanswered"] == 0
    report = measure("mixed", engine.port, "--conns", 10, "--slow", 3, "--slow-rate", 1000, "--messages", 50, "--size", 64,
                     "--bystanders", 2, *SUBSCRIBE, *publisher(engine.port, scheme="wss"), scheme="wss")
    assert report["delivered"] == 7 * 50 and report["lost"] == report["slow_disconnected"] == 0
    assert report["slow_delivered"] + report["slow_lost"] == 3 * 50
    engine.wait_metric("mixengine_connections", 0)
    assert engine.metric("mixengine_tls_handshakes_total") == 3 * 5 + 10 + 2 + 1
    assert engine.metric("mixengine_tls_failures_total") == 0


def test_over_tls_to_a_plain_server(engine):
    status, _, err = bench("echo", "--url", f"wss://127.0.0.1:{engine.port}/", "--conns", 1)
    assert status == 1 and "the TLS handshake failed" in err


def test_a_report_for_people(server):
    status, out, _ = bench("echo", "--url", f"ws://127.0.0.1:{server.port}/", "--conns", 2, "--time", harness.seconds(0.1),
                           "--warmup", 0)
    assert status == 0
    assert re.search(r"^  msgs_per_s +\S+ /s$", out, re.M) and re.search(r"^  lat_p99_us +\S+ us$", out, re.M)


# ---- servers that break the rules

def frame(data, first=0x81):
    assert len(data) < 126
    return bytes([first, len(data)]) + data


class Rogue:
    """Echoes, and publishes to whoever said "sub", through what a test puts in the way of each frame."""

    def __init__(self, spoil, accept=None):
        self.spoil, self.accept = spoil, accept
        self.subscribers, self.lock = [], threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(client,), daemon=True).start()

    def talk(self, client):
        try:
            with client, client.makefile("rb") as stream:
                head = b"".join(iter(stream.readline, b"\r\n"))
                key = re.search(rb"Sec-WebSocket-Key: (\S+)", head).group(1)
                accept = self.accept or base64.b64encode(hashlib.sha1(key + GUID).digest())
                client.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
                while self.answer(client, stream):
                    pass
        except (OSError, struct.error):
            pass

    def answer(self, client, stream):
        _, length = struct.unpack("BB", stream.read(2))
        mask = stream.read(4)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(stream.read(length & 127)))
        with self.lock:
            if data == b"sub":
                self.subscribers.append(client)
                client.sendall(frame(b"ok"))
            elif data.startswith(b"pub:"):
                for subscriber in self.subscribers:
                    subscriber.sendall(self.spoil(data[4:]))
            else:
                client.sendall(self.spoil(data))
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def every(nth, spoilt):
    """A server that spoils each nth message."""
    count = iter(range(1, 1 << 30))
    return lambda data: spoilt(data) if next(count) % nth == 0 else frame(data)


def test_the_rogue_is_good_when_nothing_is_spoilt():
    with Rogue(frame) as rogue:
        measure("echo", rogue.port, "--conns", 2, "--time", harness.seconds(0.1), "--warmup", 0)
        report = measure("fanout", rogue.port, "--conns", 3, "--messages", 30, *SUBSCRIBE, *publisher(rogue.port))
        assert report["delivered"] == 90


BREACHES = {
    "server frame is masked": lambda data: bytes([0x81, 0x80 | len(data)]) + bytes(4) + data,
    "reserved bits set": lambda data: frame(data, 0xC1),
    "reserved opcode": lambda data: frame(data, 0x83),
    "continuation of nothing": lambda data: frame(data, 0x80),
    "fragmented control frame": lambda data: frame(data, 0x09),
    "length is not in its shortest form": lambda data: bytes([0x81, 126, 0, len(data)]) + data,
}


@pytest.mark.parametrize("why", BREACHES)
def test_a_frame_that_breaks_the_rules_is_told(why):
    with Rogue(every(3, BREACHES[why])) as rogue:
        report = measure("echo", rogue.port, "--conns", 1, "--time", harness.seconds(0.3), "--warmup", 0, "--drain", 0.3, status=1)
        assert report["protocol_errors"] == 1 and why in report["first_error"]
        assert report["dropped_during_run"] == 1


def test_lost_deliveries_are_told():
    with Rogue(every(10, lambda data: b"")) as rogue:
        report = measure("fanout", rogue.port, "--conns", 1, "--messages", 35, "--window", 35, "--drain", 1,
                         *SUBSCRIBE, *publisher(rogue.port), status=1)
        assert report["lost"] == report["gaps"] == 3 and report["delivered"] == 32


def test_repeated_deliveries_are_told():
    with Rogue(every(10, lambda data: frame(data) * 2)) as rogue:
        report = measure("fanout", rogue.port, "--conns", 1, "--messages", 35, *SUBSCRIBE, *publisher(rogue.port),
                         status=1)
        assert report["lost"] == 0 and report["duplicated_or_reordered"] == 3


def test_deliveries_out_of_order_are_told():
    kept = []

    def swap(data):
        kept.append(data)
        return frame(kept.pop()) + frame(kept.pop()) if len(kept) == 2 else b""
    with Rogue(swap) as rogue:
        report = measure("fanout", rogue.port, "--conns", 1, "--messages", 20, "--window", 20, "--drain", 1,
                         *SUBSCRIBE, *publisher(rogue.port), status=1)
        assert report["duplicated_or_reordered"] == 10 and report["gaps"] == 10


@pytest.mark.parametrize("key, spoilt", [
    ("unanswered", lambda data: b""),
    ("unexpected", lambda data: frame(data) * 2),
    ("payload_mismatch", lambda data: frame(data[:-1] + b"!")),
])
def test_echoes_that_are_wrong_are_told(key, spoilt):
    with Rogue(every(3, spoilt)) as rogue:
        report = measure("echo", rogue.port, "--conns", 1, "--time", harness.seconds(0.3), "--warmup", 0, "--drain", 0.3, status=1)
        assert report[key] > 0


def test_a_handshake_that_breaks_the_rules_is_told():
    with Rogue(frame, accept=b"AAAAAAAAAAAAAAAAAAAAAAAAAAA=") as rogue:
        status, out, err = bench("echo", "--url", f"ws://127.0.0.1:{rogue.port}/", "--conns", 2)
        assert status == 1 and not out and "wrong Sec-WebSocket-Accept" in err


# ---- what cannot be measured

@pytest.mark.parametrize("words, why", [
    ((), "a mode is missing"),
    (("eco",), "unknown mode 'eco'"),
    (("echo",), "--url is missing"),
    (("echo", "--url", "ws://192.0.2.1/"), "needs --remote"),
    (("echo", "--url", "ftp://127.0.0.1/"), "must begin with ws://"),
    (("echo", "--conn", "3"), "nearest known one is '--conns'"),
    (("echo", "--conns"), "--conns needs a value"),
    (("echo", "--conns", "0"), "from 1 to"),
    (("echo", "--conns", "1.5"), "whole number"),
    (("echo", "--time", "soon"), "found 'soon'"),
    (("echo", "--pid", "999999999"), "no such process"),
    (("fanout", "--url", "ws://127.0.0.1:1/"), "needs --pub-ws"),
    (("channels", "--url", "ws://127.0.0.1:1/"), "needs --join"),
    (("script", "--url", "ws://127.0.0.1:1/"), "needs a --step that waits"),
])
def test_a_command_line_that_is_wrong(words, why):
    status, out, err = bench(*words)
    assert status == 2 and not out and why in err and err.count("\n") == 1


def test_nobody_listens():
    status, out, err = bench("echo", "--url", f"ws://127.0.0.1:{harness.free_port()}/", "--conns", 3)
    assert status == 1 and not out and "no connection succeeded" in err and "Connection refused" in err


def test_help_names_every_mode_and_option():
    status, out, err = bench("--help")
    assert status == 0 and not err
    for word in ("echo", "fanout", "channels", "mixed", "idle", "script", "--remote", "--json", "Status:"):
        assert word in out
    documented = (harness.ROOT / "docs/benchmarking.md").read_text()
    for mode in re.findall(r"^  (\w+) {3,}", out.split("Any mode")[0], re.M):
        assert f"engine-bench {mode}" in documented, mode
