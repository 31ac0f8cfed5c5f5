#include "script/redis_pool.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BACKOFF_MIN_MS = 100, BACKOFF_MAX_MS = 1000 };

struct redis_pool {
    struct redis_pools *pools;
    const struct config_redis *config;
    unsigned max, min_idle;  /* this worker's share */
    struct redis_conn *lane; /* that ordinary commands share; NULL: it is not open */
    struct list conns;
    struct list idle;            /* spares that nothing uses */
    unsigned spares, connecting; /* connections for commands that wait for data, open or not yet */
    struct list ordinary, alone; /* requests that wait for a connection */
    unsigned alone_count;
    unsigned commands; /* without an answer */
    size_t bytes;      /* of these */
    bool down;         /* told in the log */
    uint64_t pause_ms, retry_ms;
    char outage[512]; /* why it could not be reached last */
    char error[512];
};

struct redis_pools {
    const struct config *config;
    struct redis_io io;
    bool closed;
    size_t count;
    struct redis_pool items[];
};

struct redis_request {
    struct redis_pool *pool;
    struct redis_conn *conn; /* NULL: it waits for one */
    struct list link;
    struct timeout timeout;
    redis_done *done; /* NULL: nobody waits for the answer */
    void *owner;
    bool alone, overdue;
    uint64_t wait_ms; /* for data, 0 when it is not alone */
    size_t len;
    char bytes[]; /* while it waits in line */
};

static void dispatch(struct redis_pool *pool);

static uint64_t now(const struct redis_pool *pool)
{
    return uv_now(pool->pools->io.loop);
}

/* -- requests -- */

/* Where the share is one connection, all wait in one line for it. */
static bool needs_spare(const struct redis_pool *pool, bool alone)
{
    return alone && pool->max > 1;
}

static struct list *line_of(struct redis_pool *pool, bool alone)
{
    return needs_spare(pool, alone) ? &pool->alone : &pool->ordinary;
}

static void leave_line(struct redis_request *r)
{
    if (!list_empty(&r->link) && !r->conn && needs_spare(r->pool, r->alone))
        r->pool->alone_count--;
    list_remove(&r->link);
}

static void drop(struct redis_request *r)
{
    leave_line(r);
    wheel_clear(r->pool->pools->io.wheel, &r->timeout);
    r->pool->commands--;
    r->pool->bytes -= r->len;
    free(r);
}

static void finish(struct redis_request *r, const redisReply *reply, const char *why)
{
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): drop unlinks what it frees */
    if (r->done)
        r->done(r->owner, reply, why);
    drop(r);
}

static void fail_all(struct list *requests, const char *why)
{
    while (!list_empty(requests))
        finish(list_entry(requests->next, struct redis_request, link), NULL, why);
}

static const char *set_error(struct redis_pool *pool, const char *why)
{
    snprintf(pool->error, sizeof pool->error, "redis %s (%s): %s", pool->config->name,
             pool->config->addr, why);
    return pool->error;
}

/* A server that is in the middle of a long answer gets its time again. Where it was the loop that
 * was held up, the answer may be there: it is read before the next tick. */
static void on_request_timeout(struct timeout *timeout)
{
    struct redis_request *r = container_of(timeout, struct redis_request, timeout);
    uint64_t at = now(r->pool), due = r->conn ? r->conn->heard_ms + REDIS_TIMEOUT_MS : 0;
    bool second = r->overdue;
    r->overdue = due <= at;
    if (!r->overdue || !second)
        wheel_set(r->pool->pools->io.wheel, timeout, r->overdue ? 1 : due - at, on_request_timeout);
    else if (r->conn)
        redis_conn_end(r->conn, "timeout: the server does not answer");
    else
        finish(r, NULL, set_error(r->pool, "timeout: no connection was free within 5 seconds"));
}

/* -- outages: told once, when they begin and when they are over -- */

static void note_down(struct redis_pool *pool)
{
    if (!pool->down)
        log_warn("redis", "%s; commands get this error until the server answers again",
                 pool->error);
    pool->down = true;
}

static void note_up(struct redis_pool *pool)
{
    if (pool->down)
        log_info("redis", "redis %s (%s) answers again", pool->config->name, pool->config->addr);
    pool->down = false;
}

