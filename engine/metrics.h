/* What the engine tells of itself at /metrics: the process, its workers, its servers. The API adds
 * what is its own (api/metrics.h). */
#pragma once

#include "base/buf.h"
#include "config/config.h"
#include "loop/watchdog.h"
#include "net/tally.h"
#include "overload.h"
#include "reload.h"
#include "worker/worker.h"

struct metrics_source {
    const struct config *config;
    struct worker *const *workers;
    int worker_count;
    struct tally *const *tallies; /* by server */
    const struct watchdog *watchdog;
    const struct reload_stats *reloads;
    const struct overload_stats *overload;
};

/* Any thread. */
void metrics_append(struct buf *out, const struct metrics_source *source);
