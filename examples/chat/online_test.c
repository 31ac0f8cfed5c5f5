#include "online.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { USERS = 8, THREADS = 3 };

/* A database that does as it is told: waits at the gate, fails, counts who writes at once. */
static struct {
    uv_mutex_t mutex;
    bool online[USERS];
    int writes, finds, writing[USERS];
    bool fails, overlapped;
    uv_sem_t gate;
    bool gated;
} db;

static uv_loop_t loop;
static struct pool *pool;
static struct online *online;

static enum users_status find(struct users *users, const char *name, struct user *user)
{
    (void)name;
    uv_mutex_lock(&db.mutex);
    db.finds++;
    uv_mutex_unlock(&db.mutex);
    *user = (struct user){0};
    return users_fail(users, USERS_NONE, "");
}

static enum users_status set_online(struct users *users, int64_t id, bool value)
{
    if (db.gated)
        uv_sem_wait(&db.gate);
    uv_mutex_lock(&db.mutex);
    db.overlapped |= db.writing[id]++ > 0;
    uv_mutex_unlock(&db.mutex);
    usleep(50); /* room for others to come between */
    uv_mutex_lock(&db.mutex);
    db.writing[id]--;
    db.writes++;
    bool fails = db.fails;
    if (!fails)
        db.online[id] = value;
    uv_mutex_unlock(&db.mutex);
    return fails ? users_fail(users, USERS_UNAVAILABLE, "it is gone") : USERS_OK;
}

static void close_users(struct users *users)
{
    free(users);
}

static int set_up(void **state)
{
    (void)state;
    static const struct users_ops ops = {
        .find = find, .set_online = set_online, .close = close_users};
    memset(&db, 0, sizeof db);
    uv_mutex_init(&db.mutex);
    uv_sem_init(&db.gate, 0);
    uv_loop_init(&loop);
    struct users *users[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        users[i] = calloc(1, sizeof **users);
        users[i]->ops = &ops;
    }
    pool = pool_open(&loop, users, THREADS);
    online = online_open(&loop, pool);
    alarm(60);
    return 0;
}

static void on_pool_closed(void *data)
{
    (void)data;
    online_close(online);
}

