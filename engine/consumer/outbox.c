#include "consumer/outbox.h"
#include "base/check.h"
#include "proto/ws_frame.h"

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
    outbox->draft = ws_frame_begin(&outbox->buf);
    return &outbox->buf;
}

void outbox_end(struct outbox *outbox, const uint8_t mask[4])
{
    ws_frame_end(&outbox->buf, outbox->draft, WS_OP_TEXT, mask);
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
    if (outbox_bytes(outbox) == 0)
        shrink(outbox);
}

size_t outbox_bytes(const struct outbox *outbox)
{
    return outbox->buf.len - outbox->front;
}

/* The frames at the front that together have at most `max` bytes of the `all` that there are. */
static size_t whole_frames(const char *front, size_t all, size_t max)
{
    size_t len = ws_frame_size(front);
    while (len < all && len + ws_frame_size(front + len) <= max)
        len += ws_frame_size(front + len);
    return len;
}

char *outbox_front(const struct outbox *outbox, size_t max, size_t *len)
{
    size_t all = outbox_bytes(outbox);
    if (all == 0)
        return NULL;
    char *front = outbox->buf.data + outbox->front;
    *len = all <= max ? all : whole_frames(front, all, max);
    return front;
}

void outbox_drop_front(struct outbox *outbox, size_t len)
{
    CHECK(len <= outbox_bytes(outbox));
    outbox->front += len;
    if (outbox_bytes(outbox) == 0)
        shrink(outbox);
}

void outbox_free(struct outbox *outbox)
{
    buf_free(&outbox->buf);
    *outbox = (struct outbox){0};
}
