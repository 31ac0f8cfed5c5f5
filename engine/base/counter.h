/* Gauges and counters that any thread may read while their one owner changes them: no lock, no
 * locked instruction. Counters of different threads live in different cache lines (see struct stats
 * of a worker). */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint64_t counter;

/* Owner's thread only. */
static inline void counter_add(counter *c, int64_t n)
{
    uint64_t now = atomic_load_explicit(c, memory_order_relaxed);
    atomic_store_explicit(c, now + (uint64_t)n, memory_order_relaxed);
}

static inline void counter_set(counter *c, uint64_t value)
{
    atomic_store_explicit(c, value, memory_order_relaxed);
}

/* Any thread. */
static inline uint64_t counter_get(const counter *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}
