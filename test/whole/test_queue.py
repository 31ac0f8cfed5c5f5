"""The queues between scripts and consumers: bounds, waiting, order, and consumers that come, go and die."""

import json
import pathlib
import signal
import threading
import time

import pytest

import lab
import wsclient
from consumer import Consumer
from harness import CHAT_ENTRY, seconds, times, wait_until
from lab import Lab
from wsclient import connect

WINDOW = 256 * 1024
SHORT = {"stallTimeout": 1, "fullTimeout": 2}


def op(number, name="n"):
    return json.dumps({"op": name, "args": [number]})


def numbers(events):
    return [json.loads(e.data["frame"]["data"])["args"][0] for e in events]


def fill(engine, count):
    client = connect(engine.port)
    client.raw(b"".join(wsclient.frame(1, op(i)) for i in range(count)))
    return client


# ---- the bound

def test_a_hundred_entries_are_kept_and_the_next_push_waits_alone(make_engine):
    engine = make_engine(CHAT_ENTRY)
    with fill(engine, 100) as client, connect(engine.port) as other:
        client.ping(b"a hundred are in")
        client.send(op(100))
        client.frame(wsclient.PING, b"held")
        assert client.silent(0.5)
        other.ping(b"not concerned")
        with connect(engine.port) as third:
            third.ping(b"nor is a new one")
        with Consumer(engine.api_port) as consumer:
            events = consumer.wait_events(101, "chat")
            assert numbers(events) == list(range(101))
            got = client.recv()
            assert (got.opcode, got.payload) == (wsclient.PONG, b"held")
            client.send(op(101))
            assert numbers(consumer.wait_events(102, "chat"))[-1] == 101


def test_who_waits_too_long_is_refused_and_the_script_closes_it(make_engine):
    engine = make_engine(CHAT_ENTRY, queue=SHORT)
    with fill(engine, 100) as client, connect(engine.port) as other:
        client.ping(b"a hundred are in")
        begin = time.monotonic()
        client.send(op(100))
        client.end()
        assert 1.5 < time.monotonic() - begin < seconds(8)
        engine.wait_output("queue push error: queue is full")
        other.ping()
        with Consumer(engine.api_port) as consumer:
            assert numbers(consumer.wait_events(100, "chat")) == list(range(100))
            closes = wait_until(lambda: [e for e in consumer.of("conn") if e.data["event"] == "close"], 5, "close")
            assert closes[0].client == consumer.of("chat")[0].client


def test_full_error_refuses_at_once(make_engine):
    engine = make_engine(CHAT_ENTRY, queue={"full": "error"})
    with fill(engine, 100) as client, connect(engine.port) as other:
        client.ping(b"a hundred are in")
        begin = time.monotonic()
        client.send(op(100))
        client.end()
        assert time.monotonic() - begin < seconds(5)
        other.ping()


def test_waiting_pushes_are_let_in_in_the_order_of_arrival(make_engine):
    engine = make_engine(lab.ENTRY, options={"topics": "line:2"})
    clients = [Lab(engine.port) for _ in range(8)]
    for i in (0, 1):
        clients[0].lua(f"return mix.queue.push('line', {{ text = '{i}' }})")
    for i, client in enumerate(clients):
        client.send(f"@line {i + 2}")
        engine.wait_metric('mixengine_topic_waiting{topic="line"}', i + 1)
        assert client.frame(wsclient.PING, b"held").silent(0.1)
    with Consumer(engine.api_port, topics=["line"]) as consumer:
        events = consumer.wait_events(10, "line")
        assert [e.data["text"] for e in events] == [str(i) for i in range(10)]
    for client in clients:
        assert client.recv().payload == b"held"
        client.drop()


def test_nobody_jumps_the_line(make_engine):
    """While one waits, a later push of another connection waits behind it."""
    engine = make_engine(lab.ENTRY, options={"topics": "line:1"}, workers=1)
    one, two, three = (Lab(engine.port) for _ in range(3))
    assert one.lua("return mix.queue.push('line', { text = 'first' })") == [1]
    two.send("@line second")
    engine.wait_metric('mixengine_topic_waiting{topic="line"}', 1)
    assert two.frame(wsclient.PING, b"held").silent(0.2)
    three.send("@line third")
    engine.wait_metric('mixengine_topic_waiting{topic="line"}', 2)
    assert three.frame(wsclient.PING, b"held").silent(0.2)
    with Consumer(engine.api_port, topics=["line"]) as consumer:
        events = consumer.wait_events(3, "line")
        assert [e.data["text"] for e in events] == ["first", "second", "third"]
    for client in (one, two, three):
        client.drop()


