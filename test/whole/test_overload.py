"""Overload and abuse: whatever some do, memory stays bounded, the others are served, and afterwards all is as it was."""

import contextlib
import json
import os
import select
import socket
import threading
import zlib

import pytest

from abuse import GARBAGE, NOBODY, ROOM, commands, kept, raw_sockets
from consumer import Api, Consumer
from harness import SLOW, seconds, times, wait_until
from swarm import KEY
from wsclient import (BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Client, Closed, connect, frame, upgrade)

KIB, MIB = 1 << 10, 1 << 20

NOT_SHED = pytest.mark.skipif(SLOW, reason="a sanitizer's memory is its own")


def room(make_engine, **options):
    server = {"protocol": "websocket", "pingInterval": 0, **options.pop("server", {})}
    return make_engine(ROOM, server=server, **options)


def closes(engine, reason):
    return sum(n for name, n in engine.metrics().items()
               if name.startswith("mixengine_closes_total{") and f'reason="{reason}"' in name)


class Baseline:
    """What an engine that has served somebody holds; `restored` waits until that is so again."""

    def __init__(self, engine, slack=12 * MIB):
        with connect(engine.port) as client:
            assert client.ask("warm") == "warm"
        engine.wait_metric("mixengine_connections", 0)
        self.engine, self.slack = engine, slack
        self.memory, self.descriptors = engine.resident(), kept(engine)

    def restored(self):
        self.engine.wait_metric("mixengine_connections", 0, 30)
        self.engine.wait_metric("mixengine_subscriptions", 0)
        wait_until(lambda: len(kept(self.engine)) <= len(self.descriptors), 10,
                   f"descriptors: {self.descriptors}, now {kept(self.engine)}")
        if not SLOW:
            wait_until(lambda: self.engine.resident() <= self.memory + self.slack, 20,
                       f"memory of {self.memory} and a little")

    def grown(self):
        return 0 if SLOW else self.engine.peak() - self.memory


class Beside:
    """A client that does as it should all the time that others do not, in a thread of its own."""

    def __init__(self, engine):
        self.client, self.count, self.error = connect(engine.port), 0, None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            while not self.stopping.is_set():
                text = f"beside {self.count}"
                self.client.send(text)
                while self.client.text() != text:
                    pass  # what the room hears
                self.count += 1
                self.stopping.wait(0.01)
        except Exception as error:  # told by whoever waits for it
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.stopping.set()
        self.thread.join()
        self.client.drop()
        if kind is None:
            assert self.error is None, self.error

    def goes_on(self):
        before = self.count
        wait_until(lambda: self.error or self.count > before + 2, 10, "an echo beside the others")
        assert self.error is None, self.error


def send_all(client, data):
    """As much of it as is taken before the peer closes."""
    try:
        client.raw(data)
    except (Closed, socket.timeout):
        pass


# ---- slow readers


def room_is_full(engine, count):
    engine.wait_metric("mixengine_subscriptions", count, 30)


def stalled(engine, count):
    """Members of the room that read nothing any more."""
    found = raw_sockets(engine.port, count, upgrade("/", KEY), receive_buffer=4096)
    room_is_full(engine, count)
    return found


def publish_all(api, numbers_of_them, text):
    """Ten under way at a time."""
    for begin in range(0, len(numbers_of_them), 10):
        part = numbers_of_them[begin:begin + 10]
        for i in part:
            api.post("mesh.publish", {"channel": "room", "data": f"{i} {text}"})
        for _ in part:
            assert api.message().error is None


def numbers(client, last):
    """Of the messages that come, up to the last one; each must be whole."""
    found = []
    while not found or found[-1] != last:
        number, _, rest = client.text().partition(" ")
        assert len(set(rest)) <= 16
        found.append(int(number))
    return found


@pytest.mark.timeout(seconds(120))
def test_readers_that_stop_are_closed_and_shared_frames_count_once(make_engine):
    """1,000 times maxBacklog would be 500 MiB; it is there once for each worker."""
    engine = room(make_engine, server={"maxBacklog": 512 * KIB})
    baseline = Baseline(engine)
    count = times(1000)
    slow = stalled(engine, count)
    with Api(engine.api_port) as api, connect(engine.port) as quick:
        quick_got = []
        reader = threading.Thread(target=lambda: quick_got.extend(numbers(quick, 1000)))
        reader.start()
        published = 0
        while closes(engine, "slow") < count:
            assert published < 900
            publish_all(api, range(published, published + 30), "x" * 10000)
            published += 30
        publish_all(api, [1000], "x")
        reader.join()
        assert quick_got == [*range(published), 1000]
    assert baseline.grown() < 24 * MIB
    for sock in slow:
        sock.close()
    baseline.restored()
    wait_until(lambda: "closed, 0 messages left out" in engine.log(), 15, "a line in the log")
    assert engine.logged_once("slow clients on worker", by=2)


