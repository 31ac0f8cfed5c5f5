/* A thread that reports who does not return: compiled code in an endless loop cannot be stopped
 * (count hooks do not fire in it), but it must be named. Each worker has a pulse; it marks what it
 * is about to call and clears the mark afterwards. The worker only counts: the time is the
 * watchdog's, as a look at the clock costs more than many a handler.
 *
 * With a budget it also sends PULSE_SIGNAL to the worker's thread when a call has taken more of the
 * processor's time, and goes on doing so until the call has returned: what the handler of that
 * signal does may be lost or undone. It is the processor's time, so that nobody is late because
 * others are busy or the process was stopped. */
#pragma once

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PULSE_SIGNAL SIGVTALRM

/* One cache line, written by its worker, read by the watchdog. */
struct pulse {
    _Alignas(64) _Atomic uint64_t calls; /* begun and returned: odd while in one */
    _Atomic(const char *) what;          /* static text: "on_message" */
    _Atomic uint64_t client;             /* 0: none */
    const char *name;                    /* "worker 0"; set before the watchdog starts */
    pthread_t thread;                    /* between pulse_adopt and pulse_leave: whose it is */
    clockid_t clock;                     /* the thread's own time */
    bool adopted;
    _Atomic uint64_t overdue; /* written by the watchdog: the call that has used up its budget */
};

struct watchdog;

/* Watches `count` pulses, which outlive it (the array of pointers need not); a call that has not
 * returned after `limit_ms` is logged as an error, again each time its duration has doubled, and
 * once more as a warning when it returned. `budget_ms`: when to send the signal, 0 never. */
struct watchdog *watchdog_start(struct pulse **pulses, int count, uint64_t limit_ms,
                                uint64_t budget_ms);
void watchdog_stop(struct watchdog *watchdog);

/* Calls of pulse `index` that were reported so far. Any thread. */
uint64_t watchdog_stalls(const struct watchdog *watchdog, int index);

/* Worker's thread, as all from here on. Before its first call and after its last one, where there
 * is a budget: calls by other threads have none. */
void pulse_adopt(struct pulse *p);
void pulse_leave(struct pulse *p);

/* Has the call that runs used up its budget? Also in the signal's handler. */
static inline bool pulse_is_overdue(const struct pulse *p)
{
    return atomic_load_explicit(&p->overdue, memory_order_relaxed) ==
           atomic_load_explicit(&p->calls, memory_order_relaxed);
}

/* Calls do not nest. */
static inline bool pulse_is_in_call(const struct pulse *p)
{
    return atomic_load_explicit(&p->calls, memory_order_relaxed) & 1;
}

static inline void pulse_step(struct pulse *p)
{
    uint64_t calls = atomic_load_explicit(&p->calls, memory_order_relaxed);
    atomic_store_explicit(&p->calls, calls + 1, memory_order_release);
}

static inline void pulse_begin(struct pulse *p, const char *what, uint64_t client)
{
    atomic_store_explicit(&p->what, what, memory_order_relaxed);
    atomic_store_explicit(&p->client, client, memory_order_relaxed);
    pulse_step(p);
}

static inline void pulse_end(struct pulse *p)
{
    pulse_step(p);
}
