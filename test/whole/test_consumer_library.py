"""The C library for consumers, against an engine that is played by hand, right and wrong, and the real one."""

import base64
import concurrent.futures
import contextlib
import errno
import time

import pytest

import wsclient
from consumer import basic
from fake_engine import DONE, Center, Node, event_text
from harness import CHAT_ENTRY, probe_binary, seconds, times, wait_until
from probe import FOREVER, Probe
from wsclient import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, connect, frame

TOPICS = ["a", "b"]
PATIENCE = str(round(seconds(3) * 1000))  # milliseconds: long enough for answers that are given
LATE, BROKEN, REFUSED = -errno.ETIMEDOUT, -errno.ECONNRESET, -errno.EREMOTEIO


@pytest.fixture
def node():
    with_nodes = Node()
    yield with_nodes
    with_nodes.close()


@pytest.fixture
def center(node):
    found = Center([node])
    yield found
    found.stop()


@pytest.fixture
def run_probe(run_program):
    """Starts the probe; at the end it is closed, and must end well. It waits for answers for ever, unless `words` say
    otherwise."""
    probes = []

    def run(center, *words, topics=TOPICS):
        words = ["--center", center, *FOREVER, *(["--topics", ",".join(topics)] if topics else []), *words]
        probes.append(Probe(run_program(probe_binary(), *words, wait=False, stdin=-1)))
        return probes[-1]

    yield run
    for probe in probes:
        probe.stop()


@pytest.fixture
def probe(run_probe, center):
    return run_probe(center.address)


@pytest.fixture
def peer(node, probe):
    """The probe is connected and consumes."""
    found = node.connect()
    probe.notice("connected")
    return found


def settled(value, quiet=1):
    """Waits until `value()` has stayed the same for that many seconds."""
    last = [value(), time.monotonic()]

    def there():
        now = value()
        if now != last[0]:
            last[:] = [now, time.monotonic()]
        return time.monotonic() - last[1] > seconds(quiet)
    wait_until(there, 60, "no more change")


# ---- what is said

def test_discovery_and_consuming(center, node, probe, peer):
    assert [path for path, _ in center.requests] == ["/version", "/v1/nodes"]
    assert all("Authorization" not in headers for _, headers in center.requests)
    assert "authorization" not in peer.headers and "sec-websocket-extensions" not in peer.headers
    assert peer.headers["host"] == node.address
    assert peer.consumed["p"] in (TOPICS, {"t": TOPICS})
    assert probe.notice("connected")["node"] == node.address
    peer.event({"text": "h\u00e9 \U0001f600 \" \\ \u0000", "list": [1, None, 2.5, True]}, client="9223372036854775807", topic="b")
    event = probe.event()
    assert (event["client"], event["topic"]) == ("9223372036854775807", "b")
    assert event["data"] == {"text": "h\u00e9 \U0001f600 \" \\ \u0000", "list": [1, None, 2.5, True]}
    for client, data in (("0", None), (12, []), ("1", "text"), ("1", 5)):
        peer.event(data, client=client)
    assert [e["data"] for e in (probe.event(i) for i in range(2, 6))] == [None, [], "text", 5]
    assert [e["client"] for e in probe.of("event")[1:]] == ["0", "12", "1", "1"]


def test_credentials(center, node, run_probe):
    who = ("us er", "p:\u00e4ss")
    probe = run_probe(center.address, "--user", who[0], "--password", who[1])
    peer = node.connect()
    probe.notice("connected")
    want = basic(who)["Authorization"]
    assert [headers.get("Authorization") for _, headers in center.requests] == [want] * 2
    assert peer.headers["authorization"] == want


def test_no_topics(center, node, run_probe):
    probe = run_probe(center.address, topics=None)
    peer = node.accept().upgrade()
    probe.notice("connected")
    tag = probe.do("send", client="7", text="x")
    peer.reply(peer.request("mesh.send"))
    assert probe.reply(tag)["status"] == 0


COMMANDS = [
    ({"what": "send", "client": "7", "text": "h\u00e9 \" \\ \n \U0001f600"}, "mesh.send",
     {"c": "7", "d": "h\u00e9 \" \\ \n \U0001f600"}),
    ({"what": "send", "client": "9223372036854775807", "text": ""}, "mesh.send", {"c": "9223372036854775807", "d": ""}),
    ({"what": "publish", "channel": "r\u00f6om", "text": "x"}, "mesh.publish", {"c": "r\u00f6om", "d": "x"}),
    ({"what": "subscribe", "client": "7", "channels": ["x", "y"]}, "conn.call",
     {"c": "7", "f": "subscribe", "a": ["x", "y"]}),
    ({"what": "unsubscribe", "client": "7", "channels": ["x"]}, "conn.call",
     {"c": "7", "f": "unsubscribe", "a": ["x"]}),
    ({"what": "set_context_value", "client": "7", "key": "uid", "value": {"a": [1, None, "\u00fc"]}}, "conn.call",
     {"c": "7", "f": "set_context_value", "a": ["uid", {"a": [1, None, "\u00fc"]}]}),
    ({"what": "set_context", "client": "7", "object": {"uid": 5}}, "conn.call",
     {"c": "7", "f": "set_context", "a": [{"uid": 5}]}),
]


