"""A consumer of the chaos run: records what it gets before it answers, so that what a SIGKILL takes from it was
never recorded. Each line of its record begins with a kind and the time (CLOCK_MONOTONIC, which all processes share):

    begin TIME               it consumes
    e TIME CLIENT KIND N     an event: message N, or "open" and "close" with N 0
    sent TIME CLIENT N       the engine says: the answer to message N stands in the client's write queue
    published TIME SEQ       the engine says: its publish SEQ was carried out
    end TIME REASON          "retired", or "dropped" when the engine closed the connection"""

import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "whole"))

import consumer  # noqa: E402
import wsclient  # noqa: E402

PUBLISH_EACH = 10  # events


class Recorder:
    def __init__(self, name, center, spelling, record):
        self.name, self.spelling = name, spelling
        self.record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.asked, self.events, self.sequence = {}, 0, 0
        self.retiring, self.given_back = False, None
        node, = consumer.discover(center)
        self.consumer = consumer.Consumer(node["api_server"], spelling, ["up", "conn"], self.on_event,
                                          self.on_reply, receive_buffer=1 << 20, read_size=16384)
        self.consumer.keep = False

    def note(self, kind, *words):
        os.write(self.record, " ".join(map(str, (kind, f"{time.monotonic():.6f}", *words))).encode() + b"\n")

    def on_event(self, event, conn):
        data = event.data
        kind, number = data["k"], data.get("n", 0)
        self.note("e", event.client, kind, number)
        if event.topic == "conn":
            return
        if kind == "w":
            conn.conn_call(event.client, "set_context_value", str(number), True)
        reply = conn.mesh_send(event.client, f"r {self.name} {number}")
        self.asked[reply] = ("sent", event.client, number)
        self.events += 1
        if self.events % PUBLISH_EACH == 0:
            self.sequence += 1
            reply = conn.publish("room", f"p {self.name} {self.sequence}")
            self.asked[reply] = ("published", self.sequence)

    def on_reply(self, reply):
        words = self.asked.pop(reply.id, None)
        if words and reply.error is None:
            self.note(*words)
        if reply.id == self.given_back:
            self.given_back = None

    def run(self):
        self.consumer.wait_consuming()
        self.note("begin")
        print("ready", flush=True)
        while not self.retiring:
            self.consumer.step(0.2)
        self.given_back = self.consumer.command(consumer.UNCONSUME[self.spelling], [])
        while self.given_back or self.asked or self.consumer.out:
            self.consumer.step(0.2)

    def retire(self, *_):
        self.retiring = True


def main():
    recorder = Recorder(*sys.argv[1:])
    signal.signal(signal.SIGTERM, recorder.retire)
    try:
        recorder.run()
    except wsclient.Closed:
        recorder.note("end", "dropped")
        return 3
    recorder.note("end", "retired")
    return 0


if __name__ == "__main__":
    sys.exit(main())
