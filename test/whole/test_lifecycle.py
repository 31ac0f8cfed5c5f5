"""Start, stop, limits, and thousands of connections that leave nothing behind."""

import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import lab
import wsclient
from consumer import Api, Consumer
from harness import CHAT_ENTRY, FIXTURES, SLOW, binary, seconds, times, wait_until
from lab import Lab
from swarm import Swarm
from wsclient import Client, Closed, close_frame, connect, frame

GAUGES = ["mixengine_connections", "mixengine_subscriptions", "mixengine_contexts", "mixengine_tasks_suspended",
          "mixengine_channels"]


# ---- start

def test_starts_and_stops(make_engine):
    for mode in ("single", "dev"):
        engine = make_engine(CHAT_ENTRY, mode=mode)
        out = engine.output()
        for port in (engine.center_port, engine.api_port, engine.port):
            assert f":{port}" in out
        engine.stop()
        assert engine.stderr() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it(make_engine, number):
    engine = make_engine(CHAT_ENTRY)
    engine.process.send_signal(number)
    assert engine.process.wait(seconds(5)) == 0


@pytest.mark.parametrize("which", ["port", "api_port", "center_port"])
def test_a_port_in_use(make_engine, which):
    engine = make_engine(CHAT_ENTRY, start=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", getattr(engine, which)))
        taken.listen()
        status, _, stderr = engine.run("single")
    assert status > 0
    lines = stderr.strip().splitlines()
    assert len(lines) == 1 and str(getattr(engine, which)) in lines[0], stderr


def test_a_second_engine_does_not_start(make_engine):
    engine = make_engine(CHAT_ENTRY)
    status, _, stderr = engine.run("single")
    assert status > 0 and len(stderr.strip().splitlines()) == 1
    connect(engine.port).close()


def test_a_restart_finds_its_ports(make_engine):
    engine = make_engine(CHAT_ENTRY)
    ids = set()
    for _ in range(3):
        with connect(engine.port), Api(engine.api_port) as api:
            api.call("queue.consume", ["conn"])
            ids.add(api.message().client)
            engine.stop()
        engine.start()
    assert len(ids) == 3


def test_port_zero(make_engine):
    engine = make_engine(CHAT_ENTRY, start=False, server={"port": 0})
    engine.start()
    assert engine.running()


# ---- stop

def test_drain(make_engine):
    """Clients hear 1001, on_close runs, and what it queued still reaches the consumer."""
    engine = make_engine(lab.ENTRY, options={"close": "gone"}, engine={"stopTimeout": 5})
    clients = [Lab(engine.port) for _ in range(20)]
    numbers = {client.id for client in clients}
    with Consumer(engine.api_port, topics=["gone"]) as consumer:
        begin = time.monotonic()
        engine.process.send_signal(signal.SIGTERM)
        for client in clients:
            frames, closed = client.end()
            assert [f.code for f in frames] == [1001] and not closed.reset
        assert engine.process.wait(seconds(8)) == 0
        assert time.monotonic() - begin < seconds(8)
        wait_until(lambda: len(consumer.events) >= 20, 5, "the closes")
        assert {e.client for e in consumer.events} == numbers


def test_drain_hands_over_what_is_queued(make_engine):
    engine = make_engine(lab.ENTRY, options={"close": "in"}, engine={"stopTimeout": 30})
    client = Lab(engine.port)
    for i in range(1000):
        client.send(f"@in {i} {'x' * 500}")
    client.ask("all are in")
    consumer = Consumer(engine.api_port, topics=["in"], read_size=4096,
                        on_event=lambda event, c: time.sleep(0.0005))
    with consumer:
        engine.process.send_signal(signal.SIGTERM)
        assert engine.process.wait(seconds(35)) == 0
        events = consumer.wait_events(1001, limit=5)
        assert [e.data["text"].split()[0] for e in events[:1000]] == [str(i) for i in range(1000)]
        assert events[1000].data["event"] == "close"


def test_a_second_signal_ends_the_handover(make_engine):
    """The workers have drained, and a slow consumer would take the rest within stopTimeout."""
    engine = make_engine(lab.ENTRY, engine={"stopTimeout": 60})
    with Lab(engine.port) as client:
        for i in range(500):
            client.send(f"@in {'x' * 5000}")
        client.ask("all are in")
    with Consumer(engine.api_port, topics=["in"], read_size=4096,
                  on_event=lambda event, c: time.sleep(0.2)) as consumer:
        engine.process.send_signal(signal.SIGTERM)
        engine.wait_output("draining")
        seen = len(consumer.events)
        consumer.wait_events(seen + 5)
        assert engine.running()
        engine.process.send_signal(signal.SIGTERM)
        assert engine.process.wait(seconds(10)) == 0
    engine.stop()


def test_a_consumer_that_goes_on_does_not_hold_up_the_stop(make_engine):
    """What it asks for once the workers have ended is answered at once, each request once and in order."""
    engine = make_engine(lab.ENTRY, engine={"stopTimeout": 60})
    api, replies = Api(engine.api_port), []

    def ask():
        try:
            while True:
                api.post("mesh.publish", {"channel": "all", "data": "x"})
                api.post("mesh.send", {"client_id": 5, "data": "x"})
                time.sleep(0.01)
        except (Closed, OSError):
            pass

    def hear():
        try:
            while True:
                replies.append(api.message())
        except (Closed, OSError, AssertionError):
            pass  # it says 1001 before it closes

    threads = [threading.Thread(target=f) for f in (ask, hear)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(replies) > 10, 5, "replies")
    engine.process.send_signal(signal.SIGTERM)
    assert engine.process.wait(seconds(20)) == 0
    for thread in threads:
        thread.join()
    assert [r.id for r in replies] == list(range(len(replies)))
    assert [r.code for r in replies] == [None if r.id % 2 == 0 else 401 for r in replies]
    api.drop()


def test_drain_without_a_consumer_ends_in_time(make_engine):
    engine = make_engine(CHAT_ENTRY, engine={"stopTimeout": 2})
    clients = [connect(engine.port) for _ in range(120)]  # some wait for the hundred places of their topic
    begin = time.monotonic()
    engine.stop()
    assert time.monotonic() - begin < seconds(5)
    for client in clients:
        client.drop()


def test_drain_with_clients_that_do_not_answer(make_engine):
    engine = make_engine(lab.ENTRY, engine={"stopTimeout": 2})
    client = Client(engine.port, receive_buffer=4096).handshake("/")
    client.send("~for i = 1, 200 do conn:send(('x'):rep(4000)) end")
    half = Client(engine.port)
    half.raw(b"GET / HT")
    time.sleep(0.2)
    begin = time.monotonic()
    engine.stop()
    assert time.monotonic() - begin < seconds(6)
    client.drop()
    half.drop()


def test_no_new_connections_while_draining(make_engine):
    """What is queued has no consumer, so draining takes as long as it may."""
    engine = make_engine(CHAT_ENTRY, engine={"stopTimeout": 3})
    clients = [connect(engine.port) for _ in range(60)]
    engine.process.send_signal(signal.SIGTERM)

    def refused():
        try:
            connect(engine.port, timeout=1).drop()
            return False
        except (OSError, Closed, AssertionError):
            return True
    wait_until(lambda: refused() and engine.running(), 2, "no new connections")
    assert engine.process.wait(seconds(8)) == 0
    for client in clients:
        client.drop()


# ---- thousands

def warm_up(engine, path):
    """What a worker makes once, on first use, is made."""
    swarm = Swarm(engine.port, 50, path)
    swarm.drop()
    engine.wait_metric("mixengine_connections", 0, 5)


@pytest.mark.timeout(seconds(180))
def test_ten_thousand_leave_nothing_behind(make_engine, run_chat):
    count = times(10000)
    engine = make_engine(CHAT_ENTRY, queue={"fullTimeout": 60})
    chat = run_chat(engine)
    warm_up(engine, "/chat")
    before = engine.metrics()
    swarm = Swarm(engine.port, count)
    swarm.ask(frame(wsclient.TEXT, '{"op":"auth","args":["user1","123456"]}'), 1)
    swarm.ask(frame(wsclient.TEXT, '{"op":"subscribe","args":["room_101"]}'), 1)
    full = engine.metrics()
    assert full["mixengine_connections"] == full["mixengine_subscriptions"] == count
    assert full["mixengine_channels"] >= 1
    with connect(engine.port) as sender:
        assert sender.ask('{"op":"auth","args":["user2","123456"]}') == '{"op":"auth","success":true}'
        assert sender.ask('{"op":"sendtoroom","args":["room_101","all"]}') == '{"op":"sendtoroom","success":true}'
        sender.close()
    swarm.wait(lambda: all(len(m.got) == 3 for m in swarm.every()), "the room's message")
    event = b'{"event":"subscribe","channel":"room_101","data":"uid:2,message:all"}'
    assert all(m.got[2].payload == event for m in swarm.every())
    members = list(swarm.every())
    for begin in range(0, len(members), 500):
        part = members[begin:begin + 500]
        for member in part:
            member.sock.sendall(close_frame(1000))
        swarm.wait(lambda part=part: all(m.closed for m in part), "the closes")
    assert all(len(m.got) == 4 and m.got[3].opcode == wsclient.CLOSE for m in members)
    swarm.drop()
    for name in GAUGES:
        engine.wait_metric(name, before[name], 20)
    wait_until(lambda: engine.metric("process_open_fds") <= before["process_open_fds"], 10, "open descriptors")
    wait_until(lambda: chat.online() == 0, 30, "nobody is online")


def test_resets_and_half_closes_leave_nothing_behind(make_engine):
    engine = make_engine(lab.ENTRY)
    warm_up(engine, "/")
    before = engine.metrics()
    for i in range(times(300)):
        client = Lab(engine.port)
        client.lua("conn:subscribe('a', 'b') conn:set_context_value('k', 1)")
        if i % 3 == 0:
            client.send("~conn:wait_context_value('never')")
        if i % 2:
            client.reset()
        else:
            client.drop()
    for name in GAUGES:
        engine.wait_metric(name, before[name], 10)
    wait_until(lambda: engine.metric("process_open_fds") <= before["process_open_fds"], 5, "open descriptors")


# ---- the handshake event

@pytest.mark.parametrize("codec", ["shipped", "lua"])
def test_no_frame_before_the_upgrade(make_engine, codec):
    """A consumer greets as soon as it hears of the handshake."""
    files = {"protocols/websocket.lua": (FIXTURES / "lua_websocket/protocols/websocket.lua").read_text()}
    engine = make_engine(CHAT_ENTRY, files=files if codec == "lua" else {}, workers=4)

    def greet(event, consumer):
        if event.data.get("event") == "handshake":
            consumer.mesh_send(event.client, "hello")
    with Consumer(engine.api_port, on_event=greet, topics=["conn"]):
        for _ in range(times(300)):
            with connect(engine.port) as client:  # reads the 101 first, or fails
                assert client.text() == "hello"


# ---- limits and timeouts

def test_read_timeout(make_engine):
    engine = make_engine(lab.ENTRY, server={"readTimeout": round(seconds(1)), "pingInterval": 0}, options={"close": "gone"})
    begin = time.monotonic()
    with Consumer(engine.api_port, topics=["gone"]) as consumer, Lab(engine.port) as silent:
        silent.end()
        assert time.monotonic() - begin > 0.8
        assert isinstance(consumer.wait_events(1)[0].data["err"], str)


def test_input_holds_the_read_timeout_off(make_engine):
    limit = round(seconds(2))
    engine = make_engine(lab.ENTRY, server={"readTimeout": limit, "pingInterval": 0})
    with Lab(engine.port) as client:
        end = time.monotonic() + 1.5 * limit
        while time.monotonic() < end:
            assert client.ask("x") == "x"
            time.sleep(0.3)


def test_server_pings(make_engine):
    limit = round(seconds(2))
    engine = make_engine(lab.ENTRY, server={"readTimeout": limit})
    with Lab(engine.port) as polite, Lab(engine.port) as rude:
        got = []
        end = time.monotonic() + 2.25 * limit
        while time.monotonic() < end:
            polite.sock.settimeout(0.2)
            try:
                ping = polite.recv()
            except socket.timeout:
                continue
            assert ping.opcode == wsclient.PING
            got.append(ping)
            polite.frame(wsclient.PONG, ping.payload)
        assert len(got) >= 2
        assert polite.timeout(10).ask("still here") == "still here"
        frames, _ = rude.end()
        assert wsclient.PING in [f.opcode for f in frames]


def test_a_suspended_handler_is_not_timed_out(make_engine):
    limit = round(seconds(1))
    engine = make_engine(lab.ENTRY, server={"readTimeout": limit, "pingInterval": 0})
    with Lab(engine.port) as client, Api(engine.api_port) as api:
        number = client.id
        client.send("=return conn:wait_context_value('k')")
        assert client.silent(2.5 * limit)
        assert api.func(number, "set_context_value", "k", 1).error is None
        assert lab.values(client.text()) == [1]


def test_handshake_timeout(make_engine):
    engine = make_engine(lab.ENTRY, server={"handshakeTimeout": 1})
    with Client(engine.port) as client, Lab(engine.port) as upgraded:
        begin = time.monotonic()
        client.end()
        assert time.monotonic() - begin < seconds(8)  # 10 s if nothing is set
        assert upgraded.ask("x") == "x"


def test_max_message_size(make_engine):
    engine = make_engine(lab.ENTRY, server={"maxMessageSize": 1000})
    with Lab(engine.port) as client:
        assert client.ask("x" * 1000) == "x" * 1000
        client.send("x" * 1001)
        frames, _ = client.end()
        assert [f.code for f in frames] == [1009]


def test_max_backlog(make_engine):
    """Who does not read is closed; who reads gets everything."""
    engine = make_engine(lab.ENTRY, server={"maxBacklog": 262144}, options={"close": "gone"})
    slow = Client(engine.port, receive_buffer=4096).handshake("/")
    slow.send("~conn:subscribe('flood')")
    with Lab(engine.port) as quick, Api(engine.api_port) as api, \
            Consumer(engine.api_port, topics=["gone"]) as consumer:
        quick.lua("conn:subscribe('flood')")
        wait_until(lambda: engine.metric("mixengine_subscriptions") == 2, 5, "both subscriptions")
        for i in range(300):
            assert api.publish("flood", f"{i} " + "x" * 60000).error is None
            assert quick.text().startswith(f"{i} ")
        events = consumer.wait_events(1, limit=10)
        assert len(events) == 1 and isinstance(events[0].data["err"], str)
        assert api.mesh_send(events[0].client, "x").code == 401
        assert quick.ask("still here") == "still here"
        engine.wait_metric("mixengine_connections", 1, 5)
    slow.drop()


def test_max_connections(make_engine):
    engine = make_engine(lab.ENTRY, server={"maxConnections": 3})
    clients = [Lab(engine.port) for _ in range(3)]
    with pytest.raises((Closed, socket.timeout, AssertionError, OSError)):
        connect(engine.port, "/", timeout=1 / (5 if SLOW else 1))
    for client in clients:
        assert client.ask("x") == "x"
    clients.pop().close()

    def admitted():
        try:
            clients.append(Lab(engine.port, timeout=1))
            return True
        except (Closed, OSError, AssertionError):
            return False
    wait_until(admitted, 10, "room for one more")
    for client in clients:
        assert client.ask("x") == "x"
        client.drop()


def test_max_subscriptions_and_channel_length(make_engine):
    engine = make_engine(lab.ENTRY, server={"maxSubscriptions": 3, "maxChannelLength": 8})
    with Lab(engine.port) as client, Api(engine.api_port) as api:
        assert client.lua("return conn:subscribe('a', 'b', 'c')") == [None]
        assert client.lua("return conn:subscribe('a')") == [None]
        assert isinstance(client.lua("return conn:subscribe('d')")[0], str)
        assert api.func(client.id, "subscribe", "d").code == 301
        assert client.lua("return conn:unsubscribe('a'), conn:subscribe('d')") == [None, None]
        client.lua("return conn:unsubscribe('b')")
        assert client.lua("return conn:subscribe(('x'):rep(8))") == [None]
        client.lua("return conn:unsubscribe('c')")
        assert isinstance(client.lua("return conn:subscribe(('x'):rep(9))")[0], str)
        assert api.func(client.id, "subscribe", "x" * 9).code == 301
        assert api.publish("d", "fine").error is None
        assert client.text() == "fine"


def test_max_context(make_engine):
    engine = make_engine(lab.ENTRY, server={"maxContext": 4096})
    with Lab(engine.port) as client, Api(engine.api_port) as api:
        assert api.func(client.id, "set_context_value", "small", "x" * 1000).error is None
        assert api.func(client.id, "set_context_value", "large", "x" * 10000).code == 301
        assert client.lua("return #conn:context_value('small'), conn:context_value('large')") == [1000, None]


def test_read_ahead(make_engine):
    """A suspended handler does not make its connection swallow everything, and loses nothing."""
    engine = make_engine(lab.ENTRY, server={"readAhead": 65536, "maxBacklog": 64 << 20})  # it reads late
    with Lab(engine.port) as client, Api(engine.api_port) as api:
        number = client.id
        client.send("=return conn:wait_context_value('k')")
        count, size = times(500), 20000
        writer = threading.Thread(target=lambda: [client.send(f"{i} " + "x" * size) for i in range(count)])
        writer.start()
        time.sleep(0.5)
        assert writer.is_alive() or SLOW, "all was taken in"
        assert api.func(number, "set_context_value", "k", 1).error is None
        assert lab.values(client.text()) == [1]
        for i in range(count):
            assert client.text().startswith(f"{i} ")
        writer.join()


# ---- configuration and command line

def test_both_spellings_of_the_configuration(make_engine):
    engine = make_engine(CHAT_ENTRY, start=False, server={"readTimeout": 30})
    text = engine.config_path.read_text()
    for camel, snake in (("apiServer", "api_server"), ("readTimeout", "read_timeout")):
        text = text.replace(camel, snake)
    engine.config_path.write_text(text)
    engine.start()
    assert "warning" not in engine.output()
    connect(engine.port).close()


@pytest.mark.parametrize("text,pattern", [
    ("engine:\n  servers:\n    - port: abc\n", r":3:"), ("engine: 5\n", r":1:"), ("engine:\n  - [\n", r":\d+:"),
    ("engine:\n  servers:\n    - port: 99999\n", r":3:")])
@pytest.mark.parametrize("command", ["single", "check"])
def test_wrong_configurations(make_engine, text, pattern, command):
    engine = make_engine(CHAT_ENTRY, start=False)
    engine.config_path.write_text(text)
    status, _, stderr = engine.run(command)
    assert status == 78
    assert "engine.yaml" in stderr and re.search(pattern, stderr), stderr


def test_an_unknown_key_is_a_warning(make_engine):
    engine = make_engine(CHAT_ENTRY, start=False, server={"readTimout": 5})
    status, stdout, stderr = engine.run("check")
    assert status == 0 and "readTimeout" in stdout + stderr and "engine.yaml:" in stdout + stderr


def test_command_line(make_engine):
    engine = make_engine(CHAT_ENTRY, start=False)

    def run(*words):
        return subprocess.run([binary(), *words], capture_output=True, text=True, timeout=seconds(10))
    assert run("version").returncode == 0 and run("version").stdout.strip()
    for words in (["--help"], ["dev", "--help"], ["single", "--help"], ["check", "--help"]):
        done = run(*words)
        assert done.returncode == 0 and "-f" in done.stdout, words
    for words in ([], ["nope"], ["single"], ["single", "-f"], ["single", "-x"],
                  ["single", "-f", str(engine.config_path), "-p", "x"],
                  ["single", "-f", str(engine.config_path), "-p", "0"]):
        done = run(*words)
        assert done.returncode == 64 and done.stderr, words
    done = run("single", "-f", "/no/such/file.yaml")
    assert done.returncode > 0 and "/no/such/file.yaml" in done.stderr
