"""mix.redis against a real server: both generations' calls, what goes wrong, and what is bounded."""

import contextlib
import json
import re
import socket
import threading

import pytest

import lab
from consumer import Consumer
from harness import SLOW, seconds, times, wait_until
from lab import Lab, LuaError, values
from redis import Redis
from swarm import Swarm
from wsclient import TEXT, connect, frame

ENTRY = lab.ENTRY.read_text()
PASSWORD = "s3cret"


@contextlib.contextmanager
def running(folder, **options):
    server = Redis(folder, **options)
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture
def redis(tmp_path_factory):
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory):
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


def pools(*found):
    return [{"minIdleConns": 0, **pool} for pool in found]


def engine_on(make, found, entry=ENTRY, pool=None, **options):
    return make(entry, redis=pools({"addr": found.addr, "password": found.password or "", **(pool or {})}),
                **options)


@pytest.fixture(scope="module")
def shared(make_shared, shared_redis):
    """Beside the default: another database, and one where nobody listens."""
    return make_shared(ENTRY, redis=pools(
        {"addr": shared_redis.addr}, {"name": "second", "addr": shared_redis.addr.replace("127.0.0.1", "localhost"),
                                      "db": 5},
        {"name": "nobody", "addr": "127.0.0.1:1"}, {"name": "unknown", "addr": "no-such-host.invalid:6379"}))


@pytest.fixture
def client(shared, shared_redis):
    shared_redis.run("FLUSHALL")
    with Lab(shared.port) as client:
        yield client


COMMAND = "local redis = mix.redis.connection() return "

# ---- redis:command: what goes there and what comes back


@pytest.mark.parametrize("call, expected", [
    ("redis:command('set', 'k', 'v')", ["OK"]),
    ("redis:command('SET', 'k', 'v', 'NX'), redis:command('get', 'k')", ["OK", "v"]),
    ("redis:command('get', 'absent')", [None]),
    ("redis:command('incr', 'n')", [1]),
    ("redis:command('echo', '')", [""]),
    ("redis:command('echo', 'a\\0b\\r\\n')", ["a\0b\r\n"]),
    ("redis:command('echo', '\\255')", [b"\xff"]),
    ("redis:command('echo', 5)", ["5"]), ("redis:command('echo', -0.5)", ["-0.5"]),
    ("redis:command('echo', 1e15)", ["1000000000000000"]),
    ("redis:command('echo', 2^53)", ["9007199254740992"]),
    ("redis:command('echo', 0.1 + 0.2)", ["0.30000000000000004"]),
    ("redis:command('echo', 1e300)", ["1e+300"]), ("redis:command('echo', -1/0)", ["-inf"]),
    ("redis:command('echo', true)", ["true"]), ("redis:command('echo', false)", ["false"]),
    ("redis:command('set', 'n', '9007199254740993') and redis:command('incrby', 'n', 0)", ["9007199254740993"]),
    ("redis:command('incrby', 'm', '-9007199254740993')", ["-9007199254740993"]),
    ("redis:command('incrby', 'o', 2^53)", [2 ** 53]),
    ("redis:command('rpush', 'l', 'a', 1, true), redis:command('lrange', 'l', 0, -1)", [3, ["a", "1", "true"]]),
    ("redis:command('lrange', 'absent', 0, -1)", [[]]),
    ("redis:command('set', 'a', '1'), redis:command('mget', 'x', 'a', 'y')", ["OK", [False, "1", False]]),
    ("#redis:command('mget', 'x', 'y', 'z')", [3]),
    ("redis:command('eval', 'return {1, {2, {\"x\"}}, {err = \"E no\"}, {ok = \"fine\"}}', 0)",
     [[1, [2, ["x"]], {"err": "E no"}, "fine"]]),
    ("redis:command('brpop', 'absent', '0.1')", [None]),
    ("redis:command('lpush', 'q', 'x'), redis:command('brpop', 'q', 1)", [1, ["q", "x"]]),
    ("#redis:command('eval', 'return string.rep(\"x\", 5000000)', 0)", [5000000]),
    ("redis:command('strlen', redis:command('set', 'big', ('x'):rep(3000000)) and 'big')", [3000000]),
])
def test_values(client, call, expected):
    assert client.lua(COMMAND + call) == expected


