"""/metrics: each family shows what it says, and promtool finds nothing to complain of."""

import socket
import struct
import subprocess

import pytest

from consumer import Api, Consumer
from harness import wait_until
from lab import ENTRY, Lab, LuaError
from wsclient import Client, frame

SCRIPT = """
local websocket = require("protocols/websocket")
function protocol_input(buf, conn) return websocket.input(buf, conn, "/", on_handshake) end
function protocol_decode(str, conn) return websocket.decode(conn) end
function protocol_encode(str, conn) if str == "bad" then error("bad") end return websocket.encode(str) end
function on_connect(conn) if mix.server.option("greet") then error("connect") end end
function on_message(msg, conn)
    if msg.data == "close" then conn:close() else error("message") end
end
function on_close(err, conn) error("close") end
"""


def reset(client):
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sock.close()


@pytest.fixture(scope="module")
def shared(make_shared):
    return make_shared(ENTRY, options={"topics": "small:1"}, queue={"full": "error"})


def test_promtool_has_no_complaint(shared):
    with Consumer(shared.api_port, topics=["t"]), Lab(shared.port) as client:
        client.lua('mix.queue.push("t", {}) mix.queue.push("other", {}) conn:subscribe("c")')
        for port in (shared.api_port, shared.center_port):
            text = shared.http("GET", "/metrics", port=port)[2]
            done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_process(shared):
    samples = shared.metrics()
    assert samples["process_cpu_seconds_total"] > 0
    assert 1 << 20 < samples["process_resident_memory_bytes"] < 1 << 32
    assert 10 < samples["process_open_fds"] < samples["process_max_fds"]


def test_each_worker_has_its_own(shared):
    wait_until(lambda: shared.metric('mixengine_lua_memory_bytes{worker="1"}') > 10000, 5, "a second")
    samples = shared.metrics()
    for worker in "01":
        for name in ("loop_lag_seconds", "lua_memory_bytes", "tasks_suspended", "stalls_total"):
            assert f'mixengine_{name}{{worker="{worker}"}}' in samples


def test_a_stall_is_counted_and_shows_as_lag(make_engine):
    engine = make_engine(ENTRY, workers=1)
    with Lab(engine.port) as client:
        client.lua("local t = mix.time() + 2.5 while mix.time() < t do end return 1")
        engine.wait_metric("mixengine_stalls_total", 1)


def test_topics_count_what_goes_through_them(shared):
    with Lab(shared.port) as client:
        assert client.lua('return mix.queue.push("small", {n = 1})') == [1]
        assert client.lua('return mix.queue.push("small", {n = 2})') == [None, "queue is full"]
        wait_until(lambda: shared.metric('mixengine_topic_oldest_seconds{topic="small"}') > 0, 5, "age")
        with Consumer(shared.api_port, topics=["small"]) as consumer:
            consumer.wait_events(1)
            samples = shared.metrics()
    small = {name: samples[f'mixengine_topic_{name}{{topic="small"}}'] for name in (
        "depth", "size", "waiting", "oldest_seconds", "pushed_total", "delivered_total", "refused_total")}
    assert small == {"depth": 0, "size": 1, "waiting": 0, "oldest_seconds": 0, "pushed_total": 1,
                     "delivered_total": 1, "refused_total": 1}


def test_a_consumer_has_its_own(shared):
    shared.wait_metric("mixengine_api_consumers", 0)  # those of other tests have gone
    with Consumer(shared.api_port, topics=["mine"]) as consumer, Lab(shared.port) as client:
        client.lua('mix.queue.push("mine", {})')
        consumer.wait_events(1)
        found = [(name, value) for name, value in shared.metrics().items()
                 if name.startswith("mixengine_consumer_events_total{")]
        assert [value for _, value in found] == [1]
        assert str(consumer.sock.getsockname()[1]) in found[0][0]
    shared.wait_metric("mixengine_api_consumers", 0)
    assert not [name for name in shared.metrics() if name.startswith("mixengine_consumer_events_total{")]


