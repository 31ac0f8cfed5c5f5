#include "worker/worker.h"
#include "base/address.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "msg/msg.h"
#include "net/preface.h"
#include "net/tally.h"
#include "script/http_client.h"
#include "script/lua_modules.h"
#include "script/preempt.h"
#include "script/redis_pool.h"
#include "script/session.h"
#include "script/vm.h"
#include "worker/rest.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    /* A turn's share of work before the loop polls again: what is left goes on in the next one. */
    TURN_ACCEPTED = 8, /* connections: each asks for something at once */
    TURN_SESSIONS = 1024,
    TURN_FLUSHES = 256,
    TURN_FAN_OUT = 64, /* flushes of a fan-out */
    JOIN_STEP_MS = 5,
    /* Where a script recurses through C (string.gsub with a function), Lua's own limit must be met
     * before the end of the thread's stack. */
    STACK_SIZE = 64 * 1024 * 1024,
    ERROR_MAX = 4096, /* of a script's error, with its traceback */
};

struct worker {
    struct worker_options options;
    char name[16];
    pthread_t thread;
    bool draining, drained;
    bool hurried; /* the last turn left a fan-out for mail */
    bool stopped; /* no script runs any more */
    uv_loop_t loop;
    struct wheel wheel;
    struct mailbox box;
    uv_prepare_t turn; /* before the loop polls */
    uv_idle_t busy;    /* active while work is left, so that the poll does not block */
    uv_timer_t second; /* what is measured each second */
    uint64_t second_due_ns;
    struct conns conns;
    struct prefaces prefaces;
    struct msg *accepted, **accepted_end; /* connections, let in turn by turn, in order */
    uint64_t preface_logged_ms;           /* when one that failed was last logged; 0: never */
    uint64_t preface_failures;
    uint64_t slow_closed, slow_dropped, slow_logged_ms; /* what was told of slow clients, when */
    struct script_env env;
    struct vm **vms;
    struct rest rest;
    struct pulse pulse;
    struct worker_stats stats;
    struct server_stats *servers;
};

struct mailbox *worker_box(struct worker *w)
{
    return &w->box;
}

const struct worker_stats *worker_stats(const struct worker *w)
{
    return &w->stats;
}

const struct server_stats *worker_server_stats(const struct worker *w, int server)
{
    return &w->servers[server];
}

struct pulse *worker_pulse(struct worker *w)
{
    return &w->pulse;
}

/* -- the turn -- */

static void on_busy(uv_idle_t *idle)
{
    (void)idle;
}

static void post_to_main(struct worker *w, struct msg *msg, int type)
{
    msg->type = type;
    mailbox_post(w->options.main_box, msg);
}

static void report_drained(struct worker *w)
{
    if (!w->draining || w->drained || counter_get(&w->stats.connections) > 0 ||
        !list_empty(&w->prefaces.all))
        return;
    w->drained = true;
    post_to_main(w, xcalloc(1, sizeof(struct msg)), MSG_DRAINED);
}

/* A publish of another worker, or its answer, does not wait for a wide fan-out: what comes of it
 * joins what the clients' queues hold, and leaves with that. Every second turn has its whole share
 * of the fan-out all the same. True when some are left. */
static bool flush(struct worker *w)
{
    bool left = conns_flush(&w->conns, TURN_FLUSHES);
    bool may_hurry = !w->hurried;
    w->hurried = false;
    for (unsigned i = 0; i < TURN_FAN_OUT && !w->hurried; i++) {
        if (!conns_flush_fan_out(&w->conns, 1))
            return left;
        w->hurried = may_hurry && mailbox_has_mail(&w->box);
    }
    return true;
}

static void on_accepted(struct worker *w, struct msg_accepted *m);

/* True when some are left. */
static bool let_in(struct worker *w, unsigned most)
{
    for (unsigned i = 0; i < most && w->accepted; i++) {
        struct msg *msg = w->accepted;
        w->accepted = msg->next;
        if (!w->accepted)
            w->accepted_end = &w->accepted;
        on_accepted(w, container_of(msg, struct msg_accepted, msg));
    }
    return w->accepted;
}

