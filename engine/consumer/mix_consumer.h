/* A consumer: a program that takes messages out of the engine's queues and answers with commands.
 * The library asks the center which nodes there are (again every 60 to 70 s, and when a node is
 * lost), keeps a WebSocket to each of them, connects again after 1 s and then after growing pauses,
 * and runs on a libuv loop. This is a whole consumer; it sends back what clients say:
 *
 *     #include <mix_consumer.h>
 *     #include <stdio.h>
 *     #include <string.h>
 *
 *     static void on_event(struct mix_node *node, const struct mix_event *event, void *data)
 *     {
 *         (void)data;
 *         json_t *frame = json_object_get(event->data, "frame");
 *         const char *text = json_string_value(json_object_get(frame, "data"));
 *         if (text)
 *             mix_node_send(node, event->client, text, strlen(text), NULL, NULL);
 *     }
 *
 *     static void on_notice(struct mix_node *node, const struct mix_notice *notice, void *data)
 *     {
 *         (void)data;
 *         fprintf(stderr, "%s: %s\n", node ? mix_node_address(node) : "center", notice->text);
 *     }
 *
 *     int main(int argc, char **argv)
 *     {
 *         static const char *const topics[] = {"chat", "conn", NULL};
 *         struct mix_consumer_options options = {
 *             .center = argc > 1 ? argv[1] : "127.0.0.1:6787",
 *             .topics = topics,
 *             .on_event = on_event,
 *             .on_notice = on_notice,
 *         };
 *         return mix_consumer_run(&options);
 *     }
 *
 * Everything is called on, and calls back on, the thread that runs the loop. Functions return 0 or
 * a negative errno; one that failed never calls back. Text is UTF-8. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MIX_API __attribute__((visibility("default")))
#define MIX_CHECKED __attribute__((visibility("default"), warn_unused_result))

struct mix_consumer;
struct mix_node; /* one engine of the cluster, and the connection to it */

/* What a script has pushed. Valid during the callback; json_incref keeps `data`. */
struct mix_event {
    uint64_t client;   /* whose handler pushed it; 0: no client's */
    const char *topic; /* the queue */
    json_t *data;
};

enum mix_notice_kind {
    MIX_CONNECTED, /* the node is there; its topics are consumed, unless events are not wanted now
                    */
    MIX_LOST,      /* it is not, or could not be connected to; its commands without an answer have
                    * been called back, and it is tried again unless the center does not list it */
    MIX_CENTER,    /* the center cannot be asked, or names no node; it is asked again */
    MIX_PROTOCOL   /* a message that cannot be understood, or answers nothing (any more); it was
                    * passed over */
};

struct mix_notice {
    enum mix_notice_kind kind;
    const char *text; /* one line for people */
};

/* The answer to a command. Valid during the callback. */
struct mix_reply {
    int status;          /* 0: done. -EREMOTEIO: the engine refused. -ETIMEDOUT: no answer in time.
                          * -ECONNRESET: the connection broke. After the last two the command may
                          * have been carried out, or not */
    int code;            /* with -EREMOTEIO the engine's: 101 invalid, 301 no such client, 401 not
                          * delivered, …; else 0 */
    const char *message; /* what went wrong, "" when nothing did */
    uint64_t delivered, failed; /* a publish: subscribers that got it, and that did not */
};

typedef void (*mix_event_fn)(struct mix_node *node, const struct mix_event *event, void *data);
typedef void (*mix_notice_fn)(struct mix_node *node, const struct mix_notice *notice, void *data);
typedef void (*mix_drain_fn)(struct mix_node *node, void *data);
typedef void (*mix_reply_fn)(struct mix_node *node, const struct mix_reply *reply, void *data);

/* Copied by mix_consumer_open, with all that it points to. What is zero has its default. */
struct mix_consumer_options {
    const char *center;          /* "HOST:PORT" */
    const char *user, *password; /* for engines with access control */
    const char *ca;              /* a file, PEM: TLS, to the center and to each node, whose
                                  * certificates come from there and name the host that is connected
                                  * to. NULL: no TLS */
    const char *cert, *key;      /* with it, for engines with clientCA: files, PEM */
    const char *const *topics;   /* up to a NULL; consumed on every node. NULL: none */
    uint32_t timeout_ms;         /* for an answer; 10,000 */
    size_t backlog;              /* bytes of commands that wait to be sent to a node; 16 MiB */
    mix_event_fn on_event;       /* events of one client come in the order pushed */
    mix_notice_fn on_notice;     /* node is NULL for MIX_CENTER. Nodes come and go without end */
    mix_reply_fn on_reply;       /* of commands that name no function of their own */
    mix_drain_fn on_drain;       /* a node that answered -ENOBUFS has room again */
    void *data;                  /* for all of these */
};

/* ---- the consumer ---- */

