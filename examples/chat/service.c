#include "service.h"
#include "chat.h"
#include "log.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum {
    TICK_MS = 20,
    RETIRE_MS = 4000, /* for an engine that does not answer */
    SETTLE_MS = 4000, /* for logins on their way */
    WRITE_MS = 4000,  /* for flags that are not yet written */
    END_MS = 4000     /* for a statement that a thread is in */
};

/* How far the program is on its way to its end: the last events come; logins are answered; no more
 * consumer; flags are written; no more threads. */
enum stage { RUNNING, RETIRING, SETTLING, CLOSING, WRITING, ENDING };

struct service {
    uv_loop_t loop;
    uv_signal_t signals[2];
    uv_timer_t tick;
    enum stage stage;
    uint64_t since; /* when the stage began */
    bool ready;
    struct pool *pool;
    struct mix_consumer *consumer;
    struct chat chat;
};

static void enter(struct service *service, enum stage stage)
{
    service->stage = stage;
    service->since = uv_now(&service->loop);
}

static bool lasts(const struct service *service, uint64_t ms)
{
    return uv_now(&service->loop) - service->since >= ms;
}

static void on_consumer_closed(void *data)
{
    enter(data, WRITING);
}

static void on_pool_closed(void *data)
{
    struct service *service = data;
    login_close(service->chat.login);
    online_close(service->chat.online);
    for (size_t i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&service->signals[i], NULL);
    uv_close((uv_handle_t *)&service->tick, NULL);
}

static void close_consumer(struct service *service)
{
    enter(service, CLOSING);
    login_hurry(service->chat.login);
    mix_consumer_close(service->consumer, on_consumer_closed, service);
}

static void close_pool(struct service *service)
{
    size_t unwritten = online_unwritten(service->chat.online);
    enter(service, ENDING);
    if (unwritten)
        log_line("%zu online flags could not be written", unwritten);
    pool_close(service->pool, on_pool_closed, service);
}

/* A thread that the database does not let go cannot be joined; nothing of ours depends on it. */
static void leave(void)
{
    log_line("the database does not answer; ending without it");
    fflush(NULL);
    _Exit(EXIT_SUCCESS);
}

static void on_tick(uv_timer_t *tick)
{
    struct service *service = tick->data;
    size_t logins = login_unsettled(service->chat.login);
    size_t flags = online_unwritten(service->chat.online);
    if (service->stage == RETIRING && lasts(service, RETIRE_MS))
        enter(service, SETTLING);
    else if (service->stage == SETTLING && (!logins || lasts(service, SETTLE_MS)))
        close_consumer(service);
    else if (service->stage == WRITING && (!logins || lasts(service, WRITE_MS)) &&
             (!flags || lasts(service, WRITE_MS)))
        close_pool(service);
    else if (service->stage == ENDING && lasts(service, END_MS))
        leave();
}

static void on_retired(void *data)
{
    struct service *service = data;
    if (service->stage == RETIRING)
        enter(service, SETTLING);
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    struct service *service = handle->data;
    if (service->stage != RUNNING)
        return;
    enter(service, RETIRING);
    mix_consumer_retire(service->consumer, on_retired, service);
    uv_timer_start(&service->tick, on_tick, 0, TICK_MS);
}

static void say_ready(struct service *service)
{
    if (!service->ready) {
        puts("ready");
        fflush(stdout);
    }
    service->ready = true;
}

static void on_notice(struct mix_node *node, const struct mix_notice *notice, void *data)
{
    struct service *service = (struct service *)((char *)data - offsetof(struct service, chat));
    log_line("%s: %s", node ? mix_node_address(node) : "center", notice->text);
    if (notice->kind != MIX_CONNECTED)
        return;
    login_reconnected(service->chat.login, node);
    say_ready(service);
}

static int open_consumer(struct service *service, const struct service_options *options)
{
    const struct mix_consumer_options consumer = {
        .center = options->center,
        .user = options->user,
        .password = options->password,
        .ca = options->ca,
        .topics = chat_topics,
        .on_event = chat_on_event,
        .on_notice = on_notice,
        .on_reply = chat_on_reply,
        .data = &service->chat,
    };
    int failed = mix_consumer_open(&service->consumer, &service->loop, &consumer);
    if (failed == -EINVAL)
        log_line("--center %s: not a HOST:PORT", options->center);
    else if (failed == -EKEYREJECTED)
        log_line("--ca %s: no certificates (PEM) can be read there", options->ca);
    else if (failed)
        log_line("cannot start: %s", strerror(-failed));
    bool usage = failed == -EINVAL || failed == -EKEYREJECTED;
    return usage ? EX_USAGE : failed ? EX_OSERR : 0;
}

static void start(struct service *service, const struct service_options *options)
{
    static const int numbers[2] = {SIGINT, SIGTERM};
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&service->loop);
    for (size_t i = 0; i < 2; i++) {
        uv_signal_init(&service->loop, &service->signals[i]);
        service->signals[i].data = service;
        uv_signal_start(&service->signals[i], on_signal, numbers[i]);
    }
    uv_timer_init(&service->loop, &service->tick);
    service->tick.data = service;
    service->pool = pool_open(&service->loop, options->users, options->users_count);
    service->chat.online = online_open(&service->loop, service->pool);
    service->chat.login = login_open(&service->loop, service->pool, service->chat.online);
}

int service_run(const struct service_options *options)
{
    struct service service = {.stage = RUNNING};
    start(&service, options);
    int status = open_consumer(&service, options);
    if (status != 0)
        close_pool(&service);
    uv_run(&service.loop, UV_RUN_DEFAULT);
    uv_loop_close(&service.loop);
    return status;
}