@pytest.mark.parametrize("call, error", [
    ("redis:command('lpush', 'k', 'x')", "WRONGTYPE .*"), ("redis:command('nonsense')", "ERR unknown command .*"),
    ("redis:command('get')", "ERR wrong number of arguments .*"),
    ("redis:command('eval', 'return {1, {2, {3, {4, {5, {6, {7, {8, {9}}}}}}}}}', 0)",
     r"redis default \(.*\): No support for nested multi bulk replies with depth > 7"),
    ("redis:command('subscribe', 'x')", "a script has no connection of its own to hear messages on.*"),
    ("redis:command('Multi')", "scripts share their connections.*"),
    ("redis:command('watch', 'k')", "scripts share their connections.*"),
    ("redis:command('select', 1)", "the connection is as engine.luavm.redis.*"),
    ("redis:command('client', 'reply', 'off')", "the connection is as engine.luavm.redis.*"),
    ("redis:command('set', 'k', ('x'):rep(65 * 2^20))", "the command is larger than 64 MiB"),
    ("mix.redis.connection('nobody'):command('get', 'k')",
     r"redis nobody \(127.0.0.1:1\): connection refused"),
    ("mix.redis.connection('unknown'):command('get', 'k')",
     r"redis unknown \(no-such-host.invalid:6379\): .*"),
    ("mix.redis.connection('other')", "engine.luavm.redis of the configuration has no 'other'"),
])
def test_errors_are_values(client, call, error):
    client.lua(COMMAND + "redis:command('set', 'k', 'v')")
    none, why = client.lua(COMMAND + call)
    assert none is None and re.fullmatch(error, why), why
    assert client.lua(COMMAND + "redis:command('get', 'k')") == ["v"]


def test_a_reply_that_is_too_large(client):
    """Its connection ends; the next command has another."""
    assert client.lua(COMMAND + "redis:command('setrange', 'k', 40 * 2^20, 'x')") == [40 * 2 ** 20 + 1]
    for call in ("redis:command('mget', 'k', 'k')",
                 "select(2, redis:command('setrange', 'k', 70 * 2^20, 'x'), redis:command('get', 'k'))"):
        none, why = client.lua(COMMAND + call)
        assert none is None and why.endswith("a reply is larger than 64 MiB")
    assert client.lua(COMMAND + "redis:command('ping')") == ["PONG"]


@pytest.mark.parametrize("call, error", [
    ("redis:command()", "string expected"), ("redis:command({})", "string expected"),
    ("redis:command('get', nil)", "a string, a number or a boolean"),
    ("redis:command('get', {})", "a string, a number or a boolean"),
    ("redis.command('get')", "mixengine.redis expected"), ("redis.command(io.stdout, 'get')", "mixengine.redis expected"),
    ("mix.redis.connection({})", "string expected"), ("mix.redis.push()", "string expected"),
    ("mix.redis.get()", "string expected"), ("mix.redis.llen({})", "string expected"),
    ("mix.redis.set('k')", "a string, a number or a boolean"),
    ("mix.redis.set('k', 'v', -1)", "seconds"), ("mix.redis.set('k', 'v', 'x')", "number expected"),
    ("mix.redis.incr('k', {})", "a string, a number or a boolean"),
])
def test_wrong_arguments(client, call, error):
    with pytest.raises(LuaError, match=error):
        client.lua(COMMAND + call)


# ---- the earlier calls


@pytest.mark.parametrize("call, expected", [
    ("mix.redis.get('absent')", [None]),
    ("mix.redis.set('k', 'v', 0), mix.redis.get('k')", ["OK", "v"]),
    ("mix.redis.set('k', 5), mix.redis.get('k')", ["OK", "5"]),
    ("mix.redis.set('k', 'v', 100), mix.redis.connection():command('ttl', 'k')", ["OK", 100]),
    ("mix.redis.set('k', 'v', 0.5), mix.redis.connection():command('pttl', 'k') > 1", ["OK", True]),
    ("mix.redis.set('k', 'v'), mix.redis.connection():command('ttl', 'k')", ["OK", -1]),
    ("mix.redis.incr('n', 5), mix.redis.incr('n'), mix.redis.decr('n', 2), mix.redis.decr('n')", [5, 6, 4, 3]),
    ("mix.redis.llen('q')", [0]), ("mix.redis.push('q', 'x'), mix.redis.push('q', {}), mix.redis.llen('q')", [1, 2, 2]),
    ("mix.redis.set('k', 'x'), mix.redis.llen('k')",
     ["OK", None, "WRONGTYPE Operation against a key holding the wrong kind of value"]),
    ("mix.redis.push('q', print)", [None, "a message is a table or a string"]),
])
def test_earlier_calls(client, call, expected):
    assert client.lua("return " + call) == expected


