#include "consumer/mix_consumer.h"
#include "base/check.h"
#include "base/mem.h"
#include "consumer/dial.h"
#include "consumer/discovery.h"
#include "consumer/mix_node.h"
#include "consumer/private.h"
#include "consumer/trust.h"
#include "proto/utf8.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TIMEOUT_MS = 10000,
    BACKLOG = 16 << 20,
    TOPIC_MAX = 255,
    TOPICS_MAX = 1000,
    FLUSH_MS = 1000,   /* for what waits to be sent */
    CLOSING_MS = 1000, /* for close frames and their answers */
    /* libuv closes a handle at the end of the turn in which that was asked for; libwebsockets asks
     * for its last ones when those of its connections are closed. */
    DESTROYING_TURNS = 3,
    LONGEST_PAUSE_MS = 30000,
    NOTICE_MAX = 512,
    READ_CHUNK = 16 << 10,
    SERVICE_BUFFER = 64 << 10,
    WRITE_CHUNK = 8 << 20, /* a frame goes to the kernel in one piece */
    CONNECT_S = 2,         /* of the 5 s that there are, so that a second address has its turn */
    HANDSHAKE_S = 5,
};

const lws_retry_bo_t consumer_no_idle_policy;

/* ---- small services ---- */

uint64_t consumer_random(uint64_t limit)
{
    uint64_t number = 0;
    uv_random(NULL, NULL, &number, sizeof number, 0, NULL);
    return limit ? number % limit : 0;
}

void consumer_mask(struct mix_consumer *consumer, uint8_t mask[4])
{
    if (consumer->masks_left == 0) {
        CHECK(uv_random(NULL, NULL, consumer->masks, sizeof consumer->masks, 0, NULL) == 0);
        consumer->masks_left = MASKS;
    }
    memcpy(mask, consumer->masks[--consumer->masks_left], sizeof consumer->masks[0]);
}

uint64_t consumer_jitter(uint64_t ms)
{
    return ms + consumer_random(ms / 4 + 1);
}

uint64_t consumer_longer(uint64_t pause_ms)
{
    uint64_t longer = pause_ms ? pause_ms * 2 : 1000;
    return longer < LONGEST_PAUSE_MS ? longer : LONGEST_PAUSE_MS;
}

uint64_t consumer_reply_due(const struct mix_consumer *consumer)
{
    uv_update_time(consumer->loop); /* the handler that gives it may have worked for long */
    return uv_now(consumer->loop) + consumer->options.timeout_ms;
}

void consumer_notify(struct mix_consumer *consumer, struct mix_node *node,
                     enum mix_notice_kind kind, const char *format, ...)
{
    char text[NOTICE_MAX];
    va_list args;
    if (!consumer->options.on_notice)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct mix_notice notice = {.kind = kind, .text = text};
    consumer->options.on_notice(node, &notice, consumer->options.data);
}

int consumer_authorize(const struct mix_consumer *consumer, void *in, size_t len)
{
    char **at = in;
    if (!consumer->authorization)
        return 0;
    int written = snprintf(*at, len, "Authorization: %s\r\n", consumer->authorization);
    if (written < 0 || (size_t)written >= len)
        return -1;
    *at += written;
    return 0;
}

/* ---- nodes ---- */

static bool is_node(const struct mix_node *node, const char *id, const char *address)
{
    return node->state != NODE_LEAVING && node->state != NODE_GONE &&
           strcmp(mix_node_id(node), id) == 0 && strcmp(mix_node_address(node), address) == 0;
}

void consumer_have_node(struct mix_consumer *consumer, const char *id, const char *address,
                        uint64_t round)
{
    list_for_each(link, &consumer->nodes)
    {
        struct mix_node *node = list_entry(link, struct mix_node, link);
        if (!is_node(node, id, address))
            continue;
        node->round = round;
        return;
    }
    node_new(consumer, id, address, round);
}

void consumer_drop_others(struct mix_consumer *consumer, uint64_t round)
{
    list_for_each(link, &consumer->nodes)
    {
        struct mix_node *node = list_entry(link, struct mix_node, link);
        if (node->round != round)
            node_leave(node, "the center does not list it any more");
    }
}

struct mix_node *mix_consumer_node(struct mix_consumer *consumer)
{
    list_for_each(link, &consumer->nodes)
    {
        struct mix_node *node = list_entry(link, struct mix_node, link);
        if (node->connected && node->state == NODE_OPEN && consumer->state == CONSUMER_OPEN)
            return node;
    }
    return NULL;
}

