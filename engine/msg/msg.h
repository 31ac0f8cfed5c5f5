/* The messages that cross threads: what a mailbox's handler may find. Types only; who allocates and
 * who frees stands at each. */
#pragma once

#include "base/blob.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/sources.h"
#include "loop/mailbox.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum msg_type {
    /* to a worker */
    MSG_ACCEPTED,    /* struct msg_accepted, from the acceptor */
    MSG_COMMAND,     /* struct command, to be carried out */
    MSG_PUSH_ANSWER, /* struct push_answer, from the queue */
    MSG_PREPARE,     /* struct msg_reload: load a server's scripts anew; answered by MSG_PREPARED */
    MSG_COMMIT,      /* struct msg_reload: use what was prepared with this number */
    MSG_ABORT,       /* struct msg_reload: forget it */
    MSG_DRAIN,       /* struct msg: close what is open, take nothing new */
    MSG_STOP,        /* struct msg: end the thread's loop; to every thread */
    MSG_CONFIG,      /* struct msg_config: the file was read again; to every worker and the api */
    MSG_WEIGH,       /* struct weighing: who holds the most memory? To every worker and the api */
    MSG_SHED,        /* struct msg_shed: close those; the same */
    /* to the api */
    MSG_HURRY, /* struct msg: a drain has begun; no new connection, what waits is given up sooner */
    MSG_NOW,   /* struct msg: the time of the drain is over, whatever is left */
    MSG_ENTRY, /* struct entry, pushed or waiting to be */
    MSG_RESIZED, /* struct msg_resized: a topic's bound has been raised */
    /* to whoever sent a command */
    MSG_OUTCOME, /* the struct command again, carried out */
    /* to the main thread */
    MSG_CLOSED,   /* struct msg_closed: a connection is gone, from its worker */
    MSG_DRAINED,  /* struct msg: a worker has no connection left */
    MSG_PREPARED, /* struct msg_prepared */
    MSG_SOURCE,   /* struct msg_prepared: one file more, required by a handler */
    MSG_WEIGHED,  /* struct weighing, filled in */
};

/* Freed by the worker. */
struct msg_reload {
    struct msg msg;
    int server;      /* index in the configuration */
    uint32_t number; /* of the attempt */
};

/* Freed by the main thread, with what it holds. */
struct msg_prepared {
    struct msg msg;
    int server, worker;
    uint32_t number;
    char *error;            /* NULL: it is ready, and waits */
    struct sources sources; /* what it has read */
};

/* A connection that was accepted. Freed by the worker, which owns the descriptor from then on. */
struct msg_accepted {
    struct msg msg;
    int fd;
    struct ssl_st *tls; /* after its handshake; NULL: none */
    int server;         /* index in the configuration */
    struct sockaddr_storage peer;
    bool counted; /* in the server's tally */
};

struct msg_closed {
    struct msg msg;
    int server, worker;
};

/* A client, or a connection of the api, and the memory that goes with it. */
struct weight {
    uint64_t id, bytes;
};

enum { WEIGHTS_MAX = 128, WEIGHT_MIN = 4096 };

/* The heaviest of a worker, or of the api. The main thread's, which sends it around. */
struct weighing {
    struct msg msg;
    int place; /* the main thread's, as is the round */
    uint32_t round;
    uint32_t count;
    struct weight heaviest[WEIGHTS_MAX]; /* in no order */
};

/* Keeps the WEIGHTS_MAX heaviest; below WEIGHT_MIN nobody counts. */
void weighing_add(struct weighing *weighing, uint64_t id, uint64_t bytes);

/* Freed by the receiver. */
struct msg_shed {
    struct msg msg;
    uint32_t count;
    uint64_t ids[WEIGHTS_MAX]; /* of a weighing; some may be gone */
};

struct config;

/* Freed by the receiver, with its reference to the configuration. */
struct msg_config {
    struct msg msg;
    const struct config *config;
};

/* What a command does to a client, or to (COMMAND_PUBLISH, COMMAND_COUNT) a channel's subscribers
 * on the worker that gets it. */
enum command_kind {
    COMMAND_SEND,        /* client, data, binary */
    COMMAND_PUBLISH,     /* name: the channel; data, binary */
    COMMAND_SET_CONTEXT, /* data: keys and JSON texts of their values by turns, packed
                            (strings_next) */
    COMMAND_GET_CONTEXT, /* data: the keys wanted, packed, none: all; answers with `result` */
    COMMAND_SUBSCRIBE,   /* data: channels, packed (strings_next) */
    COMMAND_UNSUBSCRIBE, /* the same */
    COMMAND_CLOSE,       /* code, data: the reason (session_dismiss) */
    COMMAND_COUNT,       /* name: the channel; answers with its subscribers in `delivered` */
};

enum command_status {
    COMMAND_DONE,
    COMMAND_NO_CLIENT, /* unknown or closing */
    COMMAND_FAILED,    /* known, but refused: `why` says it */
};

/* Allocated by the sender, carried out by one worker, and then posted back to `reply_to` as
 * MSG_OUTCOME: the sender's again, which frees it with command_free. Without reply_to the worker
 * frees it. */
struct command {
    struct msg msg;
    enum command_kind kind;
    struct mailbox *reply_to;
    uint64_t tag;       /* the sender's */
    uint64_t since;     /* the sender's */
    uint64_t posted_ns; /* when the mesh took it (clock_ns) */
    uint64_t client;
    bool binary;
    uint16_t code; /* of a close frame; 0: none */
    uint8_t hops;  /* commands that led to this one, each carried out by running a script */
    struct blob *name, *data; /* one reference each; NULL where the kind has none */
    /* the outcome */
    enum command_status status;
    uint32_t delivered, failed; /* clients */
    const char *why;            /* static text, with COMMAND_FAILED */
    struct blob *result;        /* JSON text, one reference; NULL where the kind has none */
};

enum { COMMAND_HOPS_MAX = 4, COMMAND_RESULT_MAX = 128 << 10 };

/* Zeroed but for its kind. */
struct command *command_new(enum command_kind kind);
void command_free(struct command *command);

/* Strings of any bytes packed into one blob: each a 32-bit length and its bytes. */
void strings_add(struct buf *packed, const char *text, size_t len);
/* Start with *offset = 0; false at the end. */
bool strings_next(const struct blob *packed, size_t *offset, const char **text, size_t *len);

struct gate;

/* One message of a client on its way to a consumer. Allocated by the pushing worker, freed by the
 * api loop. */
struct entry {
    struct msg msg;
    struct gate *gate; /* its topic */
    uint64_t client;   /* 0: pushed outside of a connection */
    /* Not inside the bound: stands in line until there is room, and is answered exactly once. */
    bool waiting;
    struct push_answer
        *answer; /* where `waiting`; allocated by the worker, posted back by the queue */
    struct mailbox *reply_to; /* where `waiting` */
    /* the queue's own */
    uint64_t seq, since_ms, due_ms;
    struct list in_lane, in_line;
    /* the value as JSON text, valid UTF-8 */
    uint32_t len;
    char json[];
};

struct push_answer {
    struct msg msg;
    void *owner; /* the pushing worker's own, as is the tag */
    uint64_t tag;
    bool granted;   /* else timed out */
    uint32_t depth; /* where granted: entries now in the topic */
};

/* Freed by the api loop. */
struct msg_resized {
    struct msg msg;
    struct gate *gate;
};
