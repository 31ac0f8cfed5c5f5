#include "base/bucket.h"

static const uint64_t SECOND_NS = 1000000000;

bool bucket_is_full(const struct bucket *bucket, uint64_t now_ns)
{
    return bucket->paid_until_ns <= now_ns;
}

uint64_t bucket_owe(struct bucket *bucket, const struct rate *rate, uint64_t n, uint64_t now_ns)
{
    uint64_t most = now_ns + rate->burst_ns;
    if (rate->per_second == 0)
        return 0;
    if (bucket_is_full(bucket, now_ns))
        bucket->paid_until_ns = now_ns;
    bucket->paid_until_ns += n * SECOND_NS / rate->per_second;
    return bucket->paid_until_ns > most ? bucket->paid_until_ns - most : 0;
}

bool bucket_take(struct bucket *bucket, const struct rate *rate, uint64_t n, uint64_t now_ns)
{
    struct bucket after = *bucket;
    if (after.paid_until_ns > now_ns + rate->burst_ns) /* the burst was wider when it was taken */
        after.paid_until_ns = now_ns + rate->burst_ns;
    if (bucket_owe(&after, rate, n, now_ns) > 0)
        return false;
    *bucket = after;
    return true;
}
