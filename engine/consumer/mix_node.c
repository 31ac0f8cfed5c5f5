/* A node: from its address to an open WebSocket, and again after each loss.
 *
 * Holding events. While much waits to be sent (NODE_HOLD_BYTES, NODE_HOLD_PENDING), while the user
 * has paused, and as long as there are events that came before, events go to the inbox and are
 * delivered from turns of their own, once at most half as much waits.
 *
 * Reading never stops: the answers stand behind the events, and an engine whose answers are not
 * read stops reading as well (at 1,024 commands), so both sides would wait for each other for ever.
 * Instead, while the inbox is crowded (INBOX_LARGE) the topics are given back, and the engine keeps
 * the messages. What still comes is bounded by its window (256 KiB, or one event that is larger,
 * beyond the last pong it got), as often as a pong gets through before `queue.unpop` does. An
 * engine that keeps no window is left at INBOX_MAX. */
#include "consumer/mix_node.h"
#include "base/check.h"
#include "base/mem.h"
#include "consumer/command.h"
#include "consumer/discovery.h"
#include "consumer/message_scan.h"
#include "proto/utf8.h"
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECT_MS = 5000, /* for the name, the connection and the handshake together */
    MESSAGE_MAX = 16 << 20,
    FRAME_KEEP = 64 << 10,
    INBOX_LARGE = 1 << 20,
    INBOX_MAX = 16 << 20,
    WRITE_PIECE = 64 << 10, /* leaves in one write */
    WRITE_PIECES = 8,       /* in a turn */
    DELIVER_BATCH = 64,     /* held events in a turn */
    EXCERPT_MAX = 60,       /* bytes of a bad message that a notice shows */
    KEEPALIVE_IDLE_S = 15,
    KEEPALIVE_INTERVAL_S = 5,
    KEEPALIVE_COUNT = 3,
    UNACKED_MS = 20000,
};

/* ---- state ---- */

static void set_state(struct mix_node *node, enum node_state state)
{
    static const unsigned allowed[] = {
        [NODE_WAITING] = 1u << NODE_RESOLVING | 1u << NODE_GONE,
        [NODE_RESOLVING] = 1u << NODE_CONNECTING | 1u << NODE_BROKEN | 1u << NODE_GONE,
        [NODE_CONNECTING] = 1u << NODE_OPEN | 1u << NODE_BROKEN | 1u << NODE_GONE,
        [NODE_OPEN] = 1u << NODE_BROKEN | 1u << NODE_LEAVING,
        [NODE_BROKEN] = 1u << NODE_WAITING | 1u << NODE_GONE,
        [NODE_LEAVING] = 1u << NODE_GONE,
        [NODE_GONE] = 0,
    };
    CHECK(allowed[node->state] & 1u << state);
    node->state = state;
    consumer_wake(node->consumer);
}

static void break_off(struct mix_node *node, uint16_t goodbye, const char *why)
{
    if (node->state == NODE_BROKEN)
        return;
    snprintf(node->why, sizeof node->why, "%s", why);
    node->goodbye = goodbye;
    set_state(node, NODE_BROKEN);
}