static void back_off(struct redis_pool *pool)
{
    pool->pause_ms = pool->pause_ms ? 2 * pool->pause_ms : BACKOFF_MIN_MS;
    if (pool->pause_ms > BACKOFF_MAX_MS)
        pool->pause_ms = BACKOFF_MAX_MS;
    pool->retry_ms = now(pool) + pool->pause_ms;
    memcpy(pool->outage, pool->error, sizeof pool->outage);
}

static bool may_connect(const struct redis_pool *pool)
{
    return !pool->pools->closed && now(pool) >= pool->retry_ms;
}

/* -- connections -- */

static const struct redis_conn_events conn_events;
static timeout_cb on_conn_timeout;

static struct redis_conn *open_conn(struct redis_pool *pool)
{
    struct redis_io *io = &pool->pools->io;
    struct redis_conn *conn = redis_conn_open(io, pool->config, &conn_events, pool);
    list_push_back(&pool->conns, &conn->in_pool);
    wheel_set(io->wheel, &conn->timeout, REDIS_TIMEOUT_MS, on_conn_timeout);
    return conn;
}

static void open_spare(struct redis_pool *pool)
{
    open_conn(pool)->spare = true;
    pool->spares++;
    pool->connecting++;
}

static void open_wanted(struct redis_pool *pool)
{
    if (!may_connect(pool))
        return;
    if (!pool->lane && !list_empty(&pool->ordinary))
        pool->lane = open_conn(pool);
    while (pool->connecting < pool->alone_count && pool->spares + 1 < pool->max)
        open_spare(pool);
}

static unsigned count_idle(const struct redis_pool *pool)
{
    unsigned count = pool->connecting;
    if (pool->lane && list_empty(&pool->lane->in_flight))
        count++;
    list_for_each(node, &pool->idle) count++;
    return count;
}

/* minIdleConns, from the first command on. */
static void keep_idle(struct redis_pool *pool)
{
    if (pool->down || !may_connect(pool))
        return;
    unsigned idle = count_idle(pool);
    if (idle < pool->min_idle && !pool->lane) {
        pool->lane = open_conn(pool);
        idle++;
    }
    for (; idle < pool->min_idle && pool->spares + 1 < pool->max; idle++)
        open_spare(pool);
}

static uint64_t age_due(const struct redis_conn *conn)
{
    return conn->config->max_conn_age ? conn->born_ms + (uint64_t)conn->config->max_conn_age * 1000
                                      : UINT64_MAX;
}

static uint64_t idle_due(const struct redis_conn *conn, uint64_t at)
{
    uint64_t since = list_empty(&conn->in_flight) ? conn->used_ms : at;
    return conn->config->idle_timeout ? since + (uint64_t)conn->config->idle_timeout * 1000
                                      : UINT64_MAX;
}

static void watch_age(struct redis_conn *conn)
{
    uint64_t at = uv_now(conn->io->loop), age = age_due(conn), idle = idle_due(conn, at);
    uint64_t due = age < idle ? age : idle;
    if (due != UINT64_MAX)
        wheel_set(conn->io->wheel, &conn->timeout, due > at ? due - at : 0, on_conn_timeout);
}

static void on_conn_timeout(struct timeout *timeout)
{
    struct redis_conn *conn = container_of(timeout, struct redis_conn, timeout);
    struct redis_pool *pool = conn->pool;
    uint64_t at = now(pool);
    if (conn->stage != REDIS_READY) {
        redis_conn_end(conn, "timeout: no connection within 5 seconds");
        return;
    }
    conn->retired = at >= age_due(conn);
    if (list_empty(&conn->in_flight) && (conn->retired || at >= idle_due(conn, at))) {
        redis_conn_end(conn, NULL);
        keep_idle(pool);
    } else if (!conn->retired) {
        watch_age(conn);
    }
}

static void on_ready(struct redis_conn *conn)
{
    struct redis_pool *pool = conn->pool;
    pool->pause_ms = 0;
    if (conn->spare) {
        pool->connecting--;
        list_push_front(&pool->idle, &conn->in_idle);
    }
    conn->used_ms = now(pool);
    watch_age(conn);
    dispatch(pool);
    keep_idle(pool);
}

