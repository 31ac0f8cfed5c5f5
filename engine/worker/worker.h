/* One worker put together: a thread with a loop, its connections, and a VM for each server block;
 * what each message does. */
#pragma once

#include "config/config.h"
#include "loop/mailbox.h"
#include "loop/watchdog.h"
#include "mesh/mesh.h"
#include "queue/gate.h"
#include "script/env.h"

struct worker;
struct memory_guard;
struct sources;
struct tally;

struct worker_options {
    const struct config *config;  /* the first one; MSG_CONFIG brings others */
    unsigned node, number, count; /* of all workers */
    struct tally **tallies;       /* by server; outlive the worker */
    struct gates *gates;          /* outlive the worker, as do the boxes */
    struct memory_guard *memory;  /* the same */
    struct mailbox *api_box, *main_box;
};

/* Makes the loop and the mailbox; nothing runs. Main thread, as all functions here. */
struct worker *worker_new(const struct worker_options *options);
struct mailbox *worker_box(struct worker *worker);

/* Makes a VM for each server, loads its script and, with `init`, runs its init(), on a thread with
 * a worker's stack that has ended when it returns. 0, or -1 with a line in `error`. */
int worker_load(struct worker *worker, struct mesh *mesh, bool init, char *error,
                size_t error_size);

/* The files that a server's scripts were loaded from. Before the thread is started. */
const struct sources *worker_sources(const struct worker *worker, int server);

/* Starts the thread. `not_before`: see slots.h. */
void worker_run(struct worker *worker, uint32_t not_before);

/* Waits for the thread, which ends on MSG_STOP, until `deadline_ms` (clock_ms); false when it is in
 * a script that has not returned by then. On MSG_DRAIN it closes all its connections, those that
 * still arrive too, and posts MSG_DRAINED to the main thread once none is left. What comes after
 * MSG_STOP is refused: no script runs any more. */
bool worker_join(struct worker *worker, uint64_t deadline_ms);

/* When the api listens no more: drops what is left. */
void worker_free(struct worker *worker);

/* Any thread. */
const struct worker_stats *worker_stats(const struct worker *worker);
const struct server_stats *worker_server_stats(const struct worker *worker, int server);
struct pulse *worker_pulse(struct worker *worker);
