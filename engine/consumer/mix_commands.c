/* The commands of the API: each is written straight into its node's outbox. */
#include "base/mem.h"
#include "consumer/command.h"
#include "consumer/mix_node.h"
#include <errno.h>

static int begin(struct mix_node *node, struct buf **out)
{
    struct mix_consumer *consumer = node->consumer;
    if (!consumer || consumer->state != CONSUMER_OPEN || node->state != NODE_OPEN)
        return -ENOTCONN;
    if (outbox_bytes(&node->outbox) > consumer->options.backlog ||
        replies_span(&node->replies) >= NODE_PENDING_MAX) {
        node->drain_owed = true;
        return -ENOBUFS;
    }
    *out = outbox_begin(&node->outbox);
    return 0;
}

static int finish(struct mix_node *node, int status, mix_reply_fn on_reply, void *data)
{
    if (status) {
        outbox_cancel(&node->outbox);
        return status;
    }
    node_send(node, on_reply, data, consumer_reply_due(node->consumer));
    return 0;
}

static int send_to(struct mix_node *node, uint64_t client, const void *bytes, size_t len,
                   bool binary, mix_reply_fn on_reply, void *data)
{
    struct buf *out;
    int status = begin(node, &out);
    if (status)
        return status;
    status = command_send(out, node->replies.next, client, bytes ? bytes : "", len, binary);
    return finish(node, status, on_reply, data);
}

int mix_node_send(struct mix_node *node, uint64_t client, const char *text, size_t len,
                  mix_reply_fn on_reply, void *data)
{
    return send_to(node, client, text, len, false, on_reply, data);
}

int mix_node_send_binary(struct mix_node *node, uint64_t client, const void *bytes, size_t len,
                         mix_reply_fn on_reply, void *data)
{
    return send_to(node, client, bytes, len, true, on_reply, data);
}

static int publish_to(struct mix_node *node, const char *channel, const void *bytes, size_t len,
                      bool binary, mix_reply_fn on_reply, void *data)
{
    struct buf *out;
    int status = begin(node, &out);
    if (status)
        return status;
    status = command_publish(out, node->replies.next, channel, bytes ? bytes : "", len, binary);
    return finish(node, status, on_reply, data);
}

int mix_node_publish(struct mix_node *node, const char *channel, const char *text, size_t len,
                     mix_reply_fn on_reply, void *data)
{
    return publish_to(node, channel, text, len, false, on_reply, data);
}

int mix_node_publish_binary(struct mix_node *node, const char *channel, const void *bytes,
                            size_t len, mix_reply_fn on_reply, void *data)
{
    return publish_to(node, channel, bytes, len, true, on_reply, data);
}

static int call_channels(struct mix_node *node, uint64_t client, const char *function,
                         const char *const *channels, size_t count, mix_reply_fn on_reply,
                         void *data)
{
    struct buf *out;
    int status = begin(node, &out);
    if (status)
        return status;
    status = command_channels(out, node->replies.next, client, function, channels, count);
    return finish(node, status, on_reply, data);
}

int mix_node_subscribe(struct mix_node *node, uint64_t client, const char *const *channels,
                       size_t count, mix_reply_fn on_reply, void *data)
{
    return call_channels(node, client, "subscribe", channels, count, on_reply, data);
}

int mix_node_unsubscribe(struct mix_node *node, uint64_t client, const char *const *channels,
                         size_t count, mix_reply_fn on_reply, void *data)
{
    return call_channels(node, client, "unsubscribe", channels, count, on_reply, data);
}

int mix_node_set_context_value(struct mix_node *node, uint64_t client, const char *key,
                               json_t *value, mix_reply_fn on_reply, void *data)
{
    struct buf *out;
    int status = begin(node, &out);
    if (!status) {
        status = command_context_value(out, node->replies.next, client, key, value);
        status = finish(node, status, on_reply, data);
    }
    json_decref(value);
    return status;
}

int mix_node_set_context(struct mix_node *node, uint64_t client, json_t *object,
                         mix_reply_fn on_reply, void *data)
{
    struct buf *out;
    int status = begin(node, &out);
    if (!status) {
        status = command_context(out, node->replies.next, client, object);
        status = finish(node, status, on_reply, data);
    }
    json_decref(object);
    return status;
}
