"""Where servers and APIs listen: IPv6 and Unix sockets beside IPv4, and what goes wrong."""

import http.client
import json
import os
import re
import socket
import stat
import time

import pytest

import lab
from consumer import Consumer, basic
from harness import probe_binary, seconds, parse_metrics, wait_until, yaml
from lab import Lab
from marks import needs_ipv6
from probe import Probe
from wsclient import PING, place


def get(at, path, credentials=None):
    """GET over any kind of socket: the status and the body."""
    family, address = place(at)
    connection = http.client.HTTPConnection("localhost", timeout=seconds(10))
    connection.sock = socket.socket(family)
    connection.sock.settimeout(seconds(10))
    try:
        connection.sock.connect(address)
        connection.request("GET", path, headers=basic(credentials))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def rewrite(engine):
    engine.config_path.write_text(yaml(engine.config))


def node_at(at, credentials=None):
    status, body = get(at, "/v1/nodes", credentials)
    assert status == 200, body
    return json.loads(body)["nodes"][0]


def play(server, api):
    """A message up and an answer down; returns the client."""
    with Consumer(api, topics=["t"]) as consumer:
        client = Lab(server)
        client.lua("mix.queue.push('t', { text = 'up' })")
        event = consumer.wait_events(1)[0]
        assert event.data == {"text": "up"} and event.client == client.id
        assert consumer.wait_reply(consumer.mesh_send(client.id, "down")).error is None
        assert client.text() == "down"
    return client


# ---- IPv6

@needs_ipv6
@pytest.mark.parametrize("bind", ["::1", "[::1]"])
def test_ipv6_on_every_listener(make_engine, bind):
    engine = make_engine(lab.ENTRY, start=False)
    for block in (engine.config["center"]["apiServer"], engine.config["engine"]["apiServer"],
                  engine.config["engine"]["servers"][0]):
        block["bind"] = bind
    rewrite(engine)
    engine.start()
    for role, port in ("center api", engine.center_port), ("engine api", engine.api_port), ("server", engine.port):
        assert f"{role} listening on [::1]:{port}" in engine.output()
    node = node_at(("::1", engine.center_port))
    assert node["api_server"] == node["host"] == f"[::1]:{engine.api_port}"
    assert (node["ip"], node["port"]) == ("::1", engine.api_port)
    with play(("::1", engine.port), node["host"]) as client:
        own = client.sock.getsockname()
        assert client.lua("return conn:remote_addr()") == [f"[::1]:{own[1]}"]
    engine.wait_output(r"consumer \[::1\]:\d+ takes t")


@needs_ipv6
def test_every_address_is_both_families(make_engine):
    """bind `::`: IPv4 too, and its clients look like IPv4 clients."""
    engine = make_engine(lab.ENTRY, server={"bind": "::"}, api={"bind": "::"}, center={"bind": "::"})
    assert f"server listening on [::]:{engine.port}" in engine.output()
    for host, shown in ("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"):
        assert node_at((host, engine.center_port))["host"] == f"{shown}:{engine.api_port}"
        with play((host, engine.port), f"{shown}:{engine.api_port}") as client:
            assert client.lua("return conn:remote_addr()") == [f"{shown}:{client.sock.getsockname()[1]}"]


@needs_ipv6
def test_the_consumer_library_over_ipv6(make_engine, run_program):
    engine = make_engine(lab.ENTRY, center={"bind": "::1"}, api={"bind": "::1"})
    probe = Probe(run_program(probe_binary(), "--center", f"[::1]:{engine.center_port}", "--topics", "t", wait=False,
                              stdin=-1))
    engine.wait_output(r"consumer \[::1\]:\d+ takes t")
    with Lab(engine.port) as client:
        client.lua("mix.queue.push('t', { text = 'up' })")
        probe.wait("event", node=f"[::1]:{engine.api_port}", client=str(client.id))


# ---- Unix sockets

@pytest.fixture
def on_unix(make_engine):
    """An engine whose listeners are all Unix sockets; the paths are relative in its file."""
    def make(start=True, **options):
        engine = make_engine(
            lab.ENTRY, start=False, server={"bind": "unix:run/server.sock", **options.pop("server", {})},
            center={"bind": "unix:run/center.sock"},
            api={"bind": "unix:run/api.sock", "advertise": "example.org:6789"}, **options)
        (engine.folder / "run").mkdir()
        for name in ("server", "center", "api"):
            setattr(engine, f"{name}_at", engine.folder / "run" / f"{name}.sock")
        return engine.start() if start else engine
    return make


def test_unix_sockets_on_every_listener(on_unix):
    engine = on_unix()
    for role, at in ("center api", engine.center_at), ("engine api", engine.api_at), ("server", engine.server_at):
        assert f"{role} listening on unix:{at}" in engine.output()
    assert node_at(engine.center_at)["host"] == "example.org:6789"
    with play(engine.server_at, engine.api_at) as client:
        assert client.lua("return conn:remote_addr()") == ["unix:"]
        assert client.ask("x" * 1_000_000) == "x" * 1_000_000
        client.ping()
    engine.wait_output("consumer unix: takes t")
    engine.stop()
    assert not list((engine.folder / "run").iterdir())


def test_commands_over_http_on_a_unix_socket(on_unix):
    """As over TCP, one request after the other on one connection."""
    engine = on_unix()
    client = Lab(engine.server_at)
    api = http.client.HTTPConnection("localhost")
    api.sock = socket.socket(socket.AF_UNIX)
    api.sock.settimeout(seconds(10))
    api.sock.connect(str(engine.api_at))
    for number in range(3):
        api.request("POST", "/v1/mesh/send", json.dumps({"c": str(client.id), "d": f"down {number}"}))
        answer = api.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        if answer.will_close:
            api.sock = socket.socket(socket.AF_UNIX)
            api.sock.connect(str(engine.api_at))
        assert client.text() == f"down {number}"
    api.close()