def test_push_returns_the_count_of_entries(make_engine):
    engine = make_engine(lab.ENTRY)
    with Lab(engine.port) as client:
        for i in range(1, 6):
            assert client.lua("return mix.queue.push('counted', {})") == [i]
        with Consumer(engine.api_port, topics=["counted"]) as consumer:
            consumer.wait_events(5)
            wait_until(lambda: client.lua("return mix.queue.push('counted', {})") == [1], 5, "an empty topic")


def test_topic_size_and_max_topics(make_engine):
    engine = make_engine(lab.ENTRY, queue={"topicSize": 3, "maxTopics": 2, "full": "error"})
    with Lab(engine.port) as client:
        for i in (1, 2, 3):
            assert client.lua("return mix.queue.push('a', {})") == [i]
        assert client.lua("return mix.queue.push('a', {})") == [None, "queue is full"]
        assert client.lua("return mix.queue.push('b', {})") == [1]
        assert client.lua("return mix.queue.push('c', {})") == [None, "too many topics"]


# ---- consumers that come late

def test_a_late_consumer_gets_every_kept_entry_in_order(make_engine):
    engine = make_engine(CHAT_ENTRY)
    with fill(engine, 60) as one:
        one.ping()
        with connect(engine.port) as two:
            two.raw(b"".join(wsclient.frame(1, op(i)) for i in range(60, 100)))
            two.ping()
            with Consumer(engine.api_port, "B") as consumer:
                events = consumer.wait_events(100, "chat")
                assert numbers(events) == list(range(100))
                assert [e.data["event"] for e in consumer.wait_events(2, "conn")] == ["handshake"] * 2


def burst(engine, count=100, each=16):
    clients = [connect(engine.port) for _ in range(count)]
    for i, client in enumerate(clients):
        client.raw(b"".join(wsclient.frame(1, op([i, k])) for k in range(each)))
    return clients


def check_burst(events, count=100, each=16):
    by_client = {}
    for event, (i, k) in zip(events, numbers(events)):
        by_client.setdefault((event.client, i), []).append(k)
    assert len(by_client) == count
    assert all(found == list(range(each)) for found in by_client.values())


@pytest.mark.parametrize("spelling", "AB")
def test_a_burst_before_the_consumer_loses_nothing_and_closes_nobody(make_engine, spelling):
    engine = make_engine(CHAT_ENTRY, queue={"fullTimeout": 20})
    clients = burst(engine)
    time.sleep(0.5)  # let most of it pile up; the result does not depend on it
    with Consumer(engine.api_port, spelling) as consumer:
        check_burst(consumer.wait_events(1600, "chat", 20))
        for client in clients:
            client.ping()
            client.drop()


def test_a_burst_through_a_slow_consumer(make_engine):
    engine = make_engine(CHAT_ENTRY, queue={"fullTimeout": 20})
    slow = Consumer(engine.api_port, on_event=lambda event, consumer: time.sleep(0.001), read_size=2048)
    with slow as consumer:
        clients = burst(engine)
        check_burst(consumer.wait_events(1600, "chat", 30))
        for client in clients:
            client.ping()
            client.drop()


# ---- clients that leave

@pytest.mark.parametrize("size", [4, 100])
def test_what_was_sent_before_a_fin_is_not_lost(make_engine, size):
    """With room for 4 only, the pushes of who left stay in line."""
    engine = make_engine(lab.ENTRY, options={"topics": f"in:{size},gone:100", "close": "gone"})
    clients = [Lab(engine.port) for _ in range(10)]
    for i, client in enumerate(clients):
        client.raw(b"".join(wsclient.frame(1, f"@in {i} {k}") for k in range(16)))
        client.shutdown()
    time.sleep(0.3)
    with Consumer(engine.api_port, topics=["in", "gone"]) as consumer:
        consumer.wait_events(10, "gone", 15)
        by_client, ended = {}, set()
        for event in consumer.events:
            assert event.client not in ended, "a message after its client's close"
            if event.topic == "gone":
                ended.add(event.client)
            else:
                i, k = map(int, event.data["text"].split())
                by_client.setdefault(i, []).append(k)
        assert by_client == {i: list(range(16)) for i in range(10)}
    for client in clients:
        client.drop()


