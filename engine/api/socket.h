/* Options and addresses of the API's sockets; what a Unix socket does not have is left out. Any
 * thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* A new connection: no Nagle, keep-alive that finds dead peers, urgent data as any other. */
void socket_tune(int fd);
void socket_set_buffer(int fd, int bytes); /* for what is sent and not taken by the peer */
void socket_wait_for(int fd, int bytes);   /* until so many are there it is not readable */

/* A figure that changes when the peer has taken something: bytes into its kernel, or, on a Unix
 * socket, where sending changes it too, out of the socket's buffer. */
uint64_t socket_taken(int fd);

/* Bytes that were read from it so far, whoever did it. False when that cannot be told: it is not
 * TCP's. */
bool socket_received(int fd, uint64_t *bytes);

/* Ends both directions at once; the close(2) to come resets the connection. */
void socket_abort(int fd);

/* Where it comes from, and what it came to on this side, plain (address_of_peer); zeroed when the
 * connection is gone. */
struct sockaddr_storage socket_peer(int fd);
struct sockaddr_storage socket_local(int fd);
