"""Rates of a connection, limits of an address, and floods of connections past the ceiling of descriptors."""

import socket
import time

import pytest

import kinds
from abuse import FILES, LINES, limited
from harness import SLOW, seconds, times, wait_until, yaml
from wsclient import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Client, Closed, assert_turned_away, connect, frame

APP = """
local app = {}
function app.connected(conn) end
function app.opened(conn, headers) end
function app.message(conn, msg)
    if msg.data == "sleep" then mix.sleep(600) end
    app.send(conn, msg.data, msg.type)
end
function app.closed(conn, err)
    local file = io.open("closed", "a")
    file:write(tostring(err), "\\n")
    file:close()
end
return app
"""

every_kind = pytest.mark.parametrize("kind", kinds.KINDS)


def start(make_engine, limits, kind="websocket", server=None, **more):
    return kinds.make(make_engine, kind, APP, server={"limits": limits, **(server or {})}, **more)


def limit_closes(engine):
    return sum(value for name, value in engine.metrics().items()
               if name.startswith("mixengine_closes_total{") and 'reason="limit"' in name)


def refused(engine, limit):
    return sum(value for name, value in engine.metrics().items()
               if name.startswith("mixengine_refused_total{") and f'limit="{limit}"' in name)


def assert_flooded(engine, client, reason):
    """It is told why, once the frames before are out; the script hears the same, and the log names the address."""
    frames, closed = client.end()
    assert (frames[-1].opcode, frames[-1].code, frames[-1].payload[2:].decode()) == (CLOSE, 1008, reason)
    assert not closed.reset
    engine.wait_metric("mixengine_connections", 0)
    assert (engine.folder / "closed").read_text() == reason + "\n"
    assert limit_closes(engine) == 1
    host, port = client.sock.getsockname()
    assert engine.logged_once(f"({host}:{port}): {reason}")
    return frames[:-1]


# ---- rates of a connection

@every_kind
def test_messages(make_engine, kind):
    engine = start(make_engine, {"messagesPerSecond": 1, "burst": 50}, kind)
    with connect(engine.port) as client:
        for i in range(50):
            assert client.ask(f"{i}") == f"{i}"
        client.raw(frame(TEXT, "x") * times(10000))
        assert len(assert_flooded(engine, client, "too many messages")) < 50
    with connect(engine.port) as client:
        assert client.ask("others are served") == "others are served"


@every_kind
@pytest.mark.parametrize("flood", [
    frame(TEXT, "", fin=False) + frame(CONTINUATION, "", fin=False) * 500,
    frame(BINARY, "a", fin=False) + frame(CONTINUATION, "b", fin=False) * 500,
    frame(PING, "") * 500, frame(PING, "x" * 125) * 500, frame(PONG, "") * 500, frame(TEXT, "") * 500,
], ids=["empty fragments", "fragments", "pings", "long pings", "pongs", "empty messages"])
def test_what_counts_as_a_message(make_engine, kind, flood):
    """Frames do, of whatever kind."""
    engine = start(make_engine, {"messagesPerSecond": 2, "burst": 60}, kind)
    with connect(engine.port) as client:
        client.raw(flood)
        assert_flooded(engine, client, "too many messages")


@every_kind
def test_bytes(make_engine, kind):
    engine = start(make_engine, {"bytesPerSecond": 1000, "burst": 60}, kind)
    with connect(engine.port) as client:
        for _ in range(5):
            assert client.ask("x" * 10000) == "x" * 10000
        client.send("y" * 100000)
        assert assert_flooded(engine, client, "too many bytes") == []


@every_kind
def test_bytes_while_a_handler_waits(make_engine, kind):
    engine = start(make_engine, {"bytesPerSecond": 1000, "burst": 10}, kind)
    with connect(engine.port) as client:
        client.send("sleep")
        for _ in range(5):
            client.send("x" * 2500)
        assert_flooded(engine, client, "too many bytes")


