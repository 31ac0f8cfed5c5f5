/* One HTTP request whose answer takes time: collects its body, carries out the commands in it or
 * asks the workers whether they are there, and has the answer when all outcomes are known. Api
 * loop's thread. */
#pragma once

#include "api/api_private.h"

enum {
    POST_BODY_MAX = 4 << 20,    /* as a message of a WebSocket */
    POST_BODIES_MAX = 64 << 20, /* of all that have come and are not answered */
};

struct post;

/* `wants_body`: else what comes is dropped. */
struct post *post_new(struct api *api, struct lws *wsi, bool wants_body);
void post_free(struct post *post); /* NULL is allowed */

/* A part of the body. False when there are too many bodies at once. */
bool post_add(struct post *post, const void *data, size_t len);

/* Carries out the body, which is whole: the params of `method`, or, without one, a batch. Returns 0
 * (the writable callback is asked for as soon as post_is_known), or an HTTP status that refuses,
 * with `why` (REQUEST_WHY_MAX bytes). */
int post_start(struct post *post, const char *method, char *why)
    __attribute__((warn_unused_result));

/* Asks every worker for a sign of life. 0, or -1: too many requests. Then as with post_start. */
int post_probe(struct post *post) __attribute__((warn_unused_result));

/* Every outcome has come, or its time is over. */
bool post_is_known(const struct post *post);

/* Moves the answer's body to *out and returns its status; post_is_known. */
int post_take_answer(struct post *post, struct buf *out);

/* The workers have ended: outcomes that have not come will not. */
void posts_give_up(struct api *api);

/* No command is without an answer that has been written. */
bool posts_idle(const struct api *api);
