"""Cases of permessage-deflate, RFC 7692. The other side is Python's zlib, used as the RFC says: what was agreed on is
read from the answer, checked against the offer, and kept to."""

import functools
import itertools
import zlib

from cases import MIB, bytes_of, chops, text_of, well
from peer import (BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Answer, Ask, Case, Chunks, Fail, Get, Refused, Shaken, Then, Wrong, masked,
                  no_extension, request, unmasked)

PMD = "permessage-deflate"
TAIL = b"\x00\x00\xff\xff"
RSV1 = 4
FLAGS = {"server_no_context_takeover", "client_no_context_takeover"}
BITS = {"server_max_window_bits", "client_max_window_bits"}
HELLO = bytes.fromhex("f248cdc9c90700")  # 7.2.3.1


# ---- the two sides

class Terms:
    """What the answer says."""

    def __init__(self, text):
        name, *params = [part.strip() for part in text.split(";")]
        self.said = {}
        for param in params:
            key, equals, value = param.partition("=")
            if key in self.said or (key in FLAGS and equals) or (key in BITS and not value) or key not in FLAGS | BITS:
                raise Wrong(f"answered {text!r}")
            if key in BITS and value not in [str(n) for n in range(8, 16)]:
                raise Wrong(f"answered {text!r}")
            self.said[key] = value
        if name != PMD:
            raise Wrong(f"answered {text!r}")
        self.server_keeps = "server_no_context_takeover" not in self.said
        self.client_keeps = "client_no_context_takeover" not in self.said
        self.server_bits = int(self.said.get("server_max_window_bits", 15))
        self.client_bits = int(self.said.get("client_max_window_bits", 15))


class Side:
    """The client's compressor and decompressor."""

    def __init__(self, terms, level=6):
        # zlib has no window of 8 bits: what is stored refers to nothing
        self.terms, self.level = terms, level if terms.client_bits > 8 else 0
        self.packer = self.unpacker = None

    def pack(self, data):
        if not self.packer or not self.terms.client_keeps:
            self.packer = zlib.compressobj(self.level, zlib.DEFLATED, -max(self.terms.client_bits, 9))
        out = self.packer.compress(data) + self.packer.flush(zlib.Z_SYNC_FLUSH)
        return out[:-4] if out else b"\x00"

    def unpack(self, data):
        """In small pieces: zlib then forgets what is beyond the window."""
        if not self.unpacker or not self.terms.server_keeps:
            self.unpacker = zlib.decompressobj(-max(self.terms.server_bits, 9))
        found, rest, step = [], data + TAIL, 100 if self.terms.server_bits < 12 else 1000
        while rest:
            try:
                found.append(self.unpacker.decompress(rest, step))
            except zlib.error as error:
                raise Wrong(f"what came cannot be inflated: {error}") from None
            rest = self.unpacker.unconsumed_tail
        return b"".join(found)


def agreed(offer):
    """Judges the answer to one offer, and makes the sides."""
    def check(headers):
        said = headers.get("sec-websocket-extensions")
        if said is None:
            raise Wrong("declined")
        terms = Terms(said)
        for name in ("server_no_context_takeover",):
            if name in offer and name not in terms.said:
                raise Wrong(f"{name} was asked for: {said!r}")
        bits = offer.get("server_max_window_bits")
        if bits and not ("server_max_window_bits" in terms.said and terms.server_bits <= bits):
            raise Wrong(f"a window of {bits} was asked for: {said!r}")
        if "client_max_window_bits" in terms.said and "client_max_window_bits" not in offer:
            raise Wrong(f"client_max_window_bits was not offered: {said!r}")
        check.side = Side(terms)
    return check


def answers(side, opcode, data, packed=None):
    """Reads one message, which holds `data`. `packed`: whether it must have RSV1."""
    def check(play, got):
        if got.opcode != opcode or not got.fin or got.rsv & 3:
            raise Wrong(f"got opcode {got.opcode} rsv {got.rsv}")
        if packed is not None and bool(got.rsv) != packed:
            raise Wrong(f"RSV1 is {bool(got.rsv)}")
        found = side.unpack(got.payload) if got.rsv else got.payload
        if found != data:
            raise Wrong(f"got {len(found)} bytes that differ from the {len(data)} that were sent")
    return Ask(check)