def test_bytes_before_the_handshake(make_engine):
    engine = start(make_engine, {"bytesPerSecond": 100, "burst": 1})
    with Client(engine.port, first=b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50) as client:
        assert client.rest() == b""
    wait_until(lambda: limit_closes(engine) == 1)


def test_packets_of_a_script(make_engine):
    """Raw TCP is closed without a word."""
    engine = make_engine(LINES, server={"limits": {"messagesPerSecond": 1, "burst": 50}})
    with Client(engine.port) as client:
        for i in range(50):
            client.raw(b"%d\n" % i)
            assert client.line() == b"%d" % i
        client.raw(b"x\n" * times(5000))
        assert client.rest().count(b"x\n") < 50
    wait_until(lambda: limit_closes(engine) == 1)


def test_bytes_without_a_packet(make_engine):
    engine = make_engine(LINES, server={"limits": {"bytesPerSecond": 1000, "burst": 10}})
    with Client(engine.port) as client:
        client.raw(b"x" * 20000)
        assert client.rest() == b""
    wait_until(lambda: limit_closes(engine) == 1)


def test_who_does_not_heed_the_end(make_engine):
    """It is read only a little further: its flood does not go on at the engine's cost."""
    engine = start(make_engine, {"messagesPerSecond": 1, "burst": 5})
    with connect(engine.port) as client, pytest.raises(Closed):
        while True:
            client.raw(frame(PING, "x" * 125) * 1000)
    engine.wait_metric("mixengine_connections", 0)
    assert engine.metric("mixengine_read_bytes_total") < 5 << 20


def test_a_flood_is_logged_once(make_engine):
    engine = start(make_engine, {"messagesPerSecond": 1, "burst": 5}, workers=1)
    for _ in range(20):
        with connect(engine.port) as client:
            client.raw(frame(TEXT, "x") * 50)
            client.end()
    wait_until(lambda: limit_closes(engine) == 20)
    assert engine.logged_once("too many messages")


@every_kind
def test_over_limit_wait(make_engine, kind):
    """Nobody is closed, nothing is lost or reordered, and no more is served than the rate says; nor is it silence."""
    engine = start(make_engine, {"messagesPerSecond": 20, "burst": 1, "overLimit": "wait"}, kind,
                   server={"readTimeout": round(seconds(2)), "pingInterval": round(seconds(2))})
    with connect(engine.port) as client:
        since = time.monotonic()
        client.raw(b"".join(frame(TEXT, f"{i}") for i in range(80)))
        got = [client.text() for _ in range(80)]
        assert got == [f"{i}" for i in range(80)]
        assert client.ask("last") == "last"
        assert time.monotonic() - since > 2.9  # 81 messages, of which 20 come at once
    assert limit_closes(engine) == 0


def test_over_limit_wait_for_bytes(make_engine):
    engine = start(make_engine, {"bytesPerSecond": "100 KiB", "burst": 1, "overLimit": "wait"})
    with connect(engine.port) as client:
        since = time.monotonic()
        for i in range(4):
            client.send(f"{i}" * 80000)
        for i in range(4):
            assert client.text() == f"{i}" * 80000
        assert time.monotonic() - since > 1.8  # 320,000 bytes, of which 102,400 come at once, and 16 KiB in a read
        client.send("sleep")  # who is held and rests may still be closed
        client.send("x" * 20000)  # what fits the kernel's buffers, so that the end behind it is there to be seen
    engine.wait_metric("mixengine_connections", 0)


def test_exempt_from_rates(make_engine):
    engine = start(make_engine, {"messagesPerSecond": 1, "bytesPerSecond": 1000, "burst": 1, "exempt": ["127.0.1.0/24"]})
    with connect(engine.port, source="127.0.1.9") as client:
        for i in range(200):
            assert client.ask("x" * 1000) == "x" * 1000
    with connect(engine.port, source="127.0.2.9") as client:
        client.send("x" * 1000)
        assert client.end()[0][-1].code == 1008


