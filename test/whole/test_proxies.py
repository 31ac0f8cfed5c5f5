"""Who a client is behind a proxy: the PROXY protocol, and X-Forwarded-For."""

import re
import socket
import struct

import pytest

import kinds
from harness import free_port, wait_until
from wsclient import Client, Closed, assert_turned_away

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE = b"PROXY TCP4 203.0.113.7 198.51.100.2 56324 443\r\n"

# The address in on_connect and, later, that in a message.
ENTRY = """
require("prettyprint")
local websocket = require("protocols/websocket")
local first = {}
function on_connect(conn) first[conn:client_id()] = conn:remote_addr() end
function on_handshake(headers, conn) end
function protocol_input(buf, conn) return websocket.input(buf, conn, "/", on_handshake) end
function protocol_decode(str, conn) return websocket.decode(conn) end
function protocol_encode(str, conn) return websocket.encode(str) end
function on_message(data, conn)
    websocket.send_text(conn, first[conn:client_id()] .. " " .. conn:remote_addr())
end
"""


def binary(source=None, *, command=1, family=0x11, tlv=b"", body=None):
    if body is None:
        body = b""
        if family == 0x11:
            body = socket.inet_pton(socket.AF_INET, source[0]) + bytes(4) + struct.pack("!HH", source[1], 443)
        elif family == 0x21:
            body = socket.inet_pton(socket.AF_INET6, source[0]) + bytes(16) + struct.pack("!HH", source[1], 443)
        elif family == 0x31:
            body = bytes(216)
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", len(body + tlv)) + body + tlv


@pytest.fixture(scope="module")
def engine(make_shared):
    """One that asks for headers, from whoever connects."""
    return make_shared(ENTRY, server={"proxyProtocol": True})


@pytest.fixture(scope="module")
def impatient(make_shared):
    return make_shared(ENTRY, server={"proxyProtocol": True, "handshakeTimeout": 1})


def own(client):
    host, port = client.sock.getsockname()
    return f"{host}:{port}"


def told(client):
    """What on_connect saw, and what on_message sees."""
    return client.handshake("/").ask("who?").split(" ")


# ---- the PROXY protocol

@pytest.mark.parametrize("header, source", [
    (LINE, "203.0.113.7:56324"),
    (b"PROXY TCP6 2001:db8::7 ::1 4124 443\r\n", "[2001:db8::7]:4124"),
    (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 4124 443\r\n", "203.0.113.7:4124"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN 1.1.1.1 2.2.2.2 3 4\r\n", None),
    (binary(("203.0.113.7", 56324)), "203.0.113.7:56324"),
    (binary(("203.0.113.7", 56324), tlv=b"\x04\x0f\xa0" + bytes(4000)), "203.0.113.7:56324"),
    (binary(("2001:db8::7", 4124), family=0x21), "[2001:db8::7]:4124"),
    (binary(family=0x31), "unix:"),
    (binary(command=0, family=0), None),
    (binary(command=1, family=0, tlv=b"\x04\0\x02ab"), None),
])
def test_headers(engine, header, source):
    """Whole, byte by byte, and with the handshake in the same segment."""
    with Client(engine.port, first=header) as client:
        assert told(client) == [source or own(client)] * 2
    if len(header) < 300:
        with Client(engine.port) as client:
            client.chunks(header, 1)
            assert told(client) == [source or own(client)] * 2
    with Client(engine.port) as client:
        raw, client.raw = client.raw, lambda data: raw(header + data)
        client.handshake("/")
        client.raw = raw
        assert client.ask("who?").split(" ") == [source or own(client)] * 2


@pytest.mark.parametrize("first", [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01\x02\x00",
    b"PROXY TCP4 203.0.113.7 198.51.100.2 56324\r\n",
    b"PROXY TCP4 203.0.113.7 198.51.100.2 56324 443\n",
    b"PROXY UNKNOWN " + b"x" * 100,
    binary(("203.0.113.7", 1), command=2),
    binary(body=b"", family=0x11),
    SIGNATURE + b"\x21\x11\xff\xff",
], ids=range(8))
def test_no_header_no_connection(engine, first):
    with Client(engine.port, first=first) as client:
        assert client.end()[0] == []


