"""The chat document's transcript, frame for frame and in order, again and again."""

import concurrent.futures
import json
import os

import pytest

import room
from harness import CHAT_ENTRY, FIXTURES, SLOW, seconds, times, wait_until
from wsclient import connect

ROUNDS = int(os.environ.get("ROUNDS") or times(1000))
PARALLEL = 4 if SLOW else 8
LUA_CODEC = {"protocols/websocket.lua": (FIXTURES / "lua_websocket/protocols/websocket.lua").read_text()}
# How the engine comes to speak WebSocket: its shipped codec, one in Lua alone, the built-in protocol.
CODECS = {
    "shipped": (CHAT_ENTRY, {}),
    "lua": (CHAT_ENTRY, {"files": LUA_CODEC}),
    "built-in": (FIXTURES / "chat_websocket.lua",
                 {"server": {"protocol": "websocket"}, "options": {"path": "/chat"}}),
}


def auth(name, password="123456"):
    return '{"op":"auth","args":["%s","%s"]}' % (name, password)


def ok(op):
    return '{"op":"%s","success":true}' % op


def login(engine, name, room):
    client = connect(engine.port)
    assert client.ask(auth(name)) == ok("auth")
    assert client.ask('{"op":"subscribe","args":["%s"]}' % room) == ok("subscribe")
    return client


def transcript(engine, room):
    """The document's two clients, word for word."""
    event = '{"event":"subscribe","channel":"%s","data":"uid:1,message:hello,world!"}' % room
    with login(engine, "user1", room) as one, login(engine, "user2", room) as two:
        one.send('{"op":"sendtoroom","args":["%s","hello,world!"]}' % room)
        assert one.text() == event
        assert one.text() == ok("sendtoroom")
        assert two.text() == event
        assert [f.code for f in one.close()] == [1000]
        assert [f.code for f in two.close()] == [1000]


ROOMS = [("python", spelling, consumers, codec)
         for spelling in "AB" for consumers in (1, 3) for codec in CODECS] + [
    (kind, "B", consumers, "shipped") for kind in ("sqlite", "mariadb") for consumers in (1, 3)]


@pytest.fixture(params=room.KINDS)
def kind(request):
    return request.param


@pytest.mark.timeout(seconds(600))
@pytest.mark.parametrize("kind,spelling,consumers,codec", ROOMS)
def test_rounds(make_engine, run_chat, spelling, consumers, codec):
    entry, options = CODECS[codec]
    engine = make_engine(entry, workers=2, **options)
    chat = run_chat(engine, spelling, consumers)

    def series(lane):
        for _ in range(lane, ROUNDS, PARALLEL):
            transcript(engine, f"room_{101 + lane}")

    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        for done in [pool.submit(series, lane) for lane in range(PARALLEL)]:
            done.result()
    wait_until(lambda: chat.online() == 0, 10, "both users are offline")


@pytest.mark.parametrize("codec", ["shipped", "built-in"])
def test_all_operations(make_engine, run_chat, codec):
    entry, options = CODECS[codec]
    engine = make_engine(entry, **options)
    chat = run_chat(engine)
    with connect(engine.port) as client:
        for op in ("subscribe", "unsubscribe", "sendtoroom", "sendtouser", "sendbroadcast"):
            assert client.ask('{"op":"%s","args":["a","b"]}' % op) == '{"op":"%s","error":"No access"}' % op
    with login(engine, "user1", "user_1") as one, login(engine, "user2", "broadcast") as two:
        assert chat.online() == 2
        assert one.ask('{"op":"subscribe","args":["broadcast","room_1"]}') == ok("subscribe")
        assert two.ask('{"op":"sendtouser","args":["user_1","hi"]}') == ok("sendtouser")
        assert one.text() == '{"event":"subscribe","channel":"user_1","data":"uid:2,message:hi"}'
        two.send('{"op":"sendbroadcast","args":["all"]}')
        event = '{"event":"subscribe","channel":"broadcast","data":"uid:2,message:all"}'
        assert [two.text(), two.text()] == [event, ok("sendbroadcast")]
        assert one.text() == event
        assert one.ask('{"op":"unsubscribe","args":["broadcast"]}') == ok("unsubscribe")
        two.send('{"op":"sendbroadcast","args":["again"]}')
        assert [two.text(), two.text()] == [event.replace("all", "again"), ok("sendbroadcast")]
        one.send('{"op":"sendtoroom","args":["room_1","me"]}')
        assert one.text() == '{"event":"subscribe","channel":"room_1","data":"uid:1,message:me"}'
        assert one.text() == ok("sendtoroom")
        one.close()
        wait_until(lambda: chat.online() == 1, 10, "user1 is offline")
        two.reset()
    wait_until(lambda: chat.online() == 0, 10, "user2 is offline")


@pytest.mark.parametrize("kind", ["python"])
def test_failed_login_as_the_document_has_it(make_engine, run_chat):
    """It sets another key than the one the script waits for: that connection is done for."""
    engine = make_engine(CHAT_ENTRY)
    run_chat(engine, failed_key="user_id")
    with connect(engine.port) as client:
        assert client.ask(auth("user1", "wrong")) == '{"op":"auth","error":"Invalid name or password"}'
        client.send(auth("user1"))
        assert client.silent(0.5)
    with connect(engine.port) as client:
        assert client.ask(auth("user1")) == ok("auth")


def test_failed_login_that_wakes_the_script(make_engine, run_chat):
    engine = make_engine(CHAT_ENTRY)
    run_chat(engine)
    with connect(engine.port) as client:
        assert client.ask(auth("user1", "wrong")) == '{"op":"auth","error":"Invalid name or password"}'
        assert client.ask('{"op":"subscribe","args":["a"]}') == '{"op":"subscribe","error":"No access"}'
        assert client.ask(auth("user1")) == ok("auth")
        assert client.ask('{"op":"subscribe","args":["a"]}') == ok("subscribe")


def test_operations_sent_behind_the_login_wait_for_it(make_engine, run_chat):
    engine = make_engine(CHAT_ENTRY)
    run_chat(engine)
    with connect(engine.port) as client:
        client.send(auth("user1")).send('{"op":"subscribe","args":["r"]}')
        client.send('{"op":"sendtoroom","args":["r","x"]}')
        assert client.text() == ok("auth")
        assert client.text() == ok("subscribe")
        assert client.text() == '{"event":"subscribe","channel":"r","data":"uid:1,message:x"}'
        assert client.text() == ok("sendtoroom")


def test_args_as_an_object(make_engine, run_chat):
    engine = make_engine(CHAT_ENTRY)
    run_chat(engine)
    with connect(engine.port) as client:
        assert client.ask(auth("user1")) == ok("auth")
        answer = json.loads(client.ask('{"op":"subscribe","args":{"x":"r1","a":"r2"}}'))
        assert answer.keys() == {"op", "error"} and answer["op"] == "subscribe" and answer["error"]
        assert client.ask('{"op":"nope","args":[]}') == '{"op":"nope","error":"Unknown operation"}'
        assert client.ask('{"op":"subscribe","args":["r1","r2"]}') == ok("subscribe")


def test_path(make_engine):
    engine = make_engine(CHAT_ENTRY)
    for path in ("/chat", "/chat?token=1", "/chat/room"):
        connect(engine.port, path).close()
