/* One run of a mode: its groups of connections, the loops that drive them, what is shared by these,
 * and what is known when they have ended. */
#pragma once

#include "deliveries.h"
#include "loop.h"
#include "options.h"
#include "process.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/resource.h>

/* A moment of the main thread: the time and what had been used up. */
struct run_mark {
    uint64_t ns;
    struct process_figures server;
    double client_cpu_s;
};

struct run {
    const struct options *options;
    /* The main group is shared by --threads loops; bystanders have one of their own, so that they
     * do not wait for what the others have to read; the publisher is on the first loop. */
    struct group main, bystanders, publisher;
    struct loop *loops;
    unsigned main_loops, loop_count;
    struct deliveries deliveries;
    struct slice echo; /* what echoing connections send */

    _Atomic enum phase phase;
    atomic_uint settled;          /* loops */
    _Atomic uint64_t from, until; /* what counts; 0 and UINT64_MAX: nothing yet, no end yet */
    uint64_t started_ns;          /* when publishing begins: a little after PHASE_RUN does */

    struct run_mark before, begin, end;              /* before connecting; the measured time */
    struct process_kernel kernel_before, kernel_end; /* kernel_end, settled_server: of idle */
    struct process_figures settled_server;
    double connect_s;
    uint32_t connected;                    /* of the main group */
    struct tally *total, *bystander_total; /* when the loops have ended */
};

/* Connects, measures, and waits for the loops' end. False, after a line on standard error, when
 * nothing could be measured. */
bool run_all(struct run *run, const struct options *options);
void run_fini(struct run *run);

/* The first error of any loop, "": none. After run_all. */
const char *run_error(const struct run *run);

/* ---- for modes, on the main thread ---- */

/* SIGINT or SIGTERM came: what waits must end. */
bool run_interrupted(void);

/* Sleeps in small pieces. */
void run_sleep(double seconds);

/* The sum over all loops, now. */
uint64_t run_count(const struct run *run, enum count count);

void run_begin(struct run *run);   /* PHASE_RUN */
void run_measure(struct run *run); /* what happens from here on counts */
void run_done(struct run *run);    /* up to here */

/* PHASE_DRAIN, until nothing is owed any more or nothing has come for --drain seconds. */
void run_drain(struct run *run);

/* ---- for roles, any thread ---- */

static inline enum phase run_phase(const struct run *run)
{
    return atomic_load_explicit(&run->phase, memory_order_acquire);
}

/* Does what happened at this time count? */
static inline bool run_counts(const struct run *run, uint64_t ns)
{
    uint64_t from = atomic_load_explicit(&run->from, memory_order_relaxed);
    return from && ns >= from && ns < atomic_load_explicit(&run->until, memory_order_relaxed);
}
