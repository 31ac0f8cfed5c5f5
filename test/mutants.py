#!/usr/bin/python3
"""Do the tests of engine/proto notice a defect? Each defect of the table is put into a copy of the
source, one at a time, and the tests must fail. With --suite BUILD the test is the WebSocket suite
(conformance/suite.py) against the engine of that build folder with the defect linked in; then the
defects of what stands between the codec and its clients are tried too. With --against COMMAND that
command is the test: it runs with ENGINE_SOURCE naming a copy of the project that has the defect."""

import argparse
import concurrent.futures
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROTO = "engine/proto/"
TESTS = ["ws", "utf8", "handshake", "deflate", "deflate_offer"]
SOURCES = [PROTO + "base64.c", PROTO + "ws.c", PROTO + "ws_frame.c", PROTO + "utf8.c",
           PROTO + "handshake.c", PROTO + "deflate.c", PROTO + "deflate_offer.c",
           "engine/base/blob.c", "engine/base/buf.c", "engine/base/mem.c", "engine/base/check.c"]
NOT_COPIED = shutil.ignore_patterns(".git", "build*", "__pycache__", "node_modules")

CODEC = "lua/protocols/websocket.lua"
SUITE = ROOT / "test/conformance/suite.py"

# name, file (of engine/proto if it names no folder), text that occurs exactly once, what it becomes
MUTANTS = [
    ("reserved bits unchecked", "ws.c", "byte & BITS_RSV && !may_be_packed(decoder, byte)",
     "false"),
    ("compressed messages where none was negotiated", "ws.c", "return decoder->deflate &&",
     "return"),
    ("RSV1 on control frames and continuations accepted", "ws.c",
     "== BIT_RSV1 &&\n           (opcode == WS_OP_TEXT || opcode == WS_OP_BINARY)", "== BIT_RSV1"),
    ("RSV2 beside RSV1 accepted", "ws.c", "(byte & BITS_RSV) == BIT_RSV1", "(byte & BIT_RSV1)"),
    ("continuations of compressed messages taken as they are", "ws.c",
     "header->opcode == WS_OP_CONTINUATION ? decoder->begun->packed : (at[0] & BIT_RSV1) != 0",
     "(at[0] & BIT_RSV1) != 0"),
    ("compressed frames of any length accepted", "ws.c",
     "return max + max / 8 + PACKED_EXTRA - fed", "return INT64_MAX - fed"),
    ("compressed frames may not be longer than the limit", "ws.c",
     "return max + max / 8 + PACKED_EXTRA - fed", "return max - fed"),
    ("limit on compressed bytes holds for one fragment only", "ws.c",
     "decoder->begun ? deflate_fed(decoder->deflate) : 0", "0"),
    ("no limit on what is inflated", "ws.c",
     "uint64_t room = decoder->max_message - decoder->begun->message.len;", "uint64_t room = SIZE_MAX;"),
    ("limit on what is inflated is one byte low", "ws.c", "if (room == 0)", "if (room <= 1)"),
    ("what is beyond the limit is cut off", "ws.c", "len == piece.len ? WS_MORE :",
     "true ? WS_MORE :"),
    ("inflated text unchecked", "ws.c", "memcpy(to, piece.data, len);",
     "memcpy(to, piece.data, len);\n    decoder->begun->opcode = WS_OP_BINARY;"),
    ("bad deflate data accepted", "ws.c", "if (state == DEFLATE_BAD)",
     "if (state == DEFLATE_BAD)\n            return WS_MORE;\n        if (false)"),
    ("a compressed message has no end", "ws.c", "deflate_feed_end(decoder->deflate);", ""),
    ("compressed messages of no byte fail", "ws.c", "if (deflate_fed(decoder->deflate) == 0)",
     "if (false)"),
    ("compressed messages sent without RSV1", "ws.c", "out[0] |= BIT_RSV1;", ""),
    ("empty messages compressed to nothing", "deflate.c", "buf_append_char(out, 0);", ""),
    ("empty messages given to zlib", "deflate.c", "if (len == 0) {", "if (false) {"),
    ("tail left on", "deflate.c", "    out->len -= TAIL_LEN;\n", ""),
    ("window wider than agreed", "deflate.c", "Z_DEFLATED, -(int)bits,", "Z_DEFLATED, -15,"),
    ("compressors share one window", "deflate.c", "&pool->packers[bits]", "&pool->packers[15]"),
    ("shared compressor keeps its context", "deflate.c",
     "CHECK(deflateReset(*packer) == Z_OK)", "(void)0"),
    ("own context is not kept", "deflate.c", "if (!d->terms.server_keeps)", "if (true)"),
    ("client's context is not kept", "deflate.c", "if (!d->terms.client_keeps)\n", "if (true)\n"),
    ("client's context is kept unasked", "deflate.c",
     "if (!d->terms.client_keeps)\n", "if (false)\n"),
    ("spare decompressor keeps its context", "deflate.c",
     "CHECK(inflateReset(d->unpacker) == Z_OK);", "CHECK(inflateResetKeep(d->unpacker) == Z_OK);"),
    ("spare decompressor lent twice", "deflate.c", "        d->pool->spare = NULL;\n", ""),
    ("client's window narrower than agreed", "deflate.c", "unpacker_new(d->terms.client_bits)",
     "unpacker_new(9)"),
    ("a last block forgets the window", "deflate.c", "inflateResetKeep(z)", "inflateReset(z)"),
    ("a last block ends the message", "deflate.c",
     "if (!d->bad && z->avail_in == 0)", "if (!d->bad && (z->avail_in == 0 || status == 1))"),
    ("a message may end inside a block", "deflate.c", "if (!d->at_border)", "if (false)"),
    ("a message may not end with a last block", "deflate.c", "        d->at_border = true;\n", ""),
    ("what is bad becomes good again", "deflate.c", "        d->bad = true;\n    }", "    }"),
    ("bytes fed are never forgotten", "deflate.c", "    d->fed = 0;\n", ""),
    ("parameters unchecked", "deflate_offer.c", "offer->acceptable = false;", ";"),
    ("any extension accepted", "deflate_offer.c", 'slice_is(name, "permessage-deflate")', "true"),
    ("repeated parameters accepted", "deflate_offer.c", "i < PARAMS && !offer->given[i] ?",
     "i < PARAMS ?"),
    ("value of a flag accepted", "deflate_offer.c", "return value->len == 0;", "return 1;"),
    ("window of 8 bits accepted", "deflate_offer.c", ".bits = true, .least = 9",
     ".bits = true, .least = 8"),
    ("window of 16 bits accepted", "deflate_offer.c", "bits <= DEFLATE_BITS_MAX; bits++",
     "bits <= 16; bits++"),
    ("numbers compared by their start", "deflate_offer.c", "value->len == len && memcmp",
     "value->len >= len && memcmp"),
    ("server's window may lack a value", "deflate_offer.c",
     "params[param].may_lack_value ?", "true ?"),
    ("quoted values taken as they stand", "deflate_offer.c",
     "if (*c->at == '\\\\' && ++c->at == c->end)", "if (false)"),
    ("quoted values may be empty", "deflate_offer.c", "return value->len > 0 && c->at++ < c->end",
     "return c->at++ < c->end"),
    ("last acceptable offer taken", "deflate_offer.c",
     "offer.acceptable && !found->acceptable", "offer.acceptable"),
    ("first header only", "deflate_offer.c", '"Sec-WebSocket-Extensions", header)',
     '"Sec-WebSocket-Extensions", header ? &h->headers[h->header_count - 1] : NULL)'),
    ("malformed offers skipped", "deflate_offer.c", "        if (!read_offer(&c, &offer))\n"
     "            return false;", "        if (!read_offer(&c, &offer))\n            return true;"),
    ("context kept against the client's wish", "deflate_offer.c",
     "takeover && !offer->given[SERVER_NO_CONTEXT]", "takeover"),
    ("context kept against our wish", "deflate_offer.c",
     "takeover && !offer->given[CLIENT_NO_CONTEXT]", "!offer->given[CLIENT_NO_CONTEXT]"),
    ("client's window chosen unasked", "deflate_offer.c", "if (offer->given[CLIENT_BITS])",
     "if (true)"),
    ("server's window wider than asked", "deflate_offer.c",
     "least_of(terms.server_bits, offer->given[SERVER_BITS])", "terms.server_bits"),
    ("RSV3 unchecked", "ws.c", "BITS_RSV = 0x70", "BITS_RSV = 0x60"),
    ("opcodes 3 to 7 accepted", "ws.c",
     "opcode > WS_OP_PONG || (opcode > WS_OP_BINARY && opcode < WS_OP_CLOSE)",
     "opcode > WS_OP_PONG"),
    ("opcode 11 accepted", "ws.c", "opcode > WS_OP_PONG ||", "opcode > WS_OP_PONG + 1 ||"),
    ("fragmented control frame accepted", "ws.c",
     'return byte & BIT_FIN ? NULL : "fragmented control frame"', "return NULL"),
    ("control frame of 126 bytes accepted", "ws.c",
     "(byte & BITS_LENGTH) > CONTROL_MAX", "(byte & BITS_LENGTH) > CONTROL_MAX + 1"),
    ("continuation of nothing accepted", "ws.c",
     "opcode == WS_OP_CONTINUATION && !ws_decoder_pending(decoder)", "false"),
    ("new message inside another accepted", "ws.c",
     "opcode != WS_OP_CONTINUATION && ws_decoder_pending(decoder)", "false"),
    ("unmasked frame accepted", "ws.c", "if (!(byte & BIT_MASKED))", "if (false)"),
    ("16-bit length of 125 accepted", "ws.c", "header->len < LENGTH_16",
     "header->len < LENGTH_16 - 1"),
    ("64-bit length of 65535 accepted", "ws.c", "header->len <= UINT16_MAX",
     "header->len < UINT16_MAX"),
    ("64-bit length with the top bit accepted", "ws.c", "at[2] & 0x80", "false"),
    ("length read in the wrong order", "ws.c", "value = value << 8 | at[i]",
     "value |= (uint64_t)at[i] << 8 * i"),
    ("limit holds for one fragment only", "ws.c", "return max - (decoder->begun ? decoder->begun->message.len : 0)",
     "return max"),
    ("limit is one byte low", "ws.c",
     "header->len > room_for(decoder, header)", "header->len >= room_for(decoder, header)"),
    ("limit holds for control frames", "ws.c", "!(header->opcode & BIT_CONTROL) &&", ""),
    ("mask wrong at odd places", "ws_frame.c", "mask[i % MASK_LEN]", "mask[i % MASK_LEN & 2]"),
    ("mask starts anew with each piece", "ws.c", "turn_mask(decoder->begun->mask, len);", ""),
    ("pieces overwrite each other", "ws.c", "reserve(decoder, len);\n    unmask_next",
     "reserve(decoder, len) - decoder->begun->message.len;\n    unmask_next"),
    ("memory for what was announced", "ws.c", "reserve(decoder, len);\n    unmask_next",
     "reserve(decoder, (size_t)decoder->begun->left);\n    unmask_next"),
    ("text in a whole frame unchecked", "ws.c", "!utf8_valid(item->data, item->len))\n"
     "        return fail_utf8", "false)\n        return fail_utf8"),
    ("text in pieces unchecked", "ws.c",
     "decoder->begun->opcode != WS_OP_TEXT || utf8_feed(&decoder->begun->utf8, data, len)", "true"),
    ("each piece of a text checked by itself", "ws.c", "utf8_feed(&decoder->begun->utf8, data, len)",
     "utf8_valid(data, len)"),
    ("cut-off text in pieces accepted", "ws.c", "!utf8_done(&decoder->begun->utf8)", "false"),
    ("close frame of one byte accepted", "ws.c", "if (item->len == 1)", "if (false)"),
    ("close frame of one byte is like an empty one", "ws.c", "if (item->len == 0)",
     "if (item->len <= 1)"),
    ("close code 1005 accepted", "ws.c", "code <= 1003", "code <= 1005"),
    ("close code 1015 accepted", "ws.c", "code <= 1014", "code <= 1015"),
    ("close code 2999 accepted", "ws.c", "code >= 3000", "code >= 2999"),
    ("close reason unchecked", "ws.c", "if (!utf8_valid(item->data, item->len))\n"
     "        return fail(", "if (false)\n        return fail("),
    ("frames after the end are heard", "ws.c", "decoder->over = true;", ""),
    ("a payload that moves is cut", "ws_frame.c", "memmove(payload, frame + ROOM, len)",
     "memmove(payload, frame + ROOM, len - (len > 0))"),
    ("a client's frame not masked", "ws_frame.c", "header[1] | BIT_MASKED", "header[1] | 0"),
    ("the mask does not count to a frame", "ws_frame.c", "? (size_t)MASK_LEN : 0", "? 0 : 0"),
    ("65535 bytes sent with a 64-bit length", "ws_frame.c", "len > UINT16_MAX ? 8",
     "len >= UINT16_MAX ? 8"),
    ("close reason cut inside a character", "ws.c",
     "utf8_prefix(reason, strnlen(reason, REASON_MAX))", "strnlen(reason, REASON_MAX)"),
    ("overlong forms of two bytes accepted", "utf8.c", "byte < 0xC2", "byte < 0xC0"),
    ("overlong forms of three bytes accepted", "utf8.c", "byte == 0xE0 ? 0xA0",
     "byte == 0xE0 ? 0x80"),
    ("overlong forms of four bytes accepted", "utf8.c", "byte == 0xF0 ? 0x90",
     "byte == 0xF0 ? 0x80"),
    ("surrogates accepted", "utf8.c", "byte == 0xED ? 0x9F", "byte == 0xED ? 0xBF"),
    ("characters above U+10FFFF accepted", "utf8.c", "byte == 0xF4 ? 0x8F",
     "byte == 0xF4 ? 0xBF"),
    ("leads above F4 accepted", "utf8.c", "byte > 0xF4", "byte > 0xF7"),
    ("one byte of a word not looked at", "utf8.c", "0x8080808080808080", "0x8080808000808080"),
    ("text may end inside a character", "utf8.c", " && utf8_done(&state)", ""),
    ("wrong constant in the accept key", "handshake.c", "C5AB0DC85B11", "C5AB0DC85B12"),
    ("space in a header name accepted", "handshake.c", "return is_alnum(c) || (c != '\\0'",
     "return c == ' ' || is_alnum(c) || (c != '\\0'"),
    ("control characters in a value accepted", "handshake.c",
     "return is_visible(c) || is_blank(c);", "return c != '\\r' && c != '\\n';"),
    ("Transfer-Encoding accepted", "handshake.c", 'count(h, "Transfer-Encoding") > 0', "false"),
    ("a body's length accepted", "handshake.c", '!slice_is(h->headers[i].value, "0")', "false"),
    ("two Hosts accepted", "handshake.c", 'count(h, "Host") != 1', 'count(h, "Host") == 0'),
    ("HTTP/1.0 accepted", "handshake.c", " || h->version.data[7] != '1'", ""),
    ("any method accepted", "handshake.c", 'memcmp(h->method.data, "GET", 3) == 0', "true"),
    ("start of a name taken for the name", "handshake.c", "s.len == strlen(text)",
     "s.len <= strlen(text)"),
    ("any version of the protocol accepted", "handshake.c",
     '!slice_is(first_value(h, "Sec-WebSocket-Version"), "13")', "false"),
    ("any key of that length accepted", "handshake.c", "if (!base64_has(s.data[i]))", "if (false)"),
    ("head may be one byte too large", "handshake.c", "len >= HANDSHAKE_HEAD_MAX",
     "len > HANDSHAKE_HEAD_MAX"),
]

