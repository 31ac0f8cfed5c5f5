/* Holds the process under engine.memoryLimit: looks at its resident memory, the more often the
 * nearer it is. Above seven eighths of the limit it gives back what is free; when that is not
 * enough new clients wait, pushes to queues fail, and whoever holds the most memory is closed,
 * over all workers and the API, until three quarters are left. Main thread, but for the counters.
 */
#pragma once

#include "base/counter.h"
#include "base/memory_use.h"
#include "msg/msg.h"
#include "net/acceptor.h"
#include "queue/gate.h"
#include <stdbool.h>
#include <uv.h>

struct overload;

struct overload_options {
    uv_loop_t *loop;
    struct mailbox **boxes; /* of the workers; the last one is the API's */
    int box_count;
    struct acceptor *acceptor;
    struct gates *gates;
    struct memory_guard *memory; /* for the workers, who do not wait for a message */
};

/* Any thread may read them. */
struct overload_stats {
    counter limit;          /* bytes; 0: none */
    counter over;           /* 1: new clients wait */
    counter shed_consumers; /* clients are among the closes of their servers */
};

struct overload *overload_new(const struct overload_options *options);

/* Bytes; 0: none. Also while it runs. */
void overload_limit(struct overload *o, uint64_t limit);

/* A worker's answer, or the API's; takes ownership. */
void overload_weighed(struct overload *o, struct weighing *weighing);

/* No more is asked; between the two the loop must run once more. What is answered meanwhile is
 * freed. */
void overload_close(struct overload *o);
void overload_free(struct overload *o);

const struct overload_stats *overload_stats(const struct overload *o);
