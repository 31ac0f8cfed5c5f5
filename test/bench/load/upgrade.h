/* The client's half of the opening handshake (RFC 6455 section 4.1), without I/O. */
#pragma once

#include "base/buf.h"
#include "proto/handshake.h"
#include <stddef.h>
#include <stdint.h>

enum { UPGRADE_HEAD_MAX = 8 * 1024 };

/* The key of a connection; the same for the same seed. */
void upgrade_key(uint64_t seed, char out[HANDSHAKE_KEY_LEN + 1]);

/* Appends the request; `headers` are lines that end with \r\n. */
void upgrade_request(struct buf *out, const char *host, const char *path, struct slice headers,
                     uint64_t seed);

/* The length of the answer's head; 0: it is not whole. */
size_t upgrade_head(const char *data, size_t len);

/* Looks at a whole head. Returns NULL when it accepts the request with this seed, or what is wrong,
 * in `why`. */
const char *upgrade_refused(const char *head, size_t len, uint64_t seed, struct buf *why);
