/* Messages go out of one connection and into another, which may keep more than the first needs;
 * zlib by itself is the other side where it matters. */
#include "proto/deflate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

enum { BIG = 70000 };

static const struct deflate_terms fresh = {false, false, 15, 15};
static const struct deflate_terms kept = {true, true, 12, 12};

static struct deflate_pool *pool;

static int setup(void **state)
{
    (void)state;
    pool = deflate_pool_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    deflate_pool_free(pool);
    return 0;
}

/* Fed in pieces of `step` bytes, each in a block of exactly that size. */
static enum deflate_state unpack(struct deflate *d, struct buf *out, const void *data, size_t len,
                                 size_t step)
{
    enum deflate_state state = DEFLATE_MORE;
    struct slice piece;
    for (size_t at = 0; at < len && state == DEFLATE_MORE; at += step) {
        size_t size = len - at < step ? len - at : step;
        char *exact = malloc(size);
        memcpy(exact, (const char *)data + at, size);
        deflate_feed(d, exact, size);
        assert_int_equal(deflate_fed(d), at + size);
        while ((state = deflate_pull(d, &piece)) == DEFLATE_PIECE)
            buf_append(out, piece.data, piece.len);
        free(exact);
    }
    if (state == DEFLATE_BAD)
        return state;
    deflate_feed_end(d);
    while ((state = deflate_pull(d, &piece)) == DEFLATE_PIECE) {
        assert_in_range(piece.len, 1, 16 * 1024);
        buf_append(out, piece.data, piece.len);
    }
    return state;
}

static void assert_unpacks(struct deflate *d, const struct buf *packed, const void *want,
                           size_t len, size_t step)
{
    struct buf out = {0};
    assert_int_equal(unpack(d, &out, packed->data, packed->len, step), DEFLATE_MORE);
    assert_int_equal(out.len, len);
    if (len > 0)
        assert_memory_equal(out.data, want, len);
    assert_int_equal(deflate_fed(d), 0);
    buf_free(&out);
}

/* Half of it repeats, half does not. */
static char *content(size_t len)
{
    uint32_t seed = 12345;
    char *data = malloc(len + 1);
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        data[i] = (i % 200 < 100 ? "{\"event\":\"message\",\"data\":"[i % 25] : (char)(seed >> 24));
    }
    return data;
}

static void check_round_trip(struct deflate *from, struct deflate *to, const char *data, size_t len,
                             size_t step)
{
    struct buf packed = {0};
    buf_append_str(&packed, "before");
    deflate_pack(from, &packed, data, len);
    assert_memory_equal(packed.data, "before", 6);
    buf_consume(&packed, 6);
    assert_true(packed.len >= 1);
    assert_unpacks(to, &packed, data, len, step);
    buf_free(&packed);
}

static void check_terms(const struct deflate_terms *terms)
{
    static const size_t lengths[] = {0, 1, 5, 0, 0, 100, 5, 16383, 16384, 16385, 0, BIG, 3};
    struct deflate *from = deflate_new(pool, terms), *to = deflate_new(pool, terms);
    char *data = content(BIG);
    assert_memory_equal(deflate_terms(from), terms, sizeof *terms);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        check_round_trip(from, to, data, lengths[i], i % 2 ? 1000 : BIG);
    for (size_t i = 0; i < 40; i++)
        check_round_trip(from, to, data + i, 50 * i, 1);
    deflate_free(from);
    deflate_free(to);
    free(data);
}

static void round_trips_in_every_mix_of_terms(void **state)
{
    (void)state;
    for (uint8_t ours = 9; ours <= 15; ours++)
        for (uint8_t theirs = ours; theirs <= 15; theirs++)
            for (unsigned i = 0; i < 3; i++)
                check_terms(&(struct deflate_terms){i & 2, i > 0, ours, theirs});
}

/* A reference that nothing of ours has touched, and that forgets whatever is beyond the window. */
static void assert_zlib_reads(z_stream *z, const struct buf *packed, const char *want, size_t len)
{
    char *out = malloc(len + 1);
    size_t produced = 0;
    struct buf whole = {0};
    buf_append(&whole, packed->data, packed->len);
    buf_append(&whole, "\0\0\xFF\xFF", 4);
    z->next_in = (Bytef *)whole.data;
    z->avail_in = (uInt)whole.len;
    while (produced <= len && z->avail_in + 1 > 0) {
        z->next_out = (Bytef *)out + produced;
        z->avail_out = 1;
        int status = inflate(z, Z_SYNC_FLUSH);
        assert_true(status == Z_OK || status == Z_BUF_ERROR);
        if (z->avail_out == 1)
            break;
        produced++;
    }
    assert_int_equal(produced, len);
    assert_memory_equal(out, want, len);
    buf_free(&whole);
    free(out);
}

