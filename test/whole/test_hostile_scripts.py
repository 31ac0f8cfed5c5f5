"""Scripts that go wrong: they loop, take memory without end, recurse, fail at every message.

With SLOW there are fewer loops, and neither the budget's exact time nor resident memory is looked at: sanitizers change both.
"""

import os
import re
import signal

import pytest

from consumer import Api
from harness import SLOW, free_port, seconds, times, wait_until
from lab import ENTRY, Lab, LuaError, on_two_workers, values
from redis import Redis
from webserver import Web
from wsclient import CLOSE, TEXT, Client, Closed, frame, upgrade

PREEMPT = {"luavm": {"preempt": True}}


def ended(client):
    """The code of the close frame that the connection ends with."""
    frames, _ = client.end()
    return frames[-1].code if frames and frames[-1].opcode == CLOSE else None


def errors(engine):
    return engine.metrics()["mixengine_script_errors_total"]


# ---- loops, with preempt

LOOPS = {
    "plain": "while true do end",
    "allocating": "while true do local t = {} end",
    "calling": "while true do mix.time() end",
    "protected": "while true do pcall(function() while true do end end) end",
    "protected-again": "local function f() while true do pcall(f) end end f()",
    "handler": "while true do xpcall(error, function() while true do end end) end",
    "sort": "table.sort({1, 2, 3}, function() while true do end end)",
    "handler-in-sort": "table.sort({1, 2}, function() while true do xpcall(function() while true do local t = {} end end, "
                       "function() while true do end end) end end)",
    "handler-in-handler": "string.gsub('a', 'a', function() local function loop() while true do xpcall(loop, loop) end end loop() end)",
    "sort-protected": "while true do pcall(table.sort, {1, 2}, function() while true do pcall(error) end end) end",
    "gsub": "while true do pcall(string.gsub, 'aaa', 'a', function() while true do end end) end",
    "coroutine": "local f = coroutine.wrap(function() while true do end end) while true do f() end",
    "coroutines": "while true do coroutine.resume(coroutine.create(function() while true do pcall(error) end end)) end",
    "index": "return setmetatable({}, {__index = function() while true do end end}).x",
    "iterator": "for _ in function() while true do end end do end",
    "load": "while true do loadstring('return 1')() end",
    "collect": "while true do collectgarbage() end",
    "concat": "local s = '' while true do s = #s < 10000 and s .. 'x' or '' end",
    "fallible": "while true do pcall(error, {}) end",
    "json": "while true do mix.json_encode({1, 2, {a = 'b'}}) end",
    "leaves": "while true do conn:context() conn:context_value('a') conn:send('') pcall(conn.send) end",
    "c-then-back": "while true do ('a'):rep(40):find(('a-'):rep(6) .. 'b') end",
}
# ThreadSanitizer holds back a signal until the thread calls something that it intercepts.
ALLOCATE = ("allocating", "calling", "handler-in-sort", "load", "concat", "json")


@pytest.fixture(scope="module")
def preempt(make_shared):
    return make_shared(ENTRY, engine=PREEMPT)


def loops():
    return [pytest.param(code, id=name) for name, code in LOOPS.items() if not SLOW or name in ALLOCATE]


@pytest.mark.parametrize("code", loops())
def test_a_loop_is_ended(preempt, code):
    with Lab(preempt.port) as looping, Lab(preempt.port) as other, Lab(preempt.port) as another:
        before = errors(preempt)
        looping.send("~" + code)
        assert ended(looping) == 1011
        assert other.ask("x") == "x" and another.ask("x") == "x"
        assert errors(preempt) == before + 1


@pytest.mark.parametrize("name", ["allocating"] if SLOW else ["allocating", "gsub", "coroutine", "protected"])
def test_who_was_ended_is_named(make_engine, name):
    """In one line with a traceback, which names the script's line."""
    engine = make_engine(ENTRY, engine=PREEMPT)
    with Lab(engine.port) as looping:
        looping.send("~" + LOOPS[name])
        assert ended(looping) == 1011
        engine.wait_output(rf"on_message of client {looping.id} \(127[^\n]*has run for more than 100 ms[^\n]*\n"
                           r"\s+stack traceback:\n(\s+[^\n]*\n)*?[^\n]*snippet:1: ")
        assert len(re.findall(rf"ERROR script: .*client {looping.id} ", engine.log())) == 1


