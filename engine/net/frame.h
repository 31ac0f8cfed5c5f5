/* Immutable bytes on their way to one or many connections of a worker: a publish is encoded once
 * and its frame stands in every subscriber's write queue. Plain reference count: one thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct frame {
    uint32_t refs;
    uint32_t len;
    char data[];
};

/* One reference, the caller's. `data` may be NULL: then the caller fills in the bytes before
 * anybody else sees them. */
struct frame *frame_new(const void *data, size_t len);

static inline struct frame *frame_ref(struct frame *frame)
{
    frame->refs++;
    return frame;
}

void frame_unref(struct frame *frame); /* NULL is allowed */
