"""Access control: spec of consumers, access.users. Hashed passwords, what they cost, reload, the warning."""

import http.client
import select
import signal
import time
import warnings

import pytest

from consumer import Api, Consumer, basic, discover
from harness import has_ipv6, seconds, wait_until, yaml
from wsclient import Client

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import crypt  # the Python of Debian 12 has it

ENTRY = "function protocol_input(buf, conn) return #buf:data() end\n"
PASSWORD = "corréct horse"
SALT = "saltsaltsaltsaltsalt.."
SETTINGS = {"2b": "$2b$05$" + SALT, "2y": "$2y$05$" + SALT, "2a": "$2a$05$" + SALT,
            "y": "$y$j9T$" + SALT, "gy": "$gy$j9T$" + SALT, "7": "$7$AU..../...." + SALT,
            "6": "$6$rounds=1000$saltsaltsalt", "5": "$5$saltsaltsalt", "1": "$1$saltsalt"}
SLOW_SETTING = "$2b$11$" + SALT


def hashed(password, setting):
    made = crypt.crypt(password, setting)
    assert made and made.startswith("$"), setting
    return made


def user(name, password, *roles, **more):
    return {"username": name, "password": password, "roles": list(roles) or ["read", "write"], **more}


def version(engine, credentials=None, headers=None):
    """The status of a request that needs the role `read`."""
    return engine.http("GET", "/version", port=engine.center_port, headers=headers or basic(credentials))[0]


def upgrade(engine, credentials=None):
    """The status of a WebSocket's handshake."""
    client = Client(engine.api_port, timeout=50)
    lines = [f"{k}: {v}" for k, v in basic(credentials).items()]
    try:
        return client.handshake("/ws/v1", lines, check=False).answer.status
    finally:
        client.drop()


def begin(port, credentials, path="/ws/v1"):
    """Sends a handshake and waits for nothing."""
    client = Client(port)
    header = basic(credentials)["Authorization"]
    client.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
               f"Authorization: {header}\r\n\r\n".encode())
    return client


def cost(engine, call):
    before = engine.cpu()
    value = call()
    return value, engine.cpu() - before


def rewrite(engine, users):
    engine.config["access"] = {"users": users}
    engine.config_path.write_text(yaml(engine.config))


# ---- roles, hosts, passwords

@pytest.fixture(scope="module")
def guarded(make_shared):
    return make_shared(ENTRY, users=[
        user("plain", PASSWORD), user("reader", PASSWORD, "read"), user("writer", PASSWORD, "write"),
        user("elsewhere", PASSWORD, host="172.*.*.*"), user("here", PASSWORD, host="127.*.*.*"),
        user("dollar", "$ecret $6"), *(user(f"hash{k}", hashed(PASSWORD, v)) for k, v in SETTINGS.items()),
        user("hash-reader", hashed(PASSWORD, SETTINGS["2b"]), "read"),
        user("hash-elsewhere", hashed(PASSWORD, SETTINGS["2b"]), host="172.*.*.*"),
        user("both", PASSWORD, "read"), user("both", hashed(PASSWORD, SETTINGS["5"]), "write")])


@pytest.mark.parametrize("name", ["plain", "here", "both", *(f"hash{k}" for k in SETTINGS)])
def test_users_with_both_roles(guarded, name):
    assert version(guarded, (name, PASSWORD)) == 200
    assert upgrade(guarded, (name, PASSWORD)) == 101
    for wrong in ("", "wrong", PASSWORD + " ", PASSWORD[:-1], "x" * 600):
        assert version(guarded, (name, wrong)) == 401
    assert upgrade(guarded, (name, "wrong")) == 401
    assert version(guarded, (name.upper(), PASSWORD)) == 401


def test_the_hash_is_not_the_password(guarded):
    assert version(guarded, ("hash6", hashed(PASSWORD, SETTINGS["6"]))) == 401


def test_a_dollar_does_not_make_a_hash(guarded):
    assert version(guarded, ("dollar", "$ecret $6")) == 200


@pytest.mark.parametrize("name,read,write", [("reader", 200, 403), ("writer", 403, 101), ("hash-reader", 200, 403),
                                             ("elsewhere", 401, 401), ("hash-elsewhere", 401, 401), ("nobody", 401, 401)])
def test_roles_and_hosts(guarded, name, read, write):
    assert version(guarded, (name, PASSWORD)) == read
    assert upgrade(guarded, (name, PASSWORD)) == write


