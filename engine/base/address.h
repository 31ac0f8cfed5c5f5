/* Addresses of sockets and their texts: IPv4, IPv6 and Unix-domain. An IPv4 address in its IPv6
 * form
 * (::ffff:192.0.2.1) is read and told as the IPv4 address that it is. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    ADDRESS_HOST = 48,       /* a host and its NUL */
    ADDRESS_TEXT = 128,      /* the longest text, "unix:" and a path, and its NUL */
    ADDRESS_PATH_MAX = 107,  /* bytes of a socket's path */
    ADDRESS_PREFIX_MAX = 128 /* bits of a network's prefix */
};

/* An IPv4 or IPv6 address, the latter with or without brackets. False when it is none. */
bool address_from_ip(struct sockaddr_storage *out, const char *ip, int port);

/* What a listener is told to bind to: an address as above, or "unix:PATH", which has no port. */
bool address_from_bind(struct sockaddr_storage *out, const char *bind, int port);

/* The path in "unix:PATH"; NULL: it is something else. */
const char *address_path(const char *bind);

/* ADDRESS, ADDRESS:PORT (an IPv6 address with a port stands in brackets) or "unix:". A port that is
 * not given is 0. */
bool address_from_text(struct sockaddr_storage *out, const char *text, size_t len);

/* "192.0.2.1:80", "[2001:db8::1]:80", "unix:/run/a.sock"; "unix:" where the path is not known. */
void address_text(const struct sockaddr_storage *address, char out[ADDRESS_TEXT]);

/* The same without the port: "192.0.2.1", "2001:db8::1", "unix"; "" of no address. */
void address_host(const struct sockaddr_storage *address, char out[ADDRESS_HOST]);

/* 0 where there is none. */
int address_port(const struct sockaddr_storage *address);

/* How many bytes of it bind(2) and connect(2) take. */
socklen_t address_len(const struct sockaddr_storage *address);

/* 0.0.0.0 or :: */
bool address_is_any(const struct sockaddr_storage *address);

/* The same but for the port. */
bool address_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

/* As the system gave it, made plain: an IPv4 address as such, a Unix peer without the path that it
 * may have chosen itself. */
void address_of_peer(struct sockaddr_storage *address);

/* A peer's address for whoever keeps many: a fifth of a sockaddr_storage's size, and nothing that
 * the texts do not tell. Zero-initialised is no address. */
struct address_packed {
    uint16_t family;
    uint16_t port; /* in network order */
    uint8_t ip[16];
};

void address_pack(struct address_packed *out, const struct sockaddr_storage *peer);
void address_unpack(struct sockaddr_storage *out, const struct address_packed *packed);

/* ADDRESS, ADDRESS/BITS, or "unix": every Unix peer. */
bool address_is_network(const char *text);

/* Is it in one of these networks? The list ends with NULL. */
bool address_in(const struct sockaddr_storage *address, char *const *networks);