SESSION, BUILTIN, LEAVES = ("engine/script/" + name for name in ("session_ws.c", "session_builtin.c", "lua_ws.c"))
ENDPOINT = "engine/api/consumer.c"

# Only a whole engine has these.
OUTSIDE = [
    ("pings unanswered", SESSION, "send_plain(s, WS_OP_PONG, item->data, item->len);", "(void)0;"),
    ("pongs are empty", SESSION, "send_plain(s, WS_OP_PONG, item->data, item->len);",
     'send_plain(s, WS_OP_PONG, "", 0);'),
    ("pongs are cut by a byte", SESSION, "send_plain(s, WS_OP_PONG, item->data, item->len);",
     "send_plain(s, WS_OP_PONG, item->data, item->len - (item->len > 124));"),
    ("pings answered with pings", SESSION, "send_plain(s, WS_OP_PONG, item", "send_plain(s, WS_OP_PING, item"),
    ("pongs answered", SESSION, "if (event == WS_PING)", "if (event == WS_PING || event == WS_PONG)"),
    ("a close is answered with another code", SESSION, 'send_close(s, item->code, "");', 'send_close(s, 1001, "");'),
    ("a close is not answered", SESSION, 'send_close(s, item->code, "");', ""),
    ("a close is answered twice", SESSION, 'send_close(s, item->code, "");',
     'send_close(s, item->code, "");\n    send_close(s, item->code, "");'),
    ("a client that closed is kept", SESSION, "session_close(s, CLOSE_CLIENT, why);", "(void)why;"),
    ("a failure is not told", SESSION, "send_close(s, item->code, item->why);", ""),
    ("a failure is told with 1000", SESSION, "send_close(s, item->code, item->why);", "send_close(s, 1000, item->why);"),
    ("a client that failed is kept", SESSION, "session_close(s, CLOSE_PROTOCOL, item->why);", ""),
    ("the limit on messages is twice as high", SESSION, "s->terms->server->max_message_size",
     "s->terms->server->max_message_size * 2"),
    ("the limit on messages is one too high", SESSION, "s->terms->server->max_message_size",
     "s->terms->server->max_message_size + 1"),
    ("binary messages sent as text", SESSION, "binary ? WS_OP_BINARY : WS_OP_TEXT", "WS_OP_TEXT"),
    ("what is eaten is eaten again", SESSION, "*taken += eaten;", "*taken = eaten;"),
    ("a handshake may take for ever", SESSION, "    if (seconds)\n", "    if (seconds > 1000)\n"),
    ("a slow handshake is a bad one", SESSION, "session_ws_refuse(ws->session, 408,", "session_ws_refuse(ws->session, 400,"),
    ("extensions agreed on are not told", SESSION, "agreed ? extensions.text : NULL", "NULL"),
    ("extensions told are not agreed on", SESSION, "        agree(s, &terms);", "        (void)terms;"),
    ("compression where it is switched off", SESSION, "if (!server->compression.on)", "if (false)"),
    ("malformed offers accepted", SESSION, "result == HANDSHAKE_OK && offers_are_malformed(s, h)", "false"),
    ("a message left out of the context", SESSION,
     "packed->len >= len && !deflate_terms(deflate)->server_keeps", "packed->len >= len"),
    ("built-in: any path is served", BUILTIN, "if (!path_is_served(s->vm, h.uri))", "if (false)"),
    ("built-in: what follows the request is lost", BUILTIN, "session_take(s, h.head_len);", "session_take(s, len);"),
    ("built-in: only the first message of a segment", BUILTIN, "    session_take(s, taken);\n    s->starved = !found;",
     "    session_take(s, found ? len : taken);\n    s->starved = !found;"),
    ("codec: another status for another path", LEAVES, "session_ws_refuse(s, 404,", "session_ws_refuse(s, 403,"),
    ("codec: a byte of the request is left", LEAVES, "(lua_Integer)h.head_len", "(lua_Integer)h.head_len - 1"),
    ("codec: any path is served", CODEC, "if path and not core.path_matches(uri, path) then", "if false then"),
    ("codec: binary sent as text", CODEC, 'core.send(conn, data, "binary")', 'core.send(conn, data, "text")'),
    ("codec: text sent as binary", CODEC, 'core.send(conn, data, "text")', 'core.send(conn, data, "binary")'),
    ("codec: the request is not taken off", CODEC, "on_handshake) and n or -1", "on_handshake) and n - 4 or -1"),
    ("endpoint: answers in binary frames", ENDPOINT, "ws_frame_end(&c->out, begun, WS_OP_TEXT, NULL);\n    caller_drop",
     "ws_frame_end(&c->out, begun, WS_OP_BINARY, NULL);\n    caller_drop"),
    ("endpoint: binary messages taken as text", ENDPOINT, "if (lws_frame_is_binary(c->wsi))", "if (false)"),
    ("endpoint: the limit is twice as high", ENDPOINT, "> CONSUMER_MESSAGE_MAX)", "> 2 * CONSUMER_MESSAGE_MAX)"),
    ("endpoint: the limit is one byte low", ENDPOINT, "> CONSUMER_MESSAGE_MAX)", ">= CONSUMER_MESSAGE_MAX)"),
    ("endpoint: the limit holds for one fragment only", ENDPOINT, "c->frame.len + len + lws_remaining", "len + lws_remaining"),
    ("endpoint: what is announced is not looked at", ENDPOINT, " + lws_remaining_packet_payload(c->wsi)", ""),
    ("endpoint: too large is called a violation", ENDPOINT, "LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE", "LWS_CLOSE_STATUS_POLICY_VIOLATION"),
    ("endpoint: each piece taken for a message", ENDPOINT, "bool whole = lws_is_final_fragment(c->wsi);", "bool whole = true;"),
    ("endpoint: fragments are not forgotten", ENDPOINT, "c->frame.len);\n        buf_free(&c->frame);", "c->frame.len);"),
]

