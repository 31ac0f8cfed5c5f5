"""What dies, stands still or jumps around an engine, and what must come of it. The chaos run mixes them."""

import contextlib
import pathlib
import random
import re
import resource
import signal
import sys
import time

import pytest

import clock
import lab
from consumer import Consumer
from harness import ROOT, SLOW, free_port, seconds, times, wait_until
from lab import Lab
from redis import Redis
from wsclient import Client

sys.path.insert(0, str(ROOT / "test" / "chaos"))

import world  # noqa: E402


# ---- consumers

def fill_window(here):
    """Sends so much that a consumer that stands still has all it may be ahead, and the rest waits."""
    here.clients_do(lambda: [member.send(1000) for member in here.swarm.pick(20) for _ in range(30)])
    wait_until(lambda: here.reading()["depth"] > 0, 10, "a full window")


@pytest.mark.timeout(seconds(900))
def test_two_hundred_killed_consumers(tmp_path):
    """One consumer at a time, killed again and again: each loses its window at most, what follows is the next one's,
    each event is recorded once and each client's in order. Windows are full now and then; before and after that a
    consumer retires, so that what is lost then is told from the losses of others."""
    here, kills = world.World(tmp_path, clients_count=20, rate=400, consumers=1), 0
    try:
        here.start()
        while kills < times(200):
            recorder = here.take(random)
            size = recorder.record.stat().st_size
            wait_until(lambda: recorder.record.stat().st_size > size + 200, 20, "some events")
            turn = len(here.retired) % 20
            if turn in (9, 11):
                wait_until(lambda: here.reading()["depth"] == 0, 20, "an empty queue")
                here.dismiss(recorder)
                here.tend()
                continue
            recorder.signal(signal.SIGSTOP)
            if turn == 10:
                fill_window(here)
            else:
                time.sleep(0.05)
            recorder.kill()
            kills += 1
            here.retire(recorder)
            here.tend()
        here.wind_down()
        verdict = here.verdict()
        here.stop()
        assert here.faults + verdict.faults == []
        assert sum(r.died is not None for r in here.retired) == times(200)
        assert verdict.recorded > times(200) and verdict.accepted > times(200)
        assert SLOW or verdict.lost_most > world.oracle.WINDOW // 2
    finally:
        here.kill()


# ---- the wall clock

HOURS = 3600


@pytest.fixture
def shim(tmp_path):
    with clock.Shim(tmp_path) as found:
        yield found


@pytest.mark.parametrize("step", [5 * HOURS, -5 * HOURS, -2 * 365 * 24 * HOURS, 30 * 365 * 24 * HOURS])
def test_clients_come_after_a_step_of_the_clock(make_engine, shim, step):
    """And no id comes twice; not even where the clock was set just after the start, when ids had to wait for the next
    second, and where it shows no possible time."""
    engine = make_engine(lab.ENTRY, env=shim.env)
    shim.step(step)
    numbers = set()
    for round in range(4):
        for _ in range(times(50)):
            with Lab(engine.port, timeout=5) as client:
                numbers.add(client.id)
        shim.step(-step if round % 2 == 0 else step)
        time.sleep(0.5)
    assert len(numbers) == 4 * times(50)


