/* The composition root: wires the parts in order, runs them, stops them in reverse. Main thread. */
#pragma once

#include "config/config.h"
#include <stdbool.h>

struct engine_options {
    bool dev; /* serve the page beside the first entry script, load scripts when they are saved */
    int workers; /* threads; 0: the CPUs that the process may use */
};

/* Runs until SIGTERM or SIGINT has been drained. Returns the status of the process: 0, or not 0
 * after one line on standard error that says what was wrong and what to do. */
int engine_run(const struct config *config, const struct engine_options *options);

/* Loads every entry script in a scratch VM and prints what would be listened on. Returns the
 * status. */
int engine_check(const struct config *config);
