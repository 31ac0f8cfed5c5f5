/* Durations over a sliding window: the quantiles of the last while, the sum and the count of all,
 * as a summary of Prometheus has them. The window is a ring of slices of equal age. Values are
 * counted in log-linear buckets, 16 to each power of two, so that a quantile is right within a
 * sixteenth. One writer, any reader, no lock: counters. */
#pragma once

#include <stdint.h>

enum { SUMMARY_BUCKETS = 528 }; /* up to 68 s; what took longer counts as that */

struct summary;

/* About 4 KiB for each slice. */
struct summary *summary_new(uint64_t max_age_ms, unsigned slices);
void summary_free(struct summary *summary); /* NULL is allowed */

/* The writer's thread. */
void summary_record(struct summary *summary, uint64_t now_ns, uint64_t duration_ns);

/* What several summaries say together. Start with zeroes. */
struct summary_view {
    uint64_t buckets[SUMMARY_BUCKETS];
    uint64_t recent; /* in the buckets */
    uint64_t count;  /* of all */
    double sum;      /* seconds, of all */
};

/* Any thread. */
void summary_add_to(const struct summary *summary, uint64_t now_ns, struct summary_view *view);

/* Seconds; NaN where nothing is recent. 0 and 1 are the least and the greatest. */
double summary_quantile(const struct summary_view *view, double quantile);
