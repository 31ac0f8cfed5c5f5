/* Who sends commands: a WebSocket connection, or one HTTP request. Owns the replies that it is
 * owed, in the order of its requests, and sees that each becomes known: a command whose worker has
 * not answered within API_ANSWER_MS gets its error (301, 401); a publish then counts every worker
 * that has not answered as one that failed. Outcomes that come later, or after the caller has gone,
 * find nobody and are dropped. */
#pragma once

#include "api/api_private.h"
#include "api/pending.h"
#include "api/request.h"

enum {
    CALLER_OWED_MAX = 16 << 20,    /* bytes of requests and of answers that may be large */
    CALLER_CONTEXTS_MAX = 64 << 20 /* bytes of contexts in answers of all callers */
};

struct caller {
    struct api *api;
    uint64_t id; /* in api->callers */
    struct pending owed;
    struct timeout answers;
    void (*on_known)(struct caller *caller); /* the reply at the front has become known */
};

/* Of a zeroed structure. Returns 0, or -1 when there are too many callers: then nothing is to be
 * undone. */
int caller_init(struct caller *caller, struct api *api, void (*on_known)(struct caller *caller))
    __attribute__((warn_unused_result));
void caller_fini(struct caller *caller);

/* Adds a reply for a request, whose id it takes; *number as in pending_add. */
struct reply *caller_owe(struct caller *caller, struct request *request, size_t size,
                         uint64_t *number);

/* The front reply has been written. */
void caller_drop_front(struct caller *caller);

/* Carries out a request of any kind but REQUEST_CONSUME and REQUEST_UNCONSUME; `size`: its bytes.
 * on_known is not called for a reply that is known by the time this returns. */
void caller_take(struct caller *caller, struct request *request, size_t size);

/* Nobody will answer any more: what is not known yet gets its error now. */
void caller_give_up(struct caller *caller);

/* Takes no more time into account: what is not known yet stays so. */
void caller_hush(struct caller *caller);

/* An outcome of some caller's command. Takes ownership. */
void callers_on_outcome(struct api *api, struct command *command);