static void windows_are_kept_to(void **state)
{
    enum { LEN = 20000 };
    char *data = content(LEN);
    (void)state;
    for (uint8_t bits = 15; bits >= 9; bits--) {
        for (int keeps = 0; keeps < 2; keeps++) {
            struct deflate_terms terms = {keeps, keeps, bits, bits};
            struct deflate *d = deflate_new(pool, &terms);
            z_stream z = {0};
            assert_int_equal(inflateInit2(&z, -bits), Z_OK);
            for (int i = 0; i < 3; i++) {
                struct buf packed = {0};
                deflate_pack(d, &packed, data + i, LEN - 3);
                if (!keeps)
                    assert_int_equal(inflateReset(&z), Z_OK);
                assert_zlib_reads(&z, &packed, data + i, LEN - 3);
                buf_free(&packed);
            }
            inflateEnd(&z);
            deflate_free(d);
        }
    }
    free(data);
}

/* RFC 7692, section 7.2.3. */
static void samples_of_the_specification(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *text;
    } samples[] = {
        {"\xf2\x48\xcd\xc9\xc9\x07\x00", 7, "Hello"},
        {"\xf2\x00\x11\x00\x00", 5, "Hello"}, /* refers to the one before */
        {"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11, "Hello"},
        {"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8, "Hello"}, /* says that it is the last block */
        {"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13, "Hello"}, /* two blocks */
        {"\x00", 1, ""},
        {"\x02\x00", 2, ""},
    };
    struct deflate *d = deflate_new(pool, &kept);
    (void)state;
    for (size_t step = 1; step < 20; step += 3)
        for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
            struct buf packed = {0};
            buf_append(&packed, samples[i].bytes, samples[i].len);
            assert_unpacks(d, &packed, samples[i].text, strlen(samples[i].text), step);
            buf_free(&packed);
        }
    deflate_free(d);
}

static void packed_bytes(void **state)
{
    struct deflate *d = deflate_new(pool, &kept);
    struct buf out = {0};
    (void)state;
    deflate_pack(d, &out, "Hello", 5);
    assert_int_equal(out.len, 7);
    assert_memory_equal(out.data, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
    out.len = 0;
    deflate_pack(d, &out, "Hello", 5);
    assert_int_equal(out.len, 5);
    assert_memory_equal(out.data, "\xf2\x00\x11\x00\x00", 5);
    out.len = 0;
    for (int i = 0; i < 3; i++)
        deflate_pack(d, &out, "", 0);
    assert_int_equal(out.len, 3);
    assert_memory_equal(out.data, "\0\0\0", 3);
    buf_free(&out);
    deflate_free(d);
}

static void no_context_is_kept_where_none_may_be(void **state)
{
    struct deflate *d = deflate_new(pool, &fresh), *other = deflate_new(pool, &fresh);
    struct buf first = {0}, second = {0}, once = {0}, out = {0};
    (void)state;
    deflate_pack(d, &first, "Hello", 5);
    deflate_pack(d, &second, "Hello", 5);
    deflate_pack_once(pool, 15, &once, "Hello", 5);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    assert_memory_equal(first.data, once.data, first.len);
    assert_unpacks(d, &first, "Hello", 5, 1);
    assert_int_equal(unpack(d, &out, "\xf2\x00\x11\x00\x00", 5, 5), DEFLATE_BAD);
    assert_unpacks(other, &first, "Hello", 5, 1);
    deflate_free(d);
    deflate_free(other);
    buf_free(&first);
    buf_free(&second);
    buf_free(&once);
    buf_free(&out);
}

static void context_shortens_what_repeats(void **state)
{
    struct deflate *d = deflate_new(pool, &kept);
    struct buf out = {0};
    char *data = content(1000);
    (void)state;
    deflate_pack(d, &out, data, 1000);
    size_t first = out.len;
    deflate_pack(d, &out, data, 1000);
    assert_true(out.len - first < first / 5);
    deflate_free(d);
    buf_free(&out);
    free(data);
}

/* Two that are in the middle of a message do not disturb each other. */
static void messages_interleave(void **state)
{
    struct deflate *sender = deflate_new(pool, &fresh);
    struct deflate *a = deflate_new(pool, &fresh), *b = deflate_new(pool, &fresh);
    struct buf packed = {0}, out_a = {0}, out_b = {0};
    struct slice piece;
    char *data = content(1000);
    (void)state;
    deflate_pack(sender, &packed, data, 1000);
    for (size_t i = 0; i < packed.len; i++) {
        deflate_feed(a, packed.data + i, 1);
        while (deflate_pull(a, &piece) == DEFLATE_PIECE)
            buf_append(&out_a, piece.data, piece.len);
        deflate_feed(b, packed.data + i, 1);
        while (deflate_pull(b, &piece) == DEFLATE_PIECE)
            buf_append(&out_b, piece.data, piece.len);
    }
    assert_int_equal(out_a.len, 1000);
    assert_int_equal(out_b.len, 1000);
    assert_memory_equal(out_a.data, data, 1000);
    assert_memory_equal(out_b.data, data, 1000);
    deflate_free(a);
    deflate_feed_end(b);
    assert_int_equal(deflate_pull(b, &piece), DEFLATE_MORE);
    deflate_free(b);
    deflate_free(sender);
    buf_free(&packed);
    buf_free(&out_a);
    buf_free(&out_b);
    free(data);
}

static void bad_data(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"\x06", 1},                                          /* a reserved kind of block */
        {"\x07", 1},                                          /* the same, said to be the last */
        {"\xff\xff\xff\xff", 4},                              /* the same, with more behind */
        {"\xf2\x48\xcd\xc9", 4},                              /* ends inside a block */
        {"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff", 11}, /* its tail was not removed */
        {"\xf2\x48\xcd\xc9\xc9\x07\x00\x00", 8},              /* a byte too many */
        {"\xf3\x48\xcd\xc9\xc9\x07\x00", 7},     /* a last block without the byte behind it */
        {"\xf3\x48\xcd\xc9\xc9\x07\x00\xff", 8}, /* the same, with a wrong one */
        {"\x00\x05\x00\xfb\xff\x48", 6},         /* length and its complement differ */
        {"\x00\x06\x00\xf9\xff\x48", 6},         /* shorter than it says */
        {"\xf2\x00\x11\x00\x00", 5},             /* refers to what never came */
        {"\x04\x00\x00\x00\x00", 5},             /* codes that are none */
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t step = 1; step <= 12; step += 11)
            for (int keeps = 0; keeps < 2; keeps++) {
                struct deflate *d = deflate_new(pool, keeps ? &kept : &fresh);
                struct buf out = {0};
                struct slice piece;
                if (unpack(d, &out, rows[i].bytes, rows[i].len, step) != DEFLATE_BAD)
                    fail_msg("row %zu was taken", i);
                assert_int_equal(deflate_pull(d, &piece), DEFLATE_BAD);
                deflate_free(d);
                buf_free(&out);
            }
}

