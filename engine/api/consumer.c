#include "api/consumer.h"
#include "api/caller.h"
#include "api/request_scan.h"
#include "api/socket.h"
#include "api/window.h"
#include "base/address.h"
#include "base/check.h"
#include "base/log.h"
#include "msg/client_id.h"
#include "proto/ws.h"
#include <stdlib.h>
#include <string.h>

enum {
    /* A consumer may have asked so much and not be answered yet, whoever is short of memory. */
    SPARED_BYTES = 256 << 10,
    BATCH_STEP = 16 << 10,
    /* A loop that was held up meets its timers first: before a consumer is dropped the loop reads
     * what has come from it meanwhile. */
    LAST_LOOK_MS = 100,
};

/* What the events of one topic look like to this connection. */
struct subscription {
    struct gate *gate;
    struct buf head, middle;
};

struct consumer {
    struct api *api;
    struct lws *wsi;
    struct list link;
    struct caller caller; /* owed its replies */
    enum envelope_spelling spelling;
    struct buf frame; /* a message whose end has not come */
    struct buf out;   /* frames on their way */
    struct queue_consumer *queue;
    struct subscription *subscriptions;
    size_t subscription_count;
    bool ready;  /* the queue has something */
    bool asked;  /* for the writable callback */
    bool paused; /* not read */
    bool silent; /* nothing may be sent any more */
    bool late;   /* its time was over at the last look */
    struct window window;
    uint64_t events; /* that were sent */
    struct timeout stall;
    uint64_t taken, taken_ms; /* what the peer had taken when that last changed, for `stall` */
};

/* ---- when to write ---- */

static int fd_of(const struct consumer *c)
{
    return lws_get_socket_fd(c->wsi);
}

/* Changes whenever the peer has taken something: bytes into its kernel, or events into its program.
 */
static uint64_t taken(const struct consumer *c)
{
    return socket_taken(fd_of(c)) + c->window.heard;
}

static uint64_t patience_ms(const struct consumer *c)
{
    const struct config *config = c->api->options.config;
    return 1000 *
           (uint64_t)(c->ready ? config->queue.stall_timeout : config->engine_api.write_timeout);
}

static void on_stall(struct timeout *timeout);

static void look_again(struct consumer *c)
{
    if (patience_ms(c) > 0)
        wheel_set(&c->api->wheel, &c->stall, patience_ms(c) / 4, on_stall);
}

/* From now on something waits for the peer to take what it was sent. */
static void watch(struct consumer *c)
{
    c->taken = taken(c);
    c->taken_ms = uv_now(&c->api->loop);
    c->late = false;
    look_again(c);
}

static void want_write(struct consumer *c)
{
    if (c->asked || c->silent)
        return;
    c->asked = true;
    lws_callback_on_writable(c->wsi);
    watch(c);
}

static void on_ready(void *data)
{
    struct consumer *c = data;
    bool first = !c->ready;
    c->ready = true;
    if (first && c->asked)
        watch(c);
    want_write(c);
}

static void drop_subscriptions(struct consumer *c)
{
    for (size_t i = 0; i < c->subscription_count; i++) {
        buf_free(&c->subscriptions[i].head);
        buf_free(&c->subscriptions[i].middle);
    }
    free(c->subscriptions);
    c->subscriptions = NULL;
    c->subscription_count = 0;
    c->ready = false;
}

/* What the queue has not handed over goes to the others. */
static void fall_silent(struct consumer *c)
{
    c->silent = true;
    wheel_clear(&c->api->wheel, &c->stall);
    caller_hush(&c->caller);
    drop_subscriptions(c);
    if (c->queue)
        queue_consumer_free(c->queue);
    c->queue = NULL;
}

static void peer_name(const struct consumer *c, char text[ADDRESS_TEXT])
{
    struct sockaddr_storage address = socket_peer(fd_of(c));
    address_text(&address, text);
}

static void drop(struct consumer *c, const char *why)
{
    char peer[ADDRESS_TEXT];
    peer_name(c, peer);
    log_warn("api", "consumer %s %s: dropped", peer, why);
    fall_silent(c);
    /* With a reset, not a farewell: the kernel would keep offering what is in its buffer. */
    socket_abort(fd_of(c));
    lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
}

