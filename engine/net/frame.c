#include "net/frame.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

struct frame *frame_new_empty(size_t cap)
{
    struct frame *frame = xmalloc(sizeof *frame + cap);
    frame->refs = 1;
    frame->len = 0;
    frame->cap = (uint32_t)cap;
    frame->messages = 0;
    return frame;
}

struct frame *frame_new(const void *data, size_t len)
{
    struct frame *frame = frame_new_empty(len);
    frame->len = (uint32_t)len;
    if (data)
        memcpy(frame->data, data, len);
    return frame;
}

struct frame *frame_trim(struct frame *frame)
{
    frame->cap = frame->len;
    return xrealloc(frame, sizeof *frame + frame->len);
}

void frame_unref(struct frame *frame)
{
    if (frame && --frame->refs == 0)
        free(frame);
}
