"""Talks to fixtures/lab.lua: runs Lua inside the engine and reads what it returned."""

import contextlib
import json

import wsclient
from harness import FIXTURES, seconds, wait_until

ENTRY = FIXTURES / "lab.lua"


class LuaError(Exception):
    pass


def value(mark):
    kind, rest = mark[0], mark[1:]
    if kind == "s":
        data = bytes.fromhex(rest)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data
    if kind == "n":
        number = float(rest)
        return int(number) if number == int(number) else number
    if kind == "b":
        return rest == "1"
    if kind == "t":
        return json.loads(bytes.fromhex(rest).decode())
    return None if kind == "z" else "<" + rest + ">"


def values(text):
    sign, *marks = text.split(" ")
    found = [value(mark) for mark in marks]
    if sign == "-":
        raise LuaError(*found)
    assert sign == "+", text
    return found


class Lab(wsclient.Client):
    def __init__(self, port, **options):
        super().__init__(port, **options)
        self.handshake("/")
        self.id = int(self.lua("return conn:client_id()")[0])

    def lua(self, code):
        """Everything that the code returned."""
        return values(self.ask("=" + code))

    @property
    def worker(self):
        return self.id >> 47 & 63


def on_two_workers(port):
    """Two clients whose connections belong to different workers."""
    clients = [Lab(port)]
    while len(clients) < 64:
        clients.append(Lab(port))
        if clients[-1].worker != clients[0].worker:
            for other in clients[1:-1]:
                other.drop()
            return clients[0], clients[-1]
    raise AssertionError("64 connections, all on one worker")


@contextlib.contextmanager
def spinning(client, engine, then=""):
    """The client's worker computes, and does nothing else, for as long as the block lasts; then the script goes on
    with `then`, and the client has its answer."""
    begun, enough = (engine.folder / f"{client.id}.{word}" for word in ("begun", "enough"))
    client.send(f"""=io.open('{begun}', 'w'):close()
        local till, file = mix.time() + {seconds(60)}
        repeat file = io.open('{enough}') until file or mix.time() > till
        if file then file:close() end {then}""")
    wait_until(begun.exists, what="a busy worker")
    try:
        yield
    finally:
        enough.touch()
