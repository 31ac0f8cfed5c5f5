/* Frames that wait to be sent, in one growing buffer: no allocation for each of them. In the
 * owner's memory; zero-initialised is empty and valid. A frame is written in place between
 * outbox_begin and outbox_end, and nothing else may be done to the outbox between them. */
#pragma once

#include "base/buf.h"
#include <stdbool.h>

/* Bytes before each frame that are its sender's to write to: libwebsockets puts a header there. */
enum { OUTBOX_ROOM = 16 };

struct outbox {
    struct buf buf;
    size_t front; /* where the first record begins */
    size_t first; /* the length of its frame, which its sender may have written over */
    size_t draft; /* where the one that is being written does */
    size_t count;
};

/* Returns the buffer to which the frame is to be appended. */
struct buf *outbox_begin(struct outbox *outbox);
size_t outbox_draft_len(const struct outbox *outbox);
void outbox_end(struct outbox *outbox);
void outbox_cancel(struct outbox *outbox);

/* What has not been sent, with the room before each frame. */
size_t outbox_bytes(const struct outbox *outbox);

/* The first frame with OUTBOX_ROOM bytes before it, valid until the outbox is used again; NULL when
 * there is none. The caller may change the bytes. */
char *outbox_front(struct outbox *outbox, size_t *len);

/* A buffer that was large is given back when the last frame goes. */
void outbox_drop_front(struct outbox *outbox);

/* Drops all frames and frees the memory; the outbox is empty and may be used again. */
void outbox_free(struct outbox *outbox);
