"""Ends, limits and mistakes that meet each other: each of these was or could be a hang, a crash or a loss."""

import json
import resource
import signal
import socket
import threading
import time

import pytest

import lab
import wsclient
from consumer import Api, Consumer
from harness import free_port, seconds, wait_until
from lab import Lab
from wsclient import Client, Closed

LINES = """
local text = require("protocols/text")
function protocol_input(buf, conn) return text.input(buf, conn) end
function protocol_decode(str, conn) return text.decode(str) end
function on_message(data, conn)
    local f = data:sub(1, 1) == "=" and assert(loadstring("local conn = ... " .. data:sub(2)))
    conn:send((f and tostring((f(conn))) or data) .. "\\n")
end
"""


class Lines(Client):
    def ask(self, text):
        self.raw(text.encode() + b"\n")
        return self.line().decode()


# ---- what scripts may do without taking the engine down

def test_globals_that_must_be_declared(make_engine):
    """The handlers that a script leaves out are looked up too."""
    engine = make_engine("""
        function protocol_input(buf, conn) return buf:length() end
        setmetatable(_G, { __index = function(_, name) error("undeclared " .. name) end })""")
    with Client(engine.port) as client, Api(engine.api_port) as api:
        client.raw(b"x")
        assert api.publish("nowhere", "x").error is None
        engine.wait_metric("mixengine_read_messages_total", 1)
    with Client(engine.port) as client:
        client.raw(b"x")
        engine.wait_metric("mixengine_read_messages_total", 2)


def test_handlers_that_are_inherited(make_engine):
    engine = make_engine("local handlers = {}\n" + LINES.replace("function on_message(", "function handlers.on_message(") +
                         "setmetatable(_G, { __index = handlers })")
    with Lines(engine.port) as client:
        assert client.ask("x") == "x"


def test_sending_in_init(make_engine):
    ids = [str(1 << 53 | worker << 47 | 1 << 29 | 60000000) for worker in range(2)]
    engine = make_engine(LINES + "function init() outcome = ''" + "".join(
        f" outcome = outcome .. tostring(mix.mesh.send('{number}', 'x'))" for number in ids) + " end")
    with Lines(engine.port) as client:
        assert "no such client" in client.ask("=return outcome")


@pytest.mark.parametrize("call", ["mix.mesh.publish('all', str)", "mix.mesh.send(id, str)"])
def test_an_encoder_that_sends_for_ever(make_engine, call):
    engine = make_engine(LINES + "count = 0 function protocol_encode(str) count = count + 1 " + call + " return str end", workers=1)
    with Lines(engine.port) as client:
        client.ask("=id = conn:client_id() conn:subscribe('all')")
        client.raw(b"=mix.mesh.publish('all', 'x\\n')\n")
        client.raw(b"=return 'count ' .. count\n")
        while not (line := client.line()).startswith(b"count"):
            pass
        assert 1 < int(line.split()[1]) < 10
        engine.wait_output("protocol_encode")


def test_encoders_that_send_to_each_other_for_ever(make_engine):
    """Each worker's publish has the other's encoder publish again."""
    engine = make_engine(LINES + "function protocol_encode(str) mix.mesh.publish('all', str) return str end", workers=2)
    with Lines(engine.port) as one, Lines(engine.port) as two:
        for client in one, two:
            client.ask("=conn:subscribe('all')")
        one.raw(b"=mix.mesh.publish('all', 'x\\n')\n")

        def settled():
            before = engine.metrics()["mixengine_send_messages_total"]
            time.sleep(0.2)  # a loop would go on in this time
            return 2 < before == engine.metrics()["mixengine_send_messages_total"] < 100000
        wait_until(settled, 10, "the end of it")


@pytest.mark.parametrize("code", [
    "local function f() return (('x'):gsub('x', f)) end f()",
    "local function f() table.sort({ 2, 1 }, function() f() end) end f()",
    "local function f() return pcall(f) end f()",
    "local t = {} setmetatable(t, { __index = function(_, k) return t[k] end }) return t.x"])
def test_recursion_through_c(make_engine, code):
    engine = make_engine(LINES, workers=1)
    with Lines(engine.port) as client:
        client.raw(f"={code}\n=return 7\n".encode())
        while client.line() != b"7":
            pass


