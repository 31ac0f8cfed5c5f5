#include "subscriber.h"

#include "base/mem.h"
#include "options.h"
#include "run.h"
#include "stamp.h"
#include <stdlib.h>
#include <string.h>

/* A small receive buffer, so that what a slow one does not read stays with the server. */
enum { SLOW_BUFFER = 4096, SLOW_TURNS_PER_S = 100 };

struct subscriber {
    struct client client;
    uint32_t *next; /* of each channel: which message of the channel's own comes next */
    uint32_t only;  /* where that stands when there is one channel: near the rest */
    /* Streams: the end of the last payload, too short to hold a whole stamp. */
    uint8_t kept;
    char tail[STAMP_LEN - 1];
};

static struct subscriber *subscriber_of(struct client *client)
{
    return container_of(client, struct subscriber, client);
}

static struct tally *tally_of(struct subscriber *subscriber)
{
    return &subscriber->client.loop->tally;
}

static bool is_slow(const struct client *client)
{
    return client->expendable;
}

static void init(struct client *client)
{
    const struct group *group = client->group;
    client->expendable = deliveries_is_slow(client->index, group->slow, group->count);
    client->receive_buffer = client->expendable ? SLOW_BUFFER : 0;
}

static unsigned channel_count(const struct client *client)
{
    return client->group->join ? deliveries_slots(&client->loop->run->deliveries, client->index)
                               : 0;
}

static uint32_t channel(const struct client *client, unsigned nth)
{
    return deliveries_channel(&client->loop->run->deliveries, client->index, nth);
}

static void on_run(struct client *client)
{
    struct subscriber *subscriber = subscriber_of(client);
    uint32_t slots = deliveries_slots(&client->loop->run->deliveries, client->index);
    subscriber->next = slots > 1 ? xcalloc(slots, sizeof *subscriber->next) : &subscriber->only;
    if (is_slow(client))
        client_pause(client);
}

static void on_drain(struct client *client)
{
    if (client->paused)
        client_resume(client);
}

/* ---- deliveries ---- */

/* A message in its place, of a subscriber that is waited for. */
static void count_delivery(struct subscriber *subscriber, const struct stamp *stamp, uint64_t now)
{
    struct tally *tally = tally_of(subscriber);
    uint64_t latency = now > stamp->ns ? now - stamp->ns : 0;
    tally_add(tally, COUNT_DELIVERED, 1);
    counter_set(&tally->counts[COUNT_LAST_DELIVERY], now);
    histogram_add(&tally->latency, latency);
    if (!deliveries_add(&subscriber->client.loop->run->deliveries, stamp->sequence))
        return;
    tally_add(tally, COUNT_COMPLETE, 1);
    histogram_add(&tally->complete, latency);
}

static void take_delivery(struct subscriber *subscriber, const struct stamp *stamp, uint64_t now)
{
    const struct deliveries *deliveries = &subscriber->client.loop->run->deliveries;
    struct tally *tally = tally_of(subscriber);
    uint32_t slot = 0, place = stamp->sequence;
    if (deliveries->channels > 1) {
        place = stamp->sequence / deliveries->channels;
        if (!deliveries_find(deliveries, subscriber->client.index,
                             stamp->sequence % deliveries->channels, &slot)) {
            tally_add(tally, COUNT_STRAY, 1);
            return;
        }
    }
    uint32_t *next = &subscriber->next[slot];
    if (place < *next) {
        tally_add(tally, COUNT_REPEATED, 1);
        return;
    }
    if (is_slow(&subscriber->client)) {
        tally_add(tally, COUNT_SLOW_DELIVERED, 1);
    } else {
        tally_add(tally, COUNT_GAPS, place - *next);
        count_delivery(subscriber, stamp, now);
    }
    *next = place + 1;
}

static void take_stamps(struct subscriber *subscriber, const char *data, size_t len, uint64_t now)
{
    const char *at = data, *end = data + len;
    struct stamp stamp;
    while (stamp_next(&at, end, &stamp))
        if (stamp.sequence < subscriber->client.loop->run->deliveries.messages)
            take_delivery(subscriber, &stamp, now);
}

/* The tail of what came before, then `len` bytes of this, hold a stamp that was cut. */
static void take_stream(struct subscriber *subscriber, const char *data, size_t len, uint64_t now)
{
    char joined[2 * (STAMP_LEN - 1)];
    size_t kept = subscriber->kept, head = len < STAMP_LEN - 1 ? len : STAMP_LEN - 1;
    memcpy(joined, subscriber->tail, kept);
    memcpy(joined + kept, data, head);
    take_stamps(subscriber, joined, kept + head, now);
    if (len > head)
        take_stamps(subscriber, data, len, now);
    const char *from = len > head ? data : joined;
    size_t all = len > head ? len : kept + head;
    size_t keep = all < STAMP_LEN - 1 ? all : STAMP_LEN - 1;
    memmove(subscriber->tail, from + all - keep, keep);
    subscriber->kept = (uint8_t)keep;
}

static void on_message(struct client *client, const char *data, size_t len, uint64_t now)
{
    struct subscriber *subscriber = subscriber_of(client);
    if (!subscriber->next)
        tally_add(tally_of(subscriber), COUNT_UNEXPECTED, 1);
    else if (client->loop->run->options->stream)
        take_stream(subscriber, data, len, now);
    else
        take_stamps(subscriber, data, len, now);
}

static void fini(struct client *client)
{
    struct subscriber *subscriber = subscriber_of(client);
    if (subscriber->next != &subscriber->only)
        free(subscriber->next);
}

/* ---- slow ones ---- */

static void read_slowly(struct loop *loop, size_t bytes)
{
    for (uint32_t i = 0; i < loop->count; i++) {
        struct client *client = loop_client(loop, i);
        if (client->paused && client->state == CLIENT_OPEN)
            client_read(client, bytes);
    }
}

static int64_t on_turn(struct loop *loop, uint64_t now)
{
    double rate = loop->run->options->slow_rate;
    if (rate == 0 || loop->group->slow == 0 || loop->phase != PHASE_RUN)
        return -1;
    if (loop->pacer.interval_ns == 0)
        pacer_start(&loop->pacer, now, SLOW_TURNS_PER_S);
    uint64_t due = pacer_due_by(&loop->pacer, now), before = loop->pacer.done;
    double each = rate / SLOW_TURNS_PER_S;
    loop->pacer.done = due;
    uint64_t bytes = (uint64_t)((double)due * each) - (uint64_t)((double)before * each);
    if (bytes > 0)
        read_slowly(loop, (size_t)bytes);
    return (int64_t)(pacer_due(&loop->pacer) - now);
}

const struct role subscriber_role = {
    .size = sizeof(struct subscriber),
    .init = init,
    .on_run = on_run,
    .on_drain = on_drain,
    .on_message = on_message,
    .fini = fini,
    .on_turn = on_turn,
    .channel_count = channel_count,
    .channel = channel,
};
