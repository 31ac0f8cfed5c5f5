#include "online.h"
#include "log.h"
#include "mem.h"
#include <search.h>
#include <stdlib.h>

enum { PAUSE_MS = 1000, PAUSE_MAX_MS = 30000 };

struct waiter {
    online_fn on_written;
    void *data;
    STAILQ_ENTRY(waiter) entry;
};

STAILQ_HEAD(waiters, waiter);

/* Busy: its job is in the pool. Else it has failed, and waits on the list for its next attempt. */
struct flag {
    struct pool_job job;
    struct online *online;
    int64_t user;
    bool wanted; /* the newest value */
    bool value;  /* what the job writes */
    bool busy;
    enum users_status status;
    char error[sizeof(((struct users *)0)->error)];
    struct waiters waiters;
    TAILQ_ENTRY(flag) entry;
};

struct online {
    struct pool *pool;
    uv_timer_t retry;
    uint64_t pause_ms; /* 0: the last write went well */
    void *flags;       /* by user */
    size_t count;
    TAILQ_HEAD(, flag) failed;
};

static int compare(const void *a, const void *b)
{
    int64_t left = ((const struct flag *)a)->user, right = ((const struct flag *)b)->user;
    return left < right ? -1 : left > right;
}

static void write_flag(struct pool_job *job, struct users *users)
{
    struct flag *flag = (struct flag *)job;
    flag->status = users_set_online(users, flag->user, flag->value);
    if (flag->status != USERS_OK)
        snprintf(flag->error, sizeof flag->error, "%s", users_error(users));
}

/* Before all logins: these hash a password each, and one of them waits for this. */
static void submit(struct flag *flag)
{
    flag->value = flag->wanted;
    flag->busy = true;
    pool_submit_urgent(flag->online->pool, &flag->job);
}

static void submit_failed(struct flag *flag)
{
    TAILQ_REMOVE(&flag->online->failed, flag, entry);
    submit(flag);
}

/* One attempt shows whether the database is back; the others follow when it is. */
static void on_retry(uv_timer_t *timer)
{
    struct online *online = timer->data;
    if (!TAILQ_EMPTY(&online->failed))
        submit_failed(TAILQ_FIRST(&online->failed));
}

static void retry_later(struct flag *flag)
{
    struct online *online = flag->online;
    TAILQ_INSERT_TAIL(&online->failed, flag, entry);
    if (uv_is_closing((uv_handle_t *)&online->retry) || uv_is_active((uv_handle_t *)&online->retry))
        return;
    online->pause_ms = online->pause_ms ? online->pause_ms * 2 : PAUSE_MS;
    if (online->pause_ms > PAUSE_MAX_MS)
        online->pause_ms = PAUSE_MAX_MS;
    uv_timer_start(&online->retry, on_retry, online->pause_ms, 0);
}

static void forget(struct flag *flag)
{
    tdelete(flag, &flag->online->flags, compare);
    flag->online->count--;
    free(flag);
}

static void tell(struct waiters *waiters, bool written)
{
    for (struct waiter *waiter; (waiter = STAILQ_FIRST(waiters));) {
        STAILQ_REMOVE_HEAD(waiters, entry);
        waiter->on_written(waiter->data, written);
        free(waiter);
    }
}

static void on_written(struct flag *flag)
{
    struct online *online = flag->online;
    struct waiters waiters = STAILQ_HEAD_INITIALIZER(waiters);
    online->pause_ms = 0;
    uv_timer_stop(&online->retry);
    if (flag->value != flag->wanted) {
        submit(flag);
    } else {
        STAILQ_CONCAT(&waiters, &flag->waiters);
        forget(flag);
    }
    while (!TAILQ_EMPTY(&online->failed))
        submit_failed(TAILQ_FIRST(&online->failed));
    tell(&waiters, true);
}

static void on_failed(struct flag *flag)
{
    struct waiters waiters = STAILQ_HEAD_INITIALIZER(waiters);
    STAILQ_CONCAT(&waiters, &flag->waiters);
    if (flag->job.ran)
        log_line("the database: %s", flag->error);
    retry_later(flag);
    tell(&waiters, false); /* they may order another value at once */
}

static void on_done(struct pool_job *job)
{
    struct flag *flag = (struct flag *)job;
    flag->busy = false;
    if (job->ran && flag->status == USERS_OK)
        on_written(flag);
    else
        on_failed(flag);
}

static struct flag *flag_of(struct online *online, int64_t user, bool *is_new)
{
    struct flag key = {.user = user};
    struct flag **found = tfind(&key, &online->flags, compare);
    *is_new = !found;
    if (found)
        return *found;
    struct flag *flag = mem_new(sizeof *flag);
    flag->job.run = write_flag;
    flag->job.done = on_done;
    flag->online = online;
    flag->user = user;
    STAILQ_INIT(&flag->waiters);
    mem_given(tsearch(flag, &online->flags, compare));
    online->count++;
    return flag;
}

void online_set_and_tell(struct online *online, int64_t user, bool value, online_fn on_told,
                         void *data)
{
    bool is_new;
    struct flag *flag = flag_of(online, user, &is_new);
    flag->wanted = value;
    if (on_told) {
        struct waiter *waiter = mem_new(sizeof *waiter);
        *waiter = (struct waiter){.on_written = on_told, .data = data};
        STAILQ_INSERT_TAIL(&flag->waiters, waiter, entry);
    }
    /* While the database fails, only those that somebody waits for are tried out of turn. */
    if (is_new && (on_told || !online->pause_ms))
        submit(flag);
    else if (is_new)
        retry_later(flag);
    else if (!flag->busy && on_told)
        submit_failed(flag);
}

void online_set(struct online *online, int64_t user, bool value)
{
    online_set_and_tell(online, user, value, NULL, NULL);
}

struct online *online_open(uv_loop_t *loop, struct pool *pool)
{
    struct online *online = mem_new(sizeof *online);
    online->pool = pool;
    TAILQ_INIT(&online->failed);
    uv_timer_init(loop, &online->retry);
    online->retry.data = online;
    return online;
}

size_t online_unwritten(const struct online *online)
{
    return online->count;
}

static void free_flag(void *arg)
{
    struct flag *flag = arg;
    for (struct waiter *waiter; (waiter = STAILQ_FIRST(&flag->waiters));) {
        STAILQ_REMOVE_HEAD(&flag->waiters, entry);
        free(waiter);
    }
    free(flag);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct online *online = handle->data;
    tdestroy(online->flags, free_flag);
    free(online);
}

void online_close(struct online *online)
{
    uv_close((uv_handle_t *)&online->retry, on_timer_closed);
}
