#include "loop/watchdog.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/mem.h"
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

enum { LOOK_MIN_MS = 50, BUDGET_LOOK_MIN_MS = 5, LOOKS = 4 /* in a time limit */ };

/* What is known of one pulse's call. */
struct call {
    uint64_t calls;        /* the pulse's count; even: no call */
    uint64_t since_ms;     /* when it was seen first */
    uint64_t reported_ms;  /* how long it had taken when it was reported last; 0: not reported */
    uint64_t cpu_since_ns; /* what time its thread had used then; where there is a budget */
    const char *what;
    uint64_t client;
};

struct watch {
    struct pulse *pulse;
    counter stalls;
    struct call call;
};

struct watchdog {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t stop;
    bool stopping;
    uint64_t limit_ms, budget_ns;
    int count;
    struct watch watches[];
};

/* "on_message of client 123", for a log line. The caller frees it. */
static char *call_text(const struct call *call)
{
    if (call->client == 0)
        return xstrdup(call->what);
    return xasprintf("%s of client %" PRIu64, call->what, call->client);
}

static const char *why_not(const struct watchdog *dog, const struct watch *watch)
{
    if (dog->budget_ns == 0)
        return "a script is stopped only where engine.luavm.preempt is on";
    if (atomic_load_explicit(&watch->pulse->overdue, memory_order_relaxed) == watch->call.calls)
        return "engine.luavm.handlerBudget is used up, but C functions, finalizers and loading are "
               "not interrupted";
    return "engine.luavm.handlerBudget, of the processor's time, is not used up";
}

static void report_stall(const struct watchdog *dog, struct watch *watch, uint64_t took_ms)
{
    char *text = call_text(&watch->call);
    log_error("watchdog", "%s: %s has not returned for %.1f s: %s", watch->pulse->name, text,
              (double)took_ms / 1000, why_not(dog, watch));
    free(text);
    watch->call.reported_ms = took_ms;
}

static void report_return(const struct watch *watch, uint64_t took_ms)
{
    char *text = call_text(&watch->call);
    log_warn("watchdog", "%s: %s has returned after about %.1f s", watch->pulse->name, text,
             (double)took_ms / 1000);
    free(text);
}

/* The worker goes on meanwhile: what was read belongs together only when the call is still the same
 * afterwards. */
static struct call pulse_read(struct pulse *pulse, uint64_t now_ms)
{
    struct call call = {.since_ms = now_ms};
    uint64_t calls = atomic_load_explicit(&pulse->calls, memory_order_acquire);
    call.what = atomic_load_explicit(&pulse->what, memory_order_acquire);
    call.client = atomic_load_explicit(&pulse->client, memory_order_acquire);
    if (calls == atomic_load_explicit(&pulse->calls, memory_order_relaxed))
        call.calls = calls;
    return call;
}

/* -- the processor's time of a call -- */

/* While it is held, threads neither come nor end: a signal to one that has ended is undefined.
 * Taken where there is a budget, and then in no call's way. */
static pthread_mutex_t threads = PTHREAD_MUTEX_INITIALIZER;

void pulse_adopt(struct pulse *p)
{
    pthread_mutex_lock(&threads);
    p->thread = pthread_self();
    CHECK(pthread_getcpuclockid(p->thread, &p->clock) == 0);
    p->adopted = true;
    pthread_mutex_unlock(&threads);
}

void pulse_leave(struct pulse *p)
{
    pthread_mutex_lock(&threads);
    p->adopted = false;
    pthread_mutex_unlock(&threads);
}

static uint64_t cpu_ns(const struct pulse *pulse)
{
    struct timespec used;
    CHECK(clock_gettime(pulse->clock, &used) == 0);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

/* A call that has begun is measured from when it is first seen. */
static void charge(const struct watchdog *dog, struct watch *watch, bool begun)
{
    struct pulse *pulse = watch->pulse;
    pthread_mutex_lock(&threads);
    if (pulse->adopted && begun)
        watch->call.cpu_since_ns = cpu_ns(pulse);
    else if (pulse->adopted && cpu_ns(pulse) - watch->call.cpu_since_ns >= dog->budget_ns) {
        atomic_store_explicit(&pulse->overdue, watch->call.calls, memory_order_relaxed);
        pthread_kill(pulse->thread, PULSE_SIGNAL);
    }
    pthread_mutex_unlock(&threads);
}

/* -- looking -- */

static void look_at(struct watchdog *dog, struct watch *watch, uint64_t now_ms)
{
    struct call call = pulse_read(watch->pulse, now_ms);
    bool begun = call.calls != watch->call.calls;
    if (begun) {
        if (watch->call.reported_ms != 0)
            report_return(watch, now_ms - watch->call.since_ms);
        watch->call = call;
    }
    if (dog->budget_ns != 0 && call.calls % 2 != 0)
        charge(dog, watch, begun);
    uint64_t took = now_ms - watch->call.since_ms, reported = watch->call.reported_ms;
    if (call.calls % 2 == 0 || took < dog->limit_ms)
        return;
    if (reported == 0)
        counter_add(&watch->stalls, 1);
    if (took >= 2 * reported)
        report_stall(dog, watch, took);
}

static struct timespec deadline_in(uint64_t ms)
{
    uint64_t at = clock_ns() + ms * 1000000u;
    return (struct timespec){.tv_sec = (time_t)(at / 1000000000u),
                             .tv_nsec = (long)(at % 1000000000u)};
}

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t pause_ms(const struct watchdog *dog)
{
    uint64_t budget_ms = dog->budget_ns / 1000000;
    if (budget_ms != 0 && budget_ms < dog->limit_ms)
        return max(budget_ms / LOOKS, BUDGET_LOOK_MIN_MS);
    return max(dog->limit_ms / LOOKS, LOOK_MIN_MS);
}

static void *run(void *data)
{
    struct watchdog *dog = data;
    uint64_t pause = pause_ms(dog);
    pthread_mutex_lock(&dog->lock);
    while (!dog->stopping) {
        for (int i = 0; i < dog->count; i++)
            look_at(dog, &dog->watches[i], clock_ms());
        struct timespec until = deadline_in(pause);
        pthread_cond_timedwait(&dog->stop, &dog->lock, &until);
    }
    pthread_mutex_unlock(&dog->lock);
    return NULL;
}

static void start_thread(struct watchdog *dog)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&dog->stop, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&dog->lock, NULL);
    /* Signals are the main thread's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    CHECK(pthread_create(&dog->thread, NULL, run, dog) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_setname_np(dog->thread, "watchdog");
}

struct watchdog *watchdog_start(struct pulse **pulses, int count, uint64_t limit_ms,
                                uint64_t budget_ms)
{
    struct watchdog *dog = xcalloc(1, sizeof *dog + (size_t)count * sizeof dog->watches[0]);
    dog->limit_ms = limit_ms;
    dog->budget_ns = budget_ms * 1000000;
    dog->count = count;
    for (int i = 0; i < count; i++)
        dog->watches[i].pulse = pulses[i];
    start_thread(dog);
    return dog;
}

void watchdog_stop(struct watchdog *dog)
{
    pthread_mutex_lock(&dog->lock);
    dog->stopping = true;
    pthread_cond_signal(&dog->stop);
    pthread_mutex_unlock(&dog->lock);
    pthread_join(dog->thread, NULL);
    pthread_cond_destroy(&dog->stop);
    pthread_mutex_destroy(&dog->lock);
    free(dog);
}

uint64_t watchdog_stalls(const struct watchdog *dog, int index)
{
    return counter_get(&dog->watches[index].stalls);
}