@pytest.mark.parametrize("value, data", [
    ("'hello'", "hello"), ("'[1, {\"a\": null}]'", [1, {"a": None}]), ("{op = 'x', args = {1, 'b'}}",
                                                                    {"op": "x", "args": [1, "b"]}),
    ("''", ""), ("'5'", "5"), ("{}", []),
])
def test_push_is_an_lpush_of_json(client, shared_redis, value, data):
    assert client.lua(f"return mix.redis.push('a \"topic\"', {value})") == [1]
    assert json.loads(shared_redis.run("RPOP", 'a "topic"')) == {
        "n": "1", "c": str(client.id), "t": 'a "topic"', "d": data}


def test_without_a_default(make_engine, redis):
    engine = make_engine(ENTRY, redis=pools({"name": "cache", "addr": redis.addr}))
    with Lab(engine.port) as client:
        why = "engine.luavm.redis of the configuration has no 'default'"
        assert client.lua("return mix.redis.get('k')") == [None, why]
        assert client.lua("return mix.redis.connection()") == [None, why]
        assert client.lua("return mix.redis.connection('cache'):command('ping')") == ["PONG"]


def test_databases_and_names(client, shared_redis):
    assert client.lua("return mix.redis.set('k', 'one'), mix.redis.connection('second'):command('set', 'k', 'two')") == [
        "OK", "OK"]
    with shared_redis.client() as other:
        assert other("GET", "k") == b"one"
        assert other("SELECT", 5) == "OK" and other("GET", "k") == b"two"


FILL = """
local function one()
    local got = { mix.redis.connection():command('get', 'k') }
    full[#full + 1] = got
end
function fill(n)
    full = {}
    for i = 1, n do mix.timer(0, one) end
end
function outcome()
    local count = {}
    for _, r in ipairs(full) do count[r[2] or 'ok'] = (count[r[2] or 'ok'] or 0) + 1 end
    return count
end
"""


def test_a_handler_that_takes_long(make_engine, redis):
    """It holds up the loop for longer than an answer may take: the answers are there, and count."""
    engine = engine_on(make_engine, redis, ENTRY + FILL, workers=1)
    with Lab(engine.port) as client:
        client.lua("return mix.redis.get('k')")
        client.lua("""fill(10)
            mix.timer(0, function() local t = mix.time() + 5.5 while mix.time() < t do end end)""")
        wait_until(lambda: client.timeout(20).lua("return #full") == [10], 20, "the answers")
        assert client.lua("return outcome()") == [{"ok": 10}]


# ---- where it may be called

PLACES = """
local lab_connect, lab_input, lab_decode, lab_message, lab_encode = on_connect, protocol_input, protocol_decode, on_message, protocol_encode
found = {}
local function try(place)
    found[place] = { mix.redis.get('k') }
end
function init() try('init') mix.timer(0, function() try('timer') mix.redis.push('timers', 'x') end) end
function on_connect(conn) try('on_connect') lab_connect(conn) end
function protocol_input(buf, conn) try('protocol_input') return lab_input(buf, conn) end
function protocol_decode(str, conn) try('protocol_decode') return lab_decode(str, conn) end
function protocol_encode(str, ...) try('protocol_encode') return lab_encode(str, ...) end
function on_message(data, conn)
    if data.data == 'places' then
        try('on_message')
        found.pcall = { pcall(mix.redis.get, 'k') }
        found.own = { coroutine.wrap(function() return mix.redis.get('k') end)() }
        table.sort({ 1, 2 }, function(a, b) found.sort = { mix.redis.get('k') } return a < b end)
        mix.mesh.send(conn:client_id(), 'done')
    else
        lab_message(data, conn)
    end
end
function on_close(err, conn) try('on_close') mix.queue.push('places', found) end
try('chunk')
"""


def test_every_place(make_engine, redis):
    redis.run("SET", "k", "v")
    engine = engine_on(make_engine, redis, ENTRY + PLACES, workers=1)
    wait_until(lambda: redis.run("LLEN", "timers") == 1, what="the timer's push")
    assert json.loads(redis.run("RPOP", "timers"))["c"] == "0"
    with Consumer(engine.api_port, topics=["places"]) as consumer:
        with Lab(engine.port) as client:
            assert client.ask("places") == "done"
        consumer.wait_events(1)
        found = consumer.of("places")[0].data
    for place in ("timer", "on_connect", "protocol_input", "protocol_decode", "on_message", "on_close"):
        assert found[place] == ["v"], place
    assert found["pcall"] == [True, "v"]
    for place in ("chunk", "init", "protocol_encode", "own", "sort"):
        assert found[place][1].startswith("this call waits, which "), place


# ---- many at once


