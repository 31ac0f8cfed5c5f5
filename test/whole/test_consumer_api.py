"""What consumers speak: every method, every shape of params, every mistake, in both spellings."""

import base64
import http.client
import json
import re
import time

import pytest

import wsclient
from consumer import (CONSUME, UNCONSUME, Api, Consumer, Event, basic, call_params, consume_params,
                      discover, request, send_params)
from harness import seconds, times, wait_until
from lab import ENTRY, Lab, on_two_workers, spinning

OTHER = {"A": "B", "B": "A"}


@pytest.fixture(scope="module")
def engine(make_shared):
    return make_shared(ENTRY, options={"handshake": "hello", "close": "gone"},
                       queue={"topicSize": 100000, "maxTopics": 1000})


@pytest.fixture(params="AB")
def api(engine, request):
    with Api(engine.api_port, request.param) as connection:
        yield connection


@pytest.fixture
def client(engine):
    with Lab(engine.port) as connection:
        yield connection


def raw(api, text):
    """Sends any text and returns the one reply as it was spelled."""
    api.send(text)
    return json.loads(api.text())


def error_in(spelling, reply):
    """The code of an error reply, which must be spelled so and have nothing else."""
    if spelling == "A":
        assert set(reply) == {"error", "id"}, reply
        assert set(reply["error"]) == {"code", "message"}, reply
        assert isinstance(reply["error"]["message"], str) and reply["error"]["message"]
        return reply["error"]["code"]
    assert set(reply) == {"E", "i"}, reply
    assert set(reply["E"]) == {"c", "m"}, reply
    assert isinstance(reply["E"]["m"], str) and reply["E"]["m"]
    return reply["E"]["c"]


# ---- the center

def test_center(engine):
    nodes = discover(engine.center)
    assert len(nodes) == 1
    node = nodes[0]
    assert node["api_server"] == node["host"] == f"127.0.0.1:{engine.api_port}"
    assert (node["ip"], node["port"]) == ("127.0.0.1", engine.api_port)
    assert isinstance(node["id"], str) and node["id"].isdigit() and int(node["id"]) < 2 ** 53


def test_version(engine):
    status, headers, body = engine.http("GET", "/version", port=engine.center_port)
    answer = json.loads(body)
    assert (status, answer["apis"], answer["api"]) == (200, ["v1"], ["v1"])
    assert "json" in headers["Content-Type"]
    assert len(answer) > 2, "the engine's own version has no key"


def test_center_keeps_its_connection(engine):
    connection = http.client.HTTPConnection(engine.center, timeout=seconds(10))
    connection.connect()
    first = connection.sock
    for _ in range(20):
        for path in ("/version", "/v1/nodes"):
            connection.request("GET", path)
            assert connection.getresponse().read()
    assert connection.sock is first
    connection.close()


def test_center_unknown_path(engine):
    assert engine.http("GET", "/nothing", port=engine.center_port)[0] == 404


# ---- the upgrade

def test_upgrade_answer(api):
    headers = api.answer.headers
    assert headers["connection"].lower() == "upgrade"
    assert headers["upgrade"].lower() == "websocket"
    assert "sec-websocket-protocol" not in headers and "sec-websocket-extensions" not in headers
    for line in api.answer.raw.decode().split("\r\n")[1:]:
        assert re.match(r"[^:\s]+: \S", line), line


def test_upgrade_declines_deflate(engine):
    with wsclient.Client(engine.api_port) as client:
        client.handshake("/ws/v1", ["Sec-WebSocket-Extensions: permessage-deflate"])
        assert "sec-websocket-extensions" not in client.answer.headers
        client.send("ping")
        assert client.text() == "pong"


def test_upgrade_with_a_foreign_origin(engine):
    with wsclient.Client(engine.api_port) as client:
        client.handshake("/ws/v1", ["Origin: http://127.0.0.1"])
        client.send("ping")
        assert client.text() == "pong"


def test_upgrade_on_another_path(engine):
    with wsclient.Client(engine.api_port) as client:
        client.handshake("/ws/v9", check=False)
        assert client.answer.status in (403, 404)


# ---- the envelope

@pytest.mark.parametrize("number", [0, 1, "abc", None, True, 7.5, [1], {"a": 1}, 2 ** 53, "", -1])
def test_ids_are_echoed(api, number):
    api.send(json.dumps(request(api.spelling, "server.ping", [], number)))
    reply = json.loads(api.text())
    assert reply["id" if api.spelling == "A" else "i"] == number


