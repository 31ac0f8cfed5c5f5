/* What libwebsockets has read of an HTTP connection, and when it may read on.
 *
 * It keeps the bytes that it has read beyond the end of a request and takes the next request from
 * there. When that one has a body, it takes the body from the wrong place, memory that it has freed
 * included; so such a request must be told from one that has just been read from the socket. It
 * reads only when it keeps nothing: if it has not read since the look before, the request comes
 * from what it kept. Nor may it read while a request has come whole and is not answered: it would
 * find the end of its body, or what follows it, again and again. Api loop's thread. */
#pragma once

#include "api/api_private.h"

/* A new connection, before libwebsockets gets it. */
void intake_open(struct api *api, int fd);

/* True when something was read since the last look. To be called each time that something has been
 * read. */
bool intake_look(struct api *api, struct lws *wsi);

/* It cannot be told what was read (the socket is not TCP's): intake_look is always true, so that
 * only the first request of the connection can be taken. */
bool intake_is_blind(struct api *api, struct lws *wsi);

/* Nothing is read from now on, until released. */
void intake_hold(struct api *api, struct lws *wsi);
bool intake_is_held(struct api *api, struct lws *wsi);
void intake_release(struct api *api, struct lws *wsi);

void intake_free_all(struct api *api);
