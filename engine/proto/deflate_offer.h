/* The negotiation of permessage-deflate (RFC 7692 sections 5 and 7.1), a server's side. Pure. */
#pragma once

#include "proto/handshake.h"
#include <stdint.h>

/* What both sides keep to from the handshake on. */
struct deflate_terms {
    bool server_keeps, client_keeps; /* context takeover: a message may refer to earlier ones */
    uint8_t server_bits;             /* our window is at most 2^bits bytes; 9 to 15 */
    uint8_t client_bits;             /* the client's; 8 to 15 */
};

/* For handshake_answer, with a NUL behind it. */
struct deflate_answer {
    char text[160];
};

enum deflate_offer_result {
    DEFLATE_OFFER_NONE,      /* none is acceptable: no compression, and no word about it */
    DEFLATE_OFFER_ACCEPTED,  /* *terms and *answer are set */
    DEFLATE_OFFER_MALFORMED, /* the handshake must fail (RFC 6455 section 9.1) */
};

/* Takes the first offer in all Sec-WebSocket-Extensions of the request that is acceptable. One with
 * an unknown parameter, one that comes twice, or a wrong value is not; nor is
 * server_max_window_bits of 8, which zlib cannot keep. With `takeover` false neither side keeps a
 * context; else both do, unless the client asks otherwise, with windows of DEFLATE_KEPT_BITS where
 * the client allows. */
enum deflate_offer_result deflate_offer_read(const struct handshake *h, bool takeover,
                                             struct deflate_terms *terms,
                                             struct deflate_answer *answer);

/* The window of a context that is kept: 4 KiB find most of what chat-like messages repeat, in an
 * eighth of the memory of the 32 KiB that are the most. */
enum { DEFLATE_KEPT_BITS = 12, DEFLATE_BITS_MAX = 15 };
