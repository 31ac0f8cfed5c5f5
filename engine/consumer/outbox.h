/* Frames that wait to be sent, as they go over the wire, in one growing buffer: no allocation for
 * each of them, and one write for many. In the owner's memory; zero-initialised is empty and valid.
 * A frame's text is written in place between outbox_begin and outbox_end, and nothing else may be
 * done to the outbox between them. */
#pragma once

#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>

struct outbox {
    struct buf buf;
    size_t front; /* where the first frame begins */
    size_t draft; /* where the one that is being written does */
};

/* Returns the buffer to which the text is to be appended. */
struct buf *outbox_begin(struct outbox *outbox);
void outbox_end(struct outbox *outbox, const uint8_t mask[4]);
void outbox_cancel(struct outbox *outbox);

/* What has not been sent, with headers. */
size_t outbox_bytes(const struct outbox *outbox);

/* The first frames, whole ones, as many as `max` bytes hold but one at least; valid until the
 * outbox is used again. NULL when there is none. */
char *outbox_front(const struct outbox *outbox, size_t max, size_t *len);

/* So many bytes, which outbox_front has given, were sent. A buffer that was large is given back
 * when the last frame goes. */
void outbox_drop_front(struct outbox *outbox, size_t len);

/* Drops all frames and frees the memory; the outbox is empty and may be used again. */
void outbox_free(struct outbox *outbox);
