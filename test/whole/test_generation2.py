"""Scripts of generation 2: `protocol: socket` and the built-in `protocol: websocket`, a row of their table each."""

import json

import pytest

import harness
import kinds
import wsclient
from consumer import Api, Consumer
from harness import wait_until
from wsclient import BINARY, CLOSE, PING, TEXT, Client, close_frame, connect, frame

# say(name, …) tells the topic "said" the name of a handler and what it was called with.
SAY = """
function said_of(...)
    local args = {}
    for i = 1, select("#", ...) do
        local v = select(i, ...)
        args[i] = v == nil and "<nil>" or type(v) == "userdata" and "<userdata>" or v
    end
    return args
end
function say(name, ...)
    mix.queue.push("said", { name = name, args = said_of(...) })
end
"""
LINES = """
local text = require("protocols/text")
function protocol_input(buf) return text.input(buf) end
"""
ECHO_LINES = SAY + LINES + """
function protocol_decode(str) return text.decode(str) end
function protocol_encode(str) return text.encode(str) end
function on_message(msg) mix.socket.tcp():send(msg .. "\\n") end
"""


def start(make_engine, protocol, script, **options):
    server = {"protocol": protocol, **options.pop("server", {})}
    return make_engine(SAY + script, server=server, **options)


def socket(make_engine, script, **options):
    return start(make_engine, "socket", script, **options)


def websocket(make_engine, script, **options):
    return start(make_engine, "websocket", script, **options)


class Said(Consumer):
    def __init__(self, engine):
        super().__init__(engine.api_port, topics=["said"])

    def names(self):
        return [e.data["name"] for e in list(self.events)]

    def wait(self, name, count=1):
        """The events of one name, when there are so many of them."""
        def there():
            found = [e for e in list(self.events) if e.data["name"] == name]
            return found if len(found) >= count else None
        return wait_until(there, 10, f"{count} of {name}")

    def args(self, name):
        return self.wait(name)[0].data["args"]


def ask_line(client, text):
    client.raw(text.encode() + b"\n")
    return client.line().decode()


# ---- protocol: socket

def test_socket_start_init(make_engine):
    engine = socket(make_engine, LINES + """
        function init() started = (started or 0) + 1 tcp, err = mix.socket.tcp() end
        function on_message(msg) mix.socket.tcp():send(started .. tostring(tcp) .. type(err) .. "\\n") end""")
    with Client(engine.port) as client:
        assert ask_line(client, "") == "1nilstring"


def test_socket_open_on_connect(make_engine):
    """Before anything was read, with the id alone."""
    engine = socket(make_engine, LINES + """
        function on_connect(...) say("on_connect", ...) end""")
    with Said(engine) as said, Client(engine.port):
        event = said.wait("on_connect")[0]
        assert event.data["args"] == [str(event.client)] and event.client > 0


def test_socket_split_protocol_input(make_engine):
    engine = socket(make_engine, """
        function protocol_input(...)
            local buf = ...
            say("protocol_input", select("#", ...), buf:length(), buf:tostring())
            local n = tonumber(buf:read(1))
            return n == 9 and -1 or buf:length() > n and n + 1 or 0
        end
        function on_message(msg) mix.socket.tcp():send(msg) end""")
    with Said(engine) as said, Client(engine.port) as client:
        client.raw(b"3abc2d")
        wait_until(lambda: len(said.events) >= 2, 5)
        client.raw(b"e9")
        assert client.rest() == b"3abc2de"
        assert [e.data["args"] for e in said.wait("protocol_input", 4)] == [
            [1, 6, "3abc2d"], [1, 2, "2d"], [1, 4, "2de9"], [1, 1, "9"]]


def test_socket_decode_protocol_decode(make_engine):
    """With the packet alone; nil means no message; without it the packet is the message."""
    engine = socket(make_engine, LINES + """
        function protocol_decode(...)
            say("protocol_decode", ...)
            return ... ~= "no\\n" and { length = #(...) } or nil
        end
        function on_message(...) say("on_message", ...) end""")
    with Said(engine) as said, Client(engine.port) as client:
        client.raw(b"no\nyes\n")
        assert said.args("on_message") == [{"length": 4}]
        assert [e.data["args"] for e in said.wait("protocol_decode", 2)] == [["no\n"], ["yes\n"]]
        assert said.names().count("on_message") == 1


def test_socket_message_on_message(make_engine):
    engine = socket(make_engine, LINES + """
        function on_message(...) say("on_message", ...) end""")
    with Said(engine) as said, Client(engine.port) as client:
        client.raw(b"a\nb\n")
        assert [e.data["args"] for e in said.wait("on_message", 2)] == [["a\n"], ["b\n"]]