/* Begins on `loop`, which must outlive it, and returns at once. -EINVAL: no center or no valid
 * HOST:PORT, no on_event with topics, more than 1,000 topics, or a topic that is empty, longer than
 * 255 bytes, or not UTF-8; -EKEYREJECTED: ca, cert or key cannot be used; -ENOMEM. Silences
 * libwebsockets' own log, in the whole process. */
MIX_CHECKED int mix_consumer_open(struct mix_consumer **consumer, uv_loop_t *loop,
                                  const struct mix_consumer_options *options);

/* Ends it: what stands to be sent is given a second, connections are closed, commands without an
 * answer are called back, then on_closed, which may be NULL; the memory goes after it. From a
 * callback too; a second call does nothing. */
MIX_API void mix_consumer_close(struct mix_consumer *consumer, void (*on_closed)(void *data),
                                void *data);

/* Takes no more events, ever: the topics are given back on every node, what is on its way is
 * delivered first (also when paused), then on_retired is called, once. Commands go on until
 * mix_consumer_close, and what this consumer has been handed is not lost. A second call, and one
 * after mix_consumer_close, does nothing; when the consumer is closed first on_retired is not
 * called. */
MIX_API void mix_consumer_retire(struct mix_consumer *consumer, void (*on_retired)(void *data),
                                 void *data);

/* All of it on a loop of its own, until SIGINT or SIGTERM: then it retires and closes; a second
 * signal closes at once. Returns 0, or 1 after a line on standard error. */
MIX_API int mix_consumer_run(const struct mix_consumer_options *options);

/* No more events until resumed, on any node: their topics are not consumed meanwhile, so the engine
 * keeps the messages, or hands them to other consumers. What was on its way (at most some 256 KiB a
 * node) is kept here and comes first afterwards. Commands and answers go on. */
MIX_API void mix_consumer_pause(struct mix_consumer *consumer);
MIX_API void mix_consumer_resume(struct mix_consumer *consumer);

/* A node that is connected, NULL when none is: for commands that answer no event. */
MIX_API struct mix_node *mix_consumer_node(struct mix_consumer *consumer);

/* ---- nodes ---- */

/* A node is valid during a callback; whoever keeps it longer holds a reference. Commands to one
 * that is gone fail with -ENOTCONN, also after the consumer is closed. */
MIX_API struct mix_node *mix_node_ref(struct mix_node *node);
MIX_API void mix_node_unref(struct mix_node *node);
MIX_API const char *mix_node_id(const struct mix_node *node);
MIX_API const char *mix_node_address(const struct mix_node *node); /* "HOST:PORT" */

/* ---- commands ---- */

/* Commands act on any one client in the order given; there is no need to wait for an answer in
 * between. `on_reply` is called exactly once, later, unless the command failed here; NULL:
 * options.on_reply. Failures: -ENOTCONN; -ENOBUFS, more than `backlog` waits or the oldest
 * command without an answer is 65,536 back; -EINVAL, text that is not UTF-8, or a value that JSON
 * cannot hold; -EMSGSIZE, more than the engine's 4 MiB. While a node has much to send, its events
 * are held back, so a handler that sends a few commands for each event never sees -ENOBUFS. */

/* Sets one key of a client's context, or those of `object`; wakes a script that waits for it. Takes
 * the reference to the value, also when it fails. */
MIX_API int mix_node_set_context_value(struct mix_node *node, uint64_t client, const char *key,
                                       json_t *value, mix_reply_fn on_reply, void *data);
MIX_API int mix_node_set_context(struct mix_node *node, uint64_t client, json_t *object,
                                 mix_reply_fn on_reply, void *data);

/* Channels are `count` strings. */
MIX_API int mix_node_subscribe(struct mix_node *node, uint64_t client, const char *const *channels,
                               size_t count, mix_reply_fn on_reply, void *data);
MIX_API int mix_node_unsubscribe(struct mix_node *node, uint64_t client,
                                 const char *const *channels, size_t count, mix_reply_fn on_reply,
                                 void *data);

/* To one client; to all subscribers of a channel. The script's protocol_encode frames it. */
MIX_API int mix_node_send(struct mix_node *node, uint64_t client, const char *text, size_t len,
                          mix_reply_fn on_reply, void *data);
MIX_API int mix_node_publish(struct mix_node *node, const char *channel, const char *text,
                             size_t len, mix_reply_fn on_reply, void *data);

/* The same with any bytes, as a binary message. */
MIX_API int mix_node_send_binary(struct mix_node *node, uint64_t client, const void *bytes,
                                 size_t len, mix_reply_fn on_reply, void *data);
MIX_API int mix_node_publish_binary(struct mix_node *node, const char *channel, const void *bytes,
                                    size_t len, mix_reply_fn on_reply, void *data);

#ifdef __cplusplus
}
#endif
