"""mix.http.request, against servers that answer as each test says."""

import asyncio
import collections
import contextlib
import gzip
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

import lab
from consumer import Consumer
from harness import ROOT, binary, free_port, seconds, times, wait_until
from lab import Lab, LuaError, on_two_workers, values
from webserver import Web, answer, echo, redirect

ENTRY = lab.ENTRY.read_text() + """
function fetch(...)
    local r, err = mix.http.request(...)
    if not r then return nil, err end
    return r.status_code, r.url, r.body, r.body_size, r.headers, r.cookies
end
"""

Response = collections.namedtuple("Response", "status url body size headers cookies")


class Failed(Exception):
    """`nil, message`."""


def literal(v):
    """A value as Lua writes it."""
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, (int, float)):
        return repr(v)
    if isinstance(v, dict):
        return "{%s}" % ", ".join(f"[{literal(k)}] = {literal(x)}" for k, x in v.items())
    if isinstance(v, list):
        return "{%s}" % ", ".join(map(literal, v))
    data = v.encode() if isinstance(v, str) else v
    return '"%s"' % "".join(f"\\{byte:03d}" for byte in data)


def code(method, url, options):
    words = [literal(method), literal(url)] + ([literal(options)] if options else [])
    return f"return fetch({', '.join(words)})"


def response(found):
    if found[0] is None:
        raise Failed(found[1])
    status, url, body, size, headers, cookies = found
    body = body.encode() if isinstance(body, str) else body
    assert size == len(body)
    return Response(status, url, body, size, headers or {}, cookies or {})


def fetch(client, method, url, **options):
    return response(client.lua(code(method, url, options)))


def asked(client, web, method="GET", path="/", **options):
    """What the echo of the server says."""
    got = fetch(client, method, web.url + path, **options)
    assert got.status == 200
    return json.loads(got.body)


@pytest.fixture(scope="module")
def shared(make_shared):
    return make_shared(ENTRY, workers=2)


@pytest.fixture
def client(shared):
    with Lab(shared.port) as client:
        yield client


