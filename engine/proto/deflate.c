/* A compressor is three arrays that zlib sizes by window and "memory level", a decompressor a table
 * of codes and a window. Both outlive a message only where a context is kept. */
#include "proto/deflate.h"

#include "base/check.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    BITS_MIN = 9,
    CHUNK = 16 * 1024,
    PACK_STEP = 64 * 1024,
    TAIL_LEN = 4,
    /* Of chat-like messages 6 takes 1 to 2 % off what 3 leaves, for up to twice the time. */
    LEVEL = 3,
    MEMORY_ONCE = 8,
    MEMORY_KEPT = 5,
    UNPACKER_BYTES = 7 * 1024, /* beside its window */
    /* of z_stream.data_type after inflate() */
    UNUSED_BITS = 0x3F,
    BLOCK_HAS_ENDED = 0x80,
};

static const unsigned char tail[TAIL_LEN] = {0x00, 0x00, 0xFF, 0xFF};

struct deflate_pool {
    z_stream *packers[DEFLATE_BITS_MAX + 1]; /* by bits of the window; NULL: not needed yet */
    z_stream *spare;                         /* an unpacker with the widest window, or NULL */
    unsigned char chunk[CHUNK];
};

struct deflate {
    struct deflate_pool *pool;
    struct deflate_terms terms;
    z_stream *packer, *unpacker; /* NULL: not needed, or not yet */
    uint64_t fed;
    bool ending;    /* the tail was fed */
    bool at_border; /* what was inflated ends where a block does, and a byte */
    bool bad;
};

/* -- zlib's streams -- */

static void *on_alloc(void *data, unsigned count, unsigned size)
{
    (void)data;
    return xmalloc((size_t)count * size);
}

static void on_free(void *data, void *memory)
{
    (void)data;
    free(memory);
}

static z_stream *stream_new(void)
{
    z_stream *z = xcalloc(1, sizeof *z);
    z->zalloc = on_alloc;
    z->zfree = on_free;
    return z;
}

static z_stream *packer_new(unsigned bits, int memory)
{
    z_stream *z = stream_new();
    CHECK(deflateInit2(z, LEVEL, Z_DEFLATED, -(int)bits, memory, Z_DEFAULT_STRATEGY) == Z_OK);
    return z;
}

/* Peers on zlib that agreed to a window of 8 bits use one of 9. */
static z_stream *unpacker_new(unsigned bits)
{
    z_stream *z = stream_new();
    CHECK(inflateInit2(z, -(int)(bits < BITS_MIN ? BITS_MIN : bits)) == Z_OK);
    return z;
}

static void packer_free(z_stream *z)
{
    if (z)
        deflateEnd(z);
    free(z);
}

static void unpacker_free(z_stream *z)
{
    if (z)
        inflateEnd(z);
    free(z);
}

struct deflate_pool *deflate_pool_new(void)
{
    return xcalloc(1, sizeof(struct deflate_pool));
}

void deflate_pool_free(struct deflate_pool *pool)
{
    if (!pool)
        return;
    for (size_t i = 0; i <= DEFLATE_BITS_MAX; i++)
        packer_free(pool->packers[i]);
    unpacker_free(pool->spare);
    free(pool);
}

struct deflate *deflate_new(struct deflate_pool *pool, const struct deflate_terms *terms)
{
    struct deflate *d = xcalloc(1, sizeof *d);
    d->pool = pool;
    d->terms = *terms;
    return d;
}

/* An unpacker without a context goes back to the pool, which keeps one. */
static void release_unpacker(struct deflate *d)
{
    if (d->terms.client_keeps || d->pool->spare) {
        unpacker_free(d->unpacker);
    } else if (d->unpacker) {
        CHECK(inflateReset(d->unpacker) == Z_OK);
        d->pool->spare = d->unpacker;
    }
    d->unpacker = NULL;
}

void deflate_free(struct deflate *d)
{
    if (!d)
        return;
    packer_free(d->packer);
    release_unpacker(d);
    free(d);
}

const struct deflate_terms *deflate_terms(const struct deflate *d)
{
    return &d->terms;
}

/* What zlib's manual says of each. */
size_t deflate_weight(const struct deflate *d)
{
    size_t packer = ((size_t)4 << d->terms.server_bits) + ((size_t)512 << MEMORY_KEPT);
    size_t unpacker = ((size_t)1 << d->terms.client_bits) + UNPACKER_BYTES;
    return (d->packer ? packer : 0) + (d->unpacker ? unpacker : 0);
}

/* -- outwards -- */

/* An empty message is one byte, the start of the block that its tail completes: zlib gives nothing
 * for it when asked twice in a row. */
