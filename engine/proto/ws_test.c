/* Streams of client frames are built here, and the events that they must bring are written down as
 * a log. Every stream is fed whole, byte by byte and cut in two at every place: all must agree. */
#include "proto/ws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FIN = 0x80, MASKED = 0x80, NO_LIMIT = 1 << 30 };

static const uint8_t mask[4] = {0x37, 0xFA, 0x21, 0x3D};

/* Of the connections that are tested; NULL: no compression. */
static const struct deflate_terms *terms;
static struct deflate_pool *pool;

struct feeder {
    struct ws_decoder decoder;
    struct deflate *deflate;
    struct buf scratch, uneaten, log;
    enum ws_event last;
    uint16_t code;
};

/* ---- building streams ---- */

static void put_length(struct buf *out, uint64_t len, size_t size)
{
    buf_append_char(out, (char)(MASKED | (size == 8 ? 127 : size == 2 ? 126 : len)));
    for (size_t i = size; i-- > 0;)
        buf_append_char(out, (char)(len >> 8 * i));
}

static size_t shortest(uint64_t len)
{
    return len > 0xFFFF ? 8 : len > 125 ? 2 : 0;
}

/* A header up to its length field, without the key. */
static void put_start(struct buf *out, uint8_t first, uint64_t len)
{
    buf_append_char(out, (char)first);
    put_length(out, len, shortest(len));
}

static void put_masked(struct buf *out, const void *payload, size_t len)
{
    const char *from = payload;
    buf_append(out, mask, sizeof(mask));
    for (size_t i = 0; i < len; i++)
        buf_append_char(out, (char)(from[i] ^ mask[i % 4]));
}

static void put_frame(struct buf *out, uint8_t first, const void *payload, size_t len)
{
    put_start(out, first, len);
    put_masked(out, payload, len);
}

static void put_text(struct buf *out, uint8_t first, const char *text)
{
    put_frame(out, first, text, strlen(text));
}

/* ---- logs of events ---- */

static void put_event(struct buf *log, enum ws_event event, unsigned number, const char *data,
                      size_t len)
{
    buf_printf(log, "%d %u %zu ", event, number, len);
    if (len > 0)
        buf_append(log, data, len);
    buf_append_char(log, '\n');
}

static void expect_message(struct buf *log, enum ws_opcode opcode, const char *data, size_t len)
{
    put_event(log, WS_MESSAGE, opcode, data, len);
}

static void expect_text(struct buf *log, const char *text)
{
    expect_message(log, WS_OP_TEXT, text, strlen(text));
}

static void expect_fail(struct buf *log, uint16_t code)
{
    put_event(log, WS_FAIL, code, NULL, 0);
}

static void record(struct feeder *f, enum ws_event event, const struct ws_item *item)
{
    bool coded = event == WS_CLOSE || event == WS_FAIL;
    assert_true(f->last != WS_CLOSE && f->last != WS_FAIL);
    if (event != WS_FAIL)
        assert_non_null(item->data);
    else
        assert_non_null(item->why);
    if (event == WS_PING || event == WS_PONG)
        assert_int_equal(item->opcode, event == WS_PING ? WS_OP_PING : WS_OP_PONG);
    put_event(&f->log, event, coded ? item->code : item->opcode, item->data, item->len);
    f->last = event;
    f->code = item->code;
}

/* ---- feeding ---- */

static void feeder_init(struct feeder *f, uint64_t max_message)
{
    *f = (struct feeder){0};
    ws_decoder_init(&f->decoder, max_message);
    if (terms)
        ws_decoder_inflate(&f->decoder, f->deflate = deflate_new(pool, terms));
}

static void feeder_fini(struct feeder *f)
{
    ws_decoder_fini(&f->decoder);
    deflate_free(f->deflate);
    buf_free(&f->scratch);
    buf_free(&f->uneaten);
    buf_free(&f->log);
}

/* Decodes from a block of exactly that size, so that a sanitizer sees a read beyond it. */
static enum ws_event decode_exactly(struct feeder *f, size_t *eaten)
{
    struct ws_item item = {0};
    size_t len = f->uneaten.len;
    char *exact = malloc(len ? len : 1);
    memcpy(exact, f->uneaten.len ? f->uneaten.data : "", len);
    enum ws_event event = ws_decode(&f->decoder, &f->scratch, exact, len, eaten, &item);
    assert_true(len == 0 || memcmp(exact, f->uneaten.data, len) == 0);
    free(exact);
    assert_true(*eaten <= len);
    if (event != WS_MORE)
        record(f, event, &item);
    return event;
}

static void feed(struct feeder *f, const void *data, size_t len)
{
    enum ws_event event;
    if (len > 0)
        buf_append(&f->uneaten, data, len);
    do {
        size_t eaten;
        event = decode_exactly(f, &eaten);
        buf_consume(&f->uneaten, eaten);
    } while (event != WS_MORE);
    assert_true(f->uneaten.len <= WS_UNEATEN_MAX);
    if (f->decoder.begun)
        assert_true(f->decoder.begun->message.cap <= f->decoder.max_message);
}

static void assert_logs_equal(const struct buf *got, const struct buf *want)
{
    assert_int_equal(got->len, want->len);
    assert_true(want->len == 0 || memcmp(got->data, want->data, want->len) == 0);
}

static void check_pieces(const struct buf *stream, const struct buf *want, uint64_t max,
                         size_t first, size_t rest)
{
    struct feeder f;
    size_t len = first;
    feeder_init(&f, max);
    for (size_t at = 0; at < stream->len; at += len, len = rest) {
        if (len > stream->len - at)
            len = stream->len - at;
        feed(&f, stream->data + at, len);
    }
    assert_logs_equal(&f.log, want);
    feeder_fini(&f);
}

/* Consumes stream and log. */
static void check_stream(struct buf *stream, struct buf *want, uint64_t max)
{
    size_t most = stream->len < 1000 ? stream->len : 20; /* long ones only about their ends */
    check_pieces(stream, want, max, stream->len, 1);
    check_pieces(stream, want, max, 1, 1);
    check_pieces(stream, want, max, 3, 7);
    for (size_t at = 1; at < stream->len && at < most; at++)
        check_pieces(stream, want, max, at, stream->len);
    for (size_t back = 1; back < stream->len && back < 20; back++)
        check_pieces(stream, want, max, stream->len - back, back);
    buf_free(stream);
    buf_free(want);
}