@pytest.fixture
def web():
    servers = []

    def start(handler=echo, **options):
        servers.append(Web(handler, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


# ---- the request: method, url, each option of the table

def test_get(client, web):
    server = web()
    got = fetch(client, "GET", server.url + "/a/b?x=1&y=%20")
    assert (got.status, got.url, got.cookies) == (200, server.url + "/a/b?x=1&y=%20", {})
    assert got.headers == {"Content-Length": str(got.size)}
    seen = json.loads(got.body)
    agent = seen["headers"].pop("user-agent")
    assert seen == {"method": "GET", "target": "/a/b?x=1&y=%20", "connection": 1, "body": "",
                    "headers": {"host": f"127.0.0.1:{server.port}", "accept": "*/*"}}
    assert agent.startswith("mixengine/")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PURGE", "M-SEARCH"])
@pytest.mark.parametrize("body", [None, "", "some body"])
def test_method(client, web, method, body):
    seen = asked(client, web(), method, **({} if body is None else {"body": body}))
    assert (seen["method"], seen["body"]) == (method, body or "")
    length = seen["headers"].get("content-length")
    assert length == ("0" if not body and (body == "" or method in ("POST", "PUT", "PATCH")) else
                      "9" if body else None)
    assert "content-type" not in seen["headers"] and "expect" not in seen["headers"]


def test_method_in_lower_case(client, web):
    assert asked(client, web(), "post")["method"] == "POST"


def test_head(client, web):
    async def head(request):
        return answer(status=200, headers=["Content-Length: 1000000000000"], length=False)
    server = web(head)
    got = fetch(client, "HEAD", server.url)
    assert (got.status, got.body, got.headers["Content-Length"]) == (200, b"", "1000000000000")
    assert server.last().method == "HEAD"
    assert fetch(client, "HEAD", server.url).status == 200  # on the same connection
    assert server.connections == 1


def test_query(client, web):
    server = web()
    assert asked(client, server, query="a=1&b=%20")["target"] == "/?a=1&b=%20"
    assert asked(client, server, path="/p?old=1#top", query="a=1")["target"] == "/p?a=1"
    assert asked(client, server, path="/p?old=1", query="")["target"] == "/p"
    assert fetch(client, "GET", server.url + "/p#top", query="a=1").url == server.url + "/p?a=1#top"


def test_a_url_that_is_not_ascii(client, web):
    assert asked(client, web(), path="/é?é")["target"].upper() == "/%C3%A9?%C3%A9"


def test_headers(client, web):
    server = web()
    fetch(client, "POST", server.url, body="12345", headers={
        "X-One": "1", "x-number": 5, "X-Empty": "", "X-Utf8": "é", "X-List": ["a", "b", 3], "User-Agent": "me",
        "Accept": "text/plain", "Content-Type": "text/csv", "Host": "somebody.example",
        "Content-Length": "1", "Transfer-Encoding": "chunked"})
    request = server.last()
    assert sorted(request.headers) == sorted([
        ("X-One", "1"), ("x-number", "5"), ("X-Empty", ""), ("X-Utf8", "é".encode().decode("latin-1")),
        ("X-List", "a"), ("X-List", "b"), ("X-List", "3"), ("User-Agent", "me"), ("Accept", "text/plain"),
        ("Content-Type", "text/csv"), ("Host", "somebody.example"), ("Content-Length", "5")])
    assert request.body == b"12345"


def test_cookies(client, web):
    server = web()
    assert asked(client, server, cookies={"a": "1"})["headers"]["cookie"] == "a=1"
    assert sorted(asked(client, server, cookies={"a": "1", "b": 2, "c": "x y=\""})["headers"]["cookie"].split("; ")) == [
        "a=1", "b=2", 'c=x y="']
    assert asked(client, server, cookies={"a": "1"}, headers={"cookie": "z=9"})["headers"]["cookie"] == "z=9; a=1"


def test_body(client, web):
    server = web()
    everything = bytes(range(256)) * 9
    assert asked(client, server, "POST", body=everything)["body"] == everything.decode("latin-1")
    assert asked(client, server, "POST", body=5)["body"] == "5"


def test_a_large_body(client, web):
    async def count(request):
        return answer(str(len(request.body)))
    got = response(client.lua(f"return fetch('PUT', '{web(count).url}', {{ body = ('x'):rep(20000000) }})"))
    assert got.body == b"20000000"


def test_form(client, web):
    server = web()
    seen = asked(client, server, "POST", form="a=1&b=%20")
    assert (seen["body"], seen["headers"]["content-type"]) == ("a=1&b=%20", "application/x-www-form-urlencoded")
    seen = asked(client, server, "POST", form="a=1", headers={"content-type": "application/x-other"})
    assert (seen["body"], seen["headers"]["content-type"]) == ("a=1", "application/x-other")


@pytest.mark.parametrize("auth", [{"username": "me", "password": "pa:ss"}, {"user": "me", "pass": "pa:ss"},
                                  ["me", "pa:ss"], {"username": "me", "pass": "pa:ss"}])
def test_auth(client, web, auth):
    assert asked(client, web(), auth=auth)["headers"]["authorization"] == "Basic bWU6cGE6c3M="


def test_auth_in_the_url(client, web):
    server = web()
    url = server.url.replace("://", "://me:pa%3Ass@") + "/x"
    got = fetch(client, "GET", url)
    assert json.loads(got.body)["headers"]["authorization"] == "Basic bWU6cGE6c3M="
    assert got.url == server.url + "/x"
    got = fetch(client, "GET", url, auth={"user": "a", "pass": "b"})
    assert json.loads(got.body)["headers"]["authorization"] == "Basic YTpi"


# ---- the response

def test_response_headers_and_cookies(client, web):
    async def many(request):
        return answer("body", 418, ["x-one: 1", "X-LIST: a", "x-list:b", "ETag: \"x\"", "X-Empty:",
                                    "Set-Cookie: a=1; Path=/; HttpOnly", "set-cookie: b=\"two\"", "Set-Cookie: a=3",
                                    "Set-Cookie: nonsense", "Set-Cookie: d=e=f;"])
    got = fetch(client, "GET", web(many).url)
    assert (got.status, got.body) == (418, b"body")
    assert got.cookies == {"a": "3", "b": "two", "d": "e=f"}
    assert {name: value for name, value in got.headers.items() if name != "Set-Cookie"} == {
        "X-One": "1", "X-List": "a, b", "Etag": '"x"', "X-Empty": "", "Content-Length": "4"}
    server = web(many)
    assert client.lua(f"""
        local r = mix.http.request('GET', '{server.url}')
        return r.headers['X-List'], r.headers['x-list'], r.headers['X-LIST'], r.headers.etag, r.headers.nothing""") == [
        "a, b", "a, b", "a, b", '"x"', None]


def test_an_empty_body(client, web):
    for status, data in ((200, answer()), (204, answer(status=204, length=False)), (304, answer(status=304, length=False))):
        async def empty(request, data=data):
            return data
        got = fetch(client, "GET", web(empty).url)
        assert (got.status, got.body) == (status, b"")


def test_a_binary_body(client, web):
    everything = bytes(range(256)) * 300

    async def binary(request):
        return answer(everything)
    assert fetch(client, "GET", web(binary).url).body == everything


CHUNKED = ["Transfer-Encoding: chunked"]


def chunks(*parts, end=b"0\r\n\r\n"):
    return answer(headers=CHUNKED, length=False) + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + end


def test_a_chunked_body(client, web):
    async def chunked(request):
        return chunks(b"one", b"\0two", b"x" * 70000, end=b"0\r\nX-Trailer: late\r\n\r\n")
    server = web(chunked)
    for _ in range(2):
        got = fetch(client, "GET", server.url)
        assert got.body == b"one\0two" + b"x" * 70000
        assert got.headers == {"Transfer-Encoding": "chunked"}
    assert server.connections == 1


def test_a_body_that_the_end_of_the_connection_ends(client, web):
    async def until_close(request):
        await request.write(answer(b"up to ", length=False))
        await request.write(b"the end")
    assert fetch(client, "GET", web(until_close).url).body == b"up to the end"


def test_interim_answers(client, web):
    async def interim(request):
        return (b"HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\nHTTP/1.1 103 Early\r\nX-Interim: 2\r\n\r\n"
                + answer("final", headers=["X-Final: 1"]))
    got = fetch(client, "POST", web(interim).url, body="x")
    assert (got.status, got.body, got.headers) == (200, b"final", {"X-Final": "1", "Content-Length": "5"})


def test_big_headers(client, web):
    async def big(request):
        return answer("x", headers=[f"X-{i}: {'v' * 1000}" for i in range(200)] + ["X-Big: " + "b" * 50000])
    got = fetch(client, "GET", web(big).url)
    assert len(got.headers) == 202 and got.headers["X-199"] == "v" * 1000 and got.headers["X-Big"] == "b" * 50000


@pytest.mark.parametrize("line", [
    lambda i: f"X-{i}: {'v' * 1000}\r\n".encode(), lambda i: b"x:\r\n", lambda i: b"HTTP/1.1 100 Go on\r\n\r\n",
    lambda i: b"X-" + b"x" * 1000], ids=["bytes", "lines", "interim", "one line"])
def test_headers_without_end(client, web, line):
    async def endless(request):
        await request.write(b"HTTP/1.1 200 OK\r\n" if line(0)[:1] != b"H" else b"")
        for i in range(1000000):
            await request.write(line(i))
    with pytest.raises(Failed, match="headers are longer than 262144 bytes or 500 lines|a line longer than 102400 bytes"):
        fetch(client, "GET", web(endless).url)


def test_no_encoding_is_asked_for_and_none_decoded(client, web):
    packed = gzip.compress(b"z" * 100000)

    async def pack(request):
        assert request.header("Accept-Encoding") is None
        return answer(packed, headers=["Content-Encoding: gzip"])
    got = fetch(client, "GET", web(pack).url, max_body=len(packed))
    assert got.body == packed


# ---- the cap of a body

def test_max_body_of_a_declared_length(client, web):
    sent = []

    async def large(request):
        await request.write(answer(length=False, headers=["Content-Length: 1001"]))
        sent.append(await request.reader.read())  # not a byte of it is sent: the head alone is enough
    with pytest.raises(Failed, match="^the answer's body is larger than 1000 bytes$"):
        fetch(client, "GET", web(large).url, max_body=1000)
    wait_until(lambda: sent == [b""])


def test_max_body_of_a_chunked_one(client, web):
    async def endless(request):
        await request.write(answer(headers=CHUNKED, length=False))
        while True:
            await request.write(b"64\r\n" + b"x" * 100 + b"\r\n")
    with pytest.raises(Failed, match="^the answer's body is larger than 1000 bytes$"):
        fetch(client, "GET", web(endless).url, max_body=1000)


def test_max_body_is_exact(client, web):
    async def by_path(request):
        data = b"x" * 1000
        return answer(data) if request.target == "/length" else chunks(data)
    server = web(by_path)
    for path in ("/length", "/chunked"):
        assert fetch(client, "GET", server.url + path, max_body=1000).size == 1000
        with pytest.raises(Failed, match="larger than 999 bytes"):
            fetch(client, "GET", server.url + path, max_body=999)


def test_max_body_of_zero(client, web):
    async def by_path(request):
        return answer("" if request.target == "/empty" else "x")
    server = web(by_path)
    assert fetch(client, "GET", server.url + "/empty", max_body=0).size == 0
    with pytest.raises(Failed, match="larger than 0 bytes"):
        fetch(client, "GET", server.url, max_body=0)


def test_the_default_cap_is_16_mib(client, web):
    async def sized(request):
        return answer(b"x" * int(request.target[1:]))
    server = web(sized)
    most = 16 << 20
    assert client.lua(f"return mix.http.request('GET', '{server.url}/{most}').body_size") == [most]
    with pytest.raises(Failed, match=f"larger than {most} bytes"):
        fetch(client, "GET", f"{server.url}/{most + 1}")


def test_all_bodies_of_a_worker_are_bounded(make_engine, web):
    """Five answers of 60 MB, each less than its own cap, none of which ends before one was refused."""
    engine = make_engine(ENTRY, workers=1)
    size, refused = 60000000, []

    async def almost(request):
        refused[:] = refused or [asyncio.Event()]
        await request.write(answer(length=False, headers=[f"Content-Length: {size}"]))
        for _ in range(60):
            await request.write(b"x" * 1000000 if _ < 59 else b"x" * 999999)
        await refused[0].wait()
        await request.write(b"x")
    server = web(almost)
    clients = [Lab(engine.port) for _ in range(5)]
    for one in clients:
        one.send(f"=local r, err = mix.http.request('GET', '{server.url}', {{ max_body = 100e6, timeout = 600 }}) "
                 "return err or r.body_size")
    wait_until(lambda: engine.metric("mixengine_http_errors_total") == 1, 30)
    server.call(refused[0].set)
    got = sorted((values(one.text())[0] for one in clients), key=str)
    assert got == [size] * 4 + ["the bodies of all requests of this worker are larger than 268435456 bytes"]
    assert fetch(clients[0], "GET", web().url).status == 200  # it counts down, too
    for one in clients:
        one.drop()


# ---- time

async def never(request):
    await asyncio.sleep(1000)


@pytest.mark.parametrize("timeout", [0.3, "300ms", "0.3s", "299.5ms", "0h0m0.3s"])
def test_timeout_of_an_answer_that_does_not_come(client, web, timeout):
    took, err = client.lua(f"""
        local t = mix.time()
        local r, err = mix.http.request('GET', '{web(never).url}', {{ timeout = {literal(timeout)} }})
        return mix.time() - t, err""")
    assert err == "timeout (0.3 s) while waiting for the answer" and took > 0.29


def test_timeout_while_connecting(client):
    """A port whose backlog is full answers no connection."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        takers = [socket.socket() for _ in range(8)]
        try:
            for taker in takers:
                taker.setblocking(False)
                taker.connect_ex(address)
            with pytest.raises(Failed, match=r"^timeout \(0.4 s\) while connecting$"):
                fetch(client, "GET", f"http://127.0.0.1:{address[1]}/", timeout=0.4)
        finally:
            for taker in takers:
                taker.close()


def test_given_up_while_connecting_and_clients_come(make_engine):
    """The descriptor of a connection that is given up may be a new client's at once."""
    engine = make_engine(ENTRY, workers=2)
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        for _ in range(2):
            taker = stack.enter_context(socket.socket())
            taker.setblocking(False)
            taker.connect_ex(full.getsockname())
        askers = [stack.enter_context(Lab(engine.port)) for _ in range(20)]
        for asker in askers:
            asker.send(f"=for i = 1, 20 do mix.http.request('GET', '{url}', {{ timeout = 0.02 }}) end return 1")
        for _ in range(200):
            with Lab(engine.port) as client:
                assert client.ask("still here") == "still here"
        assert [asker.text() for asker in askers] == ["+ n1"] * len(askers)


def test_timeout_of_headers_that_drip(client, web):
    async def drip(request):
        await request.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            await request.write(b"X-Drip: 1\r\n")
            await asyncio.sleep(0.05)
    with pytest.raises(Failed, match=r"^timeout \(0.5 s\) while reading the answer$"):
        fetch(client, "GET", web(drip).url, timeout=0.5)


def test_timeout_of_a_body_that_drips(client, web):
    async def drip(request):
        await request.write(answer(length=False, headers=["Content-Length: 1000000"]))
        while True:
            await request.write(b"x")
            await asyncio.sleep(0.05)
    with pytest.raises(Failed, match=r"^timeout \(0.5 s\) while reading the answer$"):
        fetch(client, "GET", web(drip).url, timeout="500ms")


def test_timeout_counts_over_redirects(client, web):
    async def slow(request):
        await asyncio.sleep(0.15)
        return redirect(f"/{int(request.target[1:] or 0) + 1}")
    server = web(slow)
    with pytest.raises(Failed, match=r"^timeout \(0.5 s\)"):
        fetch(client, "GET", server.url, timeout=0.5)
    assert 2 <= len(server.requests) <= 5


@pytest.mark.parametrize("timeout", [5, 0.9, "10s", "1h", "1h30m", "1.5s", "24h", "90m", 86400])
def test_timeout_long_enough(client, web, timeout):
    assert fetch(client, "GET", web().url, timeout=timeout).status == 200


# ---- redirects

def by_path(**answers):
    """A server's handler: answers by path, an echo for any other."""
    async def handler(request):
        found = answers.get(request.target.strip("/"))
        return found if found else await echo(request)
    return handler


@pytest.mark.parametrize("status,method,then", [
    *[(status, "GET", "GET") for status in (301, 302, 303, 307, 308)],
    *[(status, "HEAD", "HEAD") for status in (301, 302, 303, 307, 308)],
    *[(status, method, "GET") for status in (301, 302, 303) for method in ("POST", "PUT", "DELETE")],
    *[(status, method, method) for status in (307, 308) for method in ("POST", "PUT", "DELETE")]])
def test_redirect(client, web, status, method, then):
    server = web(by_path(start=redirect("/end?x=1", status, body=b"moved" if method != "HEAD" else b"",
                                        headers=["X-First: 1", "Set-Cookie: first=1"])))
    body = {} if method in ("GET", "HEAD") else {"body": "the body", "headers": {"Content-Type": "text/x", "X-Own": "1"}}
    got = fetch(client, method, server.url + "/start", **body)
    assert (got.status, got.url, got.cookies) == (200, server.url + "/end?x=1", {})
    assert "X-First" not in got.headers
    last = server.last()
    assert (last.method, last.target) == (then, "/end?x=1")
    kept = bool(body) and then == method
    assert last.body == (b"the body" if kept else b"")
    assert last.header("Content-Type") == ("text/x" if kept else None)
    assert last.header("X-Own") == ("1" if body else None)
    assert server.connections == 1


@pytest.mark.parametrize("location,target", [
    ("/abs", "/abs"), ("rel", "/a/rel"), ("../up?y=2", "/up?y=2"), ("?only=query", "/a/start?only=query"),
    ("//127.0.0.1:PORT/p", "/p"), ("http://127.0.0.1:PORT/full", "/full"), ("/with space", "/with%20space"),
    ("/top#fragment", "/top")])
def test_where_a_redirect_leads(client, web, location, target):
    async def handler(request):
        if request.target == "/a/start":
            return redirect(location.replace("PORT", str(server.port)))
        return await echo(request)
    server = web(handler)
    got = fetch(client, "GET", server.url + "/a/start")
    assert json.loads(got.body)["target"] == target
    assert got.url.split("#")[0] == server.url + target


def test_a_redirect_without_a_place_is_the_answer(client, web):
    assert fetch(client, "GET", web(by_path(x=answer("see", 302))).url + "/x").status == 302
    assert fetch(client, "GET", web(by_path(x=redirect("/y", 300))).url + "/x").status == 300
    assert fetch(client, "GET", web(by_path(x=redirect("/y", 201))).url + "/x").status == 201


def test_a_loop_of_redirects(client, web):
    server = web(by_path(loop=redirect("/loop")))
    with pytest.raises(Failed, match="^too many redirects: more than 10$"):
        fetch(client, "GET", server.url + "/loop")
    assert len(server.requests) == 11


def test_max_redirects(client, web):
    server = web(by_path(a=redirect("/b"), b=redirect("/c")))
    assert fetch(client, "GET", server.url + "/a", max_redirects=2).url == server.url + "/c"
    with pytest.raises(Failed, match="^too many redirects: more than 1$"):
        fetch(client, "GET", server.url + "/a", max_redirects=1)
    got = fetch(client, "GET", server.url + "/a", max_redirects=0)
    assert (got.status, got.headers["Location"], got.url) == (302, "/b", server.url + "/a")


@pytest.mark.parametrize("location,error", [
    ("file:///etc/passwd", "unsupported scheme in a redirect: it must be http or https"),
    ("ftp://127.0.0.1/x", "unsupported scheme in a redirect: it must be http or https"),
    ("gopher://127.0.0.1/x", "unsupported scheme in a redirect: it must be http or https"),
    ("http://:99999/", "bad URL in a redirect: .*"), ("http://a b/", "bad URL in a redirect: .*")])
def test_redirects_that_are_refused(client, web, location, error):
    with pytest.raises(Failed, match=f"^{error}$"):
        fetch(client, "GET", web(by_path(x=redirect(location))).url + "/x")


SECRETS = {"auth": {"user": "me", "pass": "secret"}, "cookies": {"session": "secret"},
           "headers": {"X-Own": "1", "Host": "named.example"}}


def test_secrets_stay_on_redirects_to_the_same_host(client, web):
    server = web(by_path(x=redirect("/y")))
    headers = asked(client, server, path="/x", **SECRETS)["headers"]
    assert (headers["authorization"], headers["cookie"]) == ("Basic bWU6c2VjcmV0", "session=secret")
    assert (headers["x-own"], headers["host"]) == ("1", "named.example")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_secrets_are_not_sent_to_another_host(client, web, host):
    """Another port of the same host is another one, too; and the way back brings nothing back."""
    other = web(host="127.0.0.2" if host == "127.0.0.2" else "127.0.0.1")
    first = web(by_path(x=redirect(f"http://{host}:{other.port}/y")))
    secrets = {**SECRETS, "headers": {**SECRETS["headers"], "authorization": "Bearer secret", "Cookie": "more=secret"}}
    got = fetch(client, "GET", first.url + "/x", **secrets)
    assert got.url == f"http://{host}:{other.port}/y"
    headers = json.loads(got.body)["headers"]
    assert "secret" not in str(headers) and "authorization" not in headers and "cookie" not in headers
    assert (headers["x-own"], headers["host"]) == ("1", f"{host}:{other.port}")

    back = web(by_path(x=redirect(first.url + "/end")))
    first.handler = by_path(x=redirect(back.url + "/x"))
    headers = json.loads(fetch(client, "GET", first.url + "/x", **SECRETS).body)["headers"]
    assert "authorization" not in headers and "cookie" not in headers


def test_credentials_that_a_redirect_names(client, web):
    other = web()
    first = web(by_path(x=redirect(other.url.replace("://", "://new:pass@") + "/y")))
    got = fetch(client, "GET", first.url + "/x", **SECRETS)
    assert json.loads(got.body)["headers"]["authorization"] == "Basic bmV3OnBhc3M="
    assert got.url == other.url + "/y"


# ---- connections

def test_connections_are_kept(client, web):
    server = web()
    for _ in range(5):
        fetch(client, "POST", server.url, body="x")
    assert server.connections == 1


def test_a_connection_that_the_server_closed_is_not_used(client, web):
    async def twice(request):
        if len(server.requests) % 2 == 0:
            request.writer.close()
        return answer("fine")
    server = web(twice)
    for _ in range(6):
        assert fetch(client, "GET", server.url).body == b"fine"
    assert server.connections > 1


def test_a_kept_connection_that_breaks_is_made_anew(client, web):
    async def breaks(request):
        if request.connection == 1 and len(server.requests) > 1:
            request.reset()
            return None
        return answer(str(request.connection))
    server = web(breaks)
    assert fetch(client, "POST", server.url, body="x").body == b"1"
    assert fetch(client, "POST", server.url, body="x").body == b"2"


def test_connection_refused(client):
    port = free_port()
    with pytest.raises(Failed, match=f"^could not connect to 127.0.0.1:{port}: connection refused$"):
        fetch(client, "GET", f"http://127.0.0.1:{port}/")


def test_reset_in_the_middle(client, web):
    async def reset(request):
        await request.write(answer(length=False, headers=["Content-Length: 1000"]) + b"x" * 10)
        request.reset()
    with pytest.raises(Failed, match="^the answer broke off: "):
        fetch(client, "GET", web(reset).url)


@pytest.mark.parametrize("data,error", [
    (answer(length=False, headers=["Content-Length: 1000"]) + b"x" * 10,
     "the answer broke off: transfer closed with 990 bytes remaining to read"),
    (chunks(b"x" * 10, end=b""), "the answer broke off: .*"),
    (chunks(b"x" * 10, end=b"nonsense\r\n"), "the answer broke off: .*"),
    (b"", "the server closed the connection without an answer: .*"),
    (b"SSH-2.0-Other\r\n", "the answer is not HTTP: .*"),
    (b"HTTP/1.1 200 OK\r\nX-Half: ", "the answer broke off: its headers have no end"),
    (b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 200 OK\r\n", "the answer broke off: its headers have no end"),
    (b"HTTP/1.1 abc\r\n\r\n", ".*"),
    (answer(length=False, headers=["Content-Length: nonsense"]), ".*"),
    (answer("x", headers=["X-Nul: a\0b"]), ".*"),
], ids=["length", "chunks", "bad chunk", "nothing", "ssh", "half a head", "half a second head", "bad status", "bad length", "nul"])
def test_answers_that_are_wrong(client, web, data, error):
    async def wrong(request):
        await request.write(data)
    with pytest.raises(Failed, match=f"^{error}$"):
        fetch(client, "GET", web(wrong).url)
    assert fetch(client, "GET", web().url).status == 200


def test_a_name_that_does_not_resolve(client):
    with pytest.raises(Failed, match="^could not resolve the host's name: .*no-such-host.invalid|looking up"):
        fetch(client, "GET", "http://no-such-host.invalid/", timeout=20)


def test_localhost(client, web):
    server = web()
    assert fetch(client, "GET", f"http://localhost:{server.port}/").status == 200


def test_no_proxy_of_the_environment(make_engine, web):
    proxy, server = web(), web()
    engine = make_engine(ENTRY, env={"http_proxy": proxy.url, "ALL_PROXY": proxy.url})
    with Lab(engine.port) as client:
        assert fetch(client, "GET", server.url).status == 200
    assert not proxy.requests and len(server.requests) == 1


# ---- what is refused

BAD = {  # nil and a message
    '"GET", ""': "bad URL: it is empty, ",
    '"GET", "/path"': "bad URL: ",
    '"GET", "example.org/x"': "bad URL: ",
    '"GET", "http://x/a b"': "bad URL: it is empty, or a space",
    '"GET", "http://x/\\r\\nX: y"': "bad URL: it is empty, or a space",
    '"GET", "http://127.0.0.1\\0.example/"': "bad URL: it is empty, or a space",
    '"GET", "http://x:99999/"': "bad URL: ",
    '"GET", "http://x/" .. ("x"):rep(70000)': "the URL is longer than 65536 bytes",
    '"GET", "ftp://127.0.0.1/"': "unsupported scheme: it must be http or https",
    '"GET", "file:///etc/passwd"': "unsupported scheme: it must be http or https",
    '"G T", URL': "bad method", '"GET\\r\\nX: y", URL': "bad method", '"", URL': "bad method",
    '("G"):rep(100), URL': "bad method", '"CONNECT", URL': "bad method: CONNECT is for proxies",
    '"HEAD", URL, { body = "x" }': "a HEAD request has no body",
    '"GET", URL, { query = "a b" }': "bad query: ", '"GET", URL, { query = "a#b" }': "bad query: ",
    '"GET", URL, { query = "a\\r\\nX: y" }': "bad query: ", '"GET", URL, { query = "a\\0" }': "bad query: ",
    '"GET", URL, { query = ("x"):rep(70000) }': "the query is longer than 65536 bytes",
    '"GET", URL, { headers = { ["X"] = "a\\r\\nY: b" } }': "bad header X: its value has a line break",
    '"GET", URL, { headers = { ["X"] = { "a", "b\\n" } } }': "bad header X: its value has a line break",
    '"GET", URL, { headers = { ["X"] = "a\\0b" } }': "bad header X: its value has a line break",
    '"GET", URL, { headers = { ["X\\r\\nY"] = "a" } }': "bad header name", '"GET", URL, { headers = { ["X:"] = "a" } }': "bad header name",
    '"GET", URL, { headers = { [""] = "a" } }': "bad header name",
    '"GET", URL, { headers = { X = ("x"):rep(300000) } }': "the headers are longer than 262144 bytes",
    '"GET", URL, { cookies = { ["a b"] = "x" } }': "bad cookie name", '"GET", URL, { cookies = { ["a=b"] = "x" } }': "bad cookie name",
    '"GET", URL, { cookies = { a = "x; b=c" } }': "bad cookie a: its value has",
    '"GET", URL, { cookies = { a = "x\\r\\nY: z" } }': "bad cookie a: its value has",
    '"GET", URL, { cookies = { a = ("x"):rep(300000) } }': "the headers are longer than 262144 bytes",
    '"GET", URL, { auth = { user = ("x"):rep(5000), pass = "" } }': "the user's name or password is longer than 4096 bytes",
}

WRONG = {  # raise an error
    "": "string expected", '"GET"': "string expected", '{}, URL': "string expected", '"GET", {}': "string expected",
    '"GET", URL, 5': "table expected", '"GET", URL, "x"': "table expected",
    '"GET", URL, { tiemout = 5 }': "unknown option tiemout", '"GET", URL, { "x" }': "unknown option number",
    '"GET", URL, { query = {} }': "query: a string expected", '"GET", URL, { body = {} }': "body: a string expected",
    '"GET", URL, { form = {} }': "form: a string expected",
    '"GET", URL, { body = "x", form = "y" }': "body and form: only one of them expected",
    '"GET", URL, { headers = "x" }': "headers: a table from names", '"GET", URL, { headers = { "x" } }': "headers: a table from names",
    '"GET", URL, { headers = { x = {} } }': "headers: a table from names", '"GET", URL, { headers = { x = { {} } } }': "headers: a table",
    '"GET", URL, { headers = { x = true } }': "headers: a table from names",
    '"GET", URL, { cookies = "x" }': "cookies: a table from names", '"GET", URL, { cookies = { x = { "y" } } }': "cookies: a table",
    '"GET", URL, { auth = "x" }': "auth: a table with username and password",
    '"GET", URL, { auth = { user = "x" } }': "auth: a table with username and password",
    '"GET", URL, { auth = { user = "x", pass = "a\\0b" } }': "auth: a table with username and password",
    **{f'"GET", URL, {{ timeout = {t} }}': "timeout: seconds, or a duration"
       for t in ("0", "-1", "0/0", "1/0", "86401", "true", '"5"', '"5 s"', '"0s"', '"25h"', '"-1s"', '""', '"s"')},
    **{f'"GET", URL, {{ max_body = {n} }}': "max_body: a number of bytes" for n in ("-1", "0.5", "0/0", '"5"', "268435457")},
    **{f'"GET", URL, {{ max_redirects = {n} }}': "max_redirects: a number from 0" for n in ("-1", "0.5", "51", "true")},
}


@pytest.mark.parametrize("row", BAD)
def test_bad_requests(client, row):
    with pytest.raises(Failed, match="^" + re.escape(BAD[row])):
        response(client.lua(f"local URL = 'http://127.0.0.1:1/' return fetch({row})"))


@pytest.mark.parametrize("row", WRONG)
def test_wrong_arguments(client, row):
    with pytest.raises(LuaError, match=re.escape(WRONG[row])):
        client.lua(f"local URL = 'http://127.0.0.1:1/' return fetch({row})")
    assert client.ask("still here") == "still here"


WAITS = "this call waits, which "


@pytest.mark.parametrize("where", [
    "local why table.sort({ 3, 1, 2 }, function(a, b) why = %s return a < b end) return why",
    "local why; ('x'):gsub('x', function() why = %s end) return why",
    "return coroutine.wrap(function() return %s end)()",
    "protocol_encode_hook = function() why = %s end mix.mesh.send(conn:client_id(), 'x') return why"])
def test_where_nothing_waits(make_engine, web, where):
    engine = make_engine(ENTRY + """
        local encode = protocol_encode
        function protocol_encode(...)
            if protocol_encode_hook then protocol_encode_hook() protocol_encode_hook = nil end
            return encode(...)
        end""")
    with Lab(engine.port) as client:
        client.send("=" + where.replace("%s", f"select(2, mix.http.request('GET', '{web().url}'))"))
        texts = [client.text()]
        if "encode" in where:
            texts.append(client.text())
        got = next(values(text) for text in texts if text.startswith("+"))
        assert got[0].startswith(WAITS)


def test_in_init_and_in_the_body_of_a_script(make_engine):
    engine = make_engine(ENTRY + """
        local _, in_chunk = mix.http.request("GET", "http://127.0.0.1:1/")
        body_err = in_chunk
        local lab_init = init
        function init() lab_init() _, init_err = mix.http.request("GET", "http://127.0.0.1:1/") end""")
    with Lab(engine.port) as client:
        for err in client.lua("return body_err, init_err"):
            assert err == WAITS + "init, protocol_encode and module chunks cannot"


# ---- in handlers

EVERYWHERE = """
local text = require("protocols/text")
local function get(name)
    local ok, r, err = pcall(mix.http.request, "GET", mix.server.option("url") .. "/" .. name)
    mix.queue.push("seen", { where = name, body = r and r.body, err = err })
end
function on_connect(conn) get("on_connect") end
function protocol_input(buf, conn) get("protocol_input") return text.input(buf, conn) end
function protocol_decode(str, conn) get("protocol_decode") return text.decode(str) end
function on_message(data, conn)
    get("on_message")
    conn:send(data .. "\\n")
    mix.timer(0, function() get("timer") conn:close() end)
end
function on_close(err, conn) get("on_close") end
"""


def test_in_every_handler(make_engine, web):
    async def name(request):
        return answer(request.target)
    engine = make_engine(EVERYWHERE, options={"url": web(name).url})
    with Consumer(engine.api_port, topics=["seen"]) as consumer, lab.wsclient.Client(engine.port) as client:
        client.raw(b"hello\n")
        assert client.line() == b"hello"
        consumer.wait_events(6)
        engine.wait_metric("mixengine_connections", 0)
        assert [e.data for e in consumer.of("seen")] == [
            {"where": where, "body": "/" + where} for where in
            ("on_connect", "protocol_input", "protocol_decode", "on_message", "timer", "on_close")]


GENERATION_2 = """
local function get(name)
    local r, err = mix.http.request("GET", mix.server.option("url") .. "/" .. name)
    mix.queue.push("seen", { where = name, body = r and r.body, err = err })
end
function on_handshake() get("on_handshake") end
function on_message(msg) get("on_message") mix.websocket():send(msg.data) end
function on_close() get("on_close") end
"""


def test_in_every_handler_of_generation_2(make_engine, web):
    async def name(request):
        return answer(request.target)
    engine = make_engine(GENERATION_2, options={"url": web(name).url}, server={"protocol": "websocket"})
    with Consumer(engine.api_port, topics=["seen"]) as consumer:
        with lab.wsclient.Client(engine.port) as client:
            client.handshake("/")
            assert client.ask("hello") == "hello"
        consumer.wait_events(3)
        assert [e.data for e in consumer.of("seen")] == [
            {"where": where, "body": "/" + where} for where in ("on_handshake", "on_message", "on_close")]


def test_one_after_another_under_pcall(client, web):
    assert client.lua(f"""
        local n = 0
        for i = 1, 20 do
            local ok, err = pcall(function()
                n = n + mix.http.request('GET', '{web().url}').status_code
                error({{ 'mine' }})
            end)
            assert(not ok and err[1] == 'mine')
        end
        return n""") == [4000]


def test_others_go_on_meanwhile(shared, web):
    with Lab(shared.port) as waiter, Lab(shared.port) as other:
        waiter.send(f"=return fetch('GET', '{web(never).url}')")
        shared.wait_metric("mixengine_http_requests", 1)
        assert other.ask("awake") == "awake"
        assert other.lua(f"return mix.mesh.send('{waiter.id}', 'hear')") == [None]
        assert waiter.text() == "hear"
    shared.wait_metric("mixengine_http_requests", 0)


@pytest.mark.parametrize("how", ["shutdown", "reset", "script"])
def test_the_client_leaves_while_it_waits(make_engine, web, how):
    aborted = []

    async def wait_for_the_end(request):
        await request.write(answer(length=False, headers=["Content-Length: 9"]) + b"x")
        try:
            aborted.append(await request.reader.read())
        except ConnectionError:
            aborted.append(b"")
    engine = make_engine(ENTRY, workers=1, options={"close": "gone"})
    server = web(wait_for_the_end)
    url = server.url
    with Consumer(engine.api_port, topics=["gone", "cut"]) as consumer:
        client = Lab(engine.port)
        client.send(f"~victim = conn local _, err = mix.http.request('GET', '{url}') local _, again = "
                    f"mix.http.request('GET', '{url}') mix.queue.push('cut', {{ err = err, again = again }})")
        wait_until(lambda: server.requests, what="the request")
        if how == "script":
            with Lab(engine.port) as other:
                assert other.lua("return victim:close()") == [None]
        else:
            getattr(client, how)()
        consumer.wait_events(1, "cut")
        consumer.wait_events(1, "gone")
        assert consumer.of("cut")[0].data == {"err": "closed", "again": "closed"}
        wait_until(lambda: aborted == [b""], what="the end of the transfer")
        client.drop()
    engine.wait_metric("mixengine_http_requests", 0)
    assert engine.metric("mixengine_http_errors_total") == 1


# ---- many at once, and the end

class Gate:
    """A handler that answers nobody before it is told to."""

    def __init__(self):
        self.waiting, self.open = 0, None

    async def __call__(self, request):
        self.open = self.open or asyncio.Event()
        self.waiting += 1
        await self.open.wait()
        return answer(request.target)


def crowd(engine, count):
    return [Lab(engine.port) for _ in range(count)]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_thousand_under_way_at_once(make_engine, web, host):
    count = times(1000)
    engine = make_engine(ENTRY, workers=1)
    gate = Gate()
    server = web(gate)
    clients = crowd(engine, count)
    for i, client in enumerate(clients):
        client.send("=" + code("GET", f"http://{host}:{server.port}/{i}", {"timeout": 60}))
    wait_until(lambda: gate.waiting == count, 30, "all of them under way")
    engine.wait_metric("mixengine_http_requests", count)
    server.call(gate.open.set)
    for i, client in enumerate(clients):
        assert response(values(client.text())).body == f"/{i}".encode()
    engine.wait_metric("mixengine_http_requests", 0)
    for client in clients:
        client.drop()


FLOOD = """
local url, count = %s, %d
mix.timer(0, function() end)
done, full, failed = 0, 0, {}
for i = 1, count do
    mix.timer(0, function()
        local r, err = mix.http.request("GET", url .. i, { timeout = 600 })
        if r then done = done + 1
        elseif err:find("^too many requests: 1024 are under way and 4096 wait") then full = full + 1
        else failed[err] = (failed[err] or 0) + 1 end
    end)
end
"""


def test_more_than_may_wait(make_engine, web):
    """1,024 run, 4,096 wait for their turn, the others are told."""
    engine = make_engine(ENTRY, workers=1)
    gate = Gate()
    server = web(gate)
    with Lab(engine.port) as client:
        client.lua(FLOOD % (literal(server.url + "/"), 6000))
        wait_until(lambda: gate.waiting == 1024, 30)
        wait_until(lambda: client.lua("return full") == [6000 - 1024 - 4096], 10)
        assert gate.waiting == 1024 and server.connections == 1024
        assert engine.metric("mixengine_http_requests") == 1024 + 4096
        server.call(gate.open.set)
        wait_until(lambda: client.lua("return done") == [1024 + 4096], 30)
        assert client.lua("return full, next(failed)") == [6000 - 1024 - 4096, None]
        assert fetch(client, "GET", server.url).status == 200


def test_a_timeout_in_line(make_engine, web):
    engine = make_engine(ENTRY, workers=1)
    gate = Gate()
    server = web(gate)
    with Lab(engine.port) as client:
        client.lua(FLOOD % (literal(server.url + "/"), 1024))
        wait_until(lambda: gate.waiting == 1024, 30)
        with pytest.raises(Failed, match=r"^timeout \(0.2 s\) while waiting for other requests to end$"):
            fetch(client, "GET", server.url, timeout=0.2)
        server.call(gate.open.set)
        wait_until(lambda: client.lua("return done") == [1024], 30)


def test_who_is_in_line_runs_when_others_give_up(make_engine, web):
    async def last_only(request):
        return answer("at last") if request.target == "/last" else await never(request)
    engine = make_engine(ENTRY, workers=1)
    server = web(last_only)
    with Lab(engine.port) as client:
        client.lua((FLOOD % (literal(server.url + "/"), 1024)).replace("timeout = 600", f"timeout = {seconds(3)}"))
        engine.wait_metric("mixengine_http_requests", 1024)
        assert fetch(client, "GET", server.url + "/last").body == b"at last"
        assert client.lua("return done") == [0]


def test_stop_while_requests_wait(make_engine, web):
    count = times(200)
    engine = make_engine(ENTRY)
    gate = Gate()
    server = web(gate)
    clients = crowd(engine, count)
    for client in clients:
        client.send("=" + code("GET", server.url, {"timeout": 600}))
    with Lab(engine.port) as client:
        client.lua(f"mix.timer(0, function() fetch('GET', '{server.url}', {{ timeout = 600 }}) end)")
    wait_until(lambda: gate.waiting == count + 1, 20)
    engine.stop()
    for client in clients:
        client.drop()


def test_stop_while_on_close_waits(make_engine, web):
    """stopTimeout ends it, with what still waits in line and what runs."""
    engine = make_engine(ENTRY + """
        function on_close(err, conn) mix.http.request("GET", mix.server.option("url"), { timeout = 600 }) end""",
        options={"url": web(never).url}, engine={"stopTimeout": 1})
    clients = crowd(engine, 20)
    engine.stop()
    for client in clients:
        client.drop()


# ---- names

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* NAME.slow is 127.0.0.1, but not before the file $NAMES is there. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    real = dlsym(RTLD_NEXT, "getaddrinfo");
    size_t len = name ? strlen(name) : 0;
    if (len < 5 || strcmp(name + len - 5, ".slow") != 0)
        return real(name, service, hints, out);
    while (access(getenv("NAMES"), F_OK) != 0)
        usleep(10000);
    return real("127.0.0.1", service, hints, out);
}
"""


@pytest.fixture
def slow_names(make_engine, tmp_path):
    """An engine whose look-ups of NAME.slow wait until the returned file is there."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    source, library, names = tmp_path / "shim.c", tmp_path / "shim.so", tmp_path / "names"
    source.write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    # A sanitizer's runtime must come first.
    linked = subprocess.run(["ldd", binary()], check=True, capture_output=True, text=True).stdout
    first = re.findall(r"=> (\S*lib[at]san\S*)", linked)
    engine = make_engine(ENTRY, workers=1, env={"LD_PRELOAD": " ".join([*first, str(library)]), "NAMES": str(names)})
    yield engine, names
    names.touch()


def threads(engine):
    return len(os.listdir(f"/proc/{engine.process.pid}/task"))


def test_a_slow_look_up_holds_up_nobody(slow_names, web):
    engine, names = slow_names
    server = web()
    with Lab(engine.port) as client, Lab(engine.port) as leaver:
        leaver.send(f"=return fetch('GET', 'http://left.slow:{server.port}')")
        engine.wait_metric("mixengine_http_requests", 1)
        leaver.reset()
        engine.wait_metric("mixengine_http_requests", 0)
        with pytest.raises(Failed, match=r"^timeout \(0.3 s\) while looking up the host's name$"):
            fetch(client, "GET", f"http://any.slow:{server.port}/", timeout=0.3)
        assert fetch(client, "GET", server.url).status == 200
        names.touch()
        assert fetch(client, "GET", f"http://other.slow:{server.port}/").status == 200


def test_look_ups_are_bounded(slow_names, web):
    engine, names = slow_names
    server, count = web(), 200
    with Lab(engine.port) as client:
        before = threads(engine)
        client.lua(FLOOD % (f"'http://name' .. math.random(1e9) .. '.slow:{server.port}/'", count))
        engine.wait_metric("mixengine_http_requests", count)
        wait_until(lambda: threads(engine) == before + 32)
        assert fetch(client, "GET", server.url).status == 200  # an address needs none
        assert threads(engine) == before + 32
        names.touch()
        wait_until(lambda: client.lua("return done") == [count], 20)
        assert client.lua("return full, next(failed)") == [0, None]


def test_look_ups_that_were_given_up_keep_their_places(slow_names):
    """Their threads cannot be stopped: names that nobody answers for do not add up to more and more of them."""
    engine, names = slow_names
    with Lab(engine.port) as client:
        before = threads(engine)
        gave_up = """
            local errs, left = {}, 40
            for i = 1, left do
                mix.timer(0, function()
                    local _, err = mix.http.request('GET', 'http://name' .. i .. '.slow/', { timeout = 0.2 })
                    errs[err] = (errs[err] or 0) + 1
                    left = left - 1
                end)
            end
            while left > 0 do mix.sleep(0.05) end
            return errs"""
        assert client.lua(gave_up) == [{"timeout (0.2 s) while looking up the host's name": 32,
                                        "timeout (0.2 s) while waiting for other requests to end": 8}]
        assert client.lua(gave_up) == [{"timeout (0.2 s) while waiting for other requests to end": 40}]
        assert threads(engine) == before + 32


def test_stop_while_a_name_is_looked_up(slow_names):
    engine, names = slow_names
    with Lab(engine.port) as client:
        client.send("=return fetch('GET', 'http://any.slow/')")
        engine.wait_metric("mixengine_http_requests", 1)
        engine.stop()


# ---- TLS

def certificate(folder, name):
    """A key and a certificate that signs itself."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
                    "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_a_certificate_that_nobody_trusts(client, web, tmp_path):
    server = web(ssl=certificate(tmp_path, "localhost"))
    with pytest.raises(Failed, match="^the server's certificate is not accepted: .*self.signed certificate"):
        fetch(client, "GET", f"https://localhost:{server.port}/")
    assert not server.requests


def test_a_certificate_that_is_trusted(make_engine, web, tmp_path):
    server = web(ssl=certificate(tmp_path, "localhost"))
    engine = make_engine(ENTRY, env={"SSL_CERT_FILE": str(tmp_path / "cert.pem")})
    url = f"https://localhost:{server.port}/"
    with Lab(engine.port) as client:
        for _ in range(3):
            got = fetch(client, "POST", url, body="x" * 100000)
            assert (got.status, got.url) == (200, url) and json.loads(got.body)["body"] == "x" * 100000
        with pytest.raises(Failed, match="^the server's certificate is not accepted: "):
            fetch(client, "GET", f"https://127.0.0.1:{server.port}/")
        assert fetch(client, "GET", web(by_path(x=redirect(url))).url + "/x", **SECRETS).url == url
    assert server.connections <= 5


def test_tls_to_a_server_without(client):
    with socket.create_server(("127.0.0.1", 0)) as server:
        def refuse():
            with server.accept()[0] as peer:
                peer.sendall(answer("plain text only", 400))
                peer.recv(65536)
        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(Failed, match="^TLS failed: "):
            fetch(client, "GET", f"https://127.0.0.1:{server.getsockname()[1]}/")
        thread.join()


# ---- the documentation

def test_the_example_of_the_documentation(make_engine, web):
    async def login(request):
        assert (request.method, request.header("Content-Type")) == ("POST", "application/json")
        return answer('{"uid":42}') if json.loads(request.body) == {"token": "let me in"} else answer(status=403)
    section = (ROOT / "docs" / "scripts.md").read_text().partition("\n### HTTP\n")[2]
    engine = make_engine("""
        local websocket = require("protocols/websocket")
        function protocol_input(buf, conn) return websocket.input(buf, conn, "/") end
        function protocol_decode(str, conn) return websocket.decode(conn) end
        """ + re.search(r"```lua\n(.*?)```", section, re.S)[1] + """
        local example = on_message
        function on_message(msg, conn)
            example(msg, conn)
            websocket.send_text(conn, tostring(conn:context_value("uid")))
        end""", options={"login_url": web(login).url + "/login"})
    with lab.wsclient.Client(engine.port) as client:
        client.handshake("/")
        assert client.ask("who knows") == "nil"
        assert client.ask("let me in") == "42"


# ---- two workers

def test_each_worker_has_connections_of_its_own(shared, web):
    server = web()
    for client in on_two_workers(shared.port):
        with client:
            for _ in range(3):
                assert fetch(client, "GET", server.url).status == 200
    assert server.connections == 2