/* Nothing more is heard of the connection. With a close code it takes leave first, by itself. */
static void hang_up(struct mix_node *node, uint16_t code)
{
    struct lws *wsi = node->wsi;
    if (!wsi)
        return;
    node->wsi = NULL;
    lws_set_wsi_user(wsi, NULL);
    if (code)
        lws_close_reason(wsi, code, NULL, 0);
    lws_set_timeout(wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
}

/* ---- answers ---- */

static void call_back(struct mix_node *node, const struct awaited *awaited,
                      const struct mix_reply *reply)
{
    const struct mix_consumer_options *options = &node->consumer->options;
    if (awaited->on_reply)
        awaited->on_reply(node, reply, awaited->data);
    else if (options->on_reply)
        options->on_reply(node, reply, options->data);
}

static void fail_all(struct mix_node *node)
{
    static const struct mix_reply reply = {.status = -ECONNRESET,
                                           .message = "the connection is lost"};
    struct awaited awaited;
    while (replies_take_first(&node->replies, &awaited))
        call_back(node, &awaited, &reply);
}

static void expire(struct mix_node *node, uint64_t now_ms)
{
    static const struct mix_reply reply = {.status = -ETIMEDOUT, .message = "no answer in time"};
    struct awaited awaited;
    while (replies_due(&node->replies) <= now_ms && replies_take_first(&node->replies, &awaited))
        call_back(node, &awaited, &reply);
}

/* ---- holding and reading ---- */

bool node_is_busy(struct mix_node *node)
{
    size_t backlog = node->consumer->options.backlog;
    size_t bytes = backlog / 2 < NODE_HOLD_BYTES ? backlog / 2 : NODE_HOLD_BYTES;
    size_t share = node->busy ? 2 : 1;
    node->busy = outbox_bytes(&node->outbox) > bytes / share ||
                 replies_span(&node->replies) > NODE_HOLD_PENDING / share;
    return node->busy;
}

static bool may_deliver(struct mix_node *node)
{
    const struct mix_consumer *consumer = node->consumer;
    return (node->connected || consumer->retiring) && !consumer->paused &&
           consumer->state == CONSUMER_OPEN && !node_is_busy(node);
}

/* With a margin, as topics are not to go to and fro. */
static bool is_crowded(struct mix_node *node)
{
    node->crowded = node->inbox.bytes > INBOX_LARGE / (node->crowded ? 2 : 1);
    return node->crowded;
}

static void deliver(struct mix_node *node, const struct message *message)
{
    const struct mix_consumer_options *options = &node->consumer->options;
    if (options->on_event)
        options->on_event(node, &message->event, options->data);
}

static void deliver_held(struct mix_node *node)
{
    struct message message;
    for (int i = 0; i < DELIVER_BATCH && may_deliver(node); i++) {
        if (!inbox_pop(&node->inbox, &message))
            break;
        deliver(node, &message);
        message_fini(&message);
    }
}

static bool has_room(const struct mix_node *node)
{
    return outbox_bytes(&node->outbox) <= node->consumer->options.backlog / 2 &&
           replies_span(&node->replies) <= NODE_PENDING_MAX / 2;
}

static bool can_deliver_held(struct mix_node *node)
{
    return !inbox_empty(&node->inbox) && may_deliver(node);
}

/* Something was sent or answered. */
static void after_progress(struct mix_node *node)
{
    if (can_deliver_held(node) || (node->drain_owed && has_room(node)) ||
        node->consumer->state != CONSUMER_OPEN)
        consumer_wake(node->consumer);
}

/* ---- topics ---- */

static void tell_connected(struct mix_node *node)
{
    node->connected = true;
    node->pause_ms = 0;
    consumer_notify(node->consumer, node, MIX_CONNECTED, "connected");
    consumer_wake(node->consumer);
}

static void refuse_topics(struct mix_node *node, const char *method, const struct mix_reply *reply)
{
    char why[DIAL_WHY_MAX];
    snprintf(why, sizeof why, "%s failed: %d %s", method, reply->code, reply->message);
    break_off(node, LWS_CLOSE_STATUS_NORMAL, why);
}

static void on_topics_consumed(struct mix_node *node, const struct mix_reply *reply, void *data)
{
    (void)data;
    if (node->state != NODE_OPEN)
        return;
    if (reply->status) {
        refuse_topics(node, "queue.pop", reply);
        return;
    }
    node->topics = TOPICS_CONSUMED;
    if (!node->connected)
        tell_connected(node);
    consumer_wake(node->consumer);
}

/* A refusal means that nothing was consumed, which is what was wanted. */
static void on_topics_given_back(struct mix_node *node, const struct mix_reply *reply, void *data)
{
    (void)data;
    if (node->state != NODE_OPEN)
        return;
    node->topics = TOPICS_NONE;
    if (reply->status == -ETIMEDOUT)
        refuse_topics(node, "queue.unpop", reply);
    consumer_wake(node->consumer);
}

static void ask(struct mix_node *node, enum node_topics topics)
{
    struct mix_consumer *consumer = node->consumer;
    struct buf *out = outbox_begin(&node->outbox);
    uint64_t due_ms = consumer_reply_due(consumer);
    mix_reply_fn on_reply = on_topics_consumed;
    if (topics == TOPICS_ASKED) {
        CHECK(command_consume(out, node->replies.next, consumer->options.topics) == 0);
    } else {
        CHECK(command_unconsume(out, node->replies.next) == 0);
        on_reply = on_topics_given_back;
    }
    node_send(node, on_reply, NULL, due_ms);
    node->topics = topics;
}

/* Whatever was paused and resumed meanwhile: in the end the engine does what is wanted last. */
static void reconcile_topics(struct mix_node *node)
{
    const struct mix_consumer *consumer = node->consumer;
    bool wanted = consumer->options.topics[0] && !consumer->paused && !consumer->retiring &&
                  !is_crowded(node);
    if (node->topics == TOPICS_NONE && wanted)
        ask(node, TOPICS_ASKED);
    else if (node->topics == TOPICS_CONSUMED && !wanted)
        ask(node, TOPICS_GIVEN_BACK);
    else if (node->topics == TOPICS_NONE && !node->connected)
        tell_connected(node); /* wants none, now */
}

/* ---- what the engine sends ---- */

static void tell_bad(struct mix_node *node, const char *why, const char *text, size_t len)
{
    char excerpt[EXCERPT_MAX + 1];
    size_t shown = utf8_prefix(text, len < EXCERPT_MAX ? len : EXCERPT_MAX);
    for (size_t i = 0; i < shown; i++)
        excerpt[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i];
    excerpt[shown] = '\0';
    consumer_notify(node->consumer, node, MIX_PROTOCOL, "%s: %s%s", why, excerpt,
                    shown < len ? "…" : "");
}

static void take_event(struct mix_node *node, struct message *message, size_t frame_len)
{
    if (inbox_empty(&node->inbox) && may_deliver(node)) {
        deliver(node, message);
        return;
    }
    inbox_push(&node->inbox, message, frame_len);
    if (node->inbox.bytes > INBOX_MAX)
        break_off(node, LWS_CLOSE_STATUS_POLICY_VIOLATION, "too many events ahead of their pongs");
    if (is_crowded(node) && node->topics == TOPICS_CONSUMED)
        consumer_wake(node->consumer);
}

static void take_reply(struct mix_node *node, const struct message *message, const char *text,
                       size_t len)
{
    struct awaited awaited;
    if (!replies_take(&node->replies, message->id, &awaited)) {
        tell_bad(node, "an answer to no command that waits", text, len);
        return;
    }
    call_back(node, &awaited, &message->reply);
    after_progress(node);
}

static void on_message(struct mix_node *node, const char *text, size_t len)
{
    struct message message;
    if (!message_scan(&message, text, len, node->consumer->options.topics))
        message_parse(&message, text, len);
    if (message.kind == MESSAGE_EVENT)
        take_event(node, &message, len);
    else if (message.kind == MESSAGE_REPLY)
        take_reply(node, &message, text, len);
    else
        tell_bad(node, message.why, text, len);
    message_fini(&message);
}

static void on_receive(struct mix_node *node, const void *data, size_t len)
{
    bool whole = lws_is_final_fragment(node->wsi);
    struct buf *frame = &node->frame;
    if (frame->len + len + lws_remaining_packet_payload(node->wsi) > MESSAGE_MAX) {
        break_off(node, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, "a message longer than 16 MiB");
        return;
    }
    if (whole && frame->len == 0) {
        on_message(node, data, len);
        return;
    }
    buf_append(frame, data, len);
    if (!whole)
        return;
    on_message(node, frame->data, frame->len);
    frame->len = 0;
    if (frame->cap > FRAME_KEEP)
        buf_free(frame);
}

/* ---- what is sent ---- */

static void want_write(struct mix_node *node)
{
    if (node->asked)
        return;
    node->asked = true;
    lws_callback_on_writable(node->wsi);
}

void node_send(struct mix_node *node, mix_reply_fn on_reply, void *data, uint64_t due_ms)
{
    uint8_t mask[4];
    consumer_mask(node->consumer, mask);
    outbox_end(&node->outbox, mask);
    replies_add(&node->replies, on_reply, data, due_ms);
    consumer_wake_at(node->consumer, replies_due(&node->replies));
    want_write(node);
}

static void set_option(struct lws *wsi, int level, int option, int value)
{
    (void)!setsockopt(lws_get_socket_fd(wsi), level, option, &value, sizeof value);
}

/* The frames are complete, so they go past libwebsockets' own framing, which costs three system
 * calls each. It keeps what the socket does not take, and is choked until that has left. */
static bool write_batch(struct mix_node *node)
{
    for (int i = 0; i < WRITE_PIECES && !lws_send_pipe_choked(node->wsi); i++) {
        size_t len;
        char *frames = outbox_front(&node->outbox, WRITE_PIECE, &len);
        if (!frames)
            break;
        if (lws_write(node->wsi, (unsigned char *)frames, len, LWS_WRITE_RAW) < 0)
            return false;
        outbox_drop_front(&node->outbox, len);
    }
    return true;
}

static void on_writable(struct mix_node *node)
{
    node->asked = false;
    bool written = write_batch(node);
    if (!written) {
        break_off(node, 0, "the connection cannot be written to");
        return;
    }
    if (outbox_bytes(&node->outbox) > 0)
        want_write(node);
    after_progress(node);
}

/* ---- the connection ---- */

/* A peer that has vanished is found out while we wait (keep-alive) and while we send. */
static void on_open(struct mix_node *node)
{
    set_option(node->wsi, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(node->wsi, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(node->wsi, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_option(node->wsi, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_option(node->wsi, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
    set_option(node->wsi, IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKED_MS);
    snprintf(node->why, sizeof node->why, "the connection broke");
    node->asked = node->busy = false;
    set_state(node, NODE_OPEN);
}

static void on_connect_failed(struct mix_node *node, struct lws *wsi, const char *why, size_t len)
{
    dial_explain(&node->dial, wsi, why, len, node->why);
    lws_set_wsi_user(wsi, NULL);
    node->wsi = NULL;
    consumer_wake(node->consumer);
}

static void on_peer_closes(struct mix_node *node, const unsigned char *in, size_t len)
{
    if (node->state == NODE_OPEN && len >= 2)
        snprintf(node->why, sizeof node->why, "closed by the engine with %d", in[0] << 8 | in[1]);
}

static void on_closed(struct mix_node *node, struct lws *wsi)
{
    lws_set_wsi_user(wsi, NULL);
    node->wsi = NULL;
    if (node->state == NODE_LEAVING)
        set_state(node, NODE_GONE);
    else if (node->state == NODE_OPEN)
        set_state(node, NODE_BROKEN);
}

int node_on_lws(struct mix_node *node, struct lws *wsi, int reason, void *in, size_t len)
{
    switch (reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
        return dial_greet(&node->dial, wsi, in, len, node->why);
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        on_connect_failed(node, wsi, in, len);
        break;
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        on_open(node);
        break;
    case LWS_CALLBACK_CLIENT_RECEIVE:
        if (node->state == NODE_OPEN)
            on_receive(node, in, len);
        break;
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        if (node->state == NODE_OPEN)
            on_writable(node);
        break;
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        on_peer_closes(node, in, len);
        break;
    case LWS_CALLBACK_CLIENT_CLOSED:
        on_closed(node, wsi);
        break;
    }
    return 0;
}

/* ---- a turn ---- */

static void begin(struct mix_node *node, uint64_t now_ms)
{
    node->due_ms = now_ms + CONNECT_MS;
    set_state(node, NODE_RESOLVING);
    dial_start(&node->dial);
}

static void connect_next(struct mix_node *node)
{
    snprintf(node->why, sizeof node->why, "cannot connect");
    node->wsi = dial_connect(&node->dial, CONSUMER_PROTOCOL_NODE, NULL, "/ws/v1", node);
    if (!node->wsi)
        consumer_wake(node->consumer);
}

static void after_resolving(struct mix_node *node)
{
    if (!dial_has_next(&node->dial)) {
        break_off(node, 0, uv_strerror(node->dial.error));
        return;
    }
    set_state(node, NODE_CONNECTING);
    connect_next(node);
}

static void dial_on(struct mix_node *node, uint64_t now_ms)
{
    if (now_ms >= node->due_ms)
        break_off(node, 0, "not connected within 5 s");
    else if (node->state == NODE_RESOLVING && !dial_busy(&node->dial))
        after_resolving(node);
    else if (node->state == NODE_CONNECTING && !node->wsi && dial_has_next(&node->dial))
        connect_next(node);
    else if (node->state == NODE_CONNECTING && !node->wsi)
        set_state(node, NODE_BROKEN);
}

static void serve(struct mix_node *node, uint64_t now_ms)
{
    expire(node, now_ms);
    if (node->state != NODE_OPEN || node->consumer->state != CONSUMER_OPEN)
        return;
    deliver_held(node);
    if (node->state != NODE_OPEN)
        return;
    reconcile_topics(node); /* after it, as it may have ended the crowd */
    if (node->drain_owed && has_room(node)) {
        node->drain_owed = false;
        if (node->consumer->options.on_drain)
            node->consumer->options.on_drain(node, node->consumer->options.data);
    }
}

static void forget_connection(struct mix_node *node)
{
    dial_stop(&node->dial);
    outbox_free(&node->outbox);
    buf_free(&node->frame);
    node->topics = TOPICS_NONE;
    node->connected = false;
}

/* The inbox stays: what it holds can be answered when the engine is there again. */
static void lose(struct mix_node *node, uint64_t now_ms)
{
    struct mix_consumer *consumer = node->consumer;
    if (node->connected && consumer->discovery)
        discovery_hurry(consumer->discovery);
    hang_up(node, node->goodbye);
    forget_connection(node);
    node->pause_ms = consumer_longer(node->pause_ms);
    node->due_ms = now_ms + consumer_jitter(node->pause_ms);
    set_state(node, NODE_WAITING);
    fail_all(node);
    consumer_notify(consumer, node, MIX_LOST, "%s; again in %" PRIu64 " s", node->why,
                    node->pause_ms / 1000);
}

static uint64_t next_due(struct mix_node *node)
{
    if (can_deliver_held(node))
        return 0;
    if (node->state == NODE_WAITING || node->state == NODE_RESOLVING ||
        node->state == NODE_CONNECTING)
        return node->due_ms;
    if (node->state == NODE_OPEN)
        return replies_due(&node->replies);
    return UINT64_MAX;
}

uint64_t node_work(struct mix_node *node, uint64_t now_ms)
{
    if (node->state == NODE_WAITING && now_ms >= node->due_ms)
        begin(node, now_ms);
    if (node->state == NODE_RESOLVING || node->state == NODE_CONNECTING)
        dial_on(node, now_ms);
    if (node->state == NODE_OPEN)
        serve(node, now_ms);
    if (node->state == NODE_BROKEN)
        lose(node, now_ms);
    if (node->consumer->retiring)
        deliver_held(node); /* also of a node that may not come back */
    return next_due(node);
}

/* ---- from the list and off it ---- */

void node_new(struct mix_consumer *consumer, const char *id, const char *address, uint64_t round)
{
    struct mix_node *node = xcalloc(1, sizeof *node);
    node->refs = 1;
    node->consumer = consumer;
    node->id = xstrdup(id);
    node->round = round;
    node->due_ms = uv_now(consumer->loop);
    node->dial.consumer = consumer;
    CHECK(address_parse(&node->dial.address, address));
    inbox_init(&node->inbox);
    list_init(&node->link);
    list_push_back(&consumer->nodes, &node->link);
    consumer_wake(consumer);
}

bool node_flushed(const struct mix_node *node)
{
    return node->state != NODE_OPEN ||
           (outbox_bytes(&node->outbox) == 0 && !lws_partial_buffered(node->wsi));
}

bool node_retired(const struct mix_node *node)
{
    return inbox_empty(&node->inbox) && (node->state != NODE_OPEN || node->topics == TOPICS_NONE);
}

static void take_leave(struct mix_node *node)
{
    set_state(node, NODE_LEAVING);
    lws_close_reason(node->wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
    lws_set_timeout(node->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
}

void node_leave(struct mix_node *node, const char *why)
{
    if (node->state == NODE_LEAVING || node->state == NODE_GONE)
        return;
    bool was_connected = node->connected;
    if (node->state == NODE_OPEN) {
        take_leave(node);
    } else {
        hang_up(node, 0);
        set_state(node, NODE_GONE);
    }
    forget_connection(node);
    inbox_clear(&node->inbox);
    fail_all(node);
    if (why && was_connected)
        consumer_notify(node->consumer, node, MIX_LOST, "%s", why);
}

void node_remove(struct mix_node *node)
{
    hang_up(node, 0);
    forget_connection(node);
    inbox_clear(&node->inbox);
    replies_fini(&node->replies);
    list_remove(&node->link);
    node->consumer = NULL;
    mix_node_unref(node);
}

struct mix_node *mix_node_ref(struct mix_node *node)
{
    node->refs++;
    return node;
}

void mix_node_unref(struct mix_node *node)
{
    if (--node->refs > 0)
        return;
    CHECK(!node->consumer);
    free(node->id);
    free(node);
}

const char *mix_node_id(const struct mix_node *node)
{
    return node->id;
}

const char *mix_node_address(const struct mix_node *node)
{
    return node->dial.address.text;
}