@pytest.mark.parametrize("spelling", "AB")
def test_socket_encode_protocol_encode(make_engine, spelling):
    """With the data and its type: of the consumer's send and publish, and of mix.mesh."""
    engine = socket(make_engine, LINES + """
        function on_connect(id) mix.socket.tcp():subscribe("c") say("on_connect", id) end
        function protocol_encode(...) return table.concat({ ... }, ",") .. ";" .. select("#", ...) .. "\\n" end
        function on_message(msg)
            local id = mix.socket.tcp():client_id()
            say("done", mix.mesh.send(id, "m", "binary"), mix.mesh.publish("c", "p"))
        end""")
    with Said(engine) as said, Client(engine.port) as client, Api(engine.api_port, spelling) as api:
        event = said.wait("on_connect")[0]
        assert api.mesh_send(event.client, "x").error is None and client.line() == b"x,text;2"
        assert api.publish("c", "y").error is None and client.line() == b"y,text;2"
        client.raw(b"go\n")
        assert [client.line(), client.line()] == [b"m,binary;2", b"p,text;2"]
        assert said.args("done") == ["<nil>", 1, 0]


@pytest.mark.parametrize("encode", ["return ''", "return 5", "return nil", "error('no')"])
def test_socket_encode_that_fails(make_engine, encode):
    engine = socket(make_engine, LINES + f"""
        function protocol_encode(str) if str == "good" then return "good\\n" end {encode} end
        function on_message(msg)
            local tcp = mix.socket.tcp()
            tcp:subscribe("c")
            local err = mix.mesh.send(tcp:client_id(), "bad")
            tcp:send(type(err) .. " " .. table.concat({{ mix.mesh.publish("c", "bad") }}, " ") .. "\\n")
            mix.mesh.send(tcp:client_id(), "good")
        end""")
    with Client(engine.port) as client:
        assert ask_line(client, "") == "string 0 1"
        assert client.line() == b"good"


def test_socket_publish_is_encoded_once_unless_it_asks(make_engine):
    engine = socket(make_engine, LINES + """
        count = 0
        function on_connect() mix.socket.tcp():subscribe("c") end
        function protocol_encode(str)
            count = count + 1
            if str == "each" then return mix.socket.tcp():client_id() .. "\\n" end
            return str .. "\\n"
        end
        function on_message(msg)
            count = 0
            mix.mesh.publish("c", (msg:gsub("\\n", "")))
            mix.socket.tcp():send(count .. "\\n")
        end""", workers=1)
    with Client(engine.port) as one, Client(engine.port) as two:
        assert ask_line(two, "hello") == "hello"
        two.line()
        assert ask_line(one, "all") == "hello"
        assert [one.line(), two.line(), one.line()] == [b"all", b"all", b"1"]
        assert ask_line(one, "each") != two.line().decode()
        assert one.line() == b"3"  # tried for all, then for each


@pytest.mark.parametrize("how, err", [("shutdown", "<nil>"), ("reset", "connection reset by peer"),
                                      ("bad", "protocol_input returned -1"), ("own", "<nil>")])
def test_socket_close_on_close(make_engine, how, err):
    engine = socket(make_engine, """
        function protocol_input(buf) return buf:tostring() == "bad" and -1 or buf:length() end
        function on_message(msg) mix.socket.tcp():close() end
        function on_close(...) say("on_close", ...) end""")
    with Said(engine) as said, Client(engine.port) as client:
        if how in ("bad", "own"):
            client.raw(how.encode())
            client.end()
        else:
            getattr(client, how)()
        event = said.wait("on_close")[0]
        assert event.data["args"] == [str(event.client), err]
        engine.wait_metric("mixengine_connections", 0)
        assert len(said.events) == 1


def test_socket_current_connection(make_engine):
    """In every handler, after a suspension too, and in on_close; elsewhere there is none."""
    engine = socket(make_engine, LINES + """
        local function who(name)
            local before = mix.socket.tcp():client_id()
            mix.sleep(0.01)
            local tcp = mix.socket.tcp()
            say(name, before, tcp:client_id(), tcp == first and "same" or "other")
        end
        function on_connect(id) first = mix.socket.tcp() who("on_connect") end
        function protocol_input(buf) local n = text.input(buf) if n > 0 then who("protocol_input") end return n end
        function protocol_decode(str) who("protocol_decode") return str end
        function on_message(msg)
            who("on_message")
            mix.timer(0, function() say("timer", mix.socket.tcp()) end)
        end
        function on_close() who("on_close") end""", workers=1)
    with Said(engine) as said:
        with Client(engine.port) as client:
            client.raw(b"x\n")
            timer = said.args("timer")
        said.wait("on_close")
        assert timer[0] == "<nil>" and "no current connection" in timer[1]
        for event in said.events:
            if event.data["name"] != "timer":
                assert event.data["args"] == [str(event.client)] * 2 + ["same"], event.data


