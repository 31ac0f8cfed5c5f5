#include "engine.h"
#include "api/api.h"
#include "base/address.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "descriptors.h"
#include "loop/file_watch.h"
#include "mesh/mesh_local.h"
#include "metrics.h"
#include "msg/client_id.h"
#include "msg/msg.h"
#include "net/acceptor.h"
#include "net/tally.h"
#include "overload.h"
#include "print.h"
#include "privilege.h"
#include "reload.h"
#include "script/http_client.h"
#include "user.h"
#include "worker/worker.h"
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    NODE = 1, /* this process, until nodes form a mesh */
    WATCHDOG_MS = 1000,
    JOIN_MS = 3000, /* for a script that runs to return, when all stops */
};

struct engine {
    const struct config *config;
    int worker_count;
    bool dev;
    uv_loop_t loop;
    struct mailbox box;
    uv_signal_t signals[3];
    uv_timer_t deadline; /* of the drain */
    struct file_watch config_watch;
    struct gates *gates;
    struct tally **tallies; /* by server */
    struct memory_guard memory;
    char *pages; /* the folder of the application's page; NULL: none is served */
    struct api *api;
    struct worker **workers;
    struct mailbox **boxes; /* of the workers, and then the API's */
    struct mesh *mesh;
    struct acceptor *acceptor;
    struct watchdog *watchdog;
    struct reload *reload;
    struct overload *overload;
    bool draining, stopped;
    int drained_workers;
    char error[1024];
};

/* -- what is exported -- */

/* The main thread may have a newer configuration by now. */
static void append_metrics(struct buf *out, const struct config *config, void *data)
{
    const struct engine *e = data;
    metrics_append(out, &(struct metrics_source){.workers = e->workers,
                                                 .worker_count = e->worker_count,
                                                 .config = config,
                                                 .tallies = e->tallies,
                                                 .reloads = reload_stats(e->reload),
                                                 .overload = overload_stats(e->overload),
                                                 .watchdog = e->watchdog});
}

/* -- stopping -- */

static void post(struct mailbox *box, int type)
{
    struct msg *msg = xcalloc(1, sizeof *msg);
    msg->type = type;
    mailbox_post(box, msg);
}

static void on_deadline(uv_timer_t *timer)
{
    struct engine *e = timer->data;
    log_warn("engine", "stopTimeout of %u s is over: stopping with what is left undone",
             e->config->stop_timeout);
    uv_stop(&e->loop);
}

static void drain(struct engine *e)
{
    e->draining = true;
    log_info("engine", "draining: no new connections, clients are told to go");
    CHECK(uv_timer_start(&e->deadline, on_deadline, (uint64_t)e->config->stop_timeout * 1000, 0) ==
          0);
    file_watch_stop(&e->config_watch);
    acceptor_stop(e->acceptor);
    reload_stop(e->reload);
    post(api_box(e->api), MSG_HURRY);
    for (int i = 0; i < e->worker_count; i++)
        post(e->boxes[i], MSG_DRAIN);
}

/* -- reloading: the configuration first, as scripts are loaded by it -- */

static void report_config(bool is_error, const char *text, void *data)
{
    (void)data;
    if (is_error)
        log_error("config", "%s", text);
    else
        log_warn("config", "%s", text);
}

static void post_config(struct mailbox *box, const struct config *config)
{
    struct msg_config *m = xmalloc(sizeof *m);
    *m = (struct msg_config){.msg.type = MSG_CONFIG, .config = config_ref(config)};
    mailbox_post(box, &m->msg);
}

/* Takes the reference. */
static void use_config(struct engine *e, const struct config *config)
{
    log_set_level(config->logging.level);
    acceptor_configure(e->acceptor, config);
    overload_limit(e->overload, config->memory_limit);
    post_config(api_box(e->api), config);
    for (int i = 0; i < e->worker_count; i++)
        post_config(e->boxes[i], config);
    config_unref(e->config);
    e->config = config;
}

static void reload_config(struct engine *e)
{
    file_watch_take(&e->config_watch);
    struct config *config = config_reload(e->config, report_config, NULL);
    if (!config) {
        log_error("config", "%s: not used; what was read before holds on", e->config->file);
        return;
    }
    use_config(e, config);
    log_info("config", "%s: loaded again", e->config->file);
}

static void on_config_change(struct file_watch *watch)
{
    reload_config(watch->data);
}

