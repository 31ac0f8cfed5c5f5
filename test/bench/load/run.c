#include "run.h"

#include "base/clock.h"
#include "base/mem.h"
#include "echoer.h"
#include "fatal.h"
#include "mode.h"
#include "publisher.h"
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { DESCRIPTORS_SPARE = 256, POLL_NS = 2 * 1000 * 1000 };

/* Longer than any loop sleeps: by then all have heard that the run begins. */
enum { START_NS = LOOP_WAIT_MAX_NS + 5 * 1000 * 1000 };

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

bool run_interrupted(void)
{
    return interrupted;
}

/* ---- waiting ---- */

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
}

static double seconds_since(uint64_t ns)
{
    return (double)(clock_ns() - ns) / 1e9;
}

void run_sleep(double seconds)
{
    uint64_t start = clock_ns();
    while (seconds_since(start) < seconds && !interrupted)
        nap();
}

uint64_t run_count(const struct run *run, enum count count)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < run->loop_count; i++)
        sum += tally_get(&run->loops[i].tally, count);
    return sum;
}

static bool owed(const struct run *run)
{
    return run_count(run, COUNT_SENT) >
           run_count(run, COUNT_HEARD) + run_count(run, COUNT_ABANDONED);
}

void run_drain(struct run *run)
{
    uint64_t heard = 0, moved = clock_ns();
    atomic_store(&run->phase, PHASE_DRAIN);
    while (owed(run) && seconds_since(moved) < run->options->drain && !interrupted) {
        if (run_count(run, COUNT_HEARD) != heard)
            moved = clock_ns();
        heard = run_count(run, COUNT_HEARD);
        nap();
    }
}

/* ---- the measured time ---- */

static double client_cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static struct run_mark mark(const struct run *run)
{
    const struct options *options = run->options;
    return (struct run_mark){
        .server = process_look(options->pids, options->pid_count, options->children),
        .client_cpu_s = client_cpu_s(),
        .ns = clock_ns(),
    };
}

void run_begin(struct run *run)
{
    run->started_ns = clock_ns() + START_NS;
    atomic_store(&run->phase, PHASE_RUN);
}

void run_measure(struct run *run)
{
    run->begin = mark(run);
    atomic_store(&run->from, run->begin.ns);
}

void run_done(struct run *run)
{
    uint64_t now = clock_ns();
    atomic_store(&run->until, now);
    run->end = mark(run);
    run->end.ns = now;
}

/* ---- preparation ---- */

/* Where the hard limit is too low for all of them in one process, each thread has a table of
 * descriptors of its own. Returns how many connections a table has room for; 0: all. */
static uint32_t raise_descriptors(uint32_t connections)
{
    struct rlimit limit;
    rlim_t need = (rlim_t)connections + DESCRIPTORS_SPARE;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= need)
        return 0;
    struct rlimit raised = {need, limit.rlim_max > need ? limit.rlim_max : need};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
        return 0;
    raised.rlim_cur = raised.rlim_max = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &raised);
    if (limit.rlim_max < 2 * DESCRIPTORS_SPARE)
        fatal("a process may have %lu descriptors only (ulimit -Hn)",
              (unsigned long)limit.rlim_max);
    return (uint32_t)limit.rlim_max - DESCRIPTORS_SPARE;
}

static unsigned choose_loops(const struct run *run, uint32_t per_table)
{
    unsigned loops = run->options->threads;
    if (per_table && (run->main.count + per_table - 1) / per_table > loops)
        loops = (run->main.count + per_table - 1) / per_table;
    if (loops > OPTIONS_THREADS_MAX || (per_table && run->bystanders.count > per_table))
        fatal("a process may have too few descriptors for so many connections (ulimit -Hn)");
    return loops;
}

static void make_clients(struct group *group)
{
    group->clients = xcalloc(group->count ? group->count : 1, group->role->size);
    for (uint32_t i = 0; i < group->count; i++) {
        struct client *client = client_of(group, i);
        client->group = group;
        client->fd = -1;
        client->index = group->first_index + i;
        if (group->role->init)
            group->role->init(client);
    }
}

static void make_loop(struct run *run, unsigned id, const struct group *group, uint32_t first,
                      uint32_t count)
{
    struct loop *loop = &run->loops[id];
    loop->run = run;
    loop->id = id;
    loop->group = group;
    loop->first = first;
    loop->count = count;
    loop->next_port = (uint32_t)getpid() * 7919u;
    loop->random = 0x9e3779b97f4a7c15u * (id + 1);
    if (id == 0 && run->publisher.count)
        loop->publisher = client_of(&run->publisher, 0);
    if (loop->publisher)
        loop->publisher->loop = loop;
    for (uint32_t i = 0; i < count; i++)
        loop_client(loop, i)->loop = loop;
}

