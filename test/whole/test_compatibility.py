"""Rows of docs/compatibility.md that no other file shows: scripts, consumers, configuration."""

import json
import os
import pathlib
import signal

import pytest

import kinds
from consumer import CONSUME, Api, Consumer
from harness import FIXTURES, free_port, wait_until
from lab import ENTRY, Lab
from wsclient import Client, connect

# ---- scripts

GENERATION_1 = """
local function what(v)
    if v == nil then return "<nil>" end
    if type(v) ~= "userdata" then return v end
    return v == mix.socket.tcp() and "conn" or "buf"
end
local function called(name, ...)
    local args = {}
    for i = 1, select("#", ...) do args[i] = what((select(i, ...))) end
    mix.queue.push("called", { name = name, args = args })
end
function init(...) called("init", ...) end
function on_connect(...) called("on_connect", ...) end
function protocol_input(buf, ...)
    called("protocol_input", buf, ...)
    return (buf:tostring():find("\\n") or 0)
end
function protocol_decode(str, ...) called("protocol_decode", str, ...) return str:upper() end
function on_message(...)
    called("on_message", ...)
    mix.mesh.send(mix.socket.tcp():client_id(), "answer")
end
function protocol_encode(str, ...) called("protocol_encode", str, ...) return str .. "\\n" end
function on_close(...) called("on_close", ...) end
"""

CALLED = {"init": [], "on_connect": ["conn"], "protocol_input": ["buf", "conn"], "protocol_decode": ["hello\n", "conn"],
          "on_message": ["HELLO\n", "conn"], "protocol_encode": ["answer", "conn", "text"], "on_close": ["<nil>", "conn"]}


@pytest.fixture(scope="module")
def called(make_shared):
    """What each entry point of generation 1 was called with, in the order of the calls."""
    engine = make_shared(GENERATION_1, workers=1)
    with Consumer(engine.api_port, topics=["called"]) as consumer:
        with Client(engine.port) as client:
            client.raw(b"hello\n")
            assert client.line() == b"answer"
        return [(e.data["name"], e.data["args"]) for e in consumer.wait_events(len(CALLED))]


@pytest.mark.parametrize("name", CALLED)
def test_generation_1_entry_point(called, name):
    assert [args for found, args in called if found == name] == [CALLED[name]]
    assert [found for found, _ in called] == list(CALLED)


PACKETS = """
local largest = 0
function protocol_input(buf, conn)
    largest = math.max(largest, buf:length())
    return buf:length() >= 1000 and 1000 or 0
end
function on_message(data, conn) if data:sub(1, 1) == "?" then conn:send(largest .. "\\n") end end
"""


def test_a_read_adds_at_most_16_kib(make_engine):
    """And whole packets are taken before the next one: the view never holds more than a read and a part of a packet."""
    engine = make_engine(PACKETS, workers=1)
    with Client(engine.port) as client:
        client.raw(b"x" * 999000 + b"?" + b"x" * 999)
        assert 1000 <= int(client.line()) <= 16384 + 999


@pytest.mark.parametrize("protocol", [None, "websocket"])
def test_a_vm_for_each_server_block_in_each_worker(make_engine, protocol):
    """`init` runs once in each; a global of one is not seen in another."""
    script = """function init()
        mix.queue.push("inits", { name = mix.server.option("name"), before = tostring(mark) })
        mark = true
    end
    function protocol_input() return 0 end"""
    kind = {"protocol": protocol} if protocol else {}
    second = {"port": free_port(), "bind": "127.0.0.1", "entry": "lua/entry.lua",
              "options": [{"name": "name", "value": "second"}], **kind}
    engine = make_engine(script, workers=3, server=kind, options={"name": "first"}, servers=[second])
    with Consumer(engine.api_port, topics=["inits"]) as consumer:
        found = [e.data for e in consumer.wait_events(6)]
        connect_and_leave(engine)
        assert sorted(e["name"] for e in found) == ["first"] * 3 + ["second"] * 3
        assert {e["before"] for e in found} == {"nil"} and len(consumer.events) == 6


def connect_and_leave(engine):
    with Client(engine.port) as client:
        client.raw(b"x")


def test_print_writes_to_standard_output(make_engine):
    engine = make_engine("print('from the script', 5, nil)\nfunction protocol_input() return 0 end", workers=1)
    engine.stop()
    assert "from the script\t5\tnil\n" in engine.stdout()


