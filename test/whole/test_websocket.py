"""WebSocket as an independent client judges it: the built-in protocol, and the shipped codec in both
generations, under a script that echoes."""

import os
import struct
import time

import pytest

import kinds
import wsclient
from consumer import Consumer
from harness import FIXTURES, SLOW, seconds, wait_until
from wsclient import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Client, Closed, close_frame, connect, frame

APP = FIXTURES / "echo_app.lua"
CLEAN, PROMPT = 1 * 4, 0.5 * 4  # generous, so that a busy machine fails nothing
MIB = 1 << 20


@pytest.fixture(scope="module", params=kinds.KINDS)
def server(request):
    return request.param


@pytest.fixture(scope="module")
def engine(make_shared, server):
    return kinds.make(make_shared, server, APP, server={"maxMessageSize": 16 * MIB, "maxBacklog": 64 * MIB})


@pytest.fixture(scope="module")
def small(make_shared, server):
    return kinds.make(make_shared, server, APP, server={"maxMessageSize": 65536, "handshakeTimeout": 1})


@pytest.fixture
def client(engine):
    with connect(engine.port, timeout=20) as connection:
        yield connection


def echo(client, opcode, payload):
    client.frame(opcode, payload)
    got = client.recv()
    assert (got.opcode, got.fin, got.rsv) == (opcode, True, 0)
    assert got.payload == (payload.encode() if isinstance(payload, str) else payload)


def alive(client):
    echo(client, TEXT, "alive")


def fails(client, code, before=()):
    """The server closes: the frames `before`, a close frame with the code, the end of TCP, nothing else."""
    begin = time.monotonic()
    frames, closed = client.end()
    took = time.monotonic() - begin
    assert [f.opcode for f in frames] == [TEXT] * len(before) + [CLOSE], frames
    assert [f.text for f in frames[:-1]] == list(before)
    assert frames[-1].code == code, frames[-1]
    assert frames[-1].payload[2:].decode() is not None
    assert took < seconds(PROMPT), f"took {took:.2f} s"
    return closed


def feed(client, data):
    """What the server no longer takes is no error: it may have closed already."""
    try:
        client.raw(data)
    except Closed:
        pass


# ---- data frames

SIZES = [0, 1, 125, 126, 127, 128, 65535, 65536]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_echo(client, opcode, size):
    echo(client, opcode, b"*" * size if opcode == TEXT else os.urandom(size))
    alive(client)


@pytest.mark.parametrize("chunk", [1, 64, 997])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_echo_in_chunks(client, opcode, size, chunk):
    if chunk == 1 and size > 1000:
        size = 1000 if SLOW else 4096 + size % 7
    payload = b"x" * size
    client.chunks(frame(opcode, payload), chunk)
    got = client.recv()
    assert (got.opcode, got.payload) == (opcode, payload)
    alive(client)


def test_many_frames_in_one_write(client):
    client.raw(b"".join(frame(TEXT, str(i)) for i in range(2000)))
    assert [client.text() for _ in range(2000)] == [str(i) for i in range(2000)]


def test_frame_behind_the_handshake(engine):
    """Sent with the request, in one segment."""
    with Client(engine.port) as client:
        request = wsclient.upgrade("/chat", "dGhlIHNhbXBsZSBub25jZQ==", port=engine.port)
        client.raw(request + frame(TEXT, "early") + frame(PING, b"p"))
        assert client.http().headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert client.text() == "early"
        assert client.recv().opcode == PONG