/* The stream must fail with its last byte, not before and not only with what would follow; and a
 * message in front of it must come out. Consumes the stream. */
static void check_fails_at_end(struct buf *stream, uint64_t max, uint16_t code)
{
    struct feeder f;
    struct buf whole = {0}, want = {0};
    feeder_init(&f, max);
    feed(&f, stream->data, stream->len - 1);
    assert_int_not_equal(f.last, WS_FAIL);
    feed(&f, stream->data + stream->len - 1, 1);
    assert_int_equal(f.last, WS_FAIL);
    assert_int_equal(f.code, code);
    put_text(&whole, FIN | WS_OP_TEXT, "b4");
    buf_append(&whole, stream->data, stream->len);
    expect_text(&want, "b4");
    buf_append(&want, f.log.data, f.log.len);
    feeder_fini(&f);
    check_stream(&whole, &want, max);
    buf_free(stream);
}

/* ---- tests: well-formed streams ---- */

static char *pattern(size_t len)
{
    char *data = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        data[i] = (char)(' ' + (i * 7 + i / 90) % 90);
    return data;
}

static void message_lengths(void **state)
{
    static const size_t lengths[] = {0,   1,   2,    3,     7,     8,     9,    15,
                                     16,  17,  124,  125,   126,   127,   128,  255,
                                     256, 257, 4096, 65534, 65535, 65536, 65537};
    (void)state;
    for (size_t i = 0; i < 2 * sizeof(lengths) / sizeof(*lengths); i++) {
        struct buf stream = {0}, want = {0};
        enum ws_opcode opcode = i % 2 ? WS_OP_TEXT : WS_OP_BINARY;
        size_t len = lengths[i / 2];
        char *data = pattern(len);
        put_frame(&stream, (uint8_t)(FIN | opcode), data, len);
        put_text(&stream, FIN | WS_OP_TEXT, "next");
        expect_message(&want, opcode, data, len);
        expect_text(&want, "next");
        check_stream(&stream, &want, NO_LIMIT);
        free(data);
    }
}

static void control_frames(void **state)
{
    char data[125];
    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(0xFF - i);
    for (size_t len = 0; len <= sizeof(data); len += 25) {
        struct buf stream = {0}, want = {0};
        for (int i = 0; i < 3; i++) {
            put_frame(&stream, FIN | WS_OP_PING, data, len);
            put_frame(&stream, FIN | WS_OP_PONG, data, len);
            put_event(&want, WS_PING, WS_OP_PING, data, len);
            put_event(&want, WS_PONG, WS_OP_PONG, data, len);
        }
        check_stream(&stream, &want, 0);
    }
}

static void fragments_with_control_frames_between(void **state)
{
    struct buf stream = {0}, want = {0};
    (void)state;
    put_text(&stream, WS_OP_TEXT, "one, ");
    put_text(&stream, FIN | WS_OP_PING, "ping 1");
    put_text(&stream, WS_OP_CONTINUATION, "");
    put_text(&stream, FIN | WS_OP_PONG, "pong");
    put_text(&stream, WS_OP_CONTINUATION, "two, three \xE2");
    put_text(&stream, FIN | WS_OP_PING, "");
    put_text(&stream, WS_OP_CONTINUATION, "\x82");
    put_text(&stream, FIN | WS_OP_CONTINUATION, "\xAC and nine");
    put_text(&stream, FIN | WS_OP_BINARY, "\xFF");
    put_event(&want, WS_PING, WS_OP_PING, "ping 1", 6);
    put_event(&want, WS_PONG, WS_OP_PONG, "pong", 4);
    put_event(&want, WS_PING, WS_OP_PING, "", 0);
    expect_text(&want, "one, two, three \xE2\x82\xAC and nine");
    expect_message(&want, WS_OP_BINARY, "\xFF", 1);
    check_stream(&stream, &want, 64);
}

static void empty_fragments(void **state)
{
    struct buf stream = {0}, want = {0};
    (void)state;
    for (int i = 0; i < 2; i++) {
        put_text(&stream, WS_OP_TEXT, "");
        put_text(&stream, WS_OP_CONTINUATION, "");
        put_text(&stream, FIN | WS_OP_CONTINUATION, "");
        expect_text(&want, "");
    }
    put_text(&stream, WS_OP_BINARY, "");
    put_text(&stream, WS_OP_CONTINUATION, "\xC3");
    put_text(&stream, FIN | WS_OP_CONTINUATION, "");
    expect_message(&want, WS_OP_BINARY, "\xC3", 1);
    check_stream(&stream, &want, 1);
}

static void many_fragments(void **state)
{
    enum { COUNT = 65536 };
    struct feeder f;
    struct buf stream = {0}, want = {0};
    char *data = pattern(COUNT);
    (void)state;
    for (size_t i = 0; i < COUNT; i++)
        put_frame(&stream, (i == 0 ? WS_OP_TEXT : 0) | (i == COUNT - 1 ? FIN : 0), data + i, 1);
    expect_message(&want, WS_OP_TEXT, data, COUNT);
    feeder_init(&f, COUNT);
    for (size_t at = 0; at < stream.len; at += 1024)
        feed(&f, stream.data + at, stream.len - at < 1024 ? stream.len - at : 1024);
    assert_logs_equal(&f.log, &want);
    feeder_fini(&f);
    buf_free(&stream);
    buf_free(&want);
    free(data);
}

static void decoders_share_a_scratch_buffer(void **state)
{
    struct buf stream = {0}, want = {0};
    struct feeder a, b;
    (void)state;
    put_text(&stream, WS_OP_TEXT, "first half, ");
    put_text(&stream, FIN | WS_OP_CONTINUATION, "second half");
    expect_text(&want, "first half, second half");
    feeder_init(&a, NO_LIMIT);
    feeder_init(&b, NO_LIMIT);
    for (size_t i = 0; i < stream.len; i++) {
        struct buf scratch = b.scratch;
        feed(&a, stream.data + i, 1);
        b.scratch = a.scratch;
        a.scratch = scratch;
        feed(&b, stream.data + i, 1);
    }
    assert_logs_equal(&a.log, &want);
    assert_logs_equal(&b.log, &want);
    feeder_fini(&a);
    feeder_fini(&b);
    buf_free(&stream);
    buf_free(&want);
}

