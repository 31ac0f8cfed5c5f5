/* A connection to the server under test: connect, opening handshake, preamble, then whatever its
 * role does. It belongs to one loop and is used on that loop's thread alone.
 *
 * A role is what connections of one kind have in common; a role's connections are structs that
 * begin with a struct client. */
#pragma once

#include "frame.h"
#include "proto/handshake.h"
#include "steps.h"
#include "target.h"
#include "text_template.h"
#include <stdbool.h>
#include <stdint.h>

struct client;
struct loop;

enum client_state {
    CLIENT_NEW,
    CLIENT_CONNECTING,
    CLIENT_SHAKING, /* hands, of TLS */
    CLIENT_HANDSHAKE,
    CLIENT_PREAMBLE,
    CLIENT_OPEN,
    CLIENT_CLOSED,
};

/* Each may be NULL. They are called when the connection is open, but
 * on_bytes, init and fini. */
struct role {
    size_t size;                             /* of its connections */
    void (*init)(struct client *client);     /* before the loops start */
    void (*on_run)(struct client *client);   /* the run begins */
    void (*on_drain)(struct client *client); /* nothing new is to be sent */
    void (*on_message)(struct client *client, const char *data, size_t len, uint64_t now);
    void (*on_read)(struct client *client); /* all messages of one read were handed over */
    void (*on_close)(struct client *client);
    void (*fini)(struct client *client); /* with client_free: what the role has allocated */
    /* Instead of WebSocket: all bytes that are there; returns how many it took. */
    size_t (*on_bytes)(struct client *client, const char *data, size_t len);
    /* Once in a turn of a loop that has such connections, while the run lasts; returns in how many
     * nanoseconds it wants to be called again, -1: whenever. */
    int64_t (*on_turn)(struct loop *loop, uint64_t now);
    /* How many channels it joins with the group's steps, and the number of the nth. */
    unsigned (*channel_count)(const struct client *client);
    uint32_t (*channel)(const struct client *client, unsigned nth);
};

/* Connections that are made alike. */
struct group {
    const struct role *role;
    const struct target *target;
    struct slice headers;
    const struct steps *preamble, *join; /* NULL: none */
    double rate; /* messages a second, for roles that keep to a schedule; 0: none */
    uint32_t count;
    uint32_t slow;        /* of these, for subscribers */
    uint32_t first_index; /* {i} of the first */
    char *clients;        /* count structs of the role's size, owned by the run */
};

struct client {
    const struct group *group;
    struct loop *loop;
    int fd;             /* -1: none */
    struct ssl_st *tls; /* NULL: none */
    enum client_state state;
    uint32_t index, round;             /* {i}, {n} */
    bool waits_for_room;               /* to write */
    bool paused;                       /* it does not read */
    bool expendable;                   /* that the server ends it is no error */
    int receive_buffer;                /* bytes of the kernel's; 0: its default */
    unsigned step, joined;             /* where the preamble is */
    uint64_t connect_ns, handshake_ns; /* when these began */
    struct frame_reader reader;
    struct buf in, out;
    size_t out_sent; /* of `out` */
};

struct client *client_of(const struct group *group, uint32_t nth);

void client_start(struct client *client);

/* What epoll found. */
void client_on_events(struct client *client, uint32_t events);

/* Reads at most `max` bytes; what has come is handled. Returns how many they were, 0: none. */
size_t client_read(struct client *client, size_t max);

/* Sends now; what the socket does not take is sent when it does. No effect when it is closed. */
void client_write(struct client *client, const char *data, size_t len);

/* One message, from a template. */
void client_send(struct client *client, struct slice text, const struct template_values *values);

/* Is something left to be written? */
bool client_is_full(const struct client *client);

void client_pause(struct client *client);
void client_resume(struct client *client);

/* At once; on_close is called when it was open. Memory goes with client_free. */
void client_close(struct client *client);
void client_free(struct client *client);