static void make_loops(struct run *run)
{
    uint32_t per_table = raise_descriptors(run->main.count + run->bystanders.count);
    uint32_t first = 0;
    run->main_loops = choose_loops(run, per_table);
    run->loop_count = run->main_loops + (run->bystanders.count ? 1 : 0);
    run->loops = xcalloc(run->loop_count, sizeof *run->loops);
    for (unsigned i = 0; i < run->main_loops; i++) {
        uint32_t count =
            run->main.count / run->main_loops + (i < run->main.count % run->main_loops);
        make_loop(run, i, &run->main, first, count);
        first += count;
    }
    if (run->bystanders.count)
        make_loop(run, run->main_loops, &run->bystanders, 0, run->bystanders.count);
    for (unsigned i = 0; i < run->loop_count; i++)
        run->loops[i].own_descriptors = per_table != 0;
}

static void make_groups(struct run *run)
{
    const struct options *options = run->options;
    struct slice headers = {options->headers.data, options->headers.len};
    run->main = (struct group){.target = &options->url,
                               .headers = headers,
                               .preamble = &options->preamble,
                               .count = options->connections};
    run->bystanders = (struct group){.role = &echoer_role,
                                     .target = &options->url,
                                     .headers = headers,
                                     .first_index = options->connections};
    run->publisher =
        (struct group){.role = options->publish_http ? &publisher_http_role : &publisher_ws_role,
                       .target = &options->publish_url,
                       .headers = {options->publish_headers.data, options->publish_headers.len},
                       .preamble = options->publish_http ? NULL : &options->publish_preamble};
    options->mode->plan(run);
    make_clients(&run->main);
    make_clients(&run->bystanders);
    make_clients(&run->publisher);
}

/* ---- the run ---- */

const char *run_error(const struct run *run)
{
    for (unsigned i = 0; i < run->loop_count; i++)
        if (run->loops[i].first_error[0])
            return run->loops[i].first_error;
    return "";
}

static void connect_all(struct run *run)
{
    for (unsigned i = 0; i < run->loop_count; i++)
        loop_start(&run->loops[i]);
    while (atomic_load(&run->settled) < run->loop_count && !interrupted)
        nap();
    uint64_t last = run->before.ns;
    for (unsigned i = 0; i < run->loop_count; i++)
        if (!interrupted && run->loops[i].settled_ns > last)
            last = run->loops[i].settled_ns;
    run->connect_s = (double)(last - run->before.ns) / 1e9;
}

static const char *why_not(const struct run *run)
{
    if (interrupted)
        return "interrupted while connecting";
    if (run_count(run, COUNT_PUBLISHERS) < run->publisher.count)
        return "the publisher did not connect";
    return run_count(run, COUNT_OPEN) == 0 ? "no connection succeeded" : NULL;
}

static void stop(struct run *run)
{
    atomic_store(&run->phase, PHASE_STOP);
    for (unsigned i = 0; i < run->loop_count; i++)
        loop_join(&run->loops[i]);
    for (unsigned i = 0; i < run->loop_count; i++) {
        const struct tally *tally = &run->loops[i].tally;
        tally_add_counts(run->total, tally);
        tally_add_histograms(i < run->main_loops ? run->total : run->bystander_total, tally);
        if (i < run->main_loops)
            run->connected += (uint32_t)tally_get(tally, COUNT_OPEN);
    }
}

static void take_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool run_all(struct run *run, const struct options *options)
{
    *run = (struct run){.options = options, .until = UINT64_MAX};
    run->total = xcalloc(1, sizeof *run->total);
    run->bystander_total = xcalloc(1, sizeof *run->bystander_total);
    run->echo = echoer_payload(options->size);
    take_signals();
    make_groups(run);
    make_loops(run);
    run->kernel_before = process_look_at_kernel();
    run->before = mark(run);
    connect_all(run);
    const char *why = why_not(run);
    if (!why)
        options->mode->measure(run);
    stop(run);
    if (why)
        fprintf(stderr, "engine-bench: %s: %s\n", why, run_error(run));
    return !why;
}

void run_fini(struct run *run)
{
    free(run->loops);
    free(run->main.clients);
    free(run->bystanders.clients);
    free(run->publisher.clients);
    free((char *)run->echo.data);
    free(run->total);
    free(run->bystander_total);
    deliveries_fini(&run->deliveries);
}
