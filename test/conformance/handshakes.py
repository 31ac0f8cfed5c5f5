"""Cases of the opening handshake: RFC 6455, sections 4.2.1 and 4.2.2, and of the HTTP/1.1 that it stands in (RFC 9110,
9112)."""

import base64
import hashlib
import random

from cases import bytes_of, chops, well
from peer import KEY, TEXT, Answer, Case, Chunks, Refused, Shaken, masked

LINE = "GET {path} HTTP/1.1\r\n"
FIELDS = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": KEY,
          "Sec-WebSocket-Version": "13"}
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TCHAR = set(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
HEAD_MAX = 16 * 1024  # of the servers (docs/configuration.md)
FIELDS_MAX = 100


def head(server, line=LINE, more=b"", **changed):
    """A request; `changed`: fields by their lower-case names with `_`, of which None is left out and a list repeated."""
    out = (line.format(path=server.path) if isinstance(line, str) else line)
    out = out.encode("latin-1") if isinstance(out, str) else out
    for name, value in FIELDS.items():
        values = changed.get(name.lower().replace("-", "_"), value)
        for one in values if isinstance(values, list) else [values]:
            if one is not None:
                out += f"{name}: {one}\r\n".encode("latin-1")
    return out + more + b"\r\n"


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest())


def good(name, data, accept=accept_of(KEY)):
    return Case(f"handshake/{name}", [data, Shaken(accept), masked(TEXT, b"x"), Answer(TEXT, b"x")] + well(), shake=False)


def bad(name, data, *statuses, headers=()):
    """What follows a request that is refused is not read as another."""
    return Case(f"handshake/{name}", [data, Refused(*statuses, headers=headers)], shake=False)


VERSION_13 = [("sec-websocket-version", "13")]


def lines(server):
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "get", "Get", "GETS", "GE", "X"):
        yield bad(f"method {method}", head(server, f"{method} {{path}} HTTP/1.1\r\n"), 405, 400, headers=[])
    for version in ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "HTTP/3.0"):
        yield bad(f"version {version}", head(server, f"GET {{path}} {version}\r\n"), 400, 426, 505)
    for version in ("http/1.1", "HTTP/1", "HTTP/1.", "HTTP/11", "HTTP/1.10", "HTTP 1.1", "HTTPS/1.1", "", "HTTP/1.1 ", " HTTP/1.1"):
        yield bad(f"version {version!r}", head(server, f"GET {{path}} {version}\r\n"), 400)
    for line in ("GET {path}\r\n", "GET\r\n", "\r\n", " GET {path} HTTP/1.1\r\n", "GET  {path} HTTP/1.1\r\n", "GET\t{path} HTTP/1.1\r\n",
                 "GET {path}\tHTTP/1.1\r\n", "GET {path} HTTP/1.1\n", "GET {path} HTTP/1.1\r\r\n", "GET {path} x HTTP/1.1\r\n"):
        yield bad(f"line {line!r}", head(server, line), 400)
    for path in ("/other", "/", "/Chat", "/cha", "//chat", "/%63hat", "/x/chat", "/?/chat"):
        yield bad(f"path {path}", head(server, f"GET {path} HTTP/1.1\r\n"), 404)
    for path in ("*", "chat", "?x", "localhost:80", "ftp://localhost/chat", "http://", "http:///chat"):
        yield bad(f"target {path}", head(server, f"GET {path} HTTP/1.1\r\n"), 400, 404)
    for path in ("{path}?", "{path}?x=1&y=%20", "{path}?" + "a" * 4000, "http://localhost{path}", "ws://localhost:80{path}", "HTTP://localhost{path}"):
        yield good(f"target {path[:40]}", head(server, f"GET {path} HTTP/1.1\r\n"))
    for byte in [*range(0x21), 0x7F]:
        data = b"GET " + server.path.encode() + b"?a" + bytes([byte]) + b"b HTTP/1.1\r\n"
        yield bad(f"target with byte {byte:02x}", head(server, data), 400)
        if byte not in (0x20,):
            yield bad(f"method with byte {byte:02x}", head(server, b"G" + bytes([byte]) + b"T " + server.path.encode() + b" HTTP/1.1\r\n"), 400)


