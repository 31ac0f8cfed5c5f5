/* Immutable bytes on their way to one or many connections of a worker: a publish is encoded once
 * and its frame stands in every subscriber's write queue. Plain reference count: one thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct frame {
    uint32_t refs;
    uint32_t len;
    uint32_t cap;      /* bytes of data there is room for */
    uint32_t messages; /* whole ones that it is, and a slow client can do without; 0: none */
    char data[];
};

/* One reference, the caller's, and no messages. `data` may be NULL: then the caller fills in the
 * bytes before anybody else sees them. */
struct frame *frame_new(const void *data, size_t len);

/* Room for `cap` bytes, none of them used: for an owner that keeps it to itself and fills it in by
 * and by. */
struct frame *frame_new_empty(size_t cap);

/* Gives back the room that is not used, of a frame with one reference; it may move. */
struct frame *frame_trim(struct frame *frame);

static inline struct frame *frame_ref(struct frame *frame)
{
    frame->refs++;
    return frame;
}

void frame_unref(struct frame *frame); /* NULL is allowed */