def test_sends_by_protocol_and_how_long_they_took(make_engine):
    engine = make_engine(ENTRY)
    with Lab(engine.port) as client, Api(engine.api_port) as api:
        for _ in range(10):
            assert api.mesh_send(str(client.id), "hello").code is None
            assert client.text() == "hello"
        samples = engine.metrics()
    labels = 'protocol="socket",scenario="local"'
    name = "connmix_engine_servers_send_duration_seconds"
    assert samples[f"{name}_count{{{labels}}}"] == 10
    values = [samples[f'{name}{{{labels},quantile="{q}"}}'] for q in ("0", "0.25", "0.5", "0.75", "1")]
    assert values == sorted(values) and 0 < values[0] and values[-1] < 5
    assert values[0] * 5 <= samples[f"{name}_sum{{{labels}}}"] <= values[-1] * 11
    assert samples['connmix_engine_servers_send_messages_total{protocol="socket"}'] >= 10
    assert samples['connmix_engine_servers_read_messages_total{protocol="socket"}'] == 1
    assert samples["connmix_center_registry_engine_nodes"] == 1


def test_clients_and_channels_of_the_center(make_engine):
    engine = make_engine(ENTRY)
    with Lab(engine.port) as client:
        client.lua('conn:subscribe("a", "b")')
        samples = engine.metrics()
        assert samples["connmix_center_registry_clients"] == samples["connmix_engine_servers_clients"] == 1
        assert samples["connmix_center_registry_channels_total"] == 2


def test_script_errors_by_handler(make_engine):
    engine = make_engine(SCRIPT, options={"greet": "1"})
    with Client(engine.port) as client, Api(engine.api_port) as api:
        client.handshake("/").send("x")
        engine.wait_metric(errors(engine, "on_message"), 1)
        client.send("close")
        client.end()
    engine.wait_metric(errors(engine, "on_close"), 1)
    assert engine.metric(errors(engine, "on_connect")) == 1
    assert engine.metric("mixengine_script_errors_total") == 3


def errors(engine, handler):
    return f'mixengine_script_errors_total{{server="127.0.0.1:{engine.port}",handler="{handler}"}}'


def by_client(client, engine):
    client.frame(8, struct.pack(">H", 1000)).end()


def by_hanging_up(client, engine):
    client.sock.shutdown(socket.SHUT_WR)


def by_script(client, engine):
    client.send("close")
    client.end()


def by_reset(client, engine):
    reset(client)


def by_protocol(client, engine):
    client.raw(frame(3, b""))
    client.end()


def by_silence(client, engine):
    client.end()


WAYS = {"client": [by_client, by_hanging_up], "script": [by_script], "reset": [by_reset],
        "protocol": [by_protocol], "timeout": [by_silence]}


@pytest.mark.parametrize("reason, way", [(reason, way) for reason, ways in WAYS.items() for way in ways])
def test_closes_by_reason(make_engine, reason, way):
    engine = make_engine(SCRIPT, server={"readTimeout": 1, "pingInterval": 0} if reason == "timeout" else {})
    with Client(engine.port) as client:
        client.handshake("/")
        way(client, engine)
        engine.wait_metric(f'mixengine_closes_total{{server="127.0.0.1:{engine.port}",reason="{reason}"}}', 1)
    assert engine.metric("mixengine_closes_total") == 1


def test_a_refused_handshake_is_counted(make_engine):
    engine = make_engine(SCRIPT)
    with Client(engine.port) as client:
        client.raw(b"GET / HTTP/1.0\r\n\r\n")
        client.end()
        engine.wait_metric(f'mixengine_closes_total{{server="127.0.0.1:{engine.port}",reason="refused"}}', 1)


def test_slow_clients_are_counted(make_engine):
    engine = make_engine(ENTRY, server={"maxBacklog": "64 KiB"})
    with Lab(engine.port) as client:
        client.send("=local s = ('x'):rep(60000) for _ = 1, 400 do "
                    "if require('protocols/websocket').send_text(conn, s) then break end end return 1")
        engine.wait_metric(f'mixengine_closes_total{{server="127.0.0.1:{engine.port}",reason="slow"}}', 1)