def test_stopping_with_a_script_that_does_not_return(make_engine):
    engine = make_engine(LINES, workers=2, engine={"stopTimeout": 1})
    with Lines(engine.port) as client:
        assert client.ask("x") == "x"
        client.raw(b"=while true do end\n")
        engine.wait_output("has not returned")
        engine.process.send_signal(signal.SIGTERM)
        assert engine.process.wait(seconds(10)) not in (None, -signal.SIGKILL)
    engine.kill()


def test_a_busy_worker_is_no_stall(make_engine):
    """Many short calls in one turn of the loop: none of them has not returned."""
    engine = make_engine(LINES.replace("conn:send(", "local till = os.clock() + 0.02 repeat until os.clock() > till conn:send("), workers=1)
    with Lines(engine.port) as client:
        client.raw(b"x\n" * 100)
        for _ in range(100):
            client.line()
        assert engine.metric("mixengine_stalls_total") == 0


# ---- bytes

def test_an_empty_message_without_an_encoder(make_engine):
    engine = make_engine(LINES, workers=1)
    with Lines(engine.port) as client, Api(engine.api_port) as api:
        number = int(client.ask("=conn:subscribe('all') return conn:client_id()"))
        api.mesh_send(number, "")
        api.publish("all", "")
        assert api.mesh_send(number, "after\n").error is None
        assert client.line() == b"after"
        assert client.ask("still here") == "still here"


def test_a_packet_larger_than_read_ahead_behind_a_suspended_handler(make_engine):
    engine = make_engine(LINES.replace("local text", "local long = { }\nlocal text").replace(
        "return text.input(buf, conn)",
        "local n = buf:tostring():find('\\n', 1, true) return n or 0"), server={"readAhead": 4096})
    with Lines(engine.port) as client, Api(engine.api_port) as api:
        number = int(client.ask("=return conn:client_id()"))
        client.raw(b"=return conn:wait_context_value('k')\n" + b"x" * 200000 + b"\n")
        engine.wait_metric("mixengine_tasks_suspended", 1)
        assert client.silent(0.2)
        assert api.func(number, "set_context_value", "k", 7).error is None
        assert client.line() == b"7"
        assert client.line() == b"x" * 200000


def test_who_reads_is_not_slow(make_engine):
    """More than maxBacklog in one go, to a client that takes it."""
    engine = make_engine(LINES, server={"maxBacklog": 65536})
    with Lines(engine.port) as client:
        client.raw(b"=for i = 1, 300 do conn:send(('x'):rep(999) .. '\\n') end\n")
        for _ in range(300):
            assert client.line() == b"x" * 999
        assert client.line() == b"nil"


def test_a_stalled_worker_times_nobody_out(make_engine):
    """What has arrived while a script held the loop up is read first."""
    engine = make_engine(LINES, workers=1, server={"readTimeout": 1})
    with Lines(engine.port) as busy, Lines(engine.port) as other:
        assert other.ask("there") == "there"
        busy.raw(b"=local till = os.time() + 2 repeat until os.time() > till\n")
        for _ in range(18):
            other.raw(b"x\n")
            time.sleep(0.1)
        for _ in range(18):
            assert other.line() == b"x"


# ---- WebSocket

def test_no_frame_before_the_handshake(make_engine):
    engine = make_engine(lab.ENTRY.read_text().replace(
        "function on_connect(conn)", "function on_connect(conn) mix.queue.push('open', {})"))
    with Consumer(engine.api_port, topics=["open"]) as consumer, Api(engine.api_port) as api, \
            Client(engine.port) as client:
        number = consumer.wait_events(1)[0].client
        assert api.func(number, "subscribe", "all").error is None
        assert api.mesh_send(number, "early").code == 401
        assert api.publish("all", "early").result["fail"] == 1
        client.handshake("/")
        assert api.mesh_send(number, "now").error is None
        assert client.text() == "now"


