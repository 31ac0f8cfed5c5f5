"""Every key of the configuration and every command of the program, and what is wrong with them."""

import os
import random
import re
import signal
import socket
import subprocess

import pytest

from harness import ROOT, SANITIZER, binary, free_port, seconds, times

ENTRY = "function protocol_input(buf, conn) return #buf:data() end\n"
DAYS_30 = 30 * 24 * 3600
LISTENER = [("port", 7001, 65536), ("bind", "127.0.0.9", "here")]
API = LISTENER + [
    ("advertise", "example.net:1", "example.net"), ("readBufferSize", "1 KiB", 0), ("writeBufferSize", "1k", 0),
    ("readTimeout", "5m", DAYS_30 + 1), ("writeTimeout", 0, "1 week")]
USER = {"username": "a", "password": "b", "roles": ["read"]}

# Where, key, a value, a wrong value.
KEYS = [
    (("logging",), "filename", "logs/x.log", []), (("logging",), "maxFiles", 0, -1),
    ((), "user", "", "a b"), ((), "coreDumps", "true", "maybe"),
    (("logging",), "maxSize", "64 KiB", "1 KiB"), (("logging",), "format", "json", "xml"),
    (("logging",), "level", "warn", "loud"),
    (("prometheus", "summary"), "maxAge", 60, 0), (("prometheus", "summary"), "ageBuckets", 1, 0),
    (("prometheus", "summary"), "bufCap", 1, "x"),
    (("access",), "users", [], "nobody"), *((("access", "users", 0), *row) for row in [
        ("username", "name", "with:colon"), ("password", "$1$.YlN5MSi$RYl3x/qt4QX7Ls1AcHLSP1", "$6$x"),
        ("roles", ["read", "write"], ["admin"]), ("host", "172.*.*.*", "a name")]),
    *((("center", "registry"), *row) for row in LISTENER),
    *((("center", "apiServer"), *row) for row in API),
    (("engine",), "centerRegistry", "elsewhere:6786", "elsewhere"),
    *((("engine", "meshPoint"), *row) for row in LISTENER),
    *((("engine", "apiServer"), *row) for row in API), (("engine", "apiServer"), "origins", ["http://a"], "http://a"),
    (("engine",), "stopTimeout", 0, "soon"),
    *((("engine", "luavm", "queue"), *row) for row in [
        ("topicSize", 1, 0), ("maxTopics", 1, 0), ("full", "error", "wait"), ("fullTimeout", 6, 0),
        ("affinity", "any", "none"), ("stallTimeout", 1, 0)]),
    *((("engine", "luavm", "redis", 0), *row) for row in [
        ("name", "main", ""), ("addr", "redis:6379", "redis"), ("password", "x", []), ("db", 1, -1),
        ("poolSize", 1, 0), ("minIdleConns", 0, -1), ("maxConnAge", 1, "x"), ("idleTimeout", 1, "x")]),
    *((("engine", "servers", 0), *row) for row in LISTENER + [
        ("options", [{"name": "a", "value": "b"}], [{"name": "a"}]), ("entry", "lua/entry.lua", "lua/none.lua"),
        ("byteCodeExpires", 0, "x"), ("readBufferSize", 1, 0), ("writeBufferSize", 1, 0), ("readTimeout", 0, "x"),
        ("writeTimeout", 0, "x"), ("handshakeTimeout", 1, 0), ("pingInterval", 0, "x"),
        ("maxMessageSize", "256 MiB", "257 MiB"), ("maxBacklog", "16 GiB", "17 GiB"), ("readAhead", 1, 0),
        ("maxContext", 1, 0), ("maxConnections", 0, 16777217), ("maxSubscriptions", 0, 1000001),
        ("maxChannelLength", 65535, 65536), ("sharedEncode", "off", "on"), ("protocol", "socket", "http"), ("origins", ["http://a"], "http://a"), ("proxyProtocol", "off", "maybe"),
        ("trustedProxies", ["10.0.0.0/8", "unix"], ["10.0.0.0/99"]), ("compression", "false", "gzip")]),
    *((("engine", "servers", 0, "limits"), *row) for row in [
        ("messagesPerSecond", 1000000, 1000001), ("bytesPerSecond", "1 GiB", "2 GiB"), ("connectsPerSecond", 1, "x"),
        ("connectionsPerAddress", 1, -1), ("overLimit", "wait", "drop"), ("burst", 1, 0), ("exempt", ["10.0.0.0/8"], ["10"])]),
    *((("engine", "servers", 0, "compression"), *row) for row in [
        ("enabled", "no", "x"), ("threshold", "1 KiB", "x"), ("contextTakeover", "off", "x")]),
]
NAMES = [".".join(map(str, where)) + "." + key for where, key, _, _ in KEYS]
OLD = [(("logging",), "level", "warn", "log"), (("center", "apiServer"), "port", 7001, "center.server"),
       (("engine", "apiServer"), "port", 7001, "engine.control"),
       (("engine", "luavm", "queue"), "maxTopics", 5, "max"), (("engine", "luavm", "queue"), "topicSize", 5, "size")]