@pytest.mark.parametrize("command,method,params", COMMANDS)
def test_commands(peer, probe, command, method, params):
    tag = probe.do(**command)
    request = peer.request(method)
    got = request["p"]
    if isinstance(got.get("c"), int):
        got["c"] = str(got["c"])
    assert {k: v for k, v in got.items() if (k, v) != ("t", "text")} == params
    peer.reply(request)
    reply = probe.reply(tag)
    assert (reply["status"], reply["code"], reply["message"]) == (0, 0, "")


def test_binary(peer, probe):
    for size in range(5):
        data = b"\x00\xff\xfe\x80"[:size]
        for what, key, target in (("send", "client", "7"), ("publish", "channel", "room")):
            tag = probe.do(f"{what}_binary", hex=data.hex(), **{key: target})
            request = peer.request(f"mesh.{what}")
            assert (request["p"]["t"], base64.b64decode(request["p"]["d"], validate=True)) == ("binary", data)
            peer.reply(request)
            assert probe.reply(tag)["status"] == 0


@pytest.mark.parametrize("members", [{"hex": "c3"}, {"hex": "eda080"}, {"hex": "61ff"}])
@pytest.mark.parametrize("what", ["send", "publish"])
def test_text_that_is_not_utf8(peer, probe, what, members):
    tag = probe.do(what, client="7", channel="c", **members)
    assert probe.wait("refused", tag=tag)["status"] == -errno.EINVAL
    probe.do("send", client="7", text="next")
    request = peer.request()
    assert request["p"]["d"] == "next"
    peer.reply(request)


def test_results(peer, probe):
    first = probe.do("publish", channel="c", text="x")
    peer.reply(peer.request(), {"s": 5, "f": 2, "t": 7})
    reply = probe.reply(first)
    assert (reply["status"], reply["delivered"], reply["failed"]) == (0, 5, 2)
    second = probe.do("send", client="7", text="x")
    peer.error(peer.request(), 401, "no such client \u00fc")
    reply = probe.reply(second)
    assert (reply["status"], reply["code"], reply["message"]) == (REFUSED, 401, "no such client \u00fc")


# ---- answers late, wrong, twice

def test_a_late_answer(center, node, run_probe):
    probe = run_probe(center.address, "--timeout-ms", PATIENCE)
    peer = node.connect()
    probe.notice("connected")
    late = probe.do("send", client="7", text="late")
    request = peer.request()
    assert probe.reply(late)["status"] == LATE
    peer.reply(request)
    good = probe.do("send", client="7", text="good")
    peer.reply(peer.request())
    assert probe.reply(good)["status"] == 0
    assert len(probe.of("reply", tag=late)) == 1 and not probe.of("notice", kind="lost")


def test_answers_to_nothing(peer, probe):
    """Each is passed over; what was asked is answered once, by its own reply."""
    tag = probe.do("send", client="7", text="x")
    request = peer.request()
    for number in (request["i"] + 1, 10 ** 12, -1, 2 ** 63, 2 ** 70, 1.5, str(request["i"]), None, [], True):
        peer.json({"E": None, "r": DONE, "i": number})
        peer.json({"E": {"c": 401, "m": "not you"}, "i": number})
    peer.event("behind")
    probe.event()
    assert not probe.of("reply")
    peer.reply(request)
    assert probe.reply(tag)["status"] == 0
    peer.error(request, 401, "again").reply(request).event("behind")
    probe.event(2)
    assert len(probe.of("reply")) == 1 and not probe.of("notice", kind="lost")
    assert probe.of("notice", kind="protocol")


def test_answers_out_of_order(peer, probe):
    tags = [probe.do("send", client="7", text=str(i)) for i in range(5)]
    requests = [peer.request() for _ in tags]
    assert [r["p"]["d"] for r in requests] == [str(i) for i in range(5)]
    for i in (3, 0, 4, 1, 2):
        peer.error(requests[i], 400 + i, str(i))
    assert [probe.reply(tag)["code"] for tag in tags] == [400, 401, 402, 403, 404]


@pytest.mark.parametrize("members", [
    {"E": {}}, {"E": "text"}, {"E": {"c": "x", "m": 5}}, {"E": []}, {"E": 5}, {"E": None}, {"E": None, "r": None}, {"r": DONE}, {},
    {"E": None, "r": []}, {"E": None, "r": {"s": "x", "f": [], "t": {}}}, {"E": None, "r": {"s": -1, "f": 2 ** 70}},
    {"E": {"c": 10 ** 30, "m": "x"}}])
