/* Who must get which published message. There are `channels` of `subscribers` each, spread over the
 * connections in turn; message number n goes to channel n mod channels, so that each channel has a
 * sequence of its own in which nothing may be missing, come twice or out of order. A fan-out is one
 * channel that everybody subscribes to. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct deliveries {
    uint32_t channels, subscribers, connections, messages;
    uint32_t expected;     /* deliveries of each message by which it is complete */
    _Atomic uint32_t *got; /* of each message */
};

/* `subscribers` is at most `connections`; `slow` subscribers of a fan-out are not waited for. */
void deliveries_init(struct deliveries *deliveries, uint32_t channels, uint32_t subscribers,
                     uint32_t connections, uint32_t messages, uint32_t slow);
void deliveries_fini(struct deliveries *deliveries);

/* How many channels a connection subscribes to, the nth of them, and the other way round: which of
 * its channels this is; false: none. */
uint32_t deliveries_slots(const struct deliveries *deliveries, uint32_t connection);
uint32_t deliveries_channel(const struct deliveries *deliveries, uint32_t connection,
                            uint32_t slot);
bool deliveries_find(const struct deliveries *deliveries, uint32_t connection, uint32_t channel,
                     uint32_t *slot);

/* Any thread: one more has this message. True: it was the last. */
static inline bool deliveries_add(struct deliveries *deliveries, uint32_t message)
{
    return atomic_fetch_add_explicit(&deliveries->got[message], 1, memory_order_relaxed) + 1 ==
           deliveries->expected;
}

/* Of `count` connections `slow` are slow ones, evenly spread: is this one? */
static inline bool deliveries_is_slow(uint32_t connection, uint32_t slow, uint32_t count)
{
    return (connection + 1ull) * slow / count > (uint64_t)connection * slow / count;
}