def test_rates_are_reloaded_for_new_connections(make_engine):
    engine = start(make_engine, {"messagesPerSecond": 0})
    with connect(engine.port) as before:
        reload(engine, {"messagesPerSecond": 1, "burst": 5})
        for _ in range(100):
            before.ask("x")
        with connect(engine.port) as client:
            client.raw(frame(TEXT, "x") * 100)
            assert client.end()[0][-1].code == 1008


def reload(engine, limits):
    engine.config["engine"]["servers"][0]["limits"] = limits
    done = engine.log().count("loaded again")
    engine.config_path.write_text(yaml(engine.config))
    wait_until(lambda: engine.log().count("loaded again") > done, what="a reload")


# ---- limits of an address

def served(engine, source, headers=(), first=b""):
    """A client that the engine serves; None when it has closed the connection, or the answer that refuses it."""
    try:
        client = Client(engine.port, source=source, first=first)
    except OSError:
        return None
    try:
        client.handshake(headers=headers, check=False)
    except Closed:
        client.drop()
        return None
    return client if client.answer.status == 101 else client.answer


def test_connects_per_second(make_engine):
    """Who comes too often is closed, whoever else comes is served; what was refused does not count."""
    engine = start(make_engine, {"connectsPerSecond": 1, "burst": 30})
    since = time.monotonic()
    for _ in range(30):
        served(engine, "127.0.0.5").reset()
    answers = [served(engine, "127.0.0.5") for _ in range(50)]
    let_in = [client for client in answers if client]
    assert len(let_in) <= 2 + time.monotonic() - since
    assert served(engine, "127.0.0.6").ask("x") == "x"
    assert refused(engine, "connectsPerSecond") == 50 - len(let_in)
    assert engine.logged_once("servers[0] refused a connection from 127.0.0.5: it connects more often")


@pytest.mark.parametrize("workers", [1, 4])
def test_connections_per_address(make_engine, workers):
    """Exact over all workers."""
    engine = start(make_engine, {"connectionsPerAddress": 5}, workers=workers)
    clients = [client for client in (served(engine, "127.0.0.5") for _ in range(20)) if client]
    assert len(clients) == 5
    assert refused(engine, "connectionsPerAddress") == 15
    assert_turned_away(engine.port, source="127.0.0.5")
    assert engine.logged_once("servers[0] refused a connection from 127.0.0.5: it has as many open")
    assert [served(engine, "127.0.0.6").ask("x") for _ in range(5)] == ["x"] * 5
    for leave in Client.close, Client.reset, Client.drop:
        leave(clients.pop())
        clients.append(wait_until(lambda: served(engine, "127.0.0.5"), what="room for one more"))
        assert served(engine, "127.0.0.5") is None
    for client in clients:
        assert client.ask("x") == "x"
        client.drop()
    engine.wait_metric("mixengine_addresses", 0)


def test_limits_by_address_are_reloaded_at_once(make_engine):
    engine = start(make_engine, {"connectionsPerAddress": 2})
    first = [served(engine, "127.0.0.5") for _ in range(2)]
    assert served(engine, "127.0.0.5") is None
    reload(engine, {"connectionsPerAddress": 3})
    third = served(engine, "127.0.0.5")
    assert served(engine, "127.0.0.5") is None
    reload(engine, {"connectionsPerAddress": 3, "exempt": ["127.0.0.0/8"]})
    fourth = served(engine, "127.0.0.5")
    for client in [*first, third, fourth]:
        assert client.ask("x") == "x"
        client.drop()
    engine.wait_metric("mixengine_addresses", 0)


def test_a_rate_that_is_taken_away_is_forgotten(make_engine):
    """With the addresses that it was remembered of, connected or not."""
    engine = start(make_engine, {"connectsPerSecond": 1, "burst": 3600})
    stays = served(engine, "127.0.0.6")
    served(engine, "127.0.0.5").drop()
    engine.wait_metric("mixengine_connections", 1)
    engine.wait_metric("mixengine_addresses", 2)
    reload(engine, {})
    engine.wait_metric("mixengine_addresses", 1)
    stays.drop()
    engine.wait_metric("mixengine_addresses", 0)


