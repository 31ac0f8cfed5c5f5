/* The way to HOST:PORT. Names are looked up on libuv's thread pool, as libwebsockets would stop the
 * loop for it, and their addresses are tried one after the other: a name such as localhost has
 * several, of which one may answer. Belongs to the consumer's thread. */
#pragma once

#include "consumer/mix_consumer.h"
#include <libwebsockets.h>
#include <netinet/in.h>
#include <stdbool.h>

enum { ADDRESS_MAX = 261, DIAL_HOSTS_MAX = 8, DIAL_WHY_MAX = 160 };

struct address {
    char text[ADDRESS_MAX + 1]; /* "HOST:PORT" as it was given */
    char host[ADDRESS_MAX + 1]; /* without the brackets of an IPv6 address */
    int port;
};

/* False when it is not HOST:PORT. */
bool address_parse(struct address *address, const char *text);

struct lookup;

struct dial {
    struct mix_consumer *consumer;
    struct address address;
    struct lookup *lookup; /* on its way */
    int error;             /* why it failed, a uv code */
    char hosts[DIAL_HOSTS_MAX][INET6_ADDRSTRLEN];
    unsigned count, next;
    bool greeted; /* the last that was connected to is sent a request */
};

/* Looks the name up. dial_busy until the consumer is woken for its end. */
void dial_start(struct dial *dial);
bool dial_busy(const struct dial *dial);

/* Gives a look-up up. */
void dial_stop(struct dial *dial);

/* Has an address that was not tried yet. */
bool dial_has_next(const struct dial *dial);

/* Connects to the next address: a GET of `path`, or with `method` NULL a WebSocket. `user` is what
 * callbacks of `protocol` get. NULL when it failed at once; nobody is called back then. */
struct lws *dial_connect(struct dial *dial, const char *protocol, const char *method,
                         const char *path, void *user);

/* For LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER, with its arguments: adds the credentials if the
 * peer is who it should be; else -1, and `why` says so. */
int dial_greet(struct dial *dial, struct lws *wsi, void *in, size_t len, char why[DIAL_WHY_MAX]);

/* For LWS_CALLBACK_CLIENT_CONNECTION_ERROR, with its text, which for one and the same end depends
 * on the moment: "Closed before conn", "read failed", "Peer hung up". */
void dial_explain(const struct dial *dial, struct lws *wsi, const char *in, size_t len,
                  char why[DIAL_WHY_MAX]);
