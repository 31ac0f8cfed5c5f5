#include "base/clock.h"
#include <stdatomic.h>
#include <time.h>

static const int64_t EPOCH_S = 1735689600;               /* 2025-01-01T00:00:00Z */
static const int64_t END_MS = ((int64_t)1 << 29) * 1000; /* 2042: as far as generations go */

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

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - EPOCH_S * 1000;
}

/* The monotonic clock plus the most by which the wall clock has been ahead of it: so the seconds go
 * on at their pace when the wall clock is set back. A wall clock that shows what cannot be is not
 * believed: it may be put right later, and nothing here ever goes back. */
uint32_t clock_epoch_s(void)
{
    static _Atomic int64_t most = INT64_MIN;
    int64_t wall = wall_ms(), now = (int64_t)clock_ms(); /* in this order: never ahead by a pause */
    int64_t ahead = wall >= 0 && wall < END_MS ? wall - now : INT64_MIN;
    int64_t seen = atomic_load_explicit(&most, memory_order_relaxed);
    while (seen < ahead && !atomic_compare_exchange_weak_explicit(
                               &most, &seen, ahead, memory_order_relaxed, memory_order_relaxed))
        ;
    ahead = seen > ahead ? seen : ahead;
    return ahead == INT64_MIN ? 0 : (uint32_t)((now + ahead) / 1000);
}
