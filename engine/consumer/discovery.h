/* Asks the center for nodes: GET /version, then GET /v1/nodes. What it finds goes to the consumer
 * (consumer_have_node), what goes wrong becomes a notice. Belongs to the consumer. */
#pragma once

#include "base/buf.h"
#include "consumer/mix_consumer.h"
#include <libwebsockets.h>

enum { DISCOVERY_NODES_MAX = 1024, DISCOVERY_BODY_MAX = 1 << 20 };

struct discovery;

/* The address must be valid (address_parse). */
struct discovery *discovery_new(struct mix_consumer *consumer, const char *center);

/* Does what is due; returns when it is to be called next. */
uint64_t discovery_work(struct discovery *discovery, uint64_t now_ms);

/* A node was lost: asks again in a second. */
void discovery_hurry(struct discovery *discovery);

/* Ends what is on its way. Not inside a callback of libwebsockets. */
void discovery_free(struct discovery *discovery);

/* Of connections to the center. */
int discovery_on_lws(struct discovery *discovery, struct lws *wsi, int reason, void *in,
                     size_t len);