def test_answers_of_odd_shapes(node, peer, probe, members):
    """The command has one outcome, whichever, and the connection goes on."""
    tag = probe.do("publish", channel="c", text="x")
    peer.json({**members, "i": peer.request()["i"]})
    peer.event("behind")
    probe.event()
    tags = [tag, probe.do("send", client="7", text="next")]
    peer.reply(peer.request("mesh.send"))
    assert probe.reply(tags[1])["status"] == 0


GARBAGE = ["", "{", "not JSON", "[]", "5", "null", '"x"', "{}", '{"e":5}', '{"e":"queue.pop"}', '{"e":"queue.pop","p":null,"id":null}',
           '{"e":"queue.pop","p":[],"id":null}', '{"e":"nope","p":{"c":"7","t":"a","d":1}}', '{"e":"queue.pop","p":{"c":"7","d":1}}',
           '{"e":"queue.pop","p":{"c":"7","t":5,"d":1}}', '{"e":"queue.pop","p":{"t":"a","d":1}}',
           *('{"e":"queue.pop","p":{"c":%s,"t":"a","d":1}}' % c for c in (
               '""', '"x"', '"-1"', "-1", "1.5", '"1x"', '" 1"', '"18446744073709551616"', "null", "[]", '"99999999999999999999999"')),
           '{"e":"queue.pop","p":{"c":"7","t":"a","d":1},', "[" * 100000, '{"a":' * 5000, "\x00", "pong"]


@pytest.mark.parametrize("text", GARBAGE, ids=lambda t: t[:60])
def test_garbage(peer, probe, text):
    peer.send(text).event("good")
    wait_until(lambda: "good" in probe.events(), 10, "the event behind it")
    assert not probe.of("notice", kind="lost")
    if '"nope"' not in text and text != "pong":
        assert len(probe.events()) == 1 and probe.of("notice", kind="protocol")


@pytest.mark.parametrize("data", [
    frame(BINARY, b"\x00\x01", mask=None),
    frame(BINARY, event_text("x"), mask=None),
    frame(TEXT, b'{"e":"queue.pop","p":{"c":"7","t":"a","d":"\xf0\x9f\x98"}}', mask=None),
    frame(TEXT, b"\xc3", mask=None),
    frame(TEXT, b"x" * (20 << 20), mask=None),
    frame(TEXT, b"x", rsv=4, mask=None),
    frame(3, b"x", mask=None),
    frame(CONTINUATION, b"x", mask=None),
    frame(TEXT, b"x", fin=False, mask=None) + frame(TEXT, b"x", mask=None),
    frame(PING, b"x" * 200, mask=None),
    frame(PING, b"x", fin=False, mask=None),
    frame(TEXT, b"", length=2 ** 64 - 1, form=64, mask=None),
    b"\xff" * 1000,
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
], ids=lambda d: d[:12].hex())
def test_broken_frames(node, peer, probe, data):
    """The consumer passes over it or connects again; it takes events afterwards."""
    try:
        peer.raw(data)
        peer.event("behind")
    except OSError:
        pass  # it has closed
    if not wait_until(lambda: probe.of("notice", kind="lost") or "behind" in probe.events(), 10, "an event, or a new connection"):
        raise AssertionError
    if "behind" not in probe.events():
        peer = node.connect()
        probe.notice("connected", 2)
        peer.event("again")
        wait_until(lambda: "again" in probe.events(), 10, "an event of the new connection")


def test_a_frame_that_never_ends(node, peer, probe):
    peer.raw(frame(TEXT, b"{", length=2 ** 40, form=64, mask=None))
    peer.drop()
    peer = node.connect()
    peer.event("again")
    assert probe.event()["data"] == "again"


# ---- how frames arrive

def test_fragments(peer, probe):
    text = event_text("fragmented \u00e9").encode()
    parts = [text[i:i + 7] for i in range(0, len(text), 7)]
    for i, part in enumerate(parts):
        peer.raw(frame(CONTINUATION if i else TEXT, part, fin=i == len(parts) - 1, mask=None))
        peer.raw(frame(PING, str(i), mask=None))
    assert probe.event()["data"] == "fragmented \u00e9"
    # Pings that come while a pong waits get none of their own.
    assert peer.recv().opcode == PONG
    peer.raw(frame(PING, "end", mask=None))
    while (pong := peer.recv()).payload != b"end":
        assert pong.opcode == PONG


def test_byte_by_byte(peer, probe):
    for byte in frame(TEXT, event_text("slow"), mask=None):
        peer.raw(bytes([byte]))
    assert probe.event()["data"] == "slow"


def test_many_in_one_segment(peer, probe):
    peer.raw(b"".join(frame(TEXT, event_text(i), mask=None) for i in range(1000)))
    probe.event(1000)
    assert probe.events() == list(range(1000))