@every_kind
def test_behind_a_proxy_that_names_its_clients(make_engine, kind):
    """It is the client that is counted, not the proxy; there is a request to answer."""
    engine = start(make_engine, {"connectionsPerAddress": 2, "messagesPerSecond": 1, "burst": 5, "exempt": ["198.51.100.0/24"]},
                   kind, server={"trustedProxies": ["127.0.0.1"]})

    def client_of(address):
        return served(engine, "127.0.0.1", [f"X-Forwarded-For: {address}"])
    clients = [client_of("203.0.113.7"), client_of("203.0.113.7, 127.0.0.1")]
    answer = client_of("203.0.113.7")
    assert (answer.status, answer.reason, answer.headers["retry-after"]) == (429, "Too Many Requests", "1")
    assert client_of("[2001:db8::1]").ask("x") == "x"
    assert served(engine, "127.0.0.2", ["X-Forwarded-For: 203.0.113.7"]).ask("x") == "x"  # not believed
    for _ in range(5):
        exempt = client_of("198.51.100.1")
        for _ in range(20):
            assert exempt.ask("x") == "x"
    clients.pop().close()
    wait_until(lambda: isinstance(client_of("203.0.113.7"), Client), what="room for one more")
    assert refused(engine, "connectionsPerAddress") >= 1


def test_behind_a_proxy_that_sends_a_header(make_engine):
    engine = start(make_engine, {"connectionsPerAddress": 2}, server={"proxyProtocol": True, "trustedProxies": ["127.0.0.1"]})

    def client_of(address):
        return served(engine, "127.0.0.1", first=b"PROXY TCP4 %s 198.51.100.2 56324 443\r\n" % address)
    clients = [client_of(b"203.0.113.7") for _ in range(2)]
    assert client_of(b"203.0.113.7") is None
    assert_turned_away(engine.port, first=b"PROXY TCP4 203.0.113.7 198.51.100.2 56324 443\r\n")
    assert client_of(b"203.0.113.8").ask("x") == "x"
    waiting = [Client(engine.port) for _ in range(5)]  # whose address is not known yet
    clients.pop().close()
    wait_until(lambda: client_of(b"203.0.113.7"), what="room for one more")
    for client in waiting:
        client.drop()
    engine.wait_output("refused a connection from 203.0.113.7: it has as many open")


def test_addresses_of_a_drain(make_engine):
    """A stop ends well whatever is counted."""
    engine = start(make_engine, {"connectionsPerAddress": 20, "connectsPerSecond": 50}, workers=2)
    clients = [served(engine, f"127.0.0.{5 + i % 3}") for i in range(30)]
    engine.stop()
    for client in clients:
        client.drop()


# ---- floods of connections

def test_past_the_ceiling(make_engine):
    """Who is there is served, who comes waits; scripts and the API have their descriptors; it costs nothing."""
    engine = limited(make_engine(LINES + FILES, start=False), 300)
    flood = [socket.socket() for _ in range(times(2000))]
    for sock in flood:
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", engine.port))
    engine.wait_output("no new connections for now")
    before = engine.cpu()
    time.sleep(2)
    used = engine.cpu() - before
    assert used < (1 if SLOW else 0.4), f"{used} s of CPU in 2 s"
    there = int(engine.metric("mixengine_connections"))
    assert 100 < there < 250
    for sock in flood[:20]:
        sock.setblocking(True)
        sock.settimeout(seconds(10))
        sock.sendall(b"x\n")
        assert sock.recv(10) == b"16\n"
    for sock in flood[:20]:
        sock.close()
    late = flood[there + 10]
    late.setblocking(True)
    late.settimeout(seconds(10))
    late.sendall(b"x\n")
    assert late.recv(10) == b"16\n"
    for sock in flood:
        sock.close()
    engine.wait_metric("mixengine_connections", 0, 30)
    assert engine.logged_once("no new connections")
    with Client(engine.port) as client:
        client.raw(b"x\n")
        assert client.line() == b"16"


