/* What the center tells: versions and nodes. Appends JSON. */
#pragma once

#include "api/api_private.h"

void center_version(struct api *api, struct lws *asker, struct buf *out);

/* The address of a node is one that the asker can reach: as configured, else as bound, else, bound
 * to all, the one on which it asked (on a Unix socket: 127.0.0.1). */
void center_nodes(struct api *api, struct lws *asker, struct buf *out);