static void pending(void **state)
{
    struct feeder f;
    struct buf stream = {0};
    (void)state;
    feeder_init(&f, NO_LIMIT);
    assert_false(ws_decoder_pending(&f.decoder));
    put_text(&stream, WS_OP_TEXT, "");
    feed(&f, stream.data, stream.len);
    assert_true(ws_decoder_pending(&f.decoder));
    stream.len = 0;
    put_text(&stream, FIN | WS_OP_CONTINUATION, "end");
    feed(&f, stream.data, stream.len - 1);
    assert_true(ws_decoder_pending(&f.decoder));
    feed(&f, stream.data + stream.len - 1, 1);
    assert_false(ws_decoder_pending(&f.decoder));
    feeder_fini(&f);
    buf_free(&stream);
}

/* ---- tests: streams that fail ---- */

static void reserved_bits(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        struct buf stream = {0};
        if (!(first & 0x70))
            continue;
        buf_append_char(&stream, (char)first);
        check_fails_at_end(&stream, NO_LIMIT, 1002);
    }
}

static void reserved_bits_inside_a_message(void **state)
{
    (void)state;
    for (unsigned bit = 0x10; bit < 0x80; bit <<= 1) {
        struct buf stream = {0};
        put_text(&stream, WS_OP_TEXT, "begun");
        buf_append_char(&stream, (char)(FIN | bit | WS_OP_CONTINUATION));
        check_fails_at_end(&stream, NO_LIMIT, 1002);
    }
}

static void opcodes(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        unsigned opcode = first & 0x0F;
        struct buf stream = {0};
        struct feeder f;
        bool control = opcode >= 8 && opcode <= 10;
        bool good = opcode == 1 || opcode == 2 || (control && first & FIN);
        if (first & 0x70)
            continue;
        buf_append_char(&stream, (char)first);
        if (!good) {
            check_fails_at_end(&stream, NO_LIMIT, 1002);
            continue;
        }
        feeder_init(&f, NO_LIMIT);
        feed(&f, stream.data, 1);
        assert_int_equal(f.log.len, 0);
        feeder_fini(&f);
        buf_free(&stream);
    }
}

static void unmasked(void **state)
{
    static const uint8_t firsts[] = {FIN | WS_OP_TEXT, WS_OP_BINARY, FIN | WS_OP_PING,
                                     FIN | WS_OP_CLOSE};
    (void)state;
    for (size_t i = 0; i < sizeof(firsts); i++) {
        struct buf stream = {0};
        buf_append_char(&stream, (char)firsts[i]);
        buf_append_char(&stream, 5);
        check_fails_at_end(&stream, NO_LIMIT, 1002);
    }
}

static void long_control_frames(void **state)
{
    (void)state;
    for (unsigned opcode = WS_OP_CLOSE; opcode <= WS_OP_PONG; opcode++) {
        for (unsigned length = 126; length <= 127; length++) {
            struct buf stream = {0};
            buf_append_char(&stream, (char)(FIN | opcode));
            buf_append_char(&stream, (char)(MASKED | length));
            check_fails_at_end(&stream, NO_LIMIT, 1002);
        }
    }
}

static void lengths_not_in_shortest_form(void **state)
{
    static const struct {
        uint64_t len;
        size_t size;
    } forms[] = {{0, 2}, {125, 2}, {0, 8}, {125, 8}, {126, 8}, {65535, 8}};
    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        struct buf stream = {0};
        buf_append_char(&stream, (char)(FIN | WS_OP_BINARY));
        put_length(&stream, forms[i].len, forms[i].size);
        check_fails_at_end(&stream, NO_LIMIT, 1002);
    }
}

static void length_above_63_bits(void **state)
{
    struct buf stream = {0};
    (void)state;
    buf_append_char(&stream, (char)(FIN | WS_OP_BINARY));
    put_length(&stream, UINT64_C(1) << 63, 8);
    stream.len = 3;
    check_fails_at_end(&stream, UINT64_MAX, 1002);
}

static void frames_out_of_turn(void **state)
{
    struct buf stream = {0};
    (void)state;
    put_text(&stream, WS_OP_TEXT, "a");
    put_text(&stream, FIN | WS_OP_CONTINUATION, "b");
    buf_append_char(&stream, (char)(FIN | WS_OP_CONTINUATION));
    check_fails_at_end(&stream, NO_LIMIT, 1002);
    put_text(&stream, FIN | WS_OP_TEXT, "a");
    buf_append_char(&stream, WS_OP_CONTINUATION);
    check_fails_at_end(&stream, NO_LIMIT, 1002);
    put_text(&stream, WS_OP_TEXT, "");
    buf_append_char(&stream, (char)(FIN | WS_OP_TEXT));
    check_fails_at_end(&stream, NO_LIMIT, 1002);
    put_text(&stream, WS_OP_BINARY, "a");
    put_text(&stream, FIN | WS_OP_PING, "between");
    buf_append_char(&stream, WS_OP_TEXT);
    check_fails_at_end(&stream, NO_LIMIT, 1002);
}

/* Each ends with the byte that is wrong. */
static const char *const bad_texts[] = {
    "\x80",
    "\xBF",
    "\xC0",
    "\xC1",
    "\xF5",
    "\xF8",
    "\xFC",
    "\xFE",
    "\xFF",
    "long enough for the fast path\xFF",
    "\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0",
    "\xE0\x80",
    "\xE0\x9F",
    "\xF0\x8F",
    "\xF4\x90",
    "\xC3 ",
    "\xE2\x82 ",
    "\xF0\x9F\x98 ",
    "\xE2\x28",
};

static void bad_text_inside_an_unfinished_frame(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad_texts) / sizeof(*bad_texts); i++) {
        struct buf stream = {0};
        put_start(&stream, FIN | WS_OP_TEXT, 100000);
        put_masked(&stream, bad_texts[i], strlen(bad_texts[i]));
        check_fails_at_end(&stream, NO_LIMIT, 1007);
    }
}

