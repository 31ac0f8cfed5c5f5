"""The configuration file is read again: when it has changed, and on SIGHUP."""

import os
import re
import signal
import threading

import pytest

import lab
from consumer import Api
from harness import SLOW, seconds, times, wait_until, yaml
from lab import Lab
from wsclient import TEXT, Client, Closed, assert_turned_away

AGAIN = "loaded again"


def log_after(engine, before):
    return engine.log()[before:]


def put(engine, text=None):
    """As editors do: a new file takes the place of the old one."""
    text = yaml(engine.config) if text is None else text
    new = engine.config_path.with_suffix(".new")
    new.write_bytes(text if isinstance(text, bytes) else text.encode())
    os.replace(new, engine.config_path)


def reload(engine, text=None, expect=AGAIN):
    """Writes the file, sends SIGHUP; returns what was logged until it was done."""
    before = len(engine.log())
    put(engine, text)
    engine.process.send_signal(signal.SIGHUP)
    wait_until(lambda: expect in log_after(engine, before), 10, expect)
    return log_after(engine, before)


def server(engine):
    return engine.config["engine"]["servers"][0]


# ---- when

def test_a_changed_file_is_read_within_seconds(make_engine):
    engine = make_engine(lab.ENTRY)
    server(engine)["maxMessageSize"] = 1000
    put(engine)
    engine.wait_output(AGAIN)


def test_in_place_and_touched(make_engine):
    engine = make_engine(lab.ENTRY)
    for count in (1, 2):
        engine.config_path.write_text(engine.config_path.read_text() + "# more\n")
        wait_until(lambda: engine.log().count(AGAIN) >= count, 5, f"reload {count}")


def test_sighup_without_a_change(make_engine):
    engine = make_engine(lab.ENTRY)
    assert "warning" not in reload(engine)


def test_the_file_vanishes_and_comes_back(make_engine):
    engine = make_engine(lab.ENTRY)
    text = engine.config_path.read_text()
    engine.config_path.unlink()
    engine.wait_output("cannot be read")
    with Lab(engine.port) as client:
        assert client.ask("x") == "x"
    put(engine, text)
    engine.wait_output(AGAIN)
    assert engine.log().count("cannot be read") == 1


# ---- what takes effect

def test_logging_level(make_engine):
    engine = make_engine(lab.ENTRY)
    with Lab(engine.port) as client:
        client.lua("mix.log(mix.DEBUG, 'not seen') mix.log(mix.INFO, 'seen one')")
        engine.wait_output("seen one")
        engine.config["logging"]["level"] = "debug"
        reload(engine)
        client.lua("mix.log(mix.DEBUG, 'seen two')")
        engine.wait_output("seen two")
        assert "not seen" not in engine.log()
        engine.config["logging"]["level"] = "error"
        put(engine)
        engine.process.send_signal(signal.SIGHUP)
        number = iter(range(1000))

        def quiet():
            mark = f"mark {next(number)} "
            client.lua(f"mix.log(mix.INFO, '{mark}') mix.log(mix.ERROR, '{mark}')")
            wait_until(lambda: re.search(f"ERROR.*{mark}", engine.log()), 5, mark)
            return not re.search(f"INFO.*{mark}", engine.log())
        wait_until(quiet, 5, "only errors")


def test_read_timeout_of_new_connections(make_engine):
    engine = make_engine(lab.ENTRY, server={"readTimeout": 60, "pingInterval": 0})
    with Lab(engine.port) as old:
        server(engine)["readTimeout"] = 1
        reload(engine)
        with Lab(engine.port) as new:
            new.end()
        assert old.ask("x") == "x"


FLOOD = """~local codec = require("protocols/websocket")
for i = 1, 300 do conn:send(codec.encode(("x"):rep(50000))) end"""