/* Slow is not dead: whoever takes something has all the time again. */
static void on_stall(struct timeout *timeout)
{
    struct consumer *c = container_of(timeout, struct consumer, stall);
    bool late = uv_now(&c->api->loop) - c->taken_ms >= patience_ms(c), was_late = c->late;
    c->late = late;
    if (taken(c) != c->taken)
        watch(c);
    else if (!late)
        look_again(c);
    else if (was_late)
        drop(c, "takes nothing");
    else
        wheel_set(&c->api->wheel, timeout, LAST_LOOK_MS, on_stall);
}

/* ---- replies ---- */

static void pause_or_resume(struct consumer *c)
{
    const struct pending *owed = &c->caller.owed;
    bool full = owed->count >= CONSUMER_PENDING_MAX || owed->size >= CONSUMER_PENDING_BYTES;
    bool half = owed->count <= CONSUMER_PENDING_MAX / 2 && owed->size <= CONSUMER_PENDING_BYTES / 2;
    if (c->paused ? !half : !full)
        return;
    c->paused = !c->paused;
    lws_rx_flow_control(c->wsi, c->paused ? 0 : 1);
}

static void on_known(struct caller *caller)
{
    want_write(container_of(caller, struct consumer, caller));
}

/* ---- requests ---- */

/* Fails the reply when one of the topics cannot be consumed: then none is. */
static bool check_topics(struct consumer *c, const struct blob *topics, struct reply *reply)
{
    const char *name;
    size_t len, at = 0;
    while (strings_next(topics, &at, &name, &len)) {
        if (queue_consumes(c->queue, name, len)) {
            reply_fail(reply, ENVELOPE_CONSUMED, "a topic is consumed already");
            return false;
        }
        if (!gates_get(c->api->options.gates, name, len)) {
            reply_fail(reply, ENVELOPE_NO_CONSUME, "too many topics: see queue.maxTopics");
            return false;
        }
    }
    return true;
}

static void subscribe(struct consumer *c, const struct request *request, const char *name,
                      size_t len)
{
    size_t n = c->subscription_count;
    c->subscriptions = xrealloc(c->subscriptions, (n + 1) * sizeof *c->subscriptions);
    struct subscription *s = &c->subscriptions[n];
    *s = (struct subscription){.gate = gates_get(c->api->options.gates, name, len)};
    envelope_event(&s->head, &s->middle, request->spelling, request->event, mesh_node(c->api->mesh),
                   name, len);
    c->subscription_count++;
}

static void do_consume(struct consumer *c, struct request *request, struct reply *reply)
{
    if (!c->queue)
        c->queue = queue_consumer_new(c->api->queue, on_ready, c);
    if (!check_topics(c, request->topics, reply))
        return;
    const char *name;
    size_t len, at = 0;
    char peer[ADDRESS_TEXT];
    peer_name(c, peer);
    while (strings_next(request->topics, &at, &name, &len)) {
        /* A topic may be named twice in one request. */
        if (queue_consume(c->queue, name, len) != 0)
            continue;
        subscribe(c, request, name, len);
        log_info("api", "consumer %s takes %.*s", peer, (int)len, name);
    }
}

static void do_unconsume(struct consumer *c, struct reply *reply)
{
    if (!c->queue || queue_unconsume(c->queue) == 0)
        reply_fail(reply, ENVELOPE_NOT_CONSUMED, "nothing is consumed");
    drop_subscriptions(c);
}

static void do_request(struct consumer *c, struct request *request, size_t size)
{
    uint64_t number;
    if (request->kind == REQUEST_CONSUME)
        do_consume(c, request, caller_owe(&c->caller, request, size, &number));
    else if (request->kind == REQUEST_UNCONSUME)
        do_unconsume(c, caller_owe(&c->caller, request, size, &number));
    else
        caller_take(&c->caller, request, size);
}

static void on_message(struct consumer *c, const char *text, size_t len)
{
    struct request request;
    if (lws_frame_is_binary(c->wsi))
        request_refuse(&request, c->spelling, "a binary frame: requests are text");
    else if (!request_scan(&request, text, len))
        request_parse(&request, text, len, c->spelling);
    c->spelling = request.spelling;
    do_request(c, &request, len);
    request_fini(&request);
    want_write(c);
    pause_or_resume(c);
}

