/* One WebSocket connection of the API: requests in, replies and events out.
 *
 * Replies go out once each and in the order of the requests, each when its outcome is known and
 * those before it have gone; events keep the order of the queue; the two do not wait for each
 * other (caller.h: when an outcome is known).
 *
 * With CONSUMER_PENDING_MAX replies owed, or CONSUMER_PENDING_BYTES of requests unanswered, a
 * connection is not read until half of them have gone. Events are sent as far ahead as window.h
 * says. A peer that takes nothing for queue.stallTimeout while events wait for it, or for the API's
 * writeTimeout otherwise, is dropped.
 */
#pragma once

#include "api/api_private.h"

enum {
    CONSUMER_MESSAGE_MAX = 4 << 20,
    CONSUMER_PENDING_MAX = 1024,
    CONSUMER_PENDING_BYTES = 8 << 20,
    CONSUMER_SOCKET_BUFFER = 64 << 10,
    CONSUMER_LINGER_MS = 500,
    CONSUMER_BATCH_BYTES = 256 << 10,
};

struct consumer;

/* Callbacks of libwebsockets for one connection; each returns what the callback is to return. */
int consumer_open(struct api *api, struct lws *wsi, struct consumer **out);
int consumer_on_receive(struct consumer *consumer, const void *data, size_t len);
int consumer_on_writable(struct consumer *consumer);
void consumer_on_pong(struct consumer *consumer, const void *data, size_t len);

/* One side has begun to close: nothing is sent any more, and what was meant for it moves on. A peer
 * that does not do its part of the closing is cut off after CONSUMER_LINGER_MS. */
void consumer_on_closing(struct consumer *consumer);
void consumer_free(struct consumer *consumer); /* NULL is allowed */

/* Who holds much memory: by its caller's id, what it has asked and was not answered. */
void consumers_weigh(const struct api *api, struct weighing *weighing);

/* Drops one of those, if it is still there. */
void consumers_shed(struct api *api, uint64_t id);

/* Asks all to close, with code 1001. */
void consumers_close(struct api *api);

/* The workers have ended: replies that are not known yet become so. */
void consumers_give_up(struct api *api);

/* Everything known was written, and nothing is unknown. */
bool consumers_idle(const struct api *api);
uint32_t consumers_count(const struct api *api); /* all */
uint32_t consumers_consuming(const struct api *api);

struct consumer_stats {
    uint64_t number;       /* never that of another one */
    const char *peer;      /* its address */
    uint64_t events;       /* that it was sent */
    uint64_t unread_bytes; /* of them, as far as its answers to pings tell */
    uint32_t owed;         /* replies */
};

/* Calls `visit` for each connection that consumes; what it is given lives as long as the call. */
void consumers_each(const struct api *api,
                    void (*visit)(const struct consumer_stats *stats, void *data), void *data);