@pytest.mark.parametrize("size", [125, 126, 4096, 65535, 65536, 1 << 20, 3 << 20])
def test_sizes(peer, probe, size):
    """Events and commands, each of that many bytes."""
    peer.event("x" * size)
    assert probe.event()["data"] == "x" * size
    tag = probe.do("send", client="7", text="y" * size)
    request = peer.request("mesh.send")
    assert request["p"]["d"] == "y" * size
    peer.reply(request)
    assert probe.reply(tag)["status"] == 0


def test_a_command_larger_than_the_engine_takes(peer, probe):
    refused = probe.do("send", client="7", text="y" * (4 << 20))
    assert probe.wait("refused", tag=refused)["status"] == -errno.EMSGSIZE
    probe.do("send", client="7", text="next")
    request = peer.request("mesh.send")
    assert request["p"]["d"] == "next"
    peer.reply(request)


def test_pings(peer, probe):
    for payload in (b"", b"12", b"x" * 125):
        peer.raw(frame(PING, payload, mask=None))
        got = peer.recv()
        assert (got.opcode, got.payload) == (PONG, payload)


# ---- it vanishes

@pytest.mark.parametrize("how", ["reset", "drop"])
@pytest.mark.parametrize("cut", [1, 3, 20, None])
def test_vanishing_in_the_middle_of_a_frame(node, peer, probe, how, cut):
    peer.event("before")
    probe.event()
    tags = [probe.do("send", client="7", text=str(i)) for i in range(3)]
    requests = [peer.request() for _ in tags]
    peer.reply(requests[1])
    assert probe.reply(tags[1])["status"] == 0
    peer.raw(frame(TEXT, event_text("never", client="8") + " " * 200, mask=None)[:cut])
    if cut is None:
        probe.event(2)
    getattr(peer, how)()
    assert [probe.reply(tag)["status"] for tag in tags] == [BROKEN, 0, BROKEN]
    lost = probe.notice("lost")
    assert lost["node"] == node.address and lost["text"]
    peer = node.connect()
    probe.notice("connected", 2)
    assert peer.consumed["p"] in (TOPICS, {"t": TOPICS})
    peer.event("after")
    wait_until(lambda: probe.events()[-1] == "after", 10, "the event of the new connection")
    tag = probe.do("send", client="7", text="new")
    peer.reply(peer.request("mesh.send"))
    assert probe.reply(tag)["status"] == 0
    kinds = [line.get("kind", line["on"]) for line in probe.lines if line.get("on") in ("notice", "reply")]
    assert kinds.index("lost") > [i for i, k in enumerate(kinds) if k == "reply"][2], "called back before it is lost"


@pytest.mark.parametrize("frames", [wsclient.close_frame(1001, b"bye", mask=None), wsclient.close_frame(mask=None)])
def test_the_engine_closes(node, peer, probe, frames):
    tag = probe.do("send", client="7", text="x")
    peer.request()
    peer.raw(frames)
    assert any(got.opcode == CLOSE for got in peer.end())
    peer.drop()
    assert probe.reply(tag)["status"] == BROKEN
    probe.notice("lost")
    node.connect().event("again")
    assert probe.event()["data"] == "again"


def test_commands_to_nobody(node, peer, probe):
    node.listener.close()
    peer.reset()
    probe.notice("lost")
    tag = probe.do("send", client="7", text="x")
    assert probe.wait("refused", tag=tag)["status"] == -errno.ENOTCONN
    node.listen()
    peer = node.connect()
    probe.notice("connected", 2)
    tag = probe.do("send", client="7", text="x")
    peer.reply(peer.request("mesh.send"))
    assert probe.reply(tag)["status"] == 0


def test_again_and_again(node, peer, probe):
    for i in range(4):
        peer.reset() if i % 2 else peer.drop()
        peer = node.connect(40)
        peer.event(i)
        assert probe.event(i + 1)["data"] == i


# ---- it refuses

@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"\x00\xff garbage \r\n\r\n", b"HTTP/1.1 ", b"",
], ids=lambda a: repr(a[9:20]))
def test_a_refused_upgrade(node, probe, answer):
    peer = node.accept().head()
    peer.raw(answer)
    peer.drop()
    peer = node.connect(40)
    peer.event("at last")
    assert probe.event()["data"] == "at last"
    assert len(probe.of("notice", kind="connected")) == 1


@pytest.mark.timeout(seconds(120))
@pytest.mark.parametrize("reads", [False, True])
def test_accepts_and_never_answers(center, node, run_probe, reads):
    probe = run_probe(center.address, "--timeout-ms", PATIENCE)
    silent = node.accept()
    if reads:
        silent.head()
    peer = node.connect(60)
    peer.event("at last")
    assert probe.event()["data"] == "at last"