int consumer_on_receive(struct consumer *c, const void *data, size_t len)
{
    if (c->silent)
        return 0;
    bool whole = lws_is_final_fragment(c->wsi);
    if (c->frame.len + len + lws_remaining_packet_payload(c->wsi) > CONSUMER_MESSAGE_MAX) {
        static unsigned char why[] = "message too big";
        lws_close_reason(c->wsi, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, why, sizeof why - 1);
        return -1;
    }
    if (whole && c->frame.len == 0) {
        on_message(c, data, len);
        return 0;
    }
    buf_append(&c->frame, data, len);
    if (whole) {
        on_message(c, c->frame.data, c->frame.len);
        buf_free(&c->frame);
    }
    return 0;
}

/* ---- writing ---- */

/* False: there is none that could go out now. */
static bool add_reply(struct consumer *c)
{
    struct reply *reply = pending_front(&c->caller.owed);
    if (!reply || reply->outstanding > 0)
        return false;
    size_t begun = ws_frame_begin(&c->out);
    reply_write(reply, &c->out);
    ws_frame_end(&c->out, begun, WS_OP_TEXT, NULL);
    caller_drop_front(&c->caller);
    return true;
}

static const struct subscription *subscription_of(const struct consumer *c, const struct gate *gate)
{
    for (size_t i = 0; i < c->subscription_count; i++)
        if (c->subscriptions[i].gate == gate)
            return &c->subscriptions[i];
    return NULL;
}

static void add_ping(struct consumer *c)
{
    char data[WINDOW_PING + 1];
    ws_encode(&c->out, WS_OP_PING, data, window_ping(&c->window, data));
}

static void append_event(struct consumer *c, const struct entry *entry)
{
    const struct subscription *s = subscription_of(c, entry->gate);
    CHECK(s != NULL);
    char client[CLIENT_ID_TEXT];
    size_t client_len = (size_t)client_id_format(entry->client, client);
    buf_append(&c->out, s->head.data, s->head.len);
    buf_append(&c->out, client, client_len);
    buf_append(&c->out, s->middle.data, s->middle.len);
    buf_append(&c->out, entry->json, entry->len);
    buf_append_str(&c->out, ENVELOPE_EVENT_TAIL);
}

/* False: there is none, or it has not read enough of those before. */
static bool add_event(struct consumer *c)
{
    if (window_is_full(&c->window))
        return false;
    struct entry *entry = c->ready ? queue_take(c->queue) : NULL;
    if (!entry) {
        c->ready = false;
        return false;
    }
    size_t begun = ws_frame_begin(&c->out);
    append_event(c, entry);
    free(entry);
    c->window.sent += ws_frame_payload(&c->out, begun);
    c->events++;
    ws_frame_end(&c->out, begun, WS_OP_TEXT, NULL);
    if (window_wants_ping(&c->window))
        add_ping(c);
    return true;
}

/* Replies first, then events; an entry is not taken before its turn to be written. */
static void fill(struct consumer *c)
{
    c->out.len = 0;
    while (c->out.len < BATCH_STEP && (add_reply(c) || add_event(c)))
        ;
}

/* While the socket takes them. One that is writable at all has room for a third of its buffer, so
 * it is asked once for every BATCH_STEP bytes, which leave in one piece; what it does not take of
 * them libwebsockets keeps, and counts it as choked. Returns -1 when the connection is broken. */
static int write_batch(struct consumer *c)
{
    for (size_t bytes = 0; bytes < CONSUMER_BATCH_BYTES; bytes += c->out.len) {
        if (lws_send_pipe_choked(c->wsi))
            return 0;
        fill(c);
        if (c->out.len == 0)
            return 0;
        if (lws_write(c->wsi, (unsigned char *)c->out.data, c->out.len, LWS_WRITE_RAW) < 0)
            return -1;
    }
    return 0;
}

static bool has_more(const struct consumer *c)
{
    const struct reply *reply = pending_front(&c->caller.owed);
    return (c->ready && !window_is_full(&c->window)) || (reply && reply->outstanding == 0);
}

int consumer_on_writable(struct consumer *c)
{
    c->asked = false;
    if (c->silent)
        return 0;
    if (!has_more(c))
        return 0;
    wheel_clear(&c->api->wheel, &c->stall);
    int status = write_batch(c);
    if (c->out.cap > CONSUMER_BATCH_BYTES)
        buf_free(&c->out);
    if (status < 0)
        return -1;
    pause_or_resume(c);
    if (has_more(c))
        want_write(c);
    else if (c->ready)
        watch(c);
    return 0;
}

