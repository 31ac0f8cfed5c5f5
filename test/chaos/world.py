"""An engine under traffic, with all that stands around it: clients, consumers, redis, an HTTP server. The chaos run and
the soak both live in it."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "whole"))

import clients  # noqa: E402
import harness  # noqa: E402
import kinds  # noqa: E402
import oracle  # noqa: E402
import redis  # noqa: E402
import tls  # noqa: E402

STALL_TIMEOUT = 3  # seconds; a consumer that stands still for longer is dropped
PING_INTERVAL = 5
FILES_ONCE, THREADS_ONCE = 3, 4  # that a worker opens once: one of libuv, two of libcurl; those of libuv's pool
DROPPED = 3  # the status of a consumer whose connection the engine has closed
STARTERS = {"generation 1": "generation_1", "websocket": "websocket"}
# Of a guarded world. No client that does as it should exceeds LIMITS; those over TLS are made to wait now and then.
LIMITS = {"messagesPerSecond": 100, "bytesPerSecond": "1 MiB", "connectsPerSecond": 100, "connectionsPerAddress": 500}
SLOWING = {**LIMITS, "messagesPerSecond": 30, "burst": 1, "bytesPerSecond": "2 MiB", "overLimit": "wait"}
MEMORY_LIMIT = 64 << 20


class Program:
    """A process of the world that prints "ready"."""

    def __init__(self, *words):
        self.words = [sys.executable, *map(str, words)]
        self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        assert line == b"ready\n", f"{words[0]} has not begun, status {self.process.wait()}"

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Recorder(Program):
    def __init__(self, name, engine, record):
        self.name, self.record, self.died, self.excused = name, record, None, False  # excused: it was made to stand still
        spelling = "AB"[int(name[1:]) % 2]
        super().__init__(HERE / "recorder.py", name, engine.center, spelling, record)

    def kill(self):
        if self.process.poll() is None:
            self.died = time.monotonic()
        super().kill()

    def ended(self):
        return self.process.poll() is not None

    def life(self):
        lines = self.record.read_text().splitlines(keepends=True)
        return oracle.read_life(self.name, lines, self.died, self.excused)


class World:
    """`faults` collects what must not be and is not the oracle's to find. `guarded`: with a third server, which has
    TLS, and with limits, memoryLimit and preempt."""

    def __init__(self, folder, *, seed=0, clients_count=60, rate=300, consumers=3, workers=2, env=None, options=None,
                 guarded=False):
        self.folder, self.guarded = pathlib.Path(folder), guarded
        self.faults, self.recorders, self.retired, self.named, self.taken = [], [], [], 0, 0
        self.pauses = []  # (from, to) when the engine or a consumer stood still
        self.consumers, self.lock = consumers, threading.RLock()
        (self.folder / "redis").mkdir(parents=True, exist_ok=True)
        self.redis = redis.Redis(self.folder / "redis").start()
        self.backend_port = harness.free_port()
        self.backend = Program(HERE / "backend.py", self.backend_port)
        self.ports, self.contexts = {}, {}
        self.engine = self._engine(workers, env, options or {})
        self.swarm = clients.Swarm(self.ports, clients_count, rate, seed, self.contexts)
        self.thread = threading.Thread(target=self._swim, daemon=True)

    def _engine(self, workers, env, options):
        server = {"bind": "127.0.0.1", "byteCodeExpires": 1, "pingInterval": PING_INTERVAL, "readTimeout": 20,
                  "options": [{"name": "path", "value": "/chat"},
                              {"name": "backend", "value": f"http://127.0.0.1:{self.backend_port}/"}]}
        files = {f"{name}.lua": kinds.ENTRIES[kind].read_text() for kind, name in STARTERS.items()}
        second = {**server, "port": harness.free_port(), "protocol": "websocket", "entry": "lua/websocket.lua"}
        more = self._guard(server, second, options) if self.guarded else []
        engine = harness.Engine(
            self.folder / "engine", None, workers=workers, env=env,
            files={**files, "app.lua": (HERE / "app.lua").read_text()},
            server={**server, "entry": "lua/generation_1.lua"},
            servers=[second, *more],
            queue={"topicSize": 1000, "fullTimeout": 20, "stallTimeout": STALL_TIMEOUT},
            redis=[{"addr": self.redis.addr, "minIdleConns": 0, "idleTimeout": 1}], **options)
        if self.guarded:
            engine.config["engine"]["luavm"]["preempt"] = True
            engine.config_path.write_text(harness.yaml(engine.config))
        self.ports.update({"generation 1": engine.port, "websocket": second["port"]})
        return engine

    def _guard(self, server, second, options):
        """Sets what guards them; returns a server with TLS. Its certificate is one of two, see `swap_certificate`."""
        if not harness.SLOW:
            options["engine"] = {**options.get("engine", {}), "memoryLimit": MEMORY_LIMIT}
        for guarded in (server, second):
            guarded["limits"] = LIMITS
        authority = tls.Authority(self.folder)
        self.certificates = [authority.issue(f"server{i}", kind) for i, kind in enumerate(tls.KINDS)]
        self.swap_certificate(0)
        secure = {**second, "port": harness.free_port(), "limits": SLOWING,
                  "tls": {"cert": str(self.folder / "now.crt"), "key": str(self.folder / "now.key")}}
        self.ports["TLS"], self.contexts["TLS"] = secure["port"], authority.trust()
        return [secure]

    def swap_certificate(self, which):
        for path in self.certificates[which]:
            fresh = self.folder / f"fresh{path.suffix}"
            fresh.write_bytes(path.read_bytes())
            fresh.rename(self.folder / f"now{path.suffix}")

    def _swim(self):
        try:
            self.swarm.run()
        except Exception as error:  # the run must end with a word about it
            self.faults.append(f"the clients' thread: {error!r}")
            raise

    def start(self):
        self.engine.start()
        self.baseline = self.reading()
        for _ in range(self.consumers):
            self.add_consumer()
        self.thread.start()
        return self

    def clients_do(self, function):
        """Runs it in the clients' thread and returns what it gave."""
        done, result = threading.Event(), []

        def call():
            try:
                result.append(function())
            finally:
                done.set()
        self.swarm.do(call)
        assert done.wait(60), "the clients' thread stands still"
        return result[0]

    # consumers

    def add_consumer(self):
        with self.lock:
            name = f"c{self.named}"
            self.named += 1
            self.recorders.append(Recorder(name, self.engine, self.folder / f"{name}.record"))

    def take(self, dice):
        """One of them, which nobody else has to do with until it is given back or retired; None: all are taken."""
        with self.lock:
            if not self.recorders:
                return None
            self.taken += 1
            return self.recorders.pop(dice.randrange(len(self.recorders)))

    def give(self, recorder):
        with self.lock:
            self.taken -= 1
            self.recorders.append(recorder)

    def retire(self, recorder):
        """For good: it has ended."""
        with self.lock:
            self.taken -= 1
            self.retired.append(recorder)

    def tend(self):
        """Looks after the consumers: those that have ended are told, and replaced."""
        with self.lock:
            for recorder in [r for r in self.recorders if r.ended()]:
                status = recorder.process.returncode
                if status != DROPPED or not recorder.excused:
                    self.faults.append(f"consumer {recorder.name} has ended, status {status}")
                self.recorders.remove(recorder)
                self.retired.append(recorder)
            while len(self.recorders) + self.taken < self.consumers:
                self.add_consumer()

    def dismiss(self, recorder):
        """Lets it retire, in which nothing may be lost, and waits for it."""
        recorder.signal(signal.SIGTERM)
        try:
            status = recorder.process.wait(harness.seconds(30))
        except subprocess.TimeoutExpired:
            status = None
        if status != 0 and not (status == DROPPED and recorder.excused):
            self.faults.append(f"consumer {recorder.name}: status {status} for its retirement")
        self.retire(recorder)

    def pause(self, process, duration):
        begin = time.monotonic()
        process.send_signal(signal.SIGSTOP)
        time.sleep(duration)
        process.send_signal(signal.SIGCONT)
        self.pauses.append((begin, time.monotonic()))

    # what the engine is made of

    def reading(self):
        pid, found = self.engine.process.pid, self.engine.metrics()
        status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
        return {
            "rss": int(status["VmRSS"].split()[0]) * 1024,
            "fds": len(os.listdir(f"/proc/{pid}/fd")) - self._kept_for_backend(),
            "threads": int(status["Threads"]), "lua": found["mixengine_lua_memory_bytes"],
            "connections": found["mixengine_connections"], "lag": found["mixengine_loop_lag_seconds"],
            "depth": found.get("mixengine_topic_depth", 0), "waiting": found.get("mixengine_topic_waiting", 0),
            "suspended": found["mixengine_tasks_suspended"], "contexts": found["mixengine_contexts"],
            "subscriptions": found["mixengine_subscriptions"], "channels": found["mixengine_channels"],
            "requests": found["mixengine_http_requests"],
            "consumers": found["mixengine_api_consumers"],
            "commands": found["mixengine_api_commands_in_flight"]}

    def guards(self):
        """How often what guards the engine had something to do."""
        found = self.engine.metrics()

        def closed(reason):
            return sum(n for name, n in found.items()
                       if name.startswith("mixengine_closes_total{") and f'reason="{reason}"' in name)
        return {"closed by a limit": closed("limit"), "closed as memory was short": closed("memory"),
                "refused connects": found["mixengine_refused_total"],
                "TLS handshakes": found["mixengine_tls_handshakes_total"],
                "failed ones": found["mixengine_tls_failures_total"]}

    def _kept_for_backend(self):
        """Connections to the HTTP server that wait for the next request: they are bounded, and stay when that dies."""
        lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
        to = f":{self.backend_port:04X}"
        return sum(fields[2].endswith(to) and fields[9] != "0" for fields in map(str.split, lines))

    def _files(self):
        for path in pathlib.Path(f"/proc/{self.engine.process.pid}/fd").iterdir():
            try:
                yield f"{path.name} {path.readlink()}"
            except OSError:
                pass  # closed meanwhile

    # the end

    def wind_down(self):
        """The clients' last messages are acknowledged and all clients leave in order; then the consumers, then
        everything must be back where it was."""
        self.swarm.talking = False
        self._settle("acknowledgements of all that was sent", lambda: all(
            m.ledger.settled for m in self.swarm.members.values()), 60)
        for ledger in [m.ledger for m in self.swarm.members.values() if not m.ledger.settled]:
            self.faults.append(f"client {ledger.id} ({ledger.server}): {len(ledger.sent)} sent, "
                               f"{len(ledger.accepted)} acknowledged")
        self._settle("an empty queue", lambda: self.reading()["depth"] == 0, 30)
        self.clients_do(lambda: [m.close() for m in list(self.swarm.members.values())])
        self._settle("the clients' ends", lambda: not self.swarm.members, 30)
        for sock in self.swarm.mute:
            sock.close()
        self._settle("no connection", lambda: self.reading()["connections"] == 0, 30)
        self._settle("an empty queue", lambda: self.reading()["depth"] == 0, 30)
        self.swarm.stopping = True
        self.thread.join(30)
        self._retire_all()

    def _settle(self, what, condition, limit):
        end = time.monotonic() + harness.seconds(limit)
        while not condition():
            if time.monotonic() > end:
                self.faults.append(f"{what}: not within {limit} s")
                return
            time.sleep(0.05)

    def _retire_all(self):
        while recorder := self.take(random):
            self.dismiss(recorder)
        self.backend.kill()

    def compare(self, rss_bound):
        """Everything that counts something is back at its value from the start."""
        zero = ("connections", "depth", "waiting", "suspended", "contexts", "subscriptions", "channels", "requests",
                "consumers", "commands")
        last, bounds = {}, {"fds": self.baseline["fds"] + FILES_ONCE * self.engine.workers,
                            "threads": self.baseline["threads"] + THREADS_ONCE, "rss": rss_bound}

        def back():
            last.update(self.reading())
            return all(last[k] == 0 for k in zero) and all(last[k] <= bound for k, bound in bounds.items())
        self._settle("everything back where it was", back, 20)
        for name in zero:
            if last[name]:
                self.faults.append(f"{name} is {last[name]:g} at the end")
        for name, bound in bounds.items():
            if last[name] > bound:
                self.faults.append(f"{name} is {last[name]} at the end, not {bound} at most")
                if name == "fds":
                    self.faults.append("files: " + ", ".join(self._files()))
        return last

    def lives(self):
        return [recorder.life() for recorder in self.retired]

    def verdict(self):
        return oracle.judge(self.swarm.ledgers, self.lives(), self.pauses)

    def stop(self):
        try:
            self.engine.stop()
        except AssertionError as error:
            self.faults.append(f"the engine's end: {error}")

    def kill(self):
        """Whatever is still there."""
        self.swarm.stopping = True
        for program in [*self.recorders, *self.retired, self.backend]:
            program.kill()
        self.redis.kill()
        self.engine.kill()