def test_ping_method(api):
    reply = api.call("server.ping", [])
    want = {"A": {"status": "server.pong"}, "B": {"s": "server.pong", "m": "server.pong"}}
    assert reply.error is None and reply.result == want[api.spelling]
    keys = {"A": {"error", "result", "id"}, "B": {"E", "r", "i"}}
    assert set(reply.raw) == keys[api.spelling]


def test_spelling_b_may_name_its_id_id(engine):
    with Api(engine.api_port, "B") as api:
        assert raw(api, '{"m":"server.ping","p":[],"id":9}')["i"] == 9


def test_each_reply_uses_the_spelling_of_its_request(engine):
    with Api(engine.api_port) as api:
        for spelling in "ABBA":
            reply = raw(api, json.dumps(request(spelling, "server.ping", [], 1)))
            assert ("result" in reply) == (spelling == "A")


def test_text_ping(api):
    api.send("ping")
    assert api.text() == "pong"


def test_websocket_ping(api):
    api.ping(b"abc")
    api.ping(b"")


NOT_REQUESTS = ["", "{", "}", "[]", "123", '"x"', "null", "true", "[{}]", "hello", "ping ", "{'m':1}", "\x00",
                '{"method":"server.ping"', "nan", "[[[[[["]


@pytest.mark.parametrize("text", NOT_REQUESTS)
def test_what_is_no_request(api, text):
    api.call("server.ping", [])
    reply = raw(api, text)
    assert error_in(api.spelling, reply) == 101
    assert reply["id" if api.spelling == "A" else "i"] is None
    assert api.call("server.ping", []).error is None


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_before_any_request_errors_are_spelled_a(engine, text):
    with Api(engine.api_port) as api:
        assert error_in("A", raw(api, text)) == 101


@pytest.mark.parametrize("method", ["nope", "", "queue", 5, None, ["queue.consume"], {}])
def test_unknown_method(api, method):
    reply = raw(api, json.dumps(request(api.spelling, method, [], 5)))
    assert error_in(api.spelling, reply) == 101
    assert reply["id" if api.spelling == "A" else "i"] == 5


def test_empty_object(engine):
    with Api(engine.api_port) as api:
        assert error_in("A", raw(api, "{}")) == 101


def test_fragmented_request(api):
    text = json.dumps(request(api.spelling, "mesh.send", send_params(api.spelling, 1, "f" * 20000), "last"))
    for size in (1000, 4096):
        parts = [text[i:i + size] for i in range(0, len(text), size)]
        for i, part in enumerate(parts):
            api.frame(0 if i else 1, part, fin=i == len(parts) - 1)
        reply = api.message()
        assert (reply.id, reply.code) == ("last", 401)


def test_request_byte_by_byte(api):
    api.chunks(wsclient.frame(1, json.dumps(request(api.spelling, "server.ping", [], 3))), 1)
    assert api.message().id == 3


def test_pipelined_replies_come_once_and_in_order(api):
    count = times(2000)
    methods = ("server.ping", "nope", "conn.call", "mesh.send")
    api.raw(b"".join(wsclient.frame(1, json.dumps(request(api.spelling, methods[i % 4], [], i)))
                     for i in range(count)))
    got = [api.message() for _ in range(count)]
    assert [r.id for r in got] == list(range(count))
    assert all((r.error is None) == (r.id % 4 == 0) for r in got)
    api.ping(b"nothing more")


# ---- consuming

def topic(name, spelling):
    return f"{name}-{spelling}-{time.monotonic_ns()}"


CONSUME_SHAPES = {
    "list": lambda t: [t], "single": lambda t: t, "t list": lambda t: {"t": [t]}, "t single": lambda t: {"t": t},
    "two": lambda t: [t, t + "2"], "t two": lambda t: {"t": [t, t + "2"]},
}


@pytest.mark.parametrize("method", ["queue.consume", "queue.pop"])
@pytest.mark.parametrize("shape", CONSUME_SHAPES)
def test_consume_and_the_event(engine, api, client, method, shape):
    name = topic("shape", api.spelling)
    reply = api.call(method, CONSUME_SHAPES[shape](name))
    assert reply.error is None
    assert reply.result == ({"success": True, "fail": 0, "total": 1} if api.spelling == "A"
                            else {"s": True, "f": 0, "t": 1}) or \
        reply.result["success" if api.spelling == "A" else "s"] is True
    client.send(f"@{name} hi")
    event = api.message()
    assert isinstance(event, Event) and event.client == client.id
    client_id = str(client.id)
    if api.spelling == "A":
        want = {"event": method, "result": {"client_id": client_id, "queue": name, "data": {"text": "hi"}},
                "id": None}
    else:
        node = discover(engine.center)[0]["id"]
        want = {"e": method, "p": {"n": node, "c": client_id, "t": name, "d": {"text": "hi"}}, "id": None}
    assert event.raw == want


