#include "net/out_queue.h"
#include "base/mem.h"
#include <stdlib.h>

enum {
    GROWN_FRAMES = 16,
    /* What small messages are collected in: the first chunk, and those behind it. */
    SMALL_BYTES = 256,
    CHUNK_BYTES = 2048,
    WEIGH_LOOK = 64, /* frames that stand for all */
    DROP_LOOK = 64,  /* frames that are looked at for one that may be left out */
};

static struct frame **place(struct out_queue *q, uint32_t i)
{
    return &q->ring[(q->head + i) & (q->cap - 1)];
}

/* -- chunks -- */

static void release(struct out_spare *spare, struct frame *frame)
{
    if (frame->cap != CHUNK_BYTES || frame->refs > 1 || spare->count == OUT_QUEUE_SPARE_MAX) {
        frame_unref(frame);
        return;
    }
    frame->len = 0;
    frame->messages = 0;
    spare->chunks[spare->count++] = frame;
}

static struct frame *new_chunk(struct out_spare *spare, size_t cap)
{
    if (cap <= CHUNK_BYTES && spare->count > 0)
        return spare->chunks[--spare->count];
    return frame_new_empty(cap);
}

static struct frame *copy_chunk(struct out_spare *spare, struct frame *chunk)
{
    struct frame *frame = frame_new(chunk->data, chunk->len);
    frame->messages = chunk->messages;
    release(spare, chunk);
    return frame;
}

void out_spare_fini(struct out_spare *spare)
{
    while (spare->count > 0)
        frame_unref(spare->chunks[--spare->count]);
}

/* -- the ring -- */

void out_queue_init(struct out_queue *q)
{
    *q = (struct out_queue){.cap = OUT_QUEUE_INLINE, .ring = q->inlined};
}

static void reset(struct out_queue *q)
{
    if (q->ring != q->inlined)
        free(q->ring);
    out_queue_init(q);
}

static void grow(struct out_queue *q)
{
    uint32_t cap = q->cap < GROWN_FRAMES ? GROWN_FRAMES : 2 * q->cap;
    struct frame **bigger = xmalloc(cap * sizeof *bigger);
    for (uint32_t i = 0; i < q->count; i++)
        bigger[i] = out_queue_at(q, i);
    if (q->ring != q->inlined)
        free(q->ring);
    q->ring = bigger;
    q->cap = cap;
    q->head = 0;
}

/* Nothing more is appended to the last frame. Where it has to wait, it keeps only what it uses. A
 * chunk that is hardly used is copied: what is cut off it is too small to be the next one. */
static void seal(struct out_queue *q, struct out_spare *spare, bool waits)
{
    if (q->room > 0) {
        struct frame **last = place(q, q->count - 1);
        bool hardly_used = (*last)->len <= (*last)->cap / 2;
        if (hardly_used && (waits || q->count > GROWN_FRAMES))
            *last = copy_chunk(spare, *last);
        else if (waits && !hardly_used)
            *last = frame_trim(*last);
    }
    q->room = 0;
}

void out_queue_push(struct out_queue *q, struct out_spare *spare, struct frame *frame)
{
    seal(q, spare, q->writing > 0);
    if (q->count == q->cap)
        grow(q);
    *place(q, q->count++) = frame;
    q->bytes += OUT_QUEUE_FRAME_COST + frame->len;
}

void out_queue_open(struct out_queue *q, struct out_spare *spare, size_t len)
{
    size_t cap = q->count > 0 ? CHUNK_BYTES : SMALL_BYTES;
    struct frame *chunk = new_chunk(spare, len > cap ? len : cap);
    out_queue_push(q, spare, chunk);
    q->room = chunk->cap;
}

static void pop(struct out_queue *q, struct out_spare *spare)
{
    release(spare, out_queue_at(q, 0));
    q->head = (q->head + 1) & (q->cap - 1);
    q->count--;
    q->bytes -= OUT_QUEUE_FRAME_COST;
    q->offset = 0;
}

/* -- writing -- */

