/* A node inside of the library: what the consumer does with it, and what its two files share. */
#pragma once

#include "consumer/dial.h"
#include "consumer/inbox.h"
#include "consumer/outbox.h"
#include "consumer/private.h"
#include "consumer/replies.h"

enum {
    NODE_PENDING_MAX = 65536, /* commands without an answer */
    NODE_HOLD_BYTES = 1 << 20,
    NODE_HOLD_PENDING = 16384,
};

enum node_state {
    NODE_WAITING,    /* until due_ms */
    NODE_RESOLVING,  /* until due_ms at most */
    NODE_CONNECTING, /* the same */
    NODE_OPEN,       /* the WebSocket is there */
    NODE_BROKEN,     /* it is not, or has to go; the next turn calls back what waits */
    NODE_LEAVING,    /* closed by us: until the engine has answered */
    NODE_GONE,       /* the next turn takes it off the consumer's list */
};

/* There is one request for topics on its way at most. */
enum node_topics { TOPICS_NONE, TOPICS_ASKED, TOPICS_CONSUMED, TOPICS_GIVEN_BACK };

struct mix_node {
    unsigned refs;
    struct mix_consumer *consumer; /* NULL when it is off the list */
    struct list link;
    char *id;
    uint64_t round; /* of the last list of nodes that had it */
    enum node_state state;
    enum node_topics topics;
    bool connected;   /* MIX_CONNECTED was told */
    bool asked;       /* for the writeable callback */
    bool busy;        /* has so much to send that its events are held */
    bool crowded;     /* holds so many events that its topics are given back */
    bool drain_owed;  /* a command got -ENOBUFS */
    uint16_t goodbye; /* the close code for an engine that broke a rule; 0: none */
    uint64_t due_ms, pause_ms;
    struct dial dial;
    struct lws *wsi;  /* NULL when there is no connection, or none any more */
    struct buf frame; /* a message whose end has not come */
    struct outbox outbox;
    struct replies replies;
    struct inbox inbox;
    char why[DIAL_WHY_MAX]; /* the connection was lost */
};

/* ---- for the consumer ---- */

/* On the consumer's list, which holds a reference; connects in the next turn. */
void node_new(struct mix_consumer *consumer, const char *id, const char *address, uint64_t round);

/* Does what is due; returns when it is to be called next. */
uint64_t node_work(struct mix_node *node, uint64_t now_ms);

/* All is sent, or never will be. */
bool node_flushed(const struct mix_node *node);

/* No event can come any more, and those that came have been delivered. */
bool node_retired(const struct mix_node *node);

/* Closes it for good; `why`, unless NULL, becomes a notice. Ends in NODE_GONE. */
void node_leave(struct mix_node *node, const char *why);

/* Takes it off the list and drops the list's reference. */
void node_remove(struct mix_node *node);

int node_on_lws(struct mix_node *node, struct lws *wsi, int reason, void *in, size_t len);

/* ---- for commands ---- */

/* More to send than the node's events may add to; with a margin between begin and end. */
bool node_is_busy(struct mix_node *node);

/* Sends what has been written into the outbox since outbox_begin. */
void node_send(struct mix_node *node, mix_reply_fn on_reply, void *data, uint64_t due_ms);
