"""The same script logic gives a client the same frames on a generation 1 server, on a generation 2 socket server
with the Lua codec, and on the built-in protocol."""

import pytest

import kinds
from consumer import Api, Consumer
from harness import wait_until
from wsclient import BINARY, CONTINUATION, PING, TEXT, Client, Closed, close_frame, connect, frame

# A text message is Lua; what it returns goes back as text.
APP = r"""
local app = {}

function app.init() mix.queue.new("told", 1000) end
function app.connected(conn) end

function app.opened(conn, headers)
    app.send(conn, "welcome " .. headers["x-name"] .. " " .. conn:context().headers["X-NAME"])
    mix.queue.push("told", { name = "opened" })
end

function app.message(conn, msg)
    if msg.type == "binary" then
        app.send(conn, msg.data:reverse(), "binary")
        return
    end
    local code = assert(loadstring("local conn, send = ... " .. msg.data, "=message"))
    local answer = code(conn, function(data, type) return app.send(conn, data, type) end)
    if answer ~= nil then
        app.send(conn, tostring(answer))
    end
end

function app.closed(conn, err)
    mix.queue.push("told", { name = "closed", err = err or "<nil>", left = conn:context_value("left") })
end

return app
"""


def lua(code):
    return frame(TEXT, code)


# What the client sends; the frames that come back, and what on_close hears, are compared.
SCENES = {
    "greeting": lua(""),
    "one message": lua("return 1 + 1"),
    "text of each size": b"".join(lua(f"return ('x'):rep({n})") for n in (0, 1, 125, 126, 65535, 65536)),
    "binary": frame(BINARY, bytes(range(256))) + frame(BINARY, b""),
    "both types": lua("send('a') send('b', 'binary') send('c', 'text') return 'd'"),
    "what send returns": lua("return tostring(send('x'))"),
    "fragments with a ping between": frame(TEXT, "return ", fin=False) + frame(PING, b"p") + frame(CONTINUATION, "7"),
    "many in one write": b"".join(lua(f"return {i}") for i in range(200)),
    "messages behind one that waits": lua("mix.sleep(0.05) return 'first'") + frame(PING, b"p") + lua("return 'second'"),
    "publish": lua("conn:subscribe('c') return table.concat({ mix.mesh.publish('c', 'to all') }, ' ')"),
    "publish of binary": lua("conn:subscribe('c') return table.concat({ mix.mesh.publish('c', '\\0\\255', 'binary') })"),
    "publish after unsubscribe": lua("conn:subscribe('c', 'd') conn:unsubscribe('c') mix.mesh.publish('c', 'x') "
                                     "mix.mesh.publish('d', 'y')"),
    "mesh send": lua("return tostring(mix.mesh.send(conn:client_id(), 'to me'))"),
    "mesh send of binary": lua("mix.mesh.send(conn:client_id(), '\\1\\2', 'binary')"),
    "the context": lua("conn:set_context_value('left', 5)") + lua("return conn:context_value('left')") + close_frame(1000),
    "an error in on_message": lua("error('broken')") + lua("return 'goes on'"),
    "a push": lua("return type((mix.queue.push('told', { name = 'pushed' })))"),
    "a close of the script": lua("send('last') conn:close(4000, 'enough') return send('too late')"),
    "a close of the client": lua("return 'x'") + close_frame(1000, b"done"),
    "a close with a code": close_frame(4001, b"tired"),
    "a close behind messages": lua("return 1") + lua("return 2") + close_frame(),
    "text that is none": lua("return 'x'") + frame(TEXT, b"\xff"),
    "a reserved opcode": lua("return 'x'") + frame(3),
    "a reserved bit": lua("return 'x'") + frame(TEXT, "y", rsv=4),
    "no mask": frame(TEXT, "return 1", mask=None),
    "too large": lua("return 'x'") + frame(BINARY, b"x" * 70000),
    "too large in pieces": frame(BINARY, b"x" * 60000, fin=False) + frame(CONTINUATION, b"x" * 60000),
    "an answer that is no text": lua("return '\\255'"),
}
LAST = frame(PING, b"the last one")