def test_max_backlog_of_new_connections(make_engine):
    """15 MB are more than the new bound and what the kernel takes."""
    engine = make_engine(lab.ENTRY, server={"maxBacklog": 64 << 20})

    def slow():
        return Client(engine.port, receive_buffer=4096).handshake("/")
    with slow() as old:
        server(engine)["maxBacklog"] = 100000
        reload(engine)
        with slow() as new:
            for client in (old, new):
                client.send(FLOOD)
            engine.wait_metric("mixengine_connections", 1)
        for _ in range(300):
            assert len(old.recv().payload) == 50000


def test_max_message_size_of_new_connections(make_engine):
    engine = make_engine(lab.ENTRY, server={"maxMessageSize": 1000})
    with Lab(engine.port) as old:
        server(engine)["maxMessageSize"] = 2000
        reload(engine)
        with Lab(engine.port) as new:
            assert new.ask("x" * 1500) == "x" * 1500
        old.send("x" * 1500)
        assert [f.code for f in old.end()[0]] == [1009]


def test_handshake_timeout_of_new_connections(make_engine):
    engine = make_engine(lab.ENTRY, server={"handshakeTimeout": 60})
    with Client(engine.port) as old:
        Lab(engine.port).drop()  # whoever came before has been accepted
        old.raw(b"GET / HT")
        server(engine)["handshakeTimeout"] = 1
        reload(engine)
        with Client(engine.port) as new:
            new.end()
        assert old.silent(0.2)


def test_ping_interval_of_new_connections(make_engine):
    engine = make_engine(lab.ENTRY, server={"pingInterval": 0})
    with Lab(engine.port) as old:
        server(engine)["pingInterval"] = 1
        reload(engine)
        with Lab(engine.port) as new:
            assert new.recv().opcode == 9
        assert old.silent(0.2)


def test_limits_of_channels_and_context_of_new_connections(make_engine):
    engine = make_engine(lab.ENTRY, server={"maxSubscriptions": 1, "maxChannelLength": 4, "maxContext": 100})
    with Lab(engine.port) as old, Api(engine.api_port) as api:
        server(engine).update(maxSubscriptions=2, maxChannelLength=8, maxContext=4000)
        reload(engine)
        with Lab(engine.port) as new:
            for client, works in ((old, False), (new, True)):
                assert client.lua("return conn:subscribe('a')") == [None]
                assert (client.lua("return conn:subscribe('b')") == [None]) == works
                client.lua("conn:unsubscribe('b')")
                assert (client.lua("return conn:subscribe('12345678')") == [None]) == works
                assert (api.func(client.id, "set_context_value", "k", "x" * 1000).error is None) == works


def test_read_ahead_of_new_connections(make_engine):
    """With little read ahead the client's own buffers fill up."""
    engine = make_engine(lab.ENTRY, server={"readAhead": 16 << 20, "maxBacklog": 64 << 20})
    server(engine)["readAhead"] = 65536
    reload(engine)
    with Lab(engine.port) as client, Api(engine.api_port) as api:
        number = client.id
        client.send("=return conn:wait_context_value('k')")
        size, count = 20000, 600  # 12 MB: more than kernels hold, less than the old value
        done = threading.Event()

        def write():
            for i in range(count):
                client.send("x" * size)
            done.set()
        writer = threading.Thread(target=write)
        writer.start()
        assert not done.wait(0.5)
        assert api.func(number, "set_context_value", "k", 1).error is None
        for _ in range(count + 1):
            client.text()
        writer.join()


def test_max_connections(make_engine):
    engine = make_engine(lab.ENTRY, server={"maxConnections": 1})
    with Lab(engine.port):
        assert_turned_away(engine.port)
        server(engine)["maxConnections"] = 2
        reload(engine)
        with Lab(engine.port) as client:
            assert client.ask("x") == "x"


def test_queue_full(make_engine):
    engine = make_engine(lab.ENTRY, queue={"topicSize": 1, "fullTimeout": 60})
    with Lab(engine.port) as client:
        assert client.lua("return mix.queue.push('t', 'x')")[0] == 1
        engine.config["engine"]["luavm"]["queue"]["full"] = "error"
        reload(engine)
        assert isinstance(client.lua("return mix.queue.push('t', 'x')")[1], str)
        engine.config["engine"]["luavm"]["queue"].update(full="block", fullTimeout=2, stallTimeout=1)
        reload(engine)
        assert isinstance(client.timeout(20).lua("return mix.queue.push('t', 'x')")[1], str)


