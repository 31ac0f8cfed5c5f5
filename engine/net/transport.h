/* What a connection asks of the bytes below it, so that plain TCP and TLS are two of one kind. The
 * TCP one lies in its connection's memory; TLS above it has memory of its own, which goes before
 * on_closed. Loop's thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

struct transport;

/* What the transport tells; `owner` is the connection. */
struct transport_events {
    /* Where the next read goes, and how much is to be read. There are TRANSPORT_READ_MAX bytes,
     * which all connections of a loop may share. */
    uv_buf_t (*on_room)(void *owner);
    /* `data` is valid during the call and not kept. */
    void (*on_bytes)(void *owner, const char *data, size_t len);
    /* After on_bytes, if any, which took so long: the read was full, and libuv would go on with the
     * next, up to 32 before it looks at another socket. */
    void (*on_full)(void *owner, uint64_t took_ns);
    void (*on_end)(void *owner, int status); /* UV_EOF, or what broke; no bytes follow */
    void (*on_written)(void *owner, int status);
    void (*on_shutdown)(void *owner);
    void (*on_closed)(void *owner); /* the last one: its memory is the owner's again */
};

struct transport_ops {
    int (*read_start)(struct transport *t);
    void (*read_stop)(struct transport *t);
    ssize_t (*try_write)(struct transport *t, const uv_buf_t *bufs, unsigned count);
    int (*write)(struct transport *t, const uv_buf_t *bufs, unsigned count);
    size_t (*unwritten)(const struct transport *t);
    size_t (*held)(const struct transport *t);
    int (*shutdown)(struct transport *t);
    bool (*hung_up)(struct transport *t, bool *reset);
    void (*close)(struct transport *t);
};

struct transport {
    const struct transport_ops *ops;
    const struct transport_events *events;
    void *owner;
};

enum {
    TRANSPORT_READ_MAX = 16 * 1024,
    TRANSPORT_BEGUN_MAX = 64 * 1024,
};

struct transport_tcp {
    struct transport transport;
    uv_tcp_t tcp; /* its data: what a write or a shutdown under way needs; NULL: there was none */
};

/* Takes over an accepted stream socket, TCP or Unix-domain. One that libuv refuses is closed at
 * once, and reads and writes of it fail. */
void transport_tcp_open(struct transport_tcp *tcp, uv_loop_t *loop, int fd,
                        const struct transport_events *events, void *owner);

static inline int transport_read_start(struct transport *t)
{
    return t->ops->read_start(t);
}

/* What was read already may still come, within the call of on_bytes that stops it: TLS decrypts
 * all of it, at most twice TRANSPORT_READ_MAX. */
static inline void transport_read_stop(struct transport *t)
{
    t->ops->read_stop(t);
}

/* Writes what goes without waiting: bytes taken, UV_EAGAIN for none, or what broke. What it did not
 * take comes next, through transport_write, all of it or TRANSPORT_BEGUN_MAX bytes at least: TLS
 * has begun with it. */
static inline ssize_t transport_try_write(struct transport *t, const uv_buf_t *bufs, unsigned count)
{
    return t->ops->try_write(t, bufs, count);
}

/* Writes all, which stays valid until on_written; one at a time. */
static inline int transport_write(struct transport *t, const uv_buf_t *bufs, unsigned count)
{
    return t->ops->write(t, bufs, count);
}

/* Bytes of the write under way that the peer's side has not taken. */
static inline size_t transport_unwritten(const struct transport *t)
{
    return t->ops->unwritten(t);
}

/* Memory for what waits that is not the caller's. */
static inline size_t transport_held(const struct transport *t)
{
    return t->ops->held(t);
}

/* Sends the end of our bytes; on_shutdown follows when it returned 0. */
static inline int transport_shutdown(struct transport *t)
{
    return t->ops->shutdown(t);
}

/* Has the peer hung up (*reset: with a reset)? For sockets that are not being read. */
static inline bool transport_hung_up(struct transport *t, bool *reset)
{
    return t->ops->hung_up(t, reset);
}

/* Ends it now; what is unwritten is lost. on_closed follows. */
static inline void transport_close(struct transport *t)
{
    t->ops->close(t);
}