def play(port, consumer, data):
    """Every frame until the pong to our last ping or the end, and what the queue was told."""
    before = len(consumer.events)
    frames = []
    with connect(port, headers=["X-Name: someone"]) as client:
        try:
            client.raw(data + LAST)
        except Closed:
            pass
        try:
            while not frames or frames[-1] != (10, b"the last one"):
                got = client.recv()
                assert got.fin and not got.rsv
                frames.append((got.opcode, got.payload))
        except Closed as closed:
            frames.append("reset" if closed.reset else "end")
    wait_until(lambda: consumer.events[before:] and consumer.events[-1].data["name"] == "closed", 10, "on_close")
    return frames, [e.data for e in consumer.events[before:]]


@pytest.fixture(scope="module")
def servers(make_shared):
    """An engine of each kind with a consumer that hears what it is told."""
    engines = {kind: kinds.make(make_shared, kind, APP, server={"maxMessageSize": 66000}) for kind in kinds.KINDS}
    consumers = {kind: Consumer(engine.api_port, topics=["told"]).start() for kind, engine in engines.items()}
    yield {kind: (engine, consumers[kind]) for kind, engine in engines.items()}
    for consumer in consumers.values():
        consumer.stop()


@pytest.mark.parametrize("scene", SCENES)
def test_the_same_frames(servers, scene):
    played = {kind: play(engine.port, consumer, SCENES[scene]) for kind, (engine, consumer) in servers.items()}
    frames, told = played["generation 1"]
    assert frames[0] == (TEXT, b"welcome someone someone") and told[0]["name"] == "opened"
    assert played["socket"] == played["generation 1"]
    assert played["websocket"] == played["generation 1"]


COMMANDS = {
    "send": lambda api, client: api.mesh_send(client, "from a consumer"),
    "publish": lambda api, client: (api.func(client, "subscribe", "c"), api.publish("c", "to all")),
    "subscribe twice": lambda api, client: (api.func(client, "subscribe", "c"), api.func(client, "subscribe", "c"),
                                            api.publish("c", "once")),
    "set a value": lambda api, client: api.func(client, "set_context_value", "left", "set"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_same_commands(servers, command):
    """A consumer's commands and their answers are the same too."""
    played = {}
    for kind, (engine, consumer) in servers.items():
        before = len(consumer.events)
        with connect(engine.port, headers=["X-Name: someone"]) as client, Api(engine.api_port) as api:
            assert client.text() == "welcome someone someone"
            wait_until(lambda: len(consumer.events) > before, 10, "the handshake")
            replies = COMMANDS[command](api, consumer.events[before].client)
            replies = replies if isinstance(replies, tuple) else (replies,)
            client.raw(lua("return tostring(conn:context_value('left'))") + close_frame(1000))
            frames = [(f.opcode, f.payload) for f in client.end()[0]]
        wait_until(lambda: consumer.events[-1].data["name"] == "closed", 10, "on_close")
        played[kind] = [(r.error, r.result) for r in replies], frames, consumer.events[-1].data
    assert all(error is None for error, _ in played["generation 1"][0])
    assert played["socket"] == played["websocket"] == played["generation 1"]


REQUESTS = {
    "wrong path": b"GET /other HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "no upgrade": b"GET /chat HTTP/1.1\r\nHost: x\r\n\r\n", "post": b"POST /chat HTTP/1.1\r\nHost: x\r\n\r\n",
    "nonsense": b"\r\n\r\n",
}


@pytest.mark.parametrize("request_name", REQUESTS)
def test_the_same_refusals(servers, request_name):
    answers = set()
    for engine, _ in servers.values():
        with Client(engine.port) as client:
            client.raw(REQUESTS[request_name])
            answers.add(client.rest())
    assert len(answers) == 1 and answers.pop().startswith(b"HTTP/1.1 4")