def test_socket_send_is_raw_bytes(make_engine):
    engine = socket(make_engine, LINES + """
        function protocol_encode(str) return "encoded" end
        function on_message(msg) mix.socket.tcp():send("\\0\\255raw\\n", "text") end""")
    with Client(engine.port) as client:
        client.raw(b"\n")
        assert client.line() == b"\0\xffraw"


def test_socket_has_the_alias_custom(make_engine):
    engine = start(make_engine, "custom", ECHO_LINES)
    with Client(engine.port) as client:
        assert ask_line(client, "x") == "x"


def test_socket_clear_buffer(make_engine):
    engine = socket(make_engine, """
        function protocol_input(buf)
            if buf:tostring():find("!!", 1, true) then
                mix.socket.tcp():clear_buffer()
                mix.socket.tcp():send("cleared\\n")
                return 0
            end
            return buf:length() >= 3 and 3 or 0
        end
        function on_message(msg) mix.socket.tcp():send(msg .. "\\n") end""")
    with Client(engine.port) as client:
        client.raw(b"xy!!")
        assert client.line() == b"cleared"
        client.raw(b"abc")
        assert client.line() == b"abc"


@pytest.mark.parametrize("handler, stays", [("on_connect", True), ("on_message", True), ("on_close", True),
                                            ("protocol_input", False), ("protocol_decode", False)])
def test_socket_errors_in_handlers(make_engine, handler, stays):
    engine = socket(make_engine, ECHO_LINES + f"""
        local inner, failed = {handler}
        function {handler}(...)
            if not failed then failed = true error("broken " .. 7) end
            if inner then return inner(...) end
        end""", workers=1)
    with Client(engine.port) as client:
        client.raw(b"first\n")
        if stays:
            assert ask_line(client, "second").endswith("first" if handler != "on_message" else "second")
        else:
            assert client.rest() == b""
    engine.wait_output(rf"{handler} of client \d+ \(.*\): .*broken 7\n.*stack traceback")
    engine.wait_metric("mixengine_script_errors_total", 1)


# ---- the shipped codecs in generation 2

CODEC = """
local websocket = require("protocols/websocket")
function protocol_decode(str) return websocket.decode(str) end
function protocol_encode(str, type) return websocket.encode(str, type) end
function on_message(msg)
    say("on_message", msg)
    say("sent", websocket.send_text("text " .. msg.data), websocket.send_binary("binary " .. msg.data))
end
"""
FORMS = {"input(buf, '/chat', on_handshake)": {}, "input(buf, on_handshake)": {"path": "/chat"},
         "input(buf, nil, on_handshake)": {"path": "/chat"}, "input(buf, '/c.at$', on_handshake)": {},
         "input(buf, on_handshake) ": {"path": "/%a+$"}}


@pytest.mark.parametrize("form", FORMS)
def test_codec_websocket(make_engine, form):
    engine = socket(make_engine, CODEC + f"""
        function on_handshake(...) say("on_handshake", ...) end
        function protocol_input(buf) return websocket.{form} end""", options=FORMS[form])
    with Said(engine) as said, connect(engine.port, headers=["x-own: 1", "X-Own: 2"]) as client:
        client.frame(BINARY, "hi")
        assert client.text() == "text hi"
        got = client.recv()
        assert (got.opcode, got.payload) == (BINARY, b"binary hi")
        event = said.wait("on_handshake")[0]
        client_id, headers, server = event.data["args"]
        assert client_id == str(event.client)
        assert headers["x-own"] == "1" and headers["X-Own"] == "2" and headers["RequestUri"] == "/chat"
        assert server == {"Method": "GET", "RequestUri": "/chat", "ServerProtocol": "HTTP/1.1",
                          "Host": f"127.0.0.1:{engine.port}", "RemoteAddr": "%s:%d" % client.sock.getsockname()}
        assert said.args("on_message") == [{"type": "binary", "data": "hi", "finish": True}]
        assert said.args("sent") == ["<nil>", "<nil>"]
        with Client(engine.port) as other:
            assert other.handshake("/other/path", check=False).answer.status == 404


def test_codec_websocket_without_a_path(make_engine):
    engine = socket(make_engine, CODEC + """
        function protocol_input(buf) return websocket.input(buf) end""")
    with connect(engine.port, "/any/where") as client:
        assert client.ask("x") == "text x"


CALLED_WITH = {
    "function(headers) say('greeted', headers.Host, headers.HOST) end": ["HOST", "HOST"],
    "function(id, headers) say('greeted', type(id), headers.host) end": ["string", "HOST"],
    "function(...) say('greeted', select('#', ...), type(...)) end": [3, "string"],
    "function() say('greeted', 'nothing') end": ["nothing"],
    "setmetatable({}, { __call = function(_, ...) say('greeted', select('#', ...)) end })": [3],
}