unsigned out_queue_gather(const struct out_queue *q, uv_buf_t *bufs, size_t enough, size_t *bytes)
{
    unsigned n = 0;
    *bytes = 0;
    for (; n < q->count && n < OUT_QUEUE_GATHER_MAX && *bytes < enough; n++) {
        struct frame *frame = out_queue_at(q, n);
        uint32_t skip = n == 0 ? q->offset : 0;
        bufs[n] = uv_buf_init(frame->data + skip, frame->len - skip);
        *bytes += frame->len - skip;
    }
    return n;
}

unsigned out_queue_begin(struct out_queue *q, struct out_spare *spare, uv_buf_t *bufs,
                         size_t enough)
{
    size_t bytes;
    seal(q, spare, true);
    return q->writing = out_queue_gather(q, bufs, enough, &bytes);
}

void out_queue_written(struct out_queue *q, struct out_spare *spare, size_t bytes)
{
    q->writing = 0;
    q->bytes -= bytes;
    while (bytes > 0) {
        size_t left = out_queue_at(q, 0)->len - q->offset;
        if (bytes < left) {
            q->offset += (uint32_t)bytes;
            return;
        }
        bytes -= left;
        pop(q, spare);
    }
    if (q->count == 0)
        reset(q); /* a silent connection keeps no ring */
}

size_t out_queue_waiting(const struct out_queue *q)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < q->writing; i++)
        bytes += out_queue_at(q, i)->len;
    return bytes - (q->writing > 0 ? q->offset : 0);
}

/* -- what does not go out -- */

/* Frames of which something may be on its way. */
static uint32_t begun(const struct out_queue *q)
{
    return q->writing > 0 ? q->writing : q->offset > 0;
}

static void drop_from(struct out_queue *q, struct out_spare *spare, uint32_t first)
{
    q->room = 0;
    while (q->count > first) {
        struct frame *last = out_queue_at(q, --q->count);
        q->bytes -= OUT_QUEUE_FRAME_COST + last->len;
        release(spare, last);
    }
    if (first == 0)
        reset(q);
}

void out_queue_drop_unbegun(struct out_queue *q, struct out_spare *spare)
{
    drop_from(q, spare, begun(q));
}

void out_queue_fini(struct out_queue *q, struct out_spare *spare)
{
    drop_from(q, spare, 0);
}

/* Leaves out a frame of messages. Those before it are few. */
static uint32_t leave_out(struct out_queue *q, struct out_spare *spare, uint32_t at)
{
    struct frame *frame = out_queue_at(q, at);
    uint32_t messages = frame->messages;
    if (at + 1 == q->count)
        q->room = 0;
    for (; at > 0; at--)
        *place(q, at) = out_queue_at(q, at - 1);
    q->head = (q->head + 1) & (q->cap - 1);
    q->count--;
    q->bytes -= OUT_QUEUE_FRAME_COST + frame->len;
    release(spare, frame);
    return messages;
}

uint32_t out_queue_drop_oldest(struct out_queue *q, struct out_spare *spare)
{
    uint32_t first = begun(q);
    for (uint32_t i = first; i < first + DROP_LOOK && i < q->count; i++)
        if (out_queue_at(q, i)->messages > 0)
            return leave_out(q, spare, i);
    return 0;
}

/* -- weighing -- */

uint64_t out_queue_weight(const struct out_queue *q)
{
    uint64_t bytes = 0, parts = 0;
    for (uint32_t i = 0; i < q->count; i += q->count / WEIGH_LOOK + 1) {
        const struct frame *frame = out_queue_at(q, i);
        bytes += frame->len;
        parts += (sizeof *frame + frame->len) / frame->refs;
    }
    uint64_t ring = q->ring == q->inlined ? 0 : q->cap * sizeof *q->ring;
    uint64_t unwritten = q->bytes - (uint64_t)OUT_QUEUE_FRAME_COST * q->count;
    return ring + (uint64_t)((double)unwritten * (double)parts / (double)(bytes | 1));
}