static void on_reply(struct redis_conn *conn, const redisReply *reply)
{
    struct redis_pool *pool = conn->pool;
    note_up(pool);
    finish(list_entry(conn->in_flight.next, struct redis_request, link), reply, NULL);
    if (!list_empty(&conn->in_flight))
        return;
    conn->alone = false;
    conn->used_ms = now(pool);
    if (conn->retired)
        redis_conn_end(conn, NULL);
    else if (conn->spare)
        list_push_front(&pool->idle, &conn->in_idle);
    dispatch(pool);
}

static void take_out(struct redis_pool *pool, struct redis_conn *conn)
{
    list_remove(&conn->in_pool);
    list_remove(&conn->in_idle);
    if (!conn->spare) {
        pool->lane = NULL;
        return;
    }
    pool->spares--;
    if (!conn->was_ready)
        pool->connecting--;
}

/* A server that closes a connection which nothing uses is within its rights. */
static void on_end(struct redis_conn *conn, const char *why)
{
    struct redis_pool *pool = conn->pool;
    bool lost = !list_empty(&conn->in_flight);
    take_out(pool, conn);
    set_error(pool, why ? why : "closed");
    fail_all(&conn->in_flight, pool->error);
    if (why && !conn->was_ready) {
        back_off(pool);
        fail_all(&pool->ordinary, pool->error);
        fail_all(&pool->alone, pool->error);
    }
    if (why && (lost || !conn->was_ready))
        note_down(pool);
    dispatch(pool);
}

static const struct redis_conn_events conn_events = {
    .on_ready = on_ready,
    .on_reply = on_reply,
    .on_end = on_end,
};

/* -- who goes where -- */

static struct redis_conn *find_lane(const struct redis_pool *pool, bool alone)
{
    struct redis_conn *lane = pool->lane;
    if (!lane || lane->stage != REDIS_READY || lane->retired || lane->alone)
        return NULL;
    return alone && !list_empty(&lane->in_flight) ? NULL : lane;
}

static struct redis_conn *find_spare(const struct redis_pool *pool)
{
    return list_empty(&pool->idle) ? NULL : list_entry(pool->idle.next, struct redis_conn, in_idle);
}

static struct redis_conn *find_free(const struct redis_pool *pool, bool alone)
{
    return needs_spare(pool, alone) ? find_spare(pool) : find_lane(pool, alone);
}

/* A time of its own begins when it is sent: until then it has waited for a connection. */
static void set_timeout(struct redis_request *r)
{
    struct wheel *wheel = r->pool->pools->io.wheel;
    if (r->conn && r->wait_ms == REDIS_FOR_EVER)
        wheel_clear(wheel, &r->timeout);
    else
        wheel_set(wheel, &r->timeout, REDIS_TIMEOUT_MS + (r->conn ? r->wait_ms : 0),
                  on_request_timeout);
}

static void place(struct redis_request *r, struct redis_conn *conn, const char *bytes)
{
    leave_line(r);
    list_remove(&conn->in_idle);
    r->conn = conn;
    conn->alone = r->alone;
    list_push_back(&conn->in_flight, &r->link);
    redis_conn_send(conn, bytes, r->len);
    set_timeout(r);
    if (conn->spare)
        keep_idle(r->pool);
}

static void send_waiting(struct list *line)
{
    while (!list_empty(line)) {
        struct redis_request *r = list_entry(line->next, struct redis_request, link);
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): drop unlinks what it frees */
        struct redis_conn *conn = find_free(r->pool, r->alone);
        if (!conn)
            return;
        place(r, conn, r->bytes);
    }
}

static void dispatch(struct redis_pool *pool)
{
    send_waiting(&pool->ordinary);
    send_waiting(&pool->alone);
    open_wanted(pool);
}

