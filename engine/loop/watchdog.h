/* A thread that reports who does not return: a script in an endless loop cannot be stopped (count
 * hooks do not fire in compiled code), but it must be named. Each worker has a pulse; it marks what
 * it is about to call and clears the mark afterwards. The worker only counts: the time is the
 * watchdog's, as a look at the clock costs more than many a handler. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* One cache line, written by its worker, read by the watchdog. */
struct pulse {
    _Alignas(64) _Atomic uint64_t calls; /* begun and returned: odd while in one */
    _Atomic(const char *) what;          /* static text: "on_message" */
    _Atomic uint64_t client;             /* 0: none */
    const char *name;                    /* "worker 0"; set before the watchdog starts */
};

struct watchdog;

/* Watches `count` pulses, which outlive it (the array of pointers need not); a call that has not
 * returned after `limit_ms` is logged as an error, again each time its duration has doubled, and
 * once more as a warning when it returned. */
struct watchdog *watchdog_start(struct pulse **pulses, int count, uint64_t limit_ms);
void watchdog_stop(struct watchdog *watchdog);

/* Calls of pulse `index` that were reported so far. Any thread. */
uint64_t watchdog_stalls(const struct watchdog *watchdog, int index);

/* Worker's thread, as all from here on. Calls do not nest. */
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