# Each client hears a channel of its own; "N LAST" publishes N bytes one by one to the channels up to the last one.
BYTES = """
local count = 0

function on_handshake()
    count = count + 1
    mix.websocket():subscribe("own " .. count)
end

function on_message(msg)
    local n, last = msg.data:match("(%d+) (%d+)")
    for i = 1, n or 0 do
        for each = 1, last do
            mix.mesh.publish("own " .. each, "x")
        end
    end
    mix.websocket():send(msg.data)
end
"""


def test_what_waits_in_tiny_frames_is_bounded(make_engine):
    """A frame of three bytes takes sixteen times as much, and that is what counts: together no more than twice maxBacklog.
    Unix sockets hold little of their own."""
    engine = make_engine(BYTES, workers=1, server={"protocol": "websocket", "pingInterval": 0, "maxBacklog": 512 * KIB,
                                                   "writeTimeout": 0, "bind": "unix:server.sock"})
    count, path = times(20), engine.folder / "server.sock"
    with contextlib.ExitStack() as stack:
        for _ in range(count):  # the first channels are theirs
            stack.enter_context(connect(path))
        driver = stack.enter_context(connect(path, timeout=30))
        assert driver.ask("warm") == "warm"
        before = engine.resident()
        published = 0
        while closes(engine, "slow") < count:
            assert published < 1000000
            assert driver.ask(f"100 {count}") == f"100 {count}"
            published += 100
        if not SLOW:
            assert engine.peak() - before < 2 * count * 512 * KIB


def test_a_slow_client_is_told_1013(make_engine):
    """It asks for more at once than its backlog takes. What was begun comes whole, then the close frame, within the second
    that there is for reading it; on_close hears why. A Unix socket holds little of its own."""
    engine = room(make_engine, server={"maxBacklog": 256 * KIB, "bind": "unix:server.sock"})
    with connect(engine.folder / "server.sock") as slow:
        slow.send("*1000 10000")
        frames, closed = slow.end()
        assert frames[-1].opcode == CLOSE and frames[-1].code == 1013, frames[-1]
        assert [int(f.text.split()[0]) for f in frames[:-1]] == list(range(1, len(frames)))
    wait_until(lambda: closes(engine, "slow") == 1, 5, "it is counted")
    wait_until(lambda: "maxBacklog" in engine.stdout(), 5, "on_close")


def inflated(client, last):
    """Messages compressed without a context, up to the last one."""
    while True:
        got = client.recv()
        text = zlib.decompressobj(-15).decompress(got.payload + b"\0\0\xff\xff").decode()
        assert got.rsv == 4
        yield text
        if text.startswith(f"{last} "):
            return


@pytest.mark.parametrize("compression", [False, True])
def test_the_oldest_messages_are_left_out(make_engine, compression):
    engine = room(make_engine, server={"maxBacklog": 256 * KIB, "slowClient": "dropOldest", "writeTimeout": 0,
                                       "compression": compression})
    offer = ["Sec-WebSocket-Extensions: permessage-deflate"] if compression else []
    with Api(engine.api_port) as api, connect(engine.port, headers=offer, receive_buffer=4096) as slow:
        last = 1500
        publish_all(api, range(last + 1), os.urandom(5000).hex())
        dropped = engine.metric("mixengine_dropped_messages_total")
        assert dropped > 0
        got = [int(m.split()[0]) for m in inflated(slow, last)] if compression else numbers(slow, last)
        assert got == sorted(got) and len(got) + dropped == last + 1
    assert closes(engine, "slow") == 0


def test_own_messages_are_left_out_too(make_engine):
    """A script's answers, small ones, which are collected for one write."""
    engine = room(make_engine, server={"maxBacklog": 64 * KIB, "slowClient": "dropOldest", "writeTimeout": 0})
    with connect(engine.port, receive_buffer=4096) as slow:
        count = 60000
        slow.send(f"*{count} 100")
        wait_until(lambda: engine.metric("mixengine_dropped_messages_total") > 0, 10, "messages are left out")
        got = numbers(slow, count)
        assert got == sorted(got)
        assert len(got) + engine.metric("mixengine_dropped_messages_total") == count
        assert slow.ask("go on") == "go on"