static void bad_text_in_a_fragment(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad_texts) / sizeof(*bad_texts); i++) {
        struct buf stream = {0};
        put_text(&stream, WS_OP_TEXT, "\xE2\x82\xAC");
        put_text(&stream, WS_OP_CONTINUATION, bad_texts[i]);
        check_fails_at_end(&stream, NO_LIMIT, 1007);
    }
}

static void bad_text_in_a_whole_frame(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad_texts) / sizeof(*bad_texts); i++) {
        struct buf stream = {0}, want = {0};
        put_text(&stream, FIN | WS_OP_TEXT, bad_texts[i]);
        put_text(&stream, FIN | WS_OP_TEXT, "not heard");
        expect_fail(&want, 1007);
        check_stream(&stream, &want, NO_LIMIT);
    }
}

static void character_over_three_fragments(void **state)
{
    struct buf stream = {0};
    (void)state;
    put_text(&stream, WS_OP_TEXT, "\xF0");
    put_text(&stream, WS_OP_CONTINUATION, "\x9F\x98");
    put_text(&stream, WS_OP_CONTINUATION, "x");
    check_fails_at_end(&stream, NO_LIMIT, 1007);
}

static void text_cut_off(void **state)
{
    static const char *const cut[] = {"\xC3", "a\xE2\x82", "ab\xF0\x9F\x98"};
    (void)state;
    for (size_t i = 0; i < sizeof(cut) / sizeof(*cut); i++) {
        struct buf stream = {0};
        put_text(&stream, FIN | WS_OP_TEXT, cut[i]);
        check_fails_at_end(&stream, NO_LIMIT, 1007);
        put_text(&stream, WS_OP_TEXT, "some");
        put_text(&stream, FIN | WS_OP_CONTINUATION, cut[i]);
        check_fails_at_end(&stream, NO_LIMIT, 1007);
        put_text(&stream, WS_OP_TEXT, cut[i]);
        put_text(&stream, FIN | WS_OP_CONTINUATION, "");
        check_fails_at_end(&stream, NO_LIMIT, 1007);
    }
}

/* A text's unfinished character must not be held against the next text. */
static void text_state_starts_anew(void **state)
{
    struct buf stream = {0}, want = {0};
    (void)state;
    put_text(&stream, WS_OP_BINARY, "\xF0");
    put_text(&stream, FIN | WS_OP_CONTINUATION, "\x9F");
    put_text(&stream, WS_OP_TEXT, "a");
    put_text(&stream, FIN | WS_OP_CONTINUATION, "b");
    expect_message(&want, WS_OP_BINARY, "\xF0\x9F", 2);
    expect_text(&want, "ab");
    check_stream(&stream, &want, NO_LIMIT);
}

/* ---- tests: close frames ---- */

static bool may_be_sent(unsigned code)
{
    static const uint16_t ranges[][2] = {{1000, 1003}, {1007, 1014}, {3000, 4999}};
    for (size_t i = 0; i < 3; i++)
        if (code >= ranges[i][0] && code <= ranges[i][1])
            return true;
    return false;
}

static void check_close_code(unsigned code)
{
    struct buf stream = {0}, want = {0};
    char body[] = {(char)(code >> 8), (char)code, 'b', 'y', 'e'};
    put_frame(&stream, FIN | WS_OP_CLOSE, body, sizeof(body));
    put_text(&stream, FIN | WS_OP_TEXT, "not heard");
    if (may_be_sent(code))
        put_event(&want, WS_CLOSE, code, "bye", 3);
    else
        expect_fail(&want, 1002);
    assert_int_equal(ws_close_code_valid((uint16_t)code), may_be_sent(code));
    check_pieces(&stream, &want, NO_LIMIT, stream.len, 1);
    check_pieces(&stream, &want, NO_LIMIT, 1, 1);
    buf_free(&stream);
    buf_free(&want);
}

static void close_codes(void **state)
{
    (void)state;
    for (unsigned code = 0; code <= 5001; code++)
        check_close_code(code);
    check_close_code(0xFFFF);
}

static void close_without_a_body(void **state)
{
    struct buf stream = {0}, want = {0};
    (void)state;
    put_text(&stream, WS_OP_TEXT, "never finished");
    put_frame(&stream, FIN | WS_OP_CLOSE, "", 0);
    put_text(&stream, FIN | WS_OP_CONTINUATION, "not heard");
    buf_append_str(&stream, "\xFF\xFF\xFF");
    put_event(&want, WS_CLOSE, 0, "", 0);
    check_stream(&stream, &want, NO_LIMIT);
}

static void close_bodies(void **state)
{
    char longest[125] = "\x03\xE8";
    struct buf stream = {0}, want = {0};
    (void)state;
    memset(longest + 2, 'r', sizeof(longest) - 2);
    put_frame(&stream, FIN | WS_OP_CLOSE, longest, sizeof(longest));
    put_event(&want, WS_CLOSE, 1000, longest + 2, sizeof(longest) - 2);
    check_stream(&stream, &want, 0);
    put_text(&stream, FIN | WS_OP_PING,
             "\x03\xE8"); /* its second byte must not become the code's */
    put_frame(&stream, FIN | WS_OP_CLOSE, "\x03", 1);
    check_fails_at_end(&stream, NO_LIMIT, 1002);
    put_frame(&stream, FIN | WS_OP_CLOSE, "\x03\xE8\xED\xA0\x80", 5);
    check_fails_at_end(&stream, NO_LIMIT, 1007);
    put_frame(&stream, FIN | WS_OP_CLOSE, "\x03\xE8ok\xE2\x82", 6);
    check_fails_at_end(&stream, NO_LIMIT, 1007);
    put_frame(&stream, FIN | WS_OP_CLOSE, "\x03\xED\xFF", 3);
    check_fails_at_end(&stream, NO_LIMIT, 1002);
}

/* ---- tests: sizes ---- */