void consumer_on_pong(struct consumer *c, const void *data, size_t len)
{
    window_pong(&c->window, data, len);
    if (c->ready)
        want_write(c);
}

/* ---- from open to closed ---- */

int consumer_open(struct api *api, struct lws *wsi, struct consumer **out)
{
    struct consumer *c = xcalloc(1, sizeof *c);
    if (caller_init(&c->caller, api, on_known) != 0) {
        free(c);
        return -1;
    }
    c->api = api;
    c->wsi = wsi;
    list_push_back(&api->connections, &c->link);
    socket_set_buffer(fd_of(c), CONSUMER_SOCKET_BUFFER);
    *out = c;
    return 0;
}

static void on_linger_over(struct timeout *timeout)
{
    struct consumer *c = container_of(timeout, struct consumer, stall);
    lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
}

void consumer_on_closing(struct consumer *c)
{
    if (!c)
        return;
    fall_silent(c);
    wheel_set(&c->api->wheel, &c->stall, CONSUMER_LINGER_MS, on_linger_over);
}

void consumer_free(struct consumer *c)
{
    if (!c)
        return;
    fall_silent(c);
    caller_fini(&c->caller);
    list_remove(&c->link);
    buf_free(&c->frame);
    buf_free(&c->out);
    free(c);
}

/* Not from the writable callback, by its return value: a debug build of libwebsockets, which
 * Debian's is, closes twice there, and the second time without waiting for the close frame of the
 * first. */
void consumers_close(struct api *api)
{
    list_for_each(node, &api->connections)
    {
        struct consumer *c = list_entry(node, struct consumer, link);
        if (c->silent)
            continue;
        lws_close_reason(c->wsi, LWS_CLOSE_STATUS_GOINGAWAY, NULL, 0);
        lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
    }
}

void consumers_give_up(struct api *api)
{
    list_for_each(node, &api->connections)
    {
        struct consumer *c = list_entry(node, struct consumer, link);
        if (!c->silent)
            caller_give_up(&c->caller);
    }
}

/* What it has asked. What it is sent is no fault of its own: it empties the queues. */
static uint64_t weight_of(const struct consumer *c)
{
    const struct pending *owed = &c->caller.owed;
    return c->frame.cap + owed->size + owed->cap * sizeof *owed->ring;
}

void consumers_weigh(const struct api *api, struct weighing *weighing)
{
    list_for_each(node, &api->connections)
    {
        const struct consumer *c = list_entry(node, struct consumer, link);
        if (!c->silent && weight_of(c) > SPARED_BYTES)
            weighing_add(weighing, c->caller.id, weight_of(c));
    }
}

void consumers_shed(struct api *api, uint64_t id)
{
    list_for_each(node, &api->connections)
    {
        struct consumer *c = list_entry(node, struct consumer, link);
        if (c->caller.id == id && !c->silent) {
            drop(c, "holds the most memory, and the engine is at its memoryLimit");
            return;
        }
    }
}

bool consumers_idle(const struct api *api)
{
    list_for_each(node, &api->connections)
    {
        const struct consumer *c = list_entry(node, struct consumer, link);
        if (!c->silent && (c->ready || c->caller.owed.count > 0 || lws_partial_buffered(c->wsi)))
            return false;
    }
    return true;
}

uint32_t consumers_count(const struct api *api)
{
    uint32_t count = 0;
    list_for_each(node, &api->connections) count++;
    return count;
}

uint32_t consumers_consuming(const struct api *api)
{
    uint32_t count = 0;
    list_for_each(node, &api->connections) count +=
        list_entry(node, struct consumer, link)->subscription_count > 0;
    return count;
}

void consumers_each(const struct api *api,
                    void (*visit)(const struct consumer_stats *stats, void *data), void *data)
{
    list_for_each(node, &api->connections)
    {
        const struct consumer *c = list_entry(node, struct consumer, link);
        char peer[ADDRESS_TEXT];
        if (c->subscription_count == 0)
            continue;
        peer_name(c, peer);
        visit(&(struct consumer_stats){.number = c->caller.id,
                                       .peer = peer,
                                       .events = c->events,
                                       .unread_bytes = c->window.sent - c->window.heard,
                                       .owed = c->caller.owed.count},
              data);
    }
}