def test_thousands_wait_at_once(make_engine, redis):
    """Each gets the answer to its own command."""
    count = times(5000)
    engine = engine_on(make_engine, redis)
    swarm = Swarm(engine.port, count, path="/", sources=4)
    redis.stop()
    code = b"=local id = conn:client_id() mix.redis.incr('n') return mix.redis.connection():command('echo', id) == id"
    for member in swarm.members.values():
        member.sock.sendall(frame(TEXT, code))
    engine.wait_metric("mixengine_tasks_suspended", count, 4)
    redis.go_on()
    swarm.wait(lambda: all(m.got for m in swarm.members.values()), "the answers")
    assert {m.got[0].payload for m in swarm.members.values()} == {b"+ b1"}
    assert redis.run("GET", "n") == str(count).encode()
    assert len(redis.connections()) <= 2
    swarm.drop()


@pytest.mark.skipif(SLOW, reason="so many cannot be sent within the time for an answer")
def test_waiting_commands_are_bounded(make_engine, redis):
    engine = engine_on(make_engine, redis, ENTRY + FILL, workers=1)
    redis.stop()
    with Lab(engine.port) as client:
        client.lua("fill(9999)")
        engine.wait_metric("mixengine_tasks_suspended", 9999, 4)
        client.send("=return select(2, mix.redis.get('k')) or 'ok'")
        engine.wait_metric("mixengine_tasks_suspended", 10000, 4)
        with Lab(engine.port) as late:
            why = late.lua("return mix.redis.get('k')")[1]
            assert why.endswith("10000 commands wait for an answer already"), why
            redis.go_on()
            assert values(client.text()) == ["ok"]
            wait_until(lambda: late.lua("return #full") == [9999], what="all answers")
            assert late.lua("return outcome()") == [{"ok": 9999}]


@pytest.mark.skipif(SLOW, reason="so much cannot be sent within the time for an answer")
def test_waiting_bytes_are_bounded(make_engine, redis):
    engine = engine_on(make_engine, redis, workers=1)
    redis.stop()
    with Lab(engine.port) as client, Lab(engine.port) as late:
        late.lua("five = ('x'):rep(5 * 2^20)")
        client.lua("sixty = ('x'):rep(60 * 2^20)")
        client.send("=return mix.redis.set('k', sixty)")
        engine.wait_metric("mixengine_tasks_suspended", 1)
        assert late.lua("return mix.redis.set('k', five)")[1].endswith(
            "commands of more than 64 MiB would wait for an answer")
        redis.go_on()
        assert values(client.text()) == ["OK"]
        assert late.lua("return mix.redis.set('k', five)") == ["OK"]


# ---- what goes wrong with the server


def ask_until(client, code, expected, limit=10):
    wait_until(lambda: client.lua(code) == expected, limit, code)


def outages(engine):
    return re.findall(r"redis default .*; commands get this error until the server answers again", engine.log())


@pytest.mark.parametrize("waiting", [1, 1000])
def test_killed_and_started_again(make_engine, redis, waiting):
    """Before: answers. In the middle: each that waits hears of it at once. After it: refused, in one line of the
    log; then the next command connects again."""
    engine = engine_on(make_engine, redis, ENTRY + FILL, workers=1)
    with Lab(engine.port) as client:
        assert client.lua("return mix.redis.set('k', 'v')") == ["OK"]
        redis.stop()
        client.lua(f"fill({waiting})")
        engine.wait_metric("mixengine_tasks_suspended", waiting, 4)
        redis.kill()
        wait_until(lambda: client.lua("return #full") == [waiting], 4, "the errors")
        (why, count), = client.lua("return outcome()")[0].items()
        assert count == waiting and re.fullmatch(rf"redis default \({redis.addr}\): (the server closed the connection"
                                                 "|connection reset by peer)", why), why
        for _ in range(20):
            none, why = client.lua("return mix.redis.get('k')")
            assert none is None and why == f"redis default ({redis.addr}): connection refused"
        redis.start()
        ask_until(client, "return mix.redis.set('k', 'again')", ["OK"])
        assert client.lua("return mix.redis.get('k')") == ["again"]
        engine.wait_output(rf"redis default \({redis.addr}\) answers again")
        assert len(outages(engine)) == 1
        redis.kill()
        assert client.lua("return mix.redis.get('k')")[0] is None
        wait_until(lambda: len(outages(engine)) == 2, what="the second outage in the log")


def test_not_there_at_first(make_engine, tmp_path):
    server = Redis(tmp_path)
    engine = engine_on(make_engine, server)
    with Lab(engine.port) as client:
        assert client.lua("return mix.redis.get('k')")[1].endswith("connection refused")
        with contextlib.ExitStack() as stack:
            stack.callback(server.kill)
            server.start()
            ask_until(client, "return mix.redis.get('k')", [None])


