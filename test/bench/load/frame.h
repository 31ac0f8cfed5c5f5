/* The client's half of WebSocket framing (RFC 6455) without I/O: what a server sends is held
 * against its rules, what a client sends is masked. proto/ws.h is the server's half. */
#pragma once

#include "base/buf.h"
#include "proto/ws.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRAME_PAYLOAD_MAX = 64 << 20 }; /* of a message too; more counts as broken */

enum frame_event {
    FRAME_MORE,    /* nothing is complete: the same again, with more behind it */
    FRAME_NEXT,    /* a piece of a message was taken: go on with the rest */
    FRAME_MESSAGE, /* data */
    FRAME_PING,    /* data */
    FRAME_PONG,    /* data */
    FRAME_CLOSE,   /* data: code and reason as they came */
    FRAME_BAD,     /* why */
};

struct frame_item {
    const char *data; /* in the input, or in the reader until its next message */
    size_t len;
    const char *why; /* static text */
};

/* One for each connection. Zeroes are a new one. */
struct frame_reader {
    struct buf message; /* what has come of a message in pieces */
    bool begun;
    bool told; /* `message` was given out and may be dropped */
};

void frame_reader_free(struct frame_reader *reader);

/* Looks at one frame; *used: how many bytes of the input it took. */
enum frame_event frame_read(struct frame_reader *reader, const char *data, size_t len, size_t *used,
                            struct frame_item *item);

/* Appends a whole frame, masked. */
void frame_write(struct buf *out, enum ws_opcode opcode, const char *data, size_t len,
                 uint32_t mask);
