"""The folder `web` beside the entry script, as `engine dev` serves it on the engine API's port."""

import base64
import http.client
import os

import pytest

from harness import CHAT_ENTRY, seconds, wait_until

MIB = 1 << 20
FILES = {
    "web/index.html": "<!doctype html><title>here</title>",
    "web/app.js": "export {};",
    "web/style.css": "p {}",
    "web/icon.svg": "<svg/>",
    "web/data.json": "{}",
    "web/note.txt": "Grüße",
    "web/UPPER.HTML": "<p>",
    "web/with space.txt": "space",
    "web/other.bin": "x",
    "web/empty.txt": "",
    "web/deep/er/page.html": "deep",
    "web/full.txt": "x" * MIB,
    "web/large.txt": "x" * (MIB + 1),
    "web/.secret": "hidden",
    "web/.git/config": "hidden",
    "web/deep/.env": "hidden",
    "website/index.html": "beside",
    "secret.txt": "above",
}


@pytest.fixture
def engine(make_engine):
    return make_engine(CHAT_ENTRY, mode="dev", files=FILES)


@pytest.fixture(scope="module")
def unchanged(make_shared):
    return make_shared(CHAT_ENTRY, mode="dev", files=FILES)


def web(engine):
    return engine.folder / "lua" / "web"


def is_refused(answer, status=404):
    assert answer[0] == status
    assert answer[1]["Content-Type"] == "application/json"
    assert b'"E":{"c":%d' % status in answer[2]
    return True


@pytest.mark.parametrize("path, kind, name", [
    ("/", "text/html; charset=utf-8", "index.html"),
    ("/index.html", "text/html; charset=utf-8", "index.html"),
    ("/?server=ws://h:1/chat", "text/html; charset=utf-8", "index.html"),
    ("/app.js", "text/javascript; charset=utf-8", "app.js"),
    ("/style.css", "text/css; charset=utf-8", "style.css"),
    ("/icon.svg", "image/svg+xml", "icon.svg"),
    ("/data.json", "application/json", "data.json"),
    ("/note.txt", "text/plain; charset=utf-8", "note.txt"),
    ("/UPPER.HTML", "text/html; charset=utf-8", "UPPER.HTML"),
    ("/with%20space.txt", "text/plain; charset=utf-8", "with space.txt"),
    ("/other.bin", "application/octet-stream", "other.bin"),
    ("/empty.txt", "text/plain; charset=utf-8", "empty.txt"),
    ("/deep/er/page.html", "text/html; charset=utf-8", "deep/er/page.html"),
    ("/deep/../app.js", "text/javascript; charset=utf-8", "app.js"),
    ("/full.txt", "text/plain; charset=utf-8", "full.txt"),
])
def test_file(unchanged, path, kind, name):
    status, headers, body = unchanged.http("GET", path)
    assert (status, headers["Content-Type"]) == (200, kind)
    assert body == FILES[f"web/{name}"].encode()
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "connect-src 'self' ws: wss:" in policy
    assert "unsafe" not in policy and "*" not in policy
    assert unchanged.http("HEAD", path)[2] == b""
    assert unchanged.http("HEAD", path)[1]["Content-Length"] == str(len(body))


@pytest.mark.parametrize("path", [
    "/nothing", "/nothing/", "/deep", "/deep/", "/deep/er", "/index.html/", "/index.html/x", "/large.txt",
    "/.secret", "/%2esecret", "/.git/config", "/deep/.env", "/./.secret", "//.secret",
    "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/%2e%2e%2fsecret.txt",
    "/deep/../../secret.txt", "/deep/%2e%2e/%2e%2e/secret.txt", "/..\\secret.txt",
    "/../website/index.html", "/%2e%2e/entry.lua", "/index.html%00.txt",
    "/" + "a" * 300, "/" + "a/" * 2500,
])
def test_what_is_not_served(unchanged, path):
    # libwebsockets itself turns some of these down: 403, or it hangs up.
    try:
        status, _, body = unchanged.http("GET", path)
    except OSError:
        status, body = 404, b""
    assert status in (403, 404)
    assert b"hidden" not in body and b"above" not in body and b"beside" not in body
    assert unchanged.http("GET", "/app.js")[0] == 200