static void messages_up_to_the_limit(void **state)
{
    struct buf stream = {0}, want = {0};
    char *data = pattern(1000);
    (void)state;
    put_frame(&stream, FIN | WS_OP_BINARY, data, 1000);
    put_frame(&stream, WS_OP_BINARY, data, 400);
    put_frame(&stream, FIN | WS_OP_PING, data, 100);
    put_frame(&stream, WS_OP_CONTINUATION, data + 400, 599);
    put_frame(&stream, FIN | WS_OP_CONTINUATION, data + 999, 1);
    expect_message(&want, WS_OP_BINARY, data, 1000);
    put_event(&want, WS_PING, WS_OP_PING, data, 100);
    expect_message(&want, WS_OP_BINARY, data, 1000);
    check_stream(&stream, &want, 1000);
    free(data);
}

static void too_big_at_the_length_field(void **state)
{
    static const uint64_t lengths[] = {101, 125, 126, 65535, 65536, INT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        struct buf stream = {0};
        put_start(&stream, FIN | WS_OP_TEXT, lengths[i]);
        check_fails_at_end(&stream, 100, 1009);
        put_text(&stream, WS_OP_TEXT, "");
        put_start(&stream, WS_OP_CONTINUATION, lengths[i]);
        check_fails_at_end(&stream, 100, 1009);
    }
}

static void too_big_as_a_sum(void **state)
{
    struct buf stream = {0};
    char *data = pattern(100);
    (void)state;
    put_frame(&stream, WS_OP_TEXT, data, 60);
    put_frame(&stream, WS_OP_CONTINUATION, data, 40);
    put_text(&stream, FIN | WS_OP_PING, "still here");
    put_text(&stream, WS_OP_CONTINUATION, "");
    put_start(&stream, FIN | WS_OP_CONTINUATION, 1);
    check_fails_at_end(&stream, 100, 1009);
    put_frame(&stream, WS_OP_TEXT, data, 60);
    put_start(&stream, FIN | WS_OP_CONTINUATION, INT64_MAX);
    check_fails_at_end(&stream, 100, 1009);
    free(data);
}

static void memory_follows_what_has_arrived(void **state)
{
    struct feeder f;
    struct buf stream = {0};
    (void)state;
    put_start(&stream, FIN | WS_OP_BINARY, 1 << 20);
    put_masked(&stream, "0123456789", 10);
    feeder_init(&f, NO_LIMIT);
    feed(&f, stream.data, stream.len);
    assert_true(ws_decoder_pending(&f.decoder));
    assert_true(f.decoder.begun->message.cap < 1024);
    feeder_fini(&f);
    buf_free(&stream);
}

/* Neither a silent connection nor the thread keeps a big message. */
static void memory_is_given_back(void **state)
{
    enum { BIG = 1 << 20 };
    struct feeder f;
    struct buf stream = {0};
    char *data = pattern(BIG);
    size_t eaten;
    struct ws_item item;
    (void)state;
    put_frame(&stream, FIN | WS_OP_BINARY, data, BIG);
    feeder_init(&f, BIG);
    feed(&f, stream.data, BIG);
    assert_true(f.decoder.begun->message.cap <= BIG);
    assert_int_equal(
        ws_decode(&f.decoder, &f.scratch, stream.data + BIG, stream.len - BIG, &eaten, &item),
        WS_MESSAGE);
    assert_int_equal(item.len, BIG);
    assert_memory_equal(item.data, data, BIG);
    assert_null(f.decoder.begun);
    feed(&f, "", 0);
    assert_true(f.scratch.cap < BIG);
    feeder_fini(&f);
    buf_free(&stream);
    free(data);
}

static void the_decoder_is_small(void **state)
{
    (void)state;
    assert_true(sizeof(struct ws_decoder) <= 64);
}

/* ---- tests: compression ---- */

enum { RSV1 = 0x40 };

static const struct deflate_terms fresh = {false, false, 15, 15};
static const struct deflate_terms kept = {true, true, 12, 12};

static int with_fresh_terms(void **state)
{
    (void)state;
    terms = &fresh;
    pool = deflate_pool_new();
    return 0;
}

static int with_kept_terms(void **state)
{
    with_fresh_terms(state);
    terms = &kept;
    return 0;
}

static int without_terms(void **state)
{
    (void)state;
    terms = NULL;
    deflate_pool_free(pool);
    return 0;
}

/* A compressed message in frames of `step` bytes, and a ping behind each. */
static void put_packed(struct buf *stream, struct deflate *sender, uint8_t opcode, const char *data,
                       size_t len, size_t step)
{
    struct buf packed = {0};
    deflate_pack(sender, &packed, data, len);
    for (size_t at = 0; at < packed.len; at += step) {
        size_t size = packed.len - at < step ? packed.len - at : step;
        uint8_t fin = at + size == packed.len ? FIN : 0;
        put_frame(stream, (uint8_t)(fin | (at == 0 ? RSV1 | opcode : 0)), packed.data + at, size);
        put_text(stream, FIN | WS_OP_PING, "p");
    }
    buf_free(&packed);
}

/* A block of plain bytes, of which `text` is what has come so far. */
static void put_stored(struct buf *stream, uint8_t first, const char *text)
{
    struct buf block = {0};
    buf_append(&block, "\0\x40\0\xBF\xFF", 5);
    buf_append_str(&block, text);
    put_start(stream, first, 5 + 64 + 1);
    put_masked(stream, block.data, block.len);
    buf_free(&block);
}

static void expect_packed(struct buf *log, uint8_t opcode, const char *data, size_t len,
                          size_t frames)
{
    for (size_t i = 1; i < frames; i++)
        put_event(log, WS_PING, WS_OP_PING, "p", 1);
    expect_message(log, opcode, data, len);
    put_event(log, WS_PING, WS_OP_PING, "p", 1);
}

