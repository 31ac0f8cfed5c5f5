/* The replies that one API connection is owed, in the order of its requests. A ring: replies are
 * added at the end, become known in any order, and leave from the front. A reply has a number;
 * those of replies that have left are known to nobody any more. */
#pragma once

#include "api/envelope.h"
#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pending_kind {
    PENDING_SUCCESS,   /* data */
    PENDING_PUBLISHED, /* delivered, failed */
    PENDING_SERVER_PONG,
    PENDING_PONG, /* the text "pong" */
    PENDING_ERROR /* code, why */
};

struct reply {
    enum pending_kind kind;
    enum envelope_spelling spelling;
    char *id;             /* JSON text, NULL for null; owned */
    size_t size;          /* of the request */
    size_t reserved;      /* of api->context_bytes */
    uint32_t outstanding; /* outcomes to come; 0: known */
    uint64_t due_ms;      /* when the rest of them is given up */
    uint32_t delivered, failed;
    struct blob *data; /* JSON text, one reference; NULL: none */
    enum envelope_error code;
    char *why; /* owned */
};

struct pending {
    struct reply *ring;
    uint32_t head, count, cap; /* cap: a power of two, or 0 */
    uint64_t first;            /* the number of the reply at the front */
    size_t size;               /* of all their requests, bytes */
};

/* A reply at the end, zeroed but for its size; *number is its own. Valid until the next one is
 * added. */
struct reply *pending_add(struct pending *pending, size_t size, uint64_t *number);

/* NULL when it has left. */
struct reply *pending_find(const struct pending *pending, uint64_t number);

/* The one at the front, NULL when there is none. */
struct reply *pending_front(const struct pending *pending);
void pending_drop_front(struct pending *pending);

/* Makes it an error; `why` is copied. */
void reply_fail(struct reply *reply, enum envelope_error code, const char *why);

/* Appends what is sent: outstanding is 0. */
void reply_write(const struct reply *reply, struct buf *out);

void pending_fini(struct pending *pending);
