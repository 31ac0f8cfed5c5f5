/* A connection to a redis server: found, connected, greeted (AUTH, SELECT), then commands written
 * in order and their replies read in the same order. What was sent during a turn of the loop goes
 * out with one write at its end. hiredis reads the protocol; the socket is libuv's, as hiredis' own
 * looks names up on the loop's thread, does not bound a reply, and ends the process when a server
 * answers what was not asked. Loop's thread. */
#pragma once

#include "base/buf.h"
#include "base/list.h"
#include "config/config.h"
#include "loop/wheel.h"
#include <hiredis/hiredis.h>
#include <uv.h>

enum {
    REDIS_READ_MAX = 64 * 1024,
    REDIS_REPLY_MAX = 64 << 20, /* memory that one reply may take */
};

/* What the connections of a loop share. */
struct redis_io {
    uv_loop_t *loop;
    struct wheel *wheel;
    struct list dirty; /* connections that have something to write */
    char scratch[REDIS_READ_MAX];
};

struct redis_conn;

struct redis_conn_events {
    void (*on_ready)(struct redis_conn *conn);
    /* To the oldest command without an answer; `reply` is valid during the call. */
    void (*on_reply)(struct redis_conn *conn, const redisReply *reply);
    /* Once, last, and never during redis_conn_open: `why` is NULL when redis_conn_end was told so.
     */
    void (*on_end)(struct redis_conn *conn, const char *why);
};

enum redis_stage { REDIS_FINDING, REDIS_CONNECTING, REDIS_GREETING, REDIS_READY, REDIS_ENDED };

struct redis_conn {
    struct redis_io *io;
    const struct config_redis *config;
    const struct redis_conn_events *events;
    enum redis_stage stage;
    bool was_ready;
    uv_getaddrinfo_t lookup;
    bool looking_up;
    struct addrinfo *addresses, *next; /* next: not tried yet */
    uv_tcp_t tcp;
    bool has_tcp; /* the handle is in the loop */
    int status;   /* of the last address that was tried */
    uv_connect_t connect;
    uv_write_t write;
    struct buf out, writing;
    struct list in_dirty;
    redisReader *reader;
    const redisReplyObjectFunctions *maker; /* hiredis' own */
    size_t weight;                          /* memory of the reply that is being read */
    unsigned greetings;                     /* replies that are to come before it is ready */
    /* Its pool's: */
    void *pool;
    struct list in_pool, in_idle;
    struct list in_flight; /* requests without an answer */
    struct timeout timeout;
    uint64_t born_ms, used_ms, heard_ms; /* uv_now; heard: bytes came or went */
    bool spare, alone, retired;
};

void redis_io_init(struct redis_io *io, uv_loop_t *loop, struct wheel *wheel);

/* Writes what was sent; before the loop polls. */
void redis_io_flush(struct redis_io *io);

/* `config` and `events` outlive it. It frees itself after on_end. */
struct redis_conn *redis_conn_open(struct redis_io *io, const struct config_redis *config,
                                   const struct redis_conn_events *events, void *pool);

/* Bytes of whole commands, when it is ready. */
void redis_conn_send(struct redis_conn *conn, const char *bytes, size_t len);

/* Closes it, whatever it does. Idempotent. */
void redis_conn_end(struct redis_conn *conn, const char *why);