def test_a_refused_header_is_logged_once(make_engine):
    engine = make_engine(ENTRY, server={"proxyProtocol": True}, workers=1)
    for _ in range(20):
        with Client(engine.port, first=b"GET / HTTP/1.1\r\n") as client:
            client.end()
    engine.stop()
    lines = re.findall(r"WARN .*servers\[0\] closed a connection from 127\.0\.0\.1:\d+: "
                       r"it does not begin with a PROXY header", engine.log())
    assert len(lines) == 1


@pytest.mark.parametrize("first", [b"", b"PROXY TCP4 ", SIGNATURE[:5], binary(("1.1.1.1", 1))[:20]], ids=range(4))
def test_a_header_that_does_not_come(impatient, first):
    """It has handshakeTimeout, however it drips."""
    with Client(impatient.port, first=first) as client:
        assert client.end()[0] == []


@pytest.mark.parametrize("first", [b"", b"PROXY TCP4 "])
def test_a_client_that_goes_before_its_header(impatient, first):
    for end in Client.drop, Client.reset, Client.shutdown:
        client = Client(impatient.port, first=first)
        end(client)
        if end is Client.shutdown:
            assert client.end()[0] == []


def test_they_count_against_max_connections(make_engine):
    engine = make_engine(ENTRY, server={"proxyProtocol": True, "maxConnections": 2})
    waiting = Client(engine.port, first=b"PROXY")
    with Client(engine.port, first=LINE) as client:
        told(client)
        assert_turned_away(engine.port, first=LINE)
        engine.wait_output("maxConnections of 2")
        waiting.drop()

        def comes():
            try:
                with Client(engine.port, first=LINE) as fourth:
                    return told(fourth)
            except (Closed, OSError):
                return None
        wait_until(comes, what="room for one more")


def test_only_trusted_proxies_may_connect(make_engine):
    engine = make_engine(ENTRY, server={"proxyProtocol": True, "trustedProxies": ["127.0.0.2", "10.0.0.0/8"]})
    with Client(engine.port, source="127.0.0.2", first=LINE) as client:
        assert told(client) == ["203.0.113.7:56324"] * 2
    assert_turned_away(engine.port, source="127.0.0.3")
    engine.wait_output(rf"server on 127\.0\.0\.1:{engine.port} refused a connection from 127\.0\.0\.3:\d+, "
                       "which is not in trustedProxies")


def test_over_a_unix_socket(make_engine):
    engine = make_engine(ENTRY, server={"proxyProtocol": True, "trustedProxies": ["unix"], "bind": "unix:s.sock"})
    with Client(engine.folder / "s.sock", first=LINE) as client:
        assert told(client) == ["203.0.113.7:56324"] * 2


@pytest.mark.parametrize("server, warned", [
    ({"proxyProtocol": True, "bind": "0.0.0.0"}, True),
    ({"proxyProtocol": True, "bind": "0.0.0.0", "trustedProxies": ["127.0.0.1"]}, False),
    ({"proxyProtocol": True}, False),
])
def test_a_header_that_anybody_may_send_is_warned_of(make_engine, server, warned):
    engine = make_engine(ENTRY, server=server, start=False)
    status, _, stderr = engine.run("check")
    assert status == 0 and ("proxyProtocol without trustedProxies" in stderr) == warned, stderr


def test_a_drain_does_not_wait_for_headers(make_engine):
    engine = make_engine(ENTRY, server={"proxyProtocol": True, "handshakeTimeout": 60})
    clients = [Client(engine.port, first=b"PROXY") for _ in range(4)]
    with Client(engine.port, first=LINE) as client:
        told(client)  # so those before it have been accepted
        engine.stop(limit=5)
    for client in clients:
        assert client.end()[0] == []


# ---- X-Forwarded-For

@pytest.fixture(scope="module")
def behind(make_shared):
    return make_shared(ENTRY, server={"trustedProxies": ["127.0.0.2", "10.0.0.0/8"]})


@pytest.mark.parametrize("headers, seen", [
    ([], None),
    (["X-Forwarded-For: 203.0.113.7"], "203.0.113.7:0"),
    (["x-forwarded-for: 1.1.1.1, 203.0.113.7, 10.1.2.3"], "203.0.113.7:0"),
    (["X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 10.1.2.3"], "203.0.113.7:0"),
    (["X-Forwarded-For: 2001:db8::7"], "[2001:db8::7]:0"),
    (["X-Forwarded-For: 203.0.113.7:1234"], "203.0.113.7:1234"),
    (["X-Forwarded-For: garbage"], None),
    (["X-Real-IP: 203.0.113.7", "Forwarded: for=203.0.113.7"], None),
])
def test_forwarded(behind, headers, seen):
    """From the handshake on: on_connect comes before the request is read."""
    with Client(behind.port, source="127.0.0.2") as client:
        client.handshake("/", headers)
        assert client.ask("who?").split(" ") == [own(client), seen or own(client)]