/* References reach across a block that says it is the last, and are not slow there. */
static void last_blocks_keep_the_window(void **state)
{
    struct deflate *d = deflate_new(pool, &kept);
    struct buf packed = {0};
    (void)state;
    buf_append(&packed, "\xf3\x48\xcd\xc9\xc9\x07\x00", 7);
    for (int i = 0; i < 100000; i++)
        buf_append(&packed, "\x03\x00", 2);
    buf_append(&packed, "\xf2\x00\x11\x00\x00", 5);
    assert_unpacks(d, &packed, "HelloHello", 10, packed.len);
    packed.len = 0;
    buf_append(&packed, "\x01", 1); /* with the tail: one empty block, the last */
    assert_unpacks(d, &packed, "", 0, 1);
    packed.len = 0;
    buf_append(&packed, "\xf2\x00\x11\x00\x00", 5);
    assert_unpacks(d, &packed, "Hello", 5, 5);
    deflate_free(d);
    buf_free(&packed);
}

/* What swells a thousand times comes in pieces, so that the caller can stop. */
static void bombs_come_in_pieces(void **state)
{
    enum { SIZE = 16 << 20 };
    struct deflate *d = deflate_new(pool, &fresh);
    struct buf packed = {0};
    struct slice piece;
    char *zeros = calloc(1, SIZE);
    size_t total = 0;
    (void)state;
    deflate_pack(d, &packed, zeros, SIZE);
    assert_true(packed.len < SIZE / 200);
    deflate_feed(d, packed.data, packed.len);
    while (deflate_pull(d, &piece) == DEFLATE_PIECE) {
        assert_in_range(piece.len, 1, 16 * 1024);
        total += piece.len;
    }
    assert_int_equal(total, SIZE);
    deflate_free(d); /* in the middle of the message */
    buf_free(&packed);
    free(zeros);
}

#define POOLED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOLED(round_trips_in_every_mix_of_terms),
        POOLED(windows_are_kept_to),
        POOLED(samples_of_the_specification),
        POOLED(packed_bytes),
        POOLED(no_context_is_kept_where_none_may_be),
        POOLED(context_shortens_what_repeats),
        POOLED(messages_interleave),
        POOLED(bad_data),
        POOLED(last_blocks_keep_the_window),
        POOLED(bombs_come_in_pieces),
    };
    return cmocka_run_group_tests_name("deflate", tests, NULL, NULL);
}