static int tear_down(void **state)
{
    (void)state;
    pool_close(pool, on_pool_closed, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    int status = uv_loop_close(&loop);
    uv_mutex_destroy(&db.mutex);
    uv_sem_destroy(&db.gate);
    return status;
}

static void settle(void)
{
    while (online_unwritten(online))
        uv_run(&loop, UV_RUN_ONCE);
}

static void set_fails(bool fails)
{
    uv_mutex_lock(&db.mutex);
    db.fails = fails;
    uv_mutex_unlock(&db.mutex);
}

struct told {
    int times;
    bool written;
};

static void on_told(void *data, bool written)
{
    struct told *told = data;
    told->times++;
    told->written = written;
}

static void test_the_last_value_wins(void **state)
{
    (void)state;
    unsigned seed = 1;
    bool last[USERS] = {false};
    for (int i = 0; i < 5000; i++) {
        int user = rand_r(&seed) % USERS;
        last[user] = rand_r(&seed) % 2;
        online_set(online, user, last[user]);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    settle();
    assert_memory_equal(db.online, last, sizeof last);
    assert_false(db.overlapped);
}

static void test_values_in_between_are_left_out(void **state)
{
    (void)state;
    db.gated = true;
    online_set(online, 1, true);
    for (int i = 0; i < 100; i++)
        online_set(online, 1, i % 2);
    assert_int_equal(online_unwritten(online), 1);
    for (int i = 0; i < 2; i++)
        uv_sem_post(&db.gate);
    settle();
    assert_true(db.online[1]);
    assert_in_range(db.writes, 1, 2);
}

static void test_telling(void **state)
{
    (void)state;
    struct told one = {0}, two = {0};
    online_set_and_tell(online, 1, true, on_told, &one);
    online_set_and_tell(online, 1, false, on_told, &two);
    assert_int_equal(one.times + two.times, 0);
    settle();
    assert_true(one.times == 1 && one.written && two.times == 1 && two.written);
    assert_false(db.online[1]);
}

static void test_a_failure_is_told_and_tried_again(void **state)
{
    (void)state;
    struct told told = {0};
    set_fails(true);
    online_set_and_tell(online, 1, true, on_told, &told);
    online_set(online, 2, true);
    while (!told.times)
        uv_run(&loop, UV_RUN_ONCE);
    assert_false(told.written);
    online_set(online, 1, false);
    online_set(online, 3, true);
    assert_int_equal(online_unwritten(online), 3);
    set_fails(false);
    settle();
    assert_int_equal(told.times, 1);
    assert_true(!db.online[1] && db.online[2] && db.online[3]);
}

/* Whoever waits is not held up by the pause of others. */
static void test_a_login_ends_the_pause(void **state)
{
    (void)state;
    struct told failed = {0}, told = {0};
    set_fails(true);
    online_set_and_tell(online, 1, true, on_told, &failed);
    while (!failed.times)
        uv_run(&loop, UV_RUN_ONCE);
    int writes = db.writes;
    set_fails(false);
    online_set(online, 2, true);
    online_set_and_tell(online, 3, true, on_told, &told);
    settle();
    assert_true(told.times == 1 && told.written);
    assert_true(db.online[1] && db.online[2] && db.online[3]);
    assert_int_equal(db.writes, writes + 3);
}

struct counted {
    struct pool_job job;
    int order, done;
};

static atomic_int ran;
static int back;

static void run_counted(struct pool_job *job, struct users *users)
{
    struct user user;
    ((struct counted *)job)->order = atomic_fetch_add(&ran, 1);
    users_find(users, "", &user);
}

static void on_counted(struct pool_job *job)
{
    ((struct counted *)job)->done++;
    back++;
}

static void test_jobs(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    static struct counted jobs[COUNT];
    back = 0;
    for (int i = 0; i < COUNT; i++) {
        jobs[i].job.run = run_counted;
        jobs[i].job.done = on_counted;
        pool_submit(pool, &jobs[i].job);
    }
    while (back < COUNT)
        uv_run(&loop, UV_RUN_ONCE);
    for (int i = 0; i < COUNT; i++)
        assert_true(jobs[i].done == 1 && jobs[i].job.ran);
    assert_int_equal(db.finds, COUNT);
}

/* Three threads wait at the gate; what comes behind is unwanted, urgent, or ordinary. */
static void test_urgent_and_unwanted_jobs(void **state)
{
    (void)state;
    struct counted jobs[3] = {0};
    db.gated = true;
    for (int user = 1; user <= THREADS; user++)
        online_set(online, user, true);
    back = 0;
    for (int i = 0; i < 3; i++) {
        jobs[i].job.run = run_counted;
        jobs[i].job.done = on_counted;
    }
    pool_submit(pool, &jobs[0].job);
    pool_submit(pool, &jobs[1].job);
    pool_submit_urgent(pool, &jobs[2].job);
    atomic_store(&jobs[0].job.unwanted, true);
    uv_sem_post(&db.gate); /* one thread goes on alone */
    while (back < 3)
        uv_run(&loop, UV_RUN_ONCE);
    assert_true(!jobs[0].job.ran && jobs[1].job.ran && jobs[2].job.ran);
    assert_true(jobs[2].order < jobs[1].order);
    for (int user = 1; user < THREADS; user++)
        uv_sem_post(&db.gate);
    settle();
}

static void test_jobs_that_have_not_begun_at_the_end(void **state)
{
    (void)state;
    static struct counted job;
    db.gated = true;
    for (int user = 1; user <= THREADS; user++)
        online_set(online, user, true);
    job.job.run = run_counted;
    job.job.done = on_counted;
    back = 0;
    pool_submit(pool, &job.job);
    pool_close(pool, on_pool_closed, NULL);
    for (int user = 1; user <= THREADS; user++)
        uv_sem_post(&db.gate);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(job.done == 1 && !job.job.ran);
    assert_int_equal(uv_loop_close(&loop), 0);
    uv_mutex_destroy(&db.mutex);
    uv_sem_destroy(&db.gate);
}

int main(void)
{
#define WITH_POOL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_POOL(test_the_last_value_wins),
        WITH_POOL(test_values_in_between_are_left_out),
        WITH_POOL(test_telling),
        WITH_POOL(test_a_failure_is_told_and_tried_again),
        WITH_POOL(test_a_login_ends_the_pause),
        WITH_POOL(test_jobs),
        WITH_POOL(test_urgent_and_unwanted_jobs),
        cmocka_unit_test_setup(test_jobs_that_have_not_begun_at_the_end, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