APP = """
local app = {}
function app.connected() end
function app.opened() end
function app.closed() end
function app.message(conn) app.send(conn, conn:remote_addr(), "text") end
return app
"""


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_of_server(make_engine, kind):
    engine = kinds.make(make_engine, kind, APP, server={"trustedProxies": ["127.0.0.1"]}, servers=[
        {"port": free_port(), "proxyProtocol": True, "entry": "lua/entry.lua", **kinds.KINDS[kind],
         "options": [{"name": "path", "value": kinds.PATH}]}])
    with Client(engine.port) as client:
        client.handshake(kinds.PATH, ["X-Forwarded-For: 203.0.113.7"])
        assert client.ask("who?") == "203.0.113.7:0"
    with Client(engine.config["engine"]["servers"][1]["port"], first=LINE) as client:
        assert client.handshake(kinds.PATH).ask("who?") == "203.0.113.7:56324"


def test_remote_addr_of_the_server_table(make_engine):
    engine = make_engine("""
        function on_handshake(id, headers, server) mix.websocket():send(server.RemoteAddr) end
        function on_message() end
        """, server={"protocol": "websocket", "trustedProxies": ["127.0.0.1"]})
    with Client(engine.port) as client:
        client.handshake("/", ["X-Forwarded-For: 203.0.113.7"])
        assert client.text() == "203.0.113.7:0"


def test_errors_in_the_log_name_the_client(make_engine):
    engine = make_engine(ENTRY + "function on_message() error('boom') end",
                         server={"trustedProxies": ["127.0.0.1"]})
    with Client(engine.port) as client:
        client.handshake("/", ["X-Forwarded-For: 203.0.113.7"]).send("x")
        engine.wait_output(r"on_message of client \d+ \(203\.0\.113\.7:0\): .*boom")


def test_forwarded_by_a_stranger(behind):
    with Client(behind.port, source="127.0.0.3") as client:
        client.handshake("/", ["X-Forwarded-For: 203.0.113.7"])
        assert client.ask("who?").split(" ") == [own(client)] * 2


def test_forwarded_when_nobody_is_trusted(make_engine):
    engine = make_engine(ENTRY)
    with Client(engine.port) as client:
        client.handshake("/", ["X-Forwarded-For: 203.0.113.7"])
        assert client.ask("who?").split(" ") == [own(client)] * 2


def test_forwarded_over_a_unix_socket(make_engine):
    engine = make_engine(ENTRY, server={"trustedProxies": ["unix"], "bind": "unix:s.sock"})
    with Client(engine.folder / "s.sock") as client:
        client.handshake("/", ["X-Forwarded-For: 203.0.113.7"])
        assert client.ask("who?").split(" ") == ["unix:", "203.0.113.7:0"]


def test_forwarded_behind_a_proxy_header(make_engine):
    """The header names a second proxy, and that one names the client."""
    engine = make_engine(ENTRY, server={"proxyProtocol": True, "trustedProxies": ["127.0.0.1", "203.0.113.7"]})
    with Client(engine.port, first=LINE) as client:
        client.handshake("/", ["X-Forwarded-For: 192.0.2.9"])
        assert client.ask("who?").split(" ") == ["203.0.113.7:56324", "192.0.2.9:0"]


def test_a_raw_protocol_behind_a_proxy(make_engine):
    """The header is none of the script's business, whatever it speaks."""
    engine = make_engine(None, files={"entry.lua": """
local text = require("protocols/text")
function protocol_input(buf, conn) return text.input(buf, conn) end
function protocol_decode(str, conn) return text.decode(str, conn) end
function on_message(line, conn) conn:send(conn:remote_addr() .. "\\n") end
"""}, server={"proxyProtocol": True})
    with Client(engine.port, first=binary(("203.0.113.7", 9)) + b"hello\r\n") as client:
        assert client.line() == b"203.0.113.7:9"
