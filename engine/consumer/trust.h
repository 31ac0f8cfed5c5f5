/* TLS towards the center and the nodes: whom the consumer believes, and what it shows them. */
#pragma once

#include "consumer/mix_consumer.h"
#include <stdbool.h>

struct lws;
struct ssl_ctx_st;

bool trust_is_asked(const struct mix_consumer_options *options);

/* What such connections are made from. NULL: `ca` is missing, one of the files cannot be used, or
 * key and certificate do not fit. */
struct ssl_ctx_st *trust_new(const struct mix_consumer_options *options);

/* NULL is allowed. */
void trust_free(struct ssl_ctx_st *trust);

/* What is wrong with the certificate that the peer has shown, valid for ever; NULL: nothing, also
 * when it has shown none. `host`: a name or an address. */
const char *trust_missing(struct lws *wsi, const char *host);
