"""permessage-deflate (RFC 7692) of the built-in WebSocket protocol: two independent clients in every mode that
can be negotiated, and raw frames with Python's zlib as the other side."""

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import time
import zlib

import pytest
import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

import kinds
from consumer import Api, send_params
from harness import FIXTURES, HERE, SLOW, seconds, times
from wsclient import (BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Client, Closed, connect, frame)

APP = FIXTURES / "deflate_app.lua"
PMD = "permessage-deflate"
SNC, CNC = "; server_no_context_takeover", "; client_no_context_takeover"
SWB, CWB = "; server_max_window_bits", "; client_max_window_bits"
RSV1 = 4
KIB = 1 << 10
MIB = 1 << 20
PROMPT = 0.5 * 4  # generous, so that a busy machine fails nothing
TAIL = b"\x00\x00\xff\xff"
WORDS = "the quick brown fox jumps over the lazy dog; " * 30


def make(make_engine, compression, **server):
    return kinds.make(make_engine, "websocket", APP,
                      server={"compression": compression, "maxBacklog": 64 * MIB, **server})


@pytest.fixture(scope="module", params=[False, True], ids=["fresh", "kept"])
def takeover(request):
    return request.param


@pytest.fixture(scope="module")
def engine(make_shared, takeover):
    return make(make_shared, {"threshold": 0, "contextTakeover": takeover}, maxMessageSize=2 * MIB)


@pytest.fixture(scope="module")
def fresh(make_shared):
    """With the defaults: no context."""
    return make(make_shared, True, maxMessageSize=64 * KIB)


@pytest.fixture(scope="module")
def kept(make_shared):
    return make(make_shared, {"contextTakeover": True}, maxMessageSize=64 * KIB)


# ---- two clients that others wrote

def modes(client_bits):
    """Every mix of what a client may offer."""
    return itertools.product([False, True], [False, True], [None, 9, 12, 15], client_bits)


SIZES = [0, 1, 125, 300, 20000, 300, 70000]


def assert_agreed(extensions, takeover, mode):
    """What the client was told is what it asked for and this server does."""
    server_fresh, client_fresh, server_bits, client_bits = mode
    said = {name: value for name, _, value in
            (param.strip().partition("=") for param in extensions.split(";"))}
    assert PMD in said, (extensions, mode)
    assert ("server_no_context_takeover" in said) == (server_fresh or not takeover), (extensions, mode)
    assert ("client_no_context_takeover" in said) == (client_fresh or not takeover), (extensions, mode)
    assert ("server_max_window_bits" in said) == bool(server_bits), (extensions, mode)
    assert int(said.get("server_max_window_bits") or 9) <= (server_bits or 15), (extensions, mode)
    assert "client_max_window_bits" not in said or client_bits, (extensions, mode)


