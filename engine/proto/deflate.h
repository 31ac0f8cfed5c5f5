/* Compression of messages by permessage-deflate (RFC 7692) on zlib, without I/O: what stands in the
 * payload of frames, with neither headers nor the tail 00 00 ff ff.
 *
 * Memory of one connection:
 * - outwards: none without context takeover (the thread's compressors serve all); else, from the
 *   first compressed message on, 38 KiB, or 24 KiB with a window of 9 bits;
 * - inwards: none without context takeover, but up to 39 KiB while a message has begun and not
 *   ended; else, from the first compressed message on, 7 KiB and the client's window: 4 KiB where
 *   that could be agreed on, at most 32 KiB.
 * Memory of the thread: 136 to 262 KiB for each of the seven sizes of window that is in use, and 55
 * KiB for what comes in.
 *
 * Nothing here bounds the size of an inflated message: pieces are handed out as they come, and the
 * caller stops when it has had enough. */
#pragma once

#include "base/buf.h"
#include "proto/deflate_offer.h"
#include <stdbool.h>
#include <stdint.h>

/* What all connections of one thread share. */
struct deflate_pool;

struct deflate_pool *deflate_pool_new(void);

/* After every connection's. NULL is allowed. */
void deflate_pool_free(struct deflate_pool *pool);

/* Appends a message of at most 4 GiB, compressed for whoever keeps no context and has a window of
 * at least 2^bits bytes; bits from 9 to 15. */
void deflate_pack_once(struct deflate_pool *pool, unsigned bits, struct buf *out, const void *data,
                       size_t len);

/* One connection's both directions. */
struct deflate;

struct deflate *deflate_new(struct deflate_pool *pool, const struct deflate_terms *terms);
void deflate_free(struct deflate *d); /* NULL is allowed */
const struct deflate_terms *deflate_terms(const struct deflate *d);

/* Bytes of memory that it takes now, about. */
size_t deflate_weight(const struct deflate *d);

/* Appends a message of at most 4 GiB, compressed. With server_keeps it refers to those before it:
 * what was appended must be sent, and in this order. */
void deflate_pack(struct deflate *d, struct buf *out, const void *data, size_t len);

enum deflate_state {
    DEFLATE_PIECE, /* there is a piece, and perhaps more */
    DEFLATE_MORE,  /* all that was fed has been inflated; after deflate_feed_end: the message is
                      whole */
    DEFLATE_BAD,   /* what was fed is not deflate data; the state is of no use any more */
};

/* Gives bytes of a message, which must stay until deflate_pull has said DEFLATE_MORE. */
void deflate_feed(struct deflate *d, const void *data, size_t len);

/* Gives the end of the message. */
void deflate_feed_end(struct deflate *d);

/* The next piece that is inflated, of at most 16 KiB, never empty; valid until the next call for
 * any connection of the pool. Blocks that say they are the last do not end a message (section
 * 7.2.3.5); a message must end where a block does. */
enum deflate_state deflate_pull(struct deflate *d, struct slice *piece);

/* Bytes fed of the current message; 0 between two. */
uint64_t deflate_fed(const struct deflate *d);