static void compressed_messages(void **state)
{
    struct deflate *sender = deflate_new(pool, terms);
    struct buf stream = {0}, want = {0};
    char *data = pattern(20000);
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        put_packed(&stream, sender, WS_OP_TEXT, data, 300, NO_LIMIT);
        expect_packed(&want, WS_OP_TEXT, data, 300, 1);
        put_text(&stream, FIN | WS_OP_TEXT, "as it is");
        expect_text(&want, "as it is");
        put_packed(&stream, sender, WS_OP_BINARY, "", 0, NO_LIMIT);
        expect_packed(&want, WS_OP_BINARY, "", 0, 1);
        put_packed(&stream, sender, WS_OP_BINARY, "\xFF\x80", 2, NO_LIMIT);
        expect_packed(&want, WS_OP_BINARY, "\xFF\x80", 2, 1);
        put_text(&stream, WS_OP_TEXT, "in ");
        put_text(&stream, FIN | WS_OP_CONTINUATION, "two");
        expect_text(&want, "in two");
        put_packed(&stream, sender, WS_OP_TEXT, data, 20000, NO_LIMIT);
        expect_packed(&want, WS_OP_TEXT, data, 20000, 1);
    }
    check_stream(&stream, &want, 20000);
    deflate_free(sender);
    free(data);
}

static void compressed_fragments(void **state)
{
    struct deflate *sender = deflate_new(pool, terms);
    char *data = pattern(500);
    (void)state;
    for (size_t step = 1; step < 60; step += 7) {
        struct buf stream = {0}, want = {0}, packed = {0};
        deflate_pack(sender, &packed, "\xE2\x82\xAC", 3);
        put_frame(&stream, RSV1 | WS_OP_TEXT, "", 0);
        put_frame(&stream, WS_OP_CONTINUATION, packed.data, packed.len);
        put_frame(&stream, FIN | WS_OP_CONTINUATION, "", 0);
        expect_text(&want, "\xE2\x82\xAC");
        packed.len = 0;
        struct deflate *other = deflate_new(pool, &fresh);
        deflate_pack(other, &packed, data, 500);
        put_packed(&stream, other, WS_OP_TEXT, data, 500, step);
        expect_packed(&want, WS_OP_TEXT, data, 500, (packed.len + step - 1) / step);
        check_stream(&stream, &want, 500);
        deflate_free(other);
        buf_free(&packed);
        deflate_free(sender);
        sender = deflate_new(pool, terms);
    }
    deflate_free(sender);
    free(data);
}

/* As some clients compress what is empty; the context is as it was. */
static void compressed_messages_of_no_byte(void **state)
{
    struct deflate *sender = deflate_new(pool, terms);
    struct buf stream = {0}, want = {0};
    (void)state;
    put_packed(&stream, sender, WS_OP_TEXT, "context", 7, NO_LIMIT);
    put_frame(&stream, FIN | RSV1 | WS_OP_BINARY, "", 0);
    put_frame(&stream, RSV1 | WS_OP_TEXT, "", 0);
    put_frame(&stream, FIN | WS_OP_CONTINUATION, "", 0);
    put_packed(&stream, sender, WS_OP_TEXT, "context", 7, NO_LIMIT);
    expect_packed(&want, WS_OP_TEXT, "context", 7, 1);
    expect_message(&want, WS_OP_BINARY, "", 0);
    expect_text(&want, "");
    expect_packed(&want, WS_OP_TEXT, "context", 7, 1);
    check_stream(&stream, &want, 7);
    deflate_free(sender);
}

static void reserved_bits_with_compression(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        struct buf stream = {0};
        unsigned opcode = first & 0x0F;
        if (!(first & 0x70) || ((first & 0x70) == RSV1 && (opcode == 1 || opcode == 2)))
            continue;
        buf_append_char(&stream, (char)first);
        check_fails_at_end(&stream, NO_LIMIT, 1002);
        put_frame(&stream, RSV1 | WS_OP_TEXT, "\xf2\x48", 2);
        buf_append_char(&stream, (char)first);
        check_fails_at_end(&stream, NO_LIMIT, 1002);
    }
}

static void compressed_message_inside_an_unfinished_one(void **state)
{
    struct buf stream = {0};
    (void)state;
    put_text(&stream, WS_OP_TEXT, "begun");
    buf_append_char(&stream, (char)(FIN | RSV1 | WS_OP_TEXT));
    check_fails_at_end(&stream, NO_LIMIT, 1002);
}

static void bad_text_inside_a_compressed_frame(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad_texts) / sizeof(*bad_texts); i++) {
        struct buf stream = {0};
        put_stored(&stream, FIN | RSV1 | WS_OP_TEXT, bad_texts[i]);
        check_fails_at_end(&stream, NO_LIMIT, 1007);
        put_frame(&stream, RSV1 | WS_OP_TEXT, "\0\3\0\xFC\xFF\xE2\x82\xAC", 8);
        put_stored(&stream, WS_OP_CONTINUATION, bad_texts[i]);
        check_fails_at_end(&stream, NO_LIMIT, 1007);
    }
}

static void compressed_text_cut_off(void **state)
{
    struct deflate *sender = deflate_new(pool, &fresh);
    struct buf stream = {0}, packed = {0};
    (void)state;
    deflate_pack(sender, &packed, "a\xE2\x82", 3);
    put_frame(&stream, FIN | RSV1 | WS_OP_TEXT, packed.data, packed.len);
    check_fails_at_end(&stream, NO_LIMIT, 1007);
    deflate_free(sender);
    buf_free(&packed);
}

static void bad_deflate_data(void **state)
{
    struct buf stream = {0};
    (void)state;
    put_frame(&stream, FIN | RSV1 | WS_OP_BINARY, "\xf2\x48\xcd\xc9", 4); /* ends too early */
    check_fails_at_end(&stream, NO_LIMIT, 1007);
    put_start(&stream, FIN | RSV1 | WS_OP_BINARY, 100);
    put_masked(&stream, "\x06", 1); /* a reserved kind of block */
    check_fails_at_end(&stream, NO_LIMIT, 1007);
    put_frame(&stream, RSV1 | WS_OP_BINARY, "\0\1\0\xFE\xFFx", 6);
    put_start(&stream, FIN | WS_OP_CONTINUATION, 100);
    put_masked(&stream, "\x06", 1);
    check_fails_at_end(&stream, NO_LIMIT, 1007);
}

