/* One libwebsockets context with one vhost and one protocol serves both ports; a connection knows
 * its listener (its opaque pointer). The sockets that listen are ours (listener.h).
 *
 * The end has three steps. MSG_HURRY: the engine begins to drain, nothing new is accepted, pushes
 * that wait for room are given up sooner. MSG_DRAIN: the workers have drained; MSG_DRAINED tells
 * when the queues are empty or the time is over. MSG_STOP: consumers are closed, once what came in
 * between has been handed over as well. Until then they get entries and may send commands. */
#include "api/api.h"
#include "api/api_private.h"
#include "api/caller.h"
#include "api/consumer.h"
#include "api/door.h"
#include "api/http.h"
#include "api/intake.h"
#include "api/post.h"
#include "api/secure.h"
#include "api/socket.h"
#include "base/address.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLOSING_MS = 1000,     /* for close frames and their answers */
    KEEP_ALIVE_S = 75,     /* clients ask for the nodes every 61 to 70 s */
    READ_CHUNK = 16 << 10, /* bytes of a connection's own receive buffer */
    SERVICE_BUFFER = 64 << 10,
    WRITE_CHUNK = 8 << 20, /* a frame goes to the kernel in one piece */
    A_DAY_S = 24 * 60 * 60,
};

/* ---- libwebsockets ---- */

static int on_http(struct api *api, struct lws *wsi, int reason, struct exchange *exchange,
                   void *in, size_t len)
{
    switch (reason) {
    case LWS_CALLBACK_HTTP:
        return http_on_request(api, wsi, exchange);
    case LWS_CALLBACK_HTTP_BODY:
        return http_on_body(api, wsi, exchange, in, len);
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        return http_on_body_end(api, wsi, exchange);
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return http_on_writable(wsi, exchange);
    case LWS_CALLBACK_HTTP_BIND_PROTOCOL:
        intake_release(api, wsi);
        break;
    case LWS_CALLBACK_HTTP_DROP_PROTOCOL:
    case LWS_CALLBACK_CLOSED_HTTP:
        http_on_end(exchange);
        break;
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        return http_on_upgrade(api, wsi, in);
    case LWS_CALLBACK_ADD_HEADERS:
        http_on_upgraded(api, wsi, in);
        break;
    }
    return 0;
}

static int on_websocket(struct api *api, struct lws *wsi, int reason, struct exchange *exchange,
                        void *in, size_t len)
{
    switch (reason) {
    case LWS_CALLBACK_ESTABLISHED:
        return consumer_open(api, wsi, &exchange->consumer);
    case LWS_CALLBACK_RECEIVE:
        return consumer_on_receive(exchange->consumer, in, len);
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return consumer_on_writable(exchange->consumer);
    case LWS_CALLBACK_RECEIVE_PONG:
        consumer_on_pong(exchange->consumer, in, len);
        break;
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
    case LWS_CALLBACK_WS_SERVER_DROP_PROTOCOL:
        consumer_on_closing(exchange->consumer);
        break;
    case LWS_CALLBACK_CLOSED:
        consumer_free(exchange->consumer);
        exchange->consumer = NULL;
        break;
    default:
        return on_http(api, wsi, reason, exchange, in, len);
    }
    return 0;
}

static int on_lws(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                  size_t len)
{
    struct api *api = lws_context_user(lws_get_context(wsi));
    switch ((int)reason) {
    case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS:
        secure_on_context(api, user, in);
        return 0;
    case LWS_CALLBACK_WSI_CREATE:
        api->sockets++;
        return 0;
    case LWS_CALLBACK_WSI_DESTROY:
        api->sockets--;
        return 0;
    case LWS_CALLBACK_RAW_ADOPT: /* what CONNECT leads to */
        return -1;
    default:
        return on_websocket(api, wsi, reason, user, in, len);
    }
}

/* No pings and no hang-ups of its own: some clients answer pings only while they wait for a reply.
 */
static const lws_retry_bo_t no_idle_policy;

static void on_lws_log(int level, const char *line)
{
    (void)level;
    log_debug("lws", "%.*s", (int)strcspn(line, "\n"), line);
}