static void pack(z_stream *z, struct buf *out, const void *data, size_t len)
{
    CHECK(len <= UINT32_MAX);
    if (len == 0) {
        buf_append_char(out, 0);
        return;
    }
    z->next_in = (z_const Bytef *)data;
    z->avail_in = (uInt)len;
    uLong bound = deflateBound(z, (uLong)len) + 2 * TAIL_LEN;
    do {
        size_t room = bound < PACK_STEP ? bound : PACK_STEP;
        z->next_out = (Bytef *)buf_reserve(out, room);
        z->avail_out = (uInt)room;
        CHECK(deflate(z, Z_SYNC_FLUSH) == Z_OK);
        out->len += room - z->avail_out;
    } while (z->avail_out == 0);
    CHECK(memcmp(out->data + out->len - TAIL_LEN, tail, TAIL_LEN) == 0);
    out->len -= TAIL_LEN;
}

void deflate_pack_once(struct deflate_pool *pool, unsigned bits, struct buf *out, const void *data,
                       size_t len)
{
    CHECK(bits >= BITS_MIN && bits <= DEFLATE_BITS_MAX);
    z_stream **packer = &pool->packers[bits];
    if (!*packer)
        *packer = packer_new(bits, MEMORY_ONCE);
    else
        CHECK(deflateReset(*packer) == Z_OK);
    pack(*packer, out, data, len);
}

void deflate_pack(struct deflate *d, struct buf *out, const void *data, size_t len)
{
    if (!d->terms.server_keeps) {
        deflate_pack_once(d->pool, d->terms.server_bits, out, data, len);
        return;
    }
    if (!d->packer)
        d->packer = packer_new(d->terms.server_bits, MEMORY_KEPT);
    pack(d->packer, out, data, len);
}

/* -- inwards -- */

static void need_unpacker(struct deflate *d)
{
    if (d->unpacker)
        return;
    if (d->terms.client_keeps) {
        d->unpacker = unpacker_new(d->terms.client_bits);
    } else if (d->pool->spare) {
        d->unpacker = d->pool->spare;
        d->pool->spare = NULL;
    } else {
        d->unpacker = unpacker_new(DEFLATE_BITS_MAX);
    }
}

static void feed(struct deflate *d, const void *data, size_t len)
{
    CHECK(len <= UINT32_MAX);
    need_unpacker(d);
    d->unpacker->next_in = (z_const Bytef *)data;
    d->unpacker->avail_in = (uInt)len;
}

void deflate_feed(struct deflate *d, const void *data, size_t len)
{
    feed(d, data, len);
    d->fed += len;
}

void deflate_feed_end(struct deflate *d)
{
    feed(d, tail, sizeof tail);
    d->ending = true;
}

uint64_t deflate_fed(const struct deflate *d)
{
    return d->fed;
}

/* inflate() says where it stands only in the call that gets there: in one that has nothing to do it
 * says nothing. After a last block the next message, or the next byte, begins another stream of
 * blocks that may refer to what came before: inflateReset would forget it. */
static void note_progress(struct deflate *d, int status)
{
    z_stream *z = d->unpacker;
    bool border = z->data_type & BLOCK_HAS_ENDED && !(z->data_type & UNUSED_BITS);
    if (status == Z_STREAM_END) {
        CHECK(inflateResetKeep(z) == Z_OK);
        d->at_border = true;
    } else if (status == Z_OK || status == Z_BUF_ERROR) {
        d->at_border = border || (status == Z_BUF_ERROR && d->at_border);
    } else {
        CHECK(status == Z_DATA_ERROR);
        d->bad = true;
    }
}

static enum deflate_state end_message(struct deflate *d)
{
    if (!d->at_border) {
        d->bad = true;
        return DEFLATE_BAD;
    }
    d->ending = false;
    d->fed = 0;
    if (!d->terms.client_keeps)
        release_unpacker(d);
    return DEFLATE_MORE;
}

enum deflate_state deflate_pull(struct deflate *d, struct slice *piece)
{
    z_stream *z = d->unpacker;
    while (!d->bad) {
        z->next_out = d->pool->chunk;
        z->avail_out = CHUNK;
        int status = inflate(z, Z_SYNC_FLUSH);
        note_progress(d, status);
        *piece = (struct slice){(char *)d->pool->chunk, CHUNK - z->avail_out};
        if (piece->len > 0)
            return DEFLATE_PIECE;
        if (!d->bad && z->avail_in == 0)
            return d->ending ? end_message(d) : DEFLATE_MORE;
    }
    return DEFLATE_BAD;
}
