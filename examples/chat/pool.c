#include "pool.h"
#include "log.h"
#include "mem.h"
#include <stdlib.h>

STAILQ_HEAD(jobs, pool_job);

struct pool {
    uv_async_t async;
    uv_thread_t *threads;
    struct users **users;
    size_t count;
    void (*on_closed)(void *data);
    void *data;

    uv_mutex_t mutex; /* over the rest */
    uv_cond_t work;
    struct jobs urgent, ordinary, done;
    size_t running; /* threads that have not ended */
    size_t started;
    bool stopping;
};

static struct pool_job *take(struct jobs *jobs)
{
    struct pool_job *job = STAILQ_FIRST(jobs);
    if (job)
        STAILQ_REMOVE_HEAD(jobs, entry);
    return job;
}

/* With the mutex held; NULL at the end. */
static struct pool_job *next_job(struct pool *pool)
{
    for (;;) {
        struct pool_job *job = take(&pool->urgent);
        if (!job)
            job = take(&pool->ordinary);
        if (job || pool->stopping)
            return job;
        uv_cond_wait(&pool->work, &pool->mutex);
    }
}

static void run_job(struct pool *pool, struct pool_job *job, struct users *users)
{
    job->ran = !pool->stopping && !atomic_load(&job->unwanted);
    if (!job->ran)
        return;
    uv_mutex_unlock(&pool->mutex);
    job->run(job, users);
    uv_mutex_lock(&pool->mutex);
}

static void work(void *arg)
{
    struct pool *pool = arg;
    uv_mutex_lock(&pool->mutex);
    struct users *users = pool->users[pool->started++];
    for (struct pool_job *job; (job = next_job(pool));) {
        run_job(pool, job, users);
        STAILQ_INSERT_TAIL(&pool->done, job, entry);
        uv_async_send(&pool->async);
    }
    pool->running--;
    uv_async_send(&pool->async);
    uv_mutex_unlock(&pool->mutex);
}

static void on_async_closed(uv_handle_t *handle)
{
    struct pool *pool = handle->data;
    uv_mutex_destroy(&pool->mutex);
    uv_cond_destroy(&pool->work);
    void (*on_closed)(void *data) = pool->on_closed;
    void *data = pool->data;
    free(pool->users);
    free(pool->threads);
    free(pool);
    on_closed(data);
}

static void end(struct pool *pool)
{
    for (size_t i = 0; i < pool->count; i++) {
        uv_thread_join(&pool->threads[i]);
        users_close(pool->users[i]);
    }
    uv_close((uv_handle_t *)&pool->async, on_async_closed);
}

static void on_async(uv_async_t *async)
{
    struct pool *pool = async->data;
    struct jobs done = STAILQ_HEAD_INITIALIZER(done);
    uv_mutex_lock(&pool->mutex);
    STAILQ_CONCAT(&done, &pool->done);
    bool ended = pool->running == 0;
    uv_mutex_unlock(&pool->mutex);
    for (struct pool_job *job; (job = take(&done));)
        job->done(job);
    if (ended && !uv_is_closing((uv_handle_t *)async))
        end(pool);
}

static void check(int failed, const char *what)
{
    if (failed) {
        log_line("%s: %s", what, uv_strerror(failed));
        abort();
    }
}

struct pool *pool_open(uv_loop_t *loop, struct users **users, size_t count)
{
    struct pool *pool = mem_new(sizeof *pool);
    STAILQ_INIT(&pool->urgent);
    STAILQ_INIT(&pool->ordinary);
    STAILQ_INIT(&pool->done);
    pool->async.data = pool;
    check(uv_async_init(loop, &pool->async, on_async), "cannot wake the loop");
    check(uv_mutex_init(&pool->mutex), "cannot have a mutex");
    check(uv_cond_init(&pool->work), "cannot have a condition");
    pool->users = mem_new(count * sizeof(struct users *));
    pool->threads = mem_new(count * sizeof(uv_thread_t));
    pool->count = pool->running = count;
    for (size_t i = 0; i < count; i++)
        pool->users[i] = users[i];
    for (size_t i = 0; i < count; i++)
        check(uv_thread_create(&pool->threads[i], work, pool), "cannot start a thread");
    return pool;
}

static void submit(struct pool *pool, struct pool_job *job, struct jobs *to)
{
    atomic_store(&job->unwanted, false);
    uv_mutex_lock(&pool->mutex);
    STAILQ_INSERT_TAIL(to, job, entry);
    uv_cond_signal(&pool->work);
    uv_mutex_unlock(&pool->mutex);
}

void pool_submit(struct pool *pool, struct pool_job *job)
{
    submit(pool, job, &pool->ordinary);
}

void pool_submit_urgent(struct pool *pool, struct pool_job *job)
{
    submit(pool, job, &pool->urgent);
}

void pool_close(struct pool *pool, void (*on_closed)(void *data), void *data)
{
    pool->on_closed = on_closed;
    pool->data = data;
    uv_mutex_lock(&pool->mutex);
    pool->stopping = true;
    uv_cond_broadcast(&pool->work);
    uv_mutex_unlock(&pool->mutex);
}
