"""Who the process is, what it may, and what of its secrets can be seen."""

import base64
import grp
import os
import pathlib
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import pytest

import lab
from consumer import Consumer
from harness import Engine, SANITIZER, SLOW, binary, seconds, wait_until, yaml
from lab import Lab, LuaError
from test_logging import rotated
from tls import Authority

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
USER = "nobody"
FFI = "local ffi = require('ffi') pcall(ffi.cdef, 'int setuid(unsigned); int setgid(unsigned); int setresuid(unsigned, unsigned, unsigned);') "


def account():
    entry = pwd.getpwnam(USER)
    return entry.pw_uid, entry.pw_gid


class Public(Engine):
    """An engine in a folder that other users may enter, which is not so of pytest's."""

    def __init__(self, entry, **options):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="mixengine-test-"))
        folder.chmod(0o755)
        top = options.pop("top", {})
        super().__init__(folder, entry, **options)
        os.chown(folder / "logs", *account())
        self.configure(**top)

    def configure(self, **keys):
        self.config.update(keys)
        self.config_path.write_text(yaml(self.config))

    def run_as(self, user, *words):
        """As `run`, by that user."""
        done = subprocess.run(self.command(*words), cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True,
                              user=user, group=account()[1], extra_groups=[], timeout=seconds(20), text=True)
        assert not SANITIZER.search(done.stdout + done.stderr), done.stderr
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def make_public():
    engines = []

    def make(entry=lab.ENTRY, start=True, **options):
        engines.append(Public(entry, **options))
        return engines[-1].start() if start else engines[-1]

    yield make
    try:
        for engine in engines:
            engine.stop()
    finally:
        for engine in engines:
            engine.kill()
            shutil.rmtree(engine.folder)


def status(engine):
    text = pathlib.Path(f"/proc/{engine.process.pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def threads(engine):
    for task in pathlib.Path(f"/proc/{engine.process.pid}/task").iterdir():
        yield dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)