def test_a_server_that_stands_still(make_engine, redis):
    """Commands end after their time; those sent later too; and it recovers."""
    engine = engine_on(make_engine, redis, workers=1)
    with Lab(engine.port) as client, Lab(engine.port) as other:
        assert client.lua("return mix.redis.set('k', 'v')") == ["OK"]
        redis.stop()
        for asking in (client, other):
            asking.send("=return mix.redis.get('k')")
        for asking in (client, other):
            assert values(asking.text()) == [None, f"redis default ({redis.addr}): timeout: the server does not answer"]
        assert client.lua("return mix.redis.get('k')")[1].endswith("timeout: the server does not answer")
        redis.go_on()
        ask_until(client, "return mix.redis.get('k')", ["v"])
        engine.wait_output("answers again")
        assert len(outages(engine)) == 1


@pytest.mark.parametrize("password, error", [
    ("wrong", "WRONGPASS .*"), ("", "NOAUTH .*"), (PASSWORD, None)])
def test_password(make_engine, tmp_path_factory, password, error):
    with running(tmp_path_factory.mktemp("redis"), password=PASSWORD) as server:
        engine = engine_on(make_engine, server, pool={"password": password, "db": 3})
        with Lab(engine.port) as client:
            value, *why = client.lua("return mix.redis.set('k', 'v')")
            assert re.fullmatch(rf"(redis default \(.*\): )?{error}", why[0]) if error else value == "OK", why
        if not error:
            with server.client() as own:
                assert own("SELECT", 3) == "OK" and own("GET", "k") == b"v"


def test_a_database_that_is_not_there(make_engine, redis):
    engine = engine_on(make_engine, redis, pool={"db": 99})
    with Lab(engine.port) as client:
        assert client.lua("return mix.redis.get('k')")[1].endswith("ERR DB index is out of range")


def test_closed_by_the_server(make_engine, redis):
    """A connection that nothing uses is opened again without a word; one that waits for an answer says so."""
    engine = engine_on(make_engine, redis, workers=1)
    with Lab(engine.port) as client:
        for _ in range(3):
            assert client.lua("return mix.redis.connection():command('ping')") == ["PONG"]
            assert redis.run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") >= 1
            wait_until(lambda: not redis.connections(), what="gone")
        ask_until(client, "return mix.redis.connection():command('ping')", ["PONG"])
        assert redis.run("CONFIG", "SET", "timeout", "1") == "OK"
        wait_until(lambda: not redis.connections(), what="closed for idleness")
        assert client.lua("return mix.redis.connection():command('ping')") == ["PONG"]
        assert not outages(engine)
        client.send("=return mix.redis.connection():command('brpop', 'q', 0)")
        wait_until(lambda: redis.run("INFO", "clients").count(b"blocked_clients:1"), what="it waits")
        redis.run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert values(client.text()) == [None, f"redis default ({redis.addr}): the server closed the connection"]
        assert client.lua("return mix.redis.connection():command('ping')") == ["PONG"]


def test_a_server_that_is_full(make_engine, redis):
    engine = engine_on(make_engine, redis, workers=1)
    held = redis.client()
    assert held("CONFIG", "SET", "maxclients", "1") == "OK"
    with Lab(engine.port) as client:
        assert "ERR max number of clients reached" in client.lua("return mix.redis.get('k')")[1]
        assert held("CONFIG", "SET", "maxclients", "10") == "OK"
        ask_until(client, "return mix.redis.get('k')", [None])
    held.close()


class Fake(threading.Thread):
    """A server that sends `answer` for whatever comes, or at once where `at_once`, and counts connections."""

    def __init__(self, answer, at_once=False):
        super().__init__(daemon=True)
        self.answer, self.at_once, self.count, self.held = answer, at_once, 0, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addr = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.count += 1
                self.held.append(sock)
                if self.at_once or sock.recv(65536):
                    sock.sendall(self.answer)
                if not self.answer:
                    sock.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join()
        for sock in self.held:
            sock.close()


