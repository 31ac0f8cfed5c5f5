"""The log: rotated, opened anew, counted, and never in anybody's way."""

import json
import os
import pathlib
import re
import resource
import signal
import subprocess

import pytest

import lab
from harness import SLOW, seconds, wait_until
from lab import Lab
from ptrace import stop_writer

SMALL = {"maxSize": "64 KiB", "maxFiles": 2}
RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (DEBUG|INFO |WARN |ERROR) \w+: ")


def log_lines(client, count, text="line", length=100):
    """Different lines, numbered from 1."""
    client.lua(f"for i = 1, {count} do mix.log(mix.INFO, string.format('{text} %06d ', i) .. ('x'):rep({length})) end")


def numbers(text, mark="line"):
    return [int(n) for n in re.findall(rf"lua: {mark} (\d+) ", text)]


def rotated(engine):
    """The rotated files, oldest first."""
    def order(path):
        date, _, number = path.name[len("engine.log."):].partition(".")
        return date, int(number or 0)
    return sorted(engine.log_path.parent.glob("engine.log.*"), key=order)


def lost(engine):
    return engine.metric("mixengine_log_lines_lost_total")


# ---- files

def test_rotated_by_size(make_engine):
    """No file is larger than maxSize, maxFiles are kept, and what is there is whole and in order."""
    engine = make_engine(lab.ENTRY, logging=SMALL)
    with Lab(engine.port) as client:
        for _ in range(4):  # less than the buffer at a time, so that none is lost
            log_lines(client, 1000)
        log_lines(client, 1, "end")
    engine.wait_output("lua: end 000001")
    files = rotated(engine) + [engine.log_path]
    assert len(files) == 3 and lost(engine) == 0
    assert all(path.stat().st_size <= 65536 for path in files)
    assert all(path.stat().st_size > 65536 - 300 for path in files[:-1])
    found = numbers("".join(path.read_text() for path in files))
    assert len(found) > 800 and found == list(range(1001 - len(found), 1001))


def test_opened_anew_on_sighup(make_engine):
    """As logrotate does it: renamed, then SIGHUP; what comes later is in the new file, nothing is lost."""
    engine = make_engine(lab.ENTRY)
    moved = engine.log_path.with_name("moved.log")
    with Lab(engine.port) as client:
        log_lines(client, 1, "first")
        wait_until(lambda: "lua: first" in engine.log(), 10, "the line")
        engine.log_path.rename(moved)
        log_lines(client, 1, "second")
        wait_until(lambda: "lua: second" in moved.read_text(), 10, "the line in the old file")
        engine.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "loaded again" in engine.log(), 10, "the reload in the new file")
        log_lines(client, 1, "third")
        wait_until(lambda: "lua: third" in engine.log(), 10, "the line")
    assert "third" not in moved.read_text() and "first" not in engine.log()


def test_a_folder_that_cannot_be_written(make_engine):
    engine = make_engine(lab.ENTRY, start=False, logging={"filename": "lua/entry.lua/x.log"})
    status, out, err = engine.run("single")
    assert (status, out) == (1, "")
    assert re.fullmatch(r"engine: logging\.filename \S+/lua/entry\.lua/x\.log: Not a directory: "
                        r"choose a file that this user may write\n", err), err


# ---- what lines look like

def test_json_lines(make_engine):
    engine = make_engine(lab.ENTRY, logging={"format": "json"})
    with Lab(engine.port) as client:
        client.lua(r"mix.log(mix.WARN, 'a \"quote\", a \\ and\ntwo lines\27[31m \228')")
        client.lua("mix.log(mix.INFO, 'the end')")
    wait_until(lambda: "the end" in engine.log() and "the end" in engine.stdout(), 10, "the lines")
    for text in (engine.log(), engine.stdout()):
        records = [json.loads(line) for line in text.splitlines()]
        assert all(list(r) == ["time", "level", "module", "message"] for r in records)
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", r["time"]) for r in records)
        messages = {r["message"]: r["level"] for r in records if r["module"] == "lua"}
        assert messages == {'a "quote", a \\ and\ntwo lines\x1b[31m \\xe4': "warn", "the end": "info"}


