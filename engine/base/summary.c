#include "base/summary.h"
#include "base/counter.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>

enum { SUB_BITS = 4, SUB = 1 << SUB_BITS, LONGEST_BITS = 36 };

struct slice {
    counter turn; /* which stretch of time it stands for, from 1; 0: none yet */
    counter buckets[SUMMARY_BUCKETS];
};

struct summary {
    uint64_t slice_ns;
    unsigned count;
    counter values, sum_ns;
    struct slice slices[];
};

struct summary *summary_new(uint64_t max_age_ms, unsigned slices)
{
    struct summary *summary = xcalloc(1, sizeof *summary + slices * sizeof(struct slice));
    summary->count = slices;
    summary->slice_ns = max_age_ms * 1000000u / slices;
    if (summary->slice_ns == 0)
        summary->slice_ns = 1;
    return summary;
}

void summary_free(struct summary *summary)
{
    free(summary);
}

static unsigned bucket_of(uint64_t ns)
{
    if (ns < SUB)
        return (unsigned)ns;
    if (ns >> LONGEST_BITS)
        return SUMMARY_BUCKETS - 1;
    unsigned power = 63u - (unsigned)__builtin_clzll(ns);
    unsigned sub = (unsigned)(ns >> (power - SUB_BITS)) & (SUB - 1);
    return (power - SUB_BITS + 1) * SUB + sub;
}

/* The middle of a bucket, in seconds. */
static double value_of(unsigned bucket)
{
    if (bucket < SUB)
        return bucket / 1e9;
    unsigned shift = bucket / SUB - 1;
    double low = (double)((uint64_t)(SUB + bucket % SUB) << shift);
    return (low + (double)((uint64_t)1 << shift) / 2) / 1e9;
}

static uint64_t turn_of(const struct summary *summary, uint64_t now_ns)
{
    return now_ns / summary->slice_ns + 1;
}

static void clear(struct slice *slice)
{
    for (unsigned i = 0; i < SUMMARY_BUCKETS; i++)
        atomic_store_explicit(&slice->buckets[i], 0, memory_order_relaxed);
}

void summary_record(struct summary *summary, uint64_t now_ns, uint64_t duration_ns)
{
    uint64_t turn = turn_of(summary, now_ns);
    struct slice *slice = &summary->slices[turn % summary->count];
    if (counter_get(&slice->turn) != turn) {
        clear(slice);
        atomic_store_explicit(&slice->turn, turn, memory_order_relaxed);
    }
    counter_add(&slice->buckets[bucket_of(duration_ns)], 1);
    counter_add(&summary->values, 1);
    counter_add(&summary->sum_ns, (int64_t)duration_ns);
}

void summary_add_to(const struct summary *summary, uint64_t now_ns, struct summary_view *view)
{
    uint64_t turn = turn_of(summary, now_ns);
    for (unsigned i = 0; i < summary->count; i++) {
        const struct slice *slice = &summary->slices[i];
        uint64_t seen = counter_get(&slice->turn);
        if (seen == 0 || seen + summary->count <= turn)
            continue;
        for (unsigned j = 0; j < SUMMARY_BUCKETS; j++) {
            uint64_t n = counter_get(&slice->buckets[j]);
            view->buckets[j] += n;
            view->recent += n;
        }
    }
    view->count += counter_get(&summary->values);
    view->sum += (double)counter_get(&summary->sum_ns) / 1e9;
}

double summary_quantile(const struct summary_view *view, double quantile)
{
    uint64_t rank = (uint64_t)ceil(quantile * (double)view->recent), seen = 0;
    if (rank == 0)
        rank = 1;
    for (unsigned i = 0; i < SUMMARY_BUCKETS; i++) {
        seen += view->buckets[i];
        if (seen >= rank)
            return value_of(i);
    }
    return NAN;
}
