"""TLS on servers and APIs: who is let in, what a certificate's change does, and that all above is the same."""

import asyncio
import contextlib
import concurrent.futures
import errno
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import threading

import pytest
import websockets

import kinds
import test_transcript
from consumer import CONSUME, Api, Event, consume_params, send_params
from harness import FIXTURES, chat_binary, has_ipv6, probe_binary, seconds, times, wait_until, yaml
from lab import ENTRY, Lab
from probe import FOREVER, Probe
from tls import Authority, openssl, over
from test_access import SETTINGS, hashed, user
from wsclient import TEXT, Client, Closed, connect, frame

APP = FIXTURES / "echo_app.lua"
MIB = 1 << 20

# Lines are echoed; a line "bye" is the last, "who" asks for the address. What ends a connection is logged.
LINES = """
function protocol_input(buf) return buf:tostring():find("\\n", 1, true) or 0 end
function protocol_decode(str) return str:sub(1, -2) end
function protocol_encode(str) return str end
function on_message(msg)
    local conn = mix.socket.tcp()
    conn:send("<" .. msg .. ">\\n")
    if msg == "bye" then conn:close() end
end
function on_close(client_id, err) mix.log(mix.INFO, "closed: " .. tostring(err)) end
"""


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def good(ca):
    """A client's side that trusts the authority."""
    return over(ca.trust())


@pytest.fixture(scope="module", params=kinds.KINDS)
def speaks(request):
    return request.param


@pytest.fixture(scope="module")
def server(ca):
    return ca.server()


@pytest.fixture(scope="module")
def engine(make_shared, speaks, server):
    return kinds.make(make_shared, speaks, APP, server={"tls": server, "maxMessageSize": 16 * MIB,
                                                      "maxBacklog": 64 * MIB})


@pytest.fixture(scope="module")
def lines(make_shared, server):
    return make_shared(LINES, server={"protocol": "socket", "tls": server})


def rewrite(engine, **tls):
    """Another `tls` section, and SIGHUP; returns when it is in use."""
    engine.config["engine"]["servers"][0]["tls"] = tls
    engine.config_path.write_text(yaml(engine.config))
    hup(engine)


def hup(engine, expect="loaded again"):
    before = len(re.findall(expect, engine.log()))
    engine.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(re.findall(expect, engine.log())) > before, what=expect)


def serial(port, trust):
    """Of the certificate that a new connection is shown."""
    with socket.create_connection(("127.0.0.1", port), seconds(10)) as sock, \
            trust.wrap_socket(sock, server_hostname="localhost") as wrapped:
        return wrapped.getpeercert()["serialNumber"]


def wait_serial(port, trust, expected):
    wait_until(lambda: serial(port, trust) == expected, what=f"certificate {expected}")


def serial_of(cert):
    done = subprocess.run(["openssl", "x509", "-noout", "-serial", "-in", cert], capture_output=True, timeout=20)
    return done.stdout.decode().strip().partition("=")[2]


# ---- clients

def test_echo(engine, good):
    with connect(engine.port, tls=good) as client:
        for text in ("a", "b" * 126, "c" * 70000):
            assert client.ask(text) == text
        client.close()


def test_a_modern_client(engine, ca):
    """python3-websockets, with its own idea of TLS."""
    async def run():
        async with websockets.connect(f"wss://localhost:{engine.port}/chat", ssl=ca.trust(),
                                      max_size=None) as client:
            for text in ("x", "y" * MIB):
                await client.send(text)
                assert await client.recv() == text
    asyncio.run(asyncio.wait_for(run(), seconds(20)))


def test_curl(make_engine, server, ca):
    engine = kinds.make(make_engine, "websocket", APP, server={"tls": server})
    done = subprocess.run(["curl", "-sv", "--http2", "--cacert", str(ca.cert), f"https://localhost:{engine.port}/chat"],
                          capture_output=True, timeout=seconds(20))
    assert b"ALPN: server accepted http/1.1" in done.stderr, done.stderr
    assert re.search(rb"< HTTP/1.1 4\d\d", done.stderr), done.stderr


def test_messages_of_a_megabyte(engine, good):
    with connect(engine.port, tls=good) as client:
        for size in (MIB - 1, MIB, 5 * MIB + 3):
            text = "m" * size
            assert client.ask(text) == text


def test_many_messages_at_once(engine, good):
    """Records hold several messages, and messages lie across records."""
    with connect(engine.port, tls=good) as client:
        texts = [str(i) * (i % 700) for i in range(2000)]
        client.raw(b"".join(frame(TEXT, text) for text in texts))
        assert [client.text() for _ in texts] == texts


def test_octet_by_octet(engine, ca):
    with connect(engine.port, tls=over(ca.trust(), step=1)) as client:
        assert client.ask("hello") == "hello"
        client.close()