@pytest.mark.parametrize("function", CALLED_WITH)
def test_codec_websocket_calls_on_handshake_with(make_engine, function):
    """The id, the headers and the server's table; one parameter: the headers."""
    engine = socket(make_engine, CODEC + f"""
        local greet = {function}
        function protocol_input(buf) return websocket.input(buf, "/", greet) end""")
    with Said(engine) as said, connect(engine.port):
        host = f"127.0.0.1:{engine.port}"
        assert said.args("greeted") == [host if v == "HOST" else v for v in CALLED_WITH[function]]


def test_codec_websocket_given_conn(make_engine):
    """A script may name its connection, as in generation 1."""
    engine = socket(make_engine, CODEC + """
        function protocol_input(buf)
            return websocket.input(buf, mix.socket.tcp(), "/chat", function(...) say("greeted", ...) end)
        end
        function protocol_decode(str) return websocket.decode(mix.socket.tcp()) end
        function on_message(msg) websocket.send_text(mix.socket.tcp(), msg.data) end""")
    with Said(engine) as said, connect(engine.port) as client:
        assert client.ask("x") == "x"
        headers, conn = said.args("greeted")
        assert headers["Upgrade"] == "websocket" and conn == "<userdata>"


def test_codec_websocket_on_handshake_may_wait_and_fail(make_engine):
    engine = socket(make_engine, CODEC + """
        function protocol_input(buf)
            return websocket.input(buf, function() mix.sleep(0.05) error("no greeting") end)
        end""")
    with connect(engine.port) as client:
        assert client.ask("x") == "text x"
    engine.wait_output(r"on_handshake of client \d+ \(.*\): .*no greeting")


@pytest.mark.parametrize("protocol, kind", [("socket", "binary"), ("websocket", "binary"), ("socket", "text"),
                                            ("websocket", "text")])
def test_both_types_are_published(make_engine, protocol, kind):
    script = {"socket": CODEC + """
        function protocol_input(buf) return websocket.input(buf) end
        function on_message(msg) mix.socket.tcp():subscribe("c") mix.mesh.publish("c", msg.data, msg.type) end""",
              "websocket": """
        function on_message(msg) mix.websocket():subscribe("c") mix.mesh.publish("c", msg.data, msg.type) end"""}
    engine = start(make_engine, protocol, script[protocol])
    opcode = BINARY if kind == "binary" else TEXT
    with connect(engine.port) as client:
        client.frame(opcode, "data")
        got = client.recv()
        assert (got.opcode, got.payload) == (opcode, b"data")


def test_codec_text(make_engine):
    engine = socket(make_engine, ECHO_LINES + """
        function on_connect(id) say("id", id) end""")
    with Said(engine) as said, Client(engine.port) as client, Api(engine.api_port) as api:
        assert ask_line(client, "one") == "one"
        assert api.mesh_send(said.wait("id")[0].client, "two").error is None
        assert client.line() == b"two"
        client.raw(b"x" * 65536)
        client.end()


def test_codec_jsonrpc(make_engine):
    engine = socket(make_engine, """
        local jsonrpc = require("protocols/jsonrpc")
        function protocol_input(buf) return jsonrpc.input(buf) end
        function protocol_decode(str) return jsonrpc.decode(str) end
        function protocol_encode(str) return jsonrpc.encode(str) end
        function on_message(msg)
            mix.socket.tcp():send(jsonrpc.encode_table({ id = msg.id, result = msg.params }))
        end""")
    with Client(engine.port) as client:
        assert json.loads(ask_line(client, '{"method":"m","params":[1],"id":2}')) == {"id": 2, "result": [1]}
        client.raw(b'{"method":"m"}\n')
        client.end()


# ---- protocol: websocket

def test_websocket_start_init(make_engine):
    engine = websocket(make_engine, """
        function init() ws, err = mix.websocket() end
        function on_message(msg) mix.websocket():send(tostring(ws) .. " " .. err) end""")
    with connect(engine.port) as client:
        assert client.ask("") == "nil there is no current connection here"


@pytest.mark.parametrize("name", ["on_handshake", "on_connect"])
def test_websocket_open(make_engine, name):
    """on_handshake, or on_connect in its place, with the id, the headers and the server's table."""
    engine = websocket(make_engine, f"function {name}(...) say('opened', ...) end")
    with Said(engine) as said, connect(engine.port, "/a?b=c") as client:
        event = said.wait("opened")[0]
        client_id, headers, server = event.data["args"]
        assert client_id == str(event.client)
        assert headers["Upgrade"] == "websocket" and headers["Sec-Websocket-Version"] == "13"
        assert server == {"Method": "GET", "RequestUri": "/a?b=c", "ServerProtocol": "HTTP/1.1",
                          "Host": f"127.0.0.1:{engine.port}", "RemoteAddr": "%s:%d" % client.sock.getsockname()}