# What a client of the engine cannot see, and why.
UNSEEN = {
    "memory for what was announced": "memory alone",
    "a client's frame not masked": "the client library's",
    "the mask does not count to a frame": "the client library's",
    "a payload that moves is cut": "the API's and the client library's",
    "close reason cut inside a character": "reasons of failures are short",
    "frames after the end are heard": "a connection that is being closed is not read either",
}

# Which servers a file is seen on, and which cases look at it; of the others the built-in protocol with all cases.
SERVERS = {"lua_ws.c": "generation|socket", "websocket.lua": "generation|socket", "consumer.c": "api"}
CASES = {"utf8.c": "utf8|closing/reason|deflate", "handshake.c": "handshake|start|lengths/each", "base64.c": "handshake",
         "deflate.c": "deflate", "deflate_offer.c": "deflate"}


def compile_object(source, target, include):
    subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-w", "-O1", "-I", include, "-c", source,
                    "-o", target], check=True)


class UnitTests:
    """The unit tests of engine/proto; of a mutant only the changed file is compiled."""

    def __init__(self, folder, timeout):
        self.folder, self.timeout = folder, timeout
        self.objects = {source: str(folder / (pathlib.Path(source).stem + ".o"))
                        for source in SOURCES + [f"{PROTO}{test}_test.c" for test in TESTS]}
        for source, target in self.objects.items():
            compile_object(ROOT / source, target, ROOT / "engine")

    def passes(self, folder, source=None, text=None):
        objects = dict(self.objects)
        if source:
            changed = folder / pathlib.Path(source).name
            changed.write_text(text)
            objects[source] = str(changed.with_suffix(".o"))
            compile_object(changed, objects[source], ROOT / "engine")
        return all(self.run(test, objects, folder) for test in self.order(source))

    def order(self, source):
        """The file's own test first: it is the most likely one to fail."""
        return sorted(TESTS, key=lambda test: source != f"{PROTO}{test}.c")

    def run(self, test, objects, folder):
        program = str(folder / test)
        parts = [objects[source] for source in SOURCES] + [objects[f"{PROTO}{test}_test.c"]]
        subprocess.run(["gcc", *parts, "-o", program, "-lcmocka", "-lcrypto", "-lz"], check=True)
        return succeeds([program], self.timeout)