def test_a_record_in_two_halves(lines, good):
    """Whatever the loop does between them."""
    with Client(lines.port, tls=good) as client, Client(lines.port, tls=good) as other:
        record = client.sock.records(b"one\n" + b"x" * 9000 + b"\n")
        for at in (1, 4, 5, 6, 100, len(record) - 1):
            client.sock.sock.sendall(record[:at])
            other.raw(b"between\n")
            assert other.line() == b"<between>"
            client.sock.sock.sendall(record[at:])
            assert client.line() == b"<one>"
            assert client.line() == b"<" + b"x" * 9000 + b">"
            record = client.sock.records(b"one\n" + b"x" * 9000 + b"\n")


@pytest.mark.parametrize("kind", ["python", "sqlite"])
def test_the_transcript_over_wss(make_engine, run_chat, ca, server, good, monkeypatch, kind):
    """The consumer in C has TLS on all of its ways too."""
    monkeypatch.setattr(test_transcript, "connect", lambda port: connect(port, tls=good))
    entry, options = test_transcript.CODECS["shipped"]
    section, words = ({"tls": server}, {"ca": ca.cert}) if kind == "sqlite" else ({}, {})
    engine = make_engine(entry, server={"tls": server}, api=section, center=section, **options)
    chat = run_chat(engine, **words)

    def series(lane):
        for _ in range(times(20)):
            test_transcript.transcript(engine, f"room_{lane}")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(series, lane) for lane in range(4)]:
            done.result()
    wait_until(lambda: chat.online() == 0, 10, "both users are offline")


# ---- where connections come from

@pytest.mark.parametrize("header", [b"PROXY TCP4 203.0.113.7 198.51.100.2 56324 443\r\n"])
def test_behind_a_proxy_header(make_engine, server, good, header):
    engine = make_engine("""
        function protocol_input(buf) return buf:length() end
        function protocol_decode(str) return str end
        function protocol_encode(str) return str end
        function on_message(msg) local c = mix.socket.tcp() c:send(c:remote_addr() .. "\\n") end
    """, server={"protocol": "socket", "tls": server, "proxyProtocol": True})
    with Client(engine.port, first=header, tls=good) as client:
        client.raw(b"?")
        assert client.line() == b"203.0.113.7:56324"
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        Client(engine.port, tls=good)


@pytest.mark.parametrize("header", [b"", b"PROXY TCP4 203.0.113.7 198.51.100.2 56324 443\r\n"])
def test_connections_per_address(make_engine, server, good, header):
    """Each is counted once, and is no more when it has gone; who is one too many gets no handshake."""
    engine = make_engine(LINES, server={"protocol": "socket", "tls": server, "proxyProtocol": bool(header),
                                        "limits": {"connectionsPerAddress": 3}})

    def visit():
        client = Client(engine.port, first=header, tls=good)
        client.raw(b"x\n")
        assert client.line() == b"<x>"
        return client
    for _ in range(4):
        clients = [visit() for _ in range(3)]
        with pytest.raises((ssl.SSLError, ConnectionError)):
            visit()
        for client in clients:
            client.drop()
        engine.wait_metric("mixengine_addresses", 0)
    assert engine.metric("mixengine_tls_handshakes_total") == 12
    assert engine.metric("mixengine_tls_failures_total") == 0


def test_on_a_unix_socket(make_engine, server, good):
    engine = make_engine(LINES, server={"protocol": "socket", "tls": server, "bind": "unix:run.sock"})
    with Client(pathlib.Path(engine.folder / "run.sock"), tls=good) as client:
        client.raw(b"x\n")
        assert client.line() == b"<x>"


@pytest.mark.skipif(not has_ipv6(), reason="this kernel has no IPv6 loopback (::1)")
def test_on_ipv6(make_engine, server, good):
    engine = make_engine(LINES, server={"protocol": "socket", "tls": server, "bind": "::1"})
    with Client(("::1", engine.port), tls=good) as client:
        client.raw(b"x\n")
        assert client.line() == b"<x>"


# ---- who is not let in

def versions(ca, least, most):
    context = ca.trust()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = least, most
    return context


V = ssl.TLSVersion