def snake(name):
    return re.sub("[A-Z]", lambda m: "_" + m[0].lower(), name)


def flow(value):
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {flow(v)}" for k, v in value.items()) + "}"
    return str(value) if isinstance(value, int) else "'" + value + "'"


def document(where, key, value, spell=lambda name: name):
    """The key on a line of its own; what else its place needs stands after it."""
    lines = []
    depth = 0
    for part in where:
        if isinstance(part, int):
            lines.append("  " * depth + "-")
        else:
            lines.append("  " * depth + spell(part) + ":")
        depth += 1
    lines.append("  " * depth + f"{spell(key)}: {flow(value)}")
    line = len(lines)
    if "users" in where:
        lines += ["  " * depth + f"{k}: {flow(v)}" for k, v in USER.items() if k != key]
    if where[:2] == ("engine", "servers") and key != "entry":
        lines.append("  " * 3 + "entry: lua/entry.lua")
    if "compression" in where:
        lines.append("  " * 3 + "protocol: websocket")
    return "\n".join(lines) + "\n", line, 2 * depth + len(spell(key)) + 3


class Files:
    """A folder as an engine has it, and `engine check` in it."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "conf").mkdir()
        (folder / "lua").mkdir()
        (folder / "lua" / "entry.lua").write_text(ENTRY)
        self.path = folder / "conf" / "t.yaml"

    def check(self, text=None, command="check", path=None):
        if text is not None:
            self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        done = subprocess.run([binary(), command, "-f", str(path or self.path)], cwd=self.folder,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds(20))
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        assert not SANITIZER.search(out + err), out + err
        return done.returncode, out, err


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


# ---- keys

@pytest.mark.parametrize("where,key,good,bad", KEYS, ids=NAMES)
def test_a_key_in_both_spellings(files, where, key, good, bad):
    for spell in (str, snake):
        status, out, err = files.check(document(where, key, good, spell)[0])
        assert status == 0 and out.endswith(": ok\n"), err
        assert "unknown key" not in err


@pytest.mark.parametrize("where,key,good,bad", KEYS, ids=NAMES)
@pytest.mark.parametrize("command", ["check", "single"])
def test_a_wrong_value(files, where, key, good, bad, command):
    """The place, what was found and what is allowed, before anything is opened."""
    text, line, column = document(where, key, bad)
    status, out, err = files.check(text, command)
    assert status == 78 and out == "", out + err
    at = f"{files.path}:{line}:{column}: error: "
    errors = [text for text in err.splitlines() if " error: " in text]
    if isinstance(bad, list) and bad:
        at = f"{files.path}:{line}:"
    assert len(errors) == 1 and errors[0].startswith(at), err
    assert re.search("allowed is|is missing|correct the path", errors[0]), err


@pytest.mark.parametrize("where,key,value,name", OLD, ids=[row[3] for row in OLD])
def test_an_older_name(files, where, key, value, name):
    def spell(part):
        old = name.split(".")[-1]
        return old if part == (key if name in ("max", "size") else where[-1]) else part
    assert spell(where[-1]) != where[-1] or spell(key) != key
    status, out, err = files.check(document(where, key, value, spell)[0])
    assert status == 0 and err == "", err
    if key == "port":
        assert ":7001" in out


def test_older_user_and_redis(files):
    text = "engine:\n  control: {protocol: http, username: a, password: b}\n  luavm: {redis: {name: default}}\n"
    assert files.check(text)[0] == 0
    assert files.check("engine: {control: {username: a}}\n")[0] == 78


def test_licenses_are_ignored(files):
    assert files.check("licenses: {activationCode: [anything], server: {at: all}}\n")[::2] == (0, "")


def test_the_shipped_files(files):
    """They hold every key, and give no warning."""
    for name in ("connmix.yaml", "chat.yaml"):
        done = subprocess.run([binary(), "check", "-f", str(ROOT / "conf" / name)], cwd=ROOT, capture_output=True,
                              text=True, timeout=seconds(20))
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_every_key_is_documented_and_shipped():
    schema = (ROOT / "engine/config/config_schema.c").read_text()
    keys = set(re.findall(r'\{\.name = "([a-zA-Z]+)", (?:\.old = [^}]*\}, )?\.kind', schema))
    document_text = (ROOT / "docs/configuration.md").read_text()
    shipped = (ROOT / "conf/connmix.yaml").read_text()
    assert len(keys) > 60
    for key in keys:
        assert re.search(rf"`[^`]*\b{key}\b[^`]*`|## {key}|\.{key}\b", document_text), f"{key} is not documented"
    for key in keys - {"username", "password", "roles", "host", "enabled", "threshold", "contextTakeover"}:
        assert re.search(rf"\b{key}:", shipped), f"{key} is not in conf/connmix.yaml"


# ---- files

def wrong_file(files, text, pattern, status=78):
    got = files.check(text)
    assert got[0] == status and re.search(pattern, got[2]), got


WRONG_FILES = {
    "a NUL": (b"log: {level: \x00}", r":1:14: error: not valid YAML"),
    "a tab": (b"log:\n\tlevel: info\n", r":2:1: error: not valid YAML"),
    "not UTF-8": (b"log:\n  - \xc3\x28\n", r":2:6: error: not valid YAML"),
    "half of UTF-16": (b"\xff\xfe\x00", r":1:\d+: error: not valid YAML"),
    "an open list": (b"log: [\n", r":2:1: error: not valid YAML"),
    "an alias of nothing": (b"log: *a\n", r":1:6: error: not valid YAML"),
    "a list": (b"- a\n", r":1:1: error: the file holds a list"),
    "two documents": (b"log: {}\n---\nlog: {}\n", r":2:1: error: a second document"),
    "a key twice": (b"log: {level: info}\nlogging: {}\n", r":2:1: error: logging: 'logging' is set already, as 'log' in line 1"),
    "too large": (b"# " + b"x" * (1 << 20), r"t.yaml: error: larger than 1048576 bytes"),
    "too deep": (b"[" * 100000, r":1:65: error: nested deeper than 64"),
    "an alias of itself": (b"log: &a {<<: *a}\n", r":1:\d+: error: .*merge keys"),
    "one port twice": (b"engine:\n  servers:\n    - {port: 7000}\n    - {port: 7000}\n",
                       r":4:14: error: engine.servers\[1\] .*change one"),
    "a server on the API's port": (b"engine:\n  servers:\n    - {port: 6789}\n",
                                   r":3:14: error: .*engine.apiServer .* want the same port"),
    "a late stallTimeout": (b"engine:\n  luavm:\n    queue: {stallTimeout: 10}\n",
                            r":3:27: error: .*must be below fullTimeout"),
}


@pytest.mark.parametrize("text,pattern", WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_a_wrong_file(files, text, pattern):
    wrong_file(files, text, pattern)


def test_laughing_aliases(files):
    """A document that would grow to 10^7 values is refused at once."""
    lists = ["a: &a0 {level: info}"] + [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 60)}]}}" for i in range(1, 4)]
    wrong_file(files, "\n".join(lists) + "\nlog: {<<: [" + ", ".join(["*a3"] * 60) + "]}\n", r"error: .*more than 100000 values")


@pytest.mark.parametrize("text", [b"\xef\xbb\xbflog: {level: info}\n", b"log:\r\n  level: info\r\n", b"", b"# nothing\n",
                                  "log: {level: info}".encode("utf-16")])
def test_an_unusual_file(files, text):
    assert files.check(text)[0] == 0


def test_no_file(files):
    for path in (files.folder / "none.yaml", files.folder):
        status, out, err = files.check(path=path)
        assert status == 78 and out == "" and re.fullmatch(rf"{path}: error: cannot be read: .*; check the path\n", err)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(files):
    files.path.write_text("")
    files.path.chmod(0)
    wrong_file(files, None, "cannot be read: Permission denied")


def test_a_script_that_does_not_load(files):
    (files.folder / "lua" / "entry.lua").write_text("function (\n")
    status, out, err = files.check("engine: {servers: [{entry: lua/entry.lua}]}\n")
    assert status == 78 and re.search(r"entry\.lua:1: ", err) and "Traceback" not in out


def test_relative_paths(files):
    """From the folder above conf/, else from the file's own; then from the working directory."""
    text = "engine: {servers: [{entry: lua/entry.lua}]}\n"
    assert str(files.folder / "lua" / "entry.lua") in files.check(text)[1]
    other = files.folder / "elsewhere"
    other.mkdir()
    (other / "t.yaml").write_text(text)
    assert " lua/entry.lua\n" in files.check(path=other / "t.yaml")[1]
    (other / "lua").mkdir()
    (other / "lua" / "entry.lua").write_text(ENTRY)
    assert str(other / "lua" / "entry.lua") in files.check(path=other / "t.yaml")[1]


