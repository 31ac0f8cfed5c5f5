/* The queues' entries and who gets them. The api loop's thread alone.
 *
 * Order: each consumer gets what is its own in the order in which it was pushed, over all topics it
 * takes, entries that still wait for room included. An entry is handed to one consumer.
 *
 * Affinity: while the set of a topic's consumers is unchanged, a client's entries go to the same
 * one of them (rendezvous hashing), so that several consumers do not reorder a client's messages.
 * With affinity `any` whoever asks first gets the oldest. When the set changes, what has not been
 * handed over is dealt anew.
 *
 * Bound: see gate.h. First come, first let in; after `full_timeout_ms` a push that waits is
 * refused. */
#pragma once

#include "msg/msg.h"
#include "queue/gate.h"
#include <uv.h>

struct queue;
struct queue_consumer;

struct queue_options {
    uint64_t full_timeout_ms;
    bool affinity_any;
};

/* Uses `loop` for its timer; `gates` outlives it. */
struct queue *queue_new(uv_loop_t *loop, struct gates *gates, const struct queue_options *options);

/* When all consumers have been freed: frees what is queued, refuses what waits. The loop must run
 * once more afterwards. Returns the count of entries that were inside the bound and never handed
 * over. */
uint32_t queue_free(struct queue *queue);

/* For pushes that begin to wait from now on. While pushes that began before still wait, they may
 * wait as long as those. */
void queue_set_full_timeout(struct queue *queue, uint64_t ms);

/* Takes an entry that came through the mailbox, entered or waiting. Takes ownership. */
void queue_accept(struct queue *queue, struct entry *entry);

/* The bound of a topic was raised: lets in whom there is room for. */
void queue_resized(struct queue *queue, struct gate *gate);

/* From now on what waits is given up at `at_ms` (clock_ms) at the latest: the engine drains. */
void queue_hurry(struct queue *queue, uint64_t at_ms);

struct queue_topic_stats {
    uint64_t pushed, delivered; /* entries, since the start */
    uint64_t refused;           /* pushes for which there was no room, or none in time */
    uint64_t oldest_ms;         /* how long the oldest entry has been there; 0: there is none */
};

void queue_topic_stats(const struct queue *queue, const struct gate *gate,
                       struct queue_topic_stats *out);

/* `on_ready(data)`: something is there for a consumer for which queue_take had nothing (or was not
 * asked yet). Called from the other functions here: it must only take a note. */
struct queue_consumer *queue_consumer_new(struct queue *queue, void (*on_ready)(void *data),
                                          void *data);

/* What was not handed to it goes to the others, or stays. */
void queue_consumer_free(struct queue_consumer *consumer);

/* Adds one topic. 0, UV_EEXIST when it takes it already (nothing changes), UV_ENOSPC: too many
 * topics. */
int queue_consume(struct queue_consumer *consumer, const char *name, size_t len);
bool queue_consumes(const struct queue_consumer *consumer, const char *name, size_t len);

/* Drops all its topics; returns how many there were. */
uint32_t queue_unconsume(struct queue_consumer *consumer);

/* Hands over the consumer's next entry; the caller owns and frees it, and the bound counts it no
 * more. NULL when there is none now: on_ready will tell. */
struct entry *queue_take(struct queue_consumer *consumer);
