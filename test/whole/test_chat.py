"""The chat program on SQLite and MariaDB: what users, databases, engines and signals may do to it."""

import contextlib
import json
import signal
import stat
import subprocess
import warnings

import pytest

import harness
import room
from harness import CHAT_ENTRY, free_port, seconds, times, wait_until
from wsclient import close_frame, connect

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import crypt

OPS = {"subscribe": ["r"], "unsubscribe": ["r"], "sendtoroom": ["r", "m"], "sendtouser": ["r", "m"], "sendbroadcast": ["m"]}
FAILED = '{"op":"auth","error":"Invalid name or password"}'

# The document's table, with a collation that MariaDB knows.
DOCUMENT_TABLE = """
CREATE TABLE `users` (
     `id` int NOT NULL AUTO_INCREMENT,
     `name` varchar(255) NOT NULL,
     `email` varchar(255) NOT NULL,
     `password` varchar(255) NOT NULL,
     `online` tinyint NOT NULL DEFAULT '0',
     `created_at` timestamp NULL DEFAULT CURRENT_TIMESTAMP,
     `updated_at` timestamp NULL DEFAULT NULL,
     PRIMARY KEY (`id`),
     UNIQUE KEY `idx_n` (`name`)
) ENGINE=InnoDB AUTO_INCREMENT=3 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
INSERT INTO users (id, name, email, password) VALUES
    (1, 'user1', 'user1@example.com', '123456'), (2, 'user2', 'user2@example.com', '123456');
"""


@pytest.fixture(params=["sqlite", "mariadb"])
def kind(request):
    return request.param


@pytest.fixture
def engine(make_engine):
    return make_engine(CHAT_ENTRY)


@pytest.fixture
def chat(engine, run_chat):
    return run_chat(engine)


def request(op, *args):
    return json.dumps({"op": op, "args": list(args)}, separators=(",", ":"))


def auth(name="user1", password="123456"):
    return request("auth", name, password)


def ok(op):
    return '{"op":"%s","success":true}' % op


@contextlib.contextmanager
def login(engine, name="user1", *channels):
    with connect(engine.port) as client:
        assert client.ask(auth(name)) == ok("auth")
        if channels:
            assert client.ask(request("subscribe", *channels)) == ok("subscribe")
        yield client


def works(client):
    """The connection is fine: it can log in, subscribe, send."""
    assert client.ask(auth()) == ok("auth")
    assert client.ask(request("subscribe", "fine")) == ok("subscribe")
    client.send(request("sendtoroom", "fine", "m"))
    assert client.text() == '{"event":"subscribe","channel":"fine","data":"uid:1,message:m"}'
    assert client.text() == ok("sendtoroom")


def refusal(client, op):
    """The next answer must be {"op":op,"error":…} and nothing more."""
    answer = json.loads(client.text())
    assert answer.keys() == {"op", "error"} and answer["op"] == op, answer
    assert isinstance(answer["error"], str) and answer["error"]
    return answer["error"]


def wait_flags(chat, **flags):
    """`user1=1` and so on."""
    want = {int(name[4:]): flag for name, flag in flags.items()}
    wait_until(lambda: {**chat.flags(), **want} == chat.flags(), 15, f"the flags {flags}")


# ---- arguments

LONG = "x" * 256
DEEP = "[" * 100 + "]" * 100
NO_LIST = ["", ',"args":null', ',"args":5', ',"args":"r"', ',"args":true', ',"args":{}', ',"args":{"a":"r","b":"m"}',
           ',"args":{"0":"r","1":"m"}', ',"args":[]']
NO_TEXT = ["null", "1.5", "true", "[]", "{}", '["r"]', '{"a":1}', DEEP]