def test_websocket_on_connect_is_not_called_beside_on_handshake(make_engine):
    engine = websocket(make_engine, """
        function on_connect() say("on_connect") end
        function on_handshake() say("on_handshake") end
        function on_message(msg) say("on_message") end""")
    with Said(engine) as said, connect(engine.port) as client:
        client.send("x")
        said.wait("on_message")
        assert said.names() == ["on_handshake", "on_message"]


def test_websocket_headers(make_engine):
    """Canonical names, repeated ones joined, found in any case; in the context under `headers`."""
    engine = websocket(make_engine, """
        function on_handshake(id, headers)
            local stored = mix.websocket():context_value("headers")
            say("names", headers["x-real-ip"], headers["X-REAL-IP"], rawget(headers, "X-Real-Ip"),
                headers.none, stored == headers, rawget(headers, "x-real-ip"), headers.host == headers.Host)
            say("all", headers)
        end""")
    with Said(engine) as said, connect(engine.port, headers=[
            "x-REAL-ip: 10.0.0.1", "Accept: a", "ACCEPT: b", "sec-websocket-protocol: chat"]):
        assert said.args("names") == ["10.0.0.1"] * 3 + ["<nil>", True, "<nil>", True]
        headers = said.args("all")[0]
        assert headers["Accept"] == "a, b" and headers["Sec-Websocket-Protocol"] == "chat"
        assert headers["RequestUri"] == "/chat" and headers["Method"] == "GET"


def test_websocket_message(make_engine):
    engine = websocket(make_engine, "function on_message(...) say('on_message', ...) end")
    with Said(engine) as said, connect(engine.port) as client:
        client.send("text").frame(BINARY, "binary").frame(TEXT, "in ", fin=False).frame(0, "pieces")
        assert [e.data["args"] for e in said.wait("on_message", 3)] == [
            [{"type": "text", "data": "text", "finish": True}],
            [{"type": "binary", "data": "binary", "finish": True}],
            [{"type": "text", "data": "in pieces", "finish": True}]]


def test_websocket_has_no_split_decode_encode(make_engine):
    """These names mean nothing here."""
    engine = websocket(make_engine, """
        function protocol_input() error("called") end
        function protocol_decode() error("called") end
        function protocol_encode() error("called") end
        function on_message(msg) mix.websocket():subscribe("c") mix.mesh.publish("c", msg.data) end""")
    with connect(engine.port) as client:
        assert client.ask("x") == "x"
    assert "called" not in engine.output()


@pytest.mark.parametrize("end, err", [
    (lambda c: c.close(1000), "<nil>"), (lambda c: c.close(1001), "<nil>"), (lambda c: c.shutdown(), "<nil>"),
    (lambda c: c.reset(), "connection reset by peer"), (lambda c: c.send("own"), "<nil>"),
    (lambda c: c.raw(close_frame(4001, b"bye")), "the client closed: 4001 bye"),
    (lambda c: c.raw(frame(3)), "reserved opcode"), (lambda c: c.frame(TEXT, b"\xff"), "not UTF-8")],
    ids=["1000", "1001", "end", "reset", "own", "4001", "opcode", "utf8"])
def test_websocket_close_on_close(make_engine, end, err):
    engine = websocket(make_engine, """
        function on_message(msg) mix.websocket():close() end
        function on_close(...) say("on_close", ...) end""")
    with Said(engine) as said, connect(engine.port) as client:
        end(client)
        event = said.wait("on_close")[0]
        assert event.data["args"] == [str(event.client), err]
        engine.wait_metric("mixengine_connections", 0)
        assert len(said.events) == 1


def test_websocket_on_close_only_after_the_handshake(make_engine):
    engine = websocket(make_engine, """
        function on_connect() say("on_connect") end
        function on_close() say("on_close") end""", options={"path": "/chat"})
    with Said(engine) as said:
        for request in (b"GET /other HTTP/1.1\r\n", b"POST /chat HTTP/1.1\r\n", b"nonsense\r\n", b""):
            with Client(engine.port) as client:
                client.raw(request)
                client.raw(b"Host: x\r\n\r\n" if request else b"")
                client.shutdown()
                client.end()
        engine.wait_metric("mixengine_connections", 0)
        with connect(engine.port):
            pass
        said.wait("on_close")
        assert said.names() == ["on_connect", "on_close"]


