/* The header of the PROXY protocol, versions 1 (text) and 2 (binary), with which a proxy tells
 * whose connection it forwards, without I/O. As haproxy's proxy-protocol.txt has it; a stream of
 * TCP or of a Unix socket is all that can be forwarded here. Pure functions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/* Of a header of version 2 with its additional data (TLVs), which is passed over. */
enum { PROXY_HEADER_MAX = 4096 };

struct proxy_header {
    size_t len; /* bytes of the header */
    /* Whose connection it is. Family AF_UNSPEC: the proxy's own, as of its health checks, or one
     * that it cannot describe. */
    struct sockaddr_storage source;
    const char *why; /* with PROXY_HEADER_BAD: static text for the log */
};

enum proxy_header_result { PROXY_HEADER_MORE, PROXY_HEADER_OK, PROXY_HEADER_BAD };

/* Looks at all bytes received so far; never asks for more than PROXY_HEADER_MAX. What is no header
 * is bad at its first wrong byte where that tells. While more is wanted, all bytes so far are the
 * header's. An answer other than PROXY_HEADER_MORE does not change when more bytes follow. */
enum proxy_header_result proxy_header_parse(struct proxy_header *out, const char *data, size_t len);
