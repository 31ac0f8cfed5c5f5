"""Cases of RFC 6455: framing, control frames, text, closing, sizes. Written from the RFC and from RFC 3629, with models of
their own; nothing is taken from the engine."""

import functools
import itertools
import random
import struct
import zlib

from peer import (BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Answer, Bye, Case, Chunks, Fail, Get, Shaken, Then, Wrong,
                  masked, request, unmasked)

MIB = 1 << 20
CONTROL = (CLOSE, PING, PONG)
NAMES = {TEXT: "text", BINARY: "binary", CONTINUATION: "continuation", CLOSE: "close", PING: "ping", PONG: "pong"}
BYTE_BY_BYTE = 1200  # bytes at most


def well(code=1000):
    """All is well: the next frame is our pong, a close is answered, and nothing comes in between."""
    return [masked(PING, b"well?"), Get(unmasked(PONG, b"well?")), masked(CLOSE, struct.pack("!H", code)), Bye(code)]


def pong(payload=b""):
    return Get(unmasked(PONG, payload))


@functools.lru_cache(64)
def text_of(size):
    return (b"All the world's a stage; " * (size // 25 + 1))[:size]


@functools.lru_cache(64)
def bytes_of(size, seed=1):
    return random.Random(seed).randbytes(size)


def payload_of(opcode, size):
    return text_of(size) if opcode == TEXT else bytes_of(size)


def chops(data, seed):
    """Pieces of any size, small ones more often."""
    rng, sizes, left = random.Random(seed), [], len(data)
    while left > 0:
        sizes.append(min(left, int(rng.paretovariate(0.7))))
        left -= sizes[-1]
    return Chunks(data, sizes or [1])


def deliveries(data):
    yield "whole", [data]
    if len(data) <= BYTE_BY_BYTE:
        yield "byte by byte", [Chunks(data, 1)]
    if len(data) > 2:
        for i in range(2 if len(data) < 70000 else 1):
            yield f"chops {i}", [chops(data, zlib.crc32(data[:100]) + i)]


def close(code, reason=b""):
    return masked(CLOSE, struct.pack("!H", code) + reason)


# ---- lengths: 5.2, payload length

LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 124, 125, 126, 127, 128, 129, 255, 256, 257, 1023, 4096, 16383, 16384, 16385,
           65533, 65534, 65535, 65536, 65537, 131072, MIB - 1, MIB, MIB + 1]


def lengths(server):
    for opcode in (TEXT, BINARY):
        for size in LENGTHS:
            payload = payload_of(opcode, size)
            data = masked(opcode, payload)
            for how, steps in deliveries(data):
                yield Case(f"lengths/{NAMES[opcode]} of {size}/{how}", steps + [Answer(opcode, payload)] + well())
            head = len(data) - size
            if size < 65536:
                for cut in range(1, min(head + 3, len(data))):
                    yield Case(f"lengths/{NAMES[opcode]} of {size}/cut at {cut}",
                               [Chunks(data, [cut, len(data)]), Answer(opcode, payload)] + well())
    for size in range(0, 132):
        payload = bytes_of(size, size)
        yield Case(f"lengths/each to 131/{size}", [masked(BINARY, payload), Answer(BINARY, payload)] + well())
    for size in (64, 997, 65536):
        data = masked(BINARY, bytes_of(MIB))
        yield Case(f"lengths/a mebibyte in chunks/{size}", [Chunks(data, size), Answer(BINARY, bytes_of(MIB))] + well(),
                   quiet=20)


def masks(server):
    for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\1\2\3\4", b"\x80\0\0\1", b"\0\xff\0\xff"):
        for size in [*range(0, 41), 125, 126, 1000]:
            payload = bytes_of(size, 7)
            yield Case(f"masks/{key.hex()}/{size}", [masked(BINARY, payload, mask=key), Answer(BINARY, payload)] + well())
    for cut in range(1, 30):
        data = masked(BINARY, bytes_of(30), mask=b"\x81\x42\x24\x18")
        yield Case(f"masks/payload cut at {cut}", [Chunks(data, [6 + cut, 100]), Answer(BINARY, bytes_of(30))] + well())


# ---- states that a connection may be in

def states():
    """Name, what brings it there, what is answered to that, the message that is open."""
    yield "first", b"", [], None
    yield "behind a text", masked(TEXT, b"before"), [Answer(TEXT, b"before")], None
    yield "behind a ping", masked(PING, b"p"), [pong(b"p")], None
    yield "behind fragments", masked(TEXT, b"be", fin=False) + masked(CONTINUATION, b"fore"), [Answer(TEXT, b"before")], None
    yield "in a text", masked(TEXT, b"ab", fin=False), [], TEXT
    yield "in a binary", masked(BINARY, b"\xff", fin=False), [], BINARY
    yield "in an empty text", masked(TEXT, b"", fin=False), [], TEXT
    yield "behind a continuation", masked(TEXT, b"ab", fin=False) + masked(CONTINUATION, b"c", fin=False), [], TEXT
    yield "behind a ping in a text", masked(TEXT, b"ab", fin=False) + masked(PING, b"q"), [pong(b"q")], TEXT


def in_every_state(group, what, data, code=1002):
    """`data` must fail, in one segment with what comes before it and in one of its own."""
    for name, before, answers, _ in states():
        yield Case(f"{group}/{what}/{name}, at once", [before + data, *answers, Fail(code)])
        if before:
            yield Case(f"{group}/{what}/{name}, by itself", [before, *answers, data, Fail(code)])


# ---- forms of the length: 5.2, the minimal number of bytes must be used, the top bit is 0

def forms(server):
    for opcode in (TEXT, BINARY, CONTINUATION):
        before = [masked(BINARY, b"x", fin=False)] if opcode == CONTINUATION else []
        for size in [*range(0, 126, 1 if opcode == TEXT else 25), 124, 125]:
            yield Case(f"forms/16 bits/{NAMES[opcode]} of {size}", before + [masked(opcode, text_of(size), form=16), Fail(1002)])
        for size in (0, 1, 125, 126, 127, 1000, 65534, 65535):
            yield Case(f"forms/64 bits/{NAMES[opcode]} of {size}", before + [masked(opcode, text_of(size), form=64), Fail(1002)])
        for length in (1 << 63, (1 << 63) + 1, (1 << 64) - 1, (1 << 63) + 65536, 0xDEAD << 48):
            head = masked(opcode, b"", length=length, form=64)
            yield Case(f"forms/top bit/{NAMES[opcode]} {length:#x}", before + [head, Fail(1002)])
            yield Case(f"forms/top bit/{NAMES[opcode]} {length:#x}, byte by byte", before + [Chunks(head), Fail(1002)])
    for opcode in CONTROL:
        for form, size in itertools.product((16, 64), (0, 2, 125)):
            body = struct.pack("!H", 1000) + text_of(size) if opcode == CLOSE else text_of(size)
            yield Case(f"forms/control/{NAMES[opcode]} of {size} in {form} bits", [masked(opcode, body[:size], form=form), Fail(1002)])
    yield from in_every_state("forms", "16 bits for 5", masked(PING, b"12345", form=16))


# ---- reserved bits and opcodes: 5.2

def opcodes(server):
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for size, fin in itertools.product((0, 1, 125), (True, False)):
            data = masked(opcode, text_of(size), fin=fin)
            yield from in_every_state("opcodes", f"{opcode} of {size}{'' if fin else ' unfinished'}", data)
        yield Case(f"opcodes/{opcode}, byte by byte", [Chunks(masked(opcode, b"x")), Fail(1002)])
        yield Case(f"opcodes/{opcode} of 126", [masked(opcode, text_of(126)), Fail(1002)])
        yield Case(f"opcodes/{opcode}, with frames behind it", [masked(opcode) + masked(PING, b"x") + masked(TEXT, b"x"), Fail(1002)])


def bits(server):
    for rsv, opcode in itertools.product(range(1, 8), (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)):
        body = struct.pack("!H", 1000) if opcode == CLOSE else b"x"
        for name, before, answers, inside in states():
            if (opcode in (TEXT, BINARY) and inside) or (opcode == CONTINUATION and not inside):
                continue
            for fin in (True, False) if opcode not in CONTROL else (True,):
                case = f"bits/{rsv} on {NAMES[opcode]}{'' if fin else ' unfinished'}/{name}"
                data = masked(opcode, body, rsv=rsv, fin=fin)
                yield Case(case, [before + data, *answers, Fail(1002)])
        yield Case(f"bits/{rsv} on {NAMES[opcode]}/with frames behind it",
                   [masked(TEXT, b"before") + masked(opcode, body, rsv=rsv) + masked(TEXT, b"after"),
                    Answer(TEXT, b"before"), Fail(1002)])


# ---- masking: 5.1, a server must close at a frame that is not masked

def unmasked_frames(server):
    for opcode in (TEXT, BINARY, CLOSE, PING, PONG):
        for size in (0, 2, 125) + ((126, 65536) if opcode in (TEXT, BINARY) else ()):
            body = struct.pack("!H", 1000) + text_of(size) if opcode == CLOSE else text_of(size)
            yield Case(f"unmasked/{NAMES[opcode]} of {size}", [unmasked(opcode, body[:size]), Fail(1002)])
    yield from in_every_state("unmasked", "ping", unmasked(PING, b"x"))
    for data in (masked(TEXT, b"a", fin=False),):
        yield Case("unmasked/continuation", [data + unmasked(CONTINUATION, b"x"), Fail(1002)])


# ---- the order of frames: 5.4. Every sequence of these, judged by a model

ALPHABET = {
    "T": (TEXT, True), "t": (TEXT, False), "B": (BINARY, True), "b": (BINARY, False),
    "C": (CONTINUATION, True), "c": (CONTINUATION, False), "P": (PING, True),
}


def play_model(word):
    """What must be answered: a list of (opcode, payload), and whether it fails."""
    answers, kind, parts = [], None, []
    for i, letter in enumerate(word):
        opcode, fin = ALPHABET[letter]
        payload = b"%d" % i
        if opcode == PING:
            answers.append((PONG, payload))
            continue
        if (opcode == CONTINUATION) != (kind is not None):
            return answers, True
        kind = kind if opcode == CONTINUATION else opcode
        parts.append(payload)
        if fin:
            answers.append((kind, b"".join(parts)))
            kind, parts = None, []
    return answers, False


def sequences(server):
    seen = set()
    for length in range(1, 6):
        for word in itertools.product(ALPHABET, repeat=length):
            word = "".join(word)
            if any(word[:n] in seen for n in range(1, length)):
                continue  # it has failed before
            answers, fails = play_model(word)
            if fails:
                seen.add(word)
            if length == 5 and zlib.crc32(word.encode()) % 4:
                continue  # a quarter of the longest
            frames = [masked(*ALPHABET[letter][:1], b"%d" % i, fin=ALPHABET[letter][1]) for i, letter in enumerate(word)]
            expected = [pong(p) if opcode == PONG else Answer(opcode, p) for opcode, p in answers]
            end = [Fail(1002)] if fails else well()
            yield Case(f"sequences/{word}", [b"".join(frames), *expected, *end])


# ---- fragments: 5.4

def compositions(size, parts):
    """Every way to cut `size` bytes into so many parts, empty ones too."""
    for cuts in itertools.combinations_with_replacement(range(size + 1), parts - 1):
        edges = (0, *cuts, size)
        yield [(a, b) for a, b in itertools.pairwise(edges)]


def fragments_of(opcode, pieces, between=b""):
    frames = [masked(CONTINUATION if i else opcode, piece, fin=i == len(pieces) - 1) for i, piece in enumerate(pieces)]
    return between.join(frames)


def fragments(server):
    for parts in (2, 3, 4, 5):
        for edges in compositions(4, parts):
            pieces = [b"abcd"[a:b] for a, b in edges]
            name = "-".join(str(b - a) for a, b in edges)
            data = fragments_of(TEXT, pieces)
            yield Case(f"fragments/{name}/whole", [data, Answer(TEXT, b"abcd")] + well())
            yield Case(f"fragments/{name}/byte by byte", [Chunks(data), Answer(TEXT, b"abcd")] + well())
            if parts <= 3:
                steps = []
                for i, piece in enumerate(pieces):  # the pong comes before the message is finished
                    steps += [masked(CONTINUATION if i else BINARY, piece, fin=i == parts - 1)]
                    steps += [Answer(BINARY, b"abcd")] if i == parts - 1 else [masked(PING, b"%d" % i), pong(b"%d" % i)]
                yield Case(f"fragments/{name}/a ping in each gap", steps + well())
                yield Case(f"fragments/{name}/a pong in each gap",
                           [fragments_of(TEXT, pieces, masked(PONG, b"?")), Answer(TEXT, b"abcd")] + well())
    for size in (0, 1, 125, 126, 127, 65535, 65536, 70000):
        for step in (1, 2, 125, 126, 127, 1000, 65535, 65536):
            if not size / 70 <= step <= max(size, 1):
                continue
            for opcode in (TEXT, BINARY):
                payload = payload_of(opcode, size)
                pieces = [payload[at:at + step] for at in range(0, size, step)] + [b""]
                data = fragments_of(opcode, pieces)
                for how, steps in deliveries(data):
                    yield Case(f"fragments/{NAMES[opcode]} of {size} by {step}/{how}", steps + [Answer(opcode, payload)] + well())
    yield Case("fragments/1000 empty ones", [masked(TEXT, b"", fin=False) + masked(CONTINUATION, b"", fin=False) * 1000
                                             + masked(CONTINUATION, b"x"), Answer(TEXT, b"x")] + well())
    for opcode in (TEXT, BINARY):
        count = 65536
        data = masked(opcode, b"a", fin=False) + masked(CONTINUATION, b"b", fin=False) * (count - 2) + masked(CONTINUATION, b"c")
        yield Case(f"fragments/{count} of {NAMES[opcode]}", [data, Answer(opcode, b"a" + b"b" * (count - 2) + b"c")] + well(), quiet=20)
    for first, second in itertools.product((0, 1, 2, 3, 5), repeat=2):  # the mask of each begins anew
        data = masked(BINARY, bytes_of(first), fin=False, mask=b"\1\2\3\4") + masked(CONTINUATION, bytes_of(second), mask=b"\5\6\7\x08")
        yield Case(f"fragments/two masks/{first}+{second}", [data, Answer(BINARY, bytes_of(first) + bytes_of(second))] + well())


# ---- control frames: 5.5

def control(server):
    for size in range(126):
        yield Case(f"control/ping of {size}", [masked(PING, bytes_of(size)), pong(bytes_of(size))] + well())
        yield Case(f"control/pong of {size}", [masked(PONG, bytes_of(size))] + well())
    for payload in (b"", b"Hello", b"\x00\xff\xfe\xfd", b"\xfe" * 125):
        data = masked(PING, payload)
        for how, steps in deliveries(data):
            yield Case(f"control/ping {payload[:4].hex()}/{how}", steps + [pong(payload)] + well())
    for opcode in CONTROL:
        for size in (126, 127, 1000, 65535, 65536):
            data = masked(opcode, struct.pack("!H", 1000) + text_of(size - 2))
            yield Case(f"control/{NAMES[opcode]} of {size}", [data[:14], Fail(1002)])
            yield Case(f"control/{NAMES[opcode]} of {size}, with its payload", [data, Fail(1002)])
        for size in (0, 1, 2, 125):
            data = masked(opcode, text_of(size), fin=False)
            yield from in_every_state("control", f"unfinished {NAMES[opcode]} of {size}", data)
        yield Case(f"control/{NAMES[opcode]} continued", [masked(opcode, b"", fin=False) + masked(CONTINUATION, b""), Fail(1002)])
    for count in (10, 100, 1000):
        data = b"".join(masked(PING, b"%d" % i) for i in range(count))
        yield Case(f"control/{count} pings", [data, *[pong(b"%d" % i) for i in range(count)]] + well())
    mixed, answers = [], []
    for i in range(1000):
        mixed += [masked(TEXT, b"text %d" % i), masked(PING, b"%d" % i), masked(PONG, b"%d" % i)]
        answers += [Answer(TEXT, b"text %d" % i), pong(b"%d" % i)]
    yield Case("control/pings between messages, in order", [b"".join(mixed), *answers] + well())
    yield Case("control/pings between messages, in chops", [chops(b"".join(mixed), 3), *answers] + well())
    yield Case("control/a ping while much is echoed",
               [masked(BINARY, bytes_of(MIB)) * 3 + masked(PING, b"x"), *[Answer(BINARY, bytes_of(MIB)) for _ in range(3)], pong(b"x")] + well())


# ---- text: 8.1, and the table of RFC 3629, section 4

TAIL = range(0x80, 0xC0)
SYNTAX = [
    [range(0x00, 0x80)],
    [range(0xC2, 0xE0), TAIL],
    [range(0xE0, 0xE1), range(0xA0, 0xC0), TAIL], [range(0xE1, 0xED), TAIL, TAIL],
    [range(0xED, 0xEE), range(0x80, 0xA0), TAIL], [range(0xEE, 0xF0), TAIL, TAIL],
    [range(0xF0, 0xF1), range(0x90, 0xC0), TAIL, TAIL], [range(0xF1, 0xF4), TAIL, TAIL, TAIL],
    [range(0xF4, 0xF5), range(0x80, 0x90), TAIL, TAIL],
]


def begins(data):
    """Is it the beginning of a character, or a whole one?"""
    return any(len(data) <= len(row) and all(byte in allowed for byte, allowed in zip(data, row)) for row in SYNTAX)


def edges_of(row):
    """Characters at the ends of a row of the table."""
    return {bytes(c) for c in itertools.product(*[(allowed[0], allowed[-1]) for allowed in row])}


CHARACTERS = sorted(set().union(*map(edges_of, SYNTAX)) | {
    c.encode() for c in "\u07ff\u0800\ufffd\ufffe\uffff\ufdd0\ufdef\ufeff\ud7ff\ue000\U00010000\U0001fffe\U0001ffff\U0010ffff\U0001f600"})
NEXT = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xF0, 0xF4, 0xF5, 0xFF]
# What is no beginning, up to and with the byte that makes it none
BAD = sorted({bytes([b]) for b in range(0x80, 0x100) if not begins([b])} | {
    c[:n] + bytes([b]) for c in CHARACTERS for n in range(1, len(c)) for b in NEXT if not begins(c[:n] + bytes([b]))})