def test_what_peers_send_looks_like_nothing_of_the_engine(make_engine):
    """A client's text in an error: no forged record, no control character."""
    engine = make_engine(lab.ENTRY)
    forged = r"x\r\n2030-01-01 00:00:00.000 INFO  engine: forged\27]0;title\7\194\155\255\226\128\174"
    with Lab(engine.port) as client:
        client.lua(f"mix.log(mix.ERROR, '{forged}')")
        client.lua("mix.log(mix.INFO, 'the end')")
    engine.wait_output("lua: the end")
    log = engine.log_path.read_bytes()
    assert b"\n    2030-01-01 00:00:00.000 INFO  engine: forged\\x1b]0;title\\x07\\u009b\\xff\\u202e\n" in log
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", log)
    assert all(RECORD.match(line) or line.startswith("    ") for line in log.decode().splitlines())


# ---- floods

def test_repeats_are_held_back_with_their_count(make_engine):
    engine = make_engine(lab.ENTRY)
    with Lab(engine.port) as client:
        client.lua("for i = 1, 417 do mix.log(mix.WARN, 'again and again') end")
    wait_until(lambda: "repeated" in engine.log(), 20, "the count")
    assert engine.log().count("WARN  lua: again and again\n") == 5
    assert re.search(r"WARN  lua: again and again \(repeated 412 more times in 1\d s\)\n", engine.log()), engine.log()
    assert engine.metric("mixengine_log_lines_held_total") == 412


def test_errors_of_many_clients_are_repeats(make_engine):
    """They differ by the client alone."""
    engine = make_engine("function protocol_input(buf, conn) error('no good') end")
    import socket
    clients = [socket.create_connection(("127.0.0.1", engine.port), timeout=seconds(10)) for _ in range(20)]
    for client in clients:
        client.sendall(b"x")
    for client in clients:
        assert client.recv(1) == b""
        client.close()
    engine.wait_metric("mixengine_log_lines_held_total", 15)
    engine.stop()
    assert len(re.findall(r"protocol_input of client \d+ \(127\.0\.0\.1:\d+\): .*no good\n", engine.log())) == 5
    assert len(re.findall(r"protocol_input of client .*no good \(repeated 15 more times in \d+ s\)\n", engine.log())) == 1


# ---- what fails

def fill_and_mend(engine, mend):
    """The file takes nothing more for a while; everybody is served all the time."""
    with Lab(engine.port) as client:
        log_lines(client, 2000, "full", 200)
        wait_until(lambda: lost(engine) > 0, 10, "lines are lost")
        for i in range(100):
            assert client.ask(f"still served {i}") == f"still served {i}"
        log_lines(client, 10, "more", 200)
        mend()
        wait_until(lambda: (log_lines(client, 1, "mended"), "lua: mended" in engine.log())[1], 10, "the file")
    found = wait_until(lambda: re.search(r"WARN  log: (\d+) lines were lost", engine.log()), 10, "the count")
    assert int(found[1]) > 0
    assert all(RECORD.match(line) or line.startswith("    ") for line in engine.log().splitlines()), "half a line"
    assert len(re.findall(r"^log file \S+engine\.log: .*; lines are lost until that is mended$",
                          engine.stderr(), re.M)) == 1, engine.stderr()