def test_websocket_current_connection(make_engine):
    engine = websocket(make_engine, """
        local function who(name)
            local before = mix.websocket():client_id()
            mix.sleep(0.01)
            say(name, before, mix.websocket():client_id(), mix.websocket() == first and "same" or "other")
        end
        function on_handshake(id) first = mix.websocket() who("on_handshake") end
        function on_message(msg)
            who("on_message")
            mix.timer(0, function() say("timer", mix.websocket()) end)
        end
        function on_close() who("on_close") end""", workers=1)
    with Said(engine) as said:
        with connect(engine.port) as client:
            client.send("x")
            assert said.args("timer") == ["<nil>", "there is no current connection here"]
        said.wait("on_close")
        for event in said.events:
            if event.data["name"] != "timer":
                assert event.data["args"] == [str(event.client)] * 2 + ["same"], event.data


def test_websocket_send(make_engine):
    """One message; its type is text unless told; any other type is the script's mistake."""
    engine = websocket(make_engine, """
        function on_handshake() mix.websocket():send("early") end
        function on_message(msg)
            local ws = mix.websocket()
            say("sent", ws:send("a"), ws:send("b", "text"), ws:send("c", "binary"), ws:send(""))
            say("wrong", pcall(ws.send, ws, "d", "other"))
            ws:close()
            say("closed", ws:send("e"))
        end""")
    with Said(engine) as said, connect(engine.port) as client:
        assert client.text() == "early"
        client.send("go")
        frames, _ = client.end()
        assert [(f.opcode, f.payload) for f in frames] == [
            (TEXT, b"a"), (TEXT, b"b"), (BINARY, b"c"), (TEXT, b""), (CLOSE, b"\x03\xe8")]
        assert said.args("sent") == ["<nil>"] * 4
        assert said.args("wrong")[0] is False and "invalid option 'other'" in said.args("wrong")[1]
        assert said.args("closed") == ["closed"]


@pytest.mark.parametrize("spelling", "AB")
def test_websocket_mesh(make_engine, spelling):
    """What is sent to a client or a channel, from whichever worker or consumer, is one message."""
    engine = websocket(make_engine, """
        function on_handshake(id) mix.websocket():subscribe("c") say("id", id) end
        function on_message(msg)
            local to, data = msg.data:match("^(%d+) (.*)$")
            if to then
                say("sent", mix.mesh.send(to, data, msg.type))
            else
                say("published", mix.mesh.publish("c", msg.data, msg.type))
            end
        end""", workers=2)
    with Said(engine) as said, Api(engine.api_port, spelling) as api:
        with connect(engine.port) as one, connect(engine.port) as two:
            first, second = [e.client for e in said.wait("id", 2)]
            if said.events[0].data["args"] == [str(second)]:
                first, second = second, first
            for client in (first, second):
                assert api.mesh_send(client, "from the API").error is None
            assert one.text() == two.text() == "from the API"
            assert api.publish("c", "to all").error is None
            assert one.text() == two.text() == "to all"
            one.send("published")
            assert one.text() == two.text() == "published"
            assert said.args("published") == [2, 0]
            one.frame(BINARY, f"{first} mine").frame(BINARY, f"{second} yours")
            got = {c.recv().payload for c in (one, two)}
            assert got == {b"mine", b"yours"}
            assert said.args("sent") == ["<nil>"]


@pytest.mark.parametrize("path, good, bad", [
    ("/chat", ["/chat", "/chat?x=1", "/chat/room"], ["/", "/Chat", "/x/chat"]),
    ("^/r%d+$", ["/r1", "/r42"], ["/r", "/r1/x", "/x/r1"]), ("/[ab]$", ["/a", "/b"], ["/c", "/x/a"]),
    ("/[", ["/[x"], ["/a"])])
def test_websocket_option_path(make_engine, path, good, bad):
    """A plain prefix, else a Lua pattern at the beginning; others get a 404 and no script."""
    engine = websocket(make_engine, "function on_message(msg) mix.websocket():send(msg.data) end",
                       options={"path": path})
    for uri in good:
        with connect(engine.port, uri) as client:
            assert client.ask("x") == "x"
    for uri in bad:
        with Client(engine.port) as client:
            assert client.handshake(uri, check=False).answer.status == 404
            assert client.rest() == b""


def test_websocket_clear_buffer_drops_nothing(make_engine):
    """The engine reads frames here, whose middle is no place to begin."""
    engine = websocket(make_engine, """
        function on_message(msg) mix.websocket():clear_buffer() mix.websocket():send(msg.data) end""")
    with connect(engine.port) as client:
        client.raw(frame(TEXT, "one") + frame(TEXT, "two") + frame(TEXT, "three")[:5])
        assert [client.text(), client.text()] == ["one", "two"]


