#include "script/redis_conn.h"
#include "base/check.h"
#include "base/mem.h"
#include "script/redis_command.h"
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEEPALIVE_S = 15 }; /* of commands that wait for data a dead host is noticed by this alone */

/* -- the end -- */

static void free_if_gone(struct redis_conn *conn)
{
    if (conn->stage != REDIS_ENDED || conn->has_tcp || conn->looking_up)
        return;
    if (conn->addresses)
        uv_freeaddrinfo(conn->addresses);
    redisReaderFree(conn->reader);
    buf_free(&conn->out);
    buf_free(&conn->writing);
    free(conn);
}

static void connect_next(struct redis_conn *conn);

static void on_closed(uv_handle_t *handle)
{
    struct redis_conn *conn = handle->data;
    conn->has_tcp = false;
    if (conn->stage == REDIS_ENDED)
        free_if_gone(conn);
    else if (conn->next)
        connect_next(conn);
    else
        redis_conn_end(conn, uv_strerror(conn->status));
}

static void close_tcp(struct redis_conn *conn)
{
    if (conn->has_tcp && !uv_is_closing((uv_handle_t *)&conn->tcp))
        uv_close((uv_handle_t *)&conn->tcp, on_closed);
}

void redis_conn_end(struct redis_conn *conn, const char *why)
{
    if (conn->stage == REDIS_ENDED)
        return;
    conn->was_ready = conn->stage == REDIS_READY;
    conn->stage = REDIS_ENDED;
    wheel_clear(conn->io->wheel, &conn->timeout);
    list_remove(&conn->in_dirty);
    close_tcp(conn);
    if (conn->looking_up)
        uv_cancel((uv_req_t *)&conn->lookup);
    conn->events->on_end(conn, why);
    free_if_gone(conn);
}

/* -- writing -- */

static void write_out(struct redis_conn *conn);

static void on_written(uv_write_t *req, int status)
{
    struct redis_conn *conn = req->data;
    conn->writing.len = 0;
    conn->heard_ms = uv_now(conn->io->loop);
    if (status < 0)
        redis_conn_end(conn, uv_strerror(status));
    else if (conn->stage != REDIS_ENDED)
        write_out(conn);
}

/* Errors come by the callback, so that nothing ends while its pool is in the middle of a turn. */
static void write_out(struct redis_conn *conn)
{
    list_remove(&conn->in_dirty);
    if (conn->out.len == 0 || conn->writing.len > 0)
        return;
    uv_buf_t buf = uv_buf_init(conn->out.data, (unsigned)conn->out.len);
    int n = uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1);
    buf_consume(&conn->out, n > 0 ? (size_t)n : 0);
    if (conn->out.len == 0)
        return;
    struct buf rest = conn->out;
    conn->out = conn->writing;
    conn->writing = rest;
    buf = uv_buf_init(rest.data, (unsigned)rest.len);
    conn->write.data = conn;
    CHECK(uv_write(&conn->write, (uv_stream_t *)&conn->tcp, &buf, 1, on_written) == 0);
}

void redis_conn_send(struct redis_conn *conn, const char *bytes, size_t len)
{
    buf_append(&conn->out, bytes, len);
    if (list_empty(&conn->in_dirty))
        list_push_back(&conn->io->dirty, &conn->in_dirty);
}

void redis_io_init(struct redis_io *io, uv_loop_t *loop, struct wheel *wheel)
{
    io->loop = loop;
    io->wheel = wheel;
    list_init(&io->dirty);
}

void redis_io_flush(struct redis_io *io)
{
    while (!list_empty(&io->dirty))
        write_out(list_entry(io->dirty.next, struct redis_conn, in_dirty));
}

/* -- replies, of a bounded size -- */

static struct redis_conn *weigh(const redisReadTask *task, size_t more)
{
    struct redis_conn *conn = task->privdata;
    conn->weight += sizeof(redisReply) + more;
    return conn->weight <= REDIS_REPLY_MAX ? conn : NULL;
}

static void *make_string(const redisReadTask *task, char *text, size_t len)
{
    struct redis_conn *conn = weigh(task, len);
    return conn ? conn->maker->createString(task, text, len) : NULL;
}

static void *make_array(const redisReadTask *task, int count)
{
    struct redis_conn *conn = weigh(task, count > 0 ? (size_t)count * sizeof(redisReply *) : 0);
    return conn ? conn->maker->createArray(task, count) : NULL;
}

static void *make_integer(const redisReadTask *task, long long value)
{
    struct redis_conn *conn = weigh(task, 0);
    return conn ? conn->maker->createInteger(task, value) : NULL;
}

static void *make_nil(const redisReadTask *task)
{
    struct redis_conn *conn = weigh(task, 0);
    return conn ? conn->maker->createNil(task) : NULL;
}

static const redisReplyObjectFunctions bounded = {
    .createString = make_string,
    .createArray = make_array,
    .createInteger = make_integer,
    .createNil = make_nil,
    .freeObject = freeReplyObject,
};

static void make_reader(struct redis_conn *conn)
{
    conn->reader = redisReaderCreate();
    CHECK(conn->reader);
    conn->maker = conn->reader->fn;
    conn->reader->fn = (redisReplyObjectFunctions *)&bounded;
    conn->reader->privdata = conn;
}

static void become_ready(struct redis_conn *conn)
{
    conn->stage = REDIS_READY;
    conn->events->on_ready(conn);
}

static void on_greeted(struct redis_conn *conn, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR)
        redis_conn_end(conn, reply->str);
    else if (--conn->greetings == 0)
        become_ready(conn);
}