@pytest.mark.timeout(seconds(120))
def test_the_close_comes_after_the_login(make_engine):
    """`auth` goes to one topic and the disconnect that follows at once to another."""
    engine = make_engine(CHAT_ENTRY)
    count = times(1000)
    with Consumer(engine.api_port) as consumer:
        for i in range(count):
            with connect(engine.port) as client:
                client.send('{"op":"auth","args":["user1","123456"]}')
                if i % 2:
                    client.shutdown()
        wait_until(lambda: len([e for e in consumer.of("conn") if e.data["event"] == "close"]) == count,
                   20, "all closes")
        steps = {}
        for event in consumer.events:
            steps.setdefault(event.client, []).append(
                "auth" if event.topic == "chat" else event.data["event"])
        assert len(steps) == count
        assert all(found == ["handshake", "auth", "close"] for found in steps.values())


@pytest.mark.parametrize("how", ["fin", "reset", "close"])
def test_after_a_failed_login_the_close_is_noticed(make_engine, how):
    """The script waits for a value that never comes; the end of the connection ends that."""
    engine = make_engine(CHAT_ENTRY)
    with Consumer(engine.api_port) as consumer:
        consumer.on_event = lambda event, c: c.conn_call(event.client, "set_context_value", "user_id", 0) \
            if event.topic == "chat" else None
        client = connect(engine.port)
        client.send('{"op":"auth","args":["user1","wrong"]}')
        consumer.wait_events(1, "chat")
        wait_until(lambda: len(consumer.replies) == 2, 5, "the reply to set_context_value")
        assert engine.metric("mixengine_tasks_suspended") == 1
        begin = time.monotonic()
        {"fin": client.shutdown, "reset": client.reset, "close": client.drop}[how]()
        wait_until(lambda: [e for e in consumer.of("conn") if e.data["event"] == "close"], 5, "close")
        assert time.monotonic() - begin < seconds(5)
        engine.wait_metric("mixengine_tasks_suspended", 0, 5)
        engine.wait_metric("mixengine_connections", 0, 5)


# ---- consumers that die

def lines(path):
    path = pathlib.Path(path)
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("]")]


class Traffic:
    """Clients that send numbered messages to the topic `in` until told to stop."""

    def __init__(self, engine, count=8, pad=200, pause=0.0):
        self.clients = [Lab(engine.port, timeout=30) for _ in range(count)]
        self.sent = [0] * count
        self.pad, self.pause, self.stopping, self.error = "x" * pad, pause, False, None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.stopping:
                for i, client in enumerate(self.clients):
                    client.send(f"@in {i} {self.sent[i]} {self.pad}")
                    self.sent[i] += 1
                time.sleep(self.pause)
        except Exception as error:
            self.error = error

    def stop(self, limit=30):
        """Ends the traffic and checks that no client was closed or refused."""
        self.stopping = True
        self.thread.join(seconds(limit))
        assert not self.thread.is_alive() and self.error is None, self.error
        for client in self.clients:
            client.timeout(limit)
            client.ping(b"all is well")

    def drop(self):
        for client in self.clients:
            client.drop()


def seen(records):
    found = {}
    for _, _, data in records:
        i, k, _ = data["text"].split()
        found.setdefault(int(i), []).append(int(k))
    return found