async def play_python(port, mode):
    server_fresh, client_fresh, server_bits, client_bits = mode
    factory = ClientPerMessageDeflateFactory(
        server_no_context_takeover=server_fresh, client_no_context_takeover=client_fresh,
        server_max_window_bits=server_bits, client_max_window_bits=client_bits)
    async with websockets.connect(f"ws://127.0.0.1:{port}/chat", compression=None, extensions=[factory],
                                  max_size=None, open_timeout=seconds(10)) as client:
        for size in SIZES:
            text = (WORDS * (size // len(WORDS) + 1))[:size]
            for message in [text, os.urandom(size), text, text.encode()]:
                await client.send(message)
                assert await asyncio.wait_for(client.recv(), seconds(20)) == message, (mode, size)
            await asyncio.wait_for(await client.ping(), seconds(10))
        return client.response_headers["Sec-WebSocket-Extensions"]


@pytest.mark.timeout(seconds(120))
def test_python_websockets_in_every_mode(engine, takeover):
    async def play():
        for mode in modes([None, True, 9, 15]):
            assert_agreed(await play_python(engine.port, mode), takeover, mode)
    asyncio.run(play())


def node_options(mode):
    server_fresh, client_fresh, server_bits, client_bits = mode
    # false would mean that it refuses an answer which names it
    return {"serverNoContextTakeover": server_fresh or None, "clientNoContextTakeover": client_fresh or None,
            "threshold": 0, "serverMaxWindowBits": server_bits or False, "clientMaxWindowBits": client_bits or False}


@pytest.mark.timeout(seconds(120))
def test_npm_ws_in_every_mode(engine, takeover):
    """Debian's node-ws. It must be there: a test that is left out shows nothing."""
    node = shutil.which("node") or shutil.which("nodejs")
    assert node and os.path.isdir("/usr/share/nodejs/ws"), \
        "the npm package ws is needed: apt-get install nodejs node-ws"
    chosen = list(modes([None, True, 9, 15]))
    words = [json.dumps(value) for value in (engine.port, [node_options(m) for m in chosen], SIZES)]
    done = subprocess.run([node, str(HERE / "ws_client.js"), *words], capture_output=True, text=True,
                          timeout=seconds(110), env={**os.environ, "NODE_PATH": "/usr/share/nodejs"})
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(chosen)
    for mode, result in zip(chosen, results):
        assert result == {"extensions": PMD, "right": 4 * len(SIZES), "code": 1000}, (mode, result)


def test_messages_are_compressed(engine):
    """The two tests before would also pass if they were not."""
    with offer(engine, PMD) as client:
        client.raw(frame(TEXT, WORDS))
        got = client.recv()
        assert got.rsv == RSV1 and len(got.payload) < len(WORDS) / 5


# ---- raw frames

def offer(engine, *offers):
    return connect(engine.port, headers=[f"Sec-WebSocket-Extensions: {value}" for value in offers])


class Deflate:
    """The other side: its contexts are kept, or made anew for each message."""

    def __init__(self, keeps, bits=15):
        self.keeps, self.bits = keeps, bits
        self.out, self.into = self.packer(), self.unpacker()

    def packer(self):
        return zlib.compressobj(6, zlib.DEFLATED, -15)

    def unpacker(self):
        return zlib.decompressobj(-self.bits)

    def pack(self, data):
        if not self.keeps:
            self.out = self.packer()
        packed = self.out.compress(data) + self.out.flush(zlib.Z_SYNC_FLUSH)
        assert packed.endswith(TAIL)
        return packed[:-4]

    def unpack(self, data):
        """In small pieces, so that zlib forgets what is beyond the window."""
        if not self.keeps:
            self.into = self.unpacker()
        found, rest = [], data + TAIL
        while rest:
            found.append(self.into.decompress(rest, 100))
            rest = self.into.unconsumed_tail
        return b"".join(found)


def packed_frame(payload, opcode=TEXT, **fields):
    return frame(opcode, payload, rsv=RSV1, **fields)


def ends(client, code, before=()):
    """The server closes promptly: the messages `before`, a close frame with the code, the end."""
    begin = time.monotonic()
    frames, _ = client.end()
    assert [f.opcode for f in frames] == [TEXT] * len(before) + [CLOSE], frames
    assert frames[-1].code == code, frames[-1]
    assert time.monotonic() - begin < seconds(PROMPT)


def feed(client, data):
    """What the server no longer takes is no error: it may have closed already."""
    try:
        client.raw(data)
    except Closed:
        pass


def alive(client):
    client.send("alive")
    assert client.text() == "alive"


NEGOTIATIONS = [
    # what is offered, the answer without and with contexts
    ([PMD], PMD + SNC + CNC, PMD),
    ([f"{PMD}{CWB}"], PMD + SNC + CNC, PMD + CWB + "=12"),
    ([f"{PMD}{SNC}{CNC}{SWB}=10{CWB}=11"], *[PMD + SNC + CNC + SWB + "=10" + CWB + "=11"] * 2),
    ([f'{PMD}{SWB}="9"'], PMD + SNC + CNC + SWB + "=9", PMD + SWB + "=9"),
    ([f"{PMD}{SWB}=8, {PMD}; what, x-other; a=b, {PMD}{CNC}"], PMD + SNC + CNC, PMD + CNC),
    (["x-other", f"{PMD}{SWB}=16", f"{PMD}{SNC}"], PMD + SNC + CNC, PMD + SNC),
    ([f"{PMD}{SWB}=8"], None, None),
    ([f"{PMD}{SNC}{SNC}"], None, None),
    ([f"{PMD}; what=1"], None, None),
    (["x-webkit-deflate-frame"], None, None),
    ([], None, None),
]


@pytest.mark.parametrize("offers, without, with_context", NEGOTIATIONS)
def test_first_acceptable_offer_or_none(engine, takeover, offers, without, with_context):
    with offer(engine, *offers) as client:
        want = with_context if takeover else without
        assert client.answer.headers.get("sec-websocket-extensions") == want
        client.raw(packed_frame(Deflate(False).pack(WORDS.encode())))
        if want is None:
            ends(client, 1002)
        else:
            assert client.recv().rsv == RSV1


@pytest.mark.parametrize("value", [f"{PMD};", f"{PMD} x", f'{PMD}{SWB}="9', f"{PMD}{SWB}=", "@"])
def test_malformed_offer_is_refused(engine, value):
    with Client(engine.port) as client:
        client.handshake(headers=[f"Sec-WebSocket-Extensions: {value}"], check=False)
        assert client.answer.status == 400
        assert b"Sec-WebSocket-Extensions" in client.answer.body


def test_off_by_default(make_engine):
    engine = kinds.make(make_engine, "websocket", APP)
    with offer(engine, PMD + CWB) as client:
        assert "sec-websocket-extensions" not in client.answer.headers
        alive(client)
        client.raw(packed_frame(b"\0"))
        ends(client, 1002)


def test_context_takeover_on_both_sides(kept):
    deflate = Deflate(True, bits=12)
    message = os.urandom(1500)
    with offer(kept, PMD + CWB) as client:
        lengths = []
        for _ in range(5):
            client.raw(packed_frame(deflate.pack(message), BINARY))
            got = client.recv()
            assert (got.opcode, got.rsv, deflate.unpack(got.payload)) == (BINARY, RSV1, message)
            lengths.append(len(got.payload))
            alive(client)  # not compressed, and so no part of the context
        assert lengths[0] > 1400 and max(lengths[1:]) < 100, lengths


@pytest.mark.parametrize("params, ours, theirs", [(SNC, False, True), (CNC, True, False)])
def test_context_takeover_on_one_side(kept, params, ours, theirs):
    sender, receiver = Deflate(theirs), Deflate(ours, bits=12 if ours else 15)
    message = os.urandom(1000) + b"*" * 500
    with offer(kept, PMD + params) as client:
        lengths = []
        for _ in range(3):
            client.raw(packed_frame(sender.pack(message), BINARY))
            got = client.recv()
            assert receiver.unpack(got.payload) == message
            lengths.append(len(got.payload))
        assert (lengths[1] < 100) == ours, lengths


def test_no_context_takeover(fresh):
    deflate = Deflate(False)
    with offer(fresh, PMD) as client:
        packed = deflate.pack(WORDS.encode())
        for _ in range(3):
            client.raw(packed_frame(packed))
            assert deflate.unpack(client.recv().payload).decode() == WORDS
        # what refers to a message before it refers to nothing
        client.raw(packed_frame(b"\xf2\x00\x11\x00\x00"))
        ends(client, 1007)


@pytest.mark.parametrize("bits", range(9, 16))
def test_server_window_is_kept_to(engine, takeover, bits):
    deflate = Deflate(takeover, bits=min(bits, 12) if takeover else bits)
    message = os.urandom(300) * 20 + WORDS.encode() * 3 + os.urandom(9000) * 2
    with offer(engine, f"{PMD}{SWB}={bits}") as client:
        for _ in range(3):
            client.frame(BINARY, message)
            got = client.recv()
            assert got.rsv == RSV1 and deflate.unpack(got.payload) == message


@pytest.mark.parametrize("size, rsv", [(0, 0), (255, 0), (256, RSV1), (300, RSV1)])
def test_threshold(fresh, kept, size, rsv):
    for engine in (fresh, kept):
        with offer(engine, PMD) as client:
            client.send("a" * size)
            assert client.recv().rsv == rsv


def test_what_does_not_shrink_goes_out_as_it_is(fresh):
    with offer(fresh, PMD) as client:
        client.frame(BINARY, os.urandom(5000))
        assert client.recv().rsv == 0


def test_empty_messages(engine, takeover):
    deflate = Deflate(takeover)
    with offer(engine, PMD) as client:
        for payload in [b"\0", b"", b"\x02\x00", b"\0", b""]:  # zlib's, none at all, an empty fixed block
            client.raw(packed_frame(payload))
            got = client.recv()
            assert (got.opcode, got.payload if not got.rsv else deflate.unpack(got.payload)) == (TEXT, b"")
        client.raw(packed_frame(deflate.pack(WORDS.encode())))
        assert deflate.unpack(client.recv().payload).decode() == WORDS


@pytest.mark.parametrize("payload, text", [
    (b"\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello"),
    (b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello"),
    (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello"),
    (b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello"),
])
def test_samples_of_the_specification(fresh, payload, text):
    with offer(fresh, PMD) as client:
        client.raw(packed_frame(payload))
        assert client.text() == text
        client.chunks(packed_frame(payload), 1)
        assert client.text() == text


@pytest.mark.parametrize("step", [1, 7, 500])
def test_fragments_with_pings_between(engine, takeover, step):
    """RSV1 on the first frame only."""
    deflate = Deflate(takeover)
    with offer(engine, PMD) as client:
        for _ in range(2):
            packed = deflate.pack(WORDS.encode())
            parts = [packed[at:at + step] for at in range(0, len(packed), step)]
            for i, part in enumerate(parts):
                client.raw(frame(CONTINUATION if i else TEXT, part, rsv=0 if i else RSV1,
                                 fin=i == len(parts) - 1))
                if i < len(parts) - 1:
                    client.ping(b"%d" % i)
            assert deflate.unpack(client.recv().payload).decode() == WORDS


def test_byte_by_byte(fresh):
    deflate = Deflate(False)
    with offer(fresh, PMD) as client:
        for _ in range(3):
            client.chunks(packed_frame(deflate.pack(WORDS.encode())), 1)
            assert deflate.unpack(client.recv().payload).decode() == WORDS


def test_compressed_and_plain_messages_by_turns(engine, takeover):
    deflate = Deflate(takeover)
    with offer(engine, PMD) as client:
        for i in range(20):
            text = f"{i} {WORDS}".encode()
            client.raw(packed_frame(deflate.pack(text)) if i % 3 else frame(TEXT, text))
            got = client.recv()
            assert got.rsv == RSV1 and deflate.unpack(got.payload) == text


PACKED = b"\xf2\x48\xcd\xc9\xc9\x07\x00"  # Hello
BAD_BITS = {
    "RSV1 on a continuation": packed_frame(PACKED[:3], fin=False) + frame(CONTINUATION, PACKED[3:], rsv=4),
    "RSV1 on a continuation of a plain message": frame(TEXT, "a", fin=False) + frame(CONTINUATION, "b", rsv=4),
    "RSV1 on a ping": frame(PING, b"", rsv=4),
    "RSV1 on a pong": frame(PONG, b"", rsv=4),
    "RSV1 on a close": frame(CLOSE, b"\x03\xe8", rsv=4),
    "RSV2": frame(TEXT, "a", rsv=2),
    "RSV3": frame(TEXT, "a", rsv=1),
    "RSV1 and RSV2": frame(TEXT, PACKED, rsv=6),
    "RSV1 and RSV3": frame(BINARY, PACKED, rsv=5),
    "a compressed message inside another": packed_frame(PACKED[:3], fin=False) + packed_frame(PACKED),
    "a reserved opcode": frame(3, PACKED, rsv=4),
}


@pytest.mark.parametrize("data", BAD_BITS.values(), ids=BAD_BITS)
def test_reserved_bits_fail_1002(fresh, data):
    with offer(fresh, PMD) as client:
        client.raw(frame(TEXT, "before") + data)
        ends(client, 1002, ["before"])


def stored(text, length):
    """The start of a block that holds its bytes as they are."""
    return b"\0" + length.to_bytes(2, "little") + (length ^ 0xFFFF).to_bytes(2, "little") + text


@pytest.mark.parametrize("text", [b"\xff", b"good \xc3\x28", b"\xed\xa0", b"\xf4\x90", b"a\xc0"])
def test_bad_utf8_fails_1007_as_soon_as_it_is_there(fresh, text):
    """Inside a frame that is not whole yet."""
    with offer(fresh, PMD) as client:
        client.raw(packed_frame(stored(text, 1000), length=1005))
        ends(client, 1007)


def test_utf8_cut_off_fails_1007(fresh):
    with offer(fresh, PMD) as client:
        client.raw(packed_frame(Deflate(False).pack(b"ab\xe2\x82")))
        ends(client, 1007)


def test_binary_is_not_text(fresh):
    with offer(fresh, PMD) as client:
        client.raw(packed_frame(Deflate(False).pack(b"\xff\xfe"), BINARY))
        assert client.recv().payload == b"\xff\xfe"


@pytest.mark.parametrize("payload", [b"\x06", b"\x07", b"\xf2\x48\xcd", b"\0\5\0\xfb\xffx", PACKED + TAIL,
                                     PACKED + b"\0", b"\xff" * 100])
def test_data_that_is_not_deflate_fails_1007(engine, payload):
    with offer(engine, PMD) as client:
        client.raw(frame(TEXT, "before"))
        assert client.recv().opcode == TEXT
        client.raw(packed_frame(payload, BINARY))
        ends(client, 1007)


# ---- sizes

def test_limit_counts_what_is_inflated(fresh):
    limit = 64 * KIB
    deflate = Deflate(False)
    with offer(fresh, PMD) as client:
        for data in [b"a" * limit, os.urandom(limit)]:
            client.raw(packed_frame(deflate.pack(data), BINARY))
            got = client.recv()
            assert (deflate.unpack(got.payload) if got.rsv else got.payload) == data
        client.raw(packed_frame(deflate.pack(b"a" * (limit + 1))))
        ends(client, 1009)


def test_length_far_above_the_limit_fails_at_once(fresh):
    with offer(fresh, PMD) as client:
        client.raw(packed_frame(b"", length=128 * KIB))
        ends(client, 1009)


@pytest.mark.parametrize("fragment", [None, 1000])
def test_bomb_ends_with_1009_and_bounded_memory(make_engine, takeover, fragment):
    engine = make(make_engine, {"contextTakeover": takeover}, maxMessageSize=MIB)
    packed = Deflate(False).pack(bytes(256 * MIB if not SLOW else 32 * MIB))
    step = fragment or len(packed)
    parts = [packed[at:at + step] for at in range(0, len(packed), step)]
    data = b"".join(frame(CONTINUATION if i else BINARY, part, rsv=0 if i else RSV1, fin=i == len(parts) - 1)
                    for i, part in enumerate(parts))
    with offer(engine, PMD) as client:
        alive(client)
        before = engine.peak()
        clients = [offer(engine, PMD) for _ in range(8)]
        for bomber in clients:
            feed(bomber, data)
        for bomber in clients:
            ends(bomber, 1009)
            bomber.drop()
        if not SLOW:
            assert engine.peak() - before < 24 * MIB
        alive(client)


def test_blocks_of_nothing_come_to_an_end(fresh):
    """They hold no byte that would count against the limit."""
    with offer(fresh, PMD) as client:
        client.raw(packed_frame(b"", fin=False))
        for _ in range(10):
            feed(client, frame(CONTINUATION, b"\0\0\0\xff\xff" * 2000, fin=False))
        ends(client, 1009)


@pytest.mark.skipif(SLOW, reason="a sanitizer's own memory is in the figure")
def test_silent_connections_without_a_context_keep_nothing(fresh):
    """Each has sent and got a compressed message."""
    deflate, count = Deflate(False), 1000
    packed = packed_frame(deflate.pack(WORDS.encode()))

    def use():
        client = offer(fresh, PMD)
        client.raw(packed)
        assert client.recv().rsv == RSV1
        return client
    clients = [use() for _ in range(50)]
    before = fresh.peak()
    clients += [use() for _ in range(count)]
    each = (fresh.peak() - before) / count
    for client in clients:
        client.drop()
    assert each < 8 * KIB, each


# ---- publishing

def subscribe(client, channel):
    client.send(f"sub {channel}")
    assert client.text() == "subscribed"


OFFERS = [None, PMD, PMD + SWB + "=9", PMD + SWB + "=12", PMD, None, PMD + SNC, PMD + CWB]


@pytest.mark.parametrize("size", [100, 5000])
def test_publish_reaches_every_kind_of_subscriber(fresh, kept, size):
    """Those that keep no context and have the same window get the same bytes; the others have contexts in
    which the same text stands at different places."""
    for engine in (fresh, kept):
        channel = f"c{size}"
        clients = [offer(engine, *([value] if value else [])) for value in OFFERS]
        sides = [Deflate(engine is kept and value != PMD + SNC, 9 if value and "=9" in value else
                         12 if value and "=12" in value else 15) for value in OFFERS]
        text = (f"to {channel}: hello, world! " * size)[:size].encode()
        for i, (client, side) in enumerate(zip(clients, sides)):
            first = text[:1000] + os.urandom(150 * i).hex().encode()
            client.raw(frame(TEXT, first))
            got = client.recv()
            assert (side.unpack(got.payload) if got.rsv else got.payload) == first
            subscribe(client, channel)
        with connect(engine.port) as sender:
            frames = {}
            for _ in range(3):
                sender.send(f"pub {channel} {size}")
                assert sender.text() == f"delivered {len(clients)}"
                for client, value, side in zip(clients, OFFERS, sides):
                    got = client.recv()
                    assert got.rsv == (RSV1 if value and size > 256 else 0)
                    assert (side.unpack(got.payload) if got.rsv else got.payload) == text
                    frames.setdefault(value, set()).add(got.payload)
        assert engine is kept or all(len(same) == 1 for same in frames.values())
        for client in clients:
            client.drop()


def test_many_messages_in_order_with_a_context(kept):
    """Echoes, publishes and what a consumer sends, by turns: each is packed where it is queued."""
    deflate = Deflate(True, bits=12)
    count = times(300)
    with offer(kept, PMD + CWB) as client, connect(kept.port) as sender, Api(kept.api_port) as api:
        client_id = int(client.ask("id me"))
        subscribe(client, "mine")
        for i in range(count):
            client.send(f"{i} {WORDS}")
            sender.send("pub mine 1000")
            api.post("mesh.send", send_params("A", client_id, f"sent {i} {WORDS}"))
        for i in range(count):
            assert sender.text() == "delivered 1"
            assert api.message().error is None
        got = [client.recv() for _ in range(3 * count)]
        assert all(f.rsv == RSV1 for f in got)
        texts = [deflate.unpack(f.payload).decode() for f in got]
        assert [t for t in texts if t[0].isdigit()] == [f"{i} {WORDS}" for i in range(count)]
        assert [t for t in texts if t.startswith("sent")] == [f"sent {i} {WORDS}" for i in range(count)]
        assert sum(t.startswith("to mine: hello") for t in texts) == count
