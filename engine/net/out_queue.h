/* What waits to be written to one client: a ring of references to frames, in their order, the last
 * of which may be the queue's own, to copy small messages into, so that many leave as one buffer.
 *
 * It lies in its connection, which alone calls it, on the loop's thread. It has no bound of its
 * own: the connection holds `bytes` against its limits before it adds any. One that was written
 * whole holds no memory. Of a write that waits, the first `writing` frames are the kernel's or
 * TLS's business: they stay as they are, where they are, until out_queue_written.
 *
 * The fields are read by the connection (`count`, `bytes`, `writing`) and written here. What each
 * message passes through is inline. */
#pragma once

#include "net/frame.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum {
    OUT_QUEUE_INLINE = 2,      /* a delivery to a connection that keeps up allocates nothing */
    OUT_QUEUE_GATHER_MAX = 64, /* buffers of one write */
    /* What a frame that waits takes besides its bytes: its head, what malloc adds to it, and its
     * place in a ring that may be half empty. Counted for each, also of a frame that many hold. */
    OUT_QUEUE_FRAME_COST = sizeof(struct frame) + 16 + 2 * sizeof(struct frame *),
    OUT_QUEUE_SPARE_MAX = 64,
};

/* Chunks for the next small messages of all queues of a loop; in the owner's memory, zeroed. */
struct out_spare {
    struct frame *chunks[OUT_QUEUE_SPARE_MAX];
    unsigned count;
};

struct out_queue {
    uint32_t head, count, cap; /* of the ring */
    uint32_t offset;           /* written bytes of the first frame */
    uint32_t room;             /* left in the last frame, which is the queue's to append to */
    uint32_t writing;          /* frames of the write that waits */
    struct frame **ring, *inlined[OUT_QUEUE_INLINE];
    uint64_t bytes; /* not written, also of the write that waits, and what each frame costs */
};

void out_queue_init(struct out_queue *q);
void out_queue_fini(struct out_queue *q, struct out_spare *spare); /* drops everything */
void out_spare_fini(struct out_spare *spare);                      /* after the last queue */

/* Takes the caller's reference. */
void out_queue_push(struct out_queue *q, struct out_spare *spare, struct frame *frame);

/* Begins a chunk with room for `len` bytes; for out_queue_reserve. */
void out_queue_open(struct out_queue *q, struct out_spare *spare, size_t len);

static inline struct frame *out_queue_at(const struct out_queue *q, uint32_t i)
{
    return q->ring[(q->head + i) & (q->cap - 1)];
}

/* Where the next `len` bytes go, more than none, for the caller to fill in at once. `message`: they
 * are a whole one. `apart`: a chunk holds messages or something else, so that messages can be left
 * out. */
static inline char *out_queue_reserve(struct out_queue *q, struct out_spare *spare, size_t len,
                                      bool message, bool apart)
{
    if (len > q->room || (apart && message != (out_queue_at(q, q->count - 1)->messages > 0)))
        out_queue_open(q, spare, len);
    struct frame *last = out_queue_at(q, q->count - 1);
    char *at = last->data + last->len;
    last->len += (uint32_t)len;
    last->messages += message;
    q->room -= (uint32_t)len;
    q->bytes += len;
    return at;
}

/* The first frames, OUT_QUEUE_GATHER_MAX at most, until they are `enough` bytes; *bytes: how many
 * they are. */
unsigned out_queue_gather(const struct out_queue *q, uv_buf_t *bufs, size_t enough, size_t *bytes);

/* The same for a write that is going to wait: of these frames none is touched until it is over. */
unsigned out_queue_begin(struct out_queue *q, struct out_spare *spare, uv_buf_t *bufs,
                         size_t enough);

/* The first bytes are written, and no write waits. */
void out_queue_written(struct out_queue *q, struct out_spare *spare, size_t bytes);

/* Bytes of the write that waits; the socket may have taken some of them. */
size_t out_queue_waiting(const struct out_queue *q);

/* Drops all frames of which nothing is on its way. */
void out_queue_drop_unbegun(struct out_queue *q, struct out_spare *spare);

/* Drops the oldest frame of messages of which nothing is on its way; returns how many messages. 0:
 * there is none near. */
uint32_t out_queue_drop_oldest(struct out_queue *q, struct out_spare *spare);

/* Bytes of memory that go with it, about: of frames that many hold, its part. */
uint64_t out_queue_weight(const struct out_queue *q);