@pytest.mark.parametrize("step", [5 * HOURS, -5 * HOURS])
def test_timeouts_do_not_care_for_the_wall_clock(make_engine, tmp_path, shim, step):
    """Neither at once nor never: of sleeps, timers, waits, redis, full queues, pings and handshakes."""
    with contextlib.ExitStack() as stack:
        server = Redis(tmp_path).start()
        stack.callback(server.kill)
        engine = make_engine(lab.ENTRY, env=shim.env, queue={"fullTimeout": 3, "stallTimeout": 1},
                             options={"topics": "full:1"}, redis=[{"addr": server.addr}],
                             server={"pingInterval": 4, "readTimeout": 10, "handshakeTimeout": 2})
        calls = ["mix.sleep(2) return 1", "return conn:wait_context_value('k', 2)", "return mix.queue.push('full', {})",
                 "return mix.redis.connection():command('blpop', 'nothing', 2)"]
        filler = stack.enter_context(Lab(engine.port))
        filler.lua("return mix.queue.push('full', {})")
        filler.lua("mix.timer(1, function() fired = true end)")
        asking = [stack.enter_context(Lab(engine.port)) for _ in calls]
        quiet = stack.enter_context(Client(engine.port))
        begin = time.monotonic()
        for client, call in zip(asking, calls):
            client.send("=" + call)
        engine.wait_metric("mixengine_tasks_suspended", len(calls))
        shim.step(step)
        answers = [lab.values(client.text()) for client in asking]
        assert answers[0] == [1] and answers[1] == [None, "timeout"] and answers[2] == [None, "queue is full"], answers
        assert answers[3][0] in (False, None), answers
        assert 2 <= time.monotonic() - begin < seconds(8)
        assert filler.lua("return fired") == [True]
        assert quiet.http().status == 408
        assert time.monotonic() - begin >= 2
        for client in asking:
            assert client.ask("still here") == "still here"


def test_scripts_and_configuration_are_loaded_after_a_step(make_engine, shim):
    """byteCodeExpires and the look at the configuration go by the monotonic clock, and by what a file's stamp is, not
    by how old it is."""
    entry = lab.ENTRY.read_text()
    engine = make_engine(entry + "\nversion = 0", env=shim.env, server={"byteCodeExpires": 1})
    with Lab(engine.port) as client:
        for number, step in enumerate((9 * HOURS, -20 * HOURS, 11 * HOURS), 1):
            shim.step(step)
            engine.write_entry(entry + f"\nversion = {number}")
            wait_until(lambda: client.lua("return version") == [number], 10, "the script")
            level = ("debug", "info")[number % 2]
            engine.config["logging"]["level"] = level
            engine.config_path.write_text(world.harness.yaml(engine.config))
            wait_until(lambda: engine.log().count("loaded again") >= number, 10, "the configuration")


def test_the_api_after_a_step(make_engine, shim):
    """Consumers stay and are heard, requests have their time and no more, quantiles are still told."""
    engine = make_engine(lab.ENTRY, env=shim.env, api={"readTimeout": 3}, center={"readTimeout": 3})
    with Consumer(engine.api_port, topics=["in"]) as consumer, Lab(engine.port) as client:
        for number, step in enumerate((7 * HOURS, -13 * HOURS, 6 * HOURS)):
            half = Client(engine.api_port)
            half.raw(b"GET /v1/nodes HTTP/1.1\r\nHost: x\r\n")
            shim.step(step)
            client.send(f"@in {number}")
            consumer.wait_events(number + 1)
            consumer.wait_reply(consumer.mesh_send(client.id, f"{number}"))
            assert client.text() == f"{number}"
            begin = time.monotonic()
            assert half.timeout(10).rest() == b"" and time.monotonic() - begin < seconds(8)
            half.drop()
            found = engine.metrics()
            quantiles = [v for k, v in found.items() if k.startswith("connmix_engine_servers_send_duration_seconds{")
                         and 'quantile="0.5"' in k and "local" in k]
            assert quantiles and 0 < max(quantiles) < 60, quantiles


def test_the_log_after_a_step(make_engine, shim):
    """Lines have the new time, and none is missing, whichever way it went; files stay few."""
    engine = make_engine(lab.ENTRY, env=shim.env, logging={"maxFiles": 3})
    with Lab(engine.port) as client:
        for number in range(20):
            shim.step((30 if number % 2 else -29) * HOURS)
            client.lua(f"mix.log(mix.ERROR, 'step {number} ' .. mix.time())")
    folder = engine.log_path.parent

    def lines():
        try:
            text = "".join(path.read_text() for path in folder.iterdir())
        except FileNotFoundError:  # old ones are still being removed
            return []
        return re.findall(r"^(\S+) \S+ ERROR .*step (\d+) (\S+)", text, re.M)
    wait_until(lambda: any(number == "19" for _, number, _ in lines()), 5, "the last line")
    assert len(list(folder.iterdir())) <= 4
    for day, _, at in lines():
        assert day == time.strftime("%Y-%m-%d", time.localtime(float(at)))