static uint32_t read_timeout(const struct config *config)
{
    uint32_t a = config->center_api.read_timeout, b = config->engine_api.read_timeout;
    if (a == 0 || b == 0)
        return A_DAY_S;
    return a > b ? a : b;
}

static void open_lws(struct api *api)
{
    void *loops[] = {&api->loop};
    api->read_timeout_s = read_timeout(api->options.config);
    struct lws_context_creation_info info = {
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                   LWS_SERVER_OPTION_VALIDATE_UTF8 | LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME |
                   LWS_SERVER_OPTION_NO_LWS_SYSTEM_STATES | LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
        .foreign_loops = loops,
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = api->protocols,
        .vhost_name = "api",
        .user = api,
        .pt_serv_buf_size = SERVICE_BUFFER,
        .max_http_header_data = API_HEAD_MAX,
        .timeout_secs = api->read_timeout_s,
        .timeout_secs_ah_idle = api->read_timeout_s,
        .keepalive_timeout = KEEP_ALIVE_S,
        .retry_and_idle_policy = &no_idle_policy,
        .pcontext = &api->lws,
    };
    api->protocols[0] = (struct lws_protocols){
        .name = api->protocol_name,
        .callback = on_lws,
        .per_session_data_size = sizeof(struct exchange),
        .rx_buffer_size = READ_CHUNK,
        .tx_packet_size = WRITE_CHUNK,
    };
    strcpy(api->protocol_name, "v1");
    lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
    api->lws = lws_create_context(&info);
    CHECK(api->lws != NULL);
    api->vhost = lws_create_vhost(api->lws, &info);
    CHECK(api->vhost != NULL);
    secure_open(api, &info);
}

/* ---- listening ---- */

void api_adopt(struct api *api, struct listener *listener, int fd)
{
    intake_open(api, fd);
    struct lws_vhost *secure = secure_vhost(api, listener);
    lws_adopt_desc_t adopt = {.vh = secure ? secure : api->vhost,
                              .type = LWS_ADOPT_SOCKET | LWS_ADOPT_HTTP |
                                      (secure ? LWS_ADOPT_ALLOW_SSL : 0),
                              .fd.sockfd = fd,
                              .opaque = listener};
    lws_adopt_descriptor_vhost_via_info(&adopt);
}

static void on_accept(struct listener *listener, int fd, const struct sockaddr_storage *peer)
{
    struct api *api = listener->data;
    (void)peer;
    if (api->sockets + api->visitor_count >= api->options.sockets_max) {
        uint64_t count = ++api->refused;
        if ((count & (count - 1)) == 0)
            log_warn("api", "refused %" PRIu64 " connections so far: %u are open", count,
                     api->options.sockets_max);
        close(fd);
        return;
    }
    socket_tune(fd);
    door_knock(api, listener, fd);
}

static int open_listener(struct api *api, struct listener *listener, const char *key,
                         const char *role, const struct config_listener *where, char *error,
                         size_t error_size)
{
    listener->on_accept = on_accept;
    listener->data = api;
    int status = listener_open(listener, &api->loop, where->bind, where->port);
    char text[ADDRESS_TEXT + 256];
    if (status) {
        listener_explain(listener, status, text, sizeof text);
        snprintf(error, error_size, "%s %s", key, text);
        return status;
    }
    listener_accept(listener, true);
    address_text(&listener->address, text);
    log_info("api", "%s listening on %s", role, text);
    return 0;
}

/* An address for a browser on this machine. */
static void announce_pages(const struct api *api)
{
    struct sockaddr_storage address = api->engine.address;
    char text[ADDRESS_TEXT];
    if (address_is_any(&address))
        address_from_ip(&address, "127.0.0.1", address_port(&address));
    address_text(&address, text);
    if (address.ss_family != AF_UNIX)
        log_info("api", "page at %s://%s/", secure_vhost(api, &api->engine) ? "https" : "http",
                 text);
}

static bool is_near(const struct sockaddr_storage *address)
{
    static char loopback[] = "127.0.0.0/8", loopback6[] = "::1", local[] = "unix";
    static char *const near[] = {loopback, loopback6, local, NULL};
    return address_in(address, near);
}