@pytest.mark.parametrize("least, version, served", [
    ("1.2", V.TLSv1_1, False), ("1.2", V.TLSv1_2, True), ("1.2", V.TLSv1_3, True),
    ("1.3", V.TLSv1_2, False), ("1.3", V.TLSv1_3, True)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_versions(make_engine, server, ca, least, version, served):
    engine = make_engine(LINES, server={"protocol": "socket", "tls": {**server, "minVersion": least}})
    wrap = over(versions(ca, V.TLSv1, version))
    if served:
        with Client(engine.port, tls=wrap) as client:
            client.raw(b"x\n")
            assert client.line() == b"<x>"
            assert client.sock.tls.version() == version.name.replace("_", ".")
    else:
        with pytest.raises(ssl.SSLError, match="(?i)protocol"):
            Client(engine.port, tls=wrap)
    engine.wait_metric("mixengine_tls_handshakes_total", int(served))
    engine.wait_metric("mixengine_tls_failures_total", int(not served))


def test_a_plain_client(make_engine, server, good):
    """An orderly end, one line in the log for many, and nobody else notices."""
    engine = make_engine(LINES, server={"protocol": "socket", "tls": server}, workers=1)
    for _ in range(20):
        with Client(engine.port) as client:
            client.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + b"x" * 100000)
            client.rest()
            with pytest.raises(Closed) as closed:
                client.more()
            assert not closed.value.reset
    engine.wait_output("servers\\[0\\] closed a connection from 127.0.0.1:\\d+: .*does not speak TLS "
                       "\\(1 such so far on worker 0\\)")
    assert engine.logged_once("closed a connection")
    with Client(engine.port, tls=good) as client:
        client.raw(b"x\n")
        assert client.line() == b"<x>"
    engine.wait_metric("mixengine_tls_failures_total", 20)
    engine.wait_metric("mixengine_connections", 0)


def test_slow_handshakes(make_engine, server, good):
    """200 that say nothing, or half of it: they end in time, count as connections, and hurt nobody."""
    engine = make_engine(LINES, server={"protocol": "socket", "tls": server, "maxConnections": 201,
                                        "handshakeTimeout": round(seconds(3))})
    hello = good_hello()
    with Client(engine.port, tls=good) as well:
        slow = [Client(engine.port, first=hello[:i % len(hello)]) for i in range(200)]
        with pytest.raises((ssl.SSLError, OSError)):  # 201 are open
            Client(engine.port, tls=good)
        for _ in range(200):
            well.raw(b"x\n")
            assert well.line() == b"<x>"
        for client in slow:
            client.timeout(30)
            client.rest()
            client.drop()
        engine.wait_metric("mixengine_tls_failures_total", 200)
        with Client(engine.port, tls=good) as client:
            client.raw(b"x\n")
            assert client.line() == b"<x>"
        well.raw(b"x\n")
        assert well.line() == b"<x>"


def good_hello():
    context = ssl.create_default_context()
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def test_client_certificates(make_engine, server, ca, tmp_path):
    other = Authority(tmp_path, "other")
    mine, theirs = ca.issue("client"), other.issue("stranger")
    engine = make_engine(LINES, server={"protocol": "socket", "tls": {**server, "clientCA": str(ca.cert)}})

    def ask(context, **more):
        with Client(engine.port, tls=over(context, **more)) as client:
            client.raw(b"x\n")
            answer = client.line()
            return answer, client.sock.tls.session

    assert ask(ca.trust(mine))[0] == b"<x>"
    for refused in (ca.trust(), ca.trust(theirs)):
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            ask(refused)
    engine.wait_metric("mixengine_tls_failures_total", 2)
    engine.wait_output("its TLS handshake failed: (peer did not return a certificate|certificate verify failed)")
    assert engine.metric("mixengine_tls_handshakes_total") == 1


def test_an_intermediate_alone(make_engine, run_probe, ca):
    """It is believed without its root, and its root is not: by servers, by the APIs, and by the library."""
    issuing = ca.intermediate("issuing")
    tls = issuing.server("by-issuing", clientCA=str(issuing.cert))
    engine = make_engine(ENTRY, server={"tls": tls}, api={"tls": tls}, center={"tls": tls})
    mine, theirs = issuing.issue("client-of-issuing"), ca.issue("client-of-root")

    def trust(pair):
        context = issuing.trust(pair)
        context.verify_flags |= 0x80000  # X509_V_FLAG_PARTIAL_CHAIN
        return context
    connect(engine.port, tls=over(trust(mine))).drop()
    assert get(engine.api_port, "/metrics", trust(mine))[0] == [200]
    run_probe(engine.center, "--ca", issuing.cert, "--cert", mine[0], "--key", mine[1]).notice("connected")
    with pytest.raises((ssl.SSLError, ConnectionError, Closed)):
        connect(engine.port, tls=over(trust(theirs)))
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        get(engine.api_port, "/metrics", trust(theirs))


@pytest.mark.parametrize("version", [V.TLSv1_2, V.TLSv1_3])
def test_who_comes_back(make_engine, server, ca, version):
    """With a ticket, to any worker; not where certificates of clients are looked at."""
    engine = make_engine(LINES, server={"protocol": "socket", "tls": server}, workers=2)
    context = versions(ca, version, version)

    def visit(port, session=None, trust=context):
        with Client(port, tls=over(trust, session=session)) as client:
            client.raw(b"x\n")
            assert client.line() == b"<x>"
            return client.sock.tls.session_reused, client.sock.tls.session

    reused, session = visit(engine.port)
    assert not reused
    for _ in range(4):
        assert visit(engine.port, session)[0]
    engine = make_engine(LINES, server={"protocol": "socket", "tls": {**server, "clientCA": str(ca.cert)}})
    trust = ca.trust(ca.issue("again"))
    trust.minimum_version = trust.maximum_version = version
    _, session = visit(engine.port, trust=trust)
    assert not visit(engine.port, session, trust)[0]


# ---- openssl's own client: what Python cannot say

def s_client(engine, ca, text, *options):
    with subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{engine.port}", "-CAfile", str(ca.cert),
                           "-verify_return_error", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as client:
        out = b""
        for part, answer in text:
            seen = len(out)
            client.stdin.write(part)
            client.stdin.flush()
            while answer not in out[seen:]:
                more = os.read(client.stdout.fileno(), 65536)
                if not more:
                    return out
                out += more
        client.stdin.close()
        client.wait(seconds(10))
        return out


def test_new_keys_on_the_way(lines, ca):
    """K asks the other side for new keys, too."""
    out = s_client(lines, ca, [(b"one\n", b"<one>"), (b"K\n", b"KEYUPDATE"), (b"two\n", b"<two>"),
                               (b"K\n", b"KEYUPDATE"), (b"three\n", b"<three>")], "-tls1_3")
    assert b"<three>" in out


def test_no_renegotiation(lines, ca):
    out = s_client(lines, ca, [(b"one\n", b"<one>"), (b"R\n", b"no renegotiation")], "-tls1_2")
    assert b"no renegotiation" in out


# ---- ends

def test_both_sides_say_goodbye(lines, good):
    with Client(lines.port, tls=good) as client:
        client.raw(b"bye\n")
        assert client.line() == b"<bye>"
        with pytest.raises(Closed) as closed:  # Ragged, and so reset, when it says nothing
            client.more()
        assert not closed.value.reset


def test_half_closed(lines, good):
    """Its end is TLS' own; what it had sent is answered, and it is told the end in turn."""
    before = lines.log().count("closed: nil")
    with Client(lines.port, tls=good) as client:
        client.raw(b"one\ntwo\n")
        client.sock.close_notify()
        assert client.rest() == b"<one>\n<two>\n"
        with pytest.raises(Closed) as closed:
            client.more()
        assert not closed.value.reset
    wait_until(lambda: lines.log().count("closed: nil") > before, what="on_close without an error")


def test_truncated(lines, good):
    """TCP ends and TLS has not: whatever came whole is handled."""
    before = lines.log().count("closed: ")
    with Client(lines.port, tls=good) as client:
        client.raw(b"one\ntwo\n")
        record = client.sock.records(b"three\n")
        client.sock.sock.sendall(record[:-3])
        client.sock.sock.shutdown(socket.SHUT_WR)
        assert client.rest() == b"<one>\n<two>\n"
    wait_until(lambda: lines.log().count("closed: ") > before, what="on_close")


@pytest.mark.parametrize("junk", [b"\x17\x03\x03\x00\x20" + b"j" * 32, b"GET / HTTP/1.1\r\n\r\n",
                                  b"\x17\x03\x03\xff\xff" + b"j" * 70000])
def test_broken_records(lines, good, junk):
    """What came before them is answered; they end the connection, and no other."""
    with Client(lines.port, tls=good) as client, Client(lines.port, tls=good) as other:
        client.raw(b"one\n")
        assert client.line() == b"<one>"
        before = lines.log().count("closed: connection reset by peer")
        try:
            client.sock.sock.sendall(junk)
            client.rest()
        except (ssl.SSLError, OSError):
            pass
        wait_until(lambda: lines.log().count("closed: connection reset by peer") > before, what="on_close")
        other.raw(b"x\n")
        assert other.line() == b"<x>"


def test_a_reset(lines, good):
    before = lines.log().count("closed: connection reset by peer")
    with Client(lines.port, tls=good) as client:
        client.raw(b"one\n")
        assert client.line() == b"<one>"
        client.reset()
    wait_until(lambda: lines.log().count("closed: connection reset by peer") > before, what="on_close")


def test_a_client_that_reads_nothing(make_engine, server, good):
    """It waits encrypted as far as it was begun with, and is closed by the same limits."""
    engine = kinds.make(make_engine, "websocket", APP,
                        server={"tls": server, "maxBacklog": MIB, "maxMessageSize": 4 * MIB, "writeTimeout": 1})
    with connect(engine.port, tls=good, receive_buffer=4096) as client:
        with pytest.raises((Closed, OSError)):
            while True:
                client.send("x" * (3 * MIB))
        engine.wait_metric(f'mixengine_closes_total{{server="127.0.0.1:{engine.port}",reason="slow"}}', 1, 30)
    engine.wait_metric("mixengine_connections", 0)


def test_a_client_that_reads_slowly(engine, good):
    """All of it comes, in order, however the socket fills up."""
    with connect(engine.port, tls=good, receive_buffer=65536) as client:
        texts = [chr(97 + i) * (300000 + i) for i in range(10)]
        for text in texts:
            client.send(text)
        assert [client.text() for _ in texts] == texts


# ---- many

def test_a_room_of_both(make_engine, ca, good):
    """TLS comes with SIGHUP: those who were there stay plain, and one frame serves both."""
    engine = make_engine(test_transcript.CHAT_ENTRY.with_name("entry.lua"), start=False)
    engine.write_entry("""
        local websocket = require("protocols/websocket")
        function on_handshake(headers, conn) conn:subscribe("room") end
        function protocol_input(buf, conn) return websocket.input(buf, conn, "/chat", on_handshake) end
        function protocol_decode(str, conn) return websocket.decode(conn) end
        function protocol_encode(str, conn) return websocket.encode(str) end
        function on_message(data, conn) mix.mesh.publish("room", data.frame and data.frame.data or data.data) end
    """)
    engine.start()
    plain = [connect(engine.port) for _ in range(25)]
    rewrite(engine, **ca.server("room"))
    wait_until(lambda: is_tls(engine.port, good), what="TLS")
    secure = [connect(engine.port, tls=good) for _ in range(25)]
    texts = ["a", "b" * 1000, "c" * 20000, "d" * 100000] * 5
    for number, text in enumerate(texts):
        (plain if number % 2 else secure)[number % 25].send(text)
        for client in plain + secure:
            assert client.text() == text
    for client in plain + secure:
        client.drop()


def is_tls(port, good):
    try:
        Client(port, timeout=1, tls=good).drop()
        return True
    except (OSError, ssl.SSLError):
        return False


# ---- certificates

def test_a_certificate_is_swapped(make_engine, ca, good):
    """With SIGHUP, for new connections; of the other kind of key, too."""
    server = ca.server("old")
    cert, key = pathlib.Path(server["cert"]), pathlib.Path(server["key"])
    engine = make_engine(LINES, server={"protocol": "socket", "tls": server})
    old = serial(engine.port, ca.trust())
    assert old == serial_of(cert)
    with Client(engine.port, tls=good) as client:
        new = ca.issue("new", kind="rsa")
        cert.write_bytes(new[0].read_bytes())
        key.write_bytes(new[1].read_bytes())
        assert serial(engine.port, ca.trust()) == old
        hup(engine)
        wait_serial(engine.port, ca.trust(), serial_of(new[0]))
        client.raw(b"x\n")
        assert client.line() == b"<x>"


def test_a_wrong_one_is_refused(make_engine, ca, tmp_path):
    server = ca.server("kept")
    key = pathlib.Path(server["key"])
    engine = make_engine(LINES, server={"protocol": "socket", "tls": server})
    old = serial(engine.port, ca.trust())
    kept = key.read_bytes()
    key.write_bytes(ca.issue("another")[1].read_bytes())
    hup(engine, "what was read before holds on")
    assert "does not fit the certificate" in engine.log()
    assert serial(engine.port, ca.trust()) == old
    key.write_bytes(kept)
    hup(engine)
    assert serial(engine.port, ca.trust()) == old


def test_an_expired_one(make_engine, ca):
    """It is used, with a warning: whoever does not look at the date is served."""
    cert, key = ca.issue("expired", days=-1)
    engine = make_engine(LINES, server={"protocol": "socket", "tls": {"cert": str(cert), "key": str(key)}})
    status, _, error = engine.run("check")
    assert status == 0 and re.search(r"yaml:\d+:\d+: warning: engine.servers\[0\].tls: the certificate in "
                                     r"\S+expired.crt has expired on \d{4}-", error), error
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        serial(engine.port, ca.trust())
    careless = ca.trust()
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    with Client(engine.port, tls=over(careless)) as client:
        client.raw(b"x\n")
        assert client.line() == b"<x>"


def damaged(ca, tmp_path):
    cert, key = map(str, ca.issue("damaged"))
    text, secret = tmp_path / "text", tmp_path / "secret.key"
    text.write_text("no certificate\n")
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", secret)
    other, rsa = str(ca.issue("other-key")[1]), str(ca.issue("rsa-key", kind="rsa")[1])
    return {
        "no file": ({"cert": "gone.crt", "key": key}, r"cert cannot be read; looked for \S*gone.crt"),
        "no key file": ({"cert": cert, "key": "gone.key"}, r"key cannot be read; looked for \S*gone.key"),
        "no key": ({"cert": cert}, "cert without key"),
        "no cert": ({"key": key}, "key without cert"),
        "only a CA": ({"clientCA": cert}, "clientCA without cert"),
        "no certificate": ({"cert": str(text), "key": key}, "text is no usable certificate .*: no start line"),
        "no private key": ({"cert": cert, "key": str(text)}, "text is no usable private key"),
        "another key": ({"cert": cert, "key": other}, r"other-key.key does not fit the certificate in \S+damaged.crt"),
        "a key of another kind": ({"cert": cert, "key": rsa}, "rsa-key.key does not fit the certificate"),
        "an encrypted key": ({"cert": cert, "key": str(secret)}, "secret.key is encrypted; store it without"),
        "no CA": ({"cert": cert, "key": key, "clientCA": str(text)}, "text holds no usable certificates"),
        "a CA that is not there": ({"cert": cert, "key": key, "clientCA": "gone"}, "clientCA cannot be read"),
        "a version": ({"cert": cert, "key": key, "minVersion": "1.1"}, "found '1.1'; allowed is 1.2 or 1.3"),
    }


def test_errors(make_engine, ca, tmp_path):
    """The key, the file and the line, for servers and for the APIs."""
    for where, section in (("engine.servers[0]", "server"), ("engine.apiServer", "api"), ("center.apiServer", "center")):
        for name, (tls, expected) in damaged(ca, tmp_path).items():
            engine = make_engine("", start=False, **{section: {"tls": tls}})
            status, _, error = engine.run("check")
            assert status == 78, (name, error)
            assert re.search(rf"yaml:\d+:\d+: error: {re.escape(where)}.tls(.minVersion)?: .*{expected}", error), (name, error)


# ---- the APIs

@pytest.fixture(scope="module")
def secure(make_shared, ca):
    """Both APIs over TLS, each with its own certificate; clients come without."""
    return make_shared(ENTRY, api={"tls": ca.server("engine-api")}, center={"tls": ca.server("center-api")})


def get(port, path, trust, body=None, times=1):
    """One connection, `times` requests: the statuses and the last answer."""
    connection = http.client.HTTPSConnection("localhost", port, timeout=seconds(10), context=trust)
    try:
        statuses = []
        for _ in range(times):
            connection.request("POST" if body else "GET", path, body)
            answer = connection.getresponse()
            text = answer.read()
            statuses.append(answer.status)
        return statuses, text
    finally:
        connection.close()


def test_the_apis_over_https(secure, ca):
    statuses, text = get(secure.center_port, "/v1/nodes", ca.trust(), times=3)
    assert statuses == [200] * 3 and len(json.loads(text)["nodes"]) == 1
    statuses, text = get(secure.api_port, "/metrics", ca.trust(), times=3)
    assert statuses == [200] * 3 and b"mixengine_connections" in text
    assert serial(secure.center_port, ca.trust()) == serial_of(ca.folder / "center-api.crt")
    assert serial(secure.api_port, ca.trust()) == serial_of(ca.folder / "engine-api.crt")


def test_the_api_speaks_http_1(secure, ca):
    trust = ca.trust()
    trust.set_alpn_protocols(["h2", "http/1.1"])
    with Client(secure.api_port, tls=over(trust)) as client:
        assert client.sock.tls.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("version", [V.TLSv1_2, V.TLSv1_3])
def test_the_apis_give_no_tickets(secure, ca, version):
    for port in secure.api_port, secure.center_port:
        with Client(port, tls=over(versions(ca, version, version))) as client:
            client.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            client.more()
            session = client.sock.tls.session
            assert not session or not session.has_ticket


def test_commands_over_https(secure, ca):
    with Lab(secure.port) as client:
        for size in (1, 1000, 100000):
            body = json.dumps({"c": client.id, "d": "p" * size})
            statuses, _ = get(secure.api_port, "/v1/mesh/send", ca.trust(), body, times=3)
            assert statuses == [200] * 3
            assert [client.text() for _ in range(3)] == ["p" * size] * 3


@pytest.mark.parametrize("spelling", "AB")
def test_a_consumer_over_wss(secure, good, spelling):
    """Many events and commands, and large ones, in order."""
    texts = [f"{i}:" + "e" * (i % 900) for i in range(times(2000))] + ["x" * MIB]
    with Api(secure.api_port, spelling, tls=good) as api, Lab(secure.port) as client:
        assert api.call(CONSUME[spelling], consume_params(spelling, ["secure"])).error is None
        for text in texts:
            api.post("mesh.send", send_params(spelling, client.id, text))
        assert [client.text() for _ in texts] == texts
        assert [api.message().error for _ in texts] == [None] * len(texts)
        client.lua("for i = 1, 1000 do mix.queue.push('secure', {i = i, text = ('y'):rep(i)}) end")
        events = [api.message() for _ in range(1000)]
        assert [(event.data["i"], len(event.data["text"])) for event in events] == [(i, i) for i in range(1, 1001)]


def test_a_plain_consumer_of_a_secure_api(secure, ca):
    with Client(secure.api_port) as client:
        client.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            assert b"HTTP/1.1 200" not in client.rest()
        except Closed:
            pass
    assert get(secure.api_port, "/metrics", ca.trust())[0] == [200]


def test_handshakes_of_the_apis_are_counted(make_engine, ca):
    """Good ones of both versions, who speaks no TLS, who believes nobody, who comes and says nothing."""
    engine = make_engine(ENTRY, center={"tls": ca.server("counted-api")})
    before = engine.metric("mixengine_api_tls_handshakes_total"), engine.metric("mixengine_api_tls_failures_total")
    assert before == (0, 0)
    for version in V.TLSv1_2, V.TLSv1_3:
        assert get(engine.center_port, "/v1/nodes", versions(ca, version, version), times=3)[0] == [200] * 3
    with Client(engine.center_port) as plain:
        plain.raw(b"GET /v1/nodes HTTP/1.1\r\nHost: x\r\n\r\n")
        engine.wait_metric("mixengine_api_tls_failures_total", 1)
    with pytest.raises(ssl.SSLError):
        get(engine.center_port, "/v1/nodes", ssl.create_default_context())
    engine.wait_metric("mixengine_api_tls_failures_total", 2)
    with Client(engine.center_port):
        engine.wait_metric("mixengine_api_sockets", 2)  # the one that asks for metrics is the other
    engine.wait_metric("mixengine_api_tls_failures_total", 3)
    assert engine.metric("mixengine_api_tls_handshakes_total") == 2


def test_who_may_not_use_the_apis(make_engine, ca, tmp_path):
    other = Authority(tmp_path, "other")
    trusted = {"clientCA": str(ca.cert), "minVersion": "1.3"}
    engine = make_engine(ENTRY, api={"tls": ca.server("strict-api", **trusted)}, center={"tls": ca.server("loose-api")})
    mine, theirs = ca.issue("consumer"), other.issue("outsider")
    assert get(engine.api_port, "/metrics", ca.trust(mine))[0] == [200]
    assert get(engine.center_port, "/v1/nodes", ca.trust())[0] == [200]
    old = ca.trust(mine)
    old.maximum_version = V.TLSv1_2
    for refused in (ca.trust(), ca.trust(theirs), old):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            get(engine.api_port, "/metrics", refused)
        assert get(engine.api_port, "/metrics", ca.trust(mine))[0] == [200]


def test_the_certificate_of_an_api_is_swapped(make_engine, ca, good):
    tls = ca.server("swapped-api")
    engine = make_engine(ENTRY, api={"tls": tls})
    with Api(engine.api_port, tls=good) as api, Lab(engine.port) as client:
        new = ca.issue("swapped-in", kind="rsa")
        pathlib.Path(tls["cert"]).write_bytes(new[0].read_bytes())
        pathlib.Path(tls["key"]).write_bytes(new[1].read_bytes())
        hup(engine)
        wait_serial(engine.api_port, ca.trust(), serial_of(new[0]))
        assert api.mesh_send(client.id, "still").error is None
        assert client.text() == "still"


def test_a_hashed_password_over_wss(make_engine, ca, good):
    """Refused for now while it is checked, then let in."""
    engine = make_engine(ENTRY, api={"tls": ca.server("hash-api")}, users=[user("u", hashed("p", SETTINGS["2b"]))])

    def let_in():
        try:
            Api(engine.api_port, credentials=("u", "p"), tls=good).drop()
            return True
        except AssertionError as refused:
            assert "status=503" in str(refused), refused
            return False
    wait_until(let_in, what="the password is known")
    with pytest.raises(AssertionError, match="status=(401|503)"):
        Api(engine.api_port, credentials=("u", "wrong"), tls=good)


def test_a_consumer_over_wss_that_takes_nothing(make_engine, ca, good):
    """It is dropped, and what it was not handed goes to another."""
    engine = make_engine(ENTRY, api={"tls": ca.server("stall-api")}, queue={"topicSize": 100000, "stallTimeout": 1})
    with Api(engine.api_port, tls=good, receive_buffer=4096) as deaf, Lab(engine.port) as client:
        assert deaf.call("queue.consume", ["stall"]).error is None
        client.lua("for i = 1, 3000 do mix.queue.push('stall', ('z'):rep(1000)) end")
        engine.wait_output("takes nothing: dropped")
        with Api(engine.api_port, tls=good) as api:
            assert api.call("queue.consume", ["stall"]).error is None
            assert isinstance(api.message(), Event)


# ---- the library for consumers

@pytest.fixture
def run_probe(run_program):
    """Starts the probe, which takes the queue `library`; at the end it is closed, and must end well."""
    probes = []

    def run(center, *words):
        probes.append(Probe(run_program(probe_binary(), "--center", center, "--topics", "library", *FOREVER, *words,
                                        wait=False, stdin=-1)))
        return probes[-1]

    yield run
    for probe in probes:
        probe.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"] + ["[::1]"] * has_ipv6())
def test_the_library(make_engine, run_probe, ca, server, host):
    """Its certificate names both addresses and the name. Many events and commands, and large ones, in order."""
    section = {"tls": {**server, "clientCA": str(ca.cert)}, "bind": "::1" if host == "[::1]" else "127.0.0.1"}
    engine = make_engine(ENTRY, api=section, center=section, start=False)
    engine.start()
    cert, key = ca.issue("library")
    probe = run_probe(f"{host}:{engine.center_port}", "--ca", ca.cert, "--cert", cert, "--key", key)
    assert probe.notice("connected")["node"] == f"{host.replace('localhost', '127.0.0.1')}:{engine.api_port}"
    with Lab(engine.port) as client:
        client.lua("conn:subscribe('library')")
        sizes = [i % 900 for i in range(times(2000))] + [MIB, 5]
        client.lua(f"for i = 1, {len(sizes) - 2} do mix.queue.push('library', {{i = i, t = ('y'):rep(i % 900)}}) end")
        client.lua(f"mix.queue.push('library', {{i = 0, t = ('y'):rep({MIB})}})")
        wait_until(lambda: len(probe.of("event")) == len(sizes) - 1, 60, "all events")
        events = [(event["i"], len(event["t"])) for event in probe.events()]
        assert events == [(i, i % 900) for i in range(1, len(sizes) - 1)] + [(0, MIB)]
        probe.do("flood", count=3000, channel="library", size=3000)
        assert all(len(client.text()) == 3000 for _ in range(3000))


class Recorder:
    """A server that answers nothing. `heard`: what it was told by each who came, as far as it can read that."""

    def __init__(self, tls):
        self.heard = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        if tls:
            self.context.load_cert_chain(tls["cert"], tls["key"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.heard.append(self.listen(sock))

    def listen(self, sock):
        with sock:
            sock.settimeout(seconds(10))
            try:
                if self.context:
                    sock = self.context.wrap_socket(sock, server_side=True)
                with sock:
                    return sock.recv(65536)
            except OSError:
                return b""

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def record():
    recorders = []

    def run(tls):
        recorders.append(Recorder(tls))
        return recorders[-1]

    yield run
    for recorder in recorders:
        recorder.close()


def refusals(ca, tmp_path):
    """What the center has, how the library calls it, and what that says."""
    stranger, named = Authority(tmp_path, "stranger"), "not trusted: it is for another host"
    late = dict(zip(("cert", "key"), map(str, ca.issue("late", days=-1))))
    return {
        "a stranger's": ({"tls": stranger.server("s")}, "127.0.0.1", "not trusted: unable to get local issuer"),
        "of another name": ({"tls": ca.server("elsewhere", "DNS:elsewhere.test,IP:127.0.0.2")}, "127.0.0.1", named),
        "of a part of the name": ({"tls": ca.server("part", "DNS:localhost.test,DNS:local*")}, "localhost", named),
        "of a name for an address": ({"tls": ca.server("text", "DNS:127.0.0.1")}, "127.0.0.1", named),
        "expired": ({"tls": late}, "127.0.0.1", "not trusted: certificate has expired"),
    }


@pytest.mark.parametrize("which", ["a stranger's", "of another name", "of a part of the name", "of a name for an address",
                                   "expired"])
def test_whom_the_library_does_not_believe(record, run_probe, ca, tmp_path, which):
    """Nothing is asked of it, and no credentials are told."""
    section, host, expected = refusals(ca, tmp_path)[which]
    server = record(section["tls"])
    probe = run_probe(f"{host}:{server.port}", "--ca", ca.cert, "--user", "u", "--password", "p")
    text = probe.notice("center", 2)["text"]
    assert expected in text, text
    wait_until(lambda: len(server.heard) >= 2, what="two calls are over")
    assert not any(server.heard), server.heard


def test_what_the_library_tells_whom_it_believes(record, run_probe, ca, server):
    recorder = record(server)
    run_probe(f"127.0.0.1:{recorder.port}", "--ca", ca.cert, "--user", "u", "--password", "p")
    wait_until(lambda: recorder.heard, what="a request")
    assert recorder.heard[0].startswith(b"GET /version ") and b"\r\nAuthorization: Basic" in recorder.heard[0]


NO_ANSWER = r"no (good )?answer"  # how an end without one looks depends on what the library does at that moment


@pytest.mark.parametrize("asks, expected", [(True, NO_ANSWER), (False, "cannot connect")])
def test_a_center_that_does_not_let_the_library_in(make_engine, run_probe, ca, asks, expected):
    """It wants a certificate, or speaks no TLS."""
    engine = make_engine(ENTRY, center={"tls": ca.server("asks", clientCA=str(ca.cert))} if asks else {})
    probe = run_probe(engine.center, "--ca", ca.cert)
    text = probe.notice("center", 2)["text"]
    assert re.search(expected, text), text
    assert not probe.of("notice", kind="connected")


def test_a_node_that_is_not_believed(make_engine, run_probe, ca, server, tmp_path):
    """It is tried again, and is taken when its certificate is a good one."""
    tls = Authority(tmp_path, "stranger").server("node")
    engine = make_engine(ENTRY, center={"tls": server}, api={"tls": tls})
    probe = run_probe(engine.center, "--ca", ca.cert)
    assert "not trusted" in probe.notice("lost")["text"]
    for name in ("cert", "key"):
        pathlib.Path(tls[name]).write_bytes(pathlib.Path(server[name]).read_bytes())
    hup(engine)
    probe.notice("connected")


def test_a_library_without_tls(secure, run_probe):
    text = run_probe(secure.center).notice("center")["text"]
    assert re.search(NO_ANSWER, text), text


def test_files_that_the_library_cannot_use(run_program, ca, tmp_path):
    text = tmp_path / "text"
    text.write_text("no certificate\n")
    cert, key = ca.issue("used")
    other = ca.issue("unused")[1]
    secret = tmp_path / "secret.key"
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:word", "-out", secret)
    for words in (("--ca", "gone"), ("--ca", text), ("--cert", cert, "--key", key), ("--ca", ca.cert, "--cert", cert),
                  ("--ca", ca.cert, "--cert", cert, "--key", other),
                  ("--ca", ca.cert, "--cert", cert, "--key", secret)):
        program = run_program(probe_binary(), "--center", "127.0.0.1:1", *words, wait=False, stdin=-1)
        with contextlib.suppress(BrokenPipeError), program.process.stdin as stdin:
            stdin.write(b"word\n")  # for whoever asks
        assert program.wait() == 2, words
        refused = json.loads(program.stdout_path.read_text())
        assert (refused["on"], refused["status"]) == ("refused", -errno.EKEYREJECTED)


def test_a_chat_with_a_bad_ca(run_program):
    program = run_program(chat_binary(), "--ca", "gone", "--db", "sqlite:x.db", wait=False)
    assert program.wait() == 64
    assert "--ca gone: no certificates" in program.stderr()
