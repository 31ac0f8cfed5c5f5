/* TLS of the API's listeners. libwebsockets does it, in a vhost for each of them; what a connection
 * gets is decided when its first bytes have come, by what the configuration says then, so that
 * there is nothing to do when that is read again. Api loop's thread. */
#pragma once

#include "api/api_private.h"

/* Makes the vhosts as `info` says. */
void secure_open(struct api *api, const struct lws_context_creation_info *info);

/* For LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS, with its arguments. */
void secure_on_context(struct api *api, struct ssl_ctx_st *context, const struct lws_vhost *vhost);

/* Where connections of the listener go; NULL: it has no TLS. */
struct lws_vhost *secure_vhost(const struct api *api, const struct listener *listener);