@pytest.mark.parametrize("answer, at_once, error", [
    (b"", True, "the server closed the connection|connection reset by peer|broken pipe"),
    (b"", False, "the server closed the connection|connection reset by peer"),
    (b"hello\r\n", False, 'Protocol error, got "h" as reply type byte'),
    (b"-ERR go away\r\n", True, "ERR go away"), (b"+OK\r\n", True, "the server answered what was not asked|timeout: the server does not answer"),
    (b"*1000000000\r\n", False, "a reply is larger than 64 MiB"),
    (b"*2147483648\r\n", False, "Multi-bulk length out of range"),
    (b"$9999999999999999999\r\n", False, "Bad bulk string length|Bulk string length out of range"),
    (b"*1\r\n" * 20, False, "No support for nested multi bulk replies with depth > 7"),
    (b"$5\r\nhel", False, "timeout: the server does not answer"),
])
def test_a_server_that_is_none(make_engine, answer, at_once, error):
    """Each command gets an error or that answer, and nobody spins: a connection for each command at most."""
    fake = Fake(answer, at_once)
    engine = make_engine(ENTRY, workers=1, redis=pools({"addr": fake.addr}))
    with contextlib.closing(fake), Lab(engine.port) as client:
        got = wait_until(lambda: client.lua("asked = (asked or 0) + 1 return mix.redis.get('k')")[1:], what="an error")
        assert re.search(error, got[0]), got
        assert fake.count <= client.lua("return asked")[0]
        assert client.ask("still here") == "still here"


@pytest.mark.parametrize("answer", [b"+OK\r\n+OK\r\n", b"+OK\r\n-ERR x\r\n", b"+OK\r\n*1\r\n"])
def test_a_server_that_says_too_much(make_engine, answer):
    """The answer counts; what comes beyond it ends that connection, or waits for its rest."""
    fake = Fake(answer)
    engine = make_engine(ENTRY, workers=1, redis=pools({"addr": fake.addr}))
    with contextlib.closing(fake), Lab(engine.port) as client:
        assert client.lua("return mix.redis.get('k')") == ["OK"]
        assert client.ask("still here") == "still here"


# ---- blocking commands and the pool


def blocked(redis, count):
    wait_until(lambda: b"blocked_clients:%d\r" % count in redis.run("INFO", "clients"), what=f"{count} wait")


def test_a_blocking_command_holds_nobody_up(make_engine, redis):
    engine = engine_on(make_engine, redis, workers=1, pool={"poolSize": 3})
    with Lab(engine.port) as first, Lab(engine.port) as second, Lab(engine.port) as third:
        for n, client in enumerate((first, second)):
            client.send(f"=return mix.redis.connection():command('brpop', 'q{n}', 0)")
        blocked(redis, 2)
        # Beyond the pool's size one waits for a connection; the others go on.
        third.send("=return mix.redis.connection():command('brpop', 'q2', 0)")
        with Lab(engine.port) as other:
            for n in range(100):
                assert other.lua(f"return mix.redis.incr('n')") == [n + 1]
            assert len(redis.connections()) == 3
            assert other.lua("return mix.redis.connection():command('lpush', 'q0', 'x')") == [1]
            assert values(first.text()) == [["q0", "x"]]
            blocked(redis, 2)
            assert other.lua("return mix.redis.connection():command('lpush', 'q2', 'y')") == [1]
            assert values(third.text()) == [["q2", "y"]]
            assert other.lua("return mix.redis.connection():command('lpush', 'q1', 'z')") == [1]
            assert values(second.text()) == [["q1", "z"]]
            assert len(redis.connections()) == 3


def test_no_connection_is_free(make_engine, redis):
    engine = engine_on(make_engine, redis, workers=1, pool={"poolSize": 2})
    with Lab(engine.port) as first, Lab(engine.port) as second:
        first.send("=return mix.redis.connection():command('brpop', 'q', 0)")
        blocked(redis, 1)
        assert second.lua("return mix.redis.connection():command('brpop', 'q', 0)") == [
            None, f"redis default ({redis.addr}): timeout: no connection was free within 5 seconds"]
        redis.run("LPUSH", "q", "x")
        assert values(first.text()) == [["q", "x"]]


def test_pool_of_one(make_engine, redis):
    """All take turns on it, the blocking ones too."""
    engine = engine_on(make_engine, redis, workers=1, pool={"poolSize": 1, "minIdleConns": 1})
    with Lab(engine.port) as first, Lab(engine.port) as second:
        assert second.lua("return mix.redis.set('k', 'v')") == ["OK"]
        first.send("=return mix.redis.connection():command('brpop', 'q', 0)")
        blocked(redis, 1)
        second.send("=return mix.redis.get('k')")
        engine.wait_metric("mixengine_tasks_suspended", 2)
        assert len(redis.connections()) == 1
        redis.run("LPUSH", "q", "x")
        assert values(first.text()) == [["q", "x"]]
        assert values(second.text()) == ["v"]
        assert len(redis.connections()) == 1


