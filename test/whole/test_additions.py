"""Calls that connmix does not have: time, sleep and timers, lengths and counts, ids, closing with a code."""

import re
import socket
import time

import pytest

import lab
from consumer import Consumer
from harness import times, wait_until
from lab import Lab, LuaError, on_two_workers, spinning, values
from wsclient import Client, close_frame

ENTRY = lab.ENTRY.read_text()

# ---- in init and in protocol_encode

# What each call gives where nothing may wait.
WAITS = [None, re.compile("this call waits, which init, protocol_encode and module chunks cannot")]
NOWHERE = {
    "type(mix.time())": ["number"],
    "mix.sleep(1)": WAITS[1:],
    "mix.sleep(0)": WAITS[1:],
    "type(mix.timer(0, function() end))": ["userdata"],
    "mix.timer(600, function() end):cancel()": [True],
    "mix.queue.len('known')": [0],
    "mix.queue.len('unknown')": [None, "no such topic"],
    "mix.mesh.count('all')": WAITS,
    "mix.worker_id() == mix.worker_id()": [True],
    "mix.node_id()": [1],
}

# What is not meant so raises an error; `conn` is the client's.
WRONG = {
    "mix.sleep()": "number expected", "mix.sleep('x')": "number expected", "mix.sleep({})": "number expected",
    "mix.sleep(-1)": "seconds, 0 to 1000000", "mix.sleep(0/0)": "seconds", "mix.sleep(1e9)": "seconds",
    "mix.timer()": "number expected", "mix.timer(1)": "function expected", "mix.timer(1, 'f')": "function expected",
    "mix.timer(-1, print)": "seconds, 0 to 1000000", "mix.timer(0/0, print)": "seconds",
    "mix.timer(1/0, print)": "seconds", "mix.timer(1, print).cancel()": "mixengine.timer expected",
    "mix.timer(1, print).cancel(io.stdout)": "mixengine.timer expected",
    "mix.queue.len()": "string expected", "mix.queue.len({})": "string expected",
    "mix.mesh.count()": "string expected", "mix.mesh.count({})": "string expected",
}
WRONG_OF_CONN = {
    "conn:close('x')": "number expected", "conn:close(1000, {})": "string expected",
    "conn:close(nil, 'why')": "a reason goes with a code",
    **{f"conn:close({code})": "a code that a close frame may carry"
       for code in (-1, 0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65536 + 1000, 1000.5, "0/0", "1/0")},
}

TRY = """
local rows, lab_init, lab_encode = {%s}, init, protocol_encode
found = {}
local function try(place)
    found[place] = {}
    for _, row in ipairs(rows) do
        found[place][row] = marks(pcall(assert(loadstring("return " .. row, "=row"))))
    end
end
function init()
    lab_init()
    mix.queue.new("known", 5)
    try("init")
end
function protocol_encode(str, ...)
    if str == "try" then try("encode") end
    return lab_encode(str, ...)
end
"""


@pytest.fixture(scope="module")
def nowhere(make_shared):
    rows = ", ".join(f'"{row}"' for row in [*NOWHERE, *WRONG])
    return make_shared(ENTRY + TRY % rows)


def tried(engine, place, row):
    with Lab(engine.port) as client:
        if place == "encode":
            client.send("=return mix.mesh.send(conn:client_id(), 'try')")
            assert sorted((client.text(), client.text())) == ["+ z", "try"]
        return client.lua(f'return found.{place}["{row}"]')[0]


@pytest.mark.parametrize("row", NOWHERE)
@pytest.mark.parametrize("place", ["init", "encode"])
def test_where_nothing_waits(nowhere, place, row):
    got, expected = values(tried(nowhere, place, row)), NOWHERE[row]
    assert len(got) == len(expected), got
    for a, b in zip(got, expected):
        assert b.fullmatch(a) if isinstance(b, re.Pattern) else a == b, got


@pytest.mark.parametrize("row", WRONG)
@pytest.mark.parametrize("place", ["init", "encode"])
def test_wrong_arguments_where_nothing_waits(nowhere, place, row):
    with pytest.raises(LuaError, match=re.escape(WRONG[row])):
        values(tried(nowhere, place, row))