/* The limit is that of what is inflated; a frame may be somewhat longer than that. */
static void compressed_messages_up_to_the_limit(void **state)
{
    struct deflate *sender = deflate_new(pool, terms);
    struct buf stream = {0}, want = {0}, packed = {0};
    char *data = pattern(5000), *noise = malloc(5000);
    (void)state;
    for (size_t i = 0, seed = 1; i < 5000; i++, seed = seed * 1103515245 + 12345)
        noise[i] = (char)(seed >> 16);
    put_packed(&stream, sender, WS_OP_TEXT, data, 5000, NO_LIMIT);
    expect_packed(&want, WS_OP_TEXT, data, 5000, 1);
    put_packed(&stream, sender, WS_OP_BINARY, noise, 5000, NO_LIMIT);
    expect_packed(&want, WS_OP_BINARY, noise, 5000, 1);
    check_stream(&stream, &want, 5000);
    deflate_free(sender);
    sender = deflate_new(pool, terms);
    deflate_pack(sender, &packed, data, 5000);
    put_frame(&stream, FIN | RSV1 | WS_OP_TEXT, packed.data, packed.len);
    expect_fail(&want, 1009);
    check_stream(&stream, &want, 4999);
    deflate_free(sender);
    buf_free(&packed);
    free(data);
    free(noise);
}

static void compressed_frames_too_big_at_the_length_field(void **state)
{
    static const uint64_t lengths[] = {8000 + 1000 + 1024 + 1, 65535, 65536, INT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        struct buf stream = {0};
        put_start(&stream, FIN | RSV1 | WS_OP_TEXT, lengths[i]);
        check_fails_at_end(&stream, 8000, 1009);
        put_frame(&stream, RSV1 | WS_OP_TEXT, "\0\0\0\xFF\xFF", 5);
        put_start(&stream, WS_OP_CONTINUATION, lengths[i] - 5);
        check_fails_at_end(&stream, 8000, 1009);
    }
}

/* Blocks that hold nothing are counted too: such a message would never end. */
static void compressed_frames_of_nothing_come_to_an_end(void **state)
{
    struct buf stream = {0}, blocks = {0};
    (void)state;
    while (blocks.len < 8000 + 1000 + 1024)
        buf_append(&blocks, "\0\0\0\xFF\xFF", 5);
    blocks.len = 8000 + 1000 + 1024;
    put_frame(&stream, RSV1 | WS_OP_TEXT, blocks.data, blocks.len);
    put_start(&stream, WS_OP_CONTINUATION, 1);
    check_fails_at_end(&stream, 8000, 1009);
    buf_free(&blocks);
}

static void bombs_end_at_the_limit(void **state)
{
    enum { SIZE = 32 << 20, LIMIT = 1 << 20 };
    struct deflate *sender = deflate_new(pool, &fresh);
    struct buf packed = {0}, stream = {0};
    struct feeder f;
    struct ws_item item;
    size_t eaten;
    char *zeros = calloc(1, SIZE);
    (void)state;
    deflate_pack(sender, &packed, zeros, SIZE);
    put_frame(&stream, FIN | RSV1 | WS_OP_TEXT, packed.data, packed.len);
    feeder_init(&f, LIMIT);
    feed(&f, stream.data, 500); /* it has swollen by then, but not to the limit */
    assert_in_range(f.decoder.begun->message.cap, 1, LIMIT);
    assert_int_equal(
        ws_decode(&f.decoder, &f.scratch, stream.data + 500, stream.len - 500, &eaten, &item),
        WS_FAIL);
    assert_int_equal(item.code, 1009);
    assert_null(f.decoder.begun);
    assert_true(f.scratch.cap < LIMIT);
    feeder_fini(&f);
    deflate_free(sender);
    buf_free(&packed);
    buf_free(&stream);
    free(zeros);
}

/* ---- tests: encoding ---- */

/* A server's frame becomes a client's with a key of zeros. */
static void mask_with_zeros(struct buf *client, const struct buf *server)
{
    uint8_t second = (uint8_t)server->data[1];
    size_t start = 2 + (second == 127 ? 8 : second == 126 ? 2 : 0);
    buf_append_char(client, server->data[0]);
    buf_append_char(client, (char)(MASKED | second));
    buf_append(client, server->data + 2, start - 2);
    buf_append(client, "\0\0\0", 4);
    buf_append(client, server->data + start, server->len - start);
}

static void round_trip(void **state)
{
    static const size_t lengths[] = {0, 1, 125, 126, 127, 65535, 65536, 100000};
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        struct buf server = {0}, client = {0}, want = {0};
        char *data = pattern(lengths[i]);
        ws_encode(&server, WS_OP_BINARY, data, lengths[i]);
        assert_int_equal(server.data[1] & MASKED, 0);
        mask_with_zeros(&client, &server);
        expect_message(&want, WS_OP_BINARY, data, lengths[i]);
        check_pieces(&client, &want, lengths[i], client.len, 1);
        buf_free(&server);
        buf_free(&client);
        buf_free(&want);
        free(data);
    }
}