static void line_up(struct worker *w, struct msg *msg)
{
    msg->next = NULL;
    *w->accepted_end = msg;
    w->accepted_end = &msg->next;
}

static void on_turn(uv_prepare_t *prepare)
{
    struct worker *w = prepare->data;
    bool left = let_in(w, TURN_ACCEPTED);
    conns_read_on(&w->conns);
    left |= script_env_turn(&w->env, TURN_SESSIONS);
    redis_pools_flush(w->env.redis);
    prefaces_turn(&w->prefaces);
    left |= flush(w);
    left |= rest_turn(&w->rest);
    if (left)
        CHECK(uv_idle_start(&w->busy, on_busy) == 0);
    else
        uv_idle_stop(&w->busy);
}

/* -- each second -- */

static uint64_t measure_memory(const struct worker *w)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < w->options.config->server_count; i++)
        bytes += vm_memory(w->vms[i]);
    return bytes;
}

/* One line for all of them. */
static void tell_of_slow_clients(struct worker *w)
{
    uint64_t closed = 0, dropped = 0;
    for (size_t i = 0; i < w->options.config->server_count; i++) {
        closed += counter_get(&w->servers[i].closes[CLOSE_SLOW]);
        dropped += counter_get(&w->servers[i].bytes.dropped_messages);
    }
    if ((closed == w->slow_closed && dropped == w->slow_dropped) ||
        !log_due(&w->slow_logged_ms, uv_now(&w->loop)))
        return;
    log_warn("net", "slow clients on worker %u: %" PRIu64 " closed, %" PRIu64 " messages left out",
             w->options.number, closed - w->slow_closed, dropped - w->slow_dropped);
    w->slow_closed = closed;
    w->slow_dropped = dropped;
}

static void on_second(uv_timer_t *timer)
{
    struct worker *w = timer->data;
    uint64_t now = clock_ns();
    counter_set(&w->stats.loop_lag_ns, now > w->second_due_ns ? now - w->second_due_ns : 0);
    counter_set(&w->stats.lua_bytes, measure_memory(w));
    tell_of_slow_clients(w);
    rest_look(&w->rest);
    w->second_due_ns = now + 1000000000u;
    CHECK(uv_timer_start(timer, on_second, 1000, 0) == 0);
}

static void start_measuring(struct worker *w)
{
    uv_update_time(&w->loop);
    w->second_due_ns = clock_ns();
    CHECK(uv_timer_start(&w->second, on_second, 0, 0) == 0);
}

/* -- messages -- */

static void on_gone(struct script_env *env, int server)
{
    struct worker *w = container_of(env, struct worker, env);
    struct msg_closed *m = xmalloc(sizeof *m);
    *m = (struct msg_closed){.server = server, .worker = (int)w->options.number};
    post_to_main(w, &m->msg, MSG_CLOSED);
    report_drained(w);
}

/* It had no session. */
static void forget(struct worker *w, struct msg_accepted *m)
{
    if (m->counted)
        tally_leave(w->options.tallies[m->server], &m->peer, clock_ns());
    on_gone(&w->env, m->server);
    free(m);
}

static void open_session(struct worker *w, struct msg_accepted *m)
{
    if (session_open(w->vms[m->server], m)) {
        free(m);
        return;
    }
    preface_give_up(m, false);
    forget(w, m);
}

static void log_preface(struct worker *w, const struct msg_accepted *m, const char *why)
{
    char from[ADDRESS_TEXT];
    w->preface_failures++;
    if (!log_due(&w->preface_logged_ms, uv_now(&w->loop)))
        return;
    address_text(&m->peer, from);
    log_warn("net",
             "servers[%d] closed a connection from %s: %s (%" PRIu64 " such so far on worker %u)",
             m->server, from, why, w->preface_failures, w->options.number);
}

/* The acceptor has counted whom it saw, unless that was a proxy. */
static bool on_peer(void *owner, struct msg_accepted *m)
{
    struct worker *w = owner;
    return tally_enter(w->options.tallies[m->server], &w->options.config->servers[m->server],
                       &m->peer, clock_ns(), &m->counted);
}