static void reload_scripts(struct engine *e)
{
    reload_all(e->reload);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct engine *e = handle->data;
    if (number == SIGHUP)
        log_reopen();
    if (number == SIGHUP && !e->draining) {
        reload_config(e);
        reload_scripts(e);
    } else if (number == SIGHUP) {
        log_warn("engine", "SIGHUP while draining: nothing but the log's file is opened anew");
    } else if (!e->draining)
        drain(e);
    else {
        log_warn("engine", "signal %d while draining: stopping now", number);
        post(api_box(e->api), MSG_NOW);
        uv_stop(&e->loop);
    }
}

/* The workers first, as their last entries are for the queue; then the queue. */
static void on_drained(struct engine *e)
{
    e->drained_workers++;
    if (e->drained_workers == e->worker_count)
        post(api_box(e->api), MSG_DRAIN);
    else if (e->drained_workers > e->worker_count)
        uv_stop(&e->loop);
}

static void on_message(struct msg *msg, void *data)
{
    struct engine *e = data;
    if (msg->type == MSG_CLOSED) {
        struct msg_closed *closed = container_of(msg, struct msg_closed, msg);
        acceptor_closed(e->acceptor, closed->server, closed->worker);
    } else if (msg->type == MSG_PREPARED) {
        reload_prepared(e->reload, container_of(msg, struct msg_prepared, msg));
        return;
    } else if (msg->type == MSG_SOURCE) {
        reload_required(e->reload, container_of(msg, struct msg_prepared, msg));
        return;
    } else if (msg->type == MSG_WEIGHED) {
        overload_weighed(e->overload, container_of(msg, struct weighing, msg));
        return;
    } else if (msg->type == MSG_DRAINED && !e->stopped) {
        on_drained(e);
    }
    free(msg);
}

/* -- starting -- */

static int usable_cpus(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < CLIENT_WORKERS_MAX ? count : CLIENT_WORKERS_MAX;
}

static void open_loop(struct engine *e)
{
    CHECK(uv_loop_init(&e->loop) == 0);
    mailbox_open(&e->box, &e->loop, on_message, e);
    CHECK(uv_timer_init(&e->loop, &e->deadline) == 0);
    e->deadline.data = e;
}

/* `web` beside the first server's entry script, NULL when there is no such folder. */
static char *find_pages(const struct config *config)
{
    if (config->server_count == 0)
        return NULL;
    const char *entry = config->servers[0].entry, *slash = strrchr(entry, '/');
    struct buf path = {0};
    struct stat folder;
    buf_append(&path, entry, slash ? (size_t)(slash + 1 - entry) : 0);
    buf_append(&path, "web", sizeof "web");
    if (stat(path.data, &folder) != 0 || !S_ISDIR(folder.st_mode))
        buf_free(&path);
    return path.data;
}

static void make_parts(struct engine *e)
{
    const struct config *config = e->config;
    unsigned descriptors = descriptors_raise();
    http_client_global_init();
    open_loop(e);
    e->gates = gates_new(config->queue.topic_size, config->queue.max_topics);
    e->api = api_new(&(struct api_options){.config = config,
                                           .gates = e->gates,
                                           .main_box = &e->box,
                                           .sockets_max = descriptors_of_api(descriptors),
                                           .metrics = append_metrics,
                                           .metrics_data = e,
                                           .pages = e->pages});
    e->tallies = xcalloc(config->server_count + 1, sizeof(struct tally *));
    for (size_t i = 0; i < config->server_count; i++)
        e->tallies[i] = tally_new((int)i);
    e->workers = xcalloc((size_t)e->worker_count, sizeof(struct worker *));
    e->boxes = xcalloc((size_t)e->worker_count + 1, sizeof(struct mailbox *));
    e->boxes[e->worker_count] = api_box(e->api);
    for (int i = 0; i < e->worker_count; i++) {
        e->workers[i] = worker_new(&(struct worker_options){.config = config,
                                                            .node = NODE,
                                                            .number = (unsigned)i,
                                                            .count = (unsigned)e->worker_count,
                                                            .tallies = e->tallies,
                                                            .gates = e->gates,
                                                            .memory = &e->memory,
                                                            .api_box = api_box(e->api),
                                                            .main_box = &e->box});
        e->boxes[i] = worker_box(e->workers[i]);
    }
    e->mesh = mesh_local_new(NODE, e->boxes, e->worker_count);
    e->acceptor = acceptor_new(&(struct acceptor_options){
        .loop = &e->loop,
        .config = config,
        .workers = e->boxes,
        .worker_count = e->worker_count,
        .tallies = e->tallies,
        .ceiling = descriptors_of_clients(descriptors, config, (unsigned)e->worker_count)});
    e->reload = reload_new(config, &(struct reload_options){.loop = &e->loop,
                                                            .workers = e->boxes,
                                                            .worker_count = e->worker_count,
                                                            .dev = e->dev});
    e->overload = overload_new(&(struct overload_options){.loop = &e->loop,
                                                          .boxes = e->boxes,
                                                          .box_count = e->worker_count + 1,
                                                          .acceptor = e->acceptor,
                                                          .gates = e->gates,
                                                          .memory = &e->memory});
}

