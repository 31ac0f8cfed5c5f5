"""What an idle connection costs, and what is left when it is gone: docs/architecture.md, "Idle cost"."""

import os

import pytest

from consumer import Consumer
from harness import SLOW, wait_until
from swarm import Swarm

pytestmark = pytest.mark.skipif(SLOW, reason="a sanitizer's memory is its own")

CLIENTS = 2000

BUILT_IN = """
function on_message(msg) mix.websocket():send(msg.data) end
"""

CHAT = open(os.path.join(os.path.dirname(__file__), "../../examples/chat/entry.lua")).read()


def resident(engine):
    return engine.metric("process_resident_memory_bytes")


def settled(engine, most):
    """Waits until the engine has rested after its last work."""
    wait_until(lambda: resident(engine) <= most, 10)


@pytest.mark.parametrize("kind, goal", [("websocket", 1000), ("chat", 2500)])
def test_idle_connections_take_little(make_engine, kind, goal):
    """Bytes for each, once nobody asks anything; and nearly all of it comes back when they have gone."""
    options = {"server": {"protocol": "websocket"}} if kind == "websocket" else {}
    engine = make_engine(BUILT_IN if kind == "websocket" else CHAT, workers=1, **options)
    consumer = Consumer(engine.api_port).start() if kind == "chat" else None
    warm = Swarm(engine.port, 100)
    warm.drop()
    engine.wait_metric("mixengine_connections", 0)
    before = resident(engine)
    swarm = Swarm(engine.port, CLIENTS)
    settled(engine, before + CLIENTS * 1.5 * goal)
    swarm.drop()
    engine.wait_metric("mixengine_connections", 0)
    settled(engine, before + CLIENTS * 0.5 * goal)
    if consumer:
        consumer.stop()


WAITING = """
function on_message(msg)
    mix.sleep(1)
    mix.websocket():send("done")
end
"""


def test_coroutines_of_a_burst_are_given_back(make_engine):
    """As many handlers as clients wait at a time; afterwards no coroutine is kept for them."""
    engine = make_engine(WAITING, server={"protocol": "websocket"}, workers=1)
    swarm = Swarm(engine.port, 1000)
    lua = engine.metric("mixengine_lua_memory_bytes")
    swarm.ask(b"\x81\x81\0\0\0\0x", 1, batch=1000)
    wait_until(lambda: engine.metric("mixengine_lua_memory_bytes") < lua + 300 * 1000, 10)
    swarm.ask(b"\x81\x81\0\0\0\0x", 1, batch=1000)
    swarm.drop()
