"""scripts/dev.sh, as the README has it. It uses the ports of conf/chat.yaml."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

import harness
import kinds

DEV = harness.ROOT / "scripts" / "dev.sh"
TRANSCRIPT = harness.ROOT / "examples" / "chat" / "transcript.py"
PORTS = (6787, 6789, 6790)

pytestmark = pytest.mark.timeout(300)


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start(*words):
    return subprocess.Popen([str(DEV), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)


def finish(process, limit):
    try:
        return process.communicate(timeout=limit)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(autouse=True)
def nothing_stays():
    taken = [port for port in PORTS if is_open(port)]
    assert not taken, f"ports {taken} are in use: is scripts/dev.sh running?"
    yield
    harness.wait_until(lambda: not any(is_open(port) for port in PORTS), 10, "the ports are free")


def test_once():
    process = start("--once")
    output = finish(process, 240)
    frames = re.findall(r"^(client \d) ( *\w+): (.*)$", output, re.MULTILINE)
    assert process.returncode == 0, output
    assert len(frames) == 12, output
    assert frames[-1] == ("client 2", "receive",
                          '{"event":"subscribe","channel":"room_101","data":"uid:1,message:hello,world!"}')


def test_until_interrupted():
    process = start()
    lines = []
    while "Ctrl-C stops" not in (lines or [""])[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], "".join(lines)
    assert "http://127.0.0.1:6789/" in "".join(lines)
    assert all(is_open(port) for port in PORTS)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    rest = finish(process, 30)
    assert process.returncode == 0, rest


@pytest.mark.parametrize("port", PORTS)
def test_a_port_in_use(port):
    with socket.create_server(("127.0.0.1", port)):
        process = start("--once")
        output = finish(process, 240)
    assert process.returncode == 1
    assert f"port {port} is in use" in output


def test_a_chat_that_dies_is_noticed():
    process = start()
    while "Ctrl-C stops" not in process.stdout.readline():
        assert process.poll() is None
    own = subprocess.run(["pgrep", "-g", str(process.pid), "-x", "chat"], capture_output=True, text=True).stdout
    os.kill(int(own), signal.SIGKILL)
    rest = finish(process, 30)
    assert process.returncode == 1, rest


def test_wrong_word():
    process = start("--twice")
    assert "usage" in finish(process, 10)
    assert process.returncode == 64


def test_a_transcript_that_differs_fails(make_engine):
    engine = kinds.make(make_engine, "generation 1", harness.FIXTURES / "echo_app.lua")
    done = subprocess.run([sys.executable, str(TRANSCRIPT), f"ws://127.0.0.1:{engine.port}/chat"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert 'should have received {"op":"auth","success":true}' in done.stderr