def test_links(engine):
    os.symlink("app.js", web(engine) / "inside.js")
    os.symlink(engine.folder / "lua" / "secret.txt", web(engine) / "out.txt")
    os.symlink("../secret.txt", web(engine) / "up.txt")
    os.symlink("..", web(engine) / "upper")
    os.symlink("../website", web(engine) / "site")
    os.symlink(".secret", web(engine) / "shown.txt")
    os.symlink("app.js", web(engine) / ".hidden.js")
    os.symlink("loop.txt", web(engine) / "loop.txt")
    assert engine.http("GET", "/inside.js")[2] == b"export {};"
    for path in ("/out.txt", "/up.txt", "/upper/secret.txt", "/site/index.html", "/shown.txt", "/.hidden.js", "/loop.txt"):
        assert is_refused(engine.http("GET", path)), path


def test_what_is_no_regular_file(engine):
    os.mkfifo(web(engine) / "pipe.txt")
    assert is_refused(engine.http("GET", "/pipe.txt"))


def test_methods(unchanged):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = unchanged.http(method, "/", headers={"Content-Length": "0"})
        assert is_refused(answer, 405)
        assert answer[1]["Allow"] == "GET, HEAD"
        assert is_refused(unchanged.http(method, "/nothing", headers={"Content-Length": "0"}))


def test_an_edit_shows(engine):
    (web(engine) / "app.js").write_text("changed")
    assert engine.http("GET", "/app.js")[2] == b"changed"
    (web(engine) / "app.js").unlink()
    assert is_refused(engine.http("GET", "/app.js"))


def test_the_api_goes_first(engine):
    (web(engine) / "metrics").write_text("mine")
    (web(engine) / "ws").mkdir()
    (web(engine) / "ws" / "v1").write_text("mine")
    assert b"mixengine_connections" in engine.http("GET", "/metrics")[2]
    assert engine.http("GET", "/ws/v1")[0] == 426
    assert is_refused(engine.http("GET", "/app.js", port=engine.center_port))


def test_a_link_as_the_folder(make_engine, tmp_path):
    (tmp_path / "index.html").write_text("linked")
    engine = make_engine(CHAT_ENTRY, mode="dev", start=False)
    os.symlink(tmp_path, web(engine))
    engine.start()
    assert engine.http("GET", "/")[2] == b"linked"


def test_the_address_is_logged(make_engine):
    engine = make_engine(CHAT_ENTRY, mode="dev", files=FILES, api={"bind": "0.0.0.0"})
    engine.wait_output(rf"page at http://127\.0\.0\.1:{engine.api_port}/\n")


@pytest.mark.parametrize("mode, files", [("single", FILES), ("dev", {}), ("dev", {"web": "a file"})])
def test_without_a_page(make_engine, mode, files):
    engine = make_engine(CHAT_ENTRY, mode=mode, files=files)
    assert is_refused(engine.http("GET", "/"))
    assert is_refused(engine.http("GET", "/index.html"))
    assert is_refused(engine.http("POST", "/", headers={"Content-Length": "0"}))
    assert "page at" not in engine.output()


def test_access(make_engine):
    users = [{"username": "r", "password": "p", "roles": ["read"], "host": "*"},
             {"username": "w", "password": "p", "roles": ["write"], "host": "*"}]
    engine = make_engine(CHAT_ENTRY, mode="dev", files=FILES, users=users)

    def status(name):
        basic = base64.b64encode(f"{name}:p".encode()).decode()
        return engine.http("GET", "/", headers={"Authorization": f"Basic {basic}"})[0]
    assert engine.http("GET", "/")[0] == 401
    assert [status("r"), status("w"), status("x")] == [200, 403, 401]


def test_a_large_file_is_whole_and_the_connection_goes_on(unchanged):
    connection = http.client.HTTPConnection("127.0.0.1", unchanged.api_port, timeout=seconds(10))
    for _ in range(3):
        for name in ("full.txt", "app.js", "empty.txt"):
            connection.request("GET", "/" + name)
            assert connection.getresponse().read() == FILES[f"web/{name}"].encode()
    connection.close()
    wait_until(lambda: unchanged.metric("mixengine_api_sockets") == 1, 10, "the sockets are closed")
