/* What can be measured: one file for each. */
#pragma once

#include "report.h"
#include "run.h"
#include <stdbool.h>

struct mode {
    const char *name, *summary;
    /* Returns what is wrong with the options, or NULL; sets what this mode has other defaults for.
     * May be NULL. */
    const char *(*check)(struct options *options);
    /* Fills in the run's groups: role, and count where it is not --conns. */
    void (*plan)(struct run *run);
    /* Main thread, all connections settled: from run_begin to run_done. */
    void (*measure)(struct run *run);
    /* What is this mode's own; false: the server did something wrong. */
    bool (*report)(const struct run *run, struct report *report);
    /* What per_server_cpu_s counts. NULL: nothing. */
    uint64_t (*units)(const struct run *run);
};

extern const struct mode mode_echo, mode_fanout, mode_channels, mode_mixed, mode_idle, mode_script;

/* All of them, and NULL. */
extern const struct mode *const modes[];