@pytest.mark.parametrize("row", {**WRONG, **WRONG_OF_CONN})
def test_wrong_arguments(shared, row):
    with Lab(shared.port) as client:
        with pytest.raises(LuaError, match=re.escape({**WRONG, **WRONG_OF_CONN}[row])):
            client.lua("return " + row)
        assert client.ask("still here") == "still here"


@pytest.mark.parametrize("code", [
    "local why table.sort({ 3, 1, 2 }, function(a, b) why = %s return a < b end) return why",
    "local why; ('x'):gsub('x', function() why = %s end) return why",
    "return coroutine.wrap(function() return %s end)()"])
@pytest.mark.parametrize("call", ["mix.sleep(0)", "select(2, mix.mesh.count('x'))"])
def test_inside_of_what_cannot_wait(shared, code, call):
    with Lab(shared.port) as client:
        assert client.lua(code.replace("%s", call))[0].startswith("this call waits, which ")


# ---- what is simple

@pytest.fixture(scope="module")
def shared(make_shared):
    return make_shared(ENTRY, workers=2)


def test_time(shared):
    with Lab(shared.port) as client:
        before, (now,), after = time.time(), client.lua("return mix.time()"), time.time()
        assert before - 0.001 <= now <= after + 0.001
        assert any(t != int(t) for t in client.lua("return mix.time(), mix.time(), mix.time()"))


def test_ids(shared):
    for client in on_two_workers(shared.port):
        assert client.lua("return mix.worker_id(), mix.node_id()") == [client.worker, client.id >> 53]
        client.drop()


# ---- sleep

def test_sleep(shared):
    with Lab(shared.port) as client:
        code = "local t = mix.time() local err = mix.sleep(%s) return err, mix.time() - t, mix.socket.tcp() == conn"
        for length in (0, 0.001, 0.3):
            err, slept, same = client.lua(code % length)
            assert err is None and same and slept > length - 0.01
        # A handler that has computed for long does not sleep less.
        busy = "local t = mix.time() while mix.time() < t + 0.4 do end "
        assert client.lua(busy + code % 0.3)[1] > 0.29


def test_sleep_in_a_chain_under_pcall(shared):
    with Lab(shared.port) as client:
        assert client.lua("""
            local n = 0
            for i = 1, 5 do
                local ok, err = pcall(function() local e = mix.sleep(0.01) n = n + 1 error({ e or 'slept' }) end)
                assert(not ok and err[1] == 'slept')
            end
            return n""") == [5]


def test_others_go_on_while_one_sleeps(shared):
    with Lab(shared.port) as sleeper, Lab(shared.port) as other:
        sleeper.send("=return mix.sleep(600)")
        shared.wait_metric("mixengine_tasks_suspended", 1)
        assert other.ask("awake") == "awake"
        assert other.lua(f"return mix.mesh.send('{sleeper.id}', 'hear')") == [None]
        assert sleeper.text() == "hear"
    shared.wait_metric("mixengine_tasks_suspended", 0)


@pytest.mark.parametrize("how", ["shutdown", "reset", "close", "script"])
def test_the_end_cuts_sleep_short(make_engine, how):
    engine = make_engine(ENTRY, workers=1, options={"close": "gone"})
    with Consumer(engine.api_port, topics=["gone", "cut"]) as consumer:
        client = Lab(engine.port)
        client.send("~victim = conn local err = mix.sleep(600) mix.queue.push('cut', { err = err, again = mix.sleep(600) })")
        engine.wait_metric("mixengine_tasks_suspended", 1)
        if how == "script":
            with Lab(engine.port) as other:
                assert other.lua("return victim:close(4000, 'wake up')") == [None]
            assert [f.code for f in client.end()[0]] == [4000]
        elif how == "close":
            client.raw(close_frame(1000))
            client.shutdown()
        else:
            getattr(client, how)()
        consumer.wait_events(1, "cut")
        consumer.wait_events(1, "gone")
        assert consumer.of("cut")[0].data == {"err": "closed", "again": "closed"}
        client.drop()
    engine.wait_metric("mixengine_tasks_suspended", 0)