def bad_arguments():
    """(op, the rest of the request behind its op)"""
    for op in ("auth", *OPS):
        for rest in NO_LIST:
            yield op, rest
        for value in NO_TEXT:
            yield op, ',"args":[%s]' % value
            if op in ("auth", "sendtoroom", "sendtouser"):
                yield op, ',"args":["r",%s]' % value
                yield op, ',"args":[%s,"m"]' % value
            if op in ("subscribe", "unsubscribe"):
                yield op, ',"args":["r",%s]' % value
        if op in ("auth", "sendtoroom", "sendtouser"):
            yield op, ',"args":["r"]'
    for op in ("subscribe", "unsubscribe", "sendtoroom", "sendtouser"):
        more = ',"m"' if op.startswith("send") else ""
        for name in (LONG, "x" * 100000, "", "\u00e9" * 128, "a\0b"):
            yield op, ',"args":[%s%s]' % (json.dumps(name), more)
    for text in ("", "x" * 65537):
        yield "sendtoroom", ',"args":["r","%s"]' % text
        yield "sendbroadcast", ',"args":["%s"]' % text


def test_bad_arguments(chat, engine):
    """For each operation, logged in or not; all over one connection, which works afterwards."""
    rows = list(bad_arguments())
    with connect(engine.port) as client:
        for op, rest in rows:
            client.send('{"op":"%s"%s}' % (op, rest))
            error = refusal(client, op)
            assert op == "auth" or error == "No access", rest
        works(client)
        for op, rest in rows:
            if op != "auth":
                client.send('{"op":"%s"%s}' % (op, rest))
                assert refusal(client, op) != "No access", rest
        works(client)
        client.close()
    wait_flags(chat, user1=0)


@pytest.mark.parametrize("text,want", [
    ('{"op":"nope","args":[]}', "nope"), ('{"op":"","args":[]}', ""), ('{"args":["r"]}', None), ('{"op":null}', None),
    ('{"op":5,"args":[]}', None), ('{"op":[],"args":[]}', None), ('{"op":{"a":1},"args":[]}', None), ('{"op":"Auth","args":["a","b"]}', "Auth"),
    ('{"op":"a\\u0000b","args":[]}', None), ('{"op":"auth\\u0000","args":[]}', None), ('{"op":"%s"}' % ("x" * 5000), None),
    ('{"op":"\\"\\\\\\n\U0001f600","args":[]}', '"\\\n\U0001f600'), ('{"a":"auth"}', None), ("[1,2]", None), ('"text"', None)])
def test_what_is_no_operation(chat, engine, text, want):
    """An error, with the operation's name where that can be said."""
    with connect(engine.port) as client:
        answer = json.loads(client.ask(text))
        assert answer["error"]
        if want is not None:
            assert answer == {"op": want, "error": "Unknown operation"}
        works(client)


@pytest.mark.parametrize("text", [
    '{"op":"nope","op":"auth","args":["user1","123456"]}', '{"op":"auth","args":["user1","123456"],"op":"auth"}',
    '{"op":"auth","args":[Infinity]}', '{"op":"auth","args":["a",0x10]}', '{"op":"auth","args":["a",1e999]}',
    '{"op":"auth","args":["a",NaN]}', '{"op":"auth","args":["a",%d]}' % 10 ** 400, '{"op":"auth","args":["a","b"],"x":%s}' % ("[" * 900 + "]" * 900),
    '{"op":"auth","args":["a",01]}', '{"op":"auth","a\\u0000":1}', '{"op":"auth","args":["a\\u0000","b"]}',
    '{"op":"auth","args":["a","b"],"x":123456789012345678901234567890}',
    '{"op":"auth","args":["%s","%s"]}' % ("x" * 60000, "y" * 60000)], ids=lambda t: t[:60])
def test_json_that_only_the_script_may_take(chat, engine, text):
    """The script waits for a login whenever its own JSON parser found one: it must not wait for ever."""
    with connect(engine.port) as client:
        client.send(text).send(request("subscribe", "r"))
        answers = []
        while not answers or answers[-1].get("op") != "subscribe":
            answers.append(json.loads(client.text()))
        assert [answer.get("error") or answer.get("success") for answer in answers]
        works(client)


@pytest.mark.parametrize("name", [
    "", "user3", " user1", "user1\0", "user1\0x", "' OR '1'='1", "user1' -- ", "user1'; DROP TABLE users; -- ", '" OR ""="',
    "\\", "\\'", "%", "user_", "u" * 255, "u" * 256, "u" * 100000, "\U0001f600", "us\ner1", "admin'/*", "${jndi}", "1 OR 1=1"],
    ids=lambda n: ascii(n[:30]))
