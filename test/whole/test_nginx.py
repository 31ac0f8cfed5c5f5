"""A real nginx in front of the engine, with the files of examples/nginx."""

import getpass
import grp
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

import lab
from harness import CHAT_ENTRY, ROOT, free_port, has_ipv6, seconds, wait_until
from lab import Lab
from marks import needs_ipv6
from wsclient import BINARY, CLOSE, Client

EXAMPLES = ROOT / "examples" / "nginx"
STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"

WHOLE = """
{load}
user {user} {group};
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 256; }}
{stream}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
}}
"""


def replace(text, old, new):
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in the example"
    return text.replace(old, new)


def listen(text, port, to):
    """Those lines of the example, on loopback."""
    text = replace(text, f"listen {port};", f"listen 127.0.0.1:{to};")
    return replace(text, f"listen [::]:{port};", f"listen [::1]:{to};" if has_ipv6() else "")


class Nginx:
    def __init__(self, folder, chat, tcp=None):
        self.folder, self.port, self.stream_port = folder, free_port(), free_port()
        http = listen((EXAMPLES / "mixengine.conf").read_text(), 80, self.port)
        http = replace(http, "server unix:/run/mixengine/chat.sock;", f"server {chat};")
        stream = ""
        if tcp:
            stream = listen((EXAMPLES / "stream.conf").read_text(), 6790, self.stream_port)
            stream = replace(stream, "proxy_pass unix:/run/mixengine/tcp.sock;", f"proxy_pass {tcp};")
        (folder / "nginx.conf").write_text(WHOLE.format(
            folder=folder, http=http, stream=stream, load=f"load_module {STREAM_MODULE};" if tcp else "",
            user=getpass.getuser(), group=grp.getgrgid(os.getgid()).gr_name))

    def start(self):
        program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
        assert program, "no nginx: install nginx-light"
        with open(self.folder / "output", "wb") as output:
            self.process = subprocess.Popen(
                [program, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"),
                 "-e", str(self.folder / "error.log")],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output)

        def listens():
            assert self.process.poll() is None, self.log()
            try:
                Client(self.port).drop()
                return True
            except OSError:
                return False
        wait_until(listens, what="nginx")
        return self

    def log(self):
        return "".join((self.folder / name).read_text(errors="replace")
                       for name in ("output", "error.log") if (self.folder / name).exists())

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(seconds(10)) == 0, self.log()


@pytest.fixture
def run_nginx(tmp_path):
    servers = []

    def run(*places, **more):
        servers.append(Nginx(tmp_path, *places, **more))
        return servers[-1].start()

    yield run
    for server in servers:
        server.stop()


@pytest.fixture
def behind(make_engine, run_nginx):
    """The lab behind both files, as the README has it: (engine, nginx)."""
    engine = make_engine(
        lab.ENTRY, server={"bind": "unix:chat.sock", "trustedProxies": ["unix"]},
        servers=[{"bind": "unix:tcp.sock", "trustedProxies": ["unix"], "proxyProtocol": True,
                  "entry": "lua/entry.lua"}])
    return engine, run_nginx(f"unix:{engine.folder}/chat.sock", tcp=f"unix:{engine.folder}/tcp.sock")


class ChatLab(Lab):
    """At the example's path."""

    def handshake(self, path="/chat", headers=(), **options):
        return super().handshake("/chat", headers, **options)


@pytest.mark.parametrize("bind", ["unix", "tcp"])
def test_the_chat_transcript(make_engine, run_nginx, run_chat, bind):
    server = {"bind": "unix:chat.sock", "trustedProxies": ["unix"]} if bind == "unix" else \
        {"trustedProxies": ["127.0.0.1"]}
    engine = make_engine(CHAT_ENTRY, server=server)
    nginx = run_nginx(f"unix:{engine.folder}/chat.sock" if bind == "unix" else f"127.0.0.1:{engine.port}")
    run_chat(engine)
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/chat/transcript.py"), f"ws://127.0.0.1:{nginx.port}/chat"],
        capture_output=True, text=True, timeout=seconds(30))
    assert done.returncode == 0 and "all as the document shows" in done.stdout, done.stdout + done.stderr


