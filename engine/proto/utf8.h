/* UTF-8 (RFC 3629), checked as it arrives: surrogates, overlong forms and what lies above U+10FFFF
 * are errors at the first byte that makes them so. Pure functions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a check stands between two pieces; zero-initialised is the start of a text. */
struct utf8 {
    uint8_t need;      /* continuation bytes still to come */
    uint8_t low, high; /* what the next one may be */
};

/* False as soon as a byte cannot continue any valid text. */
bool utf8_feed(struct utf8 *state, const void *data, size_t len);

/* Between two characters, so that the text may end here. */
static inline bool utf8_done(const struct utf8 *state)
{
    return state->need == 0;
}

bool utf8_valid(const void *data, size_t len);

/* The length of the longest valid prefix. */
size_t utf8_prefix(const void *data, size_t len);

/* After a valid prefix, data[0..len) starts with bytes that are not UTF-8: how many of them one
 * U+FFFD replaces (the maximal subpart of Unicode 3.9, at least 1). */
size_t utf8_bad_len(const void *data, size_t len);