@pytest.mark.parametrize("arguments, code, reason", [("", 1000, b""), ("4000, 'why'", 4000, b"why")])
def test_websocket_close(make_engine, arguments, code, reason):
    """The client is told, and what was sent before it comes before it."""
    engine = websocket(make_engine, f"""
        function on_message(msg) mix.websocket():send("last") mix.websocket():close({arguments}) end""")
    with connect(engine.port) as client:
        client.send("go")
        assert client.text() == "last"
        frames, closed = client.end()
        assert [(f.code, f.payload[2:]) for f in frames] == [(code, reason)] and not closed.reset


@pytest.mark.parametrize("handler", ["on_handshake", "on_message", "on_close"])
def test_websocket_errors_in_handlers(make_engine, handler):
    """Logged, with the handler and the client; the client stays."""
    engine = websocket(make_engine, f"""
        function on_message(msg) mix.websocket():send(msg.data) end
        local inner, failed = {handler}
        function {handler}(...)
            if not failed then failed = true error("broken " .. 7) end
            if inner then return inner(...) end
        end""", workers=1)
    with connect(engine.port) as client:
        client.send("first")
        assert client.ask("second") == ("second" if handler == "on_message" else "first")
    engine.wait_output(rf"{handler} of client \d+ \(.*\): .*broken 7\n.*stack traceback")
    engine.wait_metric("mixengine_script_errors_total", 1)


def test_websocket_without_any_handler(make_engine):
    engine = websocket(make_engine, "")
    with connect(engine.port) as client:
        client.send("x")
        client.ping(b"alive")
        client.close()


def test_websocket_messages_wait_for_a_suspended_handler(make_engine):
    engine = websocket(make_engine, """
        function on_handshake() mix.sleep(0.2) mix.websocket():send("greeting") end
        function on_message(msg)
            if msg.data == "wait" then mix.websocket():send(mix.websocket():wait_context_value("k")) end
            mix.websocket():send(msg.data)
        end""", workers=1)
    with connect(engine.port) as client:
        client.send("a").send("b")
        assert [client.text() for _ in range(3)] == ["greeting", "a", "b"]


def test_websocket_drain(make_engine):
    engine = websocket(make_engine, "function on_close(id, err) print('closed', err) end")
    with connect(engine.port) as client, Client(engine.port) as raw:
        engine.process.send_signal(15)
        frames, _ = client.end()
        assert [f.code for f in frames] == [1001]
        raw.end()
    engine.stop()
    assert "closed\tthe engine is stopping" in engine.stdout()


def test_websocket_slow_client(make_engine):
    """The backlog's limit holds for a server whose frames are the engine's."""
    engine = websocket(make_engine, """
        function on_message(msg) for i = 1, 200 do mix.websocket():send(("x"):rep(100000)) end end
        function on_close(id, err) say("on_close", err) end""", server={"maxBacklog": 65536})
    with Said(engine) as said, Client(engine.port, receive_buffer=4096) as client:
        client.handshake()
        client.send("flood")
        assert "maxBacklog" in said.args("on_close")[0]


def test_two_kinds_of_server_beside_each_other(make_engine, tmp_path):
    """Each server block has a VM of its own; a publish is framed for each."""
    script = "function on_handshake() mix.websocket():subscribe('c') end\n" \
             "function on_message(msg) mix.mesh.publish('c', msg.data) end"
    port = harness.free_port()
    engine = socket(make_engine, ECHO_LINES + "function on_connect() mix.socket.tcp():subscribe('c') end",
                    files={"ws.lua": script},
                    servers=[{"port": port, "bind": "127.0.0.1", "protocol": "websocket", "entry": "lua/ws.lua"}])
    with Client(engine.port) as plain, connect(port) as client:
        assert ask_line(plain, "x") == "x"
        assert client.ask("to both") == "to both"
        assert plain.line() == b"to both"


# ---- limits and timeouts, of every kind

APP = """
local app = {}
function app.connected(conn) end
function app.opened(conn, headers) end
function app.message(conn, msg) if msg.data == "sleep" then mix.sleep(4.5) end app.send(conn, msg.data) end
function app.closed(conn, err) mix.queue.push("said", { name = "on_close", args = { err or "<nil>" } }) end
return app
"""


@pytest.fixture(params=kinds.KINDS)
def server(request):
    return request.param


def test_ping_interval_closes_who_answers_nothing(make_engine, server):
    engine = kinds.make(make_engine, server, APP, server={"pingInterval": 1, "readTimeout": 0})
    with Said(engine) as said, connect(engine.port) as silent, connect(engine.port) as polite:
        pongs = 0
        while not said.events or pongs < 3:  # for longer than the silent one is suffered
            got = polite.recv()
            assert got.opcode == PING
            polite.frame(wsclient.PONG, got.payload)
            pongs += 1
        assert said.args("on_close") == ["no answer to a ping"]
        frames, closed = silent.end()
        assert [f.opcode for f in frames] == [PING, CLOSE] and frames[-1].code == 1011 and not closed.reset
        polite.send("still here")
        assert polite.recv_message().text == "still here"
        assert len(said.events) == 1