def test_names_that_do_not_log_in(chat, engine, name):
    with connect(engine.port) as client:
        for password in ("123456", "", "' OR '1'='1"):
            client.send(request("auth", name, password))
            refusal(client, "auth")
        assert client.ask(request("subscribe", "r")) == '{"op":"subscribe","error":"No access"}'
        works(client)


@pytest.mark.parametrize("password", [
    "", "1234567", "12345", " 123456", "123456 ", "123456\0", "\0", "$6$", "*", "!", "' OR '1'='1", "p" * 512, "p" * 100000, "\U0001f600", "x"],
    ids=lambda p: ascii(p[:20]))
def test_passwords_that_do_not_log_in(chat, engine, password):
    with connect(engine.port) as client:
        client.send(auth("user1", password))
        refusal(client, "auth")
        assert chat.online() == 0
        works(client)


def test_the_hash_is_no_password(chat, engine):
    hashed = chat.store.query("SELECT password FROM users WHERE id = 1")[0][0]
    assert hashed.startswith("$")
    with connect(engine.port) as client:
        assert client.ask(auth("user1", hashed)) == FAILED


TEXTS = ['"', "\\", '\\"', '","data":"x"}', "</script>", "\U0001f600 \u4f60\u597d \u00e9", "a\0b", "\n\r\t\b\f\x01\x1f\x7f", "\u2028\u2029", "%s %d %n",
         " ", "{}", "x" * 65536, "uid:2,message:", "\ufffd\uffff\U0010ffff"]


@pytest.mark.parametrize("text", TEXTS, ids=lambda t: ascii(t[:20]))
def test_any_text_arrives_as_it_is(chat, engine, text):
    """As valid JSON, whatever is in a message or in a channel's name."""
    channel = text[:50].replace("\0", "")
    with login(engine, "user1", channel, "broadcast") as client:
        for op, target, sent in (("sendtoroom", channel, [channel, text]), ("sendtouser", channel, [channel, text]),
                                 ("sendbroadcast", "broadcast", [text])):
            client.send(request(op, *sent))
            assert json.loads(client.text()) == {"event": "subscribe", "channel": target, "data": "uid:1,message:" + text}
            assert client.text() == ok(op)
        assert client.ask(request("unsubscribe", channel)) == ok("unsubscribe")
        client.send(request("sendtoroom", channel, text))
        assert client.text() == ok("sendtoroom")


def test_numbers_are_their_digits(chat, engine):
    with login(engine) as client:
        assert client.ask('{"op":"subscribe","args":[101]}') == ok("subscribe")
        client.send('{"op":"sendtoroom","args":["101",-5]}')
        assert client.text() == '{"event":"subscribe","channel":"101","data":"uid:1,message:-5"}'
        assert client.text() == ok("sendtoroom")


def test_many_channels_at_once(chat, engine):
    with login(engine) as client:
        assert client.ask(request("subscribe", *(f"r{i}" for i in range(100)))) == ok("subscribe")
        for i in (0, 99):
            client.send(request("sendtoroom", f"r{i}", "m"))
            assert json.loads(client.text())["channel"] == f"r{i}"
            assert client.text() == ok("sendtoroom")
        client.send(request("subscribe", *(f"r{i}" for i in range(5000))))
        assert json.loads(client.text())["op"] == "subscribe"
        works(client)


# ---- the flag

def test_the_flag_follows_the_connection(chat, engine):
    for end in ("close", "reset", "drop"):
        with login(engine, "user1") as one, login(engine, "user2") as two:
            assert chat.flags() == {1: 1, 2: 1}
            getattr(one, end)()
            wait_flags(chat, user1=0, user2=1)
            getattr(two, end)()
            wait_flags(chat, user2=0)