static void remove_gone(struct mix_consumer *consumer, bool all)
{
    list_for_each(link, &consumer->nodes)
    {
        struct mix_node *node = list_entry(link, struct mix_node, link);
        if (all || node->state == NODE_GONE)
            node_remove(node);
    }
}

static uint64_t work_nodes(struct mix_consumer *consumer, uint64_t now_ms)
{
    uint64_t due_ms = UINT64_MAX;
    list_for_each(link, &consumer->nodes)
    {
        uint64_t due = node_work(list_entry(link, struct mix_node, link), now_ms);
        due_ms = due < due_ms ? due : due_ms;
    }
    return due_ms;
}

/* ---- the end ---- */

static void free_options(struct mix_consumer_options *options)
{
    char **topics = (char **)options->topics;
    for (size_t i = 0; topics && topics[i]; i++)
        free(topics[i]);
    free(topics);
    free((char *)options->center);
    free((char *)options->user);
    free((char *)options->password);
    free((char *)options->ca);
    free((char *)options->cert);
    free((char *)options->key);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct mix_consumer *consumer = handle->data;
    if (--consumer->handles > 0)
        return;
    if (consumer->on_closed)
        consumer->on_closed(consumer->on_closed_data);
    free_options(&consumer->options);
    free(consumer->authorization);
    trust_free(consumer->trust);
    free(consumer);
}

static void close_handles(struct mix_consumer *consumer)
{
    consumer->state = CONSUMER_CLOSED;
    uv_close((uv_handle_t *)&consumer->turn, on_handle_closed);
    uv_close((uv_handle_t *)&consumer->hurry, on_handle_closed);
    uv_close((uv_handle_t *)&consumer->timer, on_handle_closed);
}

static bool all_flushed(struct mix_consumer *consumer)
{
    list_for_each(link, &consumer->nodes)
    {
        if (!node_flushed(list_entry(link, struct mix_node, link)))
            return false;
    }
    return true;
}

static void take_leave(struct mix_consumer *consumer, uint64_t now_ms)
{
    consumer->state = CONSUMER_CLOSING;
    consumer->close_due_ms = now_ms + CLOSING_MS;
    list_for_each(link, &consumer->nodes)
    {
        node_leave(list_entry(link, struct mix_node, link), NULL);
    }
}

static void destroy(struct mix_consumer *consumer)
{
    consumer->state = CONSUMER_DESTROYING;
    consumer->turns_left = DESTROYING_TURNS;
    lws_context_destroy(consumer->lws);
    remove_gone(consumer, true);
}

/* One step a turn; returns when the next one is due. */
static uint64_t work_on_close(struct mix_consumer *consumer, uint64_t now_ms)
{
    bool over = now_ms >= consumer->close_due_ms;
    if (consumer->discovery)
        discovery_free(consumer->discovery);
    consumer->discovery = NULL;
    if (consumer->state == CONSUMER_FLUSHING && (over || all_flushed(consumer))) {
        take_leave(consumer, now_ms);
    } else if (consumer->state == CONSUMER_CLOSING && (over || list_empty(&consumer->nodes))) {
        destroy(consumer);
    } else if (consumer->state == CONSUMER_DESTROYING && --consumer->turns_left == 0) {
        lws_context_destroy(consumer->lws);
        close_handles(consumer);
        return UINT64_MAX;
    }
    return consumer->state == CONSUMER_DESTROYING ? 0 : consumer->close_due_ms;
}

void mix_consumer_close(struct mix_consumer *consumer, void (*on_closed)(void *data), void *data)
{
    if (consumer->state != CONSUMER_OPEN)
        return;
    consumer->on_closed = on_closed;
    consumer->on_closed_data = data;
    consumer->state = CONSUMER_FLUSHING;
    uv_update_time(consumer->loop); /* the callback that we are in may have taken long */
    consumer->close_due_ms = uv_now(consumer->loop) + FLUSH_MS;
    consumer_wake(consumer);
}

void mix_consumer_retire(struct mix_consumer *consumer, void (*on_retired)(void *data), void *data)
{
    if (consumer->retiring || consumer->state != CONSUMER_OPEN)
        return;
    consumer->retiring = true;
    consumer->paused = false;
    consumer->on_retired = on_retired;
    consumer->on_retired_data = data;
    consumer_wake(consumer);
}

static void tell_retired(struct mix_consumer *consumer)
{
    void (*on_retired)(void *data) = consumer->on_retired;
    list_for_each(link, &consumer->nodes)
    {
        if (!node_retired(list_entry(link, struct mix_node, link)))
            return;
    }
    consumer->on_retired = NULL;
    on_retired(consumer->on_retired_data);
}