def test_the_ends_of_unix_clients(on_unix):
    """A reset cannot be sent on a Unix socket; hang-ups, half-closes and unread input must be seen all the same."""
    engine = on_unix()
    quiet, half, unread = (Lab(engine.server_at) for _ in range(3))
    unread.send("an answer that nobody reads")
    half.shutdown()
    assert half.end()[1].reset is False
    quiet.drop()
    unread.drop()
    wait_until(lambda: parse_metrics(get(engine.api_at, "/metrics")[1])["mixengine_connections"] == 0,
               what="no connection")
    Lab(engine.server_at).close()


class NoPongs(Consumer):
    """Nothing but its reading tells that it lives."""

    def _handle(self, got):
        if got.opcode != PING:
            super()._handle(got)


def test_a_unix_consumer_that_reads_slowly_is_no_stalled_one(on_unix):
    """So slowly that the engine cannot write for longer than stallTimeout. One that reads no more is dropped."""
    engine = on_unix(queue={"stallTimeout": 2})
    consumer = NoPongs(engine.api_at, topics=["t"], read_size=6000).wait_consuming()
    with Lab(engine.server_at) as client:
        client.lua("for i = 1, 20 do mix.queue.push('t', { text = string.rep('x', 200000) }) end")
        for _ in range(25):
            consumer.step()
            time.sleep(0.2)
        assert "takes nothing" not in engine.output()
        engine.wait_output("consumer unix: takes nothing: dropped", limit=20)
    consumer.stop()


def test_a_restart_replaces_a_socket_that_was_left(on_unix):
    engine = on_unix()
    engine.kill()
    assert stat.S_ISSOCK(engine.server_at.stat().st_mode)
    engine.start()
    Lab(engine.server_at).close()


@pytest.mark.parametrize("which", ["server", "center", "api"])
def test_a_socket_in_use(on_unix, which):
    engine = on_unix(start=False)
    at = getattr(engine, f"{which}_at")
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(at))
        taken.listen()
        status, _, stderr = engine.run("single")
    lines = stderr.strip().splitlines()
    assert status == 1 and len(lines) == 1, stderr
    assert f"unix:{at}: address already in use: stop what listens there" in lines[0]
    assert at.exists()


def test_a_second_engine_leaves_the_first_alone(on_unix):
    engine = on_unix()
    assert engine.run("single")[0] == 1
    Lab(engine.server_at).close()
    assert get(engine.center_at, "/version")[0] == 200


def test_a_file_that_is_no_socket(on_unix):
    engine = on_unix(start=False)
    engine.server_at.write_text("precious")
    status, _, stderr = engine.run("single")
    assert status == 1 and "it is no socket: remove it or choose another path" in stderr
    assert engine.server_at.read_text() == "precious"


def test_a_folder_that_is_missing(on_unix):
    engine = on_unix(start=False)
    (engine.folder / "run").rmdir()
    status, _, stderr = engine.run("single")
    assert status == 1 and "run/center.sock: no such file or directory: make its folder first" in stderr


def test_a_folder_that_may_not_be_written(on_unix):
    """As root nothing is forbidden, so the folder is one of /proc, where nobody may make files."""
    engine = on_unix(start=False)
    engine.config["engine"]["servers"][0]["bind"] = "unix:/proc/self/a.sock"
    rewrite(engine)
    status, _, stderr = engine.run("single")
    assert status == 1 and re.search(r"servers\[0\] unix:/proc/self/a\.sock: .+: \w+", stderr), stderr


def test_a_path_that_is_too_long(on_unix):
    engine = on_unix(start=False)
    engine.config["engine"]["servers"][0]["bind"] = "unix:run/" + "x" * 107
    rewrite(engine)
    status, _, stderr = engine.run("check")
    assert status == 78
    assert re.search(r"engine\.yaml:\d+:\d+: error: the socket's path has \d+ bytes, and the system takes 107: ", stderr)


def test_the_umask_says_who_may_connect(on_unix):
    before = os.umask(0o007)
    try:
        engine = on_unix()
    finally:
        os.umask(before)
    assert stat.S_IMODE(engine.server_at.stat().st_mode) == 0o770


def test_check_prints_what_it_would_listen_on(on_unix):
    engine = on_unix(start=False, servers=[{"port": 7001, "bind": "[::1]", "entry": "lua/entry.lua"}])
    status, stdout, _ = engine.run("check")
    assert status == 0
    assert f"center api  unix:{engine.center_at}\nengine api  unix:{engine.api_at}\n" in stdout
    assert re.search(rf"^server      unix:{engine.server_at}  .*lua/entry\.lua\n"
                     r"server      \[::1\]:7001  .*lua/entry\.lua\n", stdout, re.M)
    assert not engine.server_at.exists()


def test_hosts_of_users(make_engine):
    """A host pattern holds against Unix peers too, and a node of every address is told to them as of this machine."""
    def user(name, host):
        return {"username": name, "password": "p", "roles": ["read", "write"], "host": host}
    users = [user("local", "unix"), user("v4", "127.0.0.*"), user("all", "*")]
    engine = make_engine(lab.ENTRY, users=users, center={"bind": "unix:center.sock"}, api={"bind": "0.0.0.0"})
    center = engine.folder / "center.sock"
    assert [get(center, "/v1/nodes", (u["username"], "p"))[0] for u in users] == [200, 401, 200]
    assert [get(engine.api_port, "/metrics", (u["username"], "p"))[0] for u in users] == [401, 200, 200]
    assert node_at(center, ("local", "p"))["host"] == f"127.0.0.1:{engine.api_port}"
