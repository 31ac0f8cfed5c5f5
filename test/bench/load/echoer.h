/* A connection that sends messages which the server sends back: each after the answer to another
 * one, --depth of them under way; or by a schedule, when its group has a rate. */
#pragma once

#include "client.h"

extern const struct role echoer_role;

/* The payload for options->size bytes; the caller frees it. */
struct slice echoer_payload(size_t size);
