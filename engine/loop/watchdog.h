/* A thread that reports who does not return: a script in an endless loop cannot be stopped (count
 * hooks do not fire in compiled code), but it must be named. Each worker has a pulse; it marks what
 * it is about to call and clears the mark afterwards. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

/* One cache line, written by its worker, read by the watchdog. */
struct pulse {
    _Alignas(64) _Atomic uint64_t since_ms; /* clock_ms() when the call began; 0: not in a call */
    _Atomic(const char *) what;             /* static text: "on_message" */
    _Atomic uint64_t client;                /* 0: none */
    const char *name;                       /* "worker 0"; set before the watchdog starts */
};

struct watchdog;

/* Watches `count` pulses, which outlive it (the array of pointers need not); a call that has not
 * returned after `limit_ms` is logged as an error, again each time its duration has doubled, and
 * once more as a warning when it returned. */
struct watchdog *watchdog_start(struct pulse **pulses, int count, uint64_t limit_ms);
void watchdog_stop(struct watchdog *watchdog);

/* Calls that were reported so far. Any thread. */
uint64_t watchdog_stalls(const struct watchdog *watchdog);

/* Worker's thread. `now_ms` may be the loop's cached time. */
static inline void pulse_begin(struct pulse *p, const char *what, uint64_t client, uint64_t now_ms)
{
    atomic_store_explicit(&p->what, what, memory_order_relaxed);
    atomic_store_explicit(&p->client, client, memory_order_relaxed);
    atomic_store_explicit(&p->since_ms, now_ms, memory_order_release);
}

static inline void pulse_end(struct pulse *p)
{
    atomic_store_explicit(&p->since_ms, 0, memory_order_release);
}