def test_the_clients_address(behind):
    """Not nginx's, and not what the client claims."""
    _, nginx = behind
    for headers in [], ["X-Forwarded-For: 192.0.2.99"], ["X-Forwarded-For: 192.0.2.99, 192.0.2.98"]:
        with Client(nginx.port, source="127.0.0.5") as client:
            client.handshake("/chat", headers)
            client.send("=return conn:remote_addr()")
            assert lab.values(client.text()) == ["127.0.0.5:0"]


@needs_ipv6
def test_the_clients_ipv6_address(behind):
    _, nginx = behind
    with ChatLab(("::1", nginx.port)) as client:
        assert client.lua("return conn:remote_addr()") == ["[::1]:0"]


def test_the_clients_address_through_a_stream(behind):
    _, nginx = behind
    with Lab(nginx.stream_port, source="127.0.0.5") as client:
        assert client.lua("return conn:remote_addr()") == ["127.0.0.5:%d" % client.sock.getsockname()[1]]


def test_big_frames(behind):
    _, nginx = behind
    for client in ChatLab(nginx.port), Lab(nginx.stream_port):
        for size in 125, 126, 65535, 65536, 1 << 20:
            text = "x" * size
            assert client.ask(text) == text
            data = os.urandom(size)
            client.frame(BINARY, data)
            assert client.recv_message().payload == data
        client.close()


def test_many_clients(behind):
    engine, nginx = behind
    clients = [ChatLab(nginx.port) for _ in range(50)]
    for number, client in enumerate(clients):
        client.send(f"I am {number}")
    for number, client in enumerate(clients):
        assert client.text() == f"I am {number}"
        client.close()
    engine.wait_metric("mixengine_connections", 0)


def test_the_client_closes(behind):
    engine, nginx = behind
    client = ChatLab(nginx.port)
    client.close(1000)
    ChatLab(nginx.port).drop()
    ChatLab(nginx.port).reset()
    engine.wait_metric("mixengine_connections", 0)


def test_the_server_closes(behind):
    _, nginx = behind
    client = ChatLab(nginx.port)
    client.send("~conn:close(4001, 'bye')")
    frames, closed = client.end()
    assert (frames[-1].opcode, frames[-1].code, frames[-1].payload[2:]) == (CLOSE, 4001, b"bye")
    assert not closed.reset


def test_the_engine_stops(behind):
    engine, nginx = behind
    clients = [ChatLab(nginx.port), Lab(nginx.stream_port)]
    engine.process.send_signal(signal.SIGTERM)
    for client in clients:
        frames, _ = client.end()
        assert (frames[-1].opcode, frames[-1].code) == (CLOSE, 1001)
    engine.stop()
    with Client(nginx.port) as client:
        assert client.handshake("/chat", check=False).answer.status == 502
    engine.start()
    with ChatLab(nginx.port) as client:
        assert client.ask("back") == "back"


def test_nginx_stops(behind):
    engine, nginx = behind
    clients = [ChatLab(nginx.port), Lab(nginx.stream_port)]
    nginx.stop()
    engine.wait_metric("mixengine_connections", 0)
    for client in clients:
        client.end()


def test_what_is_no_websocket(behind):
    """A page's request, and a wrong path: the engine's answer comes back through nginx."""
    _, nginx = behind
    with Client(nginx.port) as client:
        client.raw(b"GET /chat HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.http().status in (400, 426)
    with Client(nginx.port) as client:
        client.raw(b"GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.http().status == 404


def test_timeouts_are_beyond_the_pings():
    """Of the example, against the engine's defaults."""
    http, stream = ((EXAMPLES / name).read_text() for name in ("mixengine.conf", "stream.conf"))
    assert int(re.search(r"proxy_read_timeout (\d+)s;", http).group(1)) > 2 * 30
    assert int(re.search(r"proxy_timeout (\d+)s;", stream).group(1)) > 60
