#!/usr/bin/python3
"""Plays the chat document's two clients against a running chat room and prints each frame:
`transcript.py [ws://127.0.0.1:6790/chat]`. Ends with 0 if all came as the document shows.
Debian package: python3-websockets."""

import asyncio
import sys

import websockets

SECONDS = 10  # for each frame

JOIN = [("send", '{"op":"subscribe","args":["room_101"]}'),
        ("receive", '{"op":"subscribe","success":true}')]
MESSAGE = ("receive", '{"event":"subscribe","channel":"room_101","data":"uid:1,message:hello,world!"}')


def login(name):
    return [("send", '{"op":"auth","args":["%s","123456"]}' % name),
            ("receive", '{"op":"auth","success":true}')]


ONE = login("user1") + JOIN
TWO = login("user2") + JOIN
TALK = [("send", '{"op":"sendtoroom","args":["room_101","hello,world!"]}'),
        MESSAGE,
        ("receive", '{"op":"sendtoroom","success":true}')]


async def play(name, client, frames):
    for direction, text in frames:
        if direction == "send":
            print(f"{name}    send: {text}")
            await client.send(text)
            continue
        got = await asyncio.wait_for(client.recv(), SECONDS)
        print(f"{name} receive: {got}")
        if got != text:
            raise ValueError(f"{name} should have received {text}")


async def main(address):
    async with websockets.connect(address) as one, websockets.connect(address) as two:
        await play("client 1", one, ONE)
        await play("client 2", two, TWO)
        await play("client 1", one, TALK)
        await play("client 2", two, [MESSAGE])
    print("all as the document shows")


try:
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:6790/chat"))
except asyncio.TimeoutError:
    sys.exit(f"no frame within {SECONDS} s")
except (OSError, ValueError, websockets.WebSocketException) as error:
    sys.exit(f"failed: {error}")