def test_a_script_of_two_protocols(make_engine):
    """Who speaks the other one owes no handshake."""
    engine = make_engine("""
        local text, websocket = require("protocols/text"), require("protocols/websocket")
        local function is_http(conn) return conn:context_value("http") end
        function protocol_input(buf, conn)
            if is_http(conn) == nil then conn:set_context_value("http", buf:tostring():sub(1, 1) == "G") end
            if is_http(conn) then return websocket.input(buf, conn, "/") end
            return text.input(buf, conn)
        end
        function protocol_decode(str, conn)
            if is_http(conn) then return websocket.decode(conn) end
            return text.decode(str)
        end
        function protocol_encode(str, conn) return is_http(conn) and websocket.encode(str) or text.encode(str) end
        function on_message(data, conn) mix.mesh.send(conn:client_id(), type(data) == "table" and data.data or data) end
        """, server={"handshakeTimeout": 1})
    with Lines(engine.port) as lines, Client(engine.port).handshake("/") as socket_client:
        assert lines.ask("one") == "one" and socket_client.ask("two") == "two"
        assert lines.silent(1.5)
        assert lines.ask("three") == "three" and socket_client.ask("four") == "four"


def test_a_suspended_on_connect_is_not_the_clients_slowness(make_engine):
    engine = make_engine(lab.ENTRY.read_text().replace(
        "function on_connect(conn)", "function on_connect(conn) mix.queue.push('open', conn:wait_context_value('go'))"),
        server={"handshakeTimeout": 1})
    with Client(engine.port) as client, Api(engine.api_port) as api:
        client.raw(wsclient.upgrade("/", "AAAAAAAAAAAAAAAAAAAAAA=="))
        assert client.silent(2)


def test_a_suspended_protocol_input_that_wants_more_is_called_when_there_is_more(make_engine):
    """Else half a packet would keep it going for ever, and its read timer would never run."""
    first = seconds(0.5)  # long enough to be seen
    engine = make_engine("""
        function protocol_input(buf, conn)
            seen = (seen or "") .. buf:length()
            mix.sleep(buf:length() == 1 and %s or 0.05)
            return buf:length() == 3 and 3 or 0
        end
        function on_message(data, conn) conn:send(seen .. "\\n") end""" % first, workers=1, server={"readTimeout": 2})
    with Lines(engine.port) as client:
        client.raw(b"a")
        engine.wait_metric("mixengine_tasks_suspended", 1)
        client.raw(b"b")  # while it waits
        assert client.silent(first + 0.5)
        client.raw(b"c")
        assert client.line() == b"123"
    with Lines(engine.port) as client:
        client.raw(b"a")
        with pytest.raises(Closed):
            client.more()  # the read timeout


def test_a_suspended_protocol_input_that_clears_the_buffer(make_engine):
    engine = make_engine("""
        function protocol_input(buf, conn)
            local packet = buf:tostring()
            mix.sleep(0.05)
            conn:clear_buffer()
            conn:send(packet .. "\\n")
            return 0
        end""", workers=1)
    with Lines(engine.port) as client:
        for text in ("abc", "def", "gh"):
            client.raw(text.encode())
            assert client.line().decode() == text


def test_a_suspended_protocol_input_whose_client_has_gone(make_engine):
    """What it can read and what it is told of agree."""
    engine = make_engine("""
        function protocol_input(buf, conn)
            mix.sleep(60)
            local length = buf:length()
            mix.log(mix.INFO, "after " .. length .. " " .. #buf:read(length) .. " " .. #buf:tostring())
            return require("protocols/text").input(buf, conn)
        end""")
    with Lines(engine.port) as client:
        client.raw(b"half")
        engine.wait_metric("mixengine_tasks_suspended", 1)
        client.reset()
    engine.wait_output("after 0 0 0")
    engine.wait_metric("mixengine_connections", 0)
    assert engine.metric("mixengine_script_errors_total") == 0


BUSY = "local t = mix.time() while mix.time() - t < {} do end "


def test_a_timeout_begins_after_what_the_handler_did_before(make_engine):
    engine = make_engine(lab.ENTRY)
    with Lab(engine.port) as client:
        client.lua(BUSY.format(1) + "t = mix.time() conn:wait_context_value('never', 0.8) waited = mix.time() - t")
        assert client.lua("return waited >= 0.8") == [True]


def test_a_publish_of_a_handler_that_took_long_waits_for_its_answers(make_engine):
    engine = make_engine(lab.ENTRY)
    a, b = lab.on_two_workers(engine.port)
    b.lua("conn:subscribe('news')")
    b.send("=" + BUSY.format(4.5))  # so that there is no answer at once
    assert a.timeout(30).lua(BUSY.format(3.5) + "return mix.mesh.publish('news', 'x')") == [1, 0]


# ---- encoding for all