/* ---- turns ---- */

static void work(struct mix_consumer *consumer)
{
    uint64_t now_ms = uv_now(consumer->loop), due_ms = UINT64_MAX;
    uv_check_stop(&consumer->turn);
    uv_idle_stop(&consumer->hurry);
    uv_timer_stop(&consumer->timer);
    consumer->timer_due_ms = UINT64_MAX;
    if (consumer->state == CONSUMER_OPEN)
        due_ms = discovery_work(consumer->discovery, now_ms);
    uint64_t node_due_ms = work_nodes(consumer, now_ms);
    remove_gone(consumer, false);
    if (consumer->on_retired && consumer->state == CONSUMER_OPEN)
        tell_retired(consumer);
    if (consumer->state != CONSUMER_OPEN)
        due_ms = work_on_close(consumer, now_ms);
    if (consumer->state != CONSUMER_CLOSED)
        consumer_wake_at(consumer, node_due_ms < due_ms ? node_due_ms : due_ms);
}

static void on_turn(uv_check_t *turn)
{
    work(turn->data);
}

static void on_hurry(uv_idle_t *hurry)
{
    (void)hurry;
}

static void on_timer(uv_timer_t *timer)
{
    consumer_wake(timer->data);
}

void consumer_wake(struct mix_consumer *consumer)
{
    if (consumer->state == CONSUMER_CLOSED)
        return;
    uv_check_start(&consumer->turn, on_turn);
    uv_idle_start(&consumer->hurry, on_hurry);
}

void consumer_wake_at(struct mix_consumer *consumer, uint64_t due_ms)
{
    uint64_t now_ms = uv_now(consumer->loop);
    if (due_ms <= now_ms) {
        consumer_wake(consumer);
    } else if (due_ms < consumer->timer_due_ms) {
        consumer->timer_due_ms = due_ms;
        uv_timer_start(&consumer->timer, on_timer, due_ms - now_ms, 0);
    }
}

void mix_consumer_pause(struct mix_consumer *consumer)
{
    consumer->paused = !consumer->retiring;
    consumer_wake(consumer);
}

void mix_consumer_resume(struct mix_consumer *consumer)
{
    consumer->paused = false;
    consumer_wake(consumer);
}

/* ---- libwebsockets ---- */

static int on_node(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                   size_t len)
{
    bool known = user && reason != LWS_CALLBACK_WSI_DESTROY;
    return known ? node_on_lws(user, wsi, (int)reason, in, len) : 0;
}

static int on_center(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                     size_t len)
{
    return user ? discovery_on_lws(user, wsi, (int)reason, in, len) : 0;
}

/* A WebSocket that names no subprotocol gets the first protocol. */
static void list_protocols(struct lws_protocols protocols[])
{
    protocols[0] = (struct lws_protocols){
        .name = CONSUMER_PROTOCOL_NODE,
        .callback = on_node,
        .rx_buffer_size = READ_CHUNK,
        .tx_packet_size = WRITE_CHUNK,
    };
    protocols[1] = (struct lws_protocols){
        .name = CONSUMER_PROTOCOL_CENTER,
        .callback = on_center,
        .rx_buffer_size = READ_CHUNK,
    };
}

static int open_lws(struct mix_consumer *consumer)
{
    void *loops[] = {consumer->loop};
    list_protocols(consumer->protocols);
    struct lws_context_creation_info info = {
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                   LWS_SERVER_OPTION_NO_LWS_SYSTEM_STATES |
                   (consumer->trust ? LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT : 0),
        .foreign_loops = loops,
        .port = CONTEXT_PORT_NO_LISTEN,
        .protocols = consumer->protocols,
        .vhost_name = "consumer",
        .user = consumer,
        .pt_serv_buf_size = SERVICE_BUFFER,
        .timeout_secs = HANDSHAKE_S,
        .connect_timeout_secs = CONNECT_S,
        .retry_and_idle_policy = &consumer_no_idle_policy,
        .provided_client_ssl_ctx = consumer->trust,
        .pcontext = &consumer->lws,
    };
    lws_set_log_level(0, NULL);
    consumer->lws = lws_create_context(&info);
    if (!consumer->lws)
        return -ENOMEM;
    consumer->vhost = lws_create_vhost(consumer->lws, &info);
    CHECK(consumer->vhost != NULL);
    return 0;
}

/* ---- the beginning ---- */

