/* A channel holds an array of subscriptions, a subscription knows its place in it, and a subscriber
 * has a list of its own: joining, leaving and delivering cost the same however many there are.
 * While a channel is being published to, leaving makes a hole, which is closed afterwards. */
#include "channel/channel.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

struct subscription {
    struct channel *channel;
    struct subscriber *who;
    struct subscription *next, **link; /* of the subscriber's list */
    uint32_t place;
};

struct channel {
    UT_hash_handle hh;
    struct subscription **members;
    uint32_t count, cap; /* places in use, holes too */
    uint32_t holes;
    uint32_t publishing; /* depth: a delivery may publish */
    size_t name_len;
    char name[];
};

struct channels {
    struct channel *table;
    uint64_t subscriptions;
};

struct channels *channels_new(void)
{
    return xcalloc(1, sizeof(struct channels));
}

static struct channel *find(const struct channels *channels, const char *name, size_t len)
{
    struct channel *channel = NULL;
    HASH_FIND(hh, channels->table, name, len, channel);
    return channel;
}

static struct channel *make(struct channels *channels, const char *name, size_t len)
{
    struct channel *channel = xcalloc(1, sizeof *channel + len);
    channel->name_len = len;
    memcpy(channel->name, name, len);
    HASH_ADD_KEYPTR(hh, channels->table, channel->name, len, channel);
    return channel;
}

static void drop_if_empty(struct channels *channels, struct channel *channel)
{
    if (channel->count > 0 || channel->publishing > 0)
        return;
    HASH_DEL(channels->table, channel);
    free(channel->members);
    free(channel);
}

/* A subscriber has few channels, a channel may have many subscribers: look on the short side. */
static struct subscription *find_member(const struct channel *channel, const struct subscriber *who)
{
    for (struct subscription *s = who->first; s; s = s->next)
        if (s->channel == channel)
            return s;
    return NULL;
}

bool channel_subscribed(const struct channels *channels, const struct subscriber *who,
                        const char *name, size_t len)
{
    struct channel *channel = find(channels, name, len);
    return channel && find_member(channel, who);
}

static void join(struct channel *channel, struct subscription *s)
{
    if (channel->count == channel->cap) {
        channel->cap = channel->cap ? 2 * channel->cap : 1;
        channel->members = xrealloc(channel->members, channel->cap * sizeof *channel->members);
    }
    s->channel = channel;
    s->place = channel->count;
    channel->members[channel->count++] = s;
}

static void put(struct channel *channel, uint32_t place, struct subscription *s)
{
    channel->members[place] = s;
    if (s)
        s->place = place;
}

static void leave(struct channel *channel, struct subscription *s)
{
    if (channel->publishing > 0) {
        channel->members[s->place] = NULL;
        channel->holes++;
        return;
    }
    put(channel, s->place, channel->members[--channel->count]);
}

void channel_subscribe(struct channels *channels, struct subscriber *who, const char *name,
                       size_t len)
{
    struct channel *channel = find(channels, name, len);
    if (!channel)
        channel = make(channels, name, len);
    else if (find_member(channel, who))
        return;
    struct subscription *s = xcalloc(1, sizeof *s);
    join(channel, s);
    s->who = who;
    s->next = who->first;
    s->link = &who->first;
    if (s->next)
        s->next->link = &s->next;
    who->first = s;
    who->count++;
    channels->subscriptions++;
}

static void end(struct channels *channels, struct subscription *s)
{
    struct channel *channel = s->channel;
    leave(channel, s);
    *s->link = s->next;
    if (s->next)
        s->next->link = s->link;
    s->who->count--;
    channels->subscriptions--;
    free(s);
    drop_if_empty(channels, channel);
}

void channel_unsubscribe(struct channels *channels, struct subscriber *who, const char *name,
                         size_t len)
{
    struct channel *channel = find(channels, name, len);
    struct subscription *s = channel ? find_member(channel, who) : NULL;
    if (s)
        end(channels, s);
}

void channel_unsubscribe_all(struct channels *channels, struct subscriber *who)
{
    while (who->first)
        end(channels, who->first); /* NOLINT(clang-analyzer-unix.Malloc): which moves it on */
}

static void close_holes(struct channel *channel)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < channel->count; i++)
        if (channel->members[i])
            put(channel, kept++, channel->members[i]);
    channel->count = kept;
    channel->holes = 0;
}

void channel_publish(struct channels *channels, const char *name, size_t len,
                     void (*deliver)(struct subscriber *who, void *data), void *data)
{
    struct channel *channel = find(channels, name, len);
    if (!channel)
        return;
    channel->publishing++;
    uint32_t count = channel->count;
    for (uint32_t i = 0; i < count; i++)
        if (channel->members[i])
            deliver(channel->members[i]->who, data);
    if (--channel->publishing == 0 && channel->holes > 0)
        close_holes(channel);
    drop_if_empty(channels, channel);
}

uint32_t channel_subscribers(const struct channels *channels, const char *name, size_t len)
{
    const struct channel *channel = find(channels, name, len);
    return channel ? channel->count - channel->holes : 0;
}

uint64_t channels_count(const struct channels *channels)
{
    return HASH_COUNT(channels->table);
}

uint64_t channels_subscriptions(const struct channels *channels)
{
    return channels->subscriptions;
}

void channels_free(struct channels *channels)
{
    struct channel *channel, *next;
    HASH_ITER(hh, channels->table, channel, next)
    {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): HASH_ITER has taken the next one before */
        HASH_DEL(channels->table, channel);
        free(channel->members);
        free(channel);
    }
    free(channels);
}