EVERYWHERE = """
local text = require("protocols/text")
local function nap(name) mix.queue.push("naps", { where = name, err = mix.sleep(0.05) }) end
function on_connect(conn) nap("on_connect") end
function protocol_input(buf, conn) nap("protocol_input") return text.input(buf, conn) end
function protocol_decode(str, conn) nap("protocol_decode") return text.decode(str) end
function on_message(data, conn) nap("on_message") conn:send(data .. "\\n") end
function on_close(err, conn) nap("on_close") end
"""


def test_sleep_in_every_handler(make_engine):
    engine = make_engine(EVERYWHERE)
    with Consumer(engine.api_port, topics=["naps"]) as consumer:
        with Client(engine.port) as client:
            client.raw(b"hello\n")
            assert client.line() == b"hello"
        consumer.wait_events(5)
        engine.wait_metric("mixengine_connections", 0)
        assert [e.data for e in consumer.of("naps")] == [
            {"where": where} for where in
            ("on_connect", "protocol_input", "protocol_decode", "on_message", "on_close")]


def test_a_thousand_sleep_at_once(make_engine):
    count = times(1000)
    engine = make_engine(ENTRY)
    clients = [Lab(engine.port) for _ in range(count)]
    for client in clients:
        client.send("=return mix.sleep(0.3) or 'slept'")
    for client in clients:
        assert values(client.text()) == ["slept"]
    for client in clients:
        client.send("=return mix.sleep(1e6)")
    engine.wait_metric("mixengine_tasks_suspended", count)
    for client in clients[::2]:
        client.drop()
    engine.wait_metric("mixengine_tasks_suspended", count - len(clients[::2]), 20)
    engine.wait_metric("mixengine_connections", count - len(clients[::2]), 20)
    engine.stop()  # with those that still sleep
    for client in clients[1::2]:
        client.drop()


# ---- timers

def later(client, code, limit=10):
    """What the code returns once that is not nil."""
    return wait_until(lambda: client.lua(f"return {code}")[0], limit, code)


@pytest.fixture
def client(shared):
    with Lab(shared.port) as client:
        client.lua("fired = nil")
        yield client


def test_timer(client):
    handle, = client.lua("""
        local t = mix.time()
        return mix.timer(0.2, function(...)
            fired = { after = mix.time() - t, args = select('#', ...), conn = tostring(mix.socket.tcp()) }
        end)""")
    assert handle == "<userdata>"
    fired = later(client, "fired")
    assert fired["after"] > 0.19 and (fired["args"], fired["conn"]) == (0, "nil")


def test_timers_fire_in_order_and_once(client):
    client.lua("""
        fired = {}
        for _, s in ipairs({ 0.6, 0, 0.4, 0.2 }) do mix.timer(s, function() table.insert(fired, s) end) end
        collectgarbage() collectgarbage()""")
    assert later(client, "#fired == 4 and fired or nil") == [0, 0.2, 0.4, 0.6]
    assert client.lua("mix.sleep(0.2) return #fired") == [4]


def test_cancel(client):
    assert client.lua("""
        fired = {}
        local t = mix.timer(0.1, function() table.insert(fired, 'cancelled') end)
        local first, second = t:cancel(), t:cancel()
        mix.timer(0.3, function() table.insert(fired, 'kept') end)
        return first, second""") == [True, False]
    assert later(client, "#fired > 0 and fired or nil") == ["kept"]


def test_cancel_of_one_that_has_begun(client):
    assert client.lua("""
        local t
        t = mix.timer(0, function()
            local from_within = t:cancel()
            mix.sleep(0.2)
            fired = { from_within }
        end)
        mix.sleep(0.1)
        return t:cancel()""") == [False]
    assert later(client, "fired") == [False]
    assert client.lua("t = mix.timer(0, function() fired = 'over' end) mix.sleep(0.2) return fired, t:cancel()") == [
        "over", False]