def test_origins_and_advertise(make_engine):
    engine = make_engine(lab.ENTRY)

    def status(origin):
        with Client(engine.api_port) as client:
            return client.handshake("/ws/v1", [f"Origin: {origin}"], check=False).answer.status
    assert status("http://elsewhere") == 101
    engine.config["engine"]["apiServer"].update(origins=["http://here"], advertise="example.net:1234")
    reload(engine)
    wait_until(lambda: status("http://elsewhere") == 403, 5, "the origins")
    assert status("http://here") == 101
    assert b'"example.net:1234"' in engine.http("GET", "/v1/nodes", port=engine.center_port)[2]


def test_origins_of_a_server(make_engine):
    engine = make_engine(lab.ENTRY)

    def status(origin):
        with Client(engine.port) as client:
            return client.handshake("/", [f"Origin: {origin}"], check=False).answer.status
    assert status("http://elsewhere") == 101
    server(engine)["origins"] = ["http://here"]
    reload(engine)
    wait_until(lambda: status("http://elsewhere") == 403, 5, "the origins")
    assert status("http://here") == 101


def test_stop_timeout(make_engine):
    """Read before the stop: with the old one this test would run out of time."""
    engine = make_engine(lab.ENTRY, engine={"stopTimeout": 600})
    with Lab(engine.port) as client:
        assert client.lua("return mix.queue.push('t', 'nobody takes this')")[0] == 1
    engine.config["engine"]["stopTimeout"] = 1
    reload(engine)
    engine.stop()


def test_write_timeout_of_consumers(make_engine):
    """One that reads no replies is dropped after the new time."""
    engine = make_engine(lab.ENTRY, api={"writeTimeout": 600})
    engine.config["engine"]["apiServer"]["writeTimeout"] = 1
    reload(engine)
    slow = Client(engine.api_port, receive_buffer=4096).handshake("/ws/v1")
    slow.sock.settimeout(seconds(10))
    body = '{"method":"server.ping","params":[],"id":"' + "x" * 2000 + '"}'
    try:
        for _ in range(900):
            slow.send(body)
    except (OSError, Closed):
        pass  # it has been dropped already, or will be
    engine.wait_output("takes nothing: dropped")
    slow.drop()


# ---- what does not

@pytest.mark.parametrize("where,key,value", [
    (("logging",), "maxFiles", 3), (("logging",), "maxSize", "64 KiB"), (("logging",), "format", "json"), (("logging",), "filename", "logs/other.log"),
    (("center", "apiServer"), "port", 1), (("engine", "apiServer"), "bind", "127.0.0.2"),
    (("engine", "apiServer"), "readTimeout", 7), (("engine", "luavm", "queue"), "topicSize", 5),
    (("engine", "luavm", "queue"), "affinity", "any"), (("engine", "servers", 0), "port", 2),
    (("engine", "servers", 0), "sharedEncode", "off"),
    (("engine", "servers", 0), "options", [{"name": "a", "value": "b"}])])
def test_a_key_that_needs_a_restart(make_engine, where, key, value):
    """One warning that names it with its line, once; what else changed takes effect."""
    engine = make_engine(lab.ENTRY, queue={"maxTopics": 90})
    section = engine.config
    for part in where:
        section = section[part]
    section[key] = value
    server(engine)["maxMessageSize"] = 1000
    logged = reload(engine)
    line = 1 + engine.config_path.read_text().split(f"{key}:")[0].count("\n")
    if key in ("port", "bind", "options"):  # more than once in the file; a list begins below its key
        line = None
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in where)[1:] + "." + key
    warnings = [text for text in logged.splitlines() if "it takes effect after a restart" in text]
    assert len(warnings) == 1 and path in warnings[0], logged
    assert re.search(rf"engine\.yaml:{line or '[0-9]+'}:[0-9]+: warning: ", warnings[0]), warnings
    with Lab(engine.port) as client:
        client.send("x" * 1001)
        assert [f.code for f in client.end()[0]] == [1009]
    assert "it takes effect after a restart" in reload(engine), "it has not taken effect yet"