def test_a_stop_after_a_step(make_engine, shim):
    """What a script that does not return is given before the process ends without it."""
    engine = make_engine(lab.ENTRY, env=shim.env, engine={"stopTimeout": 1})
    with Lab(engine.port) as client:
        client.send("~while true do end")
        engine.wait_output("has not returned")
        begin = time.monotonic()
        engine.process.send_signal(signal.SIGTERM)
        for _ in range(20):
            shim.step(-HOURS)
            time.sleep(0.1)
        assert engine.process.wait(seconds(10)) == 1
        assert time.monotonic() - begin < seconds(8)
    engine.kill()


# ---- an engine that stands still

@contextlib.contextmanager
def stopped(engine):
    engine.process.send_signal(signal.SIGSTOP)
    stat = pathlib.Path(f"/proc/{engine.process.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", what="stopped")
    yield
    engine.process.send_signal(signal.SIGCONT)


UNIT = 4 if SLOW else 2  # seconds, in which forty clients are made with ease


@pytest.mark.parametrize("standing", [2.5 * UNIT, 10 * UNIT])
def test_an_engine_that_stood_still(make_engine, standing):
    """Every timer of clients, handshakes, consumers and handlers is long over when it goes on. Nobody is dropped who
    answers then; handlers wait on, or are told of their timeouts."""
    most = {"readTimeout": 2 * UNIT, "writeTimeout": 2 * UNIT}
    engine = make_engine(lab.ENTRY, workers=2, queue={"stallTimeout": UNIT, "fullTimeout": 2 * UNIT},
                         server={"pingInterval": UNIT, "handshakeTimeout": 2 * UNIT, **most}, api=most)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Lab(engine.port)) for _ in range(20)]
        waiting = [stack.enter_context(Lab(engine.port)) for _ in range(20)]
        big = stack.enter_context(Lab(engine.port))
        heard = [stack.enter_context(Consumer(engine.api_port, spelling, ["in"])) for spelling in "AB"]
        for client in waiting[:10]:
            client.send("=return conn:wait_context_value('k')")
        for client in waiting[10:]:
            client.send(f"=mix.sleep({UNIT}) return 'slept'")
        half = stack.enter_context(Client(engine.port))
        half.raw(b"GET / HTTP/1.1\r\nHost: x\r\n")
        engine.wait_metric("mixengine_tasks_suspended", 20)
        big.send("~for i = 1, 15 do conn:send(string.rep('x', 60000)) end")  # more than the sockets take
        with stopped(engine):
            for i, client in enumerate(clients):
                client.send(f"@in {i}")
                client.send(f"are you there? {i}")
            late = stack.enter_context(Client(engine.port))
            late.raw(b"GET / HTTP/1.1\r\nHost: x\r\n")
            half.raw(HANDSHAKE_REST)
            time.sleep(standing)
        late.raw(HANDSHAKE_REST)
        for i, client in enumerate(clients):
            assert client.text() == f"are you there? {i}"
        for client in waiting[10:]:
            assert lab.values(client.text()) == ["slept"]
        wait_until(lambda: sum(len(c.events) for c in heard) == len(clients), 5, "the events of before")
        for client in waiting[:10]:
            heard[0].conn_call(client.id, "set_context_value", "k", 5)
            assert lab.values(client.text()) == [5]
        assert half.http().status == 101 and late.http().status == 101
        for client in clients + waiting:
            assert client.ask("still here") == "still here"
        for consumer in heard:
            assert consumer.wait_reply(consumer.command("server.ping", [])).error is None
    assert "was dropped" not in engine.log() and "no answer" not in engine.log()


HANDSHAKE_REST = (b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                  b"Sec-WebSocket-Version: 13\r\n\r\n")


# ---- backends