/* 0, or the process's exit status with a line in e->error. Scripts come before ports, so that a
 * broken script opens nothing; the center comes before the servers, so that nobody is announced too
 * early. */
static int prepare(struct engine *e)
{
    for (int i = 0; i < e->worker_count; i++)
        if (worker_load(e->workers[i], e->mesh, true, e->error, sizeof e->error) != 0)
            return EX_CONFIG;
    if (api_listen(e->api, e->error, sizeof e->error) != 0 ||
        acceptor_listen(e->acceptor, e->error, sizeof e->error) != 0)
        return EXIT_FAILURE;
    return 0;
}

static void watch_workers(struct engine *e)
{
    struct pulse **pulses = xcalloc((size_t)e->worker_count, sizeof(struct pulse *));
    for (int i = 0; i < e->worker_count; i++)
        pulses[i] = worker_pulse(e->workers[i]);
    e->watchdog = watchdog_start(pulses, e->worker_count, WATCHDOG_MS,
                                 e->config->luavm.preempt ? e->config->luavm.handler_budget : 0);
    free(pulses);
}

static void watch_scripts(struct engine *e)
{
    for (int i = 0; i < e->worker_count; i++)
        for (size_t server = 0; server < e->config->server_count; server++)
            reload_watch(e->reload, (int)server, worker_sources(e->workers[i], (int)server));
    reload_start(e->reload);
}

static void watch_signals(struct engine *e)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < 3; i++) {
        CHECK(uv_signal_init(&e->loop, &e->signals[i]) == 0);
        e->signals[i].data = e;
        CHECK(uv_signal_start(&e->signals[i], on_signal, numbers[i]) == 0);
    }
}

/* False when a worker's script does not return. */
static bool stop_workers(struct engine *e)
{
    uint64_t deadline = clock_ms() + JOIN_MS;
    bool all = true;
    for (int i = 0; i < e->worker_count; i++)
        post(e->boxes[i], MSG_STOP);
    for (int i = 0; i < e->worker_count; i++)
        if (!worker_join(e->workers[i], deadline)) {
            log_error("engine", "worker %d is in a script that does not return", i);
            all = false;
        }
    return all;
}

static void stop_api(struct engine *e)
{
    post(api_box(e->api), MSG_STOP);
    api_join(e->api);
}

/* Nothing that the script may still use can be freed. */
static _Noreturn void leave_at_once(struct engine *e)
{
    stop_api(e);
    log_info("engine", "stopped, with a script that does not return");
    log_stop();
    _exit(EXIT_FAILURE);
}

/* `file`: e->config, which has the name, is replaced. */
static void watch_config(struct engine *e, const char *file)
{
    e->config_watch.data = e;
    file_watch_start(&e->config_watch, &e->loop, file, e->config->stamp, on_config_change);
}

static void run(struct engine *e, const char *file)
{
    watch_signals(e);
    watch_config(e, file);
    watch_workers(e);
    watch_scripts(e);
    api_run(e->api, e->mesh);
    for (int i = 0; i < e->worker_count; i++)
        worker_run(e->workers[i], acceptor_not_before(e->acceptor));
    acceptor_start(e->acceptor);
    overload_limit(e->overload, e->config->memory_limit);
    log_info("engine", "ready: %d worker%s, process %d", e->worker_count,
             e->worker_count == 1 ? "" : "s", (int)getpid());
    uv_run(&e->loop, UV_RUN_DEFAULT);
    e->stopped = true; /* what is drained from here on goes nowhere */
    if (!stop_workers(e))
        leave_at_once(e);
    /* Commands that nobody has carried out go back to the api while it still listens. */
    for (int i = 0; i < e->worker_count; i++)
        mailbox_drain(e->boxes[i]);
    stop_api(e);
    watchdog_stop(e->watchdog);
    file_watch_stop(&e->config_watch);
    for (size_t i = 0; i < 3; i++)
        uv_close((uv_handle_t *)&e->signals[i], NULL);
}

