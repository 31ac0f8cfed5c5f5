/* WebSocket framing (RFC 6455) without I/O: bytes in, events out. No allocation but for messages
 * that come in more than one piece; no clock, no socket, no Lua.
 *
 * The decoder eats a stream of client frames. Fragments are joined; control frames between them
 * come out as they come in; text is checked as it arrives, so that a bad byte fails at once, inside
 * an unfinished frame too. After WS_CLOSE or WS_FAIL the stream is over: whatever follows is eaten.
 *
 * With permessage-deflate (RFC 7692) a message comes out inflated, and its text is checked as it is
 * inflated. The limit counts what is inflated: memory ends there however far a message would swell.
 * What is no deflate data fails with 1007: the frames are in order, what they hold is not. */
#pragma once

#include "base/buf.h"
#include "proto/deflate.h"
#include "proto/utf8.h"
#include "proto/ws_frame.h"
#include <stdbool.h>
#include <stdint.h>

/* Most that a decoder leaves uneaten: a header and the payload of a control frame, less one byte.
 */
enum { WS_UNEATEN_MAX = 6 + 125 - 1 };

enum ws_event {
    WS_MORE,    /* nothing is complete; what was not eaten must come again, with more behind it */
    WS_MESSAGE, /* item: opcode text or binary, data */
    WS_PING,    /* item: data */
    WS_PONG,    /* item: data */
    WS_CLOSE,   /* item: code (0: the frame had none), data: the reason */
    WS_FAIL,    /* item: code to fail the connection with, why */
};

struct ws_item {
    enum ws_opcode opcode;
    const char *data; /* in the scratch buffer, valid until that is used again; never NULL with an
                         event that has data */
    size_t len;
    uint16_t code;
    const char *why; /* static text */
};

/* A message of which not all has come. */
struct ws_begun {
    uint64_t left;      /* payload bytes of the current data frame still to come */
    struct buf message; /* what has come */
    uint8_t mask[4];    /* turned, so that the next byte of the payload meets mask[0] */
    enum ws_opcode opcode;
    bool fin;         /* the current data frame ends it */
    bool packed;      /* it is compressed */
    struct utf8 utf8; /* of a text */
};

/* In the caller's memory, small: one for each connection. */
struct ws_decoder {
    uint64_t max_message;    /* bytes of a whole message */
    struct ws_begun *begun;  /* NULL: between two messages */
    struct deflate *deflate; /* the caller's; NULL: messages must not be compressed */
    bool over;               /* after WS_CLOSE or WS_FAIL */
    uint32_t frames;         /* whose headers were eaten, of whatever kind; the caller's to reset */
};

void ws_decoder_init(struct ws_decoder *decoder, uint64_t max_message);
void ws_decoder_fini(struct ws_decoder *decoder);

/* Messages may be compressed. Before the first byte; `deflate` must outlive the decoder's use. */
void ws_decoder_inflate(struct ws_decoder *decoder, struct deflate *deflate);

/* Eats input up to the next event. *eaten: how many bytes; call again with the rest until WS_MORE.
 * Payloads of data frames are eaten as they come; a header or a control frame that is not whole yet
 * is left (WS_UNEATEN_MAX), though what is wrong with it fails at once. `data` is not changed.
 * `scratch` holds the item's data: a frame that is whole in `data` is unmasked to it, a message
 * that came in pieces is moved to it; it may be shared by all connections of a thread. */
enum ws_event ws_decode(struct ws_decoder *decoder, struct buf *scratch, const char *data,
                        size_t len, size_t *eaten, struct ws_item *item);

/* Inside a message: what was eaten is not complete. What the caller holds uneaten does not count.
 */
bool ws_decoder_pending(const struct ws_decoder *decoder);

/* As ws_header, of a compressed message; `len` is the compressed length. */
size_t ws_header_packed(char out[WS_HEADER_MAX], enum ws_opcode opcode, size_t len);

/* Appends a whole unmasked frame. */
void ws_encode(struct buf *out, enum ws_opcode opcode, const void *data, size_t len);

/* Appends a close frame; code 0: without a body. The reason (NULL: none) is cut to what fits, at a
 * character, and before the first byte that is not UTF-8. */
void ws_encode_close(struct buf *out, uint16_t code, const char *reason);

/* May a peer send this code in a close frame? */
bool ws_close_code_valid(uint16_t code);
