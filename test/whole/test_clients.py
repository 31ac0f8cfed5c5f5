"""What the published clients do, octet by octet: Guzzle at the center, Pawl and Textalk at the engine."""

import base64
import hashlib
import http.client
import json
import re
import socket

import pytest

import wsclient
from consumer import Api, Consumer, request
from harness import seconds, wait_until
from lab import ENTRY, Lab

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@pytest.fixture(scope="module")
def engine(make_shared):
    return make_shared(ENTRY)


@pytest.fixture
def client(engine):
    with Lab(engine.port) as connection:
        yield connection


# ---- the center

def test_guzzle_reads_the_center_again_and_again(engine):
    """Two GETs on one connection; the list is a list, and an entry has what each generation reads."""
    connection = http.client.HTTPConnection(engine.center, timeout=seconds(10))
    connection.connect()
    first = connection.sock
    for _ in range(3):
        answers = []
        for path in ("/version", "/v1/nodes"):
            connection.request("GET", path, headers={"User-Agent": "GuzzleHttp/7", "Connection": "keep-alive"})
            answer = connection.getresponse()
            assert answer.status == 200
            answers.append(json.loads(answer.read()))
        assert answers[0]["apis"][0] == "v1" and answers[0]["api"][0] == "v1"
        (node,) = answers[1]["nodes"]
        assert node["api_server"] == node["host"] == f"{node['ip']}:{node['port']}"
        assert int(node["id"]) < 2 ** 53
    assert connection.sock is first
    connection.close()


def test_the_center_names_an_address_that_the_asker_reaches(make_engine):
    """A wildcard tells nobody where to go: the address on which the request came in does."""
    engine = make_engine(ENTRY, api={"bind": "0.0.0.0"}, center={"bind": "0.0.0.0"})
    for host in ("127.0.0.1", "127.0.0.2"):
        for port in (engine.center_port, engine.api_port):
            connection = http.client.HTTPConnection(host, port, timeout=seconds(10))
            connection.request("GET", "/v1/nodes")
            node = json.loads(connection.getresponse().read())["nodes"][0]
            connection.close()
            assert (node["ip"], node["api_server"]) == (host, f"{host}:{engine.api_port}")
            socket.create_connection((node["ip"], node["port"]), seconds(10)).close()


def test_the_center_names_what_is_advertised(make_engine):
    engine = make_engine(ENTRY, api={"bind": "0.0.0.0", "advertise": "192.0.2.7:7000"})
    node = json.loads(engine.http("GET", "/v1/nodes", port=engine.center_port)[2])["nodes"][0]
    assert (node["api_server"], node["ip"], node["port"]) == ("192.0.2.7:7000", "192.0.2.7", 7000)


# ---- the upgrade

def answer_of(client, lines):
    client.raw(("\r\n".join(lines) + "\r\n\r\n").encode())
    client.answer = client.http()
    return client.answer


def accept_of(key):
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def test_pawl_upgrades(engine):
    """Its check: 101, one Upgrade, Connection alone, one Accept, no subprotocol, no extension; its key has odd text."""
    key = base64.b64encode(b"ABC+/=abcdef1234").decode()
    with wsclient.Client(engine.api_port) as client:
        answer = answer_of(client, [
            "GET /ws/v1 HTTP/1.1", f"Host: 127.0.0.1:{engine.api_port}", "User-Agent: Ratchet-Pawl/0.4.1",
            "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}",
            "Origin: http://127.0.0.1"])
        names = [line.split(":")[0].lower() for line in answer.raw.decode().split("\r\n")[1:]]
        assert answer.status == 101 and len(names) == len(set(names))
        assert answer.headers["upgrade"].lower() == "websocket" and answer.headers["connection"].lower() == "upgrade"
        assert answer.headers["sec-websocket-accept"] == accept_of(key)
        assert not {"sec-websocket-protocol", "sec-websocket-extensions"} & set(names)


def test_textalk_upgrades(engine):
    """It looks for one line with a space after the colon, and takes what follows for the first frame."""
    key = base64.b64encode(b"0123456789abcdef").decode()
    with wsclient.Client(engine.api_port) as client:
        answer = answer_of(client, [
            "GET /ws/v1 HTTP/1.1", f"Host: 127.0.0.1:{engine.api_port}", "User-Agent: websocket-client-php",
            "Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"])
        found = re.search(r"(?im)Sec-WebSocket-Accept:\s(.*?)$", answer.raw.decode())
        assert found.group(1).strip() == accept_of(key)
        assert not client.buffer, "nothing comes that was not asked for"


# ---- requests and replies

