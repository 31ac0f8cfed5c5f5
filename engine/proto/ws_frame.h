/* Writing WebSocket frames (RFC 6455), those of a server and, masked, those of a client. No I/O. */
#pragma once

#include "base/buf.h"
#include <stdint.h>

enum ws_opcode {
    WS_OP_CONTINUATION = 0,
    WS_OP_TEXT = 1,
    WS_OP_BINARY = 2,
    WS_OP_CLOSE = 8,
    WS_OP_PING = 9,
    WS_OP_PONG = 10,
};

enum { WS_HEADER_MAX = 10 };

/* Writes the header of an unmasked final frame; returns its length. */
size_t ws_header(char out[WS_HEADER_MAX], enum ws_opcode opcode, size_t len);

/* to[i] = from[i] ^ mask[i % 4]; `to` may be `from`. */
void ws_mask(char *to, const char *from, size_t len, const uint8_t mask[4]);

/* A final frame whose payload is not known yet: what is appended to `out` between the two calls
 * becomes the payload. Returns what ws_frame_end wants; `mask` NULL: a server's frame. */
size_t ws_frame_begin(struct buf *out);
void ws_frame_end(struct buf *out, size_t begun, enum ws_opcode opcode, const uint8_t mask[4]);

/* Of the payload appended so far. */
size_t ws_frame_payload(const struct buf *out, size_t begun);

/* How long a frame is that ws_frame_end has made, with its header. */
size_t ws_frame_size(const char *frame);