def test_a_blocking_command_has_its_turn(make_engine, redis):
    """With one connection nothing overtakes it."""
    engine = engine_on(make_engine, redis, workers=1, pool={"poolSize": 1})
    first, second, third = (Lab(engine.port) for _ in range(3))
    assert first.lua("return mix.redis.set('k', 'v')") == ["OK"]
    redis.stop()
    for n, (client, call) in enumerate(((first, "get('k')"), (second, "connection():command('brpop', 'q', 0)"),
                                        (third, "get('k')"))):
        client.send("=return mix.redis." + call)
        engine.wait_metric("mixengine_tasks_suspended", n + 1)
    redis.go_on()
    assert values(first.text()) == ["v"]
    blocked(redis, 1)
    engine.wait_metric("mixengine_tasks_suspended", 2)
    redis.run("LPUSH", "q", "x")
    assert values(second.text()) == [["q", "x"]] and values(third.text()) == ["v"]


def test_pool_size_is_shared_by_workers(make_engine, redis):
    engine = engine_on(make_engine, redis, workers=2, pool={"poolSize": 6})
    clients = [Lab(engine.port) for _ in range(12)]
    for client in clients:
        client.send("=return mix.redis.connection():command('brpop', 'q', 0)")
    blocked(redis, 4)
    for client in clients[:2]:
        with Lab(engine.port) as other:
            assert other.lua("return mix.redis.get('k')") == [None]
    assert len(redis.connections()) <= 6
    for client in clients:
        client.drop()
    blocked(redis, 0)


def test_min_idle_conns(make_engine, redis):
    engine = engine_on(make_engine, redis, workers=1, pool={"poolSize": 10, "minIdleConns": 4})
    with Lab(engine.port) as client:
        assert len(redis.connections()) == 0
        client.lua("return mix.redis.get('k')")
        wait_until(lambda: len(redis.connections()) in (4, 5), what="opened ahead")


def test_idle_timeout(make_engine, redis):
    engine = engine_on(make_engine, redis, workers=1, pool={"idleTimeout": 3})
    with Lab(engine.port) as client:
        assert client.lua("return mix.redis.get('k')") == [None]
        assert client.lua("return mix.redis.connection():command('brpop', 'q', '0.05')") == [None]
        assert len(redis.connections()) == 2
        wait_until(lambda: not redis.connections(), what="closed for idleness")
        assert client.lua("return mix.redis.get('k')") == [None]
        assert not outages(engine)


def ids(redis):
    return {re.search(rb"id=(\d+)", line).group(1) for line in redis.connections()}


def test_idle_connections_are_replaced(make_engine, redis):
    engine = engine_on(make_engine, redis, workers=1, pool={"idleTimeout": 1, "minIdleConns": 2})
    with Lab(engine.port) as client:
        assert client.lua("return mix.redis.get('k')") == [None]
        before = wait_until(lambda: ids(redis), what="connections")
        wait_until(lambda: len(ids(redis) - before) >= 2, what="new ones")


def test_max_conn_age(make_engine, redis):
    """Under traffic nothing is lost by it."""
    engine = engine_on(make_engine, redis, workers=1, pool={"maxConnAge": 1})
    with Lab(engine.port) as client:
        client.lua("return mix.redis.get('k')")
        before = ids(redis)
        done = 0

        def replaced():
            nonlocal done
            done += 1
            assert client.lua("return mix.redis.incr('n')") == [done]
            return not before & ids(redis)
        wait_until(replaced, what="another connection")
        assert not outages(engine)


# ---- the client leaves, the engine stops

GONE = """
function on_close(err, conn)
    mix.redis.push('closed', { result = conn:context_value('result') })
end
"""


@pytest.mark.parametrize("how", ["shutdown", "reset"])
def test_the_client_leaves_while_it_waits(make_engine, redis, how):
    """What waits is cut short; on_close may still use redis; a BRPOP of its takes nothing any more."""
    engine = engine_on(make_engine, redis, ENTRY + GONE)
    client = Lab(engine.port)
    client.send("~local v, err = mix.redis.connection():command('brpop', 'q', 0)"
                " conn:set_context_value('result', tostring(v) .. ' ' .. err)")
    blocked(redis, 1)
    getattr(client, how)()
    blocked(redis, 0)
    assert redis.run("LPUSH", "q", "kept") == 1
    assert json.loads(redis.run("BRPOP", "closed", 10)[1])["d"] == {"result": "nil closed"}
    assert redis.run("LLEN", "q") == 1
    client.drop()
    engine.wait_metric("mixengine_connections", 0)
    engine.wait_metric("mixengine_tasks_suspended", 0)