static void on_preface(void *owner, struct msg_accepted *m, const char *why)
{
    struct worker *w = owner;
    if (why) {
        if (*why && !w->draining && !w->stopped)
            log_preface(w, m, why);
        forget(w, m);
    } else {
        open_session(w, m);
    }
}

static void on_accepted(struct worker *w, struct msg_accepted *m)
{
    const struct config_server *server = &w->options.config->servers[m->server];
    const struct preface_terms terms = {.proxy = server->proxy_protocol,
                                        .tls = server->listen.tls.context,
                                        .timeout_ms = (uint64_t)server->handshake_timeout * 1000,
                                        .counters = &w->servers[m->server].tls};
    if (w->draining || w->stopped) {
        close(m->fd);
        forget(w, m);
    } else if (terms.proxy || terms.tls) {
        preface_open(&w->prefaces, m, &terms);
    } else {
        open_session(w, m);
    }
}

static void on_command(struct worker *w, struct command *c)
{
    if (w->stopped)
        c->status = COMMAND_NO_CLIENT;
    else
        session_command(&w->env, c);
    if (!c->reply_to || w->env.over) {
        command_free(c);
        return;
    }
    c->msg.type = MSG_OUTCOME;
    mailbox_post(c->reply_to, &c->msg);
}

/* -- reloading -- */

static struct msg_prepared *about_sources(const struct worker *w, int server,
                                          const struct sources *sources)
{
    struct msg_prepared *m = xcalloc(1, sizeof *m);
    m->server = server;
    m->worker = (int)w->options.number;
    CHECK(sources_merge(&m->sources, sources));
    return m;
}

static void on_source(struct script_env *env, int server, const struct source *source)
{
    struct worker *w = container_of(env, struct worker, env);
    const struct sources one = {.items = (struct source *)source, .count = 1};
    post_to_main(w, &about_sources(w, server, &one)->msg, MSG_SOURCE);
}

static void on_prepare(struct worker *w, const struct msg_reload *m)
{
    struct vm *vm = w->vms[m->server];
    char error[ERROR_MAX];
    int status = vm_prepare(vm, true, error, sizeof error);
    struct msg_prepared *answer = about_sources(w, m->server, vm_sources(vm));
    answer->number = m->number;
    answer->error = status == 0 ? NULL : xstrdup(error);
    post_to_main(w, &answer->msg, MSG_PREPARED);
}

static void on_reload(struct worker *w, struct msg_reload *m)
{
    struct vm *vm = w->vms[m->server];
    if (w->stopped)
        ; /* no script runs any more */
    else if (m->msg.type == MSG_PREPARE)
        on_prepare(w, m);
    else if (m->msg.type == MSG_COMMIT)
        vm_commit(vm);
    else
        vm_abort(vm);
    free(m);
}

/* -- the configuration -- */

static void on_config(struct worker *w, struct msg_config *m)
{
    for (size_t i = 0; i < m->config->server_count; i++)
        vm_configure(w->vms[i], m->config);
    w->env.full_error = m->config->queue.full_error;
    config_unref(w->options.config);
    w->options.config = m->config;
    free(m);
}

static void drain(struct worker *w)
{
    w->draining = true;
    let_in(w, UINT_MAX); /* where they are closed */
    prefaces_drop(&w->prefaces, "the engine is stopping");
    list_for_each(node, &w->env.all) session_dismiss(
        list_entry(node, struct session, in_all), CLOSE_STOP, 1001, "", "the engine is stopping");
    report_drained(w);
}

/* -- memory is short -- */

/* Whom nobody waits for any more is not chosen: what still waits to be written to such a client
 * goes first. */
static void weigh(struct worker *w, struct weighing *m)
{
    list_for_each(node, &w->env.all)
    {
        struct session *s = list_entry(node, struct session, in_all);
        uint64_t weight = w->stopped ? 0 : session_weight(s);
        if (!session_is_over(s))
            weighing_add(m, s->id, weight);
        else if (weight >= WEIGHT_MIN)
            session_shed(s);
    }
    post_to_main(w, &m->msg, MSG_WEIGHED);
}

static void shed(struct worker *w, struct msg_shed *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        struct session *s = w->stopped ? NULL : session_find(&w->env, m->ids[i]);
        if (s)
            session_shed(s);
    }
    free(m);
}

