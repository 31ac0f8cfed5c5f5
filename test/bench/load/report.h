/* What a run found, as one JSON object on a line or as lines for people, in the order of the calls.
 */
#pragma once

#include "histogram.h"
#include <stdbool.h>
#include <stdint.h>

struct report {
    bool json;
    bool begun; /* something was written */
};

/* `unit` is for people alone. */
void report_number(struct report *report, const char *key, double value, const char *unit);
void report_count(struct report *report, const char *key, uint64_t value);
void report_text(struct report *report, const char *key, const char *value);

/* PREFIX_p50_us, _p90, _p99, _p99_9, _max and _mean. */
void report_histogram(struct report *report, const char *prefix, const struct histogram *histogram);

/* PREFIX_p50_us and PREFIX_p99_us alone. */
void report_histogram_ends(struct report *report, const char *prefix,
                           const struct histogram *histogram);

void report_end(struct report *report);
