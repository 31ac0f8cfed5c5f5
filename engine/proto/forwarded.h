/* The client's address in the X-Forwarded-For headers that proxies wrote. Pure. */
#pragma once

#include "proto/handshake.h"
#include <stdbool.h>
#include <sys/socket.h>

/* Each proxy adds the address it was connected to from, so the last one is told by `peer`, the one
 * before by whoever had that address, and so on: the client is the last one that is not in
 * `trusted` (address_in), or the first of all when every one is. What stands before it, or before
 * something that is no address, may be invented. At most FORWARDED_HOPS_MAX are followed. Replaces
 * *peer when `peer` itself is trusted and an address was found. */
enum { FORWARDED_HOPS_MAX = 32 };
bool forwarded_client(const struct handshake *h, char *const *trusted,
                      struct sockaddr_storage *peer);