@pytest.mark.parametrize("params", [[], {}, None, [1], {"t": []}, {"t": [1]}, {"t": None}, {"t": 5}, 5,
                                    ["ok", 1], [[]], True])
def test_consume_nothing(api, params):
    assert api.call(CONSUME[api.spelling], params).code == 101


def test_consume_twice(api, client):
    one, two = topic("one", api.spelling), topic("two", api.spelling)
    assert api.call(CONSUME[api.spelling], consume_params(api.spelling, [one])).error is None
    for again in ([one], [two, one]):
        assert api.call(CONSUME[api.spelling], consume_params(api.spelling, again)).code == 202
    client.ask(f"=return mix.queue.push('{two}', {{}})")
    assert api.call(CONSUME[api.spelling], consume_params(api.spelling, [two])).error is None
    assert api.message().topic == two
    client.send(f"@{one} x")
    assert api.message().topic == one


@pytest.mark.parametrize("params", [[], {}])
def test_unconsume(api, client, params):
    name = topic("un", api.spelling)
    assert api.call(UNCONSUME[api.spelling], params).code == 203
    api.call(CONSUME[api.spelling], consume_params(api.spelling, [name]))
    assert api.call(UNCONSUME[api.spelling], params).error is None
    client.send(f"@{name} x")
    client.ask("done")
    api.ping(b"no event came")
    assert api.call(UNCONSUME[api.spelling], params).code == 203
    api.call(CONSUME[api.spelling], consume_params(api.spelling, [name]))
    assert api.message().data == {"text": "x"}


@pytest.mark.parametrize("data", ['{ a = 1, b = { 2, 3 } }', '{}', '{ 1, 2 }', '"text"', '\'{"x":1}\'',
                                  "'[1]'", '{ s = "a\\255b" }', '{ big = 9007199254740992 }'])
def test_event_data(engine, client, data):
    want = {'{ a = 1, b = { 2, 3 } }': {"a": 1, "b": [2, 3]}, '{}': [], '{ 1, 2 }': [1, 2], '"text"': "text",
            '\'{"x":1}\'': {"x": 1}, "'[1]'": [1], '{ s = "a\\255b" }': {"s": "a\ufffdb"},
            '{ big = 9007199254740992 }': {"big": 9007199254740992}}[data]
    name = topic("data", "x")
    with Api(engine.api_port) as api:
        api.call("queue.consume", [name])
        client.lua(f"return mix.queue.push('{name}', {data})")
        assert api.message().data == want


def test_handshake_and_close_events(engine):
    with Api(engine.api_port) as api:
        api.call("queue.consume", ["hello", "gone"])
        with Lab(engine.port) as client:
            event = api.message()
            while event.client != client.id:
                event = api.message()
            assert event.topic == "hello"
            headers = event.data["headers"]
            assert headers["Sec-WebSocket-Key"] == client.key
            assert (headers["Method"], headers["RequestUri"]) == ("GET", "/")
            assert headers["ServerProtocol"] == "HTTP/1.1"
            number = client.id
        event = api.message()
        while event.client != number:
            event = api.message()
        assert event.topic == "gone"


def test_each_entry_goes_to_one_consumer(engine):
    name, count = topic("share", "x"), times(300)
    with Consumer(engine.api_port, "A", [name]) as one, Consumer(engine.api_port, "B", [name]) as two:
        clients = [Lab(engine.port) for _ in range(16)]
        for i in range(count):
            clients[i % 16].send(f"@{name} {i}")
        wait_until(lambda: len(one.events) + len(two.events) >= count, 10, "all entries")
        for client in clients:
            client.ask("settled")
            client.drop()
        assert sorted(int(e.data["text"]) for e in one.events + two.events) == list(range(count))
        assert one.events and two.events
        assert not {e.client for e in one.events} & {e.client for e in two.events}


# ---- conn.call

def shapes(spelling, client, function, args):
    names = {"A": [("client_id", "func", "args"), ("client_id", "method", "params")],
             "B": [("c", "f", "a"), ("c", "method", "params")]}[spelling]
    for c, f, a in names:
        for number in (client, str(client)):
            call = {c: number, f: function, a: args}
            yield call
            yield [call]


def test_call_shapes(api, client):
    for i, params in enumerate(shapes(api.spelling, client.id, "set_context_value", ["k", None])):
        params_text = json.dumps(params).replace("null", str(i + 1))
        api.send(json.dumps(request(api.spelling, "conn.call", "@", 1)).replace('"@"', params_text))
        reply = api.message()
        assert reply.error is None, (params_text, reply)
        assert reply.result["success" if api.spelling == "A" else "s"] is True
        assert client.lua("return conn:context_value('k')") == [i + 1]