static void on_message(struct msg *msg, void *data)
{
    struct worker *w = data;
    switch ((enum msg_type)msg->type) {
    case MSG_ACCEPTED:
        line_up(w, msg);
        break;
    case MSG_COMMAND:
        on_command(w, container_of(msg, struct command, msg));
        break;
    case MSG_OUTCOME:
        lua_mesh_outcome(&w->env, container_of(msg, struct command, msg));
        break;
    case MSG_PUSH_ANSWER:
        lua_queue_answer(&w->env, container_of(msg, struct push_answer, msg));
        break;
    case MSG_PREPARE:
    case MSG_COMMIT:
    case MSG_ABORT:
        on_reload(w, container_of(msg, struct msg_reload, msg));
        break;
    case MSG_CONFIG:
        on_config(w, container_of(msg, struct msg_config, msg));
        break;
    case MSG_WEIGH:
        weigh(w, container_of(msg, struct weighing, msg));
        break;
    case MSG_SHED:
        shed(w, container_of(msg, struct msg_shed, msg));
        break;
    case MSG_DRAIN:
        drain(w);
        free(msg);
        break;
    case MSG_STOP:
        w->stopped = true;
        uv_stop(&w->loop);
        free(msg);
        break;
    default:
        CHECK(!"a message for somebody else");
    }
}

/* -- life -- */

static void make_stats(struct worker *w)
{
    const struct config *config = w->options.config;
    size_t size = (config->server_count + 1) * sizeof *w->servers;
    w->servers = aligned_alloc(64, size);
    CHECK(w->servers);
    memset(w->servers, 0, size);
    for (size_t i = 0; i < config->server_count; i++)
        w->servers[i].send_duration = summary_new((uint64_t)config->prometheus.max_age * 1000,
                                                  config->prometheus.age_buckets);
}

static void free_stats(struct worker *w)
{
    for (size_t i = 0; i < w->options.config->server_count; i++)
        summary_free(w->servers[i].send_duration);
    free(w->servers);
}

static void init_env(struct worker *w)
{
    w->env = (struct script_env){
        .node = w->options.node,
        .worker = w->options.number,
        .loop = &w->loop,
        .wheel = &w->wheel,
        .conns = &w->conns,
        .channels = channels_new(),
        .box = &w->box,
        .api_box = w->options.api_box,
        .gates = w->options.gates,
        .tallies = w->options.tallies,
        .redis = redis_pools_new(&w->loop, &w->wheel, w->options.config, w->options.count),
        .pulse = &w->pulse,
        .stats = &w->stats,
        .servers = w->servers,
        .full_error = w->options.config->queue.full_error,
        .on_gone = on_gone,
        .on_source = on_source,
    };
    list_init(&w->env.ready);
    list_init(&w->env.ready_timers);
    list_init(&w->env.all);
}

struct worker *worker_new(const struct worker_options *options)
{
    struct worker *w = aligned_alloc(64, (sizeof *w + 63) / 64 * 64);
    CHECK(w);
    *w = (struct worker){.options = *options, .accepted_end = &w->accepted};
    config_ref(options->config);
    snprintf(w->name, sizeof w->name, "worker %u", options->number);
    w->pulse.name = w->name;
    CHECK(uv_loop_init(&w->loop) == 0);
    wheel_init(&w->wheel, &w->loop);
    mailbox_open(&w->box, &w->loop, on_message, w);
    CHECK(uv_prepare_init(&w->loop, &w->turn) == 0);
    CHECK(uv_idle_init(&w->loop, &w->busy) == 0);
    CHECK(uv_timer_init(&w->loop, &w->second) == 0);
    w->turn.data = w->second.data = w;
    CHECK(uv_prepare_start(&w->turn, on_turn) == 0);
    conns_init(&w->conns, &w->loop, &w->wheel);
    w->conns.memory = options->memory;
    prefaces_init(&w->prefaces, &w->loop, &w->wheel, on_peer, on_preface, w);
    make_stats(w);
    init_env(w);
    w->vms = xcalloc(options->config->server_count + 1, sizeof(struct vm *));
    w->rest =
        (struct rest){.env = &w->env, .vms = w->vms, .vm_count = options->config->server_count};
    return w;
}