def test_modules_of_the_system(make_engine, tmp_path):
    """LUA_PATH is where Lua itself looks, and so are its own folders."""
    (tmp_path / "of_the_system.lua").write_text("return 'found'")
    engine = make_engine(ENTRY, env={"LUA_PATH": f"{tmp_path}/?.lua;;"})
    with Lab(engine.port) as client:
        assert client.lua("return require('of_the_system'), package.path:find('/usr/share/lua/5.1/?.lua', 1, true) ~= nil, "
                          "package.cpath:find('/lua/5.1/?.so', 1, true) ~= nil") == ["found", True, True]


HEADERS = """
local app = {}
function app.connected() end
function app.closed() end
function app.opened(conn, headers)
    local stored = conn:context_value("headers")
    app.send(conn, mix.json_encode({ stored == headers, rawget(stored, "x-REAL-ip") or "", stored["X-Real-IP"],
        stored.Method, stored.RequestUri, stored.ServerProtocol }))
end
function app.message() end
return app
"""


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_headers_stand_in_the_context(make_engine, kind):
    """Of the shipped codec with names as sent, of the built-in protocol with canonical ones; found in any case."""
    engine = kinds.make(make_engine, kind, HEADERS)
    with connect(engine.port, "/chat?x=1", headers=["x-REAL-ip: 10.0.0.1"]) as client:
        assert json.loads(client.text()) == [True, "" if kind == "websocket" else "10.0.0.1", "10.0.0.1", "GET",
                                             "/chat?x=1", "HTTP/1.1"]


ASKED_LATER = {
    "websocket": """
function on_message(msg)
    local conn = mix.websocket()
    if msg.data == "tell" then
        local stored = conn:context_value("headers")
        conn:send(mix.json_encode({ stored == conn:context().headers, rawget(stored, "x-REAL-ip") or "",
            stored["X-Real-IP"], stored.RequestUri }))
    end
end
""",
    "generation 1": """
local websocket = require("protocols/websocket")
function protocol_input(buf, conn) return websocket.input(buf, conn, "/chat") end
function protocol_decode(str, conn) return websocket.decode(conn) end
function on_message(msg, conn)
    if msg.data == "tell" then
        local stored = conn:context_value("headers")
        websocket.send_text(conn, mix.json_encode({ stored == conn:context().headers,
            rawget(stored, "x-REAL-ip") or "", stored["X-Real-IP"], stored.RequestUri }))
    end
end
""",
}


@pytest.mark.parametrize("kind", ASKED_LATER)
def test_headers_stand_in_the_context_of_a_script_that_did_not_ask_for_them(make_engine, kind):
    """No table is made for a client that nobody asks about; whoever asks, script or consumer, finds it."""
    engine = make_engine(ASKED_LATER[kind], server=kinds.KINDS[kind], workers=1)
    with connect(engine.port, "/chat?x=1", headers=["x-REAL-ip: 10.0.0.1"]) as client:
        client.ping(b"it is open")
        assert engine.metric("mixengine_contexts") == 0
        for _ in range(2):
            client.send("tell")
            assert json.loads(client.text()) == [True, "" if kind == "websocket" else "10.0.0.1", "10.0.0.1",
                                                 "/chat?x=1"]
        assert engine.metric("mixengine_contexts") == 1


CODEC_OF_ITS_OWN = """
local websocket = require("protocols/websocket")
local function on_handshake(headers) opened = headers["X-Name"] end
function protocol_input(buf) return websocket.input(buf, mix.socket.tcp(), "/chat", on_handshake) end
function protocol_decode(str) return websocket.decode(mix.socket.tcp()) end
function protocol_encode(str) return websocket.encode(str) end
function on_message(msg) mix.mesh.send(mix.socket.tcp():client_id(), opened .. " " .. msg.data) end
"""


def test_a_codec_in_lua_in_generation_2(make_engine):
    """One that stands beside the entry file, on `buf`, `conn` and `mix` alone."""
    codec = (FIXTURES / "lua_websocket" / "protocols" / "websocket.lua").read_text()
    engine = make_engine(CODEC_OF_ITS_OWN, server={"protocol": "socket"}, files={"protocols/websocket.lua": codec},
                         workers=1)
    with connect(engine.port, headers=["X-Name: me"]) as client:
        assert client.ask("hello") == "me hello"
        client.ping(b"answered by the script")


@pytest.fixture(scope="module")
def lab(make_shared):
    return make_shared(ENTRY, redis=[{"addr": "127.0.0.1:1", "minIdleConns": 0}])