def test_a_full_disk_stops_nothing(make_engine, tmp_path):
    """A file system of its own that has no room (ENOSPC), and then has."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("may not mount a file system here: " + mounted.stderr.decode().strip())
    ballast = tmp_path / "ballast"
    try:
        ballast.write_bytes(bytes(65536))
        engine = make_engine(lab.ENTRY, start=False, logging={"filename": str(tmp_path / "engine.log")})
        engine.log_path = tmp_path / "engine.log"
        engine.start()
        fill_and_mend(engine, ballast.unlink)
        assert "No space left on device" in engine.stderr()
        engine.stop()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_file_at_its_limit_stops_nothing(make_engine):
    """RLIMIT_FSIZE, which would end a process by SIGXFSZ; standard output is a file that fails too."""
    engine = make_engine(lab.ENTRY)
    unlimited = resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (100000, unlimited[1]))
    fill_and_mend(engine, lambda: resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, unlimited))


def test_a_device_that_takes_nothing(make_engine):
    engine = make_engine(lab.ENTRY, logging={"filename": "/dev/full"})
    with Lab(engine.port) as client:
        log_lines(client, 10)
        assert client.ask("x") == "x"
    wait_until(lambda: lost(engine) >= 10, 10, "they are counted")
    engine.stop()
    assert len(re.findall("lines are lost until that is mended", engine.stderr())) == 1, engine.stderr()


def start_on_a_pipe(engine):
    """Its standard output; returns the end that reads."""
    reader, writer = os.pipe()
    engine._readies = 0
    engine._stdout, engine._stderr = os.fdopen(writer, "wb"), open(engine.folder / "stderr", "ab")
    engine.process = subprocess.Popen(engine.command("single", "-p", "2"), stdin=subprocess.DEVNULL,
                                      stdout=engine._stdout, stderr=engine._stderr, cwd=engine.folder)
    engine.wait_ready()
    return reader


def test_nobody_reads_standard_output(make_engine):
    """A pipe that is full: the file has every line, clients are served, and the engine stops in its time."""
    engine = make_engine(lab.ENTRY, start=False)
    reader = start_on_a_pipe(engine)
    with Lab(engine.port) as client:
        log_lines(client, 2000)  # 65,536 bytes fit into the pipe
        for i in range(100):
            assert client.ask(f"still served {i}") == f"still served {i}"
        wait_until(lambda: len(numbers(engine.log())) == 2000, 10, "every line in the file")
    assert lost(engine) == 0
    engine.stop()
    os.close(reader)
    assert re.search(r"WARN  log: \d+ lines were not shown: nobody read standard output", engine.log())
    assert "stopped" in engine.log()


def test_nobody_reads_what_scripts_print(make_engine):
    """print waits for nobody either; what got lost is counted, and what comes when somebody reads is there."""
    engine = make_engine(lab.ENTRY, start=False)
    reader = start_on_a_pipe(engine)
    with Lab(engine.port) as client:
        wait_until(lambda: (client.lua("for i = 1, 1000 do print(('x'):rep(1000)) end"), lost(engine) > 0)[1], 20, "losses")
        for i in range(100):
            assert client.ask(f"still served {i}") == f"still served {i}"
        os.set_blocking(reader, False)
        seen = bytearray()

        def read(text):
            client.lua(f"print('{text}')")
            try:
                seen.extend(os.read(reader, 1 << 20))
            except BlockingIOError:
                pass
            return f"\n{text}\n".encode() in seen
        wait_until(lambda: read("heard again"), 20, "what is printed now")
    engine.stop()
    os.close(reader)
    assert int(re.search(r"WARN  log: (\d+) lines were lost", engine.log())[1]) > 0


def test_a_disk_that_does_not_answer(make_engine):
    """The writer stands still: what fits is kept, the rest counted, everybody is served."""
    engine = make_engine(lab.ENTRY)
    with Lab(engine.port) as client:
        writer = stop_writer(engine, client)
        log_lines(client, 20000)
        client.lua("for i = 1, 20000 do print(('x'):rep(100)) end")
        for i in range(100):
            assert client.ask(f"still served {i}") == f"still served {i}"
        assert lost(engine) > 20000
        writer.go_on()
        wait_until(lambda: "lines were lost" in engine.log(), 10, "the count")
        log_lines(client, 1, "after")
        wait_until(lambda: "lua: after" in engine.log(), 10, "the line after it")
    found = numbers(engine.log())
    assert 5000 < len(found) < 20000 and found == list(range(1, len(found) + 1))
    assert int(re.search(r"WARN  log: (\d+) lines were lost", engine.log())[1]) == lost(engine)


@pytest.mark.skipif(SLOW, reason="the sanitizers trace every thread at the end themselves")
def test_the_end_waits_for_no_disk(make_engine):
    engine = make_engine(lab.ENTRY)
    with Lab(engine.port) as client:
        writer = stop_writer(engine, client)
        log_lines(client, 100)
    engine.process.send_signal(signal.SIGTERM)
    writer.wait_end()
    engine.stop()
    assert "lua: line" not in engine.log()


# ---- the end

def test_the_last_lines_before_a_crash(make_engine):
    """What was logged before a fault is in the file, and the process has died of it."""
    engine = make_engine(lab.ENTRY, logging={"level": "info"})
    client = Lab(engine.port)
    client.send("=for i = 1, 3000 do mix.log(mix.INFO, string.format('line %06d ', i) .. ('x'):rep(200)) end "
                "local ffi = require('ffi') ffi.cdef('int raise(int);') ffi.C.raise(6)")
    assert engine.process.wait(seconds(15)) == -signal.SIGABRT
    assert numbers(engine.log())[-1] == 3000
    client.drop()
    engine.kill()


def test_the_last_lines_before_the_end(make_engine):
    engine = make_engine(lab.ENTRY)
    with Lab(engine.port) as client:
        log_lines(client, 3000, length=200)
    engine.stop()
    assert numbers(engine.log())[-1] == 3000 and pathlib.Path(engine.log_path).read_text().endswith("stopped\n")