CUT = sorted({c[:n] for c in CHARACTERS for n in range(1, len(c))})


def utf8(server):
    for c in CHARACTERS:
        for before in (b"", b"a", c, b"1234567", b"12345678"):
            text = before + c
            name = f"utf8/valid {c.hex()}/behind {before.hex() or 'nothing'}"
            yield Case(f"{name}/whole", [masked(TEXT, text), Answer(TEXT, text)] + well())
            yield Case(f"{name}/byte by byte", [Chunks(masked(TEXT, text)), Answer(TEXT, text)] + well())
        for cut in range(len(c) + 1):
            steps = [masked(TEXT, c[:cut], fin=False), masked(PING), pong(), masked(CONTINUATION, c[cut:]), Answer(TEXT, c)]
            yield Case(f"utf8/valid {c.hex()}/fragments at {cut}", steps + well())
        pieces = [bytes([b]) for b in b"ab" + c + c]
        yield Case(f"utf8/valid {c.hex()}/a fragment each byte", [fragments_of(TEXT, pieces), Answer(TEXT, b"ab" + c + c)] + well())
    for bad in BAD:
        good, last = bad[:-1], bad[-1:]
        name = f"utf8/invalid {bad.hex()}"
        yield Case(f"{name}/whole", [masked(TEXT, b"abc" + bad), Fail(1007)])
        yield Case(f"{name}/in the middle", [masked(TEXT, "κόσμε ".encode() + bad + b" and more text behind it"), Fail(1007)])
        # the frame never ends
        yield Case(f"{name}/in an unfinished frame", [masked(TEXT, bad, length=100), Fail(1007)])
        # good up to the byte: a ping is answered; then that byte and no more
        yield Case(f"{name}/at its byte", [masked(TEXT, b"x" + good, fin=False), masked(PING), pong(),
                                           masked(CONTINUATION, last, length=1000), Fail(1007)])
        yield Case(f"{name}/byte by byte", [Chunks(masked(TEXT, b"x" + bad, length=200)), Fail(1007)])
    for cut in CUT:
        name = f"utf8/cut {cut.hex()}"
        yield Case(f"{name}/whole", [masked(TEXT, cut), Fail(1007)])
        yield Case(f"{name}/byte by byte", [Chunks(masked(TEXT, b"abc" + cut)), Fail(1007)])
        yield Case(f"{name}/in fragments", [masked(TEXT, cut, fin=False), masked(PING), pong(), masked(CONTINUATION), Fail(1007)])
        yield Case(f"{name}/then ASCII", [masked(TEXT, cut + b"a"), Fail(1007)])
    for at in range(0, 34):  # wherever a word begins
        for bad in (b"\xc0", b"\xff", b"\x80", b"\xed\xa0"):
            yield Case(f"utf8/invalid at {at}/{bad.hex()}", [masked(TEXT, b"a" * at + bad + b"a" * (40 - at)), Fail(1007)])
        text = b"a" * at + "é€😀".encode() + b"a" * (40 - at)
        yield Case(f"utf8/valid at {at}", [masked(TEXT, text), Answer(TEXT, text)] + well())
    every = "".join(map(chr, itertools.chain(range(0xD800), range(0xE000, 0x110000)))).encode()
    for step in (len(every), 1000, 65537):
        pieces = [every[at:at + step] for at in range(0, len(every), step)]
        if len(every) <= server.limit:
            yield Case(f"utf8/every character/by {step}", [fragments_of(TEXT, pieces), Answer(TEXT, every)] + well(), quiet=20)
    for data in (b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"):
        yield Case(f"utf8/binary may hold {data.hex()}", [masked(BINARY, data), Answer(BINARY, data)] + well())
        yield Case(f"utf8/pings may hold {data.hex()}", [masked(PING, data), pong(data), masked(PONG, data)] + well())


# ---- closing: 5.5.1, 7

def code_is_good(code):
    """7.4: 1000 to 2999 is for the registry (IANA: up to 1014; 1004 to 1006 and 1015 must not be sent), 3000 to 4999 free."""
    return code in (1000, 1001, 1002, 1003) or 1007 <= code <= 1014 or 3000 <= code <= 4999


def closing(server):
    for code in [*range(5001), 5001, 6000, 10000, 32767, 32768, 65534, 65535]:
        end = Bye(code) if code_is_good(code) else Fail(1002)
        yield Case(f"closing/code {code}", [close(code), end])
    for size in range(124):
        yield Case(f"closing/reason of {size}", [close(1000, text_of(size)), Bye(1000)])
    for size in (124, 125, 126, 1000, 65536):
        yield Case(f"closing/reason of {size}", [close(1000, text_of(size)), Fail(1002)])
    for c in CHARACTERS:
        yield Case(f"closing/reason {c.hex()}", [close(1001, b"a" + c), Bye(1001)])
    for bad in BAD:
        yield Case(f"closing/reason {bad.hex()}, invalid", [close(1000, b"a" + bad), Fail(1002, 1007)])
    for cut in CUT:
        yield Case(f"closing/reason {cut.hex()}, cut", [close(1000, cut), Fail(1002, 1007)])
    for byte in range(0, 256, 15):
        yield Case(f"closing/body of one byte {byte}", [masked(CLOSE, bytes([byte])), Fail(1002)])
    for name, before, answers, _ in states():
        for what, data in {"empty": masked(CLOSE), "1000": close(1000), "4999 with a reason": close(4999, b"why")}.items():
            code = None if what == "empty" else int(what[:4])
            yield Case(f"closing/{what}/{name}", [before + data, *answers, Bye(code)])
            yield Case(f"closing/{what}/{name}, byte by byte", [Chunks(before + data), *answers, Bye(code)])
    after = {
        "a ping": masked(PING, b"x"), "a text": masked(TEXT, b"x"), "a close": close(1000), "a bad close": close(5),
        "a bad text": masked(TEXT, b"\xff"), "garbage": bytes_of(1000), "much garbage": bytes_of(60000), "half a frame": masked(TEXT, b"x")[:3],
        "a reserved opcode": masked(3), "an end of a message": masked(CONTINUATION, b"x"),
    }
    for name, data in after.items():
        yield Case(f"closing/ignored behind it/{name}, at once", [close(1000) + data, Bye()])
        yield Case(f"closing/ignored behind it/{name}, later", [close(1000), Get(b"\x88"), Then(lambda play, d=data: [d, CloseTail()])])
        yield Case(f"closing/ignored behind a failure/{name}", [masked(3) + data, Fail(1002)])
    for count in (1, 100, 2000):
        messages = b"".join(masked(TEXT, b"%d" % i) for i in range(count))
        yield Case(f"closing/behind {count} messages", [messages + close(1000), *[Answer(TEXT, b"%d" % i) for i in range(count)], Bye()])
    yield Case("closing/behind a mebibyte", [masked(BINARY, bytes_of(MIB)) + close(1000), Answer(BINARY, bytes_of(MIB)), Bye()])
    yield Case("closing/half a payload before it", [masked(TEXT, b"abc", fin=False), close(1000), Bye()])


class CloseTail:
    """The rest of a close frame whose first byte was taken, and the end."""

    def judge(self, play):
        if not play.ended:
            return False
        body = bytes(play.buffer)
        if body not in (b"\x00", b"\x02\x03\xe8"):
            raise Wrong(f"the close frame and what follows: {body.hex(' ')}")
        play.buffer.clear()
        return True


# ---- sizes: 10.4, limits

def sizes(server):
    limit = server.limit
    for size in (limit - 1, limit):
        for opcode in (TEXT, BINARY):
            payload = payload_of(opcode, size)
            yield Case(f"sizes/{NAMES[opcode]} of the limit{size - limit:+}", [masked(opcode, payload), Answer(opcode, payload)] + well(), quiet=30)
            pieces = [payload[:size // 2], payload[size // 2:-1], payload[-1:]]
            yield Case(f"sizes/{NAMES[opcode]} of the limit{size - limit:+}, in fragments",
                       [fragments_of(opcode, pieces), Answer(opcode, payload)] + well(), quiet=30)
    for size in (limit + 1, limit * 2, 1 << 32, (1 << 32) + 1, 1 << 40, 1 << 62, (1 << 63) - 1):
        for opcode in (TEXT, BINARY):
            head = masked(opcode, b"", length=size)
            yield Case(f"sizes/{NAMES[opcode]}, {size} declared", [head, Fail(1009)])
            yield Case(f"sizes/{NAMES[opcode]}, {size} declared, byte by byte", [Chunks(head), Fail(1009)])
            before = masked(opcode, b"a", fin=False)
            yield Case(f"sizes/{NAMES[opcode]}, {size} declared in a continuation",
                       [before + masked(CONTINUATION, b"", length=size), Fail(1009)])
    halves = fragments_of(BINARY, [bytes_of(limit // 2), bytes_of(limit // 2, 2)])
    answer = Answer(BINARY, bytes_of(limit // 2) + bytes_of(limit // 2, 2))
    yield Case("sizes/one after another of the limit, in fragments", [halves, answer, halves, answer] + well(), quiet=30)
    whole = masked(BINARY, bytes_of(limit), fin=False)
    yield Case("sizes/a ping in a message of the limit", [whole, masked(PING, bytes_of(125)), pong(bytes_of(125)), masked(CONTINUATION),
                                                          Answer(BINARY, bytes_of(limit))] + well(), quiet=30)
    for first in (1, limit // 2, limit - 1, limit):
        before = masked(BINARY, bytes_of(first), fin=False)
        for second in sorted({limit - first, limit - first + 1, limit}):
            if first + second > limit:
                yield Case(f"sizes/{first} and {second} declared", [before, masked(CONTINUATION, b"", length=second), Fail(1009)], quiet=30)
            else:
                yield Case(f"sizes/{first} and {second}", [before + masked(CONTINUATION, bytes_of(second, 2)),
                                                           Answer(BINARY, bytes_of(first) + bytes_of(second, 2))] + well(), quiet=30)


def big(server):
    for size in (MIB, 4 * MIB, 16 * MIB):
        if size > server.limit:
            continue
        for opcode in (TEXT, BINARY):
            payload = payload_of(opcode, size)
            for step in (size, 65536, 1 << 19):
                pieces = [payload[at:at + step] for at in range(0, size, step)]
                yield Case(f"big/{NAMES[opcode]} of {size // MIB} MiB by {step}",
                           [fragments_of(opcode, pieces), Answer(opcode, payload)] + well(), quiet=30)


# ---- the first frames

def start(server):
    first = request(server)
    for name, data, answers in [
        ("a text", masked(TEXT, b"early"), [Answer(TEXT, b"early")]), ("a ping", masked(PING, b"p"), [pong(b"p")]),
        ("half a frame", masked(TEXT, b"early")[:4], [masked(TEXT, b"early")[4:], Answer(TEXT, b"early")]),
        ("a close", close(1000), [Bye()]), ("a bad frame", masked(3), [Fail(1002)]), ("a bad text", masked(TEXT, b"\xff"), [Fail(1007)]),
        ("a hundred texts", b"".join(masked(TEXT, b"%d" % i) for i in range(100)), [Answer(TEXT, b"%d" % i) for i in range(100)]),
    ]:
        end = [] if isinstance(answers[-1], (Bye, Fail)) else well()
        yield Case(f"start/with the request/{name}", [first + data, Shaken(), *answers, *end], shake=False)
        yield Case(f"start/with the request, in chops/{name}", [chops(first + data, 5), Shaken(), *answers, *end], shake=False)
    many = [b"%d" % i for i in range(2000)]
    yield Case("start/2000 in one segment", [b"".join(masked(TEXT, m) for m in many), *[Answer(TEXT, m) for m in many]] + well())


GROUPS = {"lengths": lengths, "masks": masks, "forms": forms, "opcodes": opcodes, "bits": bits, "unmasked": unmasked_frames,
          "sequences": sequences, "fragments": fragments, "control": control, "utf8": utf8, "closing": closing, "start": start}
# On the servers with a small and with a large limit
LIMITS, BIG = {"sizes": sizes}, {"big": big}