def test_with_a_context_nothing_is_left_out(make_engine):
    """What comes later refers to it, so the client is closed."""
    engine = room(make_engine, server={"maxBacklog": 64 * KIB, "slowClient": "dropOldest", "writeTimeout": 0,
                                       "compression": {"contextTakeover": True, "threshold": 1}})
    with connect(engine.port, headers=["Sec-WebSocket-Extensions: permessage-deflate"], receive_buffer=4096) as slow, \
            Api(engine.api_port) as api:
        for _ in range(2000):
            if closes(engine, "slow"):
                break
            assert api.publish("room", os.urandom(6000).hex()).error is None
        wait_until(lambda: closes(engine, "slow") == 1, 5, "it is closed")
        assert engine.metric("mixengine_dropped_messages_total") == 0
        del slow


@pytest.mark.timeout(seconds(180))
def test_readers_that_stop_stay_where_the_oldest_is_left_out(make_engine):
    """For as long as a write makes no progress: writeTimeout."""
    engine = room(make_engine, server={"maxBacklog": 256 * KIB, "slowClient": "dropOldest", "writeTimeout": 3})
    baseline = Baseline(engine)
    count = times(1000)
    slow = stalled(engine, count)
    with Beside(engine) as beside, Api(engine.api_port) as api:
        for begin in range(0, 900, 30):
            publish_all(api, range(begin, begin + 30), "x" * 10000)
            if closes(engine, "slow") == count:
                break
        beside.goes_on()
        wait_until(lambda: closes(engine, "slow") >= count, 90, "writeTimeout")
        assert engine.metric("mixengine_dropped_messages_total") > 0
    assert baseline.grown() < 24 * MIB
    for sock in slow:
        sock.close()
    baseline.restored()


# ---- floods of small things