def test_a_timer_starts_the_next(client):
    client.lua("""
        local n = 0
        local function tick()
            n = n + 1
            if n == 5 then fired = n else mix.timer(0.01, tick) end
        end
        tick()""")
    assert later(client, "fired") == 5


def test_an_error_in_a_timer(shared, client):
    client.lua("mix.timer(0, function() local nothing_of_timer = nil return nothing_of_timer.field end)")
    client.lua("mix.timer(0.1, function() mix.sleep(0.05) error('after a sleep in a timer') end)")
    shared.wait_output(r"timer: snippet:1: attempt to index local 'nothing_of_timer'")
    shared.wait_output(r"timer: snippet:1: after a sleep in a timer")
    shared.wait_output(r"stack traceback")
    client.lua("mix.timer(0, function() fired = true end)")
    assert later(client, "fired") is True


def test_a_timer_waits(make_engine):
    """A push to a full topic, a round trip to the other workers, and a nap; the entries are nobody's."""
    engine = make_engine(ENTRY, options={"topics": "full:1"})
    here, there = on_two_workers(engine.port)
    for client in (here, there):
        assert client.lua("return conn:subscribe('all')") == [None]
    here.lua(f"""
        mix.queue.push('full', {{ n = 0 }})
        mix.timer(0, function()
            local n, err = mix.queue.push('full', {{ n = 1 }})
            local sent = mix.mesh.send('{there.id}', 'to one')
            local success, fail = mix.mesh.publish('all', 'to all')
            fired = {{ n = n, err = err, sent = sent, success = success, fail = fail,
                       count = mix.mesh.count('all'), nap = mix.sleep(0.01) }}
        end)""")
    engine.wait_metric("mixengine_tasks_suspended", 1)
    assert here.lua("return fired") == [None]
    with Consumer(engine.api_port, topics=["full"]) as consumer:
        consumer.wait_events(2)
        assert [(e.client, e.data["n"]) for e in consumer.events] == [(here.id, 0), (0, 1)]
    assert here.text() == "to all" and [there.text(), there.text()] == ["to one", "to all"]
    assert later(here, "fired") == {"n": 1, "success": 2, "fail": 0, "count": 2}
    here.drop()
    there.drop()


def test_a_timer_cannot_wait_for_a_context(client):
    client.lua("mix.timer(0, function() fired = { select(2, conn:wait_context_value('k', 1)) } end)")
    assert later(client, "fired") == ["a handler can wait for a context value of its own connection only"]


def test_a_timer_outlives_its_connection(shared, client):
    other = next(c for c in (Lab(shared.port) for _ in range(16)) if c.worker == client.worker)
    other.lua("""
        local function look()
            if conn:remote_addr() ~= '' then mix.timer(0.1, look) return end  -- its end has not been seen yet
            fired = { conn:send('x'), conn:client_id(), conn:remote_addr() }
        end
        mix.timer(0.3, look)""")
    other.drop()
    assert later(client, "fired") == ["closed", str(other.id), ""]


def test_at_most_ten_thousand_timers(make_engine):
    engine = make_engine(ENTRY, workers=1)
    with Lab(engine.port) as client:
        assert client.lua("""
            timers, ran = {}, 0
            for i = 1, 10000 do timers[i] = assert(mix.timer(600, print)) end
            local t, err = mix.timer(600, print)
            return t, err, timers[1]:cancel(), type(mix.timer(600, print)), select(2, mix.timer(0, print))
            """) == [None, "too many timers", True, "userdata", "too many timers"]
        # All at once: those that run are counted until they have returned.
        assert client.lua("""
            for i = 2, 10000 do timers[i]:cancel() end
            for i = 1, 9999 do assert(mix.timer(0, function() ran = ran + 1 mix.sleep(0.5) ran = ran + 1 end)) end
            return mix.timer(0, print)""") == [None, "too many timers"]
        assert later(client, "ran >= 9999 and ran or nil") >= 9999
        assert later(client, "ran == 19998 and ran or nil", 20) == 19998
        engine.wait_metric("mixengine_tasks_suspended", 0)
        assert client.lua("return type(mix.timer(0, print))") == ["userdata"]