def test_commands_before_the_end_count(make_engine, redis):
    """Messages that came before the end of the input are handled, and what they push arrives in order."""
    engine = engine_on(make_engine, redis)
    client = Lab(engine.port)
    client.raw(b"".join(frame(TEXT, f"~mix.redis.push('q', '{n}')") for n in range(50)))
    client.shutdown()
    wait_until(lambda: redis.run("LLEN", "q") == 50, what="all pushes")
    assert [json.loads(e)["d"] for e in redis.run("LRANGE", "q", 0, -1)] == [str(n) for n in reversed(range(50))]
    client.drop()


def test_replies_that_nobody_waits_for(make_engine, redis):
    """A thousand leave while their commands are under way: the connection stays usable."""
    count = times(1000)
    engine = engine_on(make_engine, redis)
    with Lab(engine.port) as client:
        client.lua("mix.redis.set('k', 'v')")
        swarm = Swarm(engine.port, count, path="/", sources=2)
        redis.stop()
        for member in swarm.members.values():
            member.sock.sendall(frame(TEXT, b"~mix.redis.incr('n')"))
        engine.wait_metric("mixengine_tasks_suspended", count, 4)
        swarm.drop()
        engine.wait_metric("mixengine_tasks_suspended", 0, 4)
        redis.go_on()
        assert client.lua("return mix.redis.get('k')") == ["v"]
        assert redis.run("GET", "n") == str(count).encode()


@pytest.mark.parametrize("state", ["blocked", "stopped", "dead"])
def test_stop_while_commands_wait(make_engine, redis, state):
    engine = engine_on(make_engine, redis, ENTRY + FILL)
    with Lab(engine.port) as client:
        client.lua("return mix.redis.get('k')")
        if state == "stopped":
            redis.stop()
        if state == "dead":
            redis.kill()
        client.lua("fill(100) mix.timer(0, function() mix.redis.connection():command('brpop', 'q', 0) end)")
        client.send("=return mix.redis.connection():command('brpop', 'q', 0)")
        if state == "blocked":
            blocked(redis, 2)
        elif state == "stopped":
            engine.wait_metric("mixengine_tasks_suspended", 102, 4)
        engine.stop()


def test_the_server_dies_while_the_engine_stops(make_engine, redis):
    engine = engine_on(make_engine, redis, ENTRY + GONE)
    with Lab(engine.port) as client:
        client.lua("return mix.redis.get('k')")
        killer = threading.Timer(0.05, redis.kill)
        killer.start()
        engine.stop()
        killer.join()


# ---- a consumer of the first generation: BRPOP from redis, answers over the API

FIRST = """
function on_message(data, conn)
    local n, err = mix.redis.push('chat', { text = data.data })
    if err then mix.mesh.send(conn:client_id(), 'ERROR ' .. err) end
end
"""


def serve(redis, engine, count):
    """Takes entries from the list and answers each to its client over any node's API."""
    with redis.client() as source, Consumer(engine.api_port, topics=[]) as api:
        for _ in range(count):
            entry = json.loads(source("BRPOP", "chat", 30)[1])
            assert entry["n"] == "1" and entry["t"] == "chat"
            api.mesh_send(int(entry["c"]), entry["d"]["text"].upper())
        wait_until(lambda: len(api.replies) >= count, what="the API's answers")


def test_a_consumer_on_redis(make_engine, redis):
    engine = engine_on(make_engine, redis, ENTRY + FIRST)
    clients = [connect(engine.port, '/') for _ in range(5)]
    server = threading.Thread(target=serve, args=(redis, engine, 50))
    server.start()
    for n in range(10):
        for client in clients:
            client.send(f"hello {n}")
    for client in clients:
        assert [client.text() for _ in range(10)] == [f"HELLO {n}" for n in range(10)]
    server.join(seconds(10))
    assert not server.is_alive()


SECOND = """
function on_handshake() mix.redis.incr('on_handshake') end
function on_message(msg)
    local n = mix.redis.push('q', msg.data)
    mix.mesh.send(mix.websocket():client_id(), n .. ' ' .. msg.data)
end
function on_close() mix.redis.incr('on_close') end
"""


def test_generation_2(make_engine, redis):
    engine = engine_on(make_engine, redis, SECOND, server={"protocol": "websocket"})
    with connect(engine.port, "/") as client:
        assert [client.ask(text) for text in ("a", "b")] == ["1 a", "2 b"]
    wait_until(lambda: redis.run("GET", "on_close") == b"1", what="on_close")
    assert redis.run("GET", "on_handshake") == b"1"
