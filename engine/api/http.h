/* HTTP on both ports: routes, pages, access, refusals; and who may upgrade to WebSocket. Each
 * returns what libwebsockets' callback is to return. */
#pragma once

#include "api/api_private.h"

/* A request whose head has been read; a part of its body; its whole body. */
int http_on_request(struct api *api, struct lws *wsi, struct exchange *exchange);
int http_on_body(struct api *api, struct lws *wsi, struct exchange *exchange, const void *data,
                 size_t len);
int http_on_body_end(struct api *api, struct lws *wsi, struct exchange *exchange);
int http_on_writable(struct lws *wsi, struct exchange *exchange);

/* The request has been answered, or its connection is gone; NULL is allowed. */
void http_on_end(struct exchange *exchange);

/* A request with `Upgrade`: 0 lets libwebsockets go on. */
int http_on_upgrade(struct api *api, struct lws *wsi, const char *protocol);

/* The 101 answer is about to be sent. */
void http_on_upgraded(struct api *api, struct lws *wsi, struct lws_process_html_args *head);
