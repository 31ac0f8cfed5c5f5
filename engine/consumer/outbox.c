/* A record is OUTBOX_ROOM bytes, the first four of which hold the frame's length until it is sent,
 * and the frame. */
#include "consumer/outbox.h"
#include "base/check.h"
#include <stdint.h>
#include <string.h>

enum { KEEP_BYTES = 256 << 10 };

/* What was sent leaves the front of the buffer once it is more than what has to be moved for it. */
static void reclaim(struct outbox *outbox)
{
    if (outbox->front <= outbox->buf.len / 2)
        return;
    buf_consume(&outbox->buf, outbox->front);
    outbox->front = 0;
}

struct buf *outbox_begin(struct outbox *outbox)
{
    reclaim(outbox);
    outbox->draft = outbox->buf.len;
    memset(buf_reserve(&outbox->buf, OUTBOX_ROOM), 0, OUTBOX_ROOM);
    outbox->buf.len += OUTBOX_ROOM;
    return &outbox->buf;
}

size_t outbox_draft_len(const struct outbox *outbox)
{
    return outbox->buf.len - outbox->draft - OUTBOX_ROOM;
}

void outbox_end(struct outbox *outbox)
{
    size_t len = outbox_draft_len(outbox);
    CHECK(len <= UINT32_MAX);
    uint32_t stored = (uint32_t)len;
    memcpy(outbox->buf.data + outbox->draft, &stored, sizeof stored);
    if (outbox->count++ == 0)
        outbox->first = len;
}

static void shrink(struct outbox *outbox)
{
    outbox->front = outbox->buf.len = 0;
    if (outbox->buf.cap > KEEP_BYTES)
        buf_free(&outbox->buf);
}

void outbox_cancel(struct outbox *outbox)
{
    outbox->buf.len = outbox->draft;
    if (outbox->count == 0)
        shrink(outbox);
}

size_t outbox_bytes(const struct outbox *outbox)
{
    return outbox->buf.len - outbox->front;
}

char *outbox_front(struct outbox *outbox, size_t *len)
{
    if (outbox->count == 0)
        return NULL;
    *len = outbox->first;
    return outbox->buf.data + outbox->front + OUTBOX_ROOM;
}

static void read_first(struct outbox *outbox)
{
    uint32_t stored;
    memcpy(&stored, outbox->buf.data + outbox->front, sizeof stored);
    outbox->first = stored;
}

void outbox_drop_front(struct outbox *outbox)
{
    CHECK(outbox->count > 0);
    outbox->front += OUTBOX_ROOM + outbox->first;
    outbox->count--;
    if (outbox->count > 0)
        read_first(outbox);
    else
        shrink(outbox);
}

void outbox_free(struct outbox *outbox)
{
    buf_free(&outbox->buf);
    *outbox = (struct outbox){0};
}