def test_another_login_on_the_same_connection(chat, engine):
    with login(engine, "user1") as client:
        assert client.ask(auth("user2")) == ok("auth")
        wait_flags(chat, user1=0, user2=1)
        assert client.ask(auth("user2")) == ok("auth")
        wait_flags(chat, user2=1)
        client.close()
    wait_flags(chat, user1=0, user2=0)


@pytest.mark.parametrize("bad", [auth("user1", "wrong"), '{"op":"auth","args":[]}', '{"op":"auth","args":{"a":"user1"}}'])
def test_a_failed_login_ends_the_one_before(chat, engine, bad):
    with login(engine, "user1") as client:
        client.send(bad)
        refusal(client, "auth")
        wait_flags(chat, user1=0)
        assert client.ask(request("subscribe", "r")) == '{"op":"subscribe","error":"No access"}'
        works(client)
        wait_flags(chat, user1=1)


@pytest.mark.parametrize("end", ["close", "reset", "drop"])
def test_gone_before_the_login_is_answered(chat, engine, end):
    with login(engine, "user2", "r") as two:
        with chat.store.locked():
            with connect(engine.port) as client:
                client.send(auth("user1"))
                # The login is with the chat when what came behind it has been handled.
                assert two.ask(request("subscribe", "x")) == ok("subscribe")
                if end == "close":
                    client.raw(close_frame(1000))
                    client.end()
                getattr(client, "drop" if end == "close" else end)()
            engine.wait_metric("mixengine_connections", 1)
        works_in(engine)
        wait_flags(chat, user1=0, user2=1)


def works_in(engine):
    with connect(engine.port) as client:
        works(client)
        client.close()


def test_a_slow_database_stalls_nobody(chat, engine):
    """Those who are logged in talk on; whoever waits for a login gets it in the end."""
    with login(engine, "user2", "r") as two:
        with chat.store.locked():
            waiting = [connect(engine.port) for _ in range(8)]
            for client in waiting:
                client.send(auth("user1"))
            for i in range(times(100)):
                assert two.ask(request("subscribe", f"r{i}")) == ok("subscribe")
                two.send(request("sendtoroom", "r", str(i)))
                assert two.text() == '{"event":"subscribe","channel":"r","data":"uid:2,message:%d"}' % i
                assert two.text() == ok("sendtoroom")
            with connect(engine.port) as other:
                assert other.ask(request("subscribe", "r")) == '{"op":"subscribe","error":"No access"}'
            assert all(client.silent(0.01) for client in waiting)
        for client in waiting:
            assert client.text() == ok("auth")
            assert client.ask(request("subscribe", "r")) == ok("subscribe")
        assert chat.flags() == {1: 1, 2: 1}
        for client in waiting:
            client.close()
        wait_flags(chat, user1=0, user2=1)


def test_the_order_of_logins_and_ends_is_kept(chat, engine):
    """Many come and go while the database does not answer: nobody stays online."""
    with chat.store.locked():
        clients = [connect(engine.port) for _ in range(30)]
        for i, client in enumerate(clients):
            client.send(auth(f"user{1 + i % 2}"))
        for client in clients[::3]:
            client.reset()
    for i, client in enumerate(clients):
        if i % 3:
            assert client.text() == ok("auth")
            client.drop()
    engine.wait_metric("mixengine_connections", 0)
    wait_until(lambda: chat.online() == 0, 20, "nobody is online")


# ---- the database goes and comes

@pytest.mark.parametrize("kind", ["mariadb"])
def test_the_database_is_gone_and_back(chat, engine, mariadb_server):
    with login(engine, "user2", "r") as two, login(engine, "user1") as leaving:
        mariadb_server.stop()
        try:
            with connect(engine.port) as client:
                client.send(auth("user1"))
                error = refusal(client, "auth")
                assert error != json.loads(FAILED)["error"]
                assert two.ask(request("subscribe", "x")) == ok("subscribe")
                leaving.reset()
                chat.program.wait_stderr(r"\S")
        finally:
            mariadb_server.start()

        def again():
            with connect(engine.port) as client:
                return client.ask(auth("user1")) == ok("auth")
        wait_until(again, 30, "a login")
        engine.wait_metric("mixengine_connections", 1)
        wait_flags(chat, user1=0, user2=1)
        two.close()
    wait_flags(chat, user1=0, user2=0)


