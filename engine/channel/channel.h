/* Channels and who listens to them, on one worker. Whatever subscribes embeds a struct subscriber;
 * what a delivery does is the caller's. Worker's thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct channels;
struct subscription;

/* One for each connection; zero-initialised has no subscriptions. */
struct subscriber {
    struct subscription *first;
    uint32_t count;
};

struct channels *channels_new(void);
void channels_free(struct channels *channels);

/* Subscribing again changes nothing. Names are any bytes. */
void channel_subscribe(struct channels *channels, struct subscriber *who, const char *name,
                       size_t len);
void channel_unsubscribe(struct channels *channels, struct subscriber *who, const char *name,
                         size_t len);
void channel_unsubscribe_all(struct channels *channels, struct subscriber *who);
bool channel_subscribed(const struct channels *channels, const struct subscriber *who,
                        const char *name, size_t len);

/* Calls `deliver` once for each subscriber that is there at the beginning and has not left before
 * its turn. `deliver` may subscribe and unsubscribe whom it likes. */
void channel_publish(struct channels *channels, const char *name, size_t len,
                     void (*deliver)(struct subscriber *who, void *data), void *data);

/* How many are subscribed to one channel. */
uint32_t channel_subscribers(const struct channels *channels, const char *name, size_t len);

uint64_t channels_count(const struct channels *channels); /* channels with a subscriber */
uint64_t channels_subscriptions(const struct channels *channels);
