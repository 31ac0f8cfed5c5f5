#include "loop.h"

#include "base/clock.h"
#include "base/mem.h"
#include "fatal.h"
#include "run.h"
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { EVENTS = 512, EVENTS_BETWEEN_TURNS = 64 };

struct client *loop_client(const struct loop *loop, uint32_t nth)
{
    return client_of(loop->group, loop->first + nth);
}

void loop_error(struct loop *loop, const char *format, ...)
{
    va_list args;
    if (loop->first_error[0])
        return;
    va_start(args, format);
    vsnprintf(loop->first_error, sizeof loop->first_error, format, args);
    va_end(args);
}

/* ---- connecting ---- */

static uint32_t settled_count(const struct loop *loop)
{
    const struct tally *tally = &loop->tally;
    return (uint32_t)(tally_get(tally, COUNT_OPEN) + tally_get(tally, COUNT_PUBLISHERS) +
                      tally_get(tally, COUNT_FAILED));
}

static void settle(struct loop *loop)
{
    loop->settled = true;
    loop->settled_ns = clock_ns();
    atomic_fetch_add(&loop->run->settled, 1);
}

/* Keeps --inflight handshakes under way, over all loops. */
static void connect_more(struct loop *loop)
{
    const struct options *options = loop->run->options;
    uint32_t share = options->in_flight / loop->run->main_loops;
    if (loop->publisher && loop->publisher->state == CLIENT_NEW)
        client_start(loop->publisher);
    while (loop->started < loop->count && loop->under_way < (share ? share : 1))
        client_start(loop_client(loop, loop->started++));
    uint32_t all = loop->count + (loop->publisher ? 1 : 0);
    bool late = (double)(clock_ns() - loop->run->before.ns) / 1e9 > options->connect_timeout;
    if (late && settled_count(loop) < all)
        loop_error(loop, "%u of %u connections were not open after %g s", all - settled_count(loop),
                   all, options->connect_timeout);
    if (late || settled_count(loop) >= all)
        settle(loop);
}

/* ---- running ---- */

static void each_open(struct loop *loop, void (*call)(struct client *client))
{
    for (uint32_t i = 0; call && i < loop->count; i++)
        if (loop_client(loop, i)->state == CLIENT_OPEN)
            call(loop_client(loop, i));
}

static void enter(struct loop *loop, enum phase phase)
{
    const struct role *role = loop->group->role;
    bool stop = phase == PHASE_STOP;
    if (!stop && loop->phase < PHASE_RUN)
        each_open(loop, role->on_run);
    if (!stop && phase == PHASE_DRAIN)
        each_open(loop, role->on_drain);
    loop->phase = phase;
}

static int64_t call_role(struct loop *loop, const struct role *role, int64_t wait)
{
    int64_t wish = role->on_turn ? role->on_turn(loop, clock_ns()) : -1;
    return wish >= 0 && wish < wait ? wish : wait;
}

/* Returns how long to wait for events, in nanoseconds. */
static int64_t call_roles(struct loop *loop)
{
    int64_t wait = LOOP_WAIT_MAX_NS;
    if (loop->phase < PHASE_RUN)
        return wait;
    wait = call_role(loop, loop->group->role, wait);
    return loop->publisher ? call_role(loop, loop->publisher->group->role, wait) : wait;
}

/* A full round of events can take longer than what is scheduled may wait. */
static void handle_events(struct loop *loop, int64_t wait)
{
    struct epoll_event events[EVENTS];
    struct timespec limit = {.tv_nsec = wait};
    int n = epoll_pwait2(loop->epoll, events, EVENTS, &limit, NULL);
    if (n < 0 && errno != EINTR)
        fatal("epoll: %s", strerror(errno));
    for (int i = 0; i < n; i++) {
        client_on_events(events[i].data.ptr, events[i].events);
        if (i % EVENTS_BETWEEN_TURNS == EVENTS_BETWEEN_TURNS - 1)
            call_roles(loop);
    }
}

static void turn(struct loop *loop)
{
    enum phase phase = run_phase(loop->run);
    if (phase != loop->phase)
        enter(loop, phase);
    if (phase == PHASE_CONNECT && !loop->settled)
        connect_more(loop);
    handle_events(loop, call_roles(loop));
}

/* ---- the thread ---- */

static void begin(struct loop *loop)
{
    if (loop->own_descriptors && unshare(CLONE_FILES) != 0)
        fatal("no descriptors of its own for a thread: %s", strerror(errno));
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0)
        fatal("epoll_create1: %s", strerror(errno));
    prctl(PR_SET_TIMERSLACK, 1); /* else a schedule is kept within 50 µs only */
    loop->input = xmalloc(LOOP_INPUT);
}

static void end_client(struct client *client, struct tally *tally)
{
    if (client->state == CLIENT_OPEN)
        tally_add(tally, COUNT_ALIVE, 1);
    client_free(client);
}

static void end(struct loop *loop)
{
    for (uint32_t i = 0; i < loop->count; i++)
        end_client(loop_client(loop, i), &loop->tally);
    if (loop->publisher)
        client_free(loop->publisher);
    close(loop->epoll);
    free(loop->input);
    buf_free(&loop->scratch);
    buf_free(&loop->text);
}

static void *loop_main(void *arg)
{
    struct loop *loop = arg;
    begin(loop);
    while (loop->phase != PHASE_STOP)
        turn(loop);
    end(loop);
    return NULL;
}

void loop_start(struct loop *loop)
{
    int error = pthread_create(&loop->thread, NULL, loop_main, loop);
    if (error)
        fatal("no thread can be had: %s", strerror(error));
}

void loop_join(struct loop *loop)
{
    pthread_join(loop->thread, NULL);
}