@pytest.mark.parametrize("kind", ["mariadb"])
def test_a_connection_that_the_database_ends(chat, engine, mariadb_server):
    """As it does with idle ones: the next login must not notice."""
    works_in(engine)
    for number, in mariadb_server.query(f"SELECT id FROM information_schema.processlist WHERE db = '{chat.store.name}' "
                                        f"AND user = '{room.mariadb.USER}'"):
        mariadb_server.query(f"KILL {number}")
    works_in(engine)
    wait_flags(chat, user1=0)


def test_without_the_table(engine, mariadb_server, tmp_path):
    """It says what is missing; with --create it makes it."""
    store = room.prepare("mariadb", tmp_path, mariadb_server, sql="")
    status, stdout, stderr = run("--center", engine.center, "--db", store.url)
    assert (status, stdout) == (78, "") and "users.sql" in stderr and "--create" in stderr
    store.query("CREATE TABLE users (id int)")
    assert run("--center", engine.center, "--db", store.url)[0] == 78
    store.query("DROP TABLE users")


@pytest.mark.parametrize("kind", ["mariadb"])
def test_the_table_is_dropped_and_comes_back(chat, engine):
    works_in(engine)
    wait_flags(chat, user1=0)
    chat.store.query("RENAME TABLE users TO away")
    with connect(engine.port) as client:
        client.send(auth())
        assert refusal(client, "auth") != json.loads(FAILED)["error"]
        chat.store.query("RENAME TABLE away TO users")
        works(client)
        client.close()


def test_three_that_create_the_table(run_program, engine, mariadb_server, tmp_path):
    store = room.prepare("mariadb", tmp_path, mariadb_server, sql="")
    chat = room.Room(store, lambda: run_program(harness.chat_binary(), "--center", engine.center, "--db", store.url,
                                                "--create", wait=False))
    chat.start(3)
    works_in(engine)
    wait_flags(chat, user1=0, user2=0)
    assert len(chat.flags()) == 2
    for program in chat.programs:
        program.stop()


@pytest.mark.parametrize("kind", ["mariadb"])
def test_the_table_of_the_document(run_chat, engine):
    """Its passwords are plain: accepted, with one warning."""
    chat = run_chat(engine, sql=DOCUMENT_TABLE)
    for _ in range(3):
        with login(engine, "user1") as one, login(engine, "user2") as two:
            assert chat.flags() == {1: 1, 2: 1}
            assert one.ask(request("subscribe", "r")) == two.ask(request("subscribe", "r")) == ok("subscribe")
        # Else their ends may be noted after the next login of the same users.
        engine.wait_metric("mixengine_connections", 0)
        wait_until(lambda: chat.online() == 0, 10, "nobody is online")
    with connect(engine.port) as client:
        for password in ("", "12345", "1234567", "123456\0"):
            client.send(auth("user1", password))
            refusal(client, "auth")
    wait_until(lambda: chat.online() == 0, 10, "nobody is online")
    assert chat.program.stderr().count("plain password") == 1, chat.program.stderr()


def test_hashes_that_are_created(chat):
    """Each with a salt of its own, and of the right password."""
    rows = chat.store.query("SELECT id, name, password, online FROM users ORDER BY id")
    assert [(i, name, flag) for i, name, _, flag in rows] == [("1", "user1", "0"), ("2", "user2", "0")]
    hashes = [row[2] for row in rows]
    assert len(set(hashes)) == 2
    for hashed in hashes:
        assert hashed.startswith(("$y$", "$6$", "$2b$", "$5$")) and crypt.crypt("123456", hashed) == hashed