static void on_reply(struct redis_conn *conn, const redisReply *reply)
{
    conn->weight = 0;
    if (conn->stage == REDIS_GREETING)
        on_greeted(conn, reply);
    else if (!list_empty(&conn->in_flight))
        conn->events->on_reply(conn, reply);
    else
        redis_conn_end(conn, reply->type == REDIS_REPLY_ERROR
                                 ? reply->str
                                 : "the server answered what was not asked");
}

static void end_unreadable(struct redis_conn *conn)
{
    if (conn->weight > REDIS_REPLY_MAX)
        redis_conn_end(conn, "a reply is larger than 64 MiB");
    else
        redis_conn_end(conn, conn->reader->errstr);
}

static void take_replies(struct redis_conn *conn)
{
    void *reply = NULL;
    do {
        if (redisReaderGetReply(conn->reader, &reply) != REDIS_OK) {
            end_unreadable(conn);
        } else if (reply) {
            on_reply(conn, reply);
            freeReplyObject(reply);
        }
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it is there until on_closed */
    } while (reply && conn->stage != REDIS_ENDED);
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): as above */
    if (conn->reader->len > REDIS_REPLY_MAX)
        redis_conn_end(conn, "a reply is larger than 64 MiB");
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct redis_conn *conn = handle->data;
    *buf = uv_buf_init(conn->io->scratch, REDIS_READ_MAX);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct redis_conn *conn = stream->data;
    if (n < 0) {
        redis_conn_end(conn,
                       n == UV_EOF ? "the server closed the connection" : uv_strerror((int)n));
    } else if (n > 0) {
        conn->heard_ms = uv_now(conn->io->loop);
        CHECK(redisReaderFeed(conn->reader, buf->base, (size_t)n) == REDIS_OK);
        take_replies(conn);
    }
}

/* -- connecting -- */

static void greet(struct redis_conn *conn, const char *name, const char *value)
{
    redis_command_begin(&conn->out, 2);
    redis_command_add(&conn->out, name, strlen(name));
    redis_command_add(&conn->out, value, strlen(value));
    conn->greetings++;
}

static void begin(struct redis_conn *conn)
{
    char db[16];
    conn->stage = REDIS_GREETING;
    uv_tcp_nodelay(&conn->tcp, 1);
    uv_tcp_keepalive(&conn->tcp, 1, KEEPALIVE_S);
    CHECK(uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read) == 0);
    if (*conn->config->password)
        greet(conn, "AUTH", conn->config->password);
    snprintf(db, sizeof db, "%d", conn->config->db);
    if (conn->config->db != 0)
        greet(conn, "SELECT", db);
    write_out(conn);
    if (conn->greetings == 0)
        become_ready(conn);
}

static void on_connect(uv_connect_t *req, int status)
{
    struct redis_conn *conn = req->data;
    if (conn->stage == REDIS_ENDED)
        return;
    conn->status = status;
    if (status == 0)
        begin(conn);
    else
        close_tcp(conn);
}

static void open_tcp(struct redis_conn *conn)
{
    CHECK(uv_tcp_init(conn->io->loop, &conn->tcp) == 0);
    conn->has_tcp = true;
    conn->tcp.data = conn->connect.data = conn;
}

/* A failure is met in on_closed, where the next address has its turn. */
static void connect_next(struct redis_conn *conn)
{
    const struct addrinfo *address = conn->next;
    conn->next = address->ai_next;
    conn->stage = REDIS_CONNECTING;
    open_tcp(conn);
    conn->status = uv_tcp_connect(&conn->connect, &conn->tcp, address->ai_addr, on_connect);
    if (conn->status != 0)
        close_tcp(conn);
}

static void on_found(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct redis_conn *conn = req->data;
    conn->looking_up = false;
    conn->addresses = conn->next = found;
    if (conn->stage == REDIS_ENDED)
        free_if_gone(conn);
    else if (status == 0)
        connect_next(conn);
    else
        redis_conn_end(conn, uv_strerror(status));
}

static void split_address(const char *addr, char *host, size_t size, const char **port)
{
    const char *colon = strrchr(addr, ':');
    bool bracketed = *addr == '[';
    size_t len = (size_t)(colon - addr) - (bracketed ? 2 : 0);
    snprintf(host, size, "%.*s", (int)len, addr + bracketed);
    *port = colon + 1;
}

/* An address of digits is not worth the way through another thread, which may be busy with names
 * that nobody answers for. */
static void find(struct redis_conn *conn)
{
    char host[256];
    const char *port;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    split_address(conn->config->addr, host, sizeof host, &port);
    if (getaddrinfo(host, port, &hints, &conn->addresses) == 0) {
        conn->next = conn->addresses;
        connect_next(conn);
        return;
    }
    hints.ai_flags = AI_NUMERICSERV;
    conn->lookup.data = conn;
    conn->status = uv_getaddrinfo(conn->io->loop, &conn->lookup, on_found, host, port, &hints);
    conn->looking_up = conn->status == 0;
    if (conn->status != 0) { /* no name at all; on_closed tells */
        open_tcp(conn);
        close_tcp(conn);
    }
}

struct redis_conn *redis_conn_open(struct redis_io *io, const struct config_redis *config,
                                   const struct redis_conn_events *events, void *pool)
{
    struct redis_conn *conn = xcalloc(1, sizeof *conn);
    conn->io = io;
    conn->config = config;
    conn->events = events;
    conn->pool = pool;
    conn->born_ms = conn->used_ms = uv_now(io->loop);
    list_init(&conn->in_dirty);
    list_init(&conn->in_pool);
    list_init(&conn->in_idle);
    list_init(&conn->in_flight);
    make_reader(conn);
    find(conn);
    return conn;
}