FLOODS = {
    "fragments of one byte": (frame(TEXT, b"x", fin=False), frame(CONTINUATION, b"x", fin=False), 1009),
    "empty fragments": (frame(TEXT, fin=False), frame(CONTINUATION, fin=False), None),
    "pings": (b"", frame(PING, b"?" * 125), None),
    "pongs": (b"", frame(PONG), None),
    "empty messages": (b"", frame(TEXT), None),
    "one byte messages": (b"", frame(BINARY, b"x"), None),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_floods_of_small_frames(make_engine, kind):
    """From ten who do not read what comes of it; some are closed for that, all are bounded."""
    begin, one, code = FLOODS[kind]
    engine = room(make_engine, server={"maxMessageSize": times(64 * KIB)})
    baseline = Baseline(engine)
    flood = one * times(100000)
    with Beside(engine) as beside:
        clients = [connect(engine.port, receive_buffer=4096, timeout=1) for _ in range(10)]
        for client in clients:
            client.raw(begin)
            send_all(client, flood)
        beside.goes_on()
        if code:
            frames, _ = clients[0].end()
            assert frames[-1].code == code
        for client in clients:
            client.reset()
    # Ten backlogs of 1 MiB, of small messages that were collected.
    assert baseline.grown() < 40 * MIB
    baseline.restored()


# ---- handshakes


@pytest.mark.timeout(seconds(180))
def test_ten_thousand_slow_headers(make_engine):
    """A byte now and then; after handshakeTimeout each gets a 408."""
    engine = room(make_engine, server={"handshakeTimeout": 6}, workers=2)
    baseline = Baseline(engine)
    count = times(10000)
    request = upgrade("/", KEY)
    with Beside(engine) as beside:
        slow = raw_sockets(engine.port, count, request[:1])
        at = 1
        while closes(engine, "timeout") == 0 and at < len(request) - 5:
            for sock in slow:
                try:
                    sock.send(request[at:at + 1])
                except OSError:
                    pass
            at += 1
            beside.goes_on()
        assert closes(engine, "client") == 1  # the baseline's
        wait_until(lambda: engine.metric("mixengine_connections") == 1, 30, "only the client beside them")
        answers = [sock.recv(4096) for sock in slow[:100]]
        assert all(a.startswith(b"HTTP/1.1 408 ") for a in answers), answers[0]
    assert baseline.grown() < count * 3 * KIB + 8 * MIB
    for sock in slow:
        sock.close()
    baseline.restored()


@pytest.mark.parametrize("request_text", [upgrade("/", KEY), b"GET / HTTP/1.1\r\n\r\n", b"\r\n" * 20, b"\x16\x03\x01\x02\0"],
                         ids=["whole", "refused", "no request", "TLS"])
def test_handshake_floods(make_engine, request_text):
    """Thousands that come, ask, and are gone."""
    engine = room(make_engine, server={"handshakeTimeout": 2})
    baseline = Baseline(engine)
    with Beside(engine) as beside:
        for _ in range(10):
            for sock in raw_sockets(engine.port, times(500), request_text):
                sock.close()
            beside.goes_on()
    assert baseline.grown() < 16 * MIB
    baseline.restored()


def test_heads_without_an_end(make_engine):
    """A head has its own bound, whatever maxMessageSize is."""
    engine = room(make_engine, server={"maxMessageSize": 64 * MIB})
    baseline = Baseline(engine)
    with Beside(engine) as beside:
        clients = [Client(engine.port) for _ in range(50)]
        for client in clients:
            send_all(client, b"GET / HTTP/1.1\r\nX: " + b"x" * MIB)
        beside.goes_on()
        for client in clients:
            client.drop()
    assert baseline.grown() < 16 * MIB
    baseline.restored()


# ---- consumers


def fill(sock, data, idle=1.0):
    """Sends `data` over and over until nothing more is taken for `idle` seconds; how many bytes were."""
    sent, at = 0, 0
    sock.setblocking(False)
    while select.select([], [sock], [], seconds(idle))[1]:
        try:
            n = sock.send(data[at:at + 262144])
        except OSError:
            break
        sent += n
        at = (at + n) % len(data)
    return sent


def test_commands_faster_than_they_are_read_back(make_engine):
    """A consumer that reads no answer is not read after 1,024 of them, and is dropped after writeTimeout."""
    engine = room(make_engine, api={"writeTimeout": 2})
    baseline = Baseline(engine)
    with Beside(engine) as beside, Api(engine.api_port) as healthy:
        api = Api(engine.api_port, receive_buffer=4096)
        block = commands(5000, NOBODY, "x" * 100)
        sent = fill(api.sock, block, 0.5)
        beside.goes_on()
        assert healthy.call("queue.consume", ["other"]).error is None
        # What libwebsockets and the kernel hold, and 1,024 commands of 200 bytes.
        assert sent < 24 * MIB
        assert baseline.grown() < 24 * MIB
        wait_until(lambda: "takes nothing: dropped" in engine.log(), 10, "it is dropped")
        api.drop()
    baseline.restored()


def test_commands_that_a_worker_has_no_time_for(make_engine):
    """Large ones: 8 MiB of them may be unanswered, then no more is read."""
    engine = room(make_engine, workers=1)
    baseline = Baseline(engine, slack=24 * MIB)
    api = Api(engine.api_port, receive_buffer=4096)
    block = commands(64, NOBODY, "x" * MIB)
    sent = fill(api.sock, block, 0.5)
    assert baseline.grown() < 64 * MIB, sent
    api.drop()
    baseline.restored()


@pytest.mark.parametrize("kind", GARBAGE)
def test_consumers_that_answer_garbage(make_engine, kind):
    """Instead of reading events as they should; those go to others when it is closed for it."""
    engine = room(make_engine, queue={"stallTimeout": 2, "fullTimeout": 10})
    baseline = Baseline(engine)
    bad = Consumer(engine.api_port, topics=["work"]).start()
    with connect(engine.port) as client, Consumer(engine.api_port, topics=["work"]) as good:
        for i in range(20):
            assert client.ask(f"@{i}") == "pushed"
        with bad.lock:
            bad.out += GARBAGE[kind] * times(2000)
        bad._poke()
        for i in range(20, 40):
            assert client.ask(f"@{i}") == "pushed"

        def all_there():
            return {e.data for e in list(bad.events) + list(good.events)} == {str(i) for i in range(40)}
        wait_until(all_there, 20, "each entry at one of the two")
        assert len(bad.events) + len(good.events) == 40
        with Api(engine.api_port) as api:
            assert api.publish("room", "still here").error is None
        assert client.text() == "still here"
        bad.stop()
    assert baseline.grown() < 40 * MIB
    baseline.restored()


def test_a_consumer_that_stops_reading_holds_up_nobody_for_long(make_engine):
    """It is dropped after stallTimeout, and what was not handed to it goes to the other, with bounded memory."""
    engine = room(make_engine, queue={"topicSize": 500, "stallTimeout": 1, "fullTimeout": 10})
    baseline = Baseline(engine)
    dead = Consumer(engine.api_port, topics=["work"], receive_buffer=4096)
    dead.wait_consuming()  # and never reads again
    count = times(2000)
    with connect(engine.port, timeout=20) as client, Beside(engine) as beside:
        sender = threading.Thread(target=lambda: [client.send(f"@{i} " + "x" * 4000) for i in range(count)])
        sender.start()
        wait_until(lambda: "takes nothing: dropped" in engine.log(), 15, "it is dropped")
        with Consumer(engine.api_port, topics=["work"]) as live:
            for _ in range(count):
                assert client.text() == "pushed"
            beside.goes_on()
            sender.join()
            wait_until(lambda: engine.metric("mixengine_topic_depth") == 0, 10, "all is handed over")
            got = [int(e.data.split()[0]) for e in live.events]
            assert got == list(range(got[0], count))
            # What the dead one was handed lay in its socket's buffers.
            assert got[0] * 4000 < 2 * MIB
    dead.stop()
    assert baseline.grown() < 32 * MIB
    baseline.restored()


# ---- memoryLimit

LIMIT = 160 * MIB


def limited(make_engine, limit=LIMIT, **options):
    return room(make_engine, engine={"memoryLimit": limit}, **options)


def is_over(engine):
    return engine.metric("mixengine_memory_short") == 1


@NOT_SHED
def test_memory_of_unfinished_messages_is_bounded(make_engine):
    """300 MiB of them: who holds the most is closed with 1013, who holds little stays."""
    engine = limited(make_engine, server={"maxMessageSize": 8 * MIB})
    baseline = Baseline(engine)
    with Beside(engine) as beside:
        clients = [connect(engine.port, timeout=1) for _ in range(60)]
        for client in clients:
            send_all(client, frame(BINARY, bytes(5 * MIB), fin=False))
        wait_until(lambda: closes(engine, "memory") > 0, 10, "some are closed")
        beside.goes_on()
        wait_until(lambda: not is_over(engine), 10, "there is room again")
        assert engine.peak() < LIMIT
        frames, _ = next(c for c in clients if ended(c)).end()
        assert frames[-1].code == 1013
        for client in clients:
            client.drop()
    assert 1 <= engine.log().count("memory is short") <= 3
    baseline.restored()


@NOT_SHED
def test_who_has_gone_holds_no_message(make_engine):
    """However long on_close takes, here until a file is there: what has not come whole never will."""
    waits = """
        function on_close()
            repeat
                mix.sleep(0.05)
                local file = io.open("enough")
            until file
            file:close()
        end"""
    engine = make_engine(ROOM + waits, server={"protocol": "websocket", "pingInterval": 0, "maxMessageSize": 8 * MIB})
    before = engine.resident()
    clients = [connect(engine.port) for _ in range(20)]
    for client in clients:
        send_all(client, frame(BINARY, bytes(4 * MIB), fin=False))
    wait_until(lambda: engine.resident() > before + 60 * MIB, 20, "80 MiB")
    for client in clients:
        client.reset()
    engine.wait_metric("mixengine_tasks_suspended", len(clients))
    wait_until(lambda: engine.resident() < before + 12 * MIB, 20, "memory given back")
    assert engine.metric("mixengine_tasks_suspended") == len(clients)
    (engine.folder / "enough").touch()
    engine.wait_metric("mixengine_tasks_suspended", 0)


def ended(client):
    """Has it something to read? These clients are sent nothing but their end."""
    return bool(select.select([client.sock], [], [], 0)[0])


@NOT_SHED
def test_memory_of_backlogs_is_bounded(make_engine):
    """Messages of their own wait for 100 clients, 8 MiB for each."""
    engine = limited(make_engine, server={"maxBacklog": 16 * MIB})
    baseline = Baseline(engine)
    with Beside(engine) as beside:
        clients = [connect(engine.port, receive_buffer=4096) for _ in range(100)]
        for client in clients:
            client.send("*80 100000")
        wait_until(lambda: closes(engine, "memory") > 0, 10, "some are closed")
        beside.goes_on()
        wait_until(lambda: not is_over(engine), 10, "there is room again")
        assert engine.peak() < LIMIT
        for client in clients:
            client.reset()
    baseline.restored()


@NOT_SHED
def test_memory_of_consumers_is_bounded(make_engine):
    """Requests that do not end; a consumer that holds nothing goes on."""
    engine = limited(make_engine)
    baseline = Baseline(engine, slack=24 * MIB)
    with Beside(engine) as beside, Api(engine.api_port) as healthy:
        bad = [Api(engine.api_port, timeout=1) for _ in range(80)]
        for api in bad:
            send_all(api, frame(TEXT, b"x" * (3 * MIB), fin=False))
        wait_until(lambda: engine.metric("mixengine_memory_dropped_consumers_total") > 0, 10, "some are dropped")
        beside.goes_on()
        assert healthy.publish("nobody", "x").error is None
        wait_until(lambda: not is_over(engine), 10, "there is room again")
        assert engine.peak() < LIMIT
        for api in bad:
            api.drop()
    baseline.restored()


@NOT_SHED
def test_memory_of_queues_is_bounded(make_engine):
    """What was pushed is kept; more is refused until a consumer has taken it. New clients wait meanwhile; those who are there
    and hold little, and consumers that have asked something, are not closed: it would be of no use."""
    engine = limited(make_engine, limit=96 * MIB, queue={"topicSize": 100000})
    baseline = Baseline(engine, slack=48 * MIB)
    with connect(engine.port) as client, connect(engine.port) as beside, Api(engine.api_port) as asking:
        begun = "b" * 40000
        beside.raw(frame(TEXT, begun, fin=False))
        request = json.dumps({"method": "mesh.publish", "params": {"channel": "nobody", "data": "x" * 100000}, "id": 7})
        asking.raw(frame(TEXT, request, fin=False))
        pushed = 0
        while client.ask(f"@{pushed} " + "x" * 100000) == "pushed":
            pushed += 1
            assert pushed < 3000
        assert client.ask("@more") == "the engine is at its memoryLimit"
        assert is_over(engine)
        assert engine.peak() < 96 * MIB
        late = Client(engine.port, first=upgrade("/", KEY))
        assert late.silent(0.5)
        wait_until(lambda: "0 clients and 0 consumers" in engine.log(), 10, "a round is over")
        beside.raw(frame(CONTINUATION, "!"))
        assert beside.text() == begun + "!"
        asking.raw(frame(CONTINUATION))
        assert asking.message().error is None
        with Consumer(engine.api_port, topics=["work"]) as consumer:
            events = consumer.wait_events(pushed, limit=40)
            assert [int(e.data.split()[0]) for e in events] == list(range(pushed))
            wait_until(lambda: not is_over(engine), 10, "there is room again")
            assert late.timeout(10).http().status == 101
            assert client.ask("@again") == "pushed"
        late.drop()
    assert closes(engine, "memory") == 0
    baseline.restored()


def set_limit(engine, limit):
    engine.config["engine"]["memoryLimit"] = limit
    engine.config_path.write_text(json.dumps(engine.config))  # JSON is YAML
    wait_until(lambda: is_over(engine) == (limit > 0), 10, f"a limit of {limit}")


def test_a_limit_below_what_is_held(make_engine):
    """It is read again; then all who hold much are closed, and all goes on when there is none."""
    engine = limited(make_engine, limit=0, server={"maxMessageSize": 8 * MIB})
    with connect(engine.port) as light, connect(engine.port) as heavy, Api(engine.api_port) as asking:
        for i in range(1000):
            assert light.ask(f"@{i} " + "x" * 100000) == "pushed"
        heavy.raw(frame(BINARY, bytes(2 * MIB), fin=False))
        asking.raw(frame(TEXT, b"x" * (2 * MIB), fin=False))
        engine.wait_metric("mixengine_memory_short", 0)
        set_limit(engine, 64 * MIB)
        frames, _ = heavy.end()
        assert frames[-1].code == 1013
        engine.wait_metric("mixengine_memory_dropped_consumers_total", 1)
        assert light.ask("@more") == "the engine is at its memoryLimit"
        late = Client(engine.port, first=upgrade("/", KEY))
        assert late.silent(0.5)
        set_limit(engine, 0)
        assert late.timeout(10).http().status == 101
        assert light.ask("@more") == "pushed"
        late.drop()
