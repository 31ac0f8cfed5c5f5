"""What misbehaves, and whom it meets: for the tests of overload and limits, and for the benchmarks of both."""

import json
import socket

from harness import seconds
from wsclient import BINARY, PONG, TEXT, frame

# Clients are in the room as soon as they are there. "!TEXT" is published, "*N SIZE" is answered with N messages,
# "@TEXT" is pushed, and anything else comes back.
ROOM = """
function on_handshake()
    mix.websocket():subscribe("room")
end

function on_message(msg)
    local conn, first, rest = mix.websocket(), msg.data:sub(1, 1), msg.data:sub(2)
    if first == "!" then
        mix.mesh.publish("room", rest)
    elseif first == "*" then
        local n, size = rest:match("(%d+) (%d+)")
        for i = 1, n do
            conn:send(i .. " " .. ("x"):rep(size))
        end
    elseif first == "@" then
        local n, err = mix.queue.push("work", rest)
        conn:send(err or "pushed")
    else
        conn:send(msg.data)
    end
end

function on_close(id, err)
    print("closed", err)
end
"""

# A server of generation 1 that echoes lines. With FILES, each line takes sixteen descriptors and gives them back.
LINES = """
function protocol_input(buf, conn)
    local at = buf:tostring():find("\\n", 1, true)
    return at or 0
end
function protocol_decode(str, conn) return str end
function protocol_encode(str, conn, type) return str end
function on_message(line, conn) conn:send(line) end
"""

FILES = """
local files = {}
function on_message(line, conn)
    for i = 1, 16 do files[i] = io.open("/dev/null") end
    conn:send(#files .. "\\n")
    for i = #files, 1, -1 do files[i]:close() files[i] = nil end
end
"""

GARBAGE = {
    "no JSON": frame(TEXT, "}{" * 100),
    "binary": frame(BINARY, bytes(range(256))),
    "not UTF-8": frame(TEXT, b"\xff\xfe"),
    "an answer": frame(TEXT, json.dumps({"id": 1, "result": {"success": True}, "error": None})),
    "an event": frame(TEXT, json.dumps({"event": "x", "result": {"client_id": 1, "queue": "work", "data": {}}})),
    "deep": frame(TEXT, "[" * 100000),
    "pongs": frame(PONG, b"99999999999999999999"),
    "other pongs": frame(PONG, b"\xff" * 125),
    "reserved opcodes": frame(3, b"x"),
    "no frames": b"\xff" * 1000,
}

NOBODY = (1 << 53) + 1  # a client of this node that never was


def limited(engine, descriptors):
    """The same engine with so many descriptors."""
    command = engine.command
    engine.command = lambda *words: ["prlimit", f"--nofile={descriptors}", *command(*words)]
    return engine.start()


def kept(engine):
    """The descriptors that it has, but for /dev/null, which LuaJIT's and libuv's helpers keep for later."""
    return [name for name in engine.descriptors() if name != "/dev/null"]


def raw_sockets(port, count, first, receive_buffer=None):
    """Connected sockets that have sent `first`; from many addresses, as one has 28,000 ports."""
    found = []
    for i in range(count):
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.bind((f"127.0.0.{2 + i % 8}", 0))
        sock.settimeout(seconds(10))
        sock.connect(("127.0.0.1", port))
        sock.sendall(first)
        sock.setblocking(False)
        found.append(sock)
    return found


def commands(count, client, text):
    return b"".join(frame(TEXT, json.dumps({"method": "mesh.send", "params": {"client_id": client, "data": text}, "id": i}))
                    for i in range(count))