/* Everybody who reaches the ports could read all and command everything. */
static void warn_of_openness(const struct api *api)
{
    char center[ADDRESS_TEXT], engine[ADDRESS_TEXT];
    if (api->options.config->user_count > 0 ||
        (is_near(&api->center.address) && is_near(&api->engine.address)))
        return;
    address_text(&api->center.address, center);
    address_text(&api->engine.address, engine);
    log_warn("api",
             "there are no access.users: whoever can reach the center api (%s) and the engine api "
             "(%s) may take messages and send commands; list users, or bind both to 127.0.0.1",
             center, engine);
}

int api_listen(struct api *api, char *error, size_t error_size)
{
    const struct config *config = api->options.config;
    int status = open_listener(api, &api->center, "center.apiServer", "center api",
                               &config->center_api.listen, error, error_size);
    if (status)
        return status;
    status = open_listener(api, &api->engine, "engine.apiServer", "engine api",
                           &config->engine_api.listen, error, error_size);
    if (status)
        return status;
    if (api->options.pages)
        announce_pages(api);
    warn_of_openness(api);
    return 0;
}

/* ---- the end ---- */

static void on_drain_tick(struct timeout *timeout);

static void tick_later(struct api *api)
{
    wheel_set(&api->wheel, &api->drain_tick, WHEEL_TICK_MS, on_drain_tick);
}

static bool time_is_over(const struct api *api)
{
    return uv_now(&api->loop) >= api->drain_due_ms;
}

/* Nobody can come any more, so what no consumer takes now is not waited for. */
static bool all_is_done(const struct api *api)
{
    return time_is_over(api) || (consumers_idle(api) && posts_idle(api));
}

static void begin_closing(struct api *api)
{
    api->state = API_CLOSING;
    api->drain_due_ms = uv_now(&api->loop) + CLOSING_MS;
    consumers_close(api);
}

static void tell_main(struct api *api)
{
    struct msg *msg = xcalloc(1, sizeof *msg);
    msg->type = MSG_DRAINED;
    api->state = API_DRAINED;
    mailbox_post(api->options.main_box, msg);
}

static void on_drain_tick(struct timeout *timeout)
{
    struct api *api = container_of(timeout, struct api, drain_tick);
    if (api->state == API_CLOSING) {
        if (list_empty(&api->connections) || time_is_over(api))
            uv_stop(&api->loop);
        else
            tick_later(api);
        return;
    }
    if (api->state == API_DRAINING && all_is_done(api))
        tell_main(api);
    if (api->stop_asked && all_is_done(api))
        begin_closing(api);
    tick_later(api);
}

static void stop_listening(struct api *api)
{
    listener_close(&api->center);
    listener_close(&api->engine);
    door_close(api);
}

/* A drain has begun: what waits for room must be given up before it ends. */
static void hurry(struct api *api)
{
    uint64_t ms = (uint64_t)api->options.config->stop_timeout * 1000;
    api->drain_due_ms = uv_now(&api->loop) + ms;
    stop_listening(api);
    queue_hurry(api->queue, clock_ms() + ms / 2);
}

static void drain(struct api *api)
{
    if (api->state != API_RUNNING)
        return;
    if (api->drain_due_ms == 0)
        hurry(api);
    api->state = API_DRAINING;
    tick_later(api);
}

static void stop(struct api *api)
{
    stop_listening(api);
    api->stop_asked = true;
    if (api->state == API_RUNNING) {
        begin_closing(api);
    } else {
        consumers_give_up(api);
        posts_give_up(api);
    }
    tick_later(api);
}

/* ---- the configuration ---- */

/* Takes the reference. */
static void configure(struct api *api, const struct config *config)
{
    const struct config *before = api->options.config;
    bool open_before = before->user_count == 0;
    api->options.config = config;
    access_configure(api->access, config);
    queue_set_full_timeout(api->queue, (uint64_t)config->queue.full_timeout * 1000);
    config_unref(before);
    if (!open_before)
        warn_of_openness(api);
}

