#include "base/clock.h"
#include <stdatomic.h>
#include <time.h>

static const int64_t EPOCH = 1735689600; /* 2025-01-01T00:00:00Z */

uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_ms(void)
{
    return clock_ns() / 1000000u;
}

double clock_unix(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint32_t wall_s(void)
{
    int64_t since = (int64_t)time(NULL) - EPOCH;
    return since < 0 ? 0 : (uint32_t)since;
}

uint32_t clock_epoch_s(void)
{
    static _Atomic uint32_t latest;
    uint32_t now = wall_s();
    uint32_t seen = atomic_load_explicit(&latest, memory_order_relaxed);
    while (seen < now)
        if (atomic_compare_exchange_weak_explicit(&latest, &seen, now, memory_order_relaxed,
                                                  memory_order_relaxed))
            return now;
    return seen;
}
