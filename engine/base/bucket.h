/* A token bucket in one number: the moment up to which what was taken is paid for (the generic cell
 * rate algorithm). Zero-initialised it is full. Pure; the clock, in nanoseconds, is the caller's
 * and never runs backwards. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rate {
    uint64_t per_second; /* 0: no limit */
    uint64_t burst_ns;   /* what comes in so long may come at once */
};

struct bucket {
    uint64_t paid_until_ns;
};

enum { BUCKET_TAKE_MAX = 1 << 30 };

/* Takes `n`, at most BUCKET_TAKE_MAX. False: so much is not there, and nothing was taken. In any
 * time t at most per_second × (burst + t) are taken, where each take adds up to a nanosecond to t:
 * prices are whole ones, rounded down. */
bool bucket_take(struct bucket *bucket, const struct rate *rate, uint64_t n, uint64_t now_ns);

/* Takes it in any case. Returns for how long nothing more should be taken; 0: there was enough. */
uint64_t bucket_owe(struct bucket *bucket, const struct rate *rate, uint64_t n, uint64_t now_ns);

/* Is it as good as a new one? */
bool bucket_is_full(const struct bucket *bucket, uint64_t now_ns);
