/* The one connection that publishes: by a schedule (--rate), or as fast as --window messages that
 * not everybody has yet allow. Over WebSocket, or as HTTP requests one after another. */
#pragma once

#include "client.h"

extern const struct role publisher_ws_role, publisher_http_role;
