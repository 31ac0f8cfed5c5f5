/* Subscription number j = channel * subscribers + k belongs to connection j mod connections, and is
 * its (j / connections)th. As no channel has more subscribers than there are connections, none gets
 * a channel twice. */
#include "deliveries.h"

#include "base/mem.h"
#include <stdlib.h>

void deliveries_init(struct deliveries *deliveries, uint32_t channels, uint32_t subscribers,
                     uint32_t connections, uint32_t messages, uint32_t slow)
{
    *deliveries = (struct deliveries){
        .channels = channels,
        .subscribers = subscribers,
        .connections = connections,
        .messages = messages,
        .expected = subscribers - slow,
        .got = xcalloc(messages, sizeof *deliveries->got),
    };
}

void deliveries_fini(struct deliveries *deliveries)
{
    free(deliveries->got);
}

uint32_t deliveries_slots(const struct deliveries *deliveries, uint32_t connection)
{
    uint64_t all = (uint64_t)deliveries->channels * deliveries->subscribers;
    if (connection >= all)
        return 0;
    return (uint32_t)((all - connection - 1) / deliveries->connections + 1);
}

uint32_t deliveries_channel(const struct deliveries *deliveries, uint32_t connection, uint32_t slot)
{
    uint64_t subscription = connection + (uint64_t)slot * deliveries->connections;
    return (uint32_t)(subscription / deliveries->subscribers);
}

bool deliveries_find(const struct deliveries *deliveries, uint32_t connection, uint32_t channel,
                     uint32_t *slot)
{
    uint64_t first = (uint64_t)channel * deliveries->subscribers, all = deliveries->connections;
    uint64_t ahead = (connection + all - first % all) % all;
    *slot = (uint32_t)((first + ahead) / all);
    return ahead < deliveries->subscribers;
}