# ---- damage

WORDS = ["[", "]", "{", "}", "&a ", "*a", "<<: *a", "- ", ": ", "\n", "\t", "'", '"', "\\", "|", ">", "%", "@", "!!x ", "~",
         "-1", "0", "99999999999999999999", "1 GiB", "1ms", "\x00", "\ufeff", "é", "😀", "$2b$", "::1", "0.0.0.0", "# "]


def damaged(text, rng):
    data = bytearray(text.encode())
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.randint(0, 30))
        how = rng.randrange(6)
        if how == 0:
            data[at:end] = b""
        elif how == 1:
            data[at:at] = rng.choice(WORDS).encode()
        elif how == 2:
            data[at:end] = rng.choice(WORDS).encode()
        elif how == 3:
            data[at:at] = data[end:end + rng.randint(1, 200)]
        elif how == 4 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        else:
            lines = bytes(data).split(b"\n")
            rng.shuffle(lines) if rng.random() < 0.1 else lines.pop(rng.randrange(len(lines)))
            data = bytearray(b"\n".join(lines))
        data = data or bytearray(b" ")
    return bytes(data)


@pytest.mark.timeout(seconds(300))
@pytest.mark.parametrize("part", range(4))
def test_random_damage_is_survived(files, part):
    """Right or wrong, with a place for each error, and never anything else."""
    sources = [path.read_text() for path in sorted((ROOT / "conf").glob("*.yaml"))]
    sources.append(sources[0] + "access: {users: [{username: a, password: b, roles: [read], host: '*'}]}\n")
    seen = set()
    for seed in range(part * 1000, part * 1000 + times(120)):
        rng = random.Random(seed)
        text = damaged(rng.choice(sources), rng)
        status, _, err = files.check(text)
        seen.add(status)
        assert status in (0, 78), (seed, status, err)
        if status == 78:
            assert re.search(r"(t\.yaml(:\d+:\d+)?: error: |\.lua:\d+: )", err), (seed, err)
    assert 78 in seen