@pytest.mark.parametrize("header", [
    {}, {"Authorization": ""}, {"Authorization": "Basic"}, {"Authorization": "Basic %%%"},
    {"Authorization": "Basic " + "A" * 3000}, {"Authorization": "Bearer x"}])
def test_no_credentials(guarded, header):
    status, headers, _ = guarded.http("GET", "/metrics", headers=header)
    assert status == 401 and headers["WWW-Authenticate"].startswith("Basic ")


def test_a_discovery_and_a_consumer(guarded):
    nodes = discover(guarded.center, ("hashy", PASSWORD))
    with Consumer(nodes[0]["api_server"], credentials=("hashy", PASSWORD), topics=["t"]) as consumer:
        consumer.wait_consuming()


def test_a_head_in_pieces(guarded):
    """The credentials are looked at before the head is whole, and after."""
    token = basic(("hash7", PASSWORD))["Authorization"]
    head = f"GET /version HTTP/1.1\r\nHost: x\r\nauthorization:{token}\r\nX-Other: y\r\n\r\n"
    with Client(guarded.center_port) as client:
        for byte in head.encode():
            client.raw(bytes([byte]))
            time.sleep(0.001)
        assert client.http().status == 200
    with Client(guarded.center_port) as client:
        client.raw(head[:-6].encode())
        client.shutdown()
        client.end()
    with Client(guarded.center_port) as client:
        client.reset()
    with Client(guarded.center_port) as client:
        client.raw(b"GET /version HTTP/1.1\r\nX-Other: " + b"x" * 20000)
        client.end()
    assert version(guarded, ("hash7", PASSWORD)) == 200


def test_other_credentials_on_the_same_connection(guarded):
    """What must be checked first is answered with 503 and the end of the connection, and known when it is back."""
    connection = http.client.HTTPConnection(guarded.center, timeout=seconds(10))
    credentials = ("hashgy", "some other password")
    try:
        connection.request("GET", "/version")
        answer = connection.getresponse()
        assert answer.status == 401 and answer.read()
        connection.request("GET", "/version", headers=basic(credentials))
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    finally:
        connection.close()
    assert version(guarded, credentials) == 401


# ---- what hashing costs

@pytest.fixture
def costly(make_engine):
    return make_engine(ENTRY, users=[user("slow", hashed(PASSWORD, SLOW_SETTING)), user("quick", PASSWORD)])


def test_hashing_does_not_stop_the_api(costly):
    """Commands are answered while passwords are being checked."""
    with Api(costly.api_port, credentials=("quick", PASSWORD)) as api:
        guesses = [begin(costly.api_port, ("slow", f"guess {i}")) for i in range(24)]
        assert api.call("server.ping", []).error is None
        assert version(costly, ("quick", PASSWORD)) == 200
        assert upgrade(costly, ("quick", PASSWORD)) == 101
        waiting = [g for g in guesses if not select.select([g.sock], [], [], 0)[0]]
        assert waiting, "the guesses were answered first"
        for guess in guesses:
            assert guess.timeout(seconds(20)).http().status == 401
            guess.drop()


def test_who_waits_is_bounded(costly):
    """More than 32 from one address are refused at once; those before them are checked."""
    guesses = [begin(costly.api_port, ("slow", f"guess {i}")) for i in range(40)]
    done = select.select([g.sock for g in guesses[32:]], [], [], seconds(10))[0]
    assert done
    answers = [g.timeout(seconds(50)).http() for g in guesses]
    assert {a.status for a in answers[:32]} == {401}
    assert {a.status for a in answers[32:]} <= {401, 503} and 503 in {a.status for a in answers[32:]}
    for guess in guesses:
        guess.drop()
    assert upgrade(costly, ("slow", PASSWORD)) == 101


def test_a_password_is_checked_once(costly):
    status, first = cost(costly, lambda: version(costly, ("slow", PASSWORD)))
    assert status == 200
    statuses, more = cost(costly, lambda: [version(costly, ("slow", PASSWORD)) for _ in range(5)])
    assert statuses == [200] * 5 and more < first
    same = [begin(costly.api_port, ("slow", "wrong")) for _ in range(5)]
    statuses, more = cost(costly, lambda: [c.timeout(seconds(20)).http().status for c in same])
    assert statuses == [401] * 5 and more < 3 * first
    for client in same:
        client.drop()


def test_an_unknown_name_costs_as_much(costly):
    status, known = cost(costly, lambda: version(costly, ("slow", "wrong")))
    assert status == 401
    status, unknown = cost(costly, lambda: version(costly, ("nobody", "wrong")))
    assert status == 401 and unknown > known / 3


