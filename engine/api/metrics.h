/* The text of /metrics: the engine's part, and the API's own. */
#pragma once

#include "api/api_private.h"

void metrics_write(struct api *api, struct lws *asker, struct buf *out);
