/* HTTP on both ports: routes, pages, access, refusals; and who may upgrade to WebSocket. Each
 * returns what libwebsockets' callback is to return. */
#pragma once

#include "api/api_private.h"

/* A request whose head has been read. */
int http_on_request(struct api *api, struct lws *wsi, const char *path);

/* The same, with `Upgrade`: 0 lets libwebsockets go on. */
int http_on_upgrade(struct api *api, struct lws *wsi, const char *protocol);

/* The 101 answer is about to be sent. */
void http_on_upgraded(struct api *api, struct lws *wsi, struct lws_process_html_args *head);
