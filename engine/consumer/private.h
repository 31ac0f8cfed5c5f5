/* What the files of the library share. Everything belongs to the thread of the loop.
 *
 * Work is done in turns: callbacks of libwebsockets and of timers, and functions of the API, change
 * state and wake the consumer, whose work is then done in a turn of the loop of
 * its own. So no connection is closed inside a callback of libwebsockets, nothing is freed under a
 * callback of the user's, and whatever the user calls there only changes state as well. */
#pragma once

#include "base/list.h"
#include "consumer/mix_consumer.h"
#include <libwebsockets.h>
#include <stdbool.h>

enum consumer_state {
    CONSUMER_OPEN,
    CONSUMER_FLUSHING,   /* until commands are sent, or close_due_ms */
    CONSUMER_CLOSING,    /* close frames are on their way; until close_due_ms */
    CONSUMER_DESTROYING, /* libwebsockets closes its handles */
    CONSUMER_CLOSED,     /* ours close */
};

struct discovery;

enum { MASKS = 256 };

struct mix_consumer {
    uv_loop_t *loop;
    struct mix_consumer_options options; /* with copies of all that it points to */
    char *authorization;                 /* the value of the header; NULL: none */
    enum consumer_state state;
    bool paused;
    bool retiring;                  /* takes no more events */
    void (*on_retired)(void *data); /* NULL: called, or nobody asked */
    void *on_retired_data;
    struct lws_context *lws;
    struct lws_vhost *vhost;
    struct ssl_ctx_st *trust; /* NULL: no TLS */
    struct lws_protocols protocols[3];
    struct discovery *discovery;
    struct list nodes;
    uint8_t masks[MASKS][4];
    size_t masks_left;
    uv_check_t turn; /* while there is work: behind the poll, so what has come is known by then */
    uv_idle_t hurry; /* the same while: the poll does not wait */
    uv_timer_t timer;
    uint64_t timer_due_ms; /* UINT64_MAX: not running */
    uint64_t close_due_ms;
    unsigned turns_left; /* CONSUMER_DESTROYING */
    unsigned handles;    /* of ours, until they are closed */
    void (*on_closed)(void *data);
    void *on_closed_data;
};

extern const lws_retry_bo_t consumer_no_idle_policy;

#define CONSUMER_PROTOCOL_NODE "node"
#define CONSUMER_PROTOCOL_CENTER "center"

/* Its work is done in the next turn of the loop; in the first one at or after that time. */
void consumer_wake(struct mix_consumer *consumer);
void consumer_wake_at(struct mix_consumer *consumer, uint64_t due_ms);

/* When the answer to a command that is given now is given up. */
uint64_t consumer_reply_due(const struct mix_consumer *consumer);

/* `node` NULL: of the center. */
void consumer_notify(struct mix_consumer *consumer, struct mix_node *node,
                     enum mix_notice_kind kind, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* For LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER, with its arguments. */
int consumer_authorize(const struct mix_consumer *consumer, void *in, size_t len);

/* The mask of a frame: of random bytes that serve once. */
void consumer_mask(struct mix_consumer *consumer, uint8_t mask[4]);

/* Below `limit`. */
uint64_t consumer_random(uint64_t limit);

/* `ms`, and up to a quarter more, so that consumers do not come in step. */
uint64_t consumer_jitter(uint64_t ms);

/* The pause after this one: twice as long, up to 30 s; 1 s after 0. */
uint64_t consumer_longer(uint64_t pause_ms);

/* The node of that id and address, which is made when there is none. */
void consumer_have_node(struct mix_consumer *consumer, const char *id, const char *address,
                        uint64_t round);

/* Nodes that were not had in that round leave. */
void consumer_drop_others(struct mix_consumer *consumer, uint64_t round);