def test_consume_is_not_answered(center, node, run_probe):
    probe = run_probe(center.address, "--timeout-ms", PATIENCE)
    peer = node.accept().upgrade()
    peer.request("queue.pop")
    assert peer.end() is not None
    assert not probe.of("notice", kind="connected")
    node.connect(40).event("at last")
    assert probe.event()["data"] == "at last"


def test_consume_is_refused(node, probe):
    peer = node.accept().upgrade()
    peer.error(peer.request("queue.pop"), 201, "too many topics")
    peer.end()
    assert not probe.of("notice", kind="connected")
    wait_until(lambda: any("too many topics" in notice["text"] for notice in probe.of("notice")), what="the reason")
    node.connect(40).event("at last")
    assert probe.event()["data"] == "at last"


def test_an_event_before_the_answer_to_consume(node, probe):
    peer = node.accept().upgrade()
    consume = peer.request("queue.pop")
    peer.event("early").reply(consume).event("late")
    probe.event(2)
    assert probe.events() == ["early", "late"]


# ---- the center

def test_the_center_comes_late(node, run_probe):
    center = Center([node], start=False)
    probe = run_probe(center.address)
    assert probe.notice("center")["node"] is None
    center.start()
    node.connect()
    probe.notice("connected")
    center.stop()


BAD_ANSWERS = [
    ("/version", 500, b"{}"), ("/version", 401, b""), ("/version", 200, b""), ("/version", 200, b"{"), ("/version", 200, b"[]"),
    ("/version", 200, b'{"apis":[]}'), ("/version", 200, b'{"apis":"v1"}'), ("/version", 200, b'{"apis":["v9"]}'),
    ("/v1/nodes", 503, b"{}"), ("/v1/nodes", 200, b""), ("/v1/nodes", 200, b"not JSON"), ("/v1/nodes", 200, b"null"),
    ("/v1/nodes", 200, b'{"nodes":null}'), ("/v1/nodes", 200, b'{"nodes":{}}'), ("/v1/nodes", 200, b'{"nodes":[5]}'),
    ("/v1/nodes", 200, b'{"nodes":[{}]}'), ("/v1/nodes", 200, b'{"nodes":[{"id":"1"}]}'),
    ("/v1/nodes", 200, b'{"nodes":[{"id":"1","api_server":"nonsense","host":"nonsense"}]}'),
    ("/v1/nodes", 200, b'{"nodes":[{"id":"1","api_server":"127.0.0.1:99999"}]}'),
    ("/v1/nodes", 200, b"[" * 100000), ("/v1/nodes", 200, b" " * (8 << 20)), ("/v1/nodes", 302, b""),
]


@pytest.mark.parametrize("path,status,body", BAD_ANSWERS, ids=lambda v: str(v)[:40])
def test_bad_answers_of_the_center(node, center, run_probe, path, status, body):
    """It says so, asks again, and works as soon as the answer is right."""
    if body == b'{"apis":["v9"]}':
        center.answers["/v9/nodes"] = (404, b"{}")
    center.answers[path] = (status, body)
    probe = run_probe(center.address)
    assert probe.wait("notice")["kind"] in ("center", "protocol")
    assert not probe.of("notice", kind="connected")
    center.answers.clear()
    node.connect(60)
    probe.notice("connected")


def test_a_slow_center(node, center, run_probe):
    center.gate.clear()
    probe = run_probe(center.address)
    wait_until(lambda: center.requests, 10, "a request")
    center.gate.set()
    node.connect()
    probe.notice("connected")


@pytest.mark.timeout(seconds(120))
def test_a_center_that_never_answers(node, center, run_probe):
    center.gate.clear()
    probe = run_probe(center.address)
    probe.wait("notice", kind="center", limit=60)
    center.gate.set()
    node.connect(60)
    probe.notice("connected")


def test_the_center_accepts_and_closes(run_probe, node):
    trap = Node()
    center = Center([node], start=False)
    center.port = trap.port
    probe = run_probe(center.address)
    trap.accept().reset()
    probe.notice("center")
    peer = trap.accept().head()
    peer.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
    peer.reset()
    probe.notice("center", 2)
    trap.close()
    center.start()
    node.connect(40)
    probe.notice("connected")
    center.stop()


def test_the_center_goes_away_while_connected(center, node, peer, probe):
    """Nothing happens to the connection; when that is lost too, it comes back by itself."""
    center.stop()
    peer.event("x")
    probe.event()
    peer.reset()
    node.connect().event("y")
    assert probe.event(2)["data"] == "y"