@pytest.mark.parametrize("sent,seen", [
    (1, 1), (0, 0), (1.5, 1.5), ("x", "x"), ("", ""), (True, True), (False, False), ([1, 2], [1, 2]),
    ({"a": {"b": [1]}}, {"a": {"b": [1]}}), ([], []), (2 ** 53, 2 ** 53), (2 ** 53 + 1, str(2 ** 53 + 1)),
    (-(2 ** 53) - 1, str(-(2 ** 53) - 1)), ("\u4e2d\U0001f600\x00", "\u4e2d\U0001f600\x00"), (None, None)])
def test_set_context_value(api, client, sent, seen):
    assert api.func(client.id, "set_context_value", "v", sent).error is None
    assert client.lua("return conn:context_value('v')") == [seen]


def test_null_removes_a_context_value(api, client):
    client.lua("conn:set_context_value('v', 5)")
    assert api.func(client.id, "set_context_value", "v", None).error is None
    assert client.lua("return conn:context_value('v')") == [None]


def test_set_context(api, client):
    client.lua("conn:set_context({ a = 1, b = 2 })")
    assert api.func(client.id, "set_context", {"b": 3, "c": "x"}).error is None
    assert client.lua("local c = conn:context() return c.a, c.b, c.c") == [1, 3, "x"]
    assert api.func(client.id, "set_context", {"a": None}).error is None
    assert client.lua("local c = conn:context() return c.a, c.b, c.c") == [None, 3, "x"]


def test_set_context_wakes_who_waits(api, client):
    client.send("=return conn:wait_context_value('w')")
    assert client.silent(0.2)
    assert api.func(client.id, "set_context", {"other": 1}).error is None
    assert client.silent(0.2)
    assert api.func(client.id, "set_context", {"w": "now"}).error is None
    assert client.text() == "+ s" + b"now".hex()


@pytest.mark.parametrize("args", [["r1"], ["r1", "r2", "r3"], [""], ["a\x00b"], ["\u623f\u95f4"]])
def test_subscribe(api, client, args):
    args = [a + ("" if a == "" else api.spelling) for a in args]
    assert api.func(client.id, "subscribe", *args).error is None
    for channel in args:
        reply = api.publish(channel, "to " + channel)
        assert client.text() == "to " + channel
        assert reply.result == ({"success": True, "fail": 0, "total": 1} if api.spelling == "A"
                                else {"s": 1, "f": 0, "t": 1})
    assert api.func(client.id, "unsubscribe", *args).error is None
    for channel in args:
        assert api.publish(channel, "x").result == ({"success": True, "fail": 0, "total": 0}
                                                    if api.spelling == "A" else {"s": 0, "f": 0, "t": 0})


def test_object_args_are_taken_in_order(api, client):
    params = call_params(api.spelling, client.id, "subscribe", {"z": "o1", "a": "o2"})
    assert api.call("conn.call", params).error is None
    for channel in ("o1", "o2"):
        api.publish(channel, channel)
        assert client.text() == channel
    key = call_params(api.spelling, client.id, "set_context_value", {"z": "k", "a": "v"})
    assert api.call("conn.call", key).error is None
    assert client.lua("return conn:context_value('k')") == ["v"]


@pytest.mark.parametrize("function,args", [("set_context", [[]]), ("set_context", [{}])])
def test_empty_context(api, client, function, args):
    assert api.call("conn.call", call_params(api.spelling, client.id, function, args)).error is None


@pytest.mark.parametrize("function,args", [
    ("set_context", []), ("set_context", [None]), ("subscribe", []), ("unsubscribe", []),
    ("subscribe", [None]), ("subscribe", [[]]), ("set_context_value", []), ("set_context_value", [None, None]),
    ("set_context_value", ["k"]), ("set_context_value", [[]]), ("subscribe", None), ("subscribe", "room"),
    ("subscribe", [5]), ("subscribe", [True]), ("subscribe", [{"a": 1}]), ("subscribe", ["x", 5])])
def test_odd_args_get_an_answer(api, client, function, args):
    reply = api.call("conn.call", call_params(api.spelling, client.id, function, args))
    assert reply.code in (None, 101, 301)
    assert client.ask("still here") == "still here"
    api.ping(b"one reply")


@pytest.mark.parametrize("args,code,reason", [
    ([1000], 1000, ""), ([4000, "kicked"], 4000, "kicked"), ([4000, None], 4000, ""), ([1008, ""], 1008, ""),
    ({"code": 4000, "reason": "x"}, 4000, "x"), ([3000, "x" * 200], 3000, "x" * 123)])