def test_users_added_by_hand(chat, engine):
    """Any hash that crypt(3) knows; and names in any script."""
    methods = (crypt.METHOD_SHA512, crypt.METHOD_SHA256, crypt.METHOD_BLOWFISH, crypt.METHOD_MD5)
    for i, method in enumerate(methods, 3):
        hashed = crypt.crypt("p\u00e4ss", crypt.mksalt(method))
        chat.store.query(f"INSERT INTO users (id, name, email, password) VALUES ({i}, '\u7528\u6237{i}', '{i}@x', '{hashed}')")
        with login(engine) as client:
            assert client.ask(auth(f"\u7528\u6237{i}", "pass")) == FAILED
            assert client.ask(auth(f"\u7528\u6237{i}", "p\u00e4ss")) == ok("auth")
            assert client.ask(request("subscribe", "r")) == ok("subscribe")
            client.send(request("sendtoroom", "r", "m"))
            assert json.loads(client.text())["data"] == f"uid:{i},message:m"


@pytest.mark.parametrize("kind", ["sqlite"])
def test_the_file_is_for_its_owner_alone(chat):
    assert stat.S_IMODE(chat.store.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["sqlite"])
def test_the_file_is_kept(chat, engine):
    """A second start adds no users and changes none."""
    chat.store.query("UPDATE users SET name = 'renamed' WHERE id = 2")
    before = chat.store.query("SELECT id, name, password FROM users")
    chat.program.stop()
    chat.start()
    with login(engine, "renamed"):
        assert chat.store.query("SELECT id, name, password FROM users") == before


# ---- processes

def test_several_share_the_work(run_chat, engine):
    """Each of the three gets clients; when one is killed, the others take over."""
    chat = run_chat(engine, count=3)
    engine.wait_metric("mixengine_api_consumers", 3)
    for left in (3, 2, 1):
        for _ in range(8):
            with login(engine, "user1", "r") as one, login(engine, "user2", "r") as two:
                one.send(request("sendtoroom", "r", "m"))
                event = '{"event":"subscribe","channel":"r","data":"uid:1,message:m"}'
                assert [one.text(), one.text(), two.text()] == [event, ok("sendtoroom"), event]
        wait_until(lambda: chat.online() == 0, 10, "nobody is online")
        chat.programs[left - 1].kill()
        engine.wait_metric("mixengine_api_consumers", left - 1)


def test_three_on_an_empty_database_at_once(run_chat, engine):
    for number in range(3):
        chat = run_chat(engine, count=3)
        assert chat.flags() == {1: 0, 2: 0}
        for program in chat.programs:
            program.stop()
            assert "database" not in program.stderr(), program.stderr()
        if hasattr(chat.store, "path"):
            for path in chat.store.path.parent.glob(chat.store.path.name + "*"):
                path.unlink()


def test_sigterm_ends_it_well(chat):
    chat.program.signal(signal.SIGTERM)
    assert chat.program.wait() == 0
    assert chat.program.stdout() == "ready\n"


def test_sigint_ends_it_well(chat):
    chat.program.signal(signal.SIGINT)
    assert chat.program.wait() == 0


def test_sigterm_while_the_database_is_slow(chat, engine):
    """It ends in a few seconds, and whoever waits for a login is told to try again."""
    with connect(engine.port, timeout=20) as client:
        with chat.store.locked():
            client.send(auth())
            with connect(engine.port) as other:
                assert other.ask(request("subscribe", "r")) == '{"op":"subscribe","error":"No access"}'
            engine.wait_metric("mixengine_tasks_suspended", 1)
            engine.wait_metric("mixengine_topic_depth", 0)
            chat.program.signal(signal.SIGTERM)
            assert chat.program.wait(20) == 0
        assert refusal(client, "auth") != json.loads(FAILED)["error"]
        chat.start()
        works(client)
        client.close()
    wait_flags(chat, user1=0)


def test_a_restart_loses_nothing(chat, engine):
    """What a program that ends has been handed is answered by it, the rest by the next one."""
    with login(engine, "user1", "r") as client:
        for _ in range(5):
            for number in range(300):
                client.send(request("subscribe", f"room_{number % 50}"))
            assert [client.text() for _ in range(10)] == [ok("subscribe")] * 10
            chat.program.signal(signal.SIGTERM)
            assert chat.program.wait(20) == 0
            chat.start()
            assert [client.text() for _ in range(290)] == [ok("subscribe")] * 290