def test_two_nodes(node, center, run_probe):
    other = Node("2")
    center.nodes.append(other.entry())
    probe = run_probe(center.address)
    first, second = node.connect(), other.connect()
    probe.notice("connected", 2)
    assert len({notice["node"] for notice in probe.of("notice", kind="connected")}) == 2
    first.event("of one")
    probe.event()
    second.event("of two")
    probe.event(2)
    assert [e["node"] for e in probe.of("event")] == [node.address, other.address]
    for one, peer in ((other, second), (node, first)):
        probe.do("send", node=one.address, client="7", text=one.address)
        request = peer.request("mesh.send")
        assert request["p"]["d"] == one.address
        peer.reply(request)
    second.reset()
    probe.notice("lost")
    first.event("goes on")
    assert probe.event(3)["data"] == "goes on"
    other.connect().event("back")
    assert probe.event(4)["data"] == "back"
    other.close()


def test_a_node_leaves_the_list(node, center, run_probe):
    """A lost node makes the consumer ask again: then the other one, which is not in the list, is closed."""
    other = Node("2")
    center.nodes.append(other.entry())
    probe = run_probe(center.address)
    first, second = node.connect(), other.connect()
    probe.notice("connected", 2)
    center.nodes.pop()
    first.drop()
    assert second.closing() == 1000
    node.connect(40).event("there")
    assert probe.event()["data"] == "there"
    other.close()


def test_an_address_changes(node, center, peer, probe):
    moved = Node(node.id)
    center.nodes = [moved.entry()]
    peer.drop()
    moved.connect(40).event("moved")
    assert probe.event()["data"] == "moved"
    moved.close()


def test_a_center_without_nodes_is_asked_again_soon(node, center, run_probe):
    center.nodes = []
    probe = run_probe(center.address)
    assert "no nodes yet" in probe.notice("center")["text"]
    center.nodes = [node.entry()]
    node.connect()
    probe.notice("connected")


def test_a_node_comes_to_the_list(node, center, peer, probe):
    other = Node("2")
    center.nodes.append(other.entry())
    peer.drop()
    other.connect(40).event("new")
    assert probe.event()["data"] == "new"
    other.close()


# ---- back-pressure