@pytest.mark.timeout(seconds(120))
def test_a_killed_consumer_loses_at_most_its_window(make_engine, run_program, tmp_path):
    engine = make_engine(lab.ENTRY, queue={"topicSize": 200, "fullTimeout": 20})
    first, second = tmp_path / "first", tmp_path / "second"
    words = ("--center", engine.center, "--topics", "in", "--record")
    consumer = run_program("consumer.py", *words, first, "--delay", "0.002")
    traffic = Traffic(engine, pause=0.001)
    wait_until(lambda: sum(traffic.sent) > 3000 and len(lines(first)) > 300, 30, "traffic")
    consumer.kill()
    killed = len(lines(first))
    assert killed < sum(traffic.sent), "the consumer was never behind"
    assert engine.running()
    time.sleep(0.3)  # some traffic while nobody consumes
    run_program("consumer.py", *words, second)
    back = time.monotonic()
    wait_until(lambda: lines(second), 5, "messages after the return")
    assert time.monotonic() - back < seconds(5)
    traffic.stop()
    total = sum(traffic.sent)

    def complete():
        found = seen(lines(second))
        return all(found.get(i, [-1])[-1] == n - 1 for i, n in enumerate(traffic.sent))
    wait_until(complete, 30, "the last message of each client")
    records = lines(first) + lines(second)
    lost = total - len(records)
    size = max(len(json.dumps({"event": "queue.consume", "result": {
        "client_id": str(r[0]), "queue": "in", "data": r[2]}, "id": None}, separators=(",", ":"))) for r in records)
    assert 0 <= lost and lost * size <= WINDOW, f"{lost} of {total} lost, {lost * size} bytes"
    for i, got in seen(records).items():
        assert got == sorted(set(got)), f"client {i}: twice or out of order"
    traffic.drop()


@pytest.mark.timeout(seconds(120))
def test_a_consumer_that_stops_reading_is_dropped(make_engine, run_program, tmp_path):
    engine = make_engine(lab.ENTRY, queue={"topicSize": 200, "stallTimeout": 1, "fullTimeout": 20})
    words = ("--center", engine.center, "--topics", "in", "--record")
    one = run_program("consumer.py", *words, tmp_path / "one")
    run_program("consumer.py", *words, tmp_path / "two")
    traffic = Traffic(engine, count=12, pad=1000, pause=0.002)
    wait_until(lambda: lines(tmp_path / "one") and lines(tmp_path / "two"), 20, "both take part")
    one.signal(signal.SIGSTOP)
    time.sleep(0.1)
    stopped = {i for i in seen(lines(tmp_path / "one"))}
    wait_until(lambda: stopped <= set(seen(lines(tmp_path / "two"))), 60, "its clients go to the other")
    traffic.stop(60)
    traffic.drop()


def test_a_consumer_that_leaves_hands_its_clients_over(make_engine):
    engine = make_engine(lab.ENTRY, queue={"topicSize": 100})
    clients = [Lab(engine.port) for _ in range(12)]
    one = Consumer(engine.api_port, topics=["in"]).start()
    two = Consumer(engine.api_port, topics=["in"]).start()
    for client in clients:
        client.send("@in before")
    wait_until(lambda: len(one.events) + len(two.events) == 12, 5, "all entries")
    assert one.events and two.events
    one.stop()
    engine.wait_metric("mixengine_api_consumers", 1)  # what is handed to one that has gone is lost
    for client in clients:
        client.send("@in after")
    wait_until(lambda: len([e for e in two.events if e.data["text"] == "after"]) == 12, 5, "all go to the other")
    two.stop()
    for client in clients:
        client.drop()


def test_several_consumers_do_not_reorder_a_client(make_engine):
    engine = make_engine(lab.ENTRY, queue={"topicSize": 50, "fullTimeout": 20}, workers=4)
    log, lock = [], threading.Lock()

    def note(event, _):
        with lock:
            log.append((event.client, int(event.data["text"])))
    consumers = [Consumer(engine.api_port, "AB"[i % 2], ["in"], note).start() for i in range(3)]
    clients, each = [Lab(engine.port) for _ in range(20)], times(100)
    for i in range(each):
        for client in clients:
            client.send(f"@in {i}")
    wait_until(lambda: len(log) == 20 * each, 20, "all entries")
    by_client = {}
    for client, number in log:
        by_client.setdefault(client, []).append(number)
    assert all(found == list(range(each)) for found in by_client.values())
    for consumer in consumers:
        consumer.stop()
    for client in clients:
        client.drop()


def test_affinity_any_serves_all(make_engine):
    engine = make_engine(lab.ENTRY, queue={"affinity": "any"})
    with Consumer(engine.api_port, topics=["in"]) as one, Consumer(engine.api_port, topics=["in"]) as two:
        with Lab(engine.port) as client:
            for i in range(200):
                client.send(f"@in {i}")
            wait_until(lambda: len(one.events) + len(two.events) == 200, 10, "all entries")
            got = [int(e.data["text"]) for e in one.events + two.events]
            assert sorted(got) == list(range(200))
