"""HTTP on the API's ports: commands, health, and what is refused before it can do harm."""

import base64
import http.client
import json
import select
import socket
import time

import pytest

from consumer import Api
from harness import seconds, times, wait_until
from lab import ENTRY, Lab, on_two_workers, spinning

MIB = 1 << 20
PATHS = ["/v1/mesh/send", "/v1/mesh/publish", "/v1/conn/call", "/v1/conn/close", "/v1/batch"]
DONE = {"E": None, "r": {"s": True, "f": 0, "t": 1}}


@pytest.fixture(scope="module")
def engine(make_shared):
    return make_shared(ENTRY, options={"topics": "t:100"})


@pytest.fixture
def client(engine):
    with Lab(engine.port) as connection:
        yield connection


class Raw:
    """Sends any octets, reads answers one by one."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), seconds(10))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def answer(self):
        """Status, headers, body as JSON; None when the connection has ended."""
        try:
            line = self.file.readline()
        except ConnectionResetError:
            return None
        if not line:
            return None
        headers = http.client.parse_headers(self.file)
        body = self.file.read(int(headers["Content-Length"]))
        kind = headers["Content-Type"]
        return int(line.split()[1]), headers, json.loads(body) if "json" in kind else body.decode()

    def status(self):
        answer = self.answer()
        return answer and answer[0]

    def ended(self):
        return self.answer() is None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()
        self.socket.close()


def head(path, length=None, method="POST", more=""):
    length = "" if length is None else f"Content-Length: {length}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{length}{more}\r\n"


def whole(path, value, more=""):
    body = value if isinstance(value, str) else json.dumps(value)
    return head(path, len(body.encode()), more=more) + body


GET = head("/v1/nodes", method="GET")


def post(engine, path, body, headers=None):
    if not isinstance(body, (str, bytes)):
        body = json.dumps(body)
    status, _, text = engine.http("POST", path, body, headers)
    return status, json.loads(text)


# ---- commands

def test_send(engine, client):
    for number in (client.id, str(client.id)):
        assert post(engine, "/v1/mesh/send", {"c": number, "d": "over http"}) == (200, DONE)
        assert client.text() == "over http"


@pytest.mark.parametrize("body", [{"client_id": 0, "data": "a"}, [{"c": 0, "d": "a"}],
                                  {"c": 0, "d": base64.b64encode(b"a").decode(), "t": "binary"}])
def test_other_shapes_of_send(engine, client, body):
    text = json.dumps(body).replace(": 0", f": {client.id}")
    assert post(engine, "/v1/mesh/send", text) == (200, DONE)
    assert client.text() == "a"


def test_send_to_nobody(engine):
    status, answer = post(engine, "/v1/mesh/send", {"c": "1", "d": "x"})
    assert status == 200 and set(answer) == {"E"}
    assert answer["E"]["c"] == 401 and answer["E"]["m"] == "no such client"


def test_publish_reaches_every_worker(engine):
    one, two = on_two_workers(engine.port)
    for client in (one, two):
        client.lua("return conn:subscribe('room')")
    for key in ("c", "channel"):
        assert post(engine, "/v1/mesh/publish", {key: "room", "d": "x"}) == \
            (200, {"E": None, "r": {"s": 2, "f": 0, "t": 2}})
        assert one.text() == two.text() == "x"
    one.drop()
    two.drop()


def test_conn_call(engine, client):
    assert post(engine, "/v1/conn/call", {"c": client.id, "f": "set_context_value", "a": ["k", 7]}) == (200, DONE)
    assert client.lua("return conn:context_value('k')") == [7]
    assert post(engine, "/v1/conn/call",
                {"client_id": str(client.id), "func": "set_context", "args": [{"k": 8}]}) == (200, DONE)
    assert client.lua("return conn:context_value('k')") == [8]
    status, answer = post(engine, "/v1/conn/call", {"c": client.id, "f": "nothing"})
    assert status == 200 and answer["E"]["c"] == 301


@pytest.mark.parametrize("path,body,codes", [
    ("/v1/conn/close", {}, []), ("/v1/conn/close", {"code": 4000, "reason": "kicked"}, [(4000, b"kicked")]),
    ("/v1/conn/close", {"code": 1000}, [(1000, b"")]), ("/v1/conn/call", {"f": "close", "a": []}, []),
    ("/v1/conn/call", {"f": "close", "a": [4000, "kicked"]}, [(4000, b"kicked")])])
def test_close(engine, path, body, codes):
    with Lab(engine.port) as client:
        assert post(engine, path, {"c": client.id, "code": 1005})[1]["E"]["c"] == 101
        assert post(engine, path, {"c": client.id, **body}) == (200, DONE)
        assert [(frame.code, frame.payload[2:]) for frame in client.end()[0]] == codes
        assert post(engine, path, {"c": client.id, **body})[1]["E"]["c"] == 301


def test_get_context(engine, client):
    client.lua("conn:set_context({ a = 1, big = ('x'):rep(100000) })")
    ask = {"c": client.id, "f": "get_context", "a": ["a"]}
    assert post(engine, "/v1/conn/call", ask) == (200, {"E": None, "r": {"s": True, "f": 0, "t": 1, "d": {"a": 1}}})
    # As many as 16 MiB may hold, however small they turn out to be.
    status, results = post(engine, "/v1/batch", [{"m": "conn.call", "p": ask}] * 129 + [{"m": "server.ping"}])
    assert status == 200 and [result["r"]["d"] for result in results[:128]] == [{"a": 1}] * 128
    assert results[128]["E"]["c"] == 301 and results[129]["E"] is None
    ask["a"] = ["big"]
    status, results = post(engine, "/v1/batch", [{"m": "conn.call", "p": ask}] * 128)
    assert status == 200 and [len(result["r"]["d"]["big"]) for result in results] == [100000] * 128


def test_contexts_that_nobody_reads_are_bounded(make_engine):
    """Together they may take 64 MiB; what is above that is refused, until those are read or gone."""
    engine = make_engine(ENTRY, server={"maxContext": "1 MiB"})
    with Lab(engine.port) as client:
        client.lua("conn:set_context_value('a', ('x'):rep(120000)) return 1")
        ask = [{"m": "conn.call", "p": {"c": client.id, "f": "get_context", "a": []}}] * 100
        request = whole("/v1/batch", ask).encode()
        unread = []
        for _ in range(8):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", engine.api_port))
            sock.sendall(request)
            wait_until(lambda: select.select([sock], [], [], 0)[0], 10, "an answer")
            unread.append(sock)

        def refused():
            return sum(one["E"] is not None for one in post(engine, "/v1/batch", ask)[1])
        assert refused() >= 88  # five of the eight have taken 500 of 512 places
        for sock in unread:
            sock.close()
        wait_until(lambda: refused() == 0, 10, "room again")


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
def test_content_type_is_not_looked_at(engine, client, kind):
    assert post(engine, "/v1/mesh/send", {"c": client.id, "d": kind}, {"Content-Type": kind}) == (200, DONE)
    assert client.text() == kind


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", ["", "{", "hello", "ping", "{'c':1}", '{"c":1,"c":2}', "\xff"])
def test_a_body_that_is_not_json(engine, path, body):
    status, answer = post(engine, path, body.encode("latin-1"))
    assert status == 400 and answer["E"]["c"] == 400 and answer["E"]["m"]


@pytest.mark.parametrize("path", PATHS[:3])
@pytest.mark.parametrize("body", [{}, {"c": 5}, {"d": "x"}, [], 5, None, "text", [1, 2]])
def test_params_that_are_incomplete(engine, path, body):
    status, answer = post(engine, path, json.dumps(body))
    assert status == 200 and answer["E"]["c"] == 101 and answer["E"]["m"]


def test_statuses(engine):
    assert post(engine, "/v1/nothing", {})[0] == 404
    for path in PATHS:
        status, headers, text = engine.http("GET", path)
        assert status == 405 and headers["Allow"] == "POST" and json.loads(text)["E"]["c"] == 405
        assert engine.http("PUT", path, "{}")[0] == 405
        assert engine.http("POST", path, "{}", port=engine.center_port)[0] == 404


# ---- a batch

def test_batch_in_order(engine, client):
    commands = [
        {"m": "conn.call", "p": {"c": client.id, "f": "subscribe", "a": ["batch"]}},
        {"m": "mesh.publish", "p": {"c": "batch", "d": "1"}},
        {"m": "mesh.send", "p": {"c": "1", "d": "nobody"}},
        {"m": "mesh.send", "p": {"c": client.id, "d": "2"}},
        {"method": "mesh.publish", "params": {"channel": "batch", "data": "3"}, "id": 9},
        {"m": "server.ping"},
        {"m": "queue.consume", "p": ["t"]}, {"m": "queue.unpop"}, {"m": "none"}, 5, {},
    ]
    status, results = post(engine, "/v1/batch", commands)
    published = {"E": None, "r": {"s": 1, "f": 0, "t": 1}}
    assert status == 200 and len(results) == len(commands)
    assert results[:2] == [DONE, published] and results[3:5] == [DONE, published]
    assert results[2]["E"]["c"] == 401
    assert results[5]["r"]["s"] == "server.pong" and "i" not in results[5]
    assert [result["E"]["c"] for result in results[6:]] == [101] * 5
    assert [client.text() for _ in range(3)] == ["1", "2", "3"]


def test_batch_sizes(engine, client):
    assert post(engine, "/v1/batch", []) == (200, [])
    commands = [{"m": "mesh.send", "p": {"c": client.id, "d": str(i)}} for i in range(1000)]
    assert post(engine, "/v1/batch", commands) == (200, [DONE] * 1000)
    assert [client.text() for _ in range(1000)] == [str(i) for i in range(1000)]
    status, answer = post(engine, "/v1/batch", commands + commands[:1])
    assert status == 413 and answer["E"]["c"] == 413
    assert client.lua("return 1") == [1], "none of a batch that is too long was carried out"
    assert post(engine, "/v1/batch", {})[0] == 400


# ---- silence

BUSY = "=local t = os.time() while os.time() < t + %d do end"


def test_a_worker_that_does_not_answer(make_engine):
    engine = make_engine(ENTRY, workers=2)
    stuck, free = on_two_workers(engine.port)
    for client in (stuck, free):
        client.lua("return conn:subscribe('c')")
    with spinning(stuck, engine):
        status, results = post(engine, "/v1/batch", [
            {"m": "mesh.send", "p": {"c": stuck.id, "d": "late"}},
            {"m": "conn.call", "p": {"c": stuck.id, "f": "subscribe", "a": ["d"]}},
            {"m": "mesh.publish", "p": {"c": "c", "d": "x"}},
            {"m": "mesh.send", "p": {"c": free.id, "d": "y"}}])
    assert status == 200
    assert results[0]["E"] == {"c": 401, "m": "the worker does not answer"}
    assert results[1]["E"] == {"c": 301, "m": "the worker does not answer"}
    assert results[2]["r"] == {"s": 1, "f": 1, "t": 2} and results[3] == DONE
    assert free.text() == "x" and free.text() == "y"
    stuck.drop()
    free.drop()


def test_a_connection_that_closes_with_commands_out(make_engine):
    engine = make_engine(ENTRY, workers=1)
    client = Lab(engine.port)
    client.send(BUSY % 2)
    for _ in range(20):
        with Raw(engine.api_port) as raw:
            raw.send(whole("/v1/mesh/send", {"c": client.id, "d": "x"}) + GET)
    for _ in range(20):
        with Raw(engine.api_port) as raw:
            raw.send(head("/v1/mesh/send", 100) + "half")
    engine.wait_metric("mixengine_api_sockets", 1, 20)
    engine.wait_metric("mixengine_api_commands_in_flight", 0, 20)
    assert post(engine, "/v1/mesh/send", {"c": client.id, "d": "on"}) == (200, DONE)
    client.drop()


# ---- connections

def test_many_on_one_connection(engine, client):
    connection = http.client.HTTPConnection("127.0.0.1", engine.api_port, timeout=seconds(10))
    sockets = set()
    for i in range(100):
        connection.request("POST", "/v1/mesh/send", json.dumps({"c": client.id, "d": str(i)}))
        sockets.add(connection.sock.getsockname())
        assert json.loads(connection.getresponse().read()) == DONE
        assert client.text() == str(i)
    assert len(sockets) == 1
    connection.close()


def test_refusals_keep_the_connection(engine, client):
    """Bodies of refused requests are read to their end, and only to there."""
    with Raw(engine.api_port) as raw:
        for _ in range(3):
            for text, status in [(whole("/v1/nothing", "x" * 100000), 404), (whole("/v1/mesh/send", "{"), 400),
                                 (head("/v1/batch", method="GET"), 405), (whole("/healthz", "GET / "), 405),
                                 (head("/v1/batch", 0), 400), (head("/v1/nothing", 0), 404),
                                 (whole("/v1/mesh/send", {"c": client.id, "d": "x"}), 200)]:
                raw.send(text)
                assert raw.status() == status
            assert client.text() == "x"


def test_one_byte_at_a_time(engine, client):
    with Raw(engine.api_port) as raw:
        for i in range(2):
            for octet in whole("/v1/mesh/send", {"c": client.id, "d": str(i)}):
                raw.send(octet)
            assert raw.answer()[2] == DONE and client.text() == str(i)


def test_requests_behind_a_body(engine, client):
    """What follows a body in the same packet waits for the answer, and is answered in turn."""
    with Raw(engine.api_port) as raw:
        for _ in range(20):
            raw.send(whole("/v1/mesh/send", {"c": client.id, "d": "x"}) + GET + GET)
            assert raw.answer()[2] == DONE
            assert [raw.status(), raw.status()] == [200, 200]
            assert client.text() == "x"


def test_requests_behind_a_body_that_waits(make_engine):
    engine = make_engine(ENTRY, workers=1)
    client = Lab(engine.port)
    client.send(BUSY % 2)
    with Raw(engine.api_port) as raw:
        raw.send(whole("/v1/mesh/send", {"c": client.id, "d": "x"}) + GET)
        raw.send(GET)
        assert raw.answer()[2]["E"] in (None, {"c": 401, "m": "the worker does not answer"})
        assert [raw.status(), raw.status()] == [200, 200]
    client.drop()


@pytest.mark.parametrize("first", [GET, whole("/v1/batch", []), whole("/v1/nothing", "body"), head("/v1/batch", 0)])
@pytest.mark.parametrize("port", ["api_port", "center_port"])
def test_a_body_behind_a_request(engine, client, first, port):
    """A body whose head came with the request before it is not taken: nothing of it is carried out."""
    evil = whole("/v1/mesh/send", {"c": client.id, "d": "evil"})
    outer = whole("/v1/mesh/send", evil)
    for second in (evil, outer, outer[:-40], head("/v1/nodes", len(evil), "GET") + evil):
        with Raw(getattr(engine, port)) as raw:
            raw.send(first + second)
            assert raw.status() is not None
            answer = raw.answer()
            assert answer is None or answer[0] == 503
            assert raw.ended()
    assert client.lua("return 1") == [1]


def test_a_body_behind_a_request_in_packets_of_their_own(engine, client):
    """Cut anywhere: each is carried out whole or answered with 503, and none is carried out without an answer."""
    text = GET + whole("/v1/mesh/send", {"c": client.id, "d": "x"})
    for cut in range(1, len(text), 7):
        with Raw(engine.api_port) as raw:
            raw.send(text[:cut])
            time.sleep(0.002)
            raw.send(text[cut:])
            assert raw.status() == 200
            answer = raw.answer()
            if answer and answer[0] == 200:
                assert answer[2] == DONE and client.text() == "x"
            else:
                assert answer is None or answer[0] == 503
    assert client.lua("return 1") == [1]


def test_half_closed(engine, client):
    """The end of what a peer sends is not taken for bytes that were read."""
    for _ in range(20):
        with Raw(engine.api_port) as raw:
            raw.send(GET + whole("/v1/mesh/send", {"c": client.id, "d": "evil"}))
            raw.socket.shutdown(socket.SHUT_WR)
            while raw.answer():
                pass
    assert client.lua("return 1") == [1]


def test_urgent_data_behind_a_body(engine, client):
    """It is data as any other, and does not hide what has not been read."""
    evil = whole("/v1/mesh/send", {"c": client.id, "d": "evil"})
    for _ in range(times(500)):
        with Raw(engine.api_port) as raw:
            try:
                raw.socket.send((GET + evil + "!").encode(), socket.MSG_OOB)
                for _ in range(8):
                    raw.send("more")
            except OSError:
                pass  # it has hung up already
            while answer := raw.answer():
                assert answer[2] != DONE
    assert client.lua("return 1") == [1]


# ---- what is refused at the head

def test_connect(engine):
    """The engine is no proxy."""
    with Raw(engine.api_port) as raw:
        raw.send("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.ended()


@pytest.mark.parametrize("path", ["/v1/mesh/send", "/v1/nodes", "/nothing"])
@pytest.mark.parametrize("lines,status", [
    ("", 411), ("Transfer-Encoding: chunked", 411), ("transfer-encoding:gzip", 411),
    ("Content-Length: 9\r\nTransfer-Encoding: chunked", 400), ("Transfer-Encoding: chunked\r\nContent-Length: 9", 400),
    ("Content-Length: 5\r\nContent-Length: 6", 400), ("Content-Length: 5\r\nContent-Length: 5", 400),
    ("Content-Length: 5, 5", 400), ("Content-Length: +5", 400), ("Content-Length: -1", 400),
    ("Content-Length: 0x5", 400), ("Content-Length: 5 5", 400), ("Content-Length: 99999999999999999999999999", 400),
    ("Content-Length: 99999999999999999999", 413), ("Content-Length: 4194305", 413),
    ("Content-Length: 5\r\nExpect: 100-continue", 417)])
def test_heads_that_are_refused(engine, path, lines, status):
    """And the connection ends, so that what follows is not taken for a request."""
    with Raw(engine.api_port) as raw:
        raw.send(f"POST {path} HTTP/1.1\r\nHost: x\r\n{lines}{lines and chr(13) + chr(10)}\r\n")
        answer = raw.answer()
        assert answer[0] == status and answer[2]["E"]["c"] == status
        assert raw.ended()


def test_the_largest_body(engine, client):
    text = json.dumps({"c": client.id, "d": "x" * 1000, "more": ""})
    text = text[:-2] + "y" * (4 * MIB - len(text)) + text[-2:]
    with Raw(engine.api_port) as raw:
        raw.send(whole("/v1/mesh/send", text))
        assert raw.answer()[2] == DONE and client.text() == "x" * 1000
        raw.send(head("/v1/mesh/send", 4 * MIB + 1))
        assert raw.status() == 413 and raw.ended()


def try_to_send(raw, data):
    try:
        raw.send(data)
    except OSError:
        pass  # it has been refused already


def test_bodies_are_bounded_together(engine):
    """64 MiB of them are kept; who sends more is refused, and there is room again when they are answered."""
    raws = [Raw(engine.api_port) for _ in range(20)]
    for raw in raws:
        try_to_send(raw, head("/v1/batch", 4 * MIB).encode() + b" " * (4 * MIB - 1))

    def refused():
        return select.select([raw.socket for raw in raws], [], [], 0)[0]
    wait_until(lambda: len(refused()) >= 4, 20, "no more than 16 at once")
    gone = refused()
    for raw in raws:
        if raw.socket not in gone:
            try_to_send(raw, "]")
    statuses = [raw.status() for raw in raws]
    assert 0 < statuses.count(400) <= 16 and {400} < set(statuses) <= {400, 503, None}, statuses
    for raw in raws:
        raw.__exit__()
    assert post(engine, "/v1/batch", " " * MIB + "[]") == (200, [])


# ---- access

READER = ("reader", "r", ["read"])
WRITER = ("writer", "w", ["write"])


@pytest.fixture(scope="module")
def guarded(make_shared):
    users = [{"username": name, "password": word, "roles": roles, "host": "*"} for name, word, roles in (READER, WRITER)]
    return make_shared(ENTRY, users=users)


@pytest.mark.parametrize("who,status", [(None, 401), (("writer", "no"), 401), (READER, 403), (WRITER, 200)])
@pytest.mark.parametrize("path", PATHS)
def test_commands_need_the_role(guarded, path, who, status):
    authorization = base64.b64encode(f"{who[0]}:{who[1]}".encode()).decode() if who else None
    headers = {"Authorization": "Basic " + authorization} if who else {}
    got, answer = post(guarded, path, [], headers)
    assert got == status
    if status != 200:
        assert answer["E"]["c"] == status


def test_health_needs_none(guarded):
    for port in (guarded.api_port, guarded.center_port):
        assert guarded.http("GET", "/v1/nodes", port=port)[0] == 401
        for path in ("/healthz", "/readyz"):
            status, _, body = guarded.http("GET", path, port=port)
            assert (status, body) == (200, b"ok\n")


# ---- the rest

def test_nodes_on_both_ports(engine):
    answers = [json.loads(engine.http("GET", "/v1/nodes", port=port)[2])
               for port in (engine.api_port, engine.center_port)]
    assert answers[0] == answers[1]
    assert answers[0]["nodes"][0]["api_server"] == f"127.0.0.1:{engine.api_port}"


@pytest.mark.parametrize("path", ["/v1/nodes", "/metrics", "/healthz", "/readyz"])
def test_head(engine, path):
    with Raw(engine.api_port) as raw:
        raw.send(head(path, method="HEAD"))
        line, headers = raw.file.readline(), http.client.parse_headers(raw.file)
        assert line.split()[1] == b"200" and int(headers["Content-Length"]) > 0
        raw.send(head(path, method="GET"))
        assert raw.status() == 200, "no body came before it"


@pytest.mark.parametrize("path", ["/v1/nodes", "/metrics", "/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods(engine, path, method):
    status, headers, body = engine.http(method, path, "")
    assert status == 405 and headers["Allow"] == "GET, HEAD" and json.loads(body)["E"]["c"] == 405


def test_ready_means_that_workers_answer(make_engine):
    engine = make_engine(ENTRY, workers=2)
    stuck, free = on_two_workers(engine.port)
    with Raw(engine.api_port) as raw, Raw(engine.center_port) as center:
        with spinning(stuck, engine):
            for connection in (raw, center):
                connection.send(head("/readyz", method="GET") + head("/healthz", method="GET"))
            for connection in (raw, center):
                assert connection.answer()[::2] == (503, "a worker does not answer\n")
                assert connection.answer()[::2] == (200, "ok\n")
        wait_until(lambda: engine.http("GET", "/readyz")[0] == 200, 20, "readiness")
    stuck.drop()
    free.drop()


def test_ready_to_one_that_sends_on(engine):
    """What comes meanwhile waits its turn; who leaves meanwhile is not missed."""
    ask = head("/readyz", method="GET")
    with Raw(engine.api_port) as raw:
        for _ in range(20):
            raw.send(ask + ask + GET)
            raw.send(ask)
            assert [raw.status() for _ in range(4)] == [200] * 4
        raw.send(head("/readyz", 2, method="GET") + "{}")
        assert raw.status() == 200
    for _ in range(20):
        with Raw(engine.api_port) as raw:
            raw.send(ask)
    engine.wait_metric("mixengine_api_sockets", 1, 20)


def test_draining(make_engine):
    """A connection that was open before sees it, while a consumer holds it up; commands are carried out."""
    engine = make_engine(ENTRY, options={"topics": "t:5000"}, queue={"stallTimeout": 8})
    with Raw(engine.api_port) as raw, Raw(engine.center_port) as center, Api(engine.api_port, "A") as consumer:
        for connection in (raw, center):
            connection.send(head("/readyz", method="GET"))
            assert connection.status() == 200
        with Lab(engine.port) as client:
            client.lua("for _ = 1, 5000 do mix.queue.push('t', string.rep('x', 2000)) end")
        consumer.send(json.dumps({"method": "queue.consume", "params": ["t"], "id": 0}))
        wait_until(lambda: engine.metric("mixengine_topic_depth") < 5000, 10, "events on their way")
        engine.process.terminate()

        def ready(connection):
            connection.send(head("/readyz", method="GET"))
            return connection.status()
        wait_until(lambda: ready(raw) == 503, 10, "503")
        assert ready(center) == 503
        raw.send(head("/healthz", method="GET"))
        assert raw.status() == 200
        raw.send(whole("/v1/batch", [{"m": "server.ping"}]))
        assert raw.status() == 200
