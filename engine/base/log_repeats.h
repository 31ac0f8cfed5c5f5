/* Lines that come again and again: the first few of ten seconds are written, the others counted,
 * and told as one line when the time is over. Times are clock_ms. Locked by the caller. */
#pragma once

#include "base/log.h"
#include <stddef.h>

enum {
    LOG_REPEATS_FREE = 5,   /* times that a line is written in a window */
    LOG_REPEATS_MS = 10000, /* the window, from the first of them */
    LOG_REPEATS_LINES = 64, /* different lines that are known at a time */
    LOG_REPEATS_TEXT = 240, /* of a line's first, what its count is told with */
    LOG_REPEATS_NEVER = 1 << 30
};

struct log_repeats;

/* A line with the count of what was held back of it. */
struct log_repeat {
    enum log_level level;
    char module[16];
    char text[LOG_REPEATS_TEXT];
    size_t len;
    uint64_t held;
    unsigned seconds; /* in which they came */
};

struct log_repeats *log_repeats_new(void);
void log_repeats_free(struct log_repeats *repeats);

/* What tells lines apart. `seed` is of this process, so that no peer can make its line look like
 * another. Pure. */
uint64_t log_repeats_key(uint64_t seed, enum log_level level, const char *module, const char *text,
                         size_t len);

/* Is this line to be left out? `text`: what a count would be told with. */
bool log_repeats_hold(struct log_repeats *repeats, uint64_t key, enum log_level level,
                      const char *module, const char *text, size_t len, uint64_t now_ms);

/* Milliseconds until a count is due; LOG_REPEATS_NEVER: none is waiting. */
unsigned log_repeats_due(const struct log_repeats *repeats, uint64_t now_ms);

/* Takes out the counts that are due, or all of them; returns how many. */
size_t log_repeats_take(struct log_repeats *repeats, uint64_t now_ms, bool all,
                        struct log_repeat out[LOG_REPEATS_LINES]);