def low_port():
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first < 1024:
        pytest.skip(f"everybody may bind the ports from {first} on here")
    for port in range(1023, 900, -1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    pytest.skip("no port below 1024 is free")


# ---- another user

@needs_root
def test_root_binds_and_becomes_the_user(make_public):
    """A port below 1024 is served; every thread is the user's, without a capability and a way back."""
    port = low_port()
    engine = make_public(server={"port": port}, top={"user": USER})
    uid, gid = account()
    for thread in threads(engine):
        assert thread["Uid"].split() == [str(uid)] * 4 and thread["Gid"].split() == [str(gid)] * 4
        assert [thread[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Amb")] == ["0" * 16] * 4
        assert thread["NoNewPrivs"] == "1"
        assert set(map(int, thread["Groups"].split())) == set(os.getgrouplist(USER, gid))
    with Lab(port) as client:
        for call in ("setuid(0)", "setgid(0)", "setresuid(0, 0, 0)"):
            assert client.lua(FFI + f"return ffi.C.{call}") == [-1], call
        assert client.lua("return (io.open('/etc/shadow'))") == [None]
    assert engine.log_path.stat().st_uid == uid
    assert "runs as root" not in engine.log() and "cannot read it" not in engine.log()
    assert engine.metric("process_open_fds") > 10


@needs_root
def test_scripts_are_loaded_by_the_user(make_public):
    """Also what runs before the ports listen."""
    entry = "mix.log(mix.INFO, 'chunk ' .. tostring(io.open('/etc/shadow'))) " \
            "function init() mix.log(mix.INFO, 'init ' .. tostring(io.open('/etc/shadow'))) end " \
            "function protocol_input(buf, conn) return 0 end"
    engine = make_public(entry, top={"user": USER})
    assert re.search("lua: chunk nil", engine.log()) and re.search("lua: init nil", engine.log())


@needs_root
@pytest.mark.parametrize("text", ["{name}:{group}", "{uid}", "{uid}:{gid}", "{name}:daemon", "4242:4243"])
def test_names_and_numbers(make_public, text):
    uid, gid = account()
    user = text.format(name=USER, group=grp.getgrgid(gid).gr_name, uid=uid, gid=gid)
    engine = make_public(start=False, top={"user": user})
    expected = {"4242:4243": (4242, 4243), f"{USER}:daemon": (uid, grp.getgrnam("daemon").gr_gid)}.get(user, (uid, gid))
    os.chown(engine.folder / "logs", *expected)
    engine.start()
    found = status(engine)
    assert (found["Uid"].split()[1], found["Gid"].split()[1]) == tuple(map(str, expected))


@needs_root
def test_reloads_and_stops_as_the_user(make_public):
    """Scripts, configuration and log are read and opened anew; a Unix socket is made and removed."""
    engine = make_public(start=False, server={"bind": "127.0.0.1"}, api={}, top={"user": USER})
    (engine.folder / "run").mkdir()
    os.chown(engine.folder / "run", *account())
    engine.config["center"]["apiServer"] = {"bind": "unix:run/center.sock"}
    engine.configure()
    engine.start()
    assert (engine.folder / "run/center.sock").stat().st_uid == account()[0]
    engine.log_path.rename(engine.log_path.with_name("moved.log"))
    engine.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "loaded again" in engine.log() and "reload: reloaded" in engine.log(), 10, "the reload")
    assert engine.log_path.stat().st_uid == account()[0]
    engine.stop()
    assert not (engine.folder / "run/center.sock").exists()


@needs_root
def test_a_port_in_use_is_told_as_ever(make_public):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        engine = make_public(start=False, server={"port": taken.getsockname()[1]}, top={"user": USER})
        code, _, err = engine.run("single")
    assert code == 1 and re.search(r"servers\[0\] 127\.0\.0\.1:\d+: address already in use: stop what", err), err


@needs_root
@pytest.mark.parametrize("user,pattern", [
    ("no-such-user", "there is no user 'no-such-user'; make it"), (USER + ":no-such-group", "there is no group 'no-such-group'"),
    ("4294968296:1000", "there is no user '4294968296'"), ("4294967295:1000", "there is no user '4294967295'"),
    ("4242", "does not know the number 4242; add a group"), ("root", "root is the superuser"), ("0:0", "0:0 is the superuser")])
@pytest.mark.parametrize("command", ["single", "check"])
def test_a_user_that_cannot_be(make_public, user, pattern, command):
    engine = make_public(start=False, top={"user": user})
    code, _, err = engine.run(command)
    assert code == 78 and re.search("^engine: user: .*" + pattern, err, re.M), err


@needs_root
@pytest.mark.parametrize("command", ["single", "check"])
def test_a_script_that_the_user_cannot_read(make_public, command):
    engine = make_public(start=False, top={"user": USER})
    (engine.folder / "lua/entry.lua").chmod(0o600)
    code, _, err = engine.run(command)
    assert code == 78 and re.search(rf"servers\[0\]\.entry \S+entry\.lua: Permission denied: let user '{USER}' read it", err), err


@needs_root
def test_a_log_that_the_user_cannot_write(make_public):
    engine = make_public(start=False, top={"user": USER})
    os.chown(engine.folder / "logs", 0, 0)
    code, _, err = engine.run("single")
    assert code == 1 and f"engine.log: Permission denied: choose a file that user {USER} may write" in err, err


@needs_root
def test_a_configuration_that_the_user_cannot_read(make_public):
    """Root has read it, with its passwords; that changes are not seen is told."""
    engine = make_public(start=False, top={"user": USER})
    engine.config_path.chmod(0o600)
    engine.start()
    assert re.search(rf"WARN  config: \S+: user '{USER}' cannot read it: changes take effect after a restart only", engine.log())


@needs_root
def test_certificates_that_the_user_cannot_read(make_public):
    """Root has read them; that the user could not do so again is told before it has to."""
    engine = make_public(start=False, top={"user": USER})
    ca = Authority(engine.folder)
    for name, section in ("server", engine.config["engine"]["servers"][0]), ("api", engine.config["engine"]["apiServer"]):
        section["tls"] = ca.server(name, clientCA=str(ca.cert))
        pathlib.Path(section["tls"]["key"]).chmod(0o600)
    engine.configure()
    engine.start()
    warned = re.findall(rf"WARN  config: \S+/(\S+): user '{USER}' cannot read it again", engine.log())
    assert sorted(warned) == ["api.key", "server.key"]


@needs_root
def test_who_is_not_root(make_public):
    """That user itself goes on; another cannot become it."""
    engine = make_public(start=False, top={"user": USER})
    code, out, err = engine.run_as("daemon", "single")
    assert code == 1 and out == "" and re.search(
        rf"engine: user: {USER}: this process is user number \d+ and cannot become another; start it as root or as that user", err), err
    code, out, err = engine.run_as(USER, "check")
    assert code == 0 and err == "", err


@needs_root
def test_root_without_a_user_is_warned_of(make_public):
    engine = make_public()
    assert engine.log().count("runs as root: scripts may do whatever root may; set the key 'user'") == 1


# ---- memory

@needs_root
@pytest.mark.parametrize("mode,top,readable", [
    ("single", {}, False), ("single", {"coreDumps": True}, True), ("dev", {}, True)])
def test_who_may_read_the_memory(make_public, mode, top, readable):
    """Another process of the same user; core dumps follow the same switch."""
    engine = make_public(mode=mode, top={"user": USER, **top})
    done = subprocess.run(["cat", f"/proc/{engine.process.pid}/maps"], capture_output=True, user=USER,
                          group=account()[1], extra_groups=[])
    assert (done.returncode == 0 and b"engine" in done.stdout) == readable, done.stderr


@pytest.mark.parametrize("top", [{}, {"coreDumps": True}])
def test_core_dumps(make_engine, top):
    """A fault leaves one only where the configuration says so."""
    engine = make_engine(lab.ENTRY, start=False)
    engine.config.update(top)
    engine.config_path.write_text(yaml(engine.config))
    engine.start()
    hard = resource.prlimit(engine.process.pid, resource.RLIMIT_CORE)[1]
    resource.prlimit(engine.process.pid, resource.RLIMIT_CORE, (hard, hard))
    engine.process.send_signal(signal.SIGABRT)
    dumped = os.waitid(os.P_PID, engine.process.pid, os.WEXITED | os.WNOWAIT).si_code == os.CLD_DUMPED
    engine.kill()
    if top and not dumped:
        pytest.skip("no process leaves a core dump here")
    assert dumped == bool(top)


# ---- secrets

SECRETS = ["sesame-plain", "sesame-redis", "sesame-wrong", "sesame-api"]


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_no_secret_is_told(make_engine):
    """At level debug: credentials good and bad, a redis that refuses, wrong values in the configuration."""
    users = [{"username": "a", "password": SECRETS[0], "roles": ["read", "write"]}]
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % nobody.getsockname()[1]
        engine = make_engine(lab.ENTRY, users=users, logging={"level": "debug"},
                             redis=[{"name": "default", "addr": address, "password": SECRETS[1]}])
        for name, password in (("a", SECRETS[0]), ("a", SECRETS[2]), (SECRETS[2], "x")):
            for path in ("/metrics", "/v1/nodes", "/no/such/path"):
                engine.http("GET", path, headers=basic(name, password))
            upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                       "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
            if password != SECRETS[0]:
                engine.http("GET", "/ws/v1", headers={**upgrade, **basic(name, password)})
        with Lab(engine.port) as client:
            try:
                client.lua("local r = mix.redis.connection() return r:get('x')")
            except LuaError:
                pass
    engine.config["access"]["users"][0]["roles"] = [SECRETS[0] + "-role"]
    engine.config["access"]["users"][0]["username"] = "a:" + SECRETS[3]
    engine.config["engine"]["luavm"]["redis"][0]["addr"] = f"redis://a:{SECRETS[1]}@b"
    engine.config_path.write_text(yaml(engine.config))
    engine.process.send_signal(signal.SIGHUP)
    engine.wait_output("not used; what was read before holds on")
    seen = engine.output()
    for name in ("cmdline", "environ"):
        seen += pathlib.Path(f"/proc/{engine.process.pid}/{name}").read_text()
    engine.stop()
    seen += engine.output() + "".join(engine.run("check")[1:])
    for secret in SECRETS:
        assert secret not in seen, secret
        for name in ("a", secret):
            assert basic(name, secret)["Authorization"][6:-4] not in seen


# ---- the unit for systemd

CONFINED = pathlib.Path(__file__).with_name("confined.py")
UNIT = pathlib.Path(__file__).resolve().parents[2] / "conf" / "mixengine.service"
needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")


@needs_analyze
def test_the_unit_is_right(tmp_path):
    """systemd's own look at it, but that the program and its user need not be installed here."""
    unit = tmp_path / "mixengine.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/engine", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)
    told = [line for line in done.stderr.splitlines() if "mixengine.service" in line]
    assert done.returncode == 0 and not told, done.stderr


@pytest.fixture
def confined(monkeypatch, tmp_path):
    """Engines run with what the unit allows, and end by SIGSYS at what it does not."""
    pytest.importorskip("seccomp")
    if SLOW:
        pytest.skip("the sanitizers make calls of their own")
    program = tmp_path / "confined-engine"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {CONFINED} {UNIT} {os.path.abspath(binary())} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("ENGINE", str(program))


@needs_analyze
def test_the_unit_allows_what_the_engine_calls(confined, make_engine, tmp_path):
    """Scripts of both kinds of work, names looked up, a consumer, a Unix socket, rotation, reloads, the end."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        redis = [{"name": "default", "addr": f"localhost:{port}", "minIdleConns": 0}]
        engine = make_engine(lab.ENTRY, redis=redis, logging={"maxSize": "64 KiB", "maxFiles": 1},
                             servers=[{"bind": "unix:logs/second.sock", "entry": "lua/entry.lua"}])
        assert engine.run("check")[0] == 0
        with Lab(engine.port) as client, Consumer(f"127.0.0.1:{engine.api_port}", topics=("t",)) as taker:
            taker.wait_consuming()
            client.lua("mix.queue.push('t', {1}) mix.sleep(0.01) mix.mesh.publish('c', 'x')")
            client.lua("for i = 1, 2000 do mix.log(mix.INFO, i .. ('x'):rep(100)) end print('x') collectgarbage()")
            assert client.lua(f"return (mix.http.request('GET', 'http://localhost:{port}/'))") == [None]
            with pytest.raises(LuaError):
                client.lua("mix.redis.connection():get('x')")
            taker.wait_events(1, "t")
        wait_until(lambda: rotated(engine), 10, "a rotation")
        engine.process.send_signal(signal.SIGHUP)
        engine.wait_output("reload: reloaded")
        engine.metrics()
        engine.stop()


@needs_analyze
def test_what_the_unit_does_not_allow(confined, make_engine):
    """The test before this one would see it."""
    engine = make_engine(lab.ENTRY)
    client = Lab(engine.port)
    client.lua("local ffi = require('ffi') ffi.cdef('int chroot(const char *); int socket(int, int, int);') "
               "assert(ffi.C.socket(16, 3, 0) == -1 and ffi.errno() == 97)")
    client.send("=return require('ffi').C.chroot('/')")
    assert engine.process.wait(seconds(10)) == -signal.SIGSYS
    client.drop()
    engine.kill()


@needs_analyze
def test_the_unit_is_exposed_little():
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=25", str(UNIT)],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