static void free_parts(struct engine *e)
{
    overload_close(e->overload);
    acceptor_stop(e->acceptor);
    /* The api first: it refuses what waits, and the answers go to the workers. */
    api_free(e->api);
    for (int i = 0; i < e->worker_count; i++)
        worker_free(e->workers[i]);
    mailbox_close(&e->box);
    reload_close(e->reload);
    uv_close((uv_handle_t *)&e->deadline, NULL);
    while (uv_run(&e->loop, UV_RUN_DEFAULT) != 0)
        continue; /* a late message may have asked it to stop */
    CHECK(uv_loop_close(&e->loop) == 0);
    acceptor_free(e->acceptor);
    reload_free(e->reload);
    overload_free(e->overload);
    mesh_local_free(e->mesh);
    for (size_t i = 0; i < e->config->server_count; i++)
        tally_free(e->tallies[i]);
    free(e->tallies);
    gates_free(e->gates);
    free(e->pages);
    free(e->workers);
    free(e->boxes);
    http_client_global_fini();
}

static int fail(const struct engine *e, int status)
{
    log_error("engine", "%s", e->error);
    fprintf(stderr, "engine: %s\n", e->error);
    return status;
}

/* -- beginning -- */

static int start_log(struct engine *e)
{
    const struct config *config = e->config;
    int status = log_start(&(struct log_options){.filename = config->logging.filename,
                                                 .max_files = config->logging.max_files,
                                                 .max_size = config->logging.max_size,
                                                 .level = config->logging.level,
                                                 .format = config->logging.format,
                                                 .terminal = true});
    if (status == 0)
        return 0;
    snprintf(e->error, sizeof e->error,
             "logging.filename %s: %s: choose a file that %s%s may write", config->logging.filename,
             strerror(-status), *config->user ? "user " : "this user", config->user);
    return EXIT_FAILURE;
}

/* Before anything of the scripts is run, or a file made. */
static int enter(struct engine *e)
{
    int status = user_become(e->config, true, e->error, sizeof e->error);
    privilege_set_dumpable(e->dev || e->config->core_dumps);
    if (status == 0)
        status = start_log(e);
    if (status != 0)
        fprintf(stderr, "engine: %s\n", e->error);
    else
        user_warn(e->config, e->dev);
    return status;
}

int engine_run(const struct config *config, const struct engine_options *options)
{
    struct engine e = {.config = config, .dev = options->dev};
    e.worker_count = options->workers ? options->workers : usable_cpus();
    signal(SIGPIPE, SIG_IGN);
    crash_install();
    print_to_log();
    int status = enter(&e);
    if (status != 0)
        return status;
    config_ref(config);
    e.pages = options->dev ? find_pages(config) : NULL;
    make_parts(&e);
    status = prepare(&e);
    if (status == 0) {
        run(&e, config->file);
        log_info("engine", "stopped");
    } else {
        fail(&e, status);
    }
    free_parts(&e);
    config_unref(e.config);
    log_stop();
    return status;
}

static void print_listener(const char *role, const struct config_listener *listener,
                           const char *entry)
{
    struct sockaddr_storage address;
    char text[ADDRESS_TEXT];
    CHECK(address_from_bind(&address, listener->bind, listener->port));
    address_text(&address, text);
    printf("%-12s%s%s%s\n", role, text, *entry ? "  " : "", entry);
}

int engine_check(const struct config *config)
{
    struct engine e = {.config = config, .worker_count = 1};
    int status = user_become(config, false, e.error, sizeof e.error);
    if (status != 0)
        return fail(&e, status);
    make_parts(&e);
    if (worker_load(e.workers[0], e.mesh, false, e.error, sizeof e.error) != 0)
        status = fail(&e, EX_CONFIG);
    free_parts(&e);
    if (status != 0)
        return status;
    print_listener("center api", &config->center_api.listen, "");
    print_listener("engine api", &config->engine_api.listen, "");
    for (size_t i = 0; i < config->server_count; i++)
        print_listener("server", &config->servers[i].listen, config->servers[i].entry);
    printf("%s: ok\n", config->file);
    return 0;
}