static bool good_topics(const struct mix_consumer_options *options)
{
    const char *const *topic = options->topics;
    for (; topic && *topic; topic++) {
        size_t len = strlen(*topic);
        if (topic - options->topics >= TOPICS_MAX || !options->on_event || len == 0 ||
            len > TOPIC_MAX || !utf8_valid(*topic, len))
            return false;
    }
    return true;
}

static char *copy_text(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

static const char *const *copy_topics(const char *const *topics)
{
    size_t count = 0;
    while (topics && topics[count])
        count++;
    char **copy = xcalloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = xstrdup(topics[i]);
    return (const char *const *)copy;
}

static void copy_options(struct mix_consumer_options *to, const struct mix_consumer_options *from)
{
    *to = *from;
    to->center = xstrdup(from->center);
    to->user = copy_text(from->user);
    to->password = copy_text(from->password);
    to->ca = copy_text(from->ca);
    to->cert = copy_text(from->cert);
    to->key = copy_text(from->key);
    to->topics = copy_topics(from->topics);
    if (to->timeout_ms == 0)
        to->timeout_ms = TIMEOUT_MS;
    if (to->backlog == 0)
        to->backlog = BACKLOG;
}

static char *basic_credentials(const struct mix_consumer_options *options)
{
    if (!options->user)
        return NULL;
    char *plain = xasprintf("%s:%s", options->user, options->password ? options->password : "");
    size_t room = strlen(plain) * 4 / 3 + 8;
    char *encoded = xmalloc(room);
    CHECK(lws_b64_encode_string(plain, (int)strlen(plain), encoded, (int)room) >= 0);
    char *value = xasprintf("Basic %s", encoded);
    free(encoded);
    free(plain);
    return value;
}

static void init_handles(struct mix_consumer *consumer)
{
    uv_check_init(consumer->loop, &consumer->turn);
    uv_idle_init(consumer->loop, &consumer->hurry);
    uv_timer_init(consumer->loop, &consumer->timer);
    consumer->turn.data = consumer->hurry.data = consumer->timer.data = consumer;
    consumer->handles = 3;
    consumer->timer_due_ms = UINT64_MAX;
}

int mix_consumer_open(struct mix_consumer **out, uv_loop_t *loop,
                      const struct mix_consumer_options *options)
{
    struct address center;
    if (!options->center || !address_parse(&center, options->center) || !good_topics(options))
        return -EINVAL;
    struct ssl_ctx_st *trust = NULL;
    if (trust_is_asked(options) && !(trust = trust_new(options)))
        return -EKEYREJECTED;
    struct mix_consumer *consumer = xcalloc(1, sizeof *consumer);
    consumer->loop = loop;
    consumer->trust = trust;
    int status = open_lws(consumer);
    if (status) {
        trust_free(trust);
        free(consumer);
        return status;
    }
    copy_options(&consumer->options, options);
    consumer->authorization = basic_credentials(options);
    list_init(&consumer->nodes);
    init_handles(consumer);
    consumer->discovery = discovery_new(consumer, options->center);
    consumer_wake(consumer);
    *out = consumer;
    return 0;
}

/* ---- on a loop of its own ---- */

struct run {
    struct mix_consumer *consumer;
    uv_signal_t signals[2];
    bool signalled;
};

static void on_run_closed(void *data)
{
    struct run *run = data;
    for (int i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&run->signals[i], NULL);
}

static void on_run_retired(void *data)
{
    struct run *run = data;
    mix_consumer_close(run->consumer, on_run_closed, run);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct run *run = handle->data;
    (void)number;
    if (run->signalled)
        mix_consumer_close(run->consumer, on_run_closed, run);
    else
        mix_consumer_retire(run->consumer, on_run_retired, run);
    run->signalled = true;
}

int mix_consumer_run(const struct mix_consumer_options *options)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    uv_loop_t loop;
    struct run run = {0};
    int status = uv_loop_init(&loop);
    if (status == 0) {
        status = mix_consumer_open(&run.consumer, &loop, options);
        for (int i = 0; status == 0 && i < 2; i++) {
            uv_signal_init(&loop, &run.signals[i]);
            run.signals[i].data = &run;
            uv_signal_start(&run.signals[i], on_signal, numbers[i]);
        }
        uv_run(&loop, UV_RUN_DEFAULT);
        CHECK(uv_loop_close(&loop) == 0);
    }
    if (status)
        fprintf(stderr, "the consumer cannot begin: %s\n", uv_strerror(status));
    return status ? 1 : 0;
}
