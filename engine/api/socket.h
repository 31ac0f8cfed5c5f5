/* Options and addresses of the API's TCP sockets. Any thread. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* A new connection: no Nagle, keep-alive that finds dead peers, urgent data as any other. */
void socket_tune(int fd);
void socket_set_buffer(int fd, int bytes); /* for what is sent and not taken by the peer */
void socket_cork(int fd, bool on);

/* Bytes that the peer's kernel has taken so far. */
uint64_t socket_acked(int fd);

/* Bytes that were read from it so far, whoever did it. False when that cannot be told: it is not
 * TCP's. */
bool socket_received(int fd, uint64_t *bytes);

/* Ends both directions at once; the close(2) to come resets the connection. */
void socket_abort(int fd);

/* Where it comes from, and what it came to on this side; zeroed when the connection is gone. */
struct sockaddr_storage socket_peer(int fd);
struct sockaddr_storage socket_local(int fd);

/* The numeric address without its port ("::1", and "127.0.0.1" also for one that was mapped to
 * IPv6). */
enum { SOCKET_HOST = 64 };
void socket_host(const struct sockaddr_storage *address, char host[SOCKET_HOST]);
int socket_port(const struct sockaddr_storage *address);
bool socket_is_wildcard(const struct sockaddr_storage *address);