def test_close_with_a_code(api, client, args, code, reason):
    """What was sent before goes out first; the client is gone for commands at once."""
    api.post("mesh.send", send_params(api.spelling, client.id, "last"))
    assert api.post("conn.call", call_params(api.spelling, client.id, "close", args)) is not None
    api.post("mesh.send", send_params(api.spelling, client.id, "late"))
    assert [api.message().code for _ in range(3)] == [None, None, 401]
    frames, closed = client.end()
    assert [f.text for f in frames[:-1]] == ["last"]
    assert (frames[-1].code, frames[-1].payload[2:].decode()) == (code, reason) and not closed.reset


@pytest.mark.parametrize("args", [[], None, [None], {}])
def test_close_without_a_code_sends_no_frame(api, client, args):
    assert api.call("conn.call", call_params(api.spelling, client.id, "close", args)).error is None
    assert client.end()[0] == []


@pytest.mark.parametrize("args,code", [([], 1000), ([4000, "x"], 4000)])
def test_close_of_the_built_in_protocol(make_engine, args, code):
    """There a close always has its frame, as with conn:close()."""
    engine = make_engine("function on_message(msg) mix.queue.push('who', {}) end", server={"protocol": "websocket"})
    with Api(engine.api_port) as api, wsclient.connect(engine.port) as client:
        assert api.call("queue.consume", ["who"]).error is None
        client.send("me")
        number = api.message().client
        assert api.func(number, "set_context", {"a": 1}).error is None
        assert api.func(number, "get_context", "a").result["data"] == {"a": 1}
        assert api.func(number, "close", *args).error is None
        assert client.recv().code == code


def test_close_as_a_method_of_its_own(api, client):
    params = {"client_id" if api.spelling == "A" else "c": client.id, "code": 4001, "reason": "why"}
    assert api.call("conn.close", params).error is None
    frames, _ = client.end()
    assert (frames[-1].code, frames[-1].payload[2:]) == (4001, b"why")
    assert api.call("conn.close", params).code == 301


@pytest.mark.parametrize("args", [
    [999], [1005], [1006], [5000], [0], [-1], [2 ** 40], [70536], ["4000"], [1.5], [True], ["why"], [None, "why"],
    [4000, 5], [4000, "x", "y"], [[]] * 3])
def test_malformed_closes(api, client, args):
    assert api.call("conn.call", call_params(api.spelling, client.id, "close", args)).code == 101
    assert client.ask("still here") == "still here"


def get_context(api, client, *keys):
    """The context, or these keys of it."""
    reply = api.func(client.id, "get_context", *keys)
    assert reply.error is None, reply
    done, data = ({"success": True, "fail": 0, "total": 1}, "data") if api.spelling == "A" else \
        ({"s": True, "f": 0, "t": 1}, "d")
    context = reply.result.pop(data)
    assert reply.result == done
    return context


def test_get_context(api, client):
    assert get_context(api, client).keys() == {"headers"}, "what the codec keeps"
    values = {"a": 1, "b": "x", "c": [1, {"d": True}], "e": {"f": 1.5}, "": "empty", "\u4e2d": 2 ** 53}
    assert api.func(client.id, "set_context", values).error is None
    context = get_context(api, client)
    assert {key: context[key] for key in values} == values
    assert get_context(api, client, "a", "e") == {"a": 1, "e": {"f": 1.5}}
    assert get_context(api, client, "\u4e2d", "none", "a", "a") == {"\u4e2d": 2 ** 53, "none": None, "a": 1}
    # The other shapes of params.
    for params in shapes(api.spelling, client.id, "get_context", [["b"]]):
        assert list(api.call("conn.call", params).result.values())[-1] == {"b": "x"}


def test_get_context_gives_null_for_what_has_no_json(api, client):
    client.lua("""local c = conn:context() c.f, c.nan, c.deep, c.bytes = print, 0/0, {g = print}, 'a\\255'
        c.loop = {} c.loop.loop = c.loop c[7], c[true] = 'seven', 'lost'""")
    expected = {"f": None, "nan": None, "deep": None, "loop": None, "bytes": "a\ufffd", "7": "seven"}
    context = get_context(api, client)
    context.pop("headers")
    assert context == expected
    expected["7"] = None  # a key that is asked for is a string
    assert get_context(api, client, *expected) == expected
    assert client.lua("return conn:context().c, conn:context()[7]") == [None, "seven"], "reading changes nothing"


