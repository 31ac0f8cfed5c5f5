"""What is installed works by itself: the engine, and the library with the program that stands in its header."""

import os
import re
import subprocess

import pytest

import harness
from wsclient import connect

BUILD = os.path.dirname(harness.binary())
CODE = re.compile(r"^ \*     (.*)$|^ \*$", re.MULTILINE)


def run(*words, **options):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    run("cmake", "--install", BUILD, "--prefix", folder)
    return folder


@pytest.fixture(scope="module")
def environment(prefix):
    """That of somebody who has nothing but the installed files."""
    library = next(prefix.rglob("libmix-consumer.so")).parent
    return {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(library),
            "PKG_CONFIG_PATH": str(library / "pkgconfig")}


def program_of(header):
    """The program in the header's first comment."""
    lines = [m.group(1) or "" for m in CODE.finditer(header[:header.index("*/")])]
    return "\n".join(lines[next(i for i, line in enumerate(lines) if line.startswith("#include")):])


def test_the_consumer_in_the_header(make_engine, run_program, prefix, environment, tmp_path):
    source = program_of((prefix / "include/mix_consumer.h").read_text())
    assert len(source.strip().splitlines()) <= 32
    (tmp_path / "hello.c").write_text(source)
    flags = run("pkg-config", "--cflags", "--libs", "mix-consumer", env=environment).split()
    run("cc", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "hello.c", "-o", "hello", *flags,
        cwd=tmp_path, env=environment)
    engine = make_engine(harness.CHAT_ENTRY)
    hello = subprocess.Popen([tmp_path / "hello", engine.center], env=environment, stderr=subprocess.PIPE)
    try:
        with connect(engine.port) as client:
            for text in ('{"op":"a"}', '{"op":"b","args":["\\"你"]}'):
                assert client.ask(text) == text
        hello.terminate()
        assert hello.wait(10) == 0
    finally:
        hello.kill()
        hello.wait()
        hello.stderr.close()


def test_nothing_but_the_public_names_is_exported(prefix):
    library = next(prefix.rglob("libmix-consumer.so"))
    names = [line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines()]
    assert names and all(name.startswith("mix_") for name in names), names
    declared = set(re.findall(r"\b(mix_(?:consumer|node)_\w+)\(", (prefix / "include/mix_consumer.h").read_text()))
    assert declared == set(names)


def test_the_installed_programs(prefix, tmp_path):
    """They find their Lua files and their library where they were installed."""
    plain = {"PATH": os.environ["PATH"]}
    for file in ("lua/protocols/websocket.lua", "conf/connmix.yaml", "examples/chat/web/index.html"):
        assert (prefix / "share/mixengine" / file).exists(), file
    checked = run(prefix / "bin/engine", "check", "-f", prefix / "share/mixengine/conf/chat.yaml",
                  cwd=tmp_path, env=plain)
    assert "6790" in checked
    assert "Modes:" in run(prefix / "bin/engine-bench", "--help", cwd=tmp_path, env=plain)
    assert "--center" in run(prefix / "bin/chat", "--help", cwd=tmp_path, env=plain)
