/* Client ids: node 10 bits, worker 6, then the slot and generation of the worker's table (slots.h),
 * so that routing is arithmetic. They fit a signed 64-bit integer; on the wire and in Lua they are
 * decimal strings. 0 is no client. */
#pragma once

#include "base/decimal.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CLIENT_NUMBER_BITS = 47, CLIENT_WORKERS_MAX = 64, CLIENT_NODES_MAX = 1024 };

static inline uint64_t client_id(unsigned node, unsigned worker, uint64_t number)
{
    return (uint64_t)node << 53 | (uint64_t)worker << CLIENT_NUMBER_BITS | number;
}

static inline unsigned client_node(uint64_t id)
{
    return (unsigned)(id >> 53);
}

static inline unsigned client_worker(uint64_t id)
{
    return (unsigned)(id >> CLIENT_NUMBER_BITS) & (CLIENT_WORKERS_MAX - 1);
}

static inline uint64_t client_number(uint64_t id)
{
    return id & (((uint64_t)1 << CLIENT_NUMBER_BITS) - 1);
}

/* Decimal digits alone, at most 2^63 - 1; false for anything else. */
bool client_id_parse(const char *text, size_t len, uint64_t *id);

enum { CLIENT_ID_TEXT = DECIMAL_TEXT }; /* digits and NUL */

/* Returns the count of digits written. */
int client_id_format(uint64_t id, char text[CLIENT_ID_TEXT]);
