"""Consumers in plain Python: both spellings of the protocol, pipelined commands, center discovery.

As a program it records: `consumer.py --center HOST:PORT --topics a,b --record FILE [--delay SECONDS]`
appends every event to FILE, one JSON object a line, as soon as it has been read."""

import argparse
import base64
import dataclasses
import http.client
import json
import os
import select
import socket
import sys
import threading
import time

import wsclient
from harness import seconds, wait_until

CONSUME = {"A": "queue.consume", "B": "queue.pop"}
UNCONSUME = {"A": "queue.unconsume", "B": "queue.unpop"}


@dataclasses.dataclass
class Event:
    client: int
    topic: str
    data: object
    raw: dict


@dataclasses.dataclass
class Reply:
    id: object
    error: object  # None, or {"code", "message"}
    result: object
    raw: dict

    @property
    def code(self):
        return self.error and self.error["code"]


def request(spelling, method, params, number):
    if spelling == "A":
        return {"method": method, "params": params, "id": number}
    return {"m": method, "p": params, "i": number}


def call_params(spelling, client, function, args):
    """The PHP client sends integers, and one object inside a list in the first generation."""
    if spelling == "A":
        return [{"client_id": client, "func": function, "args": args}]
    return {"c": client, "f": function, "a": args}


def send_params(spelling, client, data):
    return {"client_id": client, "data": data} if spelling == "A" else {"c": client, "d": data}


def publish_params(spelling, channel, data):
    return {"channel": channel, "data": data} if spelling == "A" else {"c": channel, "d": data}


def consume_params(spelling, topics):
    return list(topics) if spelling == "A" else {"t": list(topics)}


def parse(raw):
    """What the engine sent: an Event or a Reply, whichever spelling."""
    message = json.loads(raw)
    if "event" in message:
        result = message["result"]
        return Event(int(result["client_id"]), result["queue"], result["data"], message)
    if "e" in message:
        p = message["p"]
        return Event(int(p["c"]), p["t"], p["d"], message)
    if "E" in message:
        error = message["E"]
        error = error and {"code": error["c"], "message": error["m"]}
        return Reply(message["i"], error, message.get("r"), message)
    return Reply(message["id"], message["error"], message.get("result"), message)


def basic(credentials):
    if not credentials:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(":".join(credentials).encode()).decode()}


def discover(center, credentials=None):
    """What a client does first: two GETs on one connection. Returns the nodes."""
    connection = http.client.HTTPConnection(center, timeout=seconds(10))
    try:
        connection.connect()
        first = connection.sock
        answers = []
        for path in ("/version", "/v1/nodes"):
            connection.request("GET", path, headers=basic(credentials))
            answer = connection.getresponse()
            answers.append(json.loads(answer.read()))
            assert answer.status == 200, answer.status
        assert connection.sock is first, "the center did not keep the connection"
    finally:
        connection.close()
    assert answers[0]["apis"][0] == "v1", answers[0]
    assert isinstance(answers[1]["nodes"], list), answers[1]
    return answers[1]["nodes"]


class Api(wsclient.Client):
    """One API connection that asks and waits, as the sync PHP client does."""

    def __init__(self, port, spelling="A", credentials=None, **options):
        super().__init__(port, **options)
        self.spelling, self.number = spelling, -1
        try:
            self.handshake("/ws/v1", [f"{k}: {v}" for k, v in basic(credentials).items()])
        except BaseException:
            self.drop()
            raise

    def post(self, method, params, number=None):
        """Sends a request and does not wait; returns its id."""
        if number is None:
            self.number += 1
            number = self.number
        self.send(json.dumps(request(self.spelling, method, params, number)))
        return number

    def message(self):
        return parse(self.text())

    def call(self, method, params):
        number = self.post(method, params)
        reply = self.message()
        assert isinstance(reply, Reply) and reply.id == number, reply
        return reply

    def func(self, client, function, *args):
        return self.call("conn.call", call_params(self.spelling, client, function, list(args)))

    def mesh_send(self, client, data):
        return self.call("mesh.send", send_params(self.spelling, client, data))

    def publish(self, channel, data):
        return self.call("mesh.publish", publish_params(self.spelling, channel, data))