def test_timers_of_the_script_and_of_init(make_engine):
    engine = make_engine(ENTRY + """
        mix.timer(0, function() mix.queue.push("born", { from = "chunk" }) end)
        local lab_init = init
        function init()
            lab_init()
            mix.timer(0.1, function() mix.queue.push("born", { from = "init" }) end)
        end""", workers=2)
    with Consumer(engine.api_port, topics=["born"]) as consumer:
        consumer.wait_events(4)
        assert sorted(e.data["from"] for e in consumer.events) == ["chunk", "chunk", "init", "init"]
        assert {e.client for e in consumer.events} == {0}
    assert engine.run("check")[0] == 0


def test_stopping_with_timers(make_engine):
    """Those that wait to begin, those that wait inside, and what finalizers try at the very end."""
    engine = make_engine(ENTRY + """
        guard = newproxy(true)
        waiting = mix.timer(500, print)
        getmetatable(guard).__gc = function()
            mix.timer(0, print)
            waiting:cancel()
            mix.sleep(1)
            mix.queue.len("full")
            mix.mesh.count("all")
        end""", options={"topics": "full:1"}, workers=2, engine={"stopTimeout": 2})
    with Lab(engine.port) as client:
        client.lua("""
            mix.queue.push('full', {})
            for i = 1, 10 do
                mix.timer(0, function() mix.sleep(600) end)
                mix.timer(0, function() mix.queue.push('full', {}) end)
                mix.timer(600, print)
            end""")
        engine.wait_metric("mixengine_tasks_suspended", 20)
        engine.stop()


def test_a_script_that_fails_after_its_timers(make_engine):
    engine = make_engine("""
        guard = newproxy(true)
        getmetatable(guard).__gc = function() mix.timer(0, print) end
        mix.timer(0, print)
        mix.timer(500, print)
        error("broken")""", start=False)
    status, _, stderr = engine.run("single")
    assert status == 78 and "broken" in stderr


# ---- lengths and counts

def test_queue_len(make_engine):
    engine = make_engine(ENTRY, options={"topics": "t:3"}, queue={"maxTopics": 2})
    here, there = on_two_workers(engine.port)
    assert here.lua("return mix.queue.len('t')") == [0]
    for n in (1, 2, 3):
        assert here.lua("return mix.queue.push('t', {})") == [n]
        assert there.lua("return mix.queue.len('t')") == [n]
    there.send("=return mix.queue.push('t', {})")
    engine.wait_metric("mixengine_tasks_suspended", 1)
    assert here.lua("return mix.queue.len('t')") == [3]  # one that waits for room is not in it
    with Consumer(engine.api_port, topics=["t"]) as consumer:
        consumer.wait_events(4)
        assert values(there.text()) == [3]
        wait_until(lambda: here.lua("return mix.queue.len('t')") == [0], 5, "all handed over")
    # To ask does not make a topic.
    for _ in range(3):
        assert here.lua("return mix.queue.len('other')") == [None, "no such topic"]
    assert here.lua("return mix.queue.push('new', {}), mix.queue.len('new'), mix.queue.len(5)") == [
        1, 1, None, "no such topic"]
    here.drop()
    there.drop()


def test_mesh_count(shared):
    here, there = on_two_workers(shared.port)
    count = "return mix.mesh.count('counted')"
    assert here.lua(count) == [0]
    for n, client in enumerate((here, there), 1):
        assert client.lua("return conn:subscribe('counted', 'another')") == [None]
        assert here.lua(count) == there.lua(count) == [n]
    assert there.lua("return conn:unsubscribe('counted')") == [None]
    assert here.lua(count) == there.lua(count) == [1]
    assert here.lua("conn:subscribe('', 'a\\0b') return mix.mesh.count(''), mix.mesh.count('a\\0b'), mix.mesh.count('a')"
                    ) == [1, 1, 0]
    here.close()
    wait_until(lambda: there.lua(count) == [0], 5, "the channel is empty")
    there.drop()