ENCODERS = {
    "a method": "local f = client_id str = str .. f(conn)",
    "behind pcall": "pcall(function() str = str .. conn:client_id() end)"
                    " if not str:find('%d') then str = str .. '?' end",
    "a publish inside": "pcall(function() str = str .. conn:client_id() end)"
                        " if str:sub(1, 1) == 'a' then mix.mesh.publish('other', 'b') end",
    "the current connection": "local c = mix.socket.tcp() str = str .. (c and c:client_id() or '?')",
}


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_that_looks_at_the_connection(make_engine, name):
    engine = make_engine(LINES + "function protocol_encode(str, conn) " + ENCODERS[name] + " return str .. '\\n' end",
                         workers=1)
    with Lines(engine.port) as one, Lines(engine.port) as two:
        ids = [c.ask("=client_id = conn.client_id conn:subscribe('all', 'other') return conn:client_id()") for c in (one, two)]
        with Api(engine.api_port) as api:
            api.publish("all", "a")
        for client, number in zip((one, two), ids):
            line = client.line().decode()
            while line.startswith("b"):
                line = client.line().decode()
            assert line == "a" + number


# ---- the context

def test_a_value_that_was_set_is_seen(make_engine):
    """Also when the next command takes it away again."""
    engine = make_engine(LINES)
    with Lines(engine.port) as client, Api(engine.api_port) as api:
        number = int(client.ask("=return conn:client_id()"))
        client.raw(b"=return conn:wait_context_value('k')\n")
        engine.wait_metric("mixengine_tasks_suspended", 1)
        api.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        both = b"".join(wsclient.frame(wsclient.TEXT, json.dumps(
            {"method": "conn.call", "id": i, "params": {"client_id": number, "func": "set_context_value",
                                                        "args": ["k", value]}})) for i, value in enumerate((7, None)))
        api.raw(both)
        assert client.line() == b"7"


def test_keys_that_look_like_numbers(make_engine):
    engine = make_engine(LINES)
    with Lines(engine.port) as client:
        assert client.ask("=conn:set_context_value('nan', 5) return conn:context_value('nan')") == "5"
        assert client.ask("=return pcall(conn.set_context_value, conn, 0/0, 5)") == "false"


# ---- every end, everywhere: on_close once, nothing left

WAITS = """
local text = require("protocols/text")
local where, how = mix.server.option("where"), mix.server.option("how")
local function pause(name, conn)
    if name ~= where or conn:context_value("paused") then return end
    conn:set_context_value("paused", true)
    mix.queue.push("paused", { where = where, how = how })
    if how == "wait" then conn:wait_context_value("never") end
    if how == "push" then mix.queue.push("full", {}) end
    if how == "publish" then mix.mesh.publish("all", "x") end
    if how == "close" then conn:close() end
    if how == "clear" then conn:clear_buffer() end
    if how == "error" then error("here") end
end
function init() mix.queue.new("full", 1) end
function on_connect(conn) pause("on_connect", conn) end
function protocol_input(buf, conn)
    pause("protocol_input", conn)
    return text.input(buf, conn)
end
function protocol_decode(str, conn) pause("protocol_decode", conn) return text.decode(str) end
function on_message(data, conn)
    pause("on_message", conn)
    conn:send(data .. "\\n")
end
function on_close(err, conn)
    mix.queue.push("closed", { id = conn:client_id() })
    pause("on_close", conn)
end
"""
PLACES = ["on_connect", "protocol_input", "protocol_decode", "on_message", "on_close"]


class Everywhere:
    """An engine with a server block for each place and each thing that happens there."""

    def __init__(self, make_engine, hows, **options):
        self.blocks = [{"port": free_port(), "bind": "127.0.0.1", "entry": "lua/entry.lua",
                        "options": [{"name": "where", "value": where}, {"name": "how", "value": how}]}
                       for where in PLACES for how in hows]
        self.engine = make_engine(WAITS, servers=self.blocks, **options)

    def connect(self):
        """A client of each block, which has sent two packets."""
        clients = []
        for block in self.blocks:
            clients.append(Client(block["port"]))
            try:
                clients[-1].raw(b"one\ntwo\n")
            except Closed:
                pass
        return clients


def finish(client, end):
    try:
        if end == "flood":
            client.raw(b"y" * 50000 + b"\n" + b"z" * 100000)
        if end == "reset":
            client.reset()
        else:
            client.shutdown()
    except (Closed, OSError):
        pass