def test_get_context_is_bounded(api, client):
    client.lua("local c = conn:context() c.big, c.small = ('x'):rep(128 * 1024), 1")
    for keys in ([], ["big"], ["small", "big"]):
        reply = api.func(client.id, "get_context", *keys)
        assert reply.code == 301 and "128 KiB" in reply.error["message"]
    assert get_context(api, client, "small") == {"small": 1}
    client.lua("conn:context().big = ('x'):rep(128 * 1024 - 10)")
    assert len(get_context(api, client, "big")["big"]) == 128 * 1024 - 10
    for _ in range(times(200)):
        api.post("conn.call", call_params(api.spelling, client.id, "get_context", ["big"]))
    for _ in range(times(200)):
        assert api.message().error is None, "what is not read yet only waits"


@pytest.mark.parametrize("args", [[True], ["a", {}], [{"a": 1.5}]])
def test_get_context_of_what_is_no_key(api, client, args):
    assert api.call("conn.call", call_params(api.spelling, client.id, "get_context", args)).code == 101


def test_unknown_function(api, client):
    for name in ("nope", "", "close ", "__index"):
        assert api.func(client.id, name).code == 301


@pytest.mark.parametrize("number", [1, 999999999999, "1", 2 ** 62, 2 ** 63 - 1])
def test_call_to_an_unknown_client(api, number):
    assert api.func(number, "set_context_value", "a", 1).code == 301


@pytest.mark.parametrize("number", [0, -1, 1.5, "abc", "", None, True, [], {}, 2 ** 70, "99999999999999999999"])
def test_call_to_what_is_no_client_id(api, number):
    api.call("server.ping", [])
    api.send(json.dumps(request(api.spelling, "conn.call", call_params(
        api.spelling, number, "set_context_value", ["a", 1]), 1)))
    text = api.text()
    assert error_in(api.spelling, json.loads(text)) in (101, 301), text
    assert api.call("server.ping", []).error is None


@pytest.mark.parametrize("params", [[], {}, None, 5, "x", [[]], [5], {"func": "subscribe"}, {"f": "subscribe"},
                                    [{}, {}]])
def test_malformed_calls(api, params):
    assert api.call("conn.call", params).code == 101


def test_call_to_a_client_that_left(api, engine):
    with Lab(engine.port) as client:
        number = client.id
        client.close()
    wait_until(lambda: api.func(number, "set_context_value", "a", 1).code == 301, 5, "301")
    assert api.mesh_send(number, "x").code == 401


# ---- mesh.send and mesh.publish

def test_send(api, client):
    want = {"A": {"success": True, "fail": 0, "total": 1}, "B": {"s": True, "f": 0, "t": 1}}
    for number in (client.id, str(client.id)):
        reply = api.mesh_send(number, "hello \u4e16\u754c")
        assert reply.error is None and reply.result == want[api.spelling]
        assert client.text() == "hello \u4e16\u754c"


def test_send_inside_a_list(api, client):
    params = {"client_id": client.id, "data": "x"} if api.spelling == "A" else {"c": client.id, "d": "x"}
    assert api.call("mesh.send", [params]).error is None
    assert client.text() == "x"


def test_send_types(api, client):
    params = {"client_id": client.id} if api.spelling == "A" else {"c": client.id}
    key = "data" if api.spelling == "A" else "d"
    for kind in (None, "text"):
        params.update({key: "plain"}, **({"t": kind} if kind else {}))
        assert api.call("mesh.send", params).error is None
        assert client.text() == "plain"
    params.update({key: base64.b64encode(b"\x00\xff\xfe").decode(), "t": "binary"})
    assert api.call("mesh.send", params).error is None
    client.recv_message()
    assert client.lua("return encoded_type, encoded_bytes")[0] in ("binary", None)
    params.update({key: "not base64!", "t": "binary"})
    assert api.call("mesh.send", params).code == 101
    params.update({key: "x", "t": "huh"})
    assert api.call("mesh.send", params).code == 101


@pytest.mark.parametrize("number", [1, 2 ** 60, "12345", 2 ** 63 - 1])
def test_send_to_nobody(api, number):
    reply = api.mesh_send(number, "x")
    assert reply.code == 401 and reply.error["message"]


@pytest.mark.parametrize("params", [[], {}, None, 5, [5], [[]], {"data": "x"}, {"d": "x"}])
def test_malformed_sends(api, params):
    assert api.call("mesh.send", params).code == 101


def test_send_without_data(api, client):
    for params in ({"client_id": client.id}, {"c": client.id}):
        assert api.call("mesh.send", params).code == 101