def fields(server):
    for byte in range(256):
        name = bytes([byte])
        if name not in b":\r\n":
            case = good if byte in TCHAR else bad
            yield case(f"name of the byte {byte:02x}", head(server, more=name + b"X: y\r\n"), *([] if case is good else [400]))
            yield case(f"name that ends in the byte {byte:02x}", head(server, more=b"X" + name + b": y\r\n"), *([] if case is good else [400]))
        if name not in b"\r\n":
            case = bad if (byte < 0x20 and byte != 9) or byte == 0x7F else good
            yield case(f"value with the byte {byte:02x}", head(server, more=b"X-A: y" + name + b"z\r\n"), *([] if case is good else [400]))
    for what, more in {"folded": b"X: a\r\n b\r\n", "folded with a tab": b"X: a\r\n\tb\r\n", "space before the colon": b"X : a\r\n",
                       "no colon": b"nonsense\r\n", "bare CR": b"X: a\rb\r\n", "bare LF": b"X: a\nY: b\r\n", "no name": b": a\r\n",
                       "a space first": b" X: a\r\n", "ends in CR CR LF": b"X: a\r\r\n"}.items():
        yield bad(what, head(server, more=more), 400)
    for what, more in {"no value": b"X:\r\n", "only blanks": b"X:  \t \r\n", "60 of them": b"".join(b"X-%d: y\r\n" % i for i in range(60)),
                       "no length": b"Content-Length: 0\r\n", "a cookie": b"Cookie: a=b; c=\"d\"\r\n", "an origin": b"Origin: http://localhost\r\n",
                       "subprotocols": b"Sec-WebSocket-Protocol: a, b\r\n", "an extension": b"Sec-WebSocket-Extensions: x-other; a=1\r\n"}.items():
        yield good(what, head(server, more=more))
    for what, more in {"a body": b"Content-Length: 5\r\n", "chunks": b"Transfer-Encoding: chunked\r\n", "both": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                       "two lengths": b"Content-Length: 0\r\nContent-Length: 5\r\n", "a length that is none": b"Content-Length: x\r\n",
                       "identity": b"Transfer-Encoding: identity\r\n", "chunks in capitals": b"TRANSFER-ENCODING: CHUNKED\r\n"}.items():
        yield bad(what, head(server, more=more) + (b"hello" if b"5" in more else b""), 400, 411, 413, 501)
    for host in ([], ["a", "a"], ["a", "b"], "", "a,b", "a/b", "a b", "a@b", "a?b", "a#b"):
        yield bad(f"Host {host!r}", head(server, host=host), 400)
    for host in ("localhost:6790", "[::1]:80", "127.0.0.1", "a-b.example.", "xn--bcher-kva.example"):
        yield good(f"Host {host}", head(server, host=host))
    base = len(head(server, more=b"X: \r\n"))
    yield good("a head of the limit", head(server, more=b"X: " + b"y" * (HEAD_MAX - base) + b"\r\n"))
    for beyond in (1, 2, 1000, 50000):
        yield bad(f"a head of the limit+{beyond}", head(server, more=b"X: " + b"y" * (HEAD_MAX - base + beyond) + b"\r\n"), 431)
    yield bad("a long target", head(server, "GET {path}?" + "y" * 40000 + " HTTP/1.1\r\n"), 400, 414, 431)
    yield bad("a head without an end, of the limit", head(server, more=b"X: " + b"y" * HEAD_MAX)[:HEAD_MAX], 431)
    yield bad("a head without an end", head(server, more=b"X: " + b"y" * 40000), 431)
    left = FIELDS_MAX - len(FIELDS)
    yield good("as many fields as may be", head(server, more=b"X: y\r\n" * left))
    for beyond in (1, 2, 1000):
        yield bad(f"fields, {beyond} too many", head(server, more=b"X: y\r\n" * (left + beyond)), 431)