def test_an_http_backend_that_dies_under_a_thousand_handlers(make_engine):
    """Each of them hears of it at once, their clients stay, and the next request finds the one that has come instead."""
    count, port = times(1000), free_port()
    words = ROOT / "test" / "chaos" / "backend.py", port
    backend = world.Program(*words)
    try:
        engine = make_engine(lab.ENTRY.read_text() + f"""
            function ask()
                local r, err = mix.http.request("GET", "http://127.0.0.1:{port}/", {{timeout = 20}})
                return r and r.body or err
            end""", workers=1)
        clients = [Lab(engine.port) for _ in range(count)]
        assert clients[0].lua("return ask()") == ["ok"]
        backend.signal(signal.SIGSTOP)
        for client in clients:
            client.send("=return ask()")
        engine.wait_metric("mixengine_tasks_suspended", count)
        backend.kill()
        whys = {lab.values(client.text())[0] for client in clients}
        assert all(re.match("the server closed the connection|could not connect to|the answer broke off"
                            "|the request could not be sent", why) for why in whys), whys
        engine.wait_metric("mixengine_tasks_suspended", 0)
        engine.wait_metric("mixengine_http_requests", 0)
        backend = world.Program(*words)
        for client in clients[:50]:
            assert client.lua("return ask()") == ["ok"]
        for client in clients:
            client.drop()
    finally:
        backend.kill()


def test_backends_that_come_and_go_under_handlers(make_engine, tmp_path):
    """Redis is killed, stopped and started again while handlers wait for it: each call has one answer, in order."""
    with contextlib.ExitStack() as stack:
        server = Redis(tmp_path).start()
        stack.callback(server.kill)
        engine = make_engine(lab.ENTRY.read_text() + """
            function count(n)
                local v, err = mix.redis.connection():command("incr", "n")
                return n, v or err
            end""", redis=[{"addr": server.addr, "minIdleConns": 0}])
        clients = [stack.enter_context(Lab(engine.port, timeout=60)) for _ in range(20)]
        rounds = 8
        for number in range(rounds):
            for client in clients:
                for i in range(5):
                    client.send(f"=return count({5 * number + i})")
            {0: server.kill, 1: server.start, 2: server.stop, 3: server.go_on}[number % 4]()
        for client in clients:
            answers = [lab.values(client.text()) for _ in range(5 * rounds)]
            assert [n for n, _ in answers] == list(range(5 * rounds))
        wait_until(lambda: isinstance(clients[0].lua("return count(0)")[1], int), 10, "redis answers")
        engine.wait_metric("mixengine_tasks_suspended", 0)


# ---- descriptors and memory

SPEND = """
    function spend()
        files = {}
        while true do
            local f = io.open("/dev/null")
            if not f then return #files end
            files[#files + 1] = f
        end
    end
    function give() for _, f in ipairs(files) do f:close() end files = nil end
"""