class Command:
    """A command that builds and tests the project that ENGINE_SOURCE names."""

    def __init__(self, command, timeout):
        self.command, self.timeout = command, timeout

    def passes(self, folder, source=None, text=None):
        tree = folder / "tree"
        shutil.copytree(ROOT, tree, ignore=NOT_COPIED, symlinks=True)
        if source:
            (tree / source).write_text(text)
            compile_object(tree / source, folder / "checked.o", tree / "engine")
        return succeeds(["sh", "-c", self.command], self.timeout, ENGINE_SOURCE=str(tree))


class Suite:
    """The WebSocket suite against an engine that has the defect. Of the build folder the objects are used."""

    def __init__(self, build, timeout):
        self.build, self.timeout = pathlib.Path(build).resolve(), timeout
        with open(self.build / "compile_commands.json") as file:
            self.commands = {entry["file"]: entry for entry in json.load(file)}
        commands = subprocess.run(["ninja", "-C", self.build, "-t", "commands", "engine"], check=True,
                                  capture_output=True, text=True).stdout
        self.link = commands.rstrip().splitlines()[-1]

    def passes(self, folder, source=None, text=None):
        name = pathlib.Path(source or "").name
        words = ["--stop-early", "--server", SERVERS.get(name, "websocket" if source else ""), "--case", CASES.get(name, "")]
        engine = self.build / "engine"
        if source == CODEC:
            (folder / "websocket.lua").write_text(text)
            words += ["--codec", str(folder / "websocket.lua")]
        elif source:
            engine = self.make(folder, source, text)
        return succeeds([sys.executable, str(SUITE), *words], self.timeout, ENGINE=str(engine))

    def make(self, folder, source, text):
        """The changed object stands before the library that has the other one."""
        changed, target, engine = folder / pathlib.Path(source).name, folder / "changed.o", folder / "engine"
        changed.write_text(text)
        entry = self.commands[str(ROOT / source)]
        compile_ = shlex.split(entry["command"].replace(entry["file"], str(changed)))
        compile_[compile_.index("-o") + 1] = str(target)
        subprocess.run([*compile_, "-w"], cwd=entry["directory"], check=True)
        link = self.link.replace(" -o engine ", f" {target} -o {engine} ")
        subprocess.run(["sh", "-c", link], cwd=self.build, check=True, stdout=subprocess.DEVNULL)
        return engine