def test_ids_go_on_over_a_reconnect(engine):
    number = 0
    for _ in range(3):
        with Api(engine.api_port, "B") as api:
            for _ in range(3):
                api.send(json.dumps(request("B", "server.ping", [], number)))
                assert json.loads(api.text())["i"] == number
                number += 1


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 8192, 100000])
def test_textalk_sends_fragments_of_4096(engine, client, size):
    """And asks for nothing before it has read the reply, which it knows by its place alone."""
    with Api(engine.api_port, "B") as api:
        for data in ("a" * size, "b"):
            text = json.dumps(request("B", "mesh.send", {"c": client.id, "d": data}, 1))
            parts = [text[i:i + 4096] for i in range(0, len(text), 4096)]
            for i, part in enumerate(parts):
                api.frame(0 if i else 1, part, fin=i == len(parts) - 1)
            assert json.loads(api.text()) == {"E": None, "r": {"s": True, "f": 0, "t": 1}, "i": 1}
            assert client.text() == data


def test_the_sync_client_publishes_with_mesh_send(engine, client):
    """The last one puts the channel where the client id stands: it names nobody."""
    with Api(engine.api_port, "B") as api:
        assert api.func(client.id, "subscribe", "room").error is None
        assert api.call("mesh.send", {"c": "room", "d": "x"}).code == 401
        api.ping(b"one reply")
    client.ping(b"nothing came")


def test_an_empty_text_frame(engine):
    """What became of text that the client could not encode."""
    with Api(engine.api_port, "B") as api:
        api.call("server.ping", [])
        api.send("")
        assert json.loads(api.text())["E"]["c"] == 101
        assert api.call("server.ping", []).error is None


def test_results_and_errors_are_objects_or_null(engine, client):
    """A string in place of either crashes the client."""
    for spelling, error, result in (("A", "error", "result"), ("B", "E", "r")):
        with Api(engine.api_port, spelling) as api:
            for method, params in (("server.ping", []), ("queue.consume", ["some"]), ("queue.consume", []),
                                   ("mesh.publish", {"channel": "c", "data": "d"}), ("nothing", 5),
                                   ("conn.call", {"client_id": client.id, "func": "get_context", "args": []})):
                raw = api.call(method, params).raw
                assert raw[error] is None or isinstance(raw[error], dict)
                assert (raw[error] is None) == isinstance(raw.get(result), dict)


def test_nothing_unasked_comes_to_who_does_not_consume(engine, client):
    with Api(engine.api_port, "B") as api, Consumer(engine.api_port, topics=["shared"]) as consumer:
        api.call("server.ping", [])
        client.send("@shared x")
        consumer.wait_events(1)
        api.ping(b"no event")


def test_a_consumer_that_answers_no_ping_is_kept(make_engine):
    """The API's readTimeout is for HTTP and the handshake, not for what has been upgraded."""
    engine = make_engine(ENTRY, api={"readTimeout": 1}, center={"readTimeout": 1})
    with Api(engine.api_port, "B") as idle, wsclient.Client(engine.api_port) as half:
        half.raw(b"GET /ws/v1 HTTP/1.1\r\n")
        assert half.sock.recv(100) == b"", "the handshake's time is over"
        assert idle.call("server.ping", []).error is None


# ---- consuming

def test_consuming_what_does_not_exist_yet_waits(engine, client):
    with Api(engine.api_port, "B") as api:
        assert api.call("queue.pop", {"t": ["later"]}).error is None
        client.send("@later x")
        event = api.message()
        assert event.raw["p"]["t"] == "later" and event.raw["p"]["c"].isdigit() and int(event.raw["p"]["c"]) < 2 ** 63


def test_they_reconnect_after_any_close_and_consume_again(engine, client):
    for code in (1000, 1001, None):
        api = Api(engine.api_port, "B")
        assert api.call("queue.pop", ["again"]).error is None
        client.send("@again x")
        assert api.message().data == {"text": "x"}
        api.close(code) if code else api.reset()


def test_cannot_consume(make_engine):
    """201: there is no room for another topic; those that are there can be consumed."""
    engine = make_engine(ENTRY, options={"topics": "t:3"}, queue={"maxTopics": 2})
    for spelling, method in (("A", "queue.consume"), ("B", "queue.pop")):
        with Api(engine.api_port, spelling) as api:
            assert api.call(method, ["t", "second"]).error is None
            reply = api.call(method, ["third"])
            assert reply.code == 201 and "maxTopics" in reply.error["message"]


def test_a_method_spelled_by_the_other_generation(engine, client):
    """Names go by the method, keys of the event by the envelope."""
    with Api(engine.api_port, "B") as api:
        assert api.call("queue.consume", ["named"]).error is None
        client.send("@named x")
        assert wait_until(lambda: api.message().raw, 10, "an event")["e"] == "queue.consume"
