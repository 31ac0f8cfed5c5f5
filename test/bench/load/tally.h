/* What one thread counts. Others may read the counters meanwhile, the histograms when it has ended.
 */
#pragma once

#include "base/counter.h"
#include "histogram.h"

enum count {
    COUNT_OPEN,       /* connections that got through their preamble */
    COUNT_PUBLISHERS, /* the same, of the publisher */
    COUNT_FAILED,     /* and those that did not */
    COUNT_ALIVE,      /* open at the end */
    COUNT_DROPPED,    /* were open, and ended before the run did */
    COUNT_SENT,       /* messages that are to be answered */
    COUNT_HEARD,      /* their answers; rounds of a script */
    COUNT_MEASURED,   /* of these, those that count */
    COUNT_ABANDONED,  /* answers that a closed connection owes */
    COUNT_MISMATCHED, /* answers that are not what was sent */
    COUNT_UNEXPECTED, /* messages that nobody waited for */
    COUNT_PUBLISHED,
    COUNT_PUBLISH_ANSWERED,
    COUNT_PUBLISH_REFUSED,
    COUNT_DELIVERED,      /* to subscribers that read as fast as they can */
    COUNT_COMPLETE,       /* published messages that all of those have */
    COUNT_GAPS,           /* messages that were passed over */
    COUNT_REPEATED,       /* deliveries that had come already, or out of order */
    COUNT_STRAY,          /* deliveries of a channel that was not subscribed to */
    COUNT_SLOW_DELIVERED, /* to the slow ones */
    COUNT_SLOW_DROPPED,   /* slow ones that the server has ended */
    COUNT_LAST_DELIVERY,  /* a time: when the last fast one came */
    COUNT_LATE,           /* were due within the measured time and could not be sent in it */
    COUNT_PROTOCOL_ERRORS,
    COUNT_HANDSHAKE_ERRORS,
    COUNT_CONNECT_ERRORS,
    COUNT_PINGS,
    COUNT_CLOSE_FRAMES,
    COUNTS,
};

/* Zeroes are a new one. */
struct tally {
    counter counts[COUNTS];
    struct histogram latency;
    struct histogram complete; /* from when it was due until the last fast subscriber has it */
    struct histogram connect;  /* from connect(2) until the preamble is done */
    struct histogram login;    /* the preamble alone */
};

static inline void tally_add(struct tally *tally, enum count count, int64_t n)
{
    counter_add(&tally->counts[count], n);
}

static inline uint64_t tally_get(const struct tally *tally, enum count count)
{
    return counter_get(&tally->counts[count]);
}

/* Counts alone; the latest of COUNT_LAST_DELIVERY. */
void tally_add_counts(struct tally *to, const struct tally *from);
void tally_add_histograms(struct tally *to, const struct tally *from);
