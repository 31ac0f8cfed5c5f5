/* A schedule at a steady rate: when the nth of it is due does not depend on when others were done,
 * so that who measures from there leaves out no delay. Pure. */
#pragma once

#include <stdint.h>

struct pacer {
    uint64_t start_ns;
    double interval_ns; /* 0: it was never started */
    uint64_t done;
};

static inline void pacer_start(struct pacer *pacer, uint64_t now, double per_second)
{
    *pacer = (struct pacer){.start_ns = now, .interval_ns = 1e9 / per_second};
}

/* When the next is due. */
static inline uint64_t pacer_due(const struct pacer *pacer)
{
    return pacer->start_ns + (uint64_t)((double)pacer->done * pacer->interval_ns);
}

/* How many are due before `now`, done or not. */
static inline uint64_t pacer_due_by(const struct pacer *pacer, uint64_t now)
{
    if (now <= pacer->start_ns)
        return 0;
    return (uint64_t)((double)(now - pacer->start_ns) / pacer->interval_ns) + 1;
}