def test_sigterm_without_an_engine(run_chat, engine):
    chat = run_chat(engine)
    engine.stop()
    chat.program.signal(signal.SIGTERM)
    assert chat.program.wait() == 0


def test_killed_and_started_again(chat, engine):
    """Those who are there stay logged in: it is the engine that knows them."""
    with login(engine, "user1", "r") as one:
        chat.program.kill()
        engine.wait_metric("mixengine_api_consumers", 0)  # what is handed to a dead one is lost
        with connect(engine.port) as waiting:
            waiting.send(auth("user2"))
            chat.start()
            assert waiting.text() == ok("auth")
        one.send(request("sendtoroom", "r", "m"))
        assert json.loads(one.text())["data"] == "uid:1,message:m"
        assert one.text() == ok("sendtoroom")
        wait_flags(chat, user1=1, user2=0)
        one.close()
    wait_flags(chat, user1=0)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_engine_comes_back(chat, engine, end):
    works_in(engine)
    getattr(engine, end)()
    engine.start()
    works_in(engine)
    assert chat.program.stdout() == "ready\n"
    wait_flags(chat, user1=0)


def test_started_before_the_engine(run_program, make_engine, tmp_path):
    engine = make_engine(CHAT_ENTRY, start=False)
    program = run_program(harness.chat_binary(), "--center", engine.center, "--db", f"sqlite:{tmp_path}/x.db", wait=False)
    program.wait_stderr(r"\S")
    assert program.stdout() == ""
    engine.start()
    program.wait_ready()
    works_in(engine)
    program.stop()


# ---- the command line

def run(*words):
    done = subprocess.run([harness.chat_binary(), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds(20))
    assert not harness.SANITIZER.search(done.stderr), done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("words", [
    ["--center"], ["--db"], ["--nope"], ["more"], ["--db", "x.db"], ["--db", "sqlite:"], ["--db", "postgres://x/y"], ["--db", ""],
    *(["--db", "mysql://" + rest] for rest in (
        "", "host", "u:p@host:port/db", "u:p@127.0.0.1:99999/db", "u:p@127.0.0.1:0/db", "u:p@127.0.0.1/", "u:p@127.0.0.1", ":p@127.0.0.1/db",
        "u:p@/db", "u:%zz@127.0.0.1/db", "u:p@127.0.0.1/db?x=y", "u:p@[::1/db")),
    *(["--center", center] for center in ("", "nonsense", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", "127.0.0.1:99999", ":6787"))],
    ids=" ".join)
def test_bad_command_lines(words, tmp_path):
    if "--db" not in words:
        words = ["--db", f"sqlite:{tmp_path}/x.db", *words]
    status, stdout, stderr = run(*words)
    assert (status, stdout) == (64, "") and stderr


def test_help():
    status, stdout, stderr = run("--help")
    assert status == 0 and "--db" in stdout and not stderr


def test_databases_that_cannot_be_opened(tmp_path):
    garbage = tmp_path / "garbage.db"
    garbage.write_text("this is no database\n" * 100)
    for url in ("sqlite:/nonexistent/folder/x.db", f"sqlite:{tmp_path}", f"sqlite:{garbage}"):
        status, stdout, stderr = run("--center", f"127.0.0.1:{free_port()}", "--db", url)
        assert status not in (0, 64) and status > 0 and not stdout, url
        assert len(stderr.splitlines()) == 1, stderr
    assert garbage.read_text().startswith("this is no")


def test_mariadb_that_refuses(mariadb_server):
    """Wrong credentials, no such database, nobody there."""
    port = mariadb_server.port
    for url in (f"mysql://chat:wrong@127.0.0.1:{port}/nope", f"mysql://root@127.0.0.1:{port}/nope", f"mysql://chat:x@127.0.0.1:{free_port()}/chat"):
        status, stdout, stderr = run("--center", f"127.0.0.1:{free_port()}", "--db", url)
        assert status not in (0, 64) and status > 0 and not stdout, url
        assert len(stderr.splitlines()) == 1 and "wrong" not in stderr, stderr