FAILING = [
    "mix.json_encode(print)", "mix.json_decode('{')", "mix.base64_decode('!')", "mix.php_pack('?', 1)",
    "mix.php_unpack('N', 'x')", "mix.parse_url(':')", "mix.queue.push('t', { print })", "mix.queue.len('none')",
    "nil, mix.mesh.send('1', 'x')", "mix.redis.connection('none')", "mix.redis.get('x')",
    "mix.redis.connection():command('get', 'x')", "mix.http.request('GET', 'ftp://x')",
    "conn:wait_context_value('none', 0)", "nil, conn:subscribe(('x'):rep(1000))"]


@pytest.mark.parametrize("call", FAILING)
def test_every_err_is_a_string(lab, call):
    """Scripts join it with `..`."""
    with Lab(lab.port) as client:
        got, err = client.lua(f"local v, err = {call} return v, 'failed: ' .. err")
        assert got is None and err.startswith("failed: ") and len(err) > len("failed: ")


RAW = """
function protocol_input(buf, conn) return buf:length() end
function protocol_encode(str, conn) return #str .. ":" .. str end
function on_message(data, conn)
    conn:subscribe("c")
    mix.mesh.send(conn:client_id(), data, "binary")
    mix.mesh.publish("c", data)
end
"""


def test_mesh_carries_any_bytes(make_engine):
    """And what `protocol_encode` makes of them is what the client gets, whatever the type."""
    engine = make_engine(RAW)
    data = bytes(range(256))
    with Client(engine.port) as client:
        client.raw(data)
        while len(client.buffer) < 2 * (4 + len(data)):
            client.more()
        assert bytes(client.buffer) == 2 * (b"256:" + data)


IN_ON_CLOSE = """
local app = {}
local function say(...) mix.queue.push("said", { ... }) end
function app.connected() end
function app.opened(conn) conn:set_context_value("k", 1) app.send(conn, conn:remote_addr()) end
function app.message() end
function app.closed(conn)
    conn:set_context_value("l", 2)
    conn:set_context({ m = 3 })
    local c = conn:context()
    say(conn:client_id(), conn:remote_addr(), conn:context_value("k"), c.l, c.m, conn:wait_context_value("k"))
    say(conn:send("x"), conn:subscribe("c"), conn:unsubscribe("c"), conn:close())
    after = conn
    mix.timer(0.05, function() say(after:client_id(), after:remote_addr(), next(after:context()) == nil) end)
end
return app
"""


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_a_connection_in_on_close_and_after(make_engine, kind):
    engine = kinds.make(make_engine, kind, IN_ON_CLOSE, workers=1)
    with Consumer(engine.api_port, topics=["said"]) as consumer:
        with connect(engine.port) as client:
            address = client.text()
        during, refused, after = [e.data for e in consumer.wait_events(3)]
        assert during == [during[0], address, 1, 2, 3, 1] and during[0].isdigit()
        assert len(refused) == 4 and all(isinstance(err, str) for err in refused)
        assert after == [during[0], "", True]


def test_outside_of_a_connection(make_engine):
    """nil and an error from both, in `init` and of a timer; what is pushed there has the client id "0"."""
    engine = make_engine("""
        local function look()
            local ws, why = mix.websocket()
            local tcp, because = mix.socket.tcp()
            mix.queue.push("said", { tostring(ws), type(why), tostring(tcp), type(because) })
        end
        function init() look() mix.timer(0, look) end
        function protocol_input() return 0 end""", workers=1)
    with Consumer(engine.api_port, topics=["said"]) as consumer:
        for event in consumer.wait_events(2):
            assert event.data == ["nil", "string"] * 2 and event.client == 0


# ---- consumers

@pytest.fixture(scope="module")
def engine(make_shared):
    return make_shared(ENTRY)


@pytest.fixture
def client(engine):
    with Lab(engine.port) as connection:
        yield connection


KEYS = {"A": {"client": "client_id", "function": "func", "args": "args", "data": "data", "channel": "channel"},
        "B": {"client": "c", "function": "f", "args": "a", "data": "d", "channel": "c"}}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("keys", "AB")
@pytest.mark.parametrize("spelling", "AB")
def test_params_of_either_spelling(engine, client, spelling, keys, inside):
    """In an envelope of either spelling; as one object, or inside a list."""
    def params(**named):
        found = {KEYS[keys][k]: v for k, v in named.items()}
        return [found] if inside else found
    with Api(engine.api_port, spelling) as api:
        done = {"A": {"success": True, "fail": 0, "total": 1}, "B": {"s": True, "f": 0, "t": 1}}[spelling]
        room = f"room of {spelling}{keys}{inside}"  # an earlier client's end may not have been seen yet
        call = params(client=client.id, function="subscribe", args=[room])
        assert api.call("conn.call", call).result == done
        assert api.call("mesh.send", params(client=str(client.id), data="one")).result == done
        one = {"A": done, "B": {"s": 1, "f": 0, "t": 1}}[spelling]
        assert api.call("mesh.publish", params(channel=room, data="two")).result == one
        assert [client.text(), client.text()] == ["one", "two"]


