import contextlib
import os
import pathlib
import resource
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import chat  # noqa: E402
import harness  # noqa: E402

# Thousands of connections need thousands of descriptors, here and in the engine that inherits this.
_, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_hard, _hard))


def pytest_collection_modifyitems(items):
    for item in items:
        if not any(item.iter_markers("timeout")):
            item.add_marker(pytest.mark.timeout(harness.seconds(60)))


def pytest_sessionstart(session):
    if not os.path.exists(harness.binary()):
        raise pytest.UsageError(f"no engine at {harness.binary()}: build it, or set ENGINE")


@contextlib.contextmanager
def _make(folder_of):
    """A function that starts engines; all are stopped at the end, and each must end well."""
    engines = []

    def make(entry, start=True, **options):
        engine = harness.Engine(folder_of(), entry, **options)
        engines.append(engine)
        return engine.start() if start else engine

    failed = []
    try:
        yield make
    finally:
        for engine in engines:
            try:
                engine.stop()
            except AssertionError as error:
                failed.append(str(error))
    assert not failed, "\n".join(failed)


@pytest.fixture
def make_engine(tmp_path_factory):
    with _make(lambda: tmp_path_factory.mktemp("engine")) as make:
        yield make


@pytest.fixture(scope="module")
def make_shared(tmp_path_factory):
    """As make_engine; its engines live as long as the module's tests."""
    with _make(lambda: tmp_path_factory.mktemp("shared")) as make:
        yield make


class Program:
    """One of the Python programs beside this file, as a process of its own."""

    def __init__(self, name, *words):
        self.process = subprocess.Popen(
            [sys.executable, str(harness.HERE / name), *map(str, words)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, text=True)

    def wait_ready(self):
        line = self.process.stdout.readline()
        assert line == "ready\n", f"{line!r}, status {self.process.poll()}"
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def run_program():
    """Starts `consumer.py` or `chat.py`; they are killed at the end of the test."""
    programs = []

    def run(name, *words, wait=True):
        program = Program(name, *words)
        programs.append(program)
        return program.wait_ready() if wait else program

    yield run
    for program in programs:
        program.kill()


@pytest.fixture
def run_chat(run_program, tmp_path):
    """Starts `count` processes of the chat's business logic on one database; returns its path."""
    def run(engine, spelling="A", count=1, **options):
        db = pathlib.Path(tmp_path) / "users.db"
        chat.prepare(db)
        words = [w for k, v in options.items() for w in (f"--{k.replace('_', '-')}", v)]
        programs = [run_program("chat.py", "--center", engine.center, "--db", db,
                                "--spelling", spelling, *words, wait=False) for _ in range(count)]
        for program in programs:
            program.wait_ready()
        return db
    return run
