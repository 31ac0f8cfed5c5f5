/* Threads that work for the loop: each with its own connection to the database. A job is run on one
 * of them and comes back to the loop's thread. All functions are called on the loop's thread. */
#pragma once

#include "users.h"
#include <stdatomic.h>
#include <sys/queue.h>
#include <uv.h>

struct pool;

/* Belongs to whoever submits it, and stays put until `done`. */
struct pool_job {
    void (*run)(struct pool_job *job, struct users *users); /* on a thread of the pool */
    void (*done)(struct pool_job *job);                     /* on the loop's, always, once */
    atomic_bool unwanted; /* may be set at any time: a job that has not begun is not run */
    bool ran;             /* for `done` */
    STAILQ_ENTRY(pool_job) entry;
};

/* One thread for each of the `count` connections, which the pool closes in the end. Ends the
 * process when there can be no threads. */
struct pool *pool_open(uv_loop_t *loop, struct users **users, size_t count);

/* Jobs begin in the order given, urgent ones before all others. `run`, `done` are set. */
void pool_submit(struct pool *pool, struct pool_job *job);
void pool_submit_urgent(struct pool *pool, struct pool_job *job);

/* Jobs that have not begun are not run; when all are back the threads end, and on_closed is called.
 * That may take as long as the database keeps one of them waiting. */
void pool_close(struct pool *pool, void (*on_closed)(void *data), void *data);
