/* TLS above a TCP transport: to the connection a transport as any other.
 *
 * libssl sees neither the socket nor buffers of its own: its BIO takes what the loop has read from
 * where it lies, and puts records into one buffer of the loop, which goes out with one write. So a
 * silent connection holds the SSL object and nothing else. What a flush has becomes records of up
 * to 16 KiB; only small frames are copied together for that. 64 KiB at a time are encrypted, so
 * that is what can wait, encrypted, for a client that takes nothing; the rest waits as it is. */
#pragma once

#include "base/buf.h"
#include "net/transport.h"

struct ssl_st;

/* What the connections of a loop share. In the owner's memory, zeroed: nothing is allocated before
 * the first connection. */
struct tls_io {
    char *read;     /* TRANSPORT_READ_MAX bytes: what has come and is to be decrypted */
    char *gathered; /* one record's bytes: small frames that are to be encrypted together */
    struct buf out; /* records that are to be written; empty between calls */
};

void tls_io_fini(struct tls_io *io);

/* As transport_tcp_open, with `ssl`, whose handshake on `fd` is over and which is the transport's
 * from here on. `tcp` is what it uses, in the owner's memory, until on_closed. */
struct transport *transport_tls_open(struct tls_io *io, struct ssl_st *ssl,
                                     struct transport_tcp *tcp, uv_loop_t *loop, int fd,
                                     const struct transport_events *events, void *owner);