def test_without_descriptors_everything_else_goes_on(make_engine, tmp_path):
    """Scripts that want a connection get an error, a reload and a new configuration are read later, consumers and
    clients that are there are served; and when there are descriptors again, so is the rest."""
    with contextlib.ExitStack() as stack:
        server = Redis(tmp_path).start()
        stack.callback(server.kill)
        backend = world.Program(ROOT / "test" / "chaos" / "backend.py", port := free_port())
        stack.callback(backend.kill)
        entry = lab.ENTRY.read_text() + SPEND
        engine = make_engine(entry, redis=[{"addr": server.addr, "minIdleConns": 0}], workers=1,
                             server={"byteCodeExpires": 1})
        ask = f"local r, e = mix.http.request('GET', 'http://127.0.0.1:{port}/', {{timeout = 5}}) return r and r.body, e"
        incr = "return mix.redis.connection():command('incr', 'n')"
        client = stack.enter_context(Lab(engine.port))
        consumer = stack.enter_context(Consumer(engine.api_port, topics=["in"]))
        resource.prlimit(engine.process.pid, resource.RLIMIT_NOFILE, (120, 120))
        assert client.lua("return spend()")[0] > 10
        assert client.lua(incr)[0] is None and client.lua(ask)[0] is None
        client.send("@in hello")
        consumer.wait_events(1)
        engine.write_entry(entry + "\nversion = 2")
        engine.process.send_signal(signal.SIGHUP)
        engine.wait_output("Too many open files|too many open files")
        api = stack.enter_context(Client(engine.api_port))
        api.raw(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.ask("still here") == "still here"
        used = engine.cpu()
        time.sleep(1)
        assert engine.cpu() - used < seconds(0.5), "it spins"
        client.lua("give()")
        assert api.http().status == 200
        wait_until(lambda: client.lua("return version") == [2], 10, "the new script")
        assert client.lua(incr) == [1] and client.lua(ask)[0] == "ok"
        with Lab(engine.port) as other:
            assert other.ask("hello") == "hello"


# ---- stopping

@pytest.mark.timeout(seconds(120))
def test_a_drain_under_load(tmp_path):
    """SIGTERM while hundreds of messages a second come in: all that was acknowledged reaches a consumer, in order, and
    every end is told."""
    here = world.World(tmp_path, clients_count=40, rate=600, options={"engine": {"stopTimeout": 10}})
    try:
        here.start()
        wait_until(lambda: sum(len(x.accepted) for x in here.swarm.ledgers) > 500 and
                   all(x.id for x in here.swarm.ledgers), 20, "traffic")
        here.swarm.engine_stops = True
        begin = time.monotonic()
        here.engine.process.send_signal(signal.SIGTERM)
        assert here.engine.process.wait(seconds(20)) == 0
        assert time.monotonic() - begin < seconds(11)
        here.swarm.talking = False
        wait_until(lambda: all(r.ended() for r in here.recorders), 10, "the consumers' ends")
        here.swarm.stopping = True
        here.thread.join(10)
        here.retired += here.recorders
        verdict = here.verdict()
        assert here.faults + verdict.faults == []
        assert verdict.accepted > 500
        assert verdict.recorded >= verdict.accepted + 40  # with openings and ends
    finally:
        here.kill()


# ---- signals

def test_a_storm_of_hang_ups(make_engine):
    """A thousand SIGHUPs: each may load scripts and configuration again, nobody notices, and the last one is not lost."""
    entry = lab.ENTRY.read_text()
    engine = make_engine(entry + "\nversion = 0")
    with Consumer(engine.api_port, topics=["in"]) as consumer, Lab(engine.port) as client:
        for i in range(times(1000)):
            engine.process.send_signal(signal.SIGHUP)
            if i % 20 == 0:
                client.send(f"@in {i}")
                assert client.ask(f"{i}") == f"{i}"
        engine.write_entry(entry + "\nversion = 1")
        engine.process.send_signal(signal.SIGHUP)
        wait_until(lambda: client.lua("return version") == [1], 20, "the last script")
        consumer.wait_events(len(range(0, times(1000), 20)))
        assert [int(e.data["text"]) for e in consumer.events] == list(range(0, times(1000), 20))


# ---- memory

def size_of(pid):
    return int(re.search(r"VmSize:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) * 1024


def allow_memory(engine, more):
    limit = size_of(engine.process.pid) + more
    resource.prlimit(engine.process.pid, resource.RLIMIT_AS, (limit, limit))


no_address_limit = pytest.mark.skipif(SLOW, reason="a sanitizer takes address space without end")


@no_address_limit
def test_a_script_that_wants_more_memory_than_there_is(make_engine):
    """It gets an error, and its connection stays, as do all others."""
    engine = make_engine(lab.ENTRY, workers=1)
    with Lab(engine.port) as client, Lab(engine.port) as other:
        allow_memory(engine, 64 << 20)
        for _ in range(20):
            with pytest.raises(lab.LuaError, match="not enough memory"):
                client.lua("return #string.rep('x', 300e6)")
            assert other.ask("still here") == client.ask("still here") == "still here"


@no_address_limit
def test_out_of_memory_is_a_clean_end(make_engine):
    """What is not a script's own: the process says how much it wanted and aborts at once, so that whoever watches it
    starts another."""
    engine = make_engine(lab.ENTRY, workers=1, queue={"topicSize": 1000000})
    with Lab(engine.port) as client:
        allow_memory(engine, 64 << 20)
        client.send("~local s = string.rep('x', 100000) while true do mix.queue.push('in', {text = s}) end")
        assert engine.process.wait(30) == -signal.SIGABRT
    assert re.search(r"out of memory: \d+ bytes cannot be had", engine.stderr())
    engine.kill()