def test_send_with_a_channel_is_a_publish(engine, client):
    with Api(engine.api_port, "A") as api:
        api.func(client.id, "subscribe", "sync")
        reply = api.call("mesh.send", {"channel": "sync", "data": "hi"})
        assert reply.result == {"success": True, "fail": 0, "total": 1}
        assert client.text() == "hi"
        assert api.call("mesh.send", [{"channel": "sync", "data": "hi"}]).error is None
        assert client.text() == "hi"


def test_send_to_text_in_place_of_an_id(engine):
    with Api(engine.api_port, "B") as api:
        assert api.call("mesh.send", {"c": "sync", "d": "hi"}).code == 401


def test_publish(api, engine):
    channel = "pub" + api.spelling  # an earlier client's end may not have been seen yet
    with Lab(engine.port) as one, Lab(engine.port) as two, Lab(engine.port) as three:
        for c in (one, two):
            api.func(c.id, "subscribe", channel)
        reply = api.publish(channel, "hi")
        assert reply.result == ({"success": True, "fail": 0, "total": 2} if api.spelling == "A"
                                else {"s": 2, "f": 0, "t": 2})
        assert (one.text(), two.text()) == ("hi", "hi")
        three.ping(b"nothing came")


def test_publish_inside_a_list(api, client):
    api.func(client.id, "subscribe", "publist")
    params = {"A": {"channel": "publist", "data": "x"}, "B": {"c": "publist", "d": "x"}}[api.spelling]
    assert api.call("mesh.publish", [params]).error is None
    assert client.text() == "x"


@pytest.mark.parametrize("params", [[], {}, None, 5, [5], {"data": "x"}, {"d": "x"}, {"channel": "a"}, {"c": "a"}])
def test_malformed_publishes(api, params):
    assert api.call("mesh.publish", params).code == 101


def test_after_every_mistake_no_second_reply(api):
    for method in ("queue.consume", "conn.call", "mesh.send", "mesh.publish", "nope"):
        api.call(method, None)
        api.ping(method.encode())


# ---- order

def test_subscribe_publish_send_in_order(api, engine):
    """Pipelined, for clients on every worker: the event comes before what was sent after it."""
    with Lab(engine.port) as one, Lab(engine.port) as two:
        for i in range(times(300)):
            client = (one, two)[i % 2]
            room, text = f"order{i}", f"{i}"
            api.post("conn.call", call_params(api.spelling, client.id, "subscribe", [room]))
            keys = ("channel", "client_id", "data") if api.spelling == "A" else ("c", "c", "d")
            api.post("mesh.publish", {keys[0]: room, keys[2]: "event " + text})
            api.post("mesh.send", {keys[1]: client.id, keys[2]: "success " + text})
            api.post("conn.call", call_params(api.spelling, client.id, "unsubscribe", [room]))
            assert client.text() == "event " + text
            assert client.text() == "success " + text
            assert [api.message().error for _ in range(4)] == [None] * 4


def test_a_waiting_script_loses_neither_value_nor_message(api, client):
    for i in range(times(200)):
        client.send("=conn:set_context_value('w', nil) return conn:wait_context_value('w')")
        api.post("conn.call", call_params(api.spelling, client.id, "set_context_value", ["w", i]))
        keys = ("client_id", "data") if api.spelling == "A" else ("c", "d")
        api.post("mesh.send", {keys[0]: client.id, keys[1]: f"m{i}"})
        got = {client.text()}
        if f"m{i}" in got and client.silent(0.05):
            # The value came before the script removed it and began to wait.
            api.post("conn.call", call_params(api.spelling, client.id, "set_context_value", ["w", i]))
            api.message()
        got.add(client.text())
        assert got == {f"m{i}", f"+ n{i}"}
        assert [api.message().error for _ in range(2)] == [None, None]


# ---- a script that does not return

@pytest.mark.timeout(seconds(90))
@pytest.mark.parametrize("spelling", "AB")
def test_a_stuck_worker_freezes_no_consumer(make_engine, spelling):
    engine = make_engine(ENTRY)
    stuck, free = on_two_workers(engine.port)
    with Api(engine.api_port, spelling, timeout=20) as api:
        with spinning(stuck, engine):
            begin = time.monotonic()
            keys = ("client_id", "data") if spelling == "A" else ("c", "d")
            for i in range(10):
                api.post("mesh.send", {keys[0]: (stuck, free)[i % 2].id, keys[1]: str(i)})
            assert [free.text() for _ in range(5)] == ["1", "3", "5", "7", "9"]
            assert api.silent(0.01), "the other worker's client had to wait"
            replies = [api.message() for _ in range(10)]
            took = time.monotonic() - begin
            assert [r.id for r in replies] == list(range(10))
            assert [r.code for r in replies] == [401, None] * 5
            assert 2 < took < seconds(10)
            with Api(engine.api_port, spelling) as other:
                assert other.mesh_send(free.id, "unharmed").error is None
                assert free.text() == "unharmed"
            assert engine.wait_output(rf"on_message[^\n]*{stuck.id}|{stuck.id}[^\n]*on_message")
        stuck.timeout(20)
        stuck.send("awake")
        while stuck.text() != "awake":
            pass
        api.ping(b"late answers are dropped")
        assert api.mesh_send(stuck.id, "x").error is None
    stuck.drop()
    free.drop()