# ---- the command line

def run(*words, **options):
    done = subprocess.run([binary(), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds(10), **options)
    assert done.returncode >= 0
    return done.returncode, done.stdout, done.stderr


COMMANDS = ["dev", "single", "center", "engine", "check", "version", "help"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command):
    for words in ([command, "--help"], [command, "-h"], ["help", command]):
        status, out, err = run(*words)
        assert status == 0 and err == "" and out.startswith(f"Usage: engine {command}")
    if command in ("dev", "single", "check"):
        assert "-f, --file FILE" in out


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help(words):
    status, out, err = run(*words)
    assert status == 0 and err == ""
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", out, re.M)


def test_version():
    status, out, err = run("version")
    assert status == 0 and err == "" and re.match(r"mixengine \d+\.\d+\.\d+\n", out)


@pytest.mark.parametrize("words,message", [
    ([], "a command is missing"), (["chek"], "unknown command 'chek'; the nearest known one is 'check'"),
    (["check"], "check needs a configuration: engine check -f"), (["single"], "single needs a configuration"),
    (["dev"], "dev needs a configuration"), (["single", "-f"], "requires an argument"),
    (["single", "--nope"], "unrecognized option"), (["check", "a.yaml"], "'a.yaml' is one word too many"),
    (["single", "-p", "0", "-f", "x"], "-p: found '0'; allowed is a whole number from 1 to 64"),
    (["single", "-p", "65", "-f", "x"], "-p: found '65'"), (["single", "-p", "two", "-f", "x"], "-p: found 'two'")])
def test_a_wrong_command_line(words, message):
    status, out, err = run(*words)
    assert status == 64 and out == "" and message in err and "engine" in err.splitlines()[-1]


@pytest.mark.parametrize("command", ["dev", "single"])
@pytest.mark.parametrize("options", [["-p", "1"], ["--workers", "3"]])
def test_a_command_that_runs(make_engine, command, options):
    """One line a listener with its role and address, and a last one that says it is ready."""
    engine = make_engine(ENTRY, start=False, mode=command)
    process = subprocess.Popen([binary(), command, "--file", str(engine.config_path), *options], cwd=engine.folder,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    lines = []
    try:
        while not lines or "ready" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        for role, port in (("center api", engine.center_port), ("engine api", engine.api_port), ("server", engine.port)):
            assert len([text for text in lines if f"{role} listening on 127.0.0.1:{port}" in text]) == 1, lines
        assert f"ready: {options[1]} worker" in lines[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(seconds(15)) == 0


def test_check_opens_nothing(files):
    """It prints what would be listened on, while others hold the ports."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        port = taken.getsockname()[1]
        status, out, err = files.check(f"center: {{apiServer: {{port: {port}, bind: 127.0.0.1}}}}\n")
    assert status == 0 and f"center api  127.0.0.1:{port}\n" in out and err == ""
    assert sorted(p.name for p in files.folder.iterdir()) == ["conf", "lua"], "not even the log"


@pytest.mark.parametrize("command", ["center", "engine"])
def test_a_role_alone(files, command):
    status, _, err = files.check("", command)
    assert status == 64 and "use single" in err