static struct redis_request *make_request(struct redis_pool *pool, const struct redis_need *need,
                                          redis_done *done, void *owner, size_t len, bool keep)
{
    struct redis_request *r = xmalloc(sizeof *r + (keep ? len : 0));
    *r = (struct redis_request){.pool = pool,
                                .done = done,
                                .owner = owner,
                                .alone = need->alone,
                                .wait_ms = need->wait_ms,
                                .len = len};
    list_init(&r->link);
    pool->commands++;
    pool->bytes += len;
    return r;
}

static void join_line(struct redis_request *r, const char *bytes)
{
    struct redis_pool *pool = r->pool;
    memcpy(r->bytes, bytes, r->len);
    list_push_back(line_of(pool, r->alone), &r->link);
    if (needs_spare(pool, r->alone))
        pool->alone_count++;
    set_timeout(r);
    open_wanted(pool);
}

/* NULL, or why the pool takes no command of so many bytes now. */
static const char *refuse(struct redis_pool *pool, size_t len)
{
    if (pool->commands >= REDIS_COMMANDS_MAX)
        return set_error(pool, "10000 commands wait for an answer already");
    if (len > REDIS_BYTES_MAX - pool->bytes)
        return set_error(pool, "commands of more than 64 MiB would wait for an answer");
    if (!pool->lane && list_empty(&pool->idle) && !may_connect(pool))
        return pool->outage;
    return NULL;
}

struct redis_request *redis_send(struct redis_pool *pool, const struct buf *command,
                                 const struct redis_need *need, redis_done *done, void *owner,
                                 const char **why)
{
    uv_update_time(pool->pools->io.loop); /* it stands still while a handler runs */
    *why = refuse(pool, command->len);
    if (*why)
        return NULL;
    bool first = list_empty(line_of(pool, need->alone));
    struct redis_conn *conn = first ? find_free(pool, need->alone) : NULL;
    struct redis_request *r = make_request(pool, need, done, owner, command->len, !conn);
    if (conn)
        place(r, conn, command->data);
    else
        join_line(r, command->data);
    return r;
}

void redis_forget(struct redis_request *r)
{
    r->done = NULL;
    if (!r->alone)
        return;
    struct redis_conn *conn = r->conn;
    drop(r);
    if (conn)
        redis_conn_end(conn, NULL);
}

/* -- life -- */

static void pool_init(struct redis_pool *pool, struct redis_pools *pools,
                      const struct config_redis *config, unsigned workers)
{
    unsigned share = (unsigned)config->pool_size / workers;
    unsigned idle = (unsigned)config->min_idle_conns / workers;
    pool->pools = pools;
    pool->config = config;
    pool->max = share > 0 ? share : 1;
    pool->min_idle = idle < pool->max ? idle : pool->max;
    list_init(&pool->conns);
    list_init(&pool->idle);
    list_init(&pool->ordinary);
    list_init(&pool->alone);
}

struct redis_pools *redis_pools_new(uv_loop_t *loop, struct wheel *wheel,
                                    const struct config *config, unsigned workers)
{
    struct redis_pools *pools =
        xcalloc(1, sizeof *pools + config->redis_count * sizeof(struct redis_pool));
    pools->config = config_ref(config);
    redis_io_init(&pools->io, loop, wheel);
    pools->count = config->redis_count;
    for (size_t i = 0; i < pools->count; i++)
        pool_init(&pools->items[i], pools, &config->redis[i], workers);
    return pools;
}

void redis_pools_flush(struct redis_pools *pools)
{
    redis_io_flush(&pools->io);
}

static void pool_close(struct redis_pool *pool)
{
    while (!list_empty(&pool->conns))
        redis_conn_end(list_entry(pool->conns.next, struct redis_conn, in_pool), NULL);
    fail_all(&pool->ordinary, "closed");
    fail_all(&pool->alone, "closed");
}

void redis_pools_close(struct redis_pools *pools)
{
    pools->closed = true;
    for (size_t i = 0; i < pools->count; i++)
        pool_close(&pools->items[i]);
}

void redis_pools_free(struct redis_pools *pools)
{
    config_unref(pools->config);
    free(pools);
}

struct redis_pool *redis_pool_find(struct redis_pools *pools, const char *name)
{
    for (size_t i = 0; i < pools->count; i++)
        if (strcmp(pools->items[i].config->name, name) == 0)
            return &pools->items[i];
    return NULL;
}