static pthread_t start_thread(void *(*function)(void *), void *data)
{
    pthread_t thread;
    pthread_attr_t attr;
    CHECK(pthread_attr_init(&attr) == 0);
    CHECK(pthread_attr_setstacksize(&attr, STACK_SIZE) == 0);
    CHECK(pthread_create(&thread, &attr, function, data) == 0);
    pthread_attr_destroy(&attr);
    return thread;
}

struct loading {
    struct worker *w;
    bool init;
    char *error;
    size_t error_size;
    int status;
};

static void *load(void *data)
{
    struct loading *l = data;
    struct worker *w = l->w;
    for (size_t i = 0; i < w->options.config->server_count && l->status == 0; i++) {
        struct vm *vm = w->vms[i] = vm_new(&w->env, w->options.config, (int)i);
        l->status = vm_prepare(vm, l->init, l->error, l->error_size);
        if (l->status == 0)
            vm_commit(vm);
    }
    return NULL;
}

/* Scripts may recurse as deep as they may later. */
int worker_load(struct worker *w, struct mesh *mesh, bool init, char *error, size_t error_size)
{
    struct loading l = {.w = w, .init = init, .error = error, .error_size = error_size};
    w->env.mesh = mesh;
    CHECK(pthread_join(start_thread(load, &l), NULL) == 0);
    return l.status;
}

const struct sources *worker_sources(const struct worker *w, int server)
{
    return vm_sources(w->vms[server]);
}

static void *run(void *data)
{
    struct worker *w = data;
    bool preempt = w->options.config->luavm.preempt;
    if (preempt)
        preempt_adopt(&w->env);
    CHECK(uv_run(&w->loop, UV_RUN_DEFAULT) >= 0);
    if (preempt)
        preempt_leave(&w->env);
    return NULL;
}

void worker_run(struct worker *w, uint32_t not_before)
{
    w->env.sessions = slots_new(not_before);
    start_measuring(w);
    w->thread = start_thread(run, w);
}

/* Neither by the wall clock, which may be set, nor with pthread_clockjoin_np, which ThreadSanitizer
 * does not know. */
bool worker_join(struct worker *w, uint64_t deadline_ms)
{
    int status;
    while ((status = pthread_tryjoin_np(w->thread, NULL)) == EBUSY && clock_ms() < deadline_ms)
        uv_sleep(JOIN_STEP_MS);
    CHECK(status == 0 || status == EBUSY);
    return status == 0;
}

static void close_handles(struct worker *w)
{
    mailbox_close(&w->box);
    wheel_fini(&w->wheel);
    uv_close((uv_handle_t *)&w->turn, NULL);
    uv_close((uv_handle_t *)&w->busy, NULL);
    uv_close((uv_handle_t *)&w->second, NULL);
    CHECK(uv_run(&w->loop, UV_RUN_DEFAULT) == 0);
    CHECK(uv_loop_close(&w->loop) == 0);
}

void worker_free(struct worker *w)
{
    w->stopped = w->env.over = true;
    mailbox_drain(&w->box);
    let_in(w, UINT_MAX); /* where they are closed */
    prefaces_drop(&w->prefaces, "the engine is stopping");
    /* What a drain that ran out of time has left. */
    list_for_each(node, &w->env.all) session_abandon(list_entry(node, struct session, in_all));
    for (size_t i = 0; i < w->options.config->server_count; i++)
        if (w->vms[i])
            vm_stop(w->vms[i]);
    redis_pools_close(w->env.redis);
    if (w->env.http)
        http_client_free(w->env.http);
    close_handles(w);
    for (size_t i = 0; i < w->options.config->server_count; i++)
        if (w->vms[i])
            vm_free(w->vms[i]);
    redis_pools_free(w->env.redis);
    script_env_fini(&w->env);
    channels_free(w->env.channels);
    conns_fini(&w->conns);
    if (w->env.sessions)
        slots_free(w->env.sessions);
    config_unref(w->options.config);
    free(w->vms);
    free_stats(w);
    free(w);
}