def test_every_end(make_engine):
    everywhere = Everywhere(make_engine, ["wait", "push", "publish", "close", "clear", "error"],
                            queue={"fullTimeout": 2, "stallTimeout": 1})
    engine = everywhere.engine
    with Consumer(engine.api_port, topics=["paused", "closed"]) as consumer:
        clients = []
        for i, end in enumerate(("fin", "reset", "flood")):
            batch = everywhere.connect()
            elsewhere = len(batch) * (len(PLACES) - 1) // len(PLACES)
            wait_until(lambda: len([e for e in consumer.of("paused") if e.data["where"] != "on_close"])
                       == elsewhere * (i + 1), 10, "all clients at their places")
            for client in batch:
                finish(client, end)
            clients += batch
        consumer.wait_events(len(clients), "closed", limit=15)
        consumer.wait_events(len(clients), "paused", limit=15)
        for client in clients:
            client.drop()
        engine.wait_metric("mixengine_connections", 0, 15)
        assert len({e.data["id"] for e in consumer.of("closed")}) == len(consumer.of("closed")) == len(clients)
    engine.wait_metric("mixengine_tasks_suspended", 0)
    engine.wait_metric("mixengine_contexts", 0)


# ---- stopping

def test_finalizers_at_the_end(make_engine):
    """What a script has garbage do runs once more when its VM ends: then there is nobody to send to."""
    engine = make_engine(LINES + """
        guard = newproxy(true)
        getmetatable(guard).__gc = function()
            mix.queue.new("late", 5)
            mix.queue.push("late", {})
            mix.mesh.publish("all", "x")
            mix.mesh.send("%d", "x")
        end""" % (1 << 53 | 1 << 47 | 1 << 29 | 60000000), workers=2)
    with Lines(engine.port) as client:
        assert client.ask("x") == "x"
    engine.stop()


def test_two_signals_with_suspended_handlers(make_engine):
    everywhere = Everywhere(make_engine, ["wait", "push"])
    engine = everywhere.engine
    clients = everywhere.connect() + everywhere.connect()
    for client, block in zip(clients, everywhere.blocks * 2):
        if block["options"][0]["value"] == "on_close":
            client.shutdown()
    # on_close does not wait for a value of a client that has gone, and one push found room.
    engine.wait_metric("mixengine_tasks_suspended", len(clients) - 3)
    engine.process.send_signal(signal.SIGTERM)
    engine.wait_output("draining")
    engine.stop()
    for client in clients:
        client.drop()


def test_stopping_at_once_under_commands(make_engine):
    engine = make_engine(LINES + "function protocol_encode(str) mix.queue.push('encoded', {}) return str end")
    with Lines(engine.port) as client:
        number = int(client.ask("=conn:subscribe('all') return conn:client_id()"))
        apis = [Api(engine.api_port) for _ in range(4)]
        stop = threading.Event()

        def flood(api):
            try:
                while not stop.is_set():
                    for _ in range(50):
                        api.post("mesh.publish", {"channel": "all", "data": "x\n"})
                        api.post("mesh.send", {"client_id": number, "data": "x\n"})
                    for _ in range(100):
                        api.message()
            except (Closed, OSError, AssertionError):
                pass  # it says 1001 before it closes

        threads = [threading.Thread(target=flood, args=(api,)) for api in apis]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        engine.process.send_signal(signal.SIGTERM)
        engine.process.send_signal(signal.SIGINT)
        engine.stop()
        stop.set()
        for thread in threads:
            thread.join()
        for api in apis:
            api.drop()


# ---- descriptors

def test_without_descriptors(make_engine):
    """Accepting pauses, says so once, and goes on."""
    engine = make_engine(LINES + """
        function take() files = {} while true do local f = io.open("/dev/null") if not f then return end files[#files + 1] = f end end
        function give() for _, f in ipairs(files) do f:close() end files = nil end""", workers=1)
    resource.prlimit(engine.process.pid, resource.RLIMIT_NOFILE, (100, 100))
    with Lines(engine.port) as client:
        client.ask("=take()")
        with Lines(engine.port) as other:
            other.raw(b"waits\n")
            engine.wait_output("no new connections")
            time.sleep(1)
            assert len([l for l in engine.log().splitlines() if "no new connections" in l]) == 1
            client.ask("=give()")
            assert other.line() == b"waits"