def test_the_api_past_its_ceiling(make_engine):
    """Its sockets do not take those of clients."""
    engine = limited(make_engine(LINES + FILES, start=False), 300)
    flood = []
    for _ in range(300):
        try:
            flood.append(socket.create_connection(("127.0.0.1", engine.api_port), 5))
        except OSError:
            break
    engine.wait_output("refused .* connections so far")
    clients = [Client(engine.port) for _ in range(100)]
    for client in clients:
        client.raw(b"x\n")
        assert client.line() == b"16"
        client.drop()
    for sock in flood:
        sock.close()

    def answers():
        try:
            return engine.http("GET", "/healthz")[0] == 200
        except OSError:
            return False
    wait_until(answers, what="the API")


def test_no_descriptor_is_left(make_engine):
    """Neither the servers nor the APIs spin on what they cannot accept."""
    engine = make_engine(LINES + """
        function on_message(line, conn)
            if line == "take\\n" then
                files = {}
                while true do
                    local file = io.open("/dev/null")
                    if not file then break end
                    files[#files + 1] = file
                end
            else
                for _, file in ipairs(files or {}) do file:close() end
                files = nil
            end
            conn:send(line)
        end""", workers=1, start=False)
    limited(engine, 200)
    with Client(engine.port) as client:
        client.raw(b"take\n")
        assert client.line() == b"take"
        waiting = [Client(port) for port in (engine.port, engine.api_port, engine.center_port) for _ in range(20)]
        for port in engine.port, engine.api_port, engine.center_port:
            engine.wait_output(f"no new connections on 127.0.0.1:{port} for now")
        before = engine.cpu()
        time.sleep(1)
        used = engine.cpu() - before
        assert used < (0.5 if SLOW else 0.3), f"{used} s of CPU in 1 s"
        for port in engine.port, engine.api_port, engine.center_port:
            assert engine.logged_once(f"no new connections on 127.0.0.1:{port}")
        client.raw(b"give\n")
        assert client.line() == b"give"
    for client in waiting:
        client.raw(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.line()
        client.drop()


@pytest.mark.timeout(seconds(120))
@pytest.mark.parametrize("limits", [{}, {"connectsPerSecond": 1000000, "connectionsPerAddress": 1000, "messagesPerSecond": 1000}],
                         ids=["no limits", "limits"])
def test_floods_return_to_the_baseline(make_engine, limits):
    """Connects that leave at once, in sequence, and thousands that say nothing until handshakeTimeout."""
    engine = start(make_engine, limits, server={"handshakeTimeout": 1})
    with connect(engine.port) as client:
        client.ask("x")
    engine.wait_metric("mixengine_connections", 0)
    baseline = len(engine.descriptors())
    for i in range(times(50000)):
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.bind((f"127.0.0.{2 + i % 100}", 0))
        sock.connect(("127.0.0.1", engine.port))
        sock.close()
    silent = [Client(engine.port, source=f"127.0.1.{1 + i % 200}") for i in range(times(5000))]
    for client in silent:
        assert b"408 Request Timeout" in client.rest()
        client.drop()
    with connect(engine.port) as client:
        assert client.ask("x") == "x"
    engine.wait_metric("mixengine_connections", 0, 30)
    wait_until(lambda: len(engine.descriptors()) <= baseline + 2, what="the descriptors")
    assert engine.metric("mixengine_addresses") <= 1


def test_memory_after_a_flood(make_engine):
    """Further floods take no more than the first one has."""
    if SLOW:
        pytest.skip("sanitizers keep what is freed")
    engine = start(make_engine, {"connectionsPerAddress": 1000}, server={"handshakeTimeout": 60}, workers=1)

    def size():
        return engine.metric("process_resident_memory_bytes")
    first = None
    for _ in range(4):
        clients = [Client(engine.port, source=f"127.0.1.{1 + i % 200}") for i in range(3000)]
        for client in clients:
            client.drop()
        engine.wait_metric("mixengine_connections", 0, 30)
        first = first or size()
    wait_until(lambda: size() < first + (3 << 20), what="the memory")