def test_stops_while_passwords_are_checked(costly):
    guesses = [begin(costly.api_port, ("slow", f"guess {i}")) for i in range(30)]
    costly.stop()
    for guess in guesses:
        guess.drop()


def test_guesses_that_hang_up(costly):
    """They may be checked all the same, before others are."""
    for i in range(10):
        begin(costly.api_port, ("slow", f"guess {i}")).reset()
    assert upgrade(costly, ("slow", PASSWORD)) == 101


# ---- reload

def test_access_takes_effect_on_reload(make_engine):
    engine = make_engine(ENTRY)
    assert version(engine) == 200
    rewrite(engine, [user("a", "one"), user("h", hashed("two", SETTINGS["2b"]))])
    wait_until(lambda: version(engine) == 401, 5, "users are asked for")
    assert version(engine, ("a", "one")) == 200 and upgrade(engine, ("h", "two")) == 101
    with Api(engine.api_port, credentials=("a", "one")) as api:
        rewrite(engine, [user("a", "other"), user("h", hashed("three", SETTINGS["2b"]))])
        wait_until(lambda: version(engine, ("a", "one")) == 401, 5, "the new passwords hold")
        assert version(engine, ("a", "other")) == 200
        assert version(engine, ("h", "two")) == 401 and version(engine, ("h", "three")) == 200
        assert api.call("server.ping", []).error is None, "who is connected stays"
    rewrite(engine, [])
    wait_until(lambda: version(engine) == 200, 5, "nobody is asked")


def test_a_kept_connection_outlives_a_reload(make_engine):
    """A user who did not change is not asked to come again."""
    users = [user("h", hashed("two", SETTINGS["y"])), user("b", "b")]
    engine = make_engine(ENTRY, users=users)
    connection = http.client.HTTPConnection(engine.center, timeout=seconds(10))

    def ask():
        connection.request("GET", "/version", headers=basic(("h", "two")))
        answer = connection.getresponse()
        answer.read()
        return answer.status
    try:
        assert ask() == 200
        rewrite(engine, [users[0], user("b", "new")])
        engine.process.send_signal(signal.SIGHUP)
        wait_until(lambda: version(engine, ("b", "new")) == 200, 5, "the reload")
        assert ask() == 200
    finally:
        connection.close()


def test_a_wrong_hash_is_refused(make_engine):
    engine = make_engine(ENTRY, start=False, users=[user("a", "$6$short")])
    status, _, stderr = engine.run("check")
    line = 1 + engine.config_path.read_text().split('"$6$short"')[0].count("\n")
    assert status == 78 and f"engine.yaml:{line}:" in stderr
    assert "access.users[0].password: found a hash that is not whole; allowed is" in stderr
    assert "$6$short" not in stderr



# ---- open to everybody

WARNING = "there are no access.users"


@pytest.mark.parametrize("bind", ["0.0.0.0", "::"])
@pytest.mark.parametrize("which", ["api", "center"])
def test_the_warning_of_an_open_api(make_engine, which, bind):
    if bind == "::" and not has_ipv6():
        pytest.skip("this kernel has no IPv6 loopback (::1)")
    engine = make_engine(ENTRY, **{which: {"bind": bind}})
    lines = [line for line in engine.log().splitlines() if WARNING in line]
    assert len(lines) == 1, lines
    for part in (f":{engine.center_port}", f":{engine.api_port}", "127.0.0.1", "list users"):
        assert part in lines[0]


def test_no_warning_on_loopback_or_with_users(make_engine):
    assert WARNING not in make_engine(ENTRY).log()
    engine = make_engine(ENTRY, api={"bind": "0.0.0.0"}, users=[user("a", "b")])
    assert WARNING not in engine.log()
    rewrite(engine, [])
    engine.wait_output(WARNING)


def test_origins_hold_for_every_request(make_engine):
    engine = make_engine(ENTRY, api={"origins": ["http://here"]}, center={"origins": ["http://there"]})

    def status(method, path, origin, port, body=None):
        headers = {"Origin": origin} if origin else {}
        return engine.http(method, path, body, headers, port)[0]
    for port, allowed in ((engine.api_port, "http://here"), (engine.center_port, "http://there")):
        assert [status("GET", "/v1/nodes", origin, port) for origin in (None, allowed, "http://evil")] == [200, 200, 403]
    publish = "POST", "/v1/mesh/publish"
    body = '{"c": "room", "d": "x"}'
    assert [status(*publish, origin, engine.api_port, body) for origin in (None, "http://here", "http://evil")] == \
        [200, 200, 403]