def succeeds(arguments, timeout, **environment):
    """A program that does not end in time has failed; its whole process group is ended."""
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          env=os.environ | environment, start_new_session=True) as process:
        try:
            return process.wait(timeout) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return False


def mutate(source, old, new):
    text = (ROOT / source).read_text()
    if text.count(old) != 1:
        raise ValueError(f"{old!r} occurs {text.count(old)} times in {source}")
    return text.replace(old, new)


def try_mutant(judge, mutant):
    name, file, old, new = mutant
    source = file if "/" in file else PROTO + file
    try:
        with tempfile.TemporaryDirectory() as folder:
            text = mutate(source, old, new)
            survived = judge.passes(pathlib.Path(folder), source, text)
    except (ValueError, subprocess.CalledProcessError) as error:
        return False, f"BROKEN    {file}: {name}: {error}"
    return not survived, f"{'SURVIVED' if survived else 'caught  '}  {file}: {name}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", metavar="COMMAND", help="test with this instead")
    parser.add_argument("--suite", metavar="BUILD", help="test the engine of this build folder with the WebSocket suite")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=20, help="seconds for one test")
    parser.add_argument("names", nargs="*", help="only defects whose name contains one of these")
    options = parser.parse_args()
    table = [m for m in MUTANTS if m[0] not in UNSEEN] + OUTSIDE if options.suite else MUTANTS
    chosen = [mutant for mutant in table
              if not options.names or any(name in mutant[0] for name in options.names)]

    with tempfile.TemporaryDirectory() as folder:
        shared, clean = pathlib.Path(folder, "shared"), pathlib.Path(folder, "clean")
        shared.mkdir()
        clean.mkdir()
        judge = (Command(options.against, options.timeout) if options.against
                 else Suite(options.suite, max(options.timeout, 180)) if options.suite
                 else UnitTests(shared, options.timeout))
        if not judge.passes(clean):
            print("FAILED    the source as it is")
            return 1
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            results = []
            for good, line in pool.map(lambda mutant: try_mutant(judge, mutant), chosen):
                results.append(good)
                print(line, flush=True)
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