@pytest.mark.timeout(seconds(60))
def test_publish_with_a_stuck_worker_is_answered(make_engine):
    engine = make_engine(ENTRY)
    stuck, free = on_two_workers(engine.port)
    with Api(engine.api_port, timeout=20) as api:
        for client in (stuck, free):
            api.func(client.id, "subscribe", "all")
        with spinning(stuck, engine):
            api.publish("all", "hi")
            assert free.text() == "hi"
        stuck.timeout(20)
        stuck.send("awake")
        while stuck.text() != "awake":
            pass
        api.ping(b"one reply")
    stuck.drop()
    free.drop()


def test_an_endless_loop_is_named(make_engine):
    engine = make_engine(ENTRY)
    stuck, free = on_two_workers(engine.port)
    stuck.send("~while true do end")
    engine.wait_output(rf"on_message[^\n]*{stuck.id}|{stuck.id}[^\n]*on_message", 20)
    assert free.ask("hello") == "hello"
    with Api(engine.api_port, timeout=20) as api:
        assert api.func(stuck.id, "set_context_value", "a", 1).code == 301
        assert api.func(free.id, "set_context_value", "a", 1).error is None
    engine.kill()


# ---- metrics

def test_metrics(make_engine):
    engine = make_engine(ENTRY)
    with Lab(engine.port) as client:
        before = engine.metrics()
        client.lua("conn:subscribe('m') conn:context().a = 1")
        after = engine.metrics()
    assert after["mixengine_connections"] == before["mixengine_connections"] == 1
    for name in ("mixengine_subscriptions", "mixengine_channels"):
        assert after[name] == before[name] + 1
    for name in ("mixengine_contexts", "mixengine_tasks_suspended", "process_open_fds"):
        assert name in after


def test_the_api_port_has_no_other_paths(engine):
    assert engine.http("GET", "/nothing")[0] == 404


# ---- access control

USERS = [{"username": "reader", "password": "r", "roles": ["read"], "host": "*"},
         {"username": "writer", "password": "w", "roles": ["read", "write"], "host": "127.*.*.*"},
         {"username": "distant", "password": "d", "roles": ["read", "write"], "host": "172.*.*.*"}]
READER, WRITER, DISTANT = ("reader", "r"), ("writer", "w"), ("distant", "d")


@pytest.fixture(scope="module")
def guarded(make_shared):
    return make_shared(ENTRY, users=USERS)


@pytest.mark.parametrize("who,status", [(None, 401), (READER, 200), (WRITER, 200), (DISTANT, 401),
                                        (("reader", "x"), 401), (("nobody", "r"), 401), (("reader", ""), 401)])
def test_access_to_read(guarded, who, status):
    for port, path in ((guarded.center_port, "/version"), (guarded.center_port, "/v1/nodes"),
                       (guarded.api_port, "/metrics")):
        got, headers, _ = guarded.http("GET", path, headers=basic(who), port=port)
        assert got == status, path
        if status == 401:
            assert headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Bearer x", "Basic cmVhZGVy"])
def test_access_with_broken_credentials(guarded, header):
    assert guarded.http("GET", "/version", headers={"Authorization": header}, port=guarded.center_port)[0] == 401


def test_access_to_consume(guarded):
    with Consumer(guarded.api_port, "A", ["t"], credentials=WRITER):
        pass
    for who in (None, DISTANT):
        with wsclient.Client(guarded.api_port) as client:
            client.handshake("/ws/v1", [f"{k}: {v}" for k, v in basic(who).items()], check=False)
            assert client.answer.status == 401
    with wsclient.Client(guarded.api_port) as client:
        client.handshake("/ws/v1", [f"{k}: {v}" for k, v in basic(READER).items()], check=False)
        if client.answer.status == 101:
            client.send('{"method":"queue.consume","params":["t"],"id":1}')
            assert json.loads(client.text())["error"]
        else:
            assert client.answer.status == 403


def test_discovery_with_credentials(guarded):
    assert len(discover(guarded.center, WRITER)) == 1