def upgrades(server):
    for key in ("", "abc", KEY[:-1], KEY + "=", KEY[:-2], KEY.replace("=", "A"), "*" + KEY[1:], KEY[:10] + " " + KEY[11:], "A" * 24, "=" * 24, KEY[:-3] + "===",
                KEY + "," + KEY, "QUJD" * 10):
        yield bad(f"key {key!r}", head(server, sec_websocket_key=key), 400)
    yield bad("no key", head(server, sec_websocket_key=None), 400)
    yield bad("two keys", head(server, sec_websocket_key=[KEY, KEY]), 400)
    for at in range(21):
        yield bad(f"key with no digit at {at}", head(server, sec_websocket_key=KEY[:at] + "-" + KEY[at + 1:]), 400)
    rng = random.Random(6455)
    for i in range(64):  # each digit at least once
        key = base64.b64encode(bytes(rng.randrange(256) for _ in range(16))).decode()
        key = DIGITS[i] + key[1:]
        yield good(f"key {i}", head(server, sec_websocket_key=key), accept_of(key))
    yield good("key with blanks around", head(server, sec_websocket_key=f"  {KEY}\t"))
    for version in [*range(13), *range(14, 30), 99, 255, 256, 1300, "013", "13.0", "+13", "-13", "0x0d", "1 3", "13, 8", "8, 13", "", "thirteen", None]:
        case = f"version {version!r} of the protocol"
        yield bad(case, head(server, sec_websocket_version=version), 426, 400)
    for version in (0, 8, 12, 14, 255):
        yield bad(f"version {version} is told 13", head(server, sec_websocket_version=version), 426, headers=VERSION_13)
    yield bad("two versions", head(server, sec_websocket_version=["13", "8"]), 400, 426)
    for upgrade in (None, "", "h2c", "websockets", "web socket", "websocket-2", "\"websocket\"", "x websocket", "websocket x", "web,socket"):
        yield bad(f"Upgrade {upgrade!r}", head(server, upgrade=upgrade), 400, 426)
    for connection in (None, "", "close", "keep-alive", "upgraded", "\"Upgrade\"", "Upgrade keep-alive", "up,grade"):
        yield bad(f"Connection {connection!r}", head(server, connection=connection), 400, 426)
    for upgrade in ("WebSocket", "WEBSOCKET", "websocket,", ", websocket", "h2c, websocket", "foo,websocket,bar", ["h2c", "websocket"]):
        yield good(f"Upgrade {upgrade!r}", head(server, upgrade=upgrade))
    for connection in ("upgrade", "UPGRADE", "keep-alive, Upgrade", "Upgrade,keep-alive", " ,Upgrade , ", "a,b,\tupgrade", ["keep-alive", "Upgrade"]):
        yield good(f"Connection {connection!r}", head(server, connection=connection))


def names_in_other_cases(data, change):
    lines = data.split(b"\r\n")
    return b"\r\n".join([lines[0]] + [change(name) + colon + value for name, colon, value in (line.partition(b":") for line in lines[1:])])


def deliveries(server):
    data = head(server)
    for change in (bytes.lower, bytes.upper, bytes.swapcase):
        yield good(f"names in {change.__name__}", names_in_other_cases(data, change))
    yield good("no blanks", data.replace(b": ", b":"))
    yield good("many blanks", data.replace(b": ", b": \t  ").replace(b"\r\n", b" \t\r\n").replace(b" HTTP/1.1 \t\r\n", b" HTTP/1.1\r\n")[:-4] + b"\r\n")
    for cut in range(1, len(data)):
        yield Case(f"handshake/cut at {cut}", [Chunks(data, [cut, len(data)]), Shaken()] + well(), shake=False)
    yield Case("handshake/byte by byte", [Chunks(data), Shaken()] + well(), shake=False)
    for i in range(10):
        yield Case(f"handshake/chops {i}", [chops(data, i), Shaken()] + well(), shake=False)
    wrong = head(server, sec_websocket_version="8")
    yield Case("handshake/refused, byte by byte", [Chunks(wrong), Refused(400, 426)], shake=False)
    for name, data in {"TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "zeros": bytes(20), "noise": b"\x80" + bytes_of(100), "SSH": b"SSH-2.0-x\r\n",
                       "frames": masked(TEXT, b"hello") * 3, "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}.items():
        yield bad(f"{name} instead", data + b"\r\n\r\n", 400, 405, 505, 426, 404)
    # what follows in the same segment is not another request
    yield bad("refused, with a good one behind it", head(server, sec_websocket_version="8") + head(server), 400, 426)


def slow(server):
    """Where `handshakeTimeout` is a second."""
    data = head(server)
    for cut in (0, 1, 30, len(data) - 1):
        yield Case(f"handshake/slow/{cut} bytes", [data[:cut], Refused(408)], shake=False)


def handshakes(server):
    yield from lines(server)
    yield from fields(server)
    yield from upgrades(server)
    yield from deliveries(server)
