/* A copy of bytes at the end of a block, so that a read beyond them is seen, without an allocation
 * for each run. */
#pragma once

#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

/* Zero-initialised; lives as long as the process. One copy at a time. */
struct exact {
    char *block;
    size_t cap;
};

static inline char *exact_room(struct exact *exact, size_t len)
{
    if (len > exact->cap || exact->cap == 0) {
        exact->cap = (len + 4096) & ~(size_t)7;
        exact->block = xrealloc(exact->block, exact->cap);
    }
    return exact->block + exact->cap - len;
}

static inline char *exact_copy(struct exact *exact, const void *data, size_t len)
{
    char *copy = exact_room(exact, len);
    if (len > 0)
        memcpy(copy, data, len);
    return copy;
}

/* With a NUL behind it. */
static inline char *exact_string(struct exact *exact, const void *data, size_t len)
{
    char *copy = exact_room(exact, len + 1);
    if (len > 0)
        memcpy(copy, data, len);
    copy[len] = '\0';
    return copy;
}
