import contextlib
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import harness  # noqa: E402
import mariadb  # noqa: E402
import room  # noqa: E402

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
    """A process; what it prints stands in files of the test's folder."""

    def __init__(self, folder, words, stdin=subprocess.DEVNULL):
        number = len(list(folder.glob("*.stdout")))
        self.stdout_path, self.stderr_path = (
            folder / f"{pathlib.Path(words[0]).name}{number}.{name}" for name in ("stdout", "stderr"))
        with open(self.stdout_path, "wb") as out, open(self.stderr_path, "wb") as err:
            self.process = subprocess.Popen(words, stdin=stdin, stdout=out, stderr=err)

    def stdout(self):
        return self.stdout_path.read_text()

    def stderr(self):
        return self.stderr_path.read_text(errors="replace")

    def wait_ready(self):
        def ready():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.stderr()}"
            return self.stdout().startswith("ready\n")
        harness.wait_until(ready, 15, "ready")
        return self

    def wait_stderr(self, pattern, limit=10):
        return harness.wait_until(lambda: re.search(pattern, self.stderr()), limit, f"{pattern!r} on stderr")

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, limit=15):
        """Its status; a sanitizer must have found nothing."""
        status = self.process.wait(harness.seconds(limit))
        assert not harness.SANITIZER.search(self.stderr()), self.stderr()
        return status

    def stop(self):
        """SIGTERM must end it with status 0; one that was killed is left out."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        elif self.process.returncode == -signal.SIGKILL:
            return
        try:
            status = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop: {self.stderr()}") from None
        assert status == 0, f"status {status}: {self.stderr()}"

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()


@pytest.fixture
def run_program(tmp_path):
    """Starts `consumer.py`, or the program of the given path; they are killed at the end of the test."""
    programs = []

    def run(name, *words, wait=True, **options):
        command = [sys.executable, str(harness.HERE / name)] if name.endswith(".py") else [name]
        program = Program(tmp_path, [*command, *map(str, words)], **options)
        programs.append(program)
        return program.wait_ready() if wait else program

    yield run
    for program in programs:
        program.kill()


@pytest.fixture(scope="session")
def mariadb_server(tmp_path_factory):
    server = mariadb.Mariadb(tmp_path_factory.mktemp("mariadb"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def kind():
    """Which chat `run_chat` runs: one of room.KINDS. Tests parametrize it."""
    return "python"


@pytest.fixture
def run_chat(kind, run_program, request, tmp_path):
    """Starts `count` processes of the chat on one database; each must end well."""
    rooms = []

    def run(engine, spelling="A", count=1, sql=None, **options):
        server = request.getfixturevalue("mariadb_server") if kind == "mariadb" else None
        store = room.prepare(kind, tmp_path, server, sql)
        if kind == "python":
            options["spelling"] = spelling
        words = [w for k, v in options.items() for w in (f"--{k.replace('_', '-')}", v)]
        name = "chat.py" if kind == "python" else harness.chat_binary()
        rooms.append(room.Room(store, lambda: run_program(
            name, "--center", engine.center, "--db", store.url, *words, wait=False)))
        rooms[-1].start(count)
        return rooms[-1]

    yield run
    failed = []
    for program in (program for found in rooms for program in found.programs):
        try:
            program.stop()
        except AssertionError as error:
            failed.append(str(error))
    assert not failed, "\n".join(failed)
