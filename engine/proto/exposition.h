/* Metrics as text: the exposition format of Prometheus, version 0.0.4. Pure functions. */
#pragma once

#include "base/buf.h"
#include <stdint.h>

struct metric {
    const char *name, *type, *help; /* static; type: "gauge", "counter", "summary" */
};

struct metric_label {
    const char *name;
    const char *value; /* any bytes: what the format does not take becomes U+FFFD */
    size_t len;
};

/* Starts a family; its samples follow it. */
void exposition_family(struct buf *out, const struct metric *metric);

/* One sample of it. `suffix` is added to the name: "", "_sum", "_count". */
void exposition_sample(struct buf *out, const struct metric *metric, const char *suffix,
                       const struct metric_label *labels, size_t count, double value);

/* A family with one sample that has no labels. */
void exposition_single(struct buf *out, const struct metric *metric, double value);