def params_text(offer):
    return PMD + "".join(f"; {name}" + ("" if value is True else f"={value}") for name, value in offer.items())


def packed_frames(payload, opcode=TEXT, pieces=1, **fields):
    """RSV1 on the first only."""
    step = max(1, -(-len(payload) // pieces))
    parts = [payload[at:at + step] for at in range(0, len(payload), step)] or [b""]
    return b"".join(masked(CONTINUATION if i else opcode, part, rsv=0 if i else RSV1, fin=i == len(parts) - 1, **fields)
                    for i, part in enumerate(parts))


def case(name, steps, offer=None, **more):
    """`steps(side)` gives them when the handshake is done."""
    offer = {} if offer is None else offer
    check = agreed(offer)
    return Case(f"deflate/{name}", [Shaken(check=check), Then(lambda play: steps(check.side))],
                headers=(f"Sec-WebSocket-Extensions: {params_text(offer)}",), **more)


# ---- what is agreed on

MESSAGES = [(TEXT, b""), (TEXT, b"a"), (TEXT, text_of(126)), (BINARY, bytes_of(300)), (TEXT, text_of(5000)), (TEXT, text_of(5000)), (BINARY, b""),
            (BINARY, bytes_of(5000)), (BINARY, bytes_of(5000)), (TEXT, "κόσμε 😀".encode() * 20), (BINARY, bytes(40000)),
            (BINARY, bytes_of(600) + bytes(20000) + bytes_of(600))]


def all_messages(side):
    steps = []
    for i, (opcode, data) in enumerate(MESSAGES):
        steps.append(Then(lambda play, o=opcode, d=data, i=i: [packed_frames(side.pack(d), o, pieces=1 + i % 3), answers(side, o, d)]))
    # one that is not compressed, between two that are
    steps += [masked(TEXT, text_of(700)), answers(side, TEXT, text_of(700)),
              Then(lambda play: [packed_frames(side.pack(text_of(900))), answers(side, TEXT, text_of(900))])]
    return steps + well()


def negotiations(server):
    for server_fresh, client_fresh, server_bits, client_bits in itertools.product(
            (False, True), (False, True), (None, *range(9, 16)), (None, True, *range(8, 16))):
        offer = {}
        if server_fresh:
            offer["server_no_context_takeover"] = True
        if client_fresh:
            offer["client_no_context_takeover"] = True
        if server_bits:
            offer["server_max_window_bits"] = server_bits
        if client_bits:
            offer["client_max_window_bits"] = client_bits
        yield case(f"agreed/{params_text(offer)[len(PMD) + 2:] or 'nothing'}", all_messages, offer, quiet=20)


def declined(name, *headers):
    """Then a compressed message must fail."""
    return Case(f"deflate/{name}", [Shaken(check=no_extension), masked(TEXT, b"a"), Answer(TEXT, b"a"), masked(TEXT, HELLO, rsv=RSV1), Fail(1002)],
                headers=tuple(f"Sec-WebSocket-Extensions: {h}" for h in headers))


def offers(server):
    flags = [*sorted(FLAGS)]
    for name in flags:
        for value in ("=1", "=", "=true", '="1"', "=15"):
            if value != "=":
                yield declined(f"declined/{name}{value}", f"{PMD}; {name}{value}")
        yield declined(f"declined/{name} twice", f"{PMD}; {name}; {name}")
    for value in ["=7", "=16", "=0", "=08", "=010", "=+9", "=-9", "=9.0", "=x", "=99", "=1", "=150", '="16"', '="08"', "=1e1", "=256", "=4294967305"]:
        for name in sorted(BITS):
            yield declined(f"declined/{name}{value}", f"{PMD}; {name}{value}")
    # zlib has no window of 8 bits, so it could not be kept to
    yield declined("declined/server_max_window_bits=8", f"{PMD}; server_max_window_bits=8")
    yield declined("declined/server_max_window_bits without a value", f"{PMD}; server_max_window_bits")
    for name in sorted(BITS):
        yield declined(f"declined/{name} twice", f"{PMD}; {name}=10; {name}=10")
    for what in ("unknown", "unknown=1", "server_max_windows_bits=9", "Server_no_context_takeover2", "x"):
        yield declined(f"declined/{what}", f"{PMD}; {what}")
    for what in ("permessage-bzip2", "x-webkit-deflate-frame", "permessage-deflate2", "permessage", "deflate", "permessage_deflate"):
        yield declined(f"declined/{what}", what)
    for what in (f"{PMD};", f"{PMD} x", f"; {PMD}", f"{PMD}; a b", f"{PMD}; =1", '"permessage-deflate"', f"{PMD}; a=", f'{PMD}; a="', f'{PMD}; a=""', f'{PMD}; a="x"y', "=", "a/b",
                 f"{PMD}; a==1", f"{PMD};;a"):
        yield Case(f"deflate/malformed/{what}", [request(server, [f"Sec-WebSocket-Extensions: {what}"]), Refused(400)], shake=False)
    lists = {
        "the second": [f"x-other, {PMD}"], "the second header": ["x-other", PMD], "behind one that is not acceptable": [f"{PMD}; server_max_window_bits=7, {PMD}"],
        "the third": [f"{PMD}; unknown, x-other; y=1, {PMD}"], "empty elements": [f", ,{PMD},"], "quoted pairs": [f'x-other; a="b\\c", {PMD}'],
        "without blanks": [f"x-other,{PMD}"], "blanks": [f"x-other \t,\t {PMD}  "], "an empty header before it": ["", PMD],
    }
    for name, headers in lists.items():
        check = agreed({})
        yield Case(f"deflate/lists/{name}", [Shaken(check=check), Then(lambda play, c=check: all_messages(c.side))],
                   headers=tuple(f"Sec-WebSocket-Extensions: {h}" for h in headers), quiet=20)
    for text, offer in {
        f'{PMD}; server_max_window_bits="10"': {"server_max_window_bits": 10}, f"{PMD};server_max_window_bits=10": {"server_max_window_bits": 10},
        f'{PMD}; client_max_window_bits="9"': {"client_max_window_bits": 9},
        f'{PMD}; server_max_window_bits="1\\0"': {"server_max_window_bits": 10},
        f"{PMD}; server_max_window_bits=10, {PMD}": {"server_max_window_bits": 10}, f"{PMD}, {PMD}; server_max_window_bits=10": {},
    }.items():
        check = agreed(offer)
        yield Case(f"deflate/written/{text[len(PMD):]}", [Shaken(check=check), Then(lambda play, c=check: all_messages(c.side))],
                   headers=(f"Sec-WebSocket-Extensions: {text}",), quiet=20)


# ---- messages

SAMPLES = {  # 7.2.3
    "one block": HELLO, "stored": bytes.fromhex("000500faff48656c6c6f00"), "a final block": bytes.fromhex("f348cdc9c9070000"),
    "two blocks": bytes.fromhex("f24805000000ffffcac9c90700"),
}


def stored(data, last=False):
    """A block that holds its bytes as they are."""
    return (b"\1" if last else b"\0") + len(data).to_bytes(2, "little") + (len(data) ^ 0xFFFF).to_bytes(2, "little") + data


def messages(server):
    for name, packed in SAMPLES.items():
        for pieces in range(1, len(packed) + 1):
            data = packed_frames(packed, pieces=pieces)
            yield case(f"samples/{name} in {pieces}", lambda side, d=data: [d, answers(side, TEXT, b"Hello")] + well())
        yield case(f"samples/{name}, byte by byte", lambda side, d=packed_frames(packed): [Chunks(d), answers(side, TEXT, b"Hello")] + well())
    for name, packed in {"a byte": b"\0", "none": b"", "a fixed block": b"\x02\x00", "a stored block": stored(b"") + b"\0", "a final stored block": stored(b"", True) + b"\0"}.items():
        for opcode in (TEXT, BINARY):
            yield case(f"empty/{name} as {opcode}", lambda side, p=packed, o=opcode: [packed_frames(p, o), answers(side, o, b""), packed_frames(p, o), answers(side, o, b"")] + well())
    for level, size in itertools.product((0, 1, 6, 9), (1, 125, 126, 127, 256, 1000, 65535, 65536, 200000)):
        for name, make in {"text": text_of, "noise": bytes_of, "zeros": bytes}.items():
            data = make(size)
            opcode = TEXT if name == "text" else BINARY

            def steps(side, d=data, o=opcode, lv=level):
                side.level = lv
                packed = side.pack(d)
                return [packed_frames(packed, o), answers(side, o, d),
                        Then(lambda play: [chops(packed_frames(side.pack(d), o, 3), 9), answers(side, o, d)])] + well()
            yield case(f"contents/{name} of {size} at level {level}", steps)
    noise = bytes_of(300)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=noise)
    back = packer.compress(noise) + packer.flush(zlib.Z_SYNC_FLUSH)[:-4]  # refers to the noise before it
    yield case("samples/behind a final block, what refers to it",
               lambda side: [packed_frames(stored(noise, True) + back, BINARY), answers(side, BINARY, noise * 2)] + well())
    text = text_of(3000)
    for step in (1, 2, 3, 7, 50, 500):
        def steps(side, s=step):
            packed, out = side.pack(text), []
            parts = [packed[at:at + s] for at in range(0, len(packed), s)] + [b""]
            for i, part in enumerate(parts):
                out.append(masked(CONTINUATION if i else TEXT, part, rsv=0 if i else RSV1, fin=i == len(parts) - 1))
                if i < len(parts) - 1:
                    out += [masked(PING, b"%d" % i), Get(unmasked(PONG, b"%d" % i))]
            return out + [answers(side, TEXT, text)] + well()
        yield case(f"fragments/by {step} with pings between", steps)
    yield case("fragments/empty ones", lambda side: [masked(TEXT, b"", rsv=RSV1, fin=False) + masked(CONTINUATION, HELLO[:3], fin=False)
                                                     + masked(CONTINUATION, b"", fin=False) * 10 + masked(CONTINUATION, HELLO[3:], fin=False) + masked(CONTINUATION, b""),
                                                     answers(side, TEXT, b"Hello")] + well())
    yield case("order/100 by turns", lambda side: [s for i in range(100) for s in
                                                   [Then(lambda play, i=i: [packed_frames(side.pack(b"%d " % i + text)) if i % 3 else masked(TEXT, b"%d " % i + text),
                                                                            answers(side, TEXT, b"%d " % i + text)])]] + well(), quiet=20)


def wrong_bits(server):
    wrong = {
        "RSV1 on a continuation": masked(TEXT, HELLO[:3], rsv=4, fin=False) + masked(CONTINUATION, HELLO[3:], rsv=4),
        "RSV1 on a continuation of a plain message": masked(TEXT, b"a", fin=False) + masked(CONTINUATION, b"b", rsv=4),
        "RSV1 on an empty continuation": masked(TEXT, HELLO, rsv=4, fin=False) + masked(CONTINUATION, b"", rsv=4),
        "a compressed message inside another": masked(TEXT, HELLO[:3], rsv=4, fin=False) + masked(TEXT, HELLO, rsv=4),
        "a plain message inside a compressed one": masked(TEXT, HELLO[:3], rsv=4, fin=False) + masked(TEXT, b"x"),
        "a continuation behind a compressed message": masked(TEXT, HELLO, rsv=4, fin=False) + masked(CONTINUATION) + masked(CONTINUATION),
    }
    for opcode in (CLOSE, PING, PONG):
        for rsv in range(1, 8):
            wrong[f"RSV {rsv} on opcode {opcode}"] = masked(opcode, b"\x03\xe8", rsv=rsv)
    for rsv in (1, 2, 3, 5, 6, 7):
        for opcode in (TEXT, BINARY):
            wrong[f"RSV {rsv} on opcode {opcode}"] = masked(opcode, HELLO, rsv=rsv)
        wrong[f"RSV {rsv} in a message"] = masked(TEXT, HELLO[:3], rsv=4, fin=False) + masked(CONTINUATION, HELLO[3:], rsv=rsv)
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        wrong[f"RSV1 on opcode {opcode}"] = masked(opcode, HELLO, rsv=4)
    for name, data in wrong.items():
        before = [(TEXT, b"Hello")] if name == "a continuation behind a compressed message" else []
        yield case(f"bits/{name}", lambda side, d=data, b=before: [masked(TEXT, b"before") + d, answers(side, TEXT, b"before"),
                                                                   *[answers(side, o, p) for o, p in b], Fail(1002)])


def judge_stream(data):
    """What a stream that begins anew holds, or None when it is no deflate data or does not end where a block does.
    A final block ends a stream and the next begins with what is behind it, the window kept (7.2.3.4)."""
    mark = b"the end of it"
    rest, out = data + TAIL + stored(mark, True), b""
    while True:
        inflate = zlib.decompressobj(-15, zdict=out[-32768:])
        try:
            out += inflate.decompress(rest)
        except zlib.error:
            return None
        if not inflate.eof:
            return None
        rest = inflate.unused_data
        if not rest:
            return out[:-len(mark)] if out.endswith(mark) else None


def corrupted(server):
    fixed = HELLO
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    dynamic = packer.compress(bytes(range(48, 100)) + text_of(400)) + packer.flush(zlib.Z_SYNC_FLUSH)
    streams = {"fixed": fixed, "stored": stored(b"Hello") + b"\0", "dynamic": dynamic[:-4]}
    for name, packed in streams.items():
        changed = {}
        for at in range(len(packed)):
            for bit in range(8) if len(packed) < 20 else (at % 8, (at + 3) % 8):
                changed[f"bit {bit} of byte {at} turned"] = packed[:at] + bytes([packed[at] ^ 1 << bit]) + packed[at + 1:]
            changed[f"cut at {at}"] = packed[:at]
        for tail in (TAIL, b"\0", b"\xff", TAIL[:2], b"\1\0\0\xff\xff", b"\x06", b"\x07", stored(b"more") + b"\0", b"\3\0\0", stored(b"more", True) + b"\0"):
            changed[f"with {tail.hex()} behind it"] = packed + tail
        for what, data in changed.items():
            holds = judge_stream(data) if data else b""

            def steps(side, d=data, h=holds):
                # A message before, so that nothing of it may serve
                side.terms.client_keeps = False
                return [packed_frames(d, BINARY)] + ([Fail(1007)] if h is None else [answers(side, BINARY, h)] + well())
            yield case(f"corrupted/{name}/{what}", steps)
    for name, data in {"reserved block": b"\x06", "reserved final block": b"\x07", "noise": b"\xff" * 100, "bad length": b"\0\5\0\xfb\xffx",
                       "a distance before the beginning": b"\xf2\x00\x11\x00\x00"}.items():
        yield case(f"corrupted/{name}", lambda side, d=data: [masked(TEXT, b"x"), answers(side, TEXT, b"x"), packed_frames(d, BINARY), Fail(1007)])
    # what is bad fails where it is, not at the end of the message
    yield case("corrupted/at once, in an unfinished frame", lambda side: [masked(BINARY, b"\x06\0\0\0\0", rsv=4, length=1000), Fail(1007)])
    yield case("corrupted/at once, in an unfinished message", lambda side: [masked(BINARY, b"\x06\0\0\0\0", rsv=4, fin=False), Fail(1007)])
    for bad in (b"\xff", b"good \xc3\x28", b"\xed\xa0", b"\xf4\x90", b"a\xc0", b"\xf8"):
        yield case(f"text/{bad.hex()} whole", lambda side, b=bad: [packed_frames(side.pack(b)), Fail(1007)])
        yield case(f"text/{bad.hex()} in an unfinished frame", lambda side, b=bad: [masked(TEXT, stored(b + bytes(1000))[:5 + len(b)], rsv=4, length=1005), Fail(1007)])
        yield case(f"text/{bad.hex()} byte by byte", lambda side, b=bad: [Chunks(packed_frames(stored(b) + b"\0")), Fail(1007)])
        yield case(f"text/{bad.hex()} is good in binary", lambda side, b=bad: [packed_frames(side.pack(b), BINARY), answers(side, BINARY, b)] + well())
    for cut in (b"\xce", b"\xe4\xb8", b"ab\xf0\x9f\x98"):
        yield case(f"text/{cut.hex()} cut", lambda side, c=cut: [packed_frames(side.pack(c)), Fail(1007)])
    yield case("text/compressed bytes are no text", lambda side: [packed_frames(side.pack("é".encode() * 50)), answers(side, TEXT, "é".encode() * 50)] + well())


def contexts(server):
    """One message that refers to the one before it: good where the context is kept, else bad."""
    kept = "kept" in server.name

    def as_configured(headers):
        terms = Terms(headers.get("sec-websocket-extensions", ""))
        if (terms.server_keeps, terms.client_keeps) != (kept, kept):
            raise Wrong(f"answered {headers} where contexts are {'' if kept else 'not '}to be kept")
    yield Case("deflate/contexts/as configured", [Shaken(check=as_configured)] + well(), headers=(f"Sec-WebSocket-Extensions: {PMD}",))
    for name, offer in {"as offered": {}, "client's not": {"client_no_context_takeover": True}, "server's not": {"server_no_context_takeover": True}}.items():
        def steps(side):
            kept = Side(Terms(PMD))
            noise = bytes_of(500)
            first, second = kept.pack(noise), kept.pack(noise)
            out = [packed_frames(first, BINARY), answers(side, BINARY, noise), packed_frames(second, BINARY)]
            return out + ([answers(side, BINARY, noise)] + well() if side.terms.client_keeps else [Fail(1007)])
        yield case(f"contexts/{name}, a message that refers back", steps, offer)

        def lengths(side):
            noise, seen = bytes_of(800), []
            def look(play, got):
                seen.append(len(got.payload))
                if (side.unpack(got.payload) if got.rsv else got.payload) != noise:
                    raise Wrong("another message")
                if len(seen) == 3 and (seen[2] < 200) != side.terms.server_keeps:
                    raise Wrong(f"lengths {seen} where the server {'keeps' if side.terms.server_keeps else 'forgets'} its context")
            return [s for _ in range(3) for s in (masked(BINARY, noise), Ask(look))] + well()
        yield case(f"contexts/{name}, what the server sends", lengths, offer)


@functools.lru_cache
def bomb(size):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    chunk, out = bytes(MIB), b""
    for _ in range(size // MIB):
        out += packer.compress(chunk)
    return (out + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def limits(server):
    """On servers with a limit of 64 KiB: it counts what is inflated."""
    limit = server.limit
    for size in (limit - 1, limit):
        for name, make in {"text": text_of, "noise": bytes_of, "zeros": bytes}.items():
            data, opcode = make(size), TEXT if name == "text" else BINARY
            for level, pieces in itertools.product((0, 6), (1, 5)):
                def steps(side, d=data, o=opcode, lv=level, p=pieces):
                    side.level = lv
                    return [packed_frames(side.pack(d), o, p), answers(side, o, d)] + well()
                yield case(f"limits/{name} of the limit{size - limit:+} at level {level} in {pieces}", steps)
    for size in (limit + 1, limit * 2, 4 * MIB):
        for pieces in (1, 5):
            yield case(f"limits/zeros of {size} in {pieces}", lambda side, s=size, p=pieces: [packed_frames(side.pack(bytes(s)), BINARY, p), Fail(1009)])
    noise, half = bytes_of(limit), bytes_of(limit // 2)
    yield case("limits/the last byte by itself",
               lambda side: [masked(BINARY, stored(noise[:-1]), rsv=RSV1, fin=False), masked(PING), Get(unmasked(PONG)),
                             masked(CONTINUATION, stored(noise[-1:]) + b"\0"), answers(side, BINARY, noise)] + well())
    in_two = masked(BINARY, stored(half)[:1], rsv=RSV1, fin=False) + masked(CONTINUATION, stored(half)[1:] + b"\0")
    yield case("limits/messages of more in all", lambda side: [in_two, answers(side, BINARY, half)] * 5 + well())
    yield case("limits/a bomb", lambda side: [packed_frames(bomb(64 * MIB), BINARY), Fail(1009)], lossy=True)
    yield case("limits/a bomb in fragments", lambda side: [packed_frames(bomb(64 * MIB), BINARY, 50), Fail(1009)], lossy=True)
    yield case("limits/a length far above", lambda side: [masked(BINARY, b"", rsv=4, length=4 * limit), Fail(1009)])
    yield case("limits/blocks of nothing", lambda side: [masked(BINARY, b"", rsv=4, fin=False) + masked(CONTINUATION, stored(b"") * 2000, fin=False) * 12, Fail(1009)], lossy=True)


def deflate(server):
    for group in (negotiations, offers, messages, wrong_bits, corrupted, contexts):
        yield from group(server)


def deflate_off(server):
    """Where it is not switched on every offer is declined."""
    for what in (PMD, f"{PMD}; client_max_window_bits", f"{PMD}; server_no_context_takeover; client_no_context_takeover", f"x-other, {PMD}; server_max_window_bits=9", "x-other"):
        yield declined(f"off/{what}", what)
