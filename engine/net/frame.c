#include "net/frame.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

struct frame *frame_new(const void *data, size_t len)
{
    struct frame *frame = xmalloc(sizeof *frame + len);
    frame->refs = 1;
    frame->len = (uint32_t)len;
    if (data)
        memcpy(frame->data, data, len);
    return frame;
}

void frame_unref(struct frame *frame)
{
    if (frame && --frame->refs == 0)
        free(frame);
}
