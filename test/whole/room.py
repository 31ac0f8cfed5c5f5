"""The chat's processes with their database, whichever of the consumers and databases."""

import contextlib
import itertools
import sqlite3

import chat
import mariadb
from harness import CHAT_ENTRY

USERS_SQL = CHAT_ENTRY.with_name("users.sql")
KINDS = ["python", "sqlite", "mariadb"]


class Sqlite:
    def __init__(self, folder):
        self.path = folder / "users.db"
        self.url = f"sqlite:{self.path}"

    def query(self, sql):
        with contextlib.closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as db:
            return [[None if v is None else str(v) for v in row] for row in db.execute(sql)]

    @contextlib.contextmanager
    def locked(self):
        with contextlib.closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            try:
                yield
            finally:
                db.execute("COMMIT")


class MariadbUsers:
    """A database of its own on the tests' server, filled from `sql`."""

    numbers = itertools.count(1)

    def __init__(self, server, sql):
        self.server, self.name = server, f"chat_{next(self.numbers)}"
        server.query(f"CREATE DATABASE {self.name}; GRANT ALL ON {self.name}.* TO "
                     f"{mariadb.USER}@'127.0.0.1' IDENTIFIED BY '{mariadb.PASSWORD}'")
        if sql:
            server.query(sql, self.name)
        self.url = f"mysql://{mariadb.USER}:{mariadb.PASSWORD}@127.0.0.1:{server.port}/{self.name}"

    def query(self, sql):
        return self.server.query(sql, self.name)

    @contextlib.contextmanager
    def locked(self):
        with mariadb.Session(self.server, self.name) as session:
            session.run("LOCK TABLES users WRITE")
            yield


class Room:
    def __init__(self, store, start):
        self.store, self.start_one = store, start
        self.programs = []

    def start(self, count=1):
        """More processes on the same database."""
        started = [self.start_one() for _ in range(count)]
        self.programs += started
        for program in started:
            program.wait_ready()
        return started

    @property
    def program(self):
        return self.programs[-1]

    def online(self):
        return int(self.store.query("SELECT sum(online) FROM users")[0][0])

    def flags(self):
        return {int(i): int(flag) for i, flag in self.store.query("SELECT id, online FROM users ORDER BY id")}


def prepare(kind, folder, server, sql=None):
    if kind == "mariadb":
        return MariadbUsers(server, USERS_SQL.read_text() if sql is None else sql)
    store = Sqlite(folder)
    if kind == "python":
        chat.prepare(store.path)
    return store