@pytest.mark.parametrize("end", ["queue.unconsume", "queue.unpop"])
@pytest.mark.parametrize("begin", ["queue.consume", "queue.pop"])
@pytest.mark.parametrize("spelling", "AB")
def test_either_name_of_a_method(engine, client, spelling, begin, end):
    topic = f"{spelling}-{begin}-{end}"
    with Api(engine.api_port, spelling) as api:
        assert api.call(begin, {"t": [topic]}).error is None
        client.send(f"@{topic} x")
        assert api.message().topic == topic
        assert api.call(end, []).error is None
        assert api.call(end, {}).code == 203


DEAF = """
function on_connect(conn) conn:subscribe("c") end
function protocol_input(buf, conn) return buf:length() end
function on_message(data, conn)
    conn:set_context_value("deaf", data == "deaf")
    conn:send("noted\\n")
end
function protocol_encode(str, conn)
    if conn:context_value("deaf") then error("deaf") end
    return str .. "\\n"
end
"""


@pytest.mark.parametrize("spelling", "AB")
def test_a_publish_that_reaches_some(make_engine, spelling):
    """Spelling A: success, how many did not get it, how many subscribers. B: how many got it, did not, subscribers."""
    engine = make_engine(DEAF)
    with Api(engine.api_port, spelling) as api, Client(engine.port) as one, Client(engine.port) as two, \
            Client(engine.port) as three:
        for client, word in ((one, b"deaf"), (two, b"hears"), (three, b"hears")):
            client.raw(word)
            assert client.line() == b"noted"
        some = {"A": {"success": True, "fail": 1, "total": 3}, "B": {"s": 2, "f": 1, "t": 3}}[spelling]
        assert api.publish("c", "x").result == some
        assert (two.line(), three.line()) == (b"x", b"x")


def test_the_error_of_each_method(engine, client):
    """101 for what cannot be meant; 203, 301 and 401 for what failed; the reply is of the sender's spelling."""
    gone = 2 ** 62
    for spelling in "AB":
        with Api(engine.api_port, spelling) as api:
            for method, params, code in (
                    (CONSUME[spelling], [], 101), (CONSUME[spelling], [5], 101), ("queue.unpop", [], 203),
                    ("conn.call", {}, 101), ("conn.call", {"c": gone, "f": "subscribe", "a": ["r"]}, 301),
                    ("conn.call", {"c": client.id, "f": "none", "a": []}, 301), ("mesh.send", {"d": "x"}, 101),
                    ("mesh.send", {"c": gone, "d": "x"}, 401), ("mesh.publish", {"d": "x"}, 101), ("none", [], 101)):
                assert api.call(method, params).code == code, (method, params)


def test_client_ids_are_not_handed_out_again_after_a_kill(make_engine):
    engine = make_engine(ENTRY, workers=1)
    seen = []
    for _ in range(3):
        clients = [Lab(engine.port) for _ in range(5)]
        seen += [c.id for c in clients]
        engine.kill()
        for client in clients:
            client.drop()
        engine.start()
    assert len(set(seen)) == 15 and all(0 < number < 2 ** 63 for number in seen)


COUNTED = {"websocket": """
function on_message(msg) mix.mesh.send(mix.websocket():client_id(), msg.data) end
""", "socket": """
local text = require("protocols/text")
function protocol_input(buf) return text.input(buf) end
function protocol_encode(str) if str == "bad\\n" then error("bad") end return str end
function on_message(msg) mix.mesh.send(mix.socket.tcp():client_id(), msg) end
"""}


@pytest.mark.parametrize("protocol", COUNTED)
def test_connmix_metrics_of_a_protocol(make_engine, protocol):
    engine = make_engine(COUNTED[protocol], server={"protocol": protocol}, workers=1)

    def counts():
        samples = engine.metrics()
        return [samples[f'connmix_engine_servers_{name}_total{{protocol="{protocol}"}}']
                for name in ("read_messages", "send_messages", "send_errors")]
    if protocol == "websocket":
        with connect(engine.port) as client:
            before = counts()
            assert client.ask("x") == "x"
            assert [a - b for a, b in zip(counts(), before)] == [1, 1, 0]
        return
    with Client(engine.port) as client:
        client.raw(b"bad\nx\n")
        assert client.line() == b"x"
        assert counts() == [2, 1, 1]


