"""The chat document's business logic over SQLite, as one consumer process.

`chat.py --center 127.0.0.1:6787 --db sqlite:FILE --spelling A|B`; prints `ready` when it consumes."""

import argparse
import json
import signal
import sqlite3
import sys

from consumer import serve

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, email TEXT NOT NULL DEFAULT '',
    password TEXT NOT NULL, online INTEGER NOT NULL DEFAULT 0);
INSERT OR IGNORE INTO users (id, name, password) VALUES (1, 'user1', '123456'), (2, 'user2', '123456');
"""


def prepare(path):
    """Makes the database; before the consumers start."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.executescript(SCHEMA)
    db.close()


class Chat:
    def __init__(self, path, failed_key="uid"):
        self.db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self.db.execute("PRAGMA synchronous=OFF")
        self.failed_key = failed_key
        self.unanswered = {}  # id of a set_context_value -> the user who has just logged in
        self.ops = {
            "auth": (self.auth, 2), "subscribe": (self.change, None), "unsubscribe": (self.change, None),
            "sendtoroom": (self.send_to_channel, 2), "sendtouser": (self.send_to_channel, 2),
            "sendbroadcast": (self.send_broadcast, 1),
        }

    def handle(self, event, node):
        uid = event.data.get("uid") or 0
        if event.topic == "conn":
            if event.data.get("event") == "close":
                self.offline(uid)
            return
        try:
            message = json.loads(event.data["frame"]["data"])
        except ValueError:
            message = None
        if not message or not isinstance(message, dict):
            answer(node, event.client, error="Json format error")
            return
        op, args = message.get("op"), message.get("args")
        action, count = self.ops.get(op if isinstance(op, str) else None, (None, None))
        if not action:
            error = "Unknown operation"
        elif not uid and op != "auth":
            error = "No access"
        else:
            error = wrong(args, count)
        if op == "auth":
            self.offline(uid)  # whoever this connection was
            if error:
                node.conn_call(event.client, "set_context_value", self.failed_key, 0)
        if error:
            answer(node, event.client, op=op, error=error)
        else:
            action(node, event.client, op, args, uid)

    def on_reply(self, reply):
        """A client that has gone before its login was answered: nobody else sets its flag back."""
        uid = self.unanswered.pop(reply.id, 0)
        if reply.error:
            self.offline(uid)

    def auth(self, node, client, op, args, uid):
        row = self.db.execute("SELECT id FROM users WHERE name = ? AND password = ?", args).fetchone()
        if row is None:
            node.conn_call(client, "set_context_value", self.failed_key, 0)
            answer(node, client, op=op, error="Invalid name or password")
            return
        self.db.execute("UPDATE users SET online = 1 WHERE id = ?", row)
        self.unanswered[node.conn_call(client, "set_context_value", "uid", row[0])] = row[0]
        answer(node, client, op=op, success=True)

    @staticmethod
    def change(node, client, op, args, uid):
        node.conn_call(client, op, *args)
        answer(node, client, op=op, success=True)

    @staticmethod
    def send_to_channel(node, client, op, args, uid):
        channel, message = args
        node.publish(channel, encode({"event": "subscribe", "channel": channel, "data": f"uid:{uid},message:{message}"}))
        answer(node, client, op=op, success=True)

    def send_broadcast(self, node, client, op, args, uid):
        self.send_to_channel(node, client, op, ["broadcast", *args], uid)

    def offline(self, uid):
        if uid:
            self.db.execute("UPDATE users SET online = 0 WHERE id = ?", (uid,))


def encode(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def answer(node, client, **value):
    node.mesh_send(client, encode(value))


def wrong(args, count):
    """What is wrong with an operation's arguments; `count` None: one or more names."""
    if not isinstance(args, list) or (len(args) != count if count else not args):
        return f"args must be a list of {count or 'one or more'}"
    if not all(isinstance(arg, str) for arg in args):
        return "args must be text"
    names = args if count is None else args[:1] if count == 2 else []
    return None if all(len(name.encode()) <= 255 for name in names) else "a name is longer than 255 bytes"


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--center", required=True)
    options.add_argument("--db", required=True)
    options.add_argument("--spelling", choices="AB", default="A")
    options.add_argument("--failed-key", default="uid",
                         help="the context key that a failed login sets (the document: user_id)")
    given = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    path = given.db.removeprefix("sqlite:")
    prepare(path)
    chat = Chat(path, given.failed_key)
    try:
        serve(given.center, given.spelling, ["chat", "conn"], chat.handle,
              lambda: print("ready", flush=True), on_reply=chat.on_reply)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    sys.exit(main())
