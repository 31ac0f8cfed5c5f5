/* When scripts are loaded again, and that all workers do so or none: looks at the files that they
 * were made of, asks every worker to prepare the new ones, and has them committed once all are
 * ready, else forgotten. Main thread. */
#pragma once

#include "base/counter.h"
#include "base/sources.h"
#include "config/config.h"
#include "msg/msg.h"
#include <uv.h>

struct reload;

struct reload_options {
    uv_loop_t *loop;
    struct mailbox **workers;
    int worker_count;
    bool dev; /* changes are looked for all the time, whatever byteCodeExpires says */
};

struct reload_stats {
    counter done, failed; /* of one server's scripts; a failure is counted when it is logged */
};

/* The configuration need not outlive the call. */
struct reload *reload_new(const struct config *config, const struct reload_options *options);

/* Before reload_start: a server's scripts have been loaded from these files. */
void reload_watch(struct reload *r, int server, const struct sources *sources);
void reload_start(struct reload *r);

/* All scripts, changed or not. */
void reload_all(struct reload *r);

/* A worker's answer; a file that a handler has required. Both take ownership. */
void reload_prepared(struct reload *r, struct msg_prepared *answer);
void reload_required(struct reload *r, struct msg_prepared *file);

/* Nothing is loaded any more; what is being prepared is forgotten. */
void reload_stop(struct reload *r);

/* Between the two the loop must run once more. Answers that still come are freed. */
void reload_close(struct reload *r);
void reload_free(struct reload *r);

/* Any thread. */
const struct reload_stats *reload_stats(const struct reload *r);