def test_another_count_of_servers(make_engine):
    engine = make_engine(lab.ENTRY)
    engine.config["engine"]["servers"].append({"port": 1, "entry": "lua/entry.lua", "readTimeout": 1})
    server(engine)["maxMessageSize"] = 1000
    logged = reload(engine)
    assert re.search(r"engine\.yaml:\d+:\d+: warning: engine\.servers: .*restart", logged)
    with Lab(engine.port) as client:
        assert client.ask("x" * 1500) == "x" * 1500


def test_a_key_that_is_taken_out(make_engine):
    engine = make_engine(lab.ENTRY, server={"sharedEncode": "off"})
    del server(engine)["sharedEncode"]
    assert "engine.yaml: warning: engine.servers[0].sharedEncode: is no longer set" in reload(engine)


# ---- what is wrong

@pytest.mark.parametrize("text,place", [
    ("logging: {level: loud}\n", ":1:18: error: logging.level"), ("engine: [\n", ":2:1: error: not valid YAML"),
    (b"log: \xff\n", ":1:6: error: not valid YAML"), ("engine: {servers: [{entry: lua/none.lua}]}\n", ":1:28: error"),
    ("access: {users: [{username: a, password: $2b$nope, roles: [read]}]}\n", ":1:42: error: access.users[0].password")])
def test_a_wrong_file_changes_nothing(make_engine, text, place):
    engine = make_engine(lab.ENTRY, server={"maxMessageSize": 1000})
    logged = reload(engine, text, expect="what was read before holds on")
    assert place in logged
    with Lab(engine.port) as client:
        assert client.ask("x" * 1000) == "x" * 1000
        client.send("x" * 1001)
        assert [f.code for f in client.end()[0]] == [1009]
    assert engine.http("GET", "/version", port=engine.center_port)[0] == 200
    server(engine)["maxMessageSize"] = 2000
    reload(engine)
    with Lab(engine.port) as client:
        assert client.ask("x" * 2000) == "x" * 2000


def test_a_wrong_file_is_told_once(make_engine):
    engine = make_engine(lab.ENTRY)
    put(engine, "logging: {level: loud}\n")
    engine.wait_output("logging.level")
    put(engine, "logging: {level: louder}\n")
    engine.wait_output("louder")
    assert len(re.findall("found 'loud'", engine.log())) == 1


# ---- many

@pytest.mark.timeout(seconds(600))
def test_a_thousand_reloads(make_engine):
    """Memory stays flat, and the client that was there all the time is served."""
    users = [{"username": f"u{i}", "password": "x" * 100, "roles": ["read"]} for i in range(100)]
    engine = make_engine(lab.ENTRY, users=users, workers=4, logging={"level": "info"})
    done = 0

    def again(count):
        nonlocal done
        for _ in range(count):
            server(engine)["readTimeout"] = 100 + done % 7
            server(engine)["maxMessageSize"] = 5000 + done
            put(engine)
            engine.process.send_signal(signal.SIGHUP)
            done += 1
            wait_until(lambda: engine.log().count(AGAIN) >= done, 10, f"reload {done}")
    with Lab(engine.port) as client:
        again(times(200))
        before = engine.resident()
        again(times(800))

        def served():
            with Lab(engine.port) as new:
                new.send("y" * (4999 + done))
                return new.recv_message().opcode == TEXT
        wait_until(served, what="the last configuration")  # a look at the file may have been one of those counted
        assert client.ask("x") == "x"
        if not SLOW:  # a sanitizer keeps freed memory for a while, and counts what is left at the end
            assert engine.resident() - before < 2 << 20, (before, engine.resident())
