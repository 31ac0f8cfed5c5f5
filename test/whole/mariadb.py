"""A MariaDB server of the tests' own: on a free port of 127.0.0.1, with a folder that goes with it."""

import os
import subprocess

from harness import free_port, seconds, wait_until

USER, PASSWORD = "chat", "s3cret"


class Mariadb:
    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.process = None
        # A Unix socket's path has 107 bytes at most, which pytest's folders may exceed.
        self.socket = f"/tmp/mixengine-test-{os.getpid()}-{self.port}.sock"
        self.as_root = ["--user=root"] if os.geteuid() == 0 else []
        # A server that starts removes what it takes for left-overs from its folder for temporary tables: never /tmp.
        (folder / "tmp").mkdir()
        subprocess.run(["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal",
                        "--skip-test-db", "--skip-name-resolve", f"--datadir={folder / 'data'}",
                        f"--tmpdir={folder / 'tmp'}", *self.as_root],
                       stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=seconds(60))

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                ["mariadbd", "--no-defaults", f"--datadir={self.folder / 'data'}",
                 f"--tmpdir={self.folder / 'tmp'}", f"--socket={self.socket}",
                 f"--pid-file={self.folder / 'pid'}", f"--port={self.port}", "--bind-address=127.0.0.1",
                 "--skip-name-resolve", "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M",
                 "--innodb-flush-log-at-trx-commit=0", "--key-buffer-size=1M", *self.as_root],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def ready():
            assert self.process.poll() is None, (self.folder / "log").read_text()[-4000:]
            return self.client("-e", "SELECT 1").returncode == 0
        wait_until(ready, 30, "MariaDB answers")
        return self

    def stop(self):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(seconds(30))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def words(self, *words):
        return ["mariadb", "--no-defaults", "--user=root", f"--socket={self.socket}",
                "--default-character-set=utf8mb4", "--batch", "--skip-column-names", "--raw", *words]

    def client(self, *words, text=None):
        return subprocess.run(self.words(*words), input=text, capture_output=True, text=True,
                              timeout=seconds(30))

    def query(self, sql, database=""):
        """The rows, as lists of text."""
        done = self.client(*([database] if database else []), text=sql)
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]


class Session:
    """A connection that stays, for what ends with it: locks."""

    def __init__(self, server, database):
        self.process = subprocess.Popen(server.words("--unbuffered", database), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)

    def run(self, sql):
        self.process.stdin.write(f"{sql};\nSELECT 'done';\n")
        for line in self.process.stdout:
            if line == "done\n":
                return
        raise AssertionError(f"{sql}: the session ended")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(seconds(10))
        self.process.stdout.close()
