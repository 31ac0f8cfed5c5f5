/* A conversation of messages: whatever is packed by one side comes out of the other, with and
 * without contexts that are kept; and any bytes as packed data come out the same whatever way they
 * are cut, or are bad.
 *
 * Input: byte 0 holds the terms; the rest is messages, each with its length in front. */
#include "proto/deflate.h"

#include "base/check.h"
#include "exact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INFLATED_MAX = 1 << 20 };

static struct deflate_pool *pool;
static struct buf packed, inflated, again;

/* Appends what comes out, up to a bound; false where the data is bad. */
static bool pull(struct deflate *d, struct buf *out)
{
    struct slice piece;
    enum deflate_state state;
    while ((state = deflate_pull(d, &piece)) == DEFLATE_PIECE) {
        CHECK(piece.len > 0 && piece.len <= 16 * 1024);
        buf_append(out, piece.data, piece.len);
        if (out->len > INFLATED_MAX)
            return false;
    }
    return state == DEFLATE_MORE;
}

static bool unpack(struct deflate *d, struct buf *out, const char *data, size_t len, size_t cut)
{
    static struct exact exact;
    out->len = 0;
    deflate_feed(d, exact_copy(&exact, data, cut), cut);
    if (!pull(d, out))
        return false;
    deflate_feed(d, exact_copy(&exact, data + cut, len - cut), len - cut);
    if (!pull(d, out))
        return false;
    CHECK(deflate_fed(d) == len);
    deflate_feed_end(d);
    return pull(d, out);
}

static void converse(struct deflate *from, struct deflate *to, const uint8_t *at, size_t size)
{
    while (size > 0) {
        size_t len = at[0] < size - 1 ? at[0] : size - 1;
        packed.len = 0;
        deflate_pack(from, &packed, at + 1, len);
        CHECK(unpack(to, &inflated, packed.data, packed.len, packed.len / 2));
        CHECK(inflated.len == len && (len == 0 || memcmp(inflated.data, at + 1, len) == 0));
        CHECK(deflate_fed(to) == 0);
        at += 1 + len;
        size -= 1 + len;
    }
}

static void check_any(const struct deflate_terms *terms, const char *data, size_t len)
{
    struct deflate *a = deflate_new(pool, terms), *b = deflate_new(pool, terms);
    bool fine = unpack(a, &inflated, data, len, 0);
    if (inflated.len <= INFLATED_MAX) {
        CHECK(unpack(b, &again, data, len, len / 3) == fine);
        CHECK(!fine || again.len == inflated.len);
        CHECK(!fine || again.len == 0 || memcmp(again.data, inflated.data, again.len) == 0);
    }
    deflate_free(a);
    deflate_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!pool)
        pool = deflate_pool_new();
    if (size == 0)
        return 0;
    bool keeps = data[0] & 1;
    unsigned bits = 9 + data[0] / 2 % (keeps ? DEFLATE_KEPT_BITS - 8 : 7);
    const struct deflate_terms out = {.server_keeps = keeps,
                                      .server_bits = bits,
                                      .client_bits = 15},
                               in = {.client_keeps = keeps, .server_bits = 15, .client_bits = bits},
                               widest = {
                                   .client_keeps = keeps, .server_bits = 15, .client_bits = 15};
    struct deflate *from = deflate_new(pool, &out), *to = deflate_new(pool, &in);
    converse(from, to, data + 1, size - 1);
    deflate_free(from);
    deflate_free(to);
    check_any(&widest, (const char *)data + 1, size - 1);
    return 0;
}
