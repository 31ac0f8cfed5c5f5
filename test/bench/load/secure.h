/* TLS of a connection, on its non-blocking socket, which stays the caller's. Whose certificate the
 * server has is not looked at. Any thread, each connection on one. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct ssl_st;

struct ssl_st *secure_new(int fd);
void secure_free(struct ssl_st *tls); /* NULL is allowed */

/* Goes on with the handshake. 0: it is done; EPOLLIN or EPOLLOUT: what it waits for; -1: it has
 * failed. */
int secure_shake(struct ssl_st *tls);

/* As send(2) and recv(2) say. After EAGAIN the same bytes are to be sent again, more may follow.
 * Bytes that were read from the socket may be left after a read that fills `data`. */
ssize_t secure_send(struct ssl_st *tls, const char *data, size_t len);
ssize_t secure_receive(struct ssl_st *tls, char *data, size_t len);