@pytest.mark.parametrize("key", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\1\2\3\4"])
def test_masks(client, key):
    for size in range(0, 40):
        client.frame(BINARY, bytes(range(size)), mask=key)
        assert client.recv().payload == bytes(range(size))


# ---- control frames

@pytest.mark.parametrize("payload", [b"", b"Hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125])
def test_ping(client, payload):
    client.ping(payload)
    client.chunks(frame(PING, payload), 1)
    got = client.recv()
    assert (got.opcode, got.payload) == (PONG, payload)


def test_ten_pings_in_a_row(client):
    client.raw(b"".join(frame(PING, b"payload-%d" % i) for i in range(10)))
    assert [client.recv().payload for _ in range(10)] == [b"payload-%d" % i for i in range(10)]


@pytest.mark.parametrize("payload", [b"", b"unsolicited", b"\xff" * 125])
def test_unsolicited_pong(client, payload):
    client.frame(PONG, payload)
    client.ping(b"the only answer")


def test_ping_between_fragments(client):
    client.frame(TEXT, "frag", fin=False).ping(b"between")
    client.frame(CONTINUATION, "ment", fin=False).ping(b"again").frame(CONTINUATION, "s")
    assert client.text() == "fragments"


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_control_frame_too_long(client, opcode):
    feed(client, frame(opcode, b"\x03\xe8" + b"x" * 124))
    fails(client, 1002)


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_control_frame_fragmented(client, opcode):
    feed(client, frame(opcode, b"", fin=False) + frame(CONTINUATION, b""))
    fails(client, 1002)


# ---- reserved bits and opcodes

@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_reserved_bits(client, opcode, rsv):
    payload = b"\x03\xe8" if opcode == CLOSE else b"x"
    feed(client, frame(TEXT, "before") + frame(opcode, payload, rsv=rsv) + frame(PING, b"after"))
    fails(client, 1002, ["before"])


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_reserved_opcodes(client, opcode, chunk):
    client.send("before")
    assert client.text() == "before"
    data = frame(opcode, b"x") + frame(PING)
    try:
        client.chunks(data, chunk or len(data))
    except Closed:
        pass
    fails(client, 1002)


def test_reserved_opcode_behind_a_message(client):
    feed(client, frame(TEXT, "before") + frame(3))
    fails(client, 1002, ["before"])


# ---- fragments

@pytest.mark.parametrize("parts", [["", "", ""], ["", "middle", ""], ["a", "b"], ["ab", "", "cd", "ef"]])
@pytest.mark.parametrize("chunk", [None, 1])
def test_fragments(client, parts, chunk):
    data = b"".join(frame(CONTINUATION if i else TEXT, part, fin=i == len(parts) - 1)
                    for i, part in enumerate(parts))
    client.chunks(data, chunk or len(data))
    assert client.text() == "".join(parts)
    alive(client)


WRONG = {
    "continuation first": frame(CONTINUATION, "x"),
    "unfinished continuation first": frame(CONTINUATION, "x", fin=False),
    "continuation after the end": frame(TEXT, "a", fin=False) + frame(CONTINUATION, "b") + frame(CONTINUATION, "c"),
    "text in a message": frame(TEXT, "a", fin=False) + frame(TEXT, "b"),
    "binary in a message": frame(TEXT, "a", fin=False) + frame(BINARY, "b"),
    "unfinished text in a message": frame(TEXT, "a", fin=False) + frame(TEXT, "b", fin=False),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_fragments(client, name):
    feed(client, WRONG[name])
    fails(client, 1002, ["ab"] if name == "continuation after the end" else [])


BAD_HEADERS = {
    "no mask": frame(TEXT, "x", mask=None), "no mask on a ping": frame(PING, b"", mask=None),
    "no mask on a close": frame(CLOSE, b"\x03\xe8", mask=None),
    "16 bits for 125": frame(TEXT, "x" * 125, form=16), "16 bits for 0": frame(TEXT, "", form=16),
    "64 bits for 65535": frame(BINARY, b"x" * 65535, form=64), "64 bits for 1": frame(TEXT, "x", form=64),
    "top bit": frame(BINARY, b"", length=1 << 63, form=64),
    "all bits": frame(BINARY, b"", length=(1 << 64) - 1, form=64),
    "16 bits on a ping": frame(PING, b"x" * 10, form=16), "64 bits on a ping": frame(PING, b"x", form=64),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_bad_headers(client, name):
    feed(client, BAD_HEADERS[name])
    fails(client, 1002)


# ---- UTF-8

VALID = ["", "\u03ba\u1f79\u03c3\u03bc\u03b5", "\x00", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd",
         "\uffff", "\ufffe", "\ufdd0", "\U00010000", "\U0010ffff", "\U0001fffe", "\U0003ffff", "\ufeff", "Hello-\u00b5@\u00df\u00f6\u00e4"]
INVALID = {
    "overlong slash": b"\xc0\xaf", "overlong 3": b"\xe0\x80\xaf", "overlong 4": b"\xf0\x80\x80\xaf",
    "overlong max 2": b"\xc1\xbf", "overlong max 3": b"\xe0\x9f\xbf", "overlong max 4": b"\xf0\x8f\xbf\xbf",
    "overlong nul": b"\xc0\x80", "surrogate": b"\xed\xa0\x80", "low surrogate": b"\xed\xbf\xbf",
    "surrogate pair": b"\xed\xa0\xbd\xed\xb8\x80", "above": b"\xf4\x90\x80\x80", "f5": b"\xf5\x80\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80", "six bytes": b"\xfc\x84\x80\x80\x80\x80", "fe": b"\xfe", "ff": b"\xff",
    "lone continuation": b"\x80", "cut by ascii": b"\xe4\xb8A", "cut by a start": b"\xce\xce\xba",
}


@pytest.mark.parametrize("text", VALID)
def test_valid_text(client, text):
    echo(client, TEXT, text)
    data = text.encode()
    for cut in range(len(data) + 1):
        client.frame(TEXT, data[:cut], fin=False).frame(CONTINUATION, data[cut:])
        assert client.text() == text
    client.chunks(frame(TEXT, data), 1)
    assert client.text() == text


@pytest.mark.parametrize("name", INVALID)
@pytest.mark.parametrize("how", ["whole", "fragment", "bytes"])
def test_invalid_text(client, name, how):
    data = b"before \xce\xba" + INVALID[name]
    if how == "whole":
        feed(client, frame(TEXT, data))
    elif how == "fragment":  # the message is never finished
        feed(client, frame(TEXT, data[:9], fin=False) + frame(CONTINUATION, data[9:], fin=False))
    else:  # nor is the frame
        feed(client, frame(TEXT, data, length=len(data) + 100))
    fails(client, 1007)


@pytest.mark.parametrize("data", [b"\xce", b"\xe4\xb8", b"\xf0\x9f\x98"])
def test_text_that_ends_inside_a_character(client, data):
    client.frame(TEXT, data, fin=False).frame(CONTINUATION, b"")
    fails(client, 1007)


def test_a_bad_byte_in_a_frame_sent_byte_by_byte(client):
    """It fails at the byte, not at the end of the frame."""
    head = frame(TEXT, b"ab\xf4\x90", length=1000, mask=b"\0\0\0\0")
    client.chunks(head, 1)
    fails(client, 1007)


def test_any_bytes_in_binary(client):
    echo(client, BINARY, b"\xff\xfe\xc0\xaf")


# ---- closing

@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
                                  4000, 4999])
@pytest.mark.parametrize("reason", [b"", "Gr\u00fc\u00dfe".encode(), b"x" * 123])
def test_close_codes(client, code, reason):
    begin = time.monotonic()
    client.raw(close_frame(code, reason))
    frames, closed = client.end()
    assert len(frames) == 1 and frames[0].opcode == CLOSE
    assert frames[0].code in (code, 1000, None)
    assert not closed.reset
    assert time.monotonic() - begin < seconds(CLEAN)


def test_close_without_a_code(client):
    client.raw(close_frame())
    frames, closed = client.end()
    assert [(f.opcode, f.code in (None, 1000)) for f in frames] == [(CLOSE, True)] and not closed.reset


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_bad_close_codes(client, code):
    client.raw(close_frame(code))
    fails(client, 1002)


def test_close_body_of_one_byte(client):
    client.frame(CLOSE, b"x")
    fails(client, 1002)


@pytest.mark.parametrize("reason", [b"\xff", b"\xce\xba\xed\xa0\x80", b"\xf4\x90\x80\x80", b"cut \xe4\xb8"])
def test_close_reason_that_is_no_text(client, reason):
    client.raw(close_frame(1000, reason))
    frames, _ = client.end()
    assert len(frames) == 1 and frames[0].code in (1002, 1007)


@pytest.mark.parametrize("after", [frame(PING, b"x"), frame(TEXT, "x"), close_frame(1000), b"garbage" * 100],
                         ids=["ping", "text", "close", "garbage"])
def test_what_follows_a_close_is_ignored(client, after):
    feed(client, close_frame(1000) + after)
    frames, _ = client.end()
    assert [f.opcode for f in frames] == [CLOSE]


def test_close_inside_a_message(client):
    client.raw(frame(TEXT, "unfinished", fin=False) + close_frame(1000))
    frames, closed = client.end()
    assert [f.opcode for f in frames] == [CLOSE] and not closed.reset


def test_messages_before_the_close_are_echoed(client):
    client.raw(b"".join(frame(TEXT, str(i)) for i in range(100)) + close_frame(1000))
    frames, closed = client.end()
    assert [f.text for f in frames[:-1]] == [str(i) for i in range(100)]
    assert frames[-1].opcode == CLOSE and not closed.reset


def test_the_server_closes_tcp_first(client):
    """We keep our side open: the end of the stream must come all the same."""
    client.raw(close_frame(1000))
    assert client.recv().opcode == CLOSE
    begin = time.monotonic()
    with pytest.raises(Closed):
        client.recv()
    assert time.monotonic() - begin < seconds(CLEAN)


# ---- sizes

def test_sixteen_mebibytes(client):
    payload = os.urandom(16 * MIB)
    client.raw(frame(BINARY, payload))
    assert client.recv().payload == payload
    alive(client)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_many_fragments(client, opcode):
    count = 6554 if SLOW else 65536
    client.raw(frame(opcode, b"a", fin=False) + frame(CONTINUATION, b"b", fin=False) * (count - 2)
               + frame(CONTINUATION, b"c"))
    assert client.recv().payload == b"a" + b"b" * (count - 2) + b"c"


def test_a_mebibyte_in_small_chunks(client):
    payload = os.urandom(MIB)
    client.chunks(frame(BINARY, payload), 640 if SLOW else 64)
    assert client.recv().payload == payload


def test_a_message_of_the_limit(small):
    with connect(small.port) as client:
        echo(client, BINARY, b"x" * 65536)
        client.frame(BINARY, b"x" * 65535, fin=False).frame(CONTINUATION, b"x")
        assert len(client.recv().payload) == 65536


TOO_LARGE = {
    "whole": frame(BINARY, b"x" * 65537),
    "declared": frame(BINARY, b"", length=65537, form=64),
    "declared huge": frame(TEXT, b"", length=1 << 40, form=64),
    "in fragments": frame(BINARY, b"x" * 40000, fin=False) + frame(CONTINUATION, b"x" * 40000, fin=False),
    "the last fragment": frame(TEXT, b"x" * 65536, fin=False) + frame(CONTINUATION, b"x"),
    "declared fragment": frame(TEXT, b"x" * 65530, fin=False) + frame(CONTINUATION, b"", length=7),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_too_large(small, name):
    with connect(small.port) as client:
        feed(client, TOO_LARGE[name])
        fails(client, 1009)
    with connect(small.port) as client:
        alive(client)


# ---- the handshake

def test_handshake_answer(client):
    answer = client.answer
    assert answer.raw.startswith(b"HTTP/1.1 101 ")
    assert answer.headers["upgrade"].lower() == "websocket"
    assert answer.headers["connection"].lower() == "upgrade"
    assert "sec-websocket-extensions" not in answer.headers and "sec-websocket-protocol" not in answer.headers


ACCEPTABLE = {
    "lower case": b"get-is-not: x\r\nupgrade: WebSocket\r\nconnection: keep-alive, UPGRADE\r\n",
    "spaces": b"Upgrade:   websocket  \r\nConnection:\tUpgrade\r\n",
    "no spaces": b"Upgrade:websocket\r\nConnection:Upgrade\r\n",
    "lists": b"Upgrade: foo, websocket\r\nConnection: keep-alive\r\nConnection: Upgrade\r\n",
    "deflate": b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
    "many": b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(60)),
}
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
HOST = b"Host: localhost\r\n"


@pytest.mark.parametrize("name", ACCEPTABLE)
@pytest.mark.parametrize("chunk", [None, 1])
def test_acceptable_handshakes(engine, name, chunk):
    data = b"GET /chat HTTP/1.1\r\n" + HOST + ACCEPTABLE[name] + KEY + VERSION + b"\r\n"
    with Client(engine.port) as client:
        client.chunks(data, chunk or len(data))
        answer = client.http()
        assert answer.status == 101 and "sec-websocket-extensions" not in answer.headers
        assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        alive(client)


def head(first=b"GET /chat HTTP/1.1\r\n", host=HOST, upgrade=UPGRADE, key=KEY, version=VERSION, more=b""):
    return first + host + upgrade + key + version + more + b"\r\n"


REFUSED = {
    "post": (head(b"POST /chat HTTP/1.1\r\n"), {405}), "options": (head(b"OPTIONS /chat HTTP/1.1\r\n"), {405}),
    "put": (head(b"PUT /chat HTTP/1.1\r\n"), {405}),
    "http 1.0": (head(b"GET /chat HTTP/1.0\r\n"), {400, 426, 505}),
    "http 2": (head(b"GET /chat HTTP/2.0\r\n"), {400, 505}),
    "no version": (head(b"GET /chat\r\n"), {400}), "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
    "wrong path": (head(b"GET /other HTTP/1.1\r\n"), {404}), "root": (head(b"GET / HTTP/1.1\r\n"), {404}),
    "wrong case": (head(b"GET /Chat HTTP/1.1\r\n"), {404}),
    "no key": (head(key=b""), {400}), "short key": (head(key=b"Sec-WebSocket-Key: abc\r\n"), {400}),
    "key not in base64": (head(key=b"Sec-WebSocket-Key: dGhl*HNhbXBsZSBub25jZQ==\r\n"), {400}),
    "two keys": (head(more=KEY), {400}),
    "old version": (head(version=b"Sec-WebSocket-Version: 8\r\n"), {400, 426}),
    "no websocket version": (head(version=b""), {400, 426}),
    "no upgrade": (head(upgrade=b"Connection: Upgrade\r\n"), {400, 426}),
    "other upgrade": (head(upgrade=b"Connection: Upgrade\r\nUpgrade: h2c\r\n"), {400, 426}),
    "no connection": (head(upgrade=b"Upgrade: websocket\r\n"), {400, 426}),
    "connection close": (head(upgrade=b"Upgrade: websocket\r\nConnection: close\r\n"), {400, 426}),
    "plain get": (b"GET /chat HTTP/1.1\r\nHost: x\r\n\r\n", {400, 426}),
    "no host": (head(host=b""), {400}), "two hosts": (head(host=HOST + HOST), {400}),
    "long header": (head(more=b"X: " + b"y" * 40000 + b"\r\n"), {431}),
    "long line": (head(b"GET /chat?" + b"y" * 40000 + b" HTTP/1.1\r\n"), {400, 414, 431}),
    "many headers": (head(more=b"".join(b"X-%d: y\r\n" % i for i in range(2000))), {431}),
    "folded": (head(more=b"X: a\r\n b\r\n"), {400}), "space before colon": (head(more=b"X : a\r\n"), {400}),
    "no colon": (head(more=b"nonsense\r\n"), {400}), "bare cr": (head(more=b"X: a\rb\r\n"), {400}),
    "nul": (head(more=b"X: a\0b\r\n"), {400}), "empty name": (head(more=b": a\r\n"), {400}),
    "body": (head(more=b"Content-Length: 5\r\n") + b"hello", {400}),
    "chunked": (head(more=b"Transfer-Encoding: chunked\r\n"), {400}),
    "both lengths": (head(more=b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), {400}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_handshakes(engine, name):
    data, statuses = REFUSED[name]
    with Client(engine.port) as client:
        feed(client, data)
        answer = client.http()
        assert answer.status in statuses, answer
        assert answer.reason
        assert "close" in answer.headers.get("connection", "").lower().split(", ")
        if answer.status == 426 and "version" in name:
            assert answer.headers["sec-websocket-version"] == "13"
        client.end()
        assert not client.buffer


def test_a_slow_handshake(small):
    with Client(small.port) as client:
        client.raw(b"GET /chat HTTP/1.1\r\nHost: x\r\n")
        begin = time.monotonic()
        assert client.http().status == 408
        client.end()
        assert time.monotonic() - begin < seconds(5)


def test_a_handshake_that_never_comes(small):
    with Client(small.port) as client:
        begin = time.monotonic()
        client.end()
        assert time.monotonic() - begin < seconds(5)


# The built-in protocol runs no script before the handshake is done.
OPENED = {"generation 1": ["on_connect"], "socket": ["on_connect"], "websocket": []}
REFUSED_RUNS = {"generation 1": ["on_connect", "on_close"], "socket": ["on_connect", "on_close"], "websocket": []}


def test_handlers_of_a_refused_handshake(make_engine, server):
    engine = kinds.make(make_engine, server, APP, options={"trace": "yes"})
    with Consumer(engine.api_port, topics=["trace"]) as consumer:
        with Client(engine.port) as client:
            client.raw(REFUSED["wrong path"][0] + frame(TEXT, "x"))
            assert client.http().status == 404
        engine.wait_metric("mixengine_connections", 0, 5)
        with connect(engine.port) as client:
            alive(client)
            client.close()
        expected = REFUSED_RUNS[server] + OPENED[server] + ["on_handshake", "on_message", "on_close"]
        assert [e.data["name"] for e in consumer.wait_events(len(expected))] == expected


def test_handlers_run_once_for_each_failure(make_engine, server):
    engine = kinds.make(make_engine, server, APP, options={"trace": "yes"})
    with Consumer(engine.api_port, topics=["trace"]) as consumer:
        for data in (frame(TEXT, b"\xff"), frame(3), close_frame(1000), close_frame(5), frame(TEXT, "x", mask=None)):
            with connect(engine.port) as client:
                client.raw(data)
                client.end()
        expected = sorted((OPENED[server] + ["on_handshake", "on_close"]) * 5)
        wait_until(lambda: len(consumer.events) >= len(expected), 5, "all handlers")
        engine.wait_metric("mixengine_connections", 0, 5)
        names = [e.data["name"] for e in consumer.events]
        assert sorted(names) == expected


def test_an_abrupt_end(engine):
    for how in ("reset", "drop", "shutdown"):
        client = connect(engine.port)
        client.raw(struct.pack("!BB", 0x81, 0x85))  # half a frame
        getattr(client, how)()
        if how == "shutdown":
            client.end()
            client.drop()
    engine.wait_metric("mixengine_connections", 0, 5)
