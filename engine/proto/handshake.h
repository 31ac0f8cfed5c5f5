/* The opening handshake (RFC 6455 section 4.2) without I/O, and the strict part of HTTP/1.1 (RFC
 * 9112) that it needs: no folded lines, no bare CR, no space before a colon, no body. */
#pragma once

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

enum { HANDSHAKE_HEADERS_MAX = 100, HANDSHAKE_HEAD_MAX = 16 * 1024 };

struct slice {
    const char *data;
    size_t len;
};

/* Slices point into the bytes that were parsed. */
struct handshake_header {
    struct slice name, value;
};

struct handshake {
    struct slice method, version, host, key;
    struct slice uri; /* in origin form: what an absolute form names is cut to its path and query */
    struct slice protocols, origin; /* of the first such header; empty when absent */
    struct handshake_header headers[HANDSHAKE_HEADERS_MAX];
    size_t header_count;
    size_t head_len; /* bytes up to and with the empty line */
    int status;      /* with HANDSHAKE_BAD: 400 405 426 431 505 */
    const char *why; /* with HANDSHAKE_BAD: static text for the answer and the log */
};

enum handshake_result { HANDSHAKE_MORE, HANDSHAKE_OK, HANDSHAKE_BAD };

/* Looks at all bytes received so far. The path is the caller's to judge. What is not HTTP at all is
 * bad at its first wrong byte; what a well-formed head asks for is judged at its end. An answer
 * other than HANDSHAKE_MORE does not change when more bytes follow. */
enum handshake_result handshake_parse(struct handshake *out, const char *data, size_t len);

/* The first header of that name, whatever its case; NULL when there is none. */
const struct handshake_header *handshake_find(const struct handshake *h, const char *name);

/* The first one behind `last`; NULL `last`: of all. */
const struct handshake_header *handshake_next(const struct handshake *h, const char *name,
                                              const struct handshake_header *last);

/* May it stand in a token (RFC 9110 section 5.6.2)? */
bool handshake_is_token(char c);

enum { HANDSHAKE_KEY_LEN = 24, HANDSHAKE_ACCEPT_LEN = 28 };

/* The answer to a key of HANDSHAKE_KEY_LEN bytes, with a NUL behind it. */
void handshake_accept(struct slice key, char out[HANDSHAKE_ACCEPT_LEN + 1]);

/* Appends the 101 answer; `extensions` may be NULL. */
void handshake_answer(struct buf *out, const struct handshake *h, const char *extensions);

/* Appends a whole HTTP answer that refuses, with `Connection: close`; 426 names version 13, 405
 * names GET. `why` becomes the body's one line. */
void handshake_refuse(struct buf *out, int status, const char *why);