def test_mesh_with_a_worker_that_does_not_answer(make_engine):
    engine = make_engine(ENTRY, workers=2)
    here, there = on_two_workers(engine.port)
    here.lua("conn:subscribe('c')")
    with spinning(there, engine, "return 'free again'"):
        here.lua("mix.timer(0, function() published = { mix.mesh.publish('nobody', 'x') } end)")
        assert here.lua("return mix.mesh.count('c')") == [None, "no answer from another worker"]
        wait_until(lambda: here.lua("return published") == [[0, 1]], 5, "a publish counts it as one failure")
    assert values(there.text()) == ["free again"]
    assert here.lua("return mix.mesh.count('c')") == [1]
    here.drop()
    there.drop()


# ---- closing with a code; why a client closed

@pytest.fixture(scope="module")
def closing(make_shared):
    return make_shared(ENTRY, options={"close": "gone"})


def why_gone(closing, act):
    """on_close's err after what `act` did to a new client."""
    with Consumer(closing.api_port, topics=["gone"]) as consumer:
        client = Lab(closing.port)
        act(client)
        event = wait_until(lambda: next((e for e in consumer.events if e.client == client.id), None), 10, "on_close")
        client.drop()
        return event.data.get("err")


@pytest.mark.parametrize("arguments, code, reason", [
    ("1000", 1000, ""), ("4000, 'kicked'", 4000, "kicked"), ("1008, ''", 1008, ""), ("4999, nil", 4999, ""),
    ("3000, ('x'):rep(123)", 3000, "x" * 123), ("3000, ('x'):rep(124)", 3000, "x" * 123),
    ("3000, ('\\226\\130\\172'):rep(42)", 3000, "€" * 41), ("3000, 'ab\\255cd'", 3000, "ab"), ("1011, 5", 1011, "5")])
def test_close_with_a_code(closing, arguments, code, reason):
    def act(client):
        client.send("~require('protocols/websocket').send_text(conn, 'last') "
                    f"again = {{ conn:close({arguments}), conn:close({arguments}) }}")
        frames, closed = client.end()
        assert [f.text for f in frames[:-1]] == ["last"]
        assert (frames[-1].code, frames[-1].payload[2:].decode()) == (code, reason) and not closed.reset
    assert why_gone(closing, act) is None


def test_close_without_a_code_sends_no_frame(closing):
    def act(client):
        client.send("~conn:close()")
        assert client.end()[0] == []
    assert why_gone(closing, act) is None


def test_close_of_a_closed_connection(closing):
    with Lab(closing.port) as client:
        client.send("=local first = conn:close(4000) keep = conn return first")
        assert [f.code for f in client.end()[0]] == [4000]
    with Lab(closing.port) as client:
        assert client.lua("return keep and keep:close(4000) or 'closed'") == ["closed"]


def test_close_with_a_code_where_there_are_no_frames(make_engine):
    engine = make_engine("""
        local text = require("protocols/text")
        function protocol_input(buf, conn) return text.input(buf, conn) end
        function on_message(data, conn) conn:send("bye") conn:close(4000, "why") end""")
    with Client(engine.port) as client:
        client.raw(b"go\n")
        assert client.sock.recv(100) == b"bye"
        assert client.sock.recv(100) == b""


@pytest.mark.parametrize("frame, err", [
    (close_frame(), None), (close_frame(1000, b"done"), None), (close_frame(1001), None),
    (close_frame(1002), "the client closed: 1002"), (close_frame(4001, b"bye"), "the client closed: 4001 bye"),
    (close_frame(3000, "€".encode() * 41), "the client closed: 3000 " + "€" * 41),
    (close_frame(1005), "bad close code")], ids=["empty", "1000", "1001", "1002", "4001", "long-reason", "bad-code"])
def test_why_a_client_closed(closing, frame, err):
    def act(client):
        client.raw(frame)
        client.end()
    got = why_gone(closing, act)
    assert got == err if err is None or err.startswith("the") else err in got


def test_a_client_that_only_hangs_up(closing):
    assert why_gone(closing, lambda client: client.sock.shutdown(socket.SHUT_WR)) is None
