"""The chat document's business logic over SQLite, as one consumer process.

`chat.py --center 127.0.0.1:6787 --db FILE --spelling A|B`; prints `ready` when it consumes."""

import argparse
import json
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
    def __init__(self, path, failed_key="user_id"):
        self.db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self.db.execute("PRAGMA synchronous=OFF")
        self.failed_key = failed_key
        self.ops = {
            "auth": self.auth, "subscribe": self.subscribe, "unsubscribe": self.unsubscribe,
            "sendtoroom": self.send_to_channel, "sendtouser": self.send_to_channel,
            "sendbroadcast": self.send_broadcast,
        }

    def handle(self, event, node):
        data = event.data
        uid = data.get("uid") or 0
        if event.topic == "conn":
            if data.get("event") == "close":
                self.close(uid)
            return
        try:
            message = json.loads(data["frame"]["data"])
        except ValueError:
            message = None
        if not message:
            node.mesh_send(event.client, '{"error":"Json format error"}')
            return
        if not isinstance(message, dict):
            return
        op = message.get("op")
        action = self.ops.get(op) if isinstance(op, str) else None
        if action:
            args = message.get("args")
            action(node, event.client, op, args if isinstance(args, (list, dict)) else [], uid)

    def auth(self, node, client, op, args, uid):
        name, password = first(args, 2)
        row = self.db.execute("SELECT id FROM users WHERE name = ? AND password = ?",
                              (name, password)).fetchone()
        if row is None:
            node.conn_call(client, "set_context_value", self.failed_key, 0)
            node.mesh_send(client, '{"op":"auth","error":"Invalid name or password"}')
            return
        self.db.execute("UPDATE users SET online = 1 WHERE id = ?", row)
        node.conn_call(client, "set_context_value", "uid", row[0])
        node.mesh_send(client, '{"op":"auth","success":true}')

    def subscribe(self, node, client, op, args, uid):
        self.change("subscribe", node, client, args, uid)

    def unsubscribe(self, node, client, op, args, uid):
        self.change("unsubscribe", node, client, args, uid)

    def change(self, function, node, client, args, uid):
        if self.refused(node, client, function, uid):
            return
        if isinstance(args, dict):  # what PHP's named arguments make of it
            node.command("conn.call", {
                "A": {"client_id": client, "func": function, "args": args},
                "B": {"c": client, "f": function, "a": args}}[node.spelling])
        else:
            node.conn_call(client, function, *args)
        node.mesh_send(client, '{"op":"%s","success":true}' % function)

    def send_to_channel(self, node, client, op, args, uid):
        if not self.refused(node, client, op, uid):
            self.publish(node, client, op, uid, *first(args, 2))

    def send_broadcast(self, node, client, op, args, uid):
        if not self.refused(node, client, op, uid):
            self.publish(node, client, op, uid, "broadcast", *first(args, 1))

    @staticmethod
    def refused(node, client, op, uid):
        if not uid:
            node.mesh_send(client, '{"op":"%s","error":"No access"}' % op)
        return not uid

    @staticmethod
    def publish(node, client, op, uid, channel, message):
        text = f"uid:{uid},message:{message}"
        node.publish(channel, '{"event":"subscribe","channel":"%s","data":"%s"}' % (channel, text))
        node.mesh_send(client, '{"op":"%s","success":true}' % op)

    def close(self, uid):
        if uid:
            self.db.execute("UPDATE users SET online = 0 WHERE id = ?", (uid,))


def first(args, count):
    """PHP's list(): what is not there is null."""
    values = list(args) if isinstance(args, list) else []
    values = [v if isinstance(v, (str, int, float)) else None for v in values]
    return (values + [None] * count)[:count]


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--center", required=True)
    options.add_argument("--db", required=True)
    options.add_argument("--spelling", choices="AB", default="A")
    options.add_argument("--failed-key", default="user_id",
                         help="the context key that a failed login sets (the document: user_id)")
    given = options.parse_args()
    prepare(given.db)
    chat = Chat(given.db, given.failed_key)
    try:
        serve(given.center, given.spelling, ["chat", "conn"], chat.handle,
              lambda: print("ready", flush=True))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    sys.exit(main())