def test_the_engine_does_not_read(center, run_probe):
    """Beyond the backlog commands are refused; when it reads again all others arrive, in order, once."""
    node = Node(receive_buffer=4096)
    center.nodes = [node.entry()]
    probe = run_probe(center.address, "--backlog", "65536")
    peer = node.connect()
    probe.notice("connected")
    count = 20000
    probe.do("flood", count=count, channel="full", size=300)
    assert probe.wait("refused")["status"] == -errno.ENOBUFS
    settled(lambda: len(probe.of("refused")))  # what the sockets took has made room a few times
    ids = []
    for _ in range(count):
        request = peer.request("mesh.publish")
        ids.append(request["i"])
        peer.reply(request, {"s": 1, "f": 0, "t": 1})
    after = probe.do("send", client="7", text="after")
    peer.reply(peer.request("mesh.send"))
    assert probe.reply(after)["status"] == 0
    assert ids == list(range(ids[0], ids[0] + count))
    assert [line["tag"] for line in probe.of("reply")][:-1] == list(range(count))
    turns = [line["on"] for line in probe.poll() if line["on"] in ("refused", "drain")]
    assert turns == ["refused", "drain"] * (len(turns) // 2)
    node.close()


@pytest.mark.timeout(seconds(120))
def test_more_commands_than_may_be_unanswered(peer, probe):
    probe.do("flood", count=70000, channel="full")
    assert probe.wait("refused")["tag"] == 65536
    requests = [peer.request("mesh.publish") for _ in range(65536)]
    for request in requests:
        peer.reply(request)
    for _ in range(70000 - 65536):
        peer.reply(peer.request("mesh.publish"))
    probe.wait("reply", 70000, 60)


def test_events_are_held_back_while_the_engine_does_not_read(center, run_probe):
    """A consumer that answers each event never sees ENOBUFS: events are kept meanwhile, and when there are too
    many of them the topics are given back until they have been worked off."""
    node = Node(receive_buffer=65536)
    center.nodes = [node.entry()]
    probe = run_probe(center.address, "--backlog", "65536", "--echo")
    peer = node.connect()
    probe.notice("connected")
    texts = [f"{i} " + "x" * 1000 for i in range(10000)]
    for text in texts:
        peer.event({"frame": {"data": text}})  # the library reads on
    settled(lambda: len(probe.of("event")))
    assert 0 < len(probe.of("event")) < len(texts)
    answers, topics = [], []
    while len(answers) < len(texts) or topics[-1:] == ["queue.unpop"]:
        request = peer.request()
        peer.reply(request)
        if request["m"] == "mesh.send":
            answers.append(request["p"]["d"])
        else:
            topics.append(request["m"])
    assert answers == texts
    assert topics and topics == ["queue.unpop", "queue.pop"] * (len(topics) // 2)
    assert len(probe.of("refused")) == 0
    node.close()


def test_an_engine_that_sends_without_end(node, peer, probe):
    """More than anybody can keep: the connection is given up, and the next one is as good as new."""
    probe.do("pause")
    peer.request("queue.unpop")
    text = event_text("x" * (1 << 20))
    with contextlib.suppress(OSError):
        for _ in range(100):
            peer.send(text)
    peer.drop()
    assert "too many events" in probe.notice("lost")["text"]
    peer = node.accept().upgrade()
    probe.do("resume")
    peer.reply(peer.request("queue.pop")).event("new")
    wait_until(lambda: "new" in probe.events(), 30, "the event of the new connection")


# ---- pause, resume, close

def test_pause(node, peer, probe):
    peer.event("before")
    probe.event()
    probe.do("pause")
    request = peer.request("queue.unpop")
    peer.event("on its way 1").reply(request).event("on its way 2")
    tag = probe.do("send", client="7", text="commands go on")
    peer.reply(peer.request("mesh.send"))
    assert probe.reply(tag)["status"] == 0
    assert probe.events() == ["before"]
    probe.do("resume")
    request = peer.request("queue.pop")
    assert request["p"] in (TOPICS, {"t": TOPICS})
    peer.reply(request).event("after")
    probe.event(4)
    assert probe.events() == ["before", "on its way 1", "on its way 2", "after"]


@pytest.mark.parametrize("paused", [False, True])
def test_retire(node, peer, probe, paused):
    """What is on its way is delivered, and commands go on, until it is closed."""
    if paused:
        probe.do("pause")
        request = peer.request("queue.unpop")
    probe.do("retire")
    if not paused:
        request = peer.request("queue.unpop")
    peer.event("on its way 1").reply(request)
    probe.wait("retired")
    kinds = [line["on"] for line in probe.poll()]
    assert "event" not in kinds[kinds.index("retired"):]
    assert probe.events() == ["on its way 1"]
    probe.do("resume")
    tag = probe.do("send", client="7", text="commands go on")
    peer.reply(peer.request("mesh.send"))
    assert probe.reply(tag)["status"] == 0
    peer.drop()
    peer = node.accept(40).upgrade()
    wait_until(lambda: len(probe.of("notice", kind="connected")) == 2, 20, "it is connected again")
    tag = probe.do("send", client="7", text="and never consumes")
    peer.reply(peer.request("mesh.send"))
    assert probe.reply(tag)["status"] == 0


def test_retire_after_the_node_has_gone(peer, probe):
    """What it had sent while we were paused is delivered all the same."""
    probe.do("pause")
    peer.request("queue.unpop")
    for number in range(5):
        peer.event(number)
    tag = probe.do("send", client="7", text="the events are read")
    peer.reply(peer.request("mesh.send"))
    probe.reply(tag)
    peer.reset()
    probe.notice("lost")
    probe.do("retire")
    probe.wait("retired")
    assert probe.events() == list(range(5))


def test_retire_with_nobody_there(run_probe, center, node):
    center.nodes = []
    probe = run_probe(center.address)
    probe.notice("center")
    probe.do("retire")
    probe.wait("retired")


def test_pause_and_resume_at_once(peer, probe):
    for _ in range(3):
        probe.do("pause")
        probe.do("resume")
    probe.do("send", client="7", text="end")
    methods = []
    while "mesh.send" not in methods or methods.count("queue.unpop") != methods.count("queue.pop"):
        request = peer.request()
        methods.append(request["m"])
        peer.reply(request)
    methods.remove("mesh.send")
    assert methods == ["queue.unpop", "queue.pop"] * (len(methods) // 2)
    peer.event("there")
    assert probe.event()["data"] == "there"


def test_a_node_that_comes_while_paused(node, peer, probe):
    probe.do("pause")
    peer.reply(peer.request("queue.unpop"))
    peer.reset()
    peer = node.accept(40).upgrade()
    probe.do("resume")
    peer.reply(peer.request("queue.pop")).event("after")
    assert probe.event()["data"] == "after"


def test_close(peer, probe):
    answered, not_answered = (probe.do("send", client="7", text=str(i)) for i in range(2))
    requests = [peer.request() for _ in range(2)]
    probe.do("close")
    peer.reply(requests[0])
    assert peer.closing() == 1000
    peer.drop()
    probe.wait("closed")
    assert probe.reply(not_answered)["status"] == BROKEN
    assert probe.reply(answered)["status"] in (0, BROKEN)
    assert probe.program.wait() == 0


def test_close_sends_what_waits(peer, probe):
    for i in range(500):
        probe.do("send", client="7", text=str(i))
    probe.do("close")
    assert [peer.request("mesh.send")["p"]["d"] for _ in range(500)] == [str(i) for i in range(500)]
    assert peer.closing() == 1000
    peer.drop()


@pytest.mark.parametrize("state", ["no center", "slow center", "empty list", "no node", "handshake", "consume", "silent", "lost", "paused"])
def test_close_at_any_time(node, center, run_probe, state):
    """It ends by itself, whatever it waits for; `run_probe` looks at the rest."""
    if state == "no center":
        center.stop()
    if state == "slow center":
        center.gate.clear()
    if state == "empty list":
        center.nodes = []
    probe = run_probe(center.address)
    if state == "no center":
        probe.notice("center")
    elif state == "slow center":
        wait_until(lambda: center.requests, 10, "a request")
    elif state == "empty list":
        wait_until(lambda: len(center.requests) == 2, 10, "both questions")
    elif state == "no node":
        node.listener.close()
    elif state == "handshake":
        node.accept().head()
    elif state == "consume":
        node.accept().upgrade().request("queue.pop")
    else:
        peer = node.connect()
        probe.notice("connected")
        if state == "lost":
            peer.reset()
            probe.notice("lost")
        if state == "paused":
            probe.do("pause")
            peer.request("queue.unpop")
            probe.do("send", client="7", text="x")
            peer.request("mesh.send")
    probe.write('{"do":"close"}\n{"do":"close"}')
    probe.wait("closed")


# ---- the real engine

def message(number):
    return '{"op":"echo","n":%d}' % number


@pytest.mark.timeout(seconds(120))
def test_every_event_once_and_in_order(make_engine, run_probe):
    """A flood through small buffers: whatever has to wait on the way, nothing is lost or doubled."""
    engine = make_engine(CHAT_ENTRY, queue={"fullTimeout": 60})
    probe = run_probe(engine.center, "--echo", "--backlog", "65536", topics=["chat"])
    probe.notice("connected")
    count, lanes = times(20000), 4

    def lane(_):
        with connect(engine.port) as client, concurrent.futures.ThreadPoolExecutor(1) as writer:
            sent = writer.submit(lambda: [client.send(message(i)) for i in range(count // lanes)])
            for i in range(count // lanes):
                assert client.text() == message(i)
            sent.result()
            assert client.ask("{}") == "{}"
            return True

    with concurrent.futures.ThreadPoolExecutor(lanes) as pool:
        assert all(pool.map(lane, range(lanes)))
    assert len(probe.of("refused")) == 0


@pytest.mark.timeout(seconds(120))
def test_the_engine_is_killed_and_comes_back(make_engine, run_probe):
    engine = make_engine(CHAT_ENTRY)
    probe = run_probe(engine.center, "--echo", topics=["chat"])
    probe.notice("connected")
    for i in range(1, 3):
        with connect(engine.port) as client:
            assert client.ask(message(i)) == message(i)
            engine.kill()
        probe.notice("lost", i)
        engine.start()
        probe.notice("connected", i + 1, limit=60)


def test_the_engine_is_stopped_in_the_middle(make_engine, run_probe):
    engine = make_engine(CHAT_ENTRY)
    probe = run_probe(engine.center, "--echo", topics=["chat"])
    probe.notice("connected")
    with connect(engine.port) as client:
        assert client.ask(message(1)) == message(1)
        engine.stop()
    probe.notice("lost")
    engine.start()
    probe.notice("connected", 2, limit=60)
    with connect(engine.port) as client:
        assert client.ask(message(2)) == message(2)


def test_access(make_engine, run_probe):
    users = [{"username": "u", "password": "p", "roles": ["read", "write"], "host": "*"},
             {"username": "r", "password": "p", "roles": ["read"], "host": "*"}]
    engine = make_engine(CHAT_ENTRY, users=users)
    for words in ([], ["--user", "u", "--password", "x"], ["--user", "r", "--password", "p"]):
        probe = run_probe(engine.center, *words, topics=["chat", "conn"])
        probe.wait("notice")
        assert not probe.of("notice", kind="connected")
    probe = run_probe(engine.center, "--user", "u", "--password", "p", "--echo", topics=["chat"])
    probe.notice("connected")
    with connect(engine.port) as client:
        assert client.ask(message(1)) == message(1)


def test_refusals_of_the_engine(make_engine, run_probe):
    engine = make_engine(CHAT_ENTRY)
    probe = run_probe(engine.center, topics=["conn"])
    probe.notice("connected")
    nobody = str(1 << 53)
    outcomes = {"send": 401, "send_binary": 401, "subscribe": 301, "unsubscribe": 301, "set_context_value": 301, "set_context": 301}
    members = {"client": nobody, "text": "x", "channels": ["c"], "key": "k", "value": 1, "object": {"k": 1}}
    tags = {what: probe.do(what, **members) for what in outcomes}
    for what, code in outcomes.items():
        reply = probe.reply(tags[what])
        assert (reply["status"], reply["code"]) == (REFUSED, code) and reply["message"], what
    published = probe.reply(probe.do("publish", channel="nobody", text="x"))
    assert (published["status"], published["delivered"], published["failed"]) == (0, 0, 0)