def timer_of(local, remote):
    """What the kernel's timer of a connection of this machine is for: 2 is keep-alive, when nothing is under way."""
    def end(port):
        return f"0100007F:{port:04X}"
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1:3] == [end(local), end(remote)]:
            return fields[5].split(":")[0]
    raise AssertionError("no such connection")


def test_tcp_keep_alive_of_consumers(engine):
    with Api(engine.api_port) as api:
        api.call("server.ping", [])
        port = api.sock.getsockname()[1]
        wait_until(lambda: timer_of(engine.api_port, port) == "02", 5, "a keep-alive timer")


# ---- configuration

@pytest.mark.parametrize("workers", [1, 3, None])
def test_worker_threads(make_engine, workers):
    """-p, or one for each CPU that the process may use."""
    engine = make_engine(ENTRY, workers=workers)
    count = workers or min(len(os.sched_getaffinity(0)), 64)
    engine.wait_metric(f'mixengine_tasks_suspended{{worker="{count - 1}"}}', 0)
    assert f'mixengine_tasks_suspended{{worker="{count}"}}' not in engine.metrics()


@pytest.mark.parametrize("mode", ["dev", "single"])
def test_the_log_is_on_standard_output_too(make_engine, mode):
    engine = make_engine("mix.log(mix.WARN, 'to both')\nfunction protocol_input() return 0 end", mode=mode)
    engine.process.send_signal(signal.SIGTERM)
    engine.process.wait()
    assert "to both" in engine.log() and "to both" in engine.stdout()


def test_without_servers(make_engine):
    """An engine that has its APIs alone."""
    engine = make_engine(None, start=False)
    engine.config["engine"]["servers"] = []
    engine.config_path.write_text(json.dumps(engine.config))
    engine.start()
    assert engine.http("GET", "/version", port=engine.center_port)[0] == 200


STALLED = """
local app = {}
function app.connected() end
function app.opened() end
function app.message(conn) conn:send(("x"):rep(16777216), "binary") end
function app.closed(conn, err) mix.queue.push("closed", { err = err }) end
return app
"""


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_write_timeout(make_engine, kind):
    """A write that makes no progress for so long ends the connection; nothing else would here."""
    engine = kinds.make(make_engine, kind, STALLED,
                        server={"writeTimeout": 1, "readTimeout": 0, "maxBacklog": "64 MiB"})
    with Consumer(engine.api_port, topics=["closed"]) as consumer, connect(engine.port) as client:
        client.send("fill it")
        assert isinstance(consumer.wait_events(1)[0].data["err"], str)


OLDER = """
log: {{filename: logs/engine.log, max_files: 7, level: info}}
prometheus: {{summary: {{max_age: 600, age_buckets: 5, buf_cap: 500}}}}
licenses: {{activation_code: 'any', server: 'x:1'}}
center:
  registry: {{port: 6786, bind: 0.0.0.0}}
  server: {{port: {center}, bind: 127.0.0.1}}
engine:
  center_registry: localhost:6786
  mesh_point: {{port: 6788, bind: 0.0.0.0}}
  control: {{protocol: http, port: {api}, bind: 127.0.0.1, username: root, password: secret,
    read_buffer_size: 40096, write_buffer_size: 40096, read_timeout: 60, write_timeout: 60}}
  luavm:
    queue: {{max: 100, size: 2000}}
    redis: {{addr: "localhost:6379", password: "", db: 0, pool_size: 20, min_idle_conns: 10, max_conn_age: 0,
      idle_timeout: 300}}
  servers:
    - {{port: {server}, bind: 127.0.0.1, entry: lua/entry.lua, bytecode_expires: 10, read_buffer_size: 1024,
        write_buffer_size: 1024, read_timeout: 60, write_timeout: 10}}
"""


def test_a_file_with_the_older_names(make_engine):
    engine = make_engine(ENTRY, start=False)
    engine.config_path.write_text(OLDER.format(center=engine.center_port, api=engine.api_port, server=engine.port))
    engine.start()
    assert "warning" not in engine.output()
    with Lab(engine.port) as client, Api(engine.api_port, credentials=("root", "secret")) as api:
        assert api.mesh_send(client.id, "hello").error is None and client.text() == "hello"
    assert engine.http("GET", "/version", port=engine.center_port)[0] == 401