class Consumer:
    """An asynchronous consumer: commands are pipelined, nothing waits for a reply. `on_event(event,
    consumer)` runs where `step` is called; with `start` that is a thread of its own."""

    def __init__(self, address, spelling="A", topics=("chat", "conn"), on_event=None,
                 on_reply=None, credentials=None, receive_buffer=None, read_size=262144):
        if isinstance(address, str):
            host, port = address.rsplit(":", 1)
            address = host.strip("[]"), int(port)
        self.spelling, self.read_size = spelling, read_size
        self.on_event = on_event or (lambda event, consumer: None)
        self.on_reply = on_reply or (lambda reply: None)
        client = wsclient.Client(address, receive_buffer=receive_buffer)
        client.handshake("/ws/v1", [f"{k}: {v}" for k, v in basic(credentials).items()])
        self.sock, self.buffer = client.sock, client.buffer
        self.sock.setblocking(False)
        self.out, self.number, self.at = bytearray(), -1, 0
        self.events, self.replies = [], []
        self.keep = True  # what arrived, for tests to look at
        self.lock, self.thread, self.stopping = threading.RLock(), None, False
        self.reading = True
        self.wake_in, self.wake_out = socket.socketpair()
        self.consuming = None
        if topics:
            self.consuming = self.consume(topics)

    # commands, from any thread

    def command(self, method, params):
        with self.lock:
            self.number += 1
            text = json.dumps(request(self.spelling, method, params, self.number))
            self.out += wsclient.frame(wsclient.TEXT, text)
            number = self.number
        if self.thread and threading.current_thread() is not self.thread:
            self.wake_out.send(b".")
        return number

    def consume(self, topics):
        return self.command(CONSUME[self.spelling], consume_params(self.spelling, topics))

    def conn_call(self, client, function, *args):
        return self.command("conn.call", call_params(self.spelling, client, function, list(args)))

    def mesh_send(self, client, data):
        return self.command("mesh.send", send_params(self.spelling, client, data))

    def publish(self, channel, data):
        return self.command("mesh.publish", publish_params(self.spelling, channel, data))

    # the loop

    def step(self, timeout=None):
        """One turn: reads what is there, handles it, writes what that gave. Raises Closed."""
        with self.lock:
            writers = [self.sock] if self.out else []
        readers = [self.wake_in] + ([self.sock] if self.reading else [])
        readable, _, _ = select.select(readers, writers, [], timeout)
        if self.wake_in in readable:
            self.wake_in.recv(4096)
        if self.sock in readable:
            self._read()
        self._write()

    def _read(self):
        try:
            data = self.sock.recv(self.read_size)
        except ConnectionResetError:
            raise wsclient.Closed(reset=True) from None
        if not data:
            raise wsclient.Closed()
        self.buffer += data
        at = 0
        while True:
            found = wsclient.parse_frame(self.buffer, at)
            if not found:
                break
            got, at = found
            self._handle(got)
        del self.buffer[:at]

    def _handle(self, got):
        if got.opcode == wsclient.PING:
            self.out += wsclient.frame(wsclient.PONG, got.payload)
        if got.opcode != wsclient.TEXT:
            return
        message = parse(got.payload)
        if isinstance(message, Event):
            if self.keep:
                self.events.append(message)
            self.on_event(message, self)
            return
        self.on_reply(message)
        if self.keep or message.id == self.consuming:
            self.replies.append(message)

    def _write(self):
        with self.lock:
            if not self.out:
                return
            try:
                del self.out[:self.sock.send(self.out)]
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                raise wsclient.Closed(reset=True) from None

    def wait_consuming(self, limit=10):
        """Until the engine has said that the topics are ours."""
        def there():
            if self.thread is None:
                self.step(0.05)
            return [r for r in list(self.replies) if r.id == self.consuming]
        reply = wait_until(there, limit, "the reply to consume")[0]
        assert reply.error is None, reply
        return self

    def run(self):
        try:
            while not self.stopping:
                self.step(1)
        except wsclient.Closed:
            pass

    def start(self):
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self.wait_consuming() if self.consuming is not None else self

    def pause(self):
        self.reading = False
        self._poke()

    def resume(self):
        self.reading = True
        self._poke()

    def _poke(self):
        self.wake_out.send(b".")

    def stop(self):
        self.stopping = True
        if self.thread:
            self._poke()
            self.thread.join(seconds(10))
            assert not self.thread.is_alive()
        for sock in (self.sock, self.wake_in, self.wake_out):
            sock.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # what tests ask

    def of(self, topic):
        return [e for e in list(self.events) if e.topic == topic]

    def wait_events(self, count, topic=None, limit=10):
        def there():
            found = self.of(topic) if topic else list(self.events)
            return found if len(found) >= count else None
        return wait_until(there, limit, f"{count} events of {topic or 'any topic'}")

    def wait_reply(self, number, limit=10):
        def there():
            return [r for r in list(self.replies) if r.id == number]
        found = wait_until(there, limit, f"reply {number}")
        assert len(found) == 1, found
        return found[0]


def serve(center, spelling, topics, on_event, refreshed=lambda: None, **options):
    """A consumer's whole life: discover the nodes, consume from each, come back 1 s after any close."""
    while True:
        consumers = []
        try:
            for node in discover(center):
                consumer = Consumer(node["api_server" if spelling == "B" else "host"], spelling, topics,
                                    on_event, **options)
                consumers.append(consumer.wait_consuming())
                consumer.keep = False
            refreshed()
            loop(consumers)
        except (wsclient.Closed, OSError, http.client.HTTPException):
            time.sleep(1)
        finally:
            for consumer in consumers:
                consumer.stop()


def loop(consumers):
    while True:
        if len(consumers) == 1:
            consumers[0].step(60)
            continue
        select.select([c.sock for c in consumers], [c.sock for c in consumers if c.out], [], 60)
        for consumer in consumers:
            consumer.step(0)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--center", required=True)
    options.add_argument("--spelling", choices="AB", default="A")
    options.add_argument("--topics", default="chat,conn")
    options.add_argument("--record", required=True)
    options.add_argument("--delay", type=float, default=0)
    given = options.parse_args()
    record = os.open(given.record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def on_event(event, _):
        os.write(record, json.dumps([event.client, event.topic, event.data]).encode() + b"\n")
        if given.delay:
            time.sleep(given.delay)

    def ready():
        print("ready", flush=True)

    serve(given.center, given.spelling, given.topics.split(","), on_event, ready, read_size=4096)


if __name__ == "__main__":
    sys.exit(main())