CALLS = """
local websocket = require("protocols/websocket")
local function loop() while true do local t = {} end end
local where = mix.server.option("where")
local function at(name) if where == name then loop() end end
function on_connect(conn) at("connect") end
function protocol_input(buf, conn)
    return websocket.input(buf, conn, "/", function() at("handshake") end)
end
function protocol_decode(str, conn) at("decode") return websocket.decode(conn) end
function protocol_encode(str) at("encode") return websocket.encode(str) end
function on_message(data, conn)
    if data.data == "bye" then return conn:close() end
    if data.data == "timer" then mix.timer(0, loop) end
    conn:subscribe("c")
    if data.data == "publish" then mix.mesh.publish("c", "x") end
    conn:send(websocket.encode(data.data))
end
function on_close(err, conn) at("close") mix.log(mix.INFO, "closed: " .. tostring(err)) end
"""


@pytest.mark.parametrize("where, handler", [
    ("connect", "on_connect"), ("handshake", "protocol_input"), ("decode", "protocol_decode")])
def test_a_loop_in_another_handler(make_engine, where, handler):
    engine = make_engine(CALLS, engine=PREEMPT, options={"where": where}, workers=1)
    with Client(engine.port) as client:
        client.raw(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        if where == "decode":
            client.send("x")
        client.rest()
    engine.wait_output(rf"{handler} of client \d+ [^\n]*has run for more than 100 ms")
    engine.wait_output("closed: a handler ran for too long")


def test_a_loop_in_on_close(make_engine):
    engine = make_engine(CALLS, engine=PREEMPT, options={"where": "close"}, workers=1)
    with Client(engine.port) as client:
        client.handshake("/")
        client.send("bye")
        client.end()
    engine.wait_output(r"on_close of client \d+ [^\n]*has run for more than 100 ms")
    engine.wait_metric("mixengine_connections", 0)


def test_a_loop_in_a_timer(make_engine):
    engine = make_engine(CALLS, engine=PREEMPT, workers=1)
    with Client(engine.port) as client:
        client.handshake("/")
        assert client.ask("timer") == "timer"
        engine.wait_output(r"timer: the handler has run for more than 100 ms")
        assert client.ask("x") == "x"


def test_a_loop_in_protocol_encode(make_engine):
    """Called for a consumer, the send fails; called from a handler, that is ended too, as the time is its own."""
    engine = make_engine(CALLS, engine=PREEMPT, options={"where": "encode"}, workers=1)
    with Client(engine.port) as client, Api(engine.api_port) as api:
        client.handshake("/")
        assert client.ask("x") == "x"
        assert api.publish("c", "x").result["fail"] == 1
        engine.wait_output(r"protocol_encode: [^\n]*the handler has run for more than 100 ms")
        assert client.ask("x") == "x"
        client.send("publish")
        engine.wait_output(r"(?s)protocol_encode: .*(protocol_encode: |repeated)", 30)


@pytest.mark.skipif(SLOW, reason="tells the processor's time from what a sanitizer takes of it")
def test_who_is_not_ended(preempt):
    """The budget is of the processor's time, between two suspensions, of one message."""
    busy = "local t = os.clock() while os.clock() < t + 0.06 do local x = {} end "
    with Lab(preempt.port) as client:
        assert client.lua("for i = 1, 3 do mix.sleep(0.06) end return 1") == [1]
        assert client.lua(f"for i = 1, 3 do {busy} mix.sleep(0.01) end return 1") == [1]
        client.raw(b"".join(frame(TEXT, f"={busy} return {i}".encode()) for i in range(4)))
        assert [values(client.text()) for i in range(4)] == [[0], [1], [2], [3]]
        os.kill(preempt.process.pid, signal.SIGSTOP)
        client.send(f"={busy} return 1")
        os.kill(preempt.process.pid, signal.SIGCONT)
        assert values(client.text()) == [1]


def test_loading_has_its_own_bound(make_engine):
    """A body and an init that take longer than a handler may."""
    busy = "local t = os.clock() while os.clock() < t + 0.15 do local x = {} end\n"
    entry = busy + "function init() " + busy + " end\n" + ENTRY.read_text().replace("function init()", "function old_init()")
    engine = make_engine(entry, engine=PREEMPT, workers=1)
    tried = 0

    def refusals():
        return engine.log().count("has not returned within 3 s")

    def loaded():
        nonlocal tried
        if refusals() >= tried:  # again, on a machine with other things to do
            tried = refusals() + 1
            os.kill(engine.process.pid, signal.SIGHUP)
        return client.lua("return edition") == [2]
    engine.write_entry(entry + "edition = 2\n")
    with Lab(engine.port) as client:
        wait_until(loaded, 40, "the new edition")
    tried = refusals()
    engine.write_entry("while true do local t = {} end\n")
    os.kill(engine.process.pid, signal.SIGHUP)
    wait_until(lambda: refusals() > tried, 30, "the refusal")
    with Lab(engine.port) as client:
        assert client.lua("return edition") == [2]


@pytest.mark.parametrize("luavm", [{}, {"preempt": True}], ids=["alone", "preempt"])
def test_a_message_handler_that_loops_while_a_script_is_loaded(make_engine, luavm):
    engine = make_engine(ENTRY, engine={"luavm": luavm})
    engine.write_entry("xpcall(function() while true do local t = {} end end, function() while true do end end)\n")
    os.kill(engine.process.pid, signal.SIGHUP)
    engine.wait_output(r"has not returned within 3 s", 30)
    with Lab(engine.port) as client:
        assert client.lua("return 1") == [1]


def test_scripts_cannot_undo_it(preempt):
    with Lab(preempt.port) as client:
        assert client.lua("jit.on() jit.on(true) return jit.status()")[0] is False
        with pytest.raises(LuaError, match="hook is the engine's"):
            client.lua("debug.sethook()")
        client.send("~jit.on() while true do local t = {} end")
        assert ended(client) == 1011


def test_without_preempt_a_loop_is_reported_and_others_go_on(make_engine):
    engine = make_engine(ENTRY, workers=2)
    looping, other = on_two_workers(engine.port)
    looping.send("~loop = true while loop do local t = {} end")
    engine.wait_output(rf"on_message of client {looping.id} has not returned for .* engine.luavm.preempt")
    for i in range(100):
        assert other.ask(str(i)) == str(i)
    engine.kill()


def test_the_watchdog_says_why_nothing_is_ended(make_engine, tmp_path):
    """A C function that waits uses none of the processor's time, of which the budget is."""
    engine = make_engine(ENTRY, engine=PREEMPT)
    go_on = tmp_path / "go on"
    with Lab(engine.port) as client:
        client.send(f"=os.execute('until test -e \"{go_on}\"; do sleep 0.1; done') return 1")
        engine.wait_output(rf"on_message of client {client.id} has not returned for .*handlerBudget, of the processor's time, is not used up")
        go_on.touch()
        assert values(client.text()) == [1]


# ---- memory

LIMIT = 16 << 20
MEMORY = {"memoryLimit": LIMIT}
REFUSED = r"not enough memory \(engine\.luavm\.memoryLimit: 16 MiB\)"


def with_two_scripts(make, luavm):
    """Two servers on one worker: what the first one's script takes is not the second one's."""
    port = free_port()
    engine = make(ENTRY, workers=1, engine={"luavm": luavm},
                  servers=[{"port": port, "bind": "127.0.0.1", "entry": "lua/entry.lua"}])
    engine.second = port
    return engine


@pytest.fixture(scope="module", params=["alone", "preempt"])
def narrow(make_shared, request):
    extra = {"preempt": True, "handlerBudget": 60000} if request.param == "preempt" else {}
    engine = with_two_scripts(make_shared, {**MEMORY, **extra})
    engine.quiet = engine.peak()
    return engine


def serves(port):
    """A new client is served; a message that memory was refused for has no answer."""
    try:
        with Lab(port, timeout=0.5) as client:
            return client.ask("x" * 1000) == "x" * 1000
    except (Closed, LuaError, TimeoutError):
        return False


def recovers(engine):
    wait_until(lambda: serves(engine.port), 20, "the script serves its clients")
    wait_until(lambda: engine.metric("mixengine_lua_memory_bytes") < LIMIT, 20, "memory comes back")


GROWTH = {
    "strings": "big[#big + 1] = ('x'):rep(1000) .. #big",
    "tables": "big[#big + 1] = {#big}",
    "fields": "big['k' .. #big] = #big big[#big + 1] = 1",
    "closures": "local n = #big big[n + 1] = function() return n end",
    "coroutines": "big[#big + 1] = coroutine.create(print)",
    "one string": "big.s = (big.s or 'x') .. (big.s or 'x')",
    "concat": "big.s = table.concat({big.s or 'x', big.s or 'x'})",
    "bomb": "big.s = ('x'):rep(1e9)",
    "stack": "big.n = (big.n or 100) * 2 big.s = {unpack({}, 1, math.min(big.n, 7000))} big[#big + 1] = big.s",
    "userdata": "big[#big + 1] = newproxy(true)",
    "cdata": "big[#big + 1] = require('ffi').new('char[?]', 5000)",
    "json": "big[#big + 1] = mix.json_decode('[' .. ('[1],'):rep(1000) .. '1]')",
    "split": "big[#big + 1] = mix.str_split(('a,'):rep(1000), ',')",
    "base64": "big[#big + 1] = mix.base64_encode(('x'):rep(5000) .. #big)",
    "code": "big[#big + 1] = assert(loadstring('return ' .. #big))",
    "context": "conn:set_context_value('k' .. #big, ('x'):rep(1000) .. #big) big[#big + 1] = 1",
    "gsub": "big[#big + 1] = ('x'):rep(1000):gsub('x', function() return #big end) .. #big",
    "sort": "table.sort({1, 2, 3}, function(a, b) big[#big + 1] = {} return a < b end)",
    "protected": "pcall(function() while true do big[#big + 1] = {} end end) big[#big + 1] = {}",
}


@pytest.mark.parametrize("grow", GROWTH.values(), ids=GROWTH)
def test_memory_without_end(narrow, grow):
    """Each message that takes more fails with an error, and nobody else's script notices."""
    with Lab(narrow.second) as other:
        for _ in range(2):
            with Lab(narrow.port) as client:
                before = errors(narrow)
                client.send(f"~local big = {{}} while true do {grow} end")
                wait_until(lambda: errors(narrow) > before, 30, "the script's error")
                assert other.ask("x" * 1000) == "x" * 1000
            recovers(narrow)
    assert SLOW or narrow.peak() < narrow.quiet + 2 * LIMIT
    assert re.search(REFUSED, narrow.log())


@pytest.mark.parametrize("name", ["strings", "tables", "cdata"])
def test_the_garbage_of_a_refused_message_is_gone_before_the_next(make_engine, name):
    engine = make_engine(ENTRY, workers=1, engine={"luavm": MEMORY})
    with Lab(engine.port) as client:
        client.raw(frame(TEXT, f"~local big = {{}} while true do {GROWTH[name]} end".encode())
                   + frame(TEXT, b"=return collectgarbage('count') * 1024"))
        assert values(client.text())[0] < LIMIT // 4


def test_the_most_that_a_full_heap_takes(narrow):
    """The engine's own work for clients of a full heap goes beyond the ceiling, but not far."""
    with Lab(narrow.port) as client:
        before = errors(narrow)
        client.send("~while true do hoard = {hoard} end")
        wait_until(lambda: errors(narrow) > before, 30, "the script's error")
    most = 0
    with Lab(narrow.second) as other:
        for _ in range(times(30)):
            with Client(narrow.port) as client:
                client.raw(upgrade("/", "dGhlIHNhbXBsZSBub25jZQ==") + frame(TEXT, "x" * 60000) * 20)
                assert other.ask("x") == "x"
            most = max(most, narrow.metric("mixengine_lua_memory_bytes"))
    assert most < LIMIT * 5 // 4
    narrow.write_entry(ENTRY.read_text() + f"edition = {id(narrow)}\n")
    os.kill(narrow.process.pid, signal.SIGHUP)
    recovers(narrow)


def test_garbage_does_not_count_for_long(narrow):
    """Many times the ceiling in all, at different shares that are in use."""
    recovers(narrow)
    with Lab(narrow.port) as client:
        for share in (10, 40, 70, 90):
            assert client.lua(f"""
                collectgarbage()
                local keep, n = {{}}, 0
                for i = 1, {times(30000)} do
                    keep[i % {LIMIT * share // 100 // 10100 - 200}] = ('x'):rep(10000) .. i
                end
                return 1""") == [1]


# What is called with ever more memory to be had, so that each of its allocations is the first that fails.
STARVED = {
    "json": "mix.json_encode(mix.json_decode('{\"a\":[1,2,\"x\",{\"b\":null}],\"c\":\"d\"}'))",
    "text": "mix.str_split('a,b,c', ',') mix.base64_decode(mix.base64_encode('abc'))",
    "strings": "local function f(n, s) if n > 0 then return (f(n - 1, s)) .. 'x' end "
               "return s:sub(2) .. s:upper() .. s:lower() .. tostring(N + 0.5) .. string.char(N % 99, 65) end f(6, 'abc' .. N)",
    "send": "conn:send('') conn:send('', 'binary')",
    "context": "conn:context() conn:set_context_value('k' .. N, 'v') conn:context_value('k' .. N)",
    "subscribe": "conn:subscribe('c' .. N) conn:unsubscribe('c' .. N)",
    "publish": "mix.mesh.publish('nobody' .. N, 'x')",
    "queue": "mix.queue.push('t', {a = {1, 2}})",
    "timer": "mix.timer(0, function() end) mix.timer(1000, function() end):cancel()",
    "sleep": "mix.sleep(0)",
    "http": "local answer = assert(mix.http.request('POST', URL .. N, {headers = {a = 'b'}, body = 'x', timeout = 60})) "
            "assert(answer.status_code == 200 and #answer.body > 0)",
    "redis": "local found, err = mix.redis.connection():command('lrange', 'list', 0, -1) "
             "assert(found and #found == 3 or err:find('timeout:'), err)",
    "log": "mix.log(mix.DEBUG, 'x' .. N)",
    "require": "package.loaded['prettyprint'] = nil require('prettyprint') pcall(require, 'none' .. N)",
    "coroutine": "coroutine.wrap(function() coroutine.yield() end)()",
    "finalizer": "getmetatable(newproxy(true)).__gc = function() local t = {} end",
}


@pytest.fixture(scope="module")
def starving(make_shared, tmp_path_factory):
    redis = Redis(tmp_path_factory.mktemp("redis"))
    with Web() as web:
        try:
            redis.start().run("RPUSH", "list", "a", "b", "c")
            luavm = {"memoryLimit": 4 << 20, "redis": [{"addr": redis.addr, "minIdleConns": 0}]}
            engine = make_shared(ENTRY, workers=2, engine={"luavm": luavm})
            engine.url = web.url
            yield engine
        finally:
            redis.kill()


# Here it is the engine alone that allocates, and it is never refused.
UNREFUSED = ("sleep",)


@pytest.mark.parametrize("name", STARVED)
def test_each_allocation_that_fails(starving, name):
    """With next to nothing left, then ever more: there are errors, no other ones, and at last it works."""
    with Lab(starving.port, timeout=40) as client:
        refused, other, done = client.lua(f"""
            local bytes, refused, other, URL = require("ffi").typeof("char[?]"), 0, nil, "{starving.url}/"
            local function run(N) {STARVED[name]} end
            run(0)
            for i = 1, 120 do
                collectgarbage() collectgarbage("stop")
                local left = {4 << 20} - collectgarbage("count") * 1024 - i * i / 2
                local there, ballast = pcall(bytes, left)
                local ok, err = pcall(run, i)
                ballast = nil
                if there and not ok then
                    if tostring(err):find("not enough memory") then refused = refused + 1
                    else other = tostring(err) end
                end
            end
            collectgarbage() collectgarbage("restart")
            return refused, other, (pcall(run, 0))""")
        assert other is None and done is True
        assert refused > 0 or name in UNREFUSED
        assert client.ask("x") == "x"


def test_recursion_while_a_script_is_loaded(make_engine):
    """At the start it has a stack as large as later; Lua's own limit comes first."""
    recursion = "\nlocal function f() string.gsub('a', 'a', f) end\nfound = select(2, pcall(f))\n"
    engine = make_engine(ENTRY.read_text() + recursion)
    with Lab(engine.port) as client:
        assert "stack overflow" in client.lua("return found")[0]
    assert engine.run("check")[0] == 0


def test_memory_at_each_message(make_engine):
    """A script that keeps what it has got: each message fails, other scripts do not, and a better script frees it."""
    engine = with_two_scripts(make_engine, MEMORY)
    with Lab(engine.port) as client, Lab(engine.second) as other:
        client.raw(frame(TEXT, b"~while true do hoard = {hoard} end") * 50)
        client.end()
        assert engine.metric("mixengine_script_errors_total") > 1
        assert other.ask("x") == "x"
    engine.write_entry(ENTRY.read_text() + "edition = 2\n")
    os.kill(engine.process.pid, signal.SIGHUP)
    recovers(engine)


def test_a_script_that_needs_more_to_load(make_engine):
    engine = make_engine("local t = {} while true do t[#t + 1] = {} end", start=False, engine={"luavm": MEMORY})
    status, out, err = engine.run("single")
    assert status == 78 and re.search(REFUSED, out + err + engine.log())


# ---- recursion, odd errors, and what could end the process

RECURSION = {
    "function": ("local function f() return f() + 1 end f()", "stack overflow"),
    "protected": ("local function f() local _, err = pcall(f) error(err, 0) end f()", "overflow"),
    "gsub": ("local function f() string.gsub('a', 'a', f) end f()", "stack overflow"),
    "sort": ("local function f() table.sort({1, 2, 3}, f) end f()", "stack overflow"),
    "coroutines": ("local function f() coroutine.wrap(f)() end f()", "resume each other too deeply"),
    "resumes": ("local function f() assert(coroutine.resume(coroutine.create(f))) end f()", "resume each other too deeply"),
    "coroutines in gsub": ("local function f() string.gsub('a', 'a', coroutine.wrap(f)) end f()", "too deeply"),
    "tostring": ("local t = {} setmetatable(t, {__tostring = function() return tostring(t) .. 'x' end}) tostring(t)", "overflow"),
    "index": ("local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x", "loop in gettable"),
    "index function": ("local t t = setmetatable({}, {__index = function(_, k) return t[k] .. k end}) return t.x", "overflow"),
    "concat": ("local t = setmetatable({}, {__concat = function(a, b) return a .. b end}) return t .. t", "overflow"),
    "parser": ("assert(loadstring(('('):rep(10000) .. '1' .. (')'):rep(10000)))", "levels|overflow"),
    "pattern": ("return (('a'):rep(300000)):find(('(a'):rep(40))", "pattern|captures"),
    "json": ("local t = {} t[1] = t assert(mix.json_encode(t))", "nested too deeply"),
    "json text": ("assert(mix.json_decode(('['):rep(100000)))", "nested too deeply"),
    "cjson": ("local t = {} t[1] = t require('cjson').encode(t)", "excessive|nesting"),
    "cjson text": ("require('cjson').decode(('['):rep(100000))", "nest"),
    "unpack": ("return unpack({}, 1, 1e8)", "too many results"),
}


@pytest.mark.timeout(seconds(120))
@pytest.mark.parametrize("code, error", RECURSION.values(), ids=RECURSION)
def test_recursion_without_end(lab, code, error):
    """Each level is an error that unwinds the stack, which takes a sanitizer long."""
    with Lab(lab.port, timeout=60) as client, pytest.raises(LuaError, match=error):
        client.lua(code)
    with Lab(lab.port, timeout=60) as client:
        client.send("~" + code)
        assert client.ask("x") == "x"


@pytest.fixture(scope="module")
def lab(make_shared):
    return make_shared(ENTRY, workers=1)


ODD = {
    "table": ("error({})", "error object is a table value"),
    "nil": ("error()", "error object is a nil value"),
    "false": ("error(false)", "error object is a boolean value"),
    "function": ("error(print)", "error object is a function value"),
    "number": ("error(42)", "42"),
    "binary": ("error('a\\0b\\27[31mc')", "a"),
    "long": ("error(('x'):rep(1e7))", "x{1000}"),
    "handler that fails": ("xpcall(error, error) error('after')", "after"),
    "yield": ("coroutine.yield(1)", "only calls that wait"),
    "exit": ("os.exit(1)", "a script cannot end the engine"),
    "traceback": ("debug.traceback = nil error('no traceback')", "no traceback"),
    "tostring": ("tostring = nil error('no tostring')", "no tostring"),
}


@pytest.mark.parametrize("code, error", ODD.values(), ids=ODD)
def test_odd_errors(make_engine, code, error):
    engine = make_engine(ENTRY, workers=1)
    with Lab(engine.port) as client:
        client.send("~" + code)
        assert client.ask("x") == "x"
    engine.wait_output(rf"on_message of client {client.id} [^\n]*{error}")


FINALIZERS = {
    "proxy": "for i = 1, 300 do getmetatable(newproxy(true)).__gc = fail end",
    "one after the other": "for i = 1, 300 do local m = getmetatable(newproxy(true)) m.__gc = print m.__gc = fail end",
    "no string": "for i = 1, 300 do getmetatable(newproxy(true)).__gc = function() error({'gone wrong'}) end end",
    "no function": "for i = 1, 300 do getmetatable(newproxy(true)).__gc = 'gone wrong' end",
    "cdata": "for i = 1, 300 do ffi.gc(ffi.new('int[1]'), fail) end",
    "C function": "ffi.cdef('int abs(int);') for i = 1, 300 do ffi.gc(ffi.new('int[1]'), ffi.C.abs) end",
    "ctype": "local t = ffi.metatype('struct { int x; }', {__gc = fail}) for i = 1, 300 do t() end",
    "connection": "getmetatable(conn).__gc = print getmetatable(conn).__gc = fail",
    "timer": "getmetatable(mix.timer(0, print)).__gc = fail for i = 1, 100 do mix.timer(0, print) end",
    "redis": "getmetatable(mix.redis.connection()).__gc = fail for i = 1, 300 do mix.redis.connection() end",
    "file": "local m = getmetatable(io.stdout) local close = m.__gc m.__gc = function(file) close(file) fail() end "
            "for i = 1, 100 do io.open('/dev/null') end",
}


@pytest.mark.parametrize("code", FINALIZERS.values(), ids=FINALIZERS)
def test_finalizers_that_fail(make_engine, code):
    """They run in the midst of whatever takes memory, the engine's own work too."""
    engine = make_engine(ENTRY, workers=1)
    with Lab(engine.port) as client:
        client.send("~local ffi, fail = require('ffi'), function() error('gone wrong') end " + code)
        for _ in range(times(300)):
            with Lab(engine.port) as other:
                assert other.ask("x" * 100) == "x" * 100
        assert client.lua("collectgarbage() collectgarbage() return 1") == [1]
    engine.wait_output(r"a finalizer: [^\n]*(gone wrong|is a table value|attempt to call|cannot convert)")
    assert not re.search(r"on_message of|on_connect of", engine.log())


def test_finalizers_still_work(lab):
    with Lab(lab.port) as client:
        assert client.lua("""
            local ffi, n = require('ffi'), 0
            local function count() n = n + 1 end
            do
                getmetatable(newproxy(true)).__gc = count
                local kept = ffi.gc(ffi.new('int[1]'), count)
                ffi.gc(kept, nil)
                ffi.gc(ffi.new('int[1]'), count)
                ffi.metatype('struct { char x; }', {__gc = count})()
            end
            collectgarbage() collectgarbage()
            return n""") == [3]


def test_metatables_still_work(lab):
    """Those of proxies, and what others can be asked."""
    with Lab(lab.port) as client:
        assert client.lua("""
            local p, n = newproxy(true), 0
            local m = getmetatable(p)
            local function first() n = n + 1 end
            local function second() n = n + 10 end
            m.__gc = first
            assert(m.__gc == first and getmetatable(newproxy(p)) == m)
            m.__gc = second
            assert(m.__gc == second)
            m.__index, m.__len, m.kind = {x = 'i'}, function() return 7 end, 'k'
            local r = {p.x, #p, m.kind, m.__index.x, tostring(m.none)}
            m.__index = function(_, k) return k end
            r[6] = p.y
            local q = newproxy(true)
            getmetatable(q).__gc = first
            getmetatable(q).__gc = nil
            assert(getmetatable(q).__gc == nil)
            m.__metatable = 'mine'
            r[7] = getmetatable(p)
            m, p, q = nil, nil, nil
            collectgarbage() collectgarbage()
            r[8] = n
            return unpack(r)""") == ["i", 7, "k", "i", "nil", "y", "mine", 20]
        assert client.lua("""
            getmetatable(conn).__index.own_method = function(c) return c:client_id() end
            local same = conn:own_method() == conn:client_id()
            getmetatable(conn).__index.own_method = nil
            return same, getmetatable(io.stdout).__index == io.stdout.close, type(getmetatable(io.stdout).__tostring),
                   newproxy() ~= newproxy(), getmetatable(newproxy())""") == [True, False, "function", True, None]


# As the library raises them, with the script's own line.
MISUSE = {
    "newproxy": ("local p = newproxy(1)", "snippet:1: bad argument #1 to 'newproxy' (boolean or proxy expected)"),
    "wrap": ("local f = coroutine.wrap(nil)", "snippet:1: bad argument #1 to 'wrap' (function expected, got nil)"),
    "xpcall": ("local ok = xpcall(print, nil)", "snippet:1: bad argument #2 to 'xpcall' (function expected, got nil)"),
    "resume": ("local ok = coroutine.resume(1)", "bad argument #1 to 'resume' (coroutine expected)"),
}


@pytest.mark.parametrize("code, error", MISUSE.values(), ids=MISUSE)
def test_misuse_is_named_where_it_is(lab, code, error):
    with Lab(lab.port) as client, pytest.raises(LuaError, match=re.escape(error)):
        client.lua(code)


def test_message_handlers_still_work(lab):
    with Lab(lab.port) as client:
        assert client.lua("""
            local function fail(x) error('e' .. x, 0) end
            local ok, err = xpcall(fail, function(e) return e .. '!' end, 1)
            local _, trace = xpcall(fail, debug.traceback, 2)
            local _, odd = xpcall(error, type, {})
            local _, twice = xpcall(fail, function(e) error(e) end, 3)
            local same = xpcall(mix.sleep, print, 0.001)
            return ok, err, trace:match('^e2\\nstack traceback:\\n[^\\n]*error[^\\n]*\\n[^\\n]*snippet:2: in '),
                   odd, type(twice), same, select('#', xpcall(function(...) return ... end, print, nil, nil)),
                   (select(2, xpcall(function(...) return ... end, print, 5)))""")[:] == [
                       False, "e1!", "e2\nstack traceback:\n\t[C]: in function 'error'\n\tsnippet:2: in ", "table",
                       "string", True, 3, 5]


def test_coroutines_still_work(lab):
    with Lab(lab.port) as client:
        assert client.lua("""
            local co = coroutine.create(function(a, b) local c = coroutine.yield(a + b) error('e' .. c, 0) end)
            local f = coroutine.wrap(function(...) coroutine.yield(...) error('f', 0) end)
            local r = { f(1, nil, 3) }
            local ok, err = pcall(f)
            return select(2, coroutine.resume(co, 1, 2)), select(2, coroutine.resume(co, 4)), coroutine.status(co),
                   select(2, coroutine.resume(co)), r[3], ok, err, pcall(coroutine.resume, 1)""")[:7] == [
                       3, "e4", "dead", "cannot resume dead coroutine", 3, False, "f"]


ABUSE = {
    "hook": "debug.sethook(function() end, 'crl', 1) debug.sethook()",
    "registry": "for k in pairs(debug.getregistry()) do end",
    "upvalues": "for i = 1, 9 do debug.getupvalue(mix.log, i) end",
    "metatable of numbers": "debug.setmetatable(1, {__index = function() error('x') end}) pcall(function() return (1).x end) debug.setmetatable(1, nil)",
    "files": "local f = assert(io.tmpfile()) f:write('x') f:close() pcall(f.write, f, 'x') pcall(io.open) assert(not io.open('/none'))",
    "ffi": "local ffi = require('ffi') pcall(ffi.cdef, 'nonsense (') pcall(function() return ffi.C.no_such_function_at_all end)",
    "modules": "pcall(require, 'no.such.module') pcall(require, '../../etc/passwd') package.path = 1 pcall(require, 'x') package.path = ''",
    "metatables": "local m = getmetatable(newproxy(true)) rawset(m, '__gc', error) setmetatable({}, getmetatable(conn)) "
                  "assert(not pcall(setmetatable, m, nil)) assert(getmetatable(conn) == getmetatable(conn)) collectgarbage()",
    "collector": "collectgarbage('stop') local t = {} for i = 1, 1e4 do t[i] = {} end collectgarbage('restart') collectgarbage('setpause', 1)",
}


@pytest.mark.parametrize("code", ABUSE.values(), ids=ABUSE)
def test_what_scripts_may_reach(make_engine, code):
    engine = make_engine(ENTRY, workers=1)
    with Lab(engine.port) as client:
        client.send("~" + code)
        assert client.ask("x") == "x"
        with Lab(engine.port) as other:
            assert other.lua("return 1") == [1]
    assert "on_message of" not in engine.log()


# ---- errors at every message

def test_errors_at_every_message(lab):
    """Connections live, others are served, and the log holds back what repeats."""
    count = 200 if SLOW else 5000
    with Lab(lab.port) as client, Lab(lab.port) as other:
        before = errors(lab)
        client.raw(frame(TEXT, b"~error('again')") * count)
        for i in range(50):
            assert other.ask(str(i)) == str(i)
        assert client.ask("x") == "x"
        wait_until(lambda: errors(lab) == before + count, 20, "all errors counted")
    assert lab.log().count(": again") < count / 10