static void headers_byte_for_byte(void **state)
{
    static const struct {
        enum ws_opcode opcode;
        size_t len, size;
        const char *bytes;
    } headers[] = {
        {WS_OP_TEXT, 0, 2, "\x81\x00"},
        {WS_OP_BINARY, 125, 2, "\x82\x7D"},
        {WS_OP_PONG, 5, 2, "\x8A\x05"},
        {WS_OP_TEXT, 126, 4, "\x81\x7E\x00\x7E"},
        {WS_OP_TEXT, 65535, 4, "\x81\x7E\xFF\xFF"},
        {WS_OP_TEXT, 65536, 10, "\x81\x7F\x00\x00\x00\x00\x00\x01\x00\x00"},
        {WS_OP_TEXT, 0x12345678, 10, "\x81\x7F\x00\x00\x00\x00\x12\x34\x56\x78"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++) {
        char out[WS_HEADER_MAX];
        assert_int_equal(ws_header(out, headers[i].opcode, headers[i].len), headers[i].size);
        assert_memory_equal(out, headers[i].bytes, headers[i].size);
        assert_int_equal(ws_header_packed(out, headers[i].opcode, headers[i].len), headers[i].size);
        assert_int_equal((uint8_t)out[0], (uint8_t)headers[i].bytes[0] | RSV1);
        assert_memory_equal(out + 1, headers[i].bytes + 1, headers[i].size - 1);
    }
}

/* Appends a frame behind what is there; of a client when there is a key. */
static size_t build_frame(struct buf *out, const struct buf *payload, size_t len,
                          const uint8_t *key)
{
    size_t begun = ws_frame_begin(out);
    buf_append(out, payload->data, len);
    assert_int_equal(ws_frame_payload(out, begun), len);
    ws_frame_end(out, begun, WS_OP_BINARY, key);
    assert_int_equal(ws_frame_size(out->data + begun), out->len - begun);
    return begun;
}

static void check_masked(const char *frame, size_t frame_len, const struct buf *payload, size_t len)
{
    struct ws_decoder decoder;
    struct ws_item item;
    struct buf scratch = {0};
    size_t eaten;
    ws_decoder_init(&decoder, UINT32_MAX);
    assert_int_equal(ws_decode(&decoder, &scratch, frame, frame_len, &eaten, &item), WS_MESSAGE);
    assert_int_equal(eaten, frame_len);
    assert_int_equal(item.len, len);
    assert_memory_equal(item.data, payload->data, len);
    ws_decoder_fini(&decoder);
    buf_free(&scratch);
}

static void frames_are_built_in_place(void **state)
{
    static const size_t lengths[] = {0, 1, 7, 125, 126, 127, 65535, 65536, 65537};
    static const uint8_t key[4] = {0x12, 0, 0xFF, 0x81};
    struct buf payload = {0}, out = {0}, want = {0};
    (void)state;
    for (size_t i = 0; i < 65537; i++)
        buf_append_char(&payload, (char)(i * 7));
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        build_frame(&out, &payload, lengths[i], NULL);
        ws_encode(&want, WS_OP_BINARY, payload.data, lengths[i]);
        assert_int_equal(out.len, want.len);
        size_t begun = build_frame(&out, &payload, lengths[i], key);
        check_masked(out.data + begun, out.len - begun, &payload, lengths[i]);
        out.len = begun;
    }
    assert_memory_equal(out.data, want.data, want.len);
    buf_free(&payload);
    buf_free(&want);
    buf_free(&out);
}

static void check_encoded_close(uint16_t code, const char *reason, const void *want, size_t len)
{
    struct buf out = {0};
    buf_append_char(&out, '!');
    ws_encode_close(&out, code, reason);
    assert_int_equal(out.len, len + 1);
    assert_memory_equal(out.data + 1, want, len);
    buf_free(&out);
}

static void encoded_close_frames(void **state)
{
    char reason[200], want[127] = "\x88\x7C\x03\xE8";
    (void)state;
    check_encoded_close(0, NULL, "\x88\x00", 2);
    check_encoded_close(0, "unheard", "\x88\x00", 2);
    check_encoded_close(1000, NULL, "\x88\x02\x03\xE8", 4);
    check_encoded_close(1002, "why", "\x88\x05\x03\xEAwhy", 7);
    check_encoded_close(4999, "not\xFFtext", "\x88\x05\x13\x87not", 7);
    memset(reason, 'r', sizeof(reason));
    memcpy(reason + 122, "\xC3\xA9", 2);
    reason[sizeof(reason) - 1] = '\0';
    memset(want + 4, 'r', sizeof(want) - 4);
    check_encoded_close(1000, reason, want, 4 + 122);
    memset(reason + 122, 'r', 2);
    want[1] = 0x7D;
    check_encoded_close(1000, reason, want, 4 + 123);
}

/* Each with a context for every message, and with one that is kept. */
#define COMPRESSED(test)                                                                           \
    cmocka_unit_test_setup_teardown(test, with_fresh_terms, without_terms),                        \
        cmocka_unit_test_setup_teardown(test, with_kept_terms, without_terms)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_lengths),
        cmocka_unit_test(control_frames),
        cmocka_unit_test(fragments_with_control_frames_between),
        cmocka_unit_test(empty_fragments),
        cmocka_unit_test(many_fragments),
        cmocka_unit_test(decoders_share_a_scratch_buffer),
        cmocka_unit_test(pending),
        cmocka_unit_test(reserved_bits),
        cmocka_unit_test(reserved_bits_inside_a_message),
        cmocka_unit_test(opcodes),
        cmocka_unit_test(unmasked),
        cmocka_unit_test(long_control_frames),
        cmocka_unit_test(lengths_not_in_shortest_form),
        cmocka_unit_test(length_above_63_bits),
        cmocka_unit_test(frames_out_of_turn),
        cmocka_unit_test(bad_text_inside_an_unfinished_frame),
        cmocka_unit_test(bad_text_in_a_fragment),
        cmocka_unit_test(bad_text_in_a_whole_frame),
        cmocka_unit_test(character_over_three_fragments),
        cmocka_unit_test(text_cut_off),
        cmocka_unit_test(text_state_starts_anew),
        cmocka_unit_test(close_codes),
        cmocka_unit_test(close_without_a_body),
        cmocka_unit_test(close_bodies),
        cmocka_unit_test(messages_up_to_the_limit),
        cmocka_unit_test(too_big_at_the_length_field),
        cmocka_unit_test(too_big_as_a_sum),
        cmocka_unit_test(memory_follows_what_has_arrived),
        cmocka_unit_test(memory_is_given_back),
        cmocka_unit_test(the_decoder_is_small),
        COMPRESSED(compressed_messages),
        COMPRESSED(compressed_fragments),
        COMPRESSED(compressed_messages_of_no_byte),
        COMPRESSED(reserved_bits_with_compression),
        COMPRESSED(compressed_message_inside_an_unfinished_one),
        COMPRESSED(bad_text_inside_a_compressed_frame),
        COMPRESSED(compressed_text_cut_off),
        COMPRESSED(bad_deflate_data),
        COMPRESSED(compressed_messages_up_to_the_limit),
        COMPRESSED(compressed_frames_too_big_at_the_length_field),
        COMPRESSED(compressed_frames_of_nothing_come_to_an_end),
        COMPRESSED(bombs_end_at_the_limit),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(headers_byte_for_byte),
        cmocka_unit_test(frames_are_built_in_place),
        cmocka_unit_test(encoded_close_frames),
    };
    return cmocka_run_group_tests_name("ws", tests, NULL, NULL);
}