def test_ping_interval_suffers_who_sends_anything(make_engine, server):
    """A client that never answers a ping but goes on sending is there."""
    engine = kinds.make(make_engine, server, APP, server={"pingInterval": 1, "readTimeout": 0})
    with connect(engine.port) as client:
        pings = 0
        while pings < 4:
            got = client.recv()
            pings += got.opcode == PING
            client.send("x")
        assert got.opcode == PING


def test_ping_interval_suffers_a_suspended_handler(make_engine, server):
    """While we do not read, nothing can be heard."""
    engine = kinds.make(make_engine, server, APP, server={"pingInterval": 1, "readTimeout": 0, "readAhead": 1})
    with connect(engine.port) as client:
        client.send("sleep")
        client.send("behind")
        frames = [client.recv() for _ in range(3)]
        assert {f.opcode for f in frames} == {PING}
        client.frame(wsclient.PONG)
        assert client.recv_message().text == "sleep"
        assert client.recv_message().text == "behind"


def test_read_timeout(make_engine, server):
    engine = kinds.make(make_engine, server, APP, server={"readTimeout": 1, "pingInterval": 0})
    with Said(engine) as said, connect(engine.port) as client:
        client.end()
        assert said.args("on_close") == ["read timeout"]


@pytest.fixture(scope="module")
def origins_engine(make_shared):
    """One engine for each kind of server."""
    engines = {}

    def engine(server):
        if server not in engines:
            engines[server] = kinds.make(make_shared, server, APP,
                                         server={"origins": ["https://a.example", "https://b.example:8443"]})
        return engines[server]
    return engine


@pytest.mark.parametrize("origin, status", [
    ("https://a.example", 101), ("HTTPS://A.EXAMPLE", 101), (None, 101), ("https://b.example:8443", 101),
    ("https://b.example", 403), ("https://a.example.org", 403), ("null", 403), ("https://a.exampl", 403)])
def test_origins(origins_engine, server, origin, status):
    with Client(origins_engine(server).port) as client:
        headers = [f"Origin: {origin}"] if origin else []
        assert client.handshake(headers=headers, check=False).answer.status == status
        if status == 101:
            assert client.ask("x") == "x"
        else:
            assert client.end()[0] == []


def test_origins_star(make_engine, server):
    engine = kinds.make(make_engine, server, APP, server={"origins": ["*"]})
    with connect(engine.port, headers=["Origin: https://any.example"]) as client:
        assert client.ask("x") == "x"


# ---- starters

STARTERS = {"websocket": "entry.websocket.lua", "socket": "entry.socket.lua"}


@pytest.mark.parametrize("protocol", STARTERS)
def test_starters(make_engine, protocol):
    """`check` accepts them; they tell the queues of every open, message and close."""
    engine = make_engine(harness.ROOT / "lua" / STARTERS[protocol], server={"protocol": protocol}, start=False)
    status, stdout, stderr = engine.run("check")
    assert (status, stderr) == (0, "") and "ok" in stdout
    engine.start()
    with Consumer(engine.api_port, topics=["message", "conn"]) as consumer, Api(engine.api_port) as api:
        client = connect(engine.port) if protocol == "websocket" else Client(engine.port)
        opened = consumer.wait_events(1, "conn")[0]
        assert opened.data["event"] == ("handshake" if protocol == "websocket" else "connect")
        assert opened.data["addr"] == "%s:%d" % client.sock.getsockname()
        assert api.func(opened.client, "set_context_value", "uid", 7).error is None
        client.send("hello") if protocol == "websocket" else client.raw(b"hello\n")
        data = consumer.wait_events(1, "message")[0].data
        assert data == {"uid": 7, **({"frame": {"type": "text", "data": "hello", "finish": True}}
                                     if protocol == "websocket" else {"data": "hello"})}
        assert api.mesh_send(opened.client, "answer").error is None
        assert (client.text() if protocol == "websocket" else client.line().decode()) == "answer"
        client.drop()
        assert consumer.wait_events(2, "conn")[1].data == {"event": "close", "uid": 7}


def test_the_configuration_file_that_is_shipped(make_engine):
    engine = make_engine("", start=False)
    engine.config_path = harness.ROOT / "conf" / "connmix.yaml"
    status, stdout, stderr = engine.run("check")
    assert status == 0 and "entry.websocket.lua" in stdout, stderr
