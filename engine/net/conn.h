/* A client's connection: read buffer, write queue, timeouts, limits, and the order of its end.
 *
 * OPEN, FLUSHING, LINGERING, CLOSED. After conn_close what was sent before it still goes out
 * (FLUSHING), then our end of the stream; input is discarded for at most a second, and 4 MiB of it
 * (LINGERING), as closing on unread input would reset the peer and destroy the last frames. What
 * breaks the connection goes straight to CLOSED.
 *
 * It lies in its owner's memory, which it gives back in libuv's close callback, never inside a call
 * of the owner's. Writes are collected and go out once a turn of the loop (conns_flush). Loop's
 * thread. */
#pragma once

#include "base/bucket.h"
#include "base/counter.h"
#include "base/list.h"
#include "loop/wheel.h"
#include "net/close_reason.h"
#include "net/frame.h"
#include "net/out_queue.h"
#include "net/transport_tls.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

struct conn;
struct memory_guard;

/* So much may wait for anybody, however short memory is: what waits in libuv's hands can neither be
 * left out nor be let go. */
enum { CONN_WAITING_BYTES = TRANSPORT_BEGUN_MAX };

/* Of the connections of one server on one loop; written by its thread. */
struct conn_counters {
    counter read_bytes, written_bytes;
    counter dropped_messages; /* left out for slow clients */
};

/* Shared by connections of one server; outlives them. Times in ms, 0: never; sizes in bytes. */
struct conn_limits {
    uint64_t read_timeout, write_timeout;
    uint64_t max_backlog;        /* waiting to be written, with 48 for each frame */
    bool drop_oldest;            /* above it the oldest messages are left out, else it is closed */
    uint64_t max_input;          /* held because no packet is complete */
    uint64_t read_ahead;         /* held because the owner is busy; reading stops above it */
    struct rate bytes, messages; /* that the peer may send */
    bool wait; /* who sends more is read later, as slowly as the rates say; else on_flood */
    struct conn_counters *counters;
};

/* What a connection tells its owner. */
struct conn_handlers {
    /* Unread input, also what earlier calls did not take; returns how much of it is taken. Not
     * called while the owner holds the input. `data` is valid until the call returns. */
    size_t (*on_input)(void *owner, const char *data, size_t len);
    /* No bytes follow. `why` is NULL after an orderly end: then held input is still to be handled,
     * and the owner closes when it is done. Else the connection is broken: input is discarded and
     * the state is past OPEN, or will be when this returns; before that the owner may send a last
     * word to a client that takes too little. */
    void (*on_end)(void *owner, enum close_reason reason, const char *why);
    /* The peer has sent its end while reading is paused (read_ahead): unread bytes may come before
     * it, so the input goes on in order; only what waits for nothing of it should not wait any
     * longer. */
    void (*on_hang_up)(void *owner);
    /* The peer sends more than a rate allows; the owner closes. What has come with it is dropped.
     */
    void (*on_flood)(void *owner, const char *why);
    /* The socket is closed: the last call. The conn's memory is the owner's again. */
    void (*on_closed)(void *owner);
};

/* The connections of one loop. */
struct conns {
    uv_loop_t *loop;
    struct wheel *wheel;
    struct memory_guard *memory; /* when it is short little may wait for anybody; NULL: never */
    uint64_t grown;              /* bytes that were queued since it was looked at */
    size_t open;                 /* whose memory is still theirs */
    struct list urgent;          /* to be flushed */
    struct list dirty;           /* the same, for what was sent to many */
    bool fan_out;
    struct out_spare spare;
    struct list paused;  /* not read, swept for hang-ups */
    struct list waiting; /* not read before the others had their turn */
    struct timeout sweep;
    struct tls_io tls;
    char scratch[TRANSPORT_READ_MAX];
};

void conns_init(struct conns *conns, uv_loop_t *loop, struct wheel *wheel);
void conns_fini(struct conns *conns); /* after the last connection */

/* Reads those on who had more than their share of the last turn; once before each poll. */
void conns_read_on(struct conns *conns);

/* Writes what the turn produced, one system call for each connection that has something, for at
 * most `max` connections, so that the loop polls in between. True when some are left. Those who
 * were sent something outside of a fan-out are by themselves: nobody waits for the end of one. */
bool conns_flush(struct conns *conns, unsigned max);
bool conns_flush_fan_out(struct conns *conns, unsigned max);

/* Is what is sent from here on for many? Returns what held before. */
bool conns_fan_out(struct conns *conns, bool on);

/* How much memory a connection takes, aligned as malloc does; more where there is a rate. */
size_t conn_size(const struct conn_limits *limits);

/* Takes over an accepted socket, and its TLS after the handshake (NULL: none); conn_start reads. A
 * socket that the loop refuses ends when it is read. The memory is the connection's until
 * on_closed; `limits` and `handlers` outlive it. */
struct conn *conn_open(void *memory, struct conns *conns, int fd, struct ssl_st *tls,
                       const struct conn_limits *limits, const struct conn_handlers *handlers,
                       void *owner);

void conn_start(struct conn *conn);

/* Do the rates hold for it? They do unless told otherwise. Where they do not, nothing is owed. */
void conn_meter(struct conn *conn, bool on);

/* So many messages have come: frames, packets, whatever the owner reads. False: more than their
 * rate allows, and on_flood was called: they are to be dropped. */
bool conn_count(struct conn *conn, uint32_t messages);

/* Queues a frame; takes a reference of its own (an empty frame is nothing). 0, or UV_ENOTCONN when
 * it is closing; UV_ENOBUFS when the client takes too little: then the connection is being closed,
 * and has a second to take what is written already and the owner's last word. With `drop_oldest`
 * the oldest messages (frame->messages) of which nothing is written yet are left out before that,
 * and a message for which there is still no room is itself. */
int conn_send(struct conn *conn, struct frame *frame);

/* The same for bytes that are for this connection alone, head before data: copied, small ones one
 * behind the other, so that many leave as one. `message`: a whole one, which may be left out. */
int conn_append(struct conn *conn, const char *head, size_t head_len, const char *data, size_t len,
                bool message);

/* Starts an orderly close. Idempotent. */
void conn_close(struct conn *conn);

/* Ends it without flushing; on_end is not called, on_closed follows. Idempotent. */
void conn_abort(struct conn *conn);

/* Memory is short: ends it as one that takes too little, with on_end. Unread input stays, as it may
 * be being read: conn_discard. */
void conn_shed(struct conn *conn, const char *why);

/* Bytes of memory that go with it, about: of what it shares with others, its part. */
uint64_t conn_weight(struct conn *conn);

bool conn_is_open(const struct conn *conn); /* not closing in any way */

/* Has anything come since conn_mark, or can nothing have come: the peer is not read, or has not
 * taken yet what it would answer? */
void conn_mark(struct conn *conn);
bool conn_heard(const struct conn *conn);

/* While held, input is collected up to read_ahead and the read timeout stands still. Letting go
 * hands over what was collected; a hold inside on_input keeps what that call does not take. */
void conn_hold(struct conn *conn);
void conn_let_go(struct conn *conn);

/* What is held, from the first byte that was not taken. */
const char *conn_held(const struct conn *conn, size_t *len);

/* Takes the first bytes of what is held. */
void conn_take(struct conn *conn, size_t len);

/* Drops unread input. */
void conn_discard(struct conn *conn);
