/* The mark that a published payload carries: when it was due, and which one it is. Text, so that it
 * passes through JSON and text frames as it is: "@@", 16 and 8 hexadecimal digits. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { STAMP_LEN = 2 + 16 + 8 };

struct stamp {
    uint64_t ns; /* CLOCK_MONOTONIC */
    uint32_t sequence;
};

void stamp_write(char out[STAMP_LEN], const struct stamp *stamp);

/* The first whole stamp in [*at, end); *at moves behind it. False when there is none. */
bool stamp_next(const char **at, const char *end, struct stamp *out);
