"""An HTTP server in a thread of its own that answers each request as its test says, right or wrong."""

import asyncio
import dataclasses
import json
import threading


@dataclasses.dataclass
class Request:
    method: str
    target: str
    headers: list  # of (name, value), as sent
    body: bytes
    connection: int  # which of the server's connections, from 1
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def header(self, name):
        """All values of it, joined; None when there is none."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(found) if found else None

    async def write(self, data):
        self.writer.write(data)
        await self.writer.drain()

    def reset(self):
        self.writer.transport.abort()


def answer(body=b"", status=200, headers=(), length=True):
    body = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Whatever", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def redirect(location, status=302, body=b"", headers=()):
    return answer(body, status, [f"Location: {location}", *headers])


async def echo(request):
    """What was asked, as JSON."""
    return answer(json.dumps({
        "method": request.method, "target": request.target, "connection": request.connection,
        "headers": {name.lower(): request.header(name) for name, _ in request.headers},
        "body": request.body.decode("latin-1")}))


class Web:
    """`handler` is a coroutine function of a Request: it returns what is written (the connection is kept
    then), or None when it has written by itself (the connection is closed)."""

    def __init__(self, handler=echo, *, ssl=None, host="127.0.0.1"):
        self.handler, self.ssl, self.host = handler, ssl, host
        self.requests, self.connections = [], 0
        self._tasks = set()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,))
        self._thread.start()
        assert started.wait(10)

    @property
    def url(self):
        return f"http{'s' if self.ssl else ''}://{self.host}:{self.port}"

    def last(self):
        return self.requests[-1]

    def call(self, function, *arguments):
        """In the server's thread."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def stop(self):
        self.call(self._over.set)
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _run(self, started):
        asyncio.run(self._serve(started))

    async def _serve(self, started):
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, self.host, 0, ssl=self.ssl, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._over.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self.connections += 1
        number = self.connections
        try:
            while await self._exchange(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(asyncio.current_task())
            writer.close()

    async def _exchange(self, reader, writer, number):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        method, target, _ = first.split(" ")
        headers = [tuple(line.split(": ", 1)) if ": " in line else (line.rstrip(":"), "") for line in lines]
        request = Request(method, target, headers, b"", number, reader, writer)
        request.body = await reader.readexactly(int(request.header("Content-Length") or 0))
        self.requests.append(request)
        data = await self.handler(request)
        if data is None:
            return False
        await request.write(data)
        return True
