#include "tally.h"

void tally_add_counts(struct tally *to, const struct tally *from)
{
    for (int i = 0; i < COUNTS; i++) {
        uint64_t mine = tally_get(to, i), theirs = tally_get(from, i);
        if (i != COUNT_LAST_DELIVERY)
            tally_add(to, i, (int64_t)theirs);
        else if (theirs > mine)
            counter_set(&to->counts[i], theirs);
    }
}

void tally_add_histograms(struct tally *to, const struct tally *from)
{
    histogram_merge(&to->latency, &from->latency);
    histogram_merge(&to->complete, &from->complete);
    histogram_merge(&to->connect, &from->connect);
    histogram_merge(&to->login, &from->login);
}