/* ---- the thread ---- */

static void weigh(struct api *api, struct weighing *weighing)
{
    consumers_weigh(api, weighing);
    weighing->msg.type = MSG_WEIGHED;
    mailbox_post(api->options.main_box, &weighing->msg);
}

static void shed(struct api *api, struct msg_shed *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        consumers_shed(api, m->ids[i]);
    free(m);
}

static void on_msg(struct msg *msg, void *data)
{
    struct api *api = data;
    switch (msg->type) {
    case MSG_ENTRY:
        queue_accept(api->queue, container_of(msg, struct entry, msg));
        break;
    case MSG_OUTCOME:
        callers_on_outcome(api, container_of(msg, struct command, msg));
        break;
    case MSG_RESIZED: {
        struct msg_resized *resized = container_of(msg, struct msg_resized, msg);
        queue_resized(api->queue, resized->gate);
        free(resized);
        break;
    }
    case MSG_CONFIG: {
        struct msg_config *m = container_of(msg, struct msg_config, msg);
        configure(api, m->config);
        free(m);
        break;
    }
    case MSG_WEIGH:
        weigh(api, container_of(msg, struct weighing, msg));
        break;
    case MSG_SHED:
        shed(api, container_of(msg, struct msg_shed, msg));
        break;
    case MSG_HURRY:
        hurry(api);
        free(msg);
        break;
    case MSG_NOW:
        api->drain_due_ms = uv_now(&api->loop);
        free(msg);
        break;
    case MSG_DRAIN:
        drain(api);
        free(msg);
        break;
    case MSG_STOP:
        stop(api);
        free(msg);
        break;
    default:
        CHECK(!"a message for the api");
    }
}

struct api *api_new(const struct api_options *options)
{
    struct api *api = xcalloc(1, sizeof *api);
    api->options = *options;
    config_ref(options->config);
    api->answer_ms = API_ANSWER_MS;
    list_init(&api->connections);
    list_init(&api->posts);
    list_init(&api->visitors);
    list_init(&api->drain_tick.link);
    CHECK(uv_loop_init(&api->loop) == 0);
    wheel_init(&api->wheel, &api->loop);
    mailbox_open(&api->box, &api->loop, on_msg, api);
    struct queue_options queue = {.full_timeout_ms =
                                      (uint64_t)options->config->queue.full_timeout * 1000,
                                  .affinity_any = options->config->queue.affinity_any};
    api->queue = queue_new(&api->loop, options->gates, &queue);
    api->callers = slots_new(0);
    api->access = access_new(&api->loop, door_on_checked, api);
    access_configure(api->access, options->config);
    open_lws(api);
    return api;
}

struct mailbox *api_box(struct api *api)
{
    return &api->box;
}

/* Nobody posts any more. libwebsockets closes its handles in the loop and is freed by the second
 * call. */
static void tear_down(struct api *api)
{
    stop_listening(api);
    access_stop(api->access);
    lws_context_destroy(api->lws);
    mailbox_close(&api->box);
    uint32_t lost = queue_free(api->queue);
    if (lost > 0)
        log_warn("api", "%u entries were never handed to a consumer", lost);
    wheel_fini(&api->wheel);
    uv_run(&api->loop, UV_RUN_DEFAULT);
    if (api->lws)
        lws_context_destroy(api->lws);
    slots_free(api->callers);
    access_free(api->access);
    CHECK(uv_loop_close(&api->loop) == 0);
    api->torn_down = true;
}

static void run(void *data)
{
    struct api *api = data;
    uv_run(&api->loop, UV_RUN_DEFAULT);
    tear_down(api);
}

void api_run(struct api *api, struct mesh *mesh)
{
    api->mesh = mesh;
    CHECK(uv_thread_create(&api->thread, run, api) == 0);
}

void api_join(struct api *api)
{
    CHECK(uv_thread_join(&api->thread) == 0);
}

void api_free(struct api *api)
{
    if (!api->torn_down)
        tear_down(api);
    intake_free_all(api);
    config_unref(api->options.config);
    free(api);
}
