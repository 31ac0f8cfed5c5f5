#include "chat.h"
#include "args.h"
#include "log.h"
#include "mem.h"
#include "reply.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

const char *const chat_topics[] = {"chat", "conn", NULL};

/* A message of a client: {"op":…,"args":…}. */
struct message {
    struct chat *chat;
    struct mix_node *node;
    uint64_t client;
    int64_t uid; /* who the client was when the script took the message; 0: nobody */
    const char *op;
    json_t *args;
};

/* ---- answers ---- */

/* A node that is gone has been reported; its clients have lost their connection, or soon hear of
 * another consumer. */
static bool is_done(struct mix_node *node, int result)
{
    if (result && result != -ENOTCONN)
        log_line("%s: %s", mix_node_address(node), strerror(-result));
    return result == 0;
}

/* Takes the text. */
static void send_text(struct mix_node *node, uint64_t client, char *text)
{
    is_done(node, mix_node_send(node, client, text, strlen(text), NULL, NULL));
    free(text);
}

static void succeed(const struct message *message)
{
    send_text(message->node, message->client, reply_success(message->op));
}

static void fail(const struct message *message, const char *error)
{
    send_text(message->node, message->client, reply_error(message->op, error));
}

/* Whether what the message asks for may be carried out: by a user, with arguments that are right.
 */
static bool may(const struct message *message, const char *problem)
{
    if (!message->uid)
        problem = "No access";
    if (problem)
        fail(message, problem);
    return !problem;
}

/* ---- what clients can ask for ---- */

/* The script waits for "uid" after this message, so each way out of a login sets it (login.h). */
static void auth(const struct message *message)
{
    struct login *login = message->chat->login;
    struct args_login args;
    const char *problem = args_login(message->args, &args);
    if (problem)
        login_refuse(login, message->node, message->client, message->uid, problem);
    else
        login_begin(login, message->node, message->client, message->uid, args.name, args.password);
}

static void on_subscribed(struct mix_node *node, const struct mix_reply *reply, void *data)
{
    uint64_t *client = data;
    if (reply->status == -EREMOTEIO)
        send_text(node, *client, reply_error("subscribe", reply->message));
    free(client);
}

/* Success is said right behind the command. To say it only when the engine has confirmed would let
 * what the client asks next, or what others say in the room, come before it. An engine that refuses
 * (too many subscriptions) is rare, and the client hears of it a moment later. */
static void subscribe(const struct message *message)
{
    struct args_channels args;
    if (!may(message, args_channels(message->args, &args)))
        return;
    uint64_t *client = mem_new(sizeof *client);
    *client = message->client;
    if (is_done(message->node, mix_node_subscribe(message->node, message->client, args.names,
                                                  args.count, on_subscribed, client)))
        succeed(message);
    else
        free(client);
}

static void unsubscribe(const struct message *message)
{
    struct args_channels args;
    if (!may(message, args_channels(message->args, &args)))
        return;
    if (is_done(message->node, mix_node_unsubscribe(message->node, message->client, args.names,
                                                    args.count, NULL, NULL)))
        succeed(message);
}

/* The event first, so that a sender who is in the room sees the message before the success. */
static void publish(const struct message *message, const struct args_message *args)
{
    char *event = reply_event(message->uid, args);
    if (is_done(message->node,
                mix_node_publish(message->node, args->channel, event, strlen(event), NULL, NULL)))
        succeed(message);
    free(event);
}

static void send_to_room(const struct message *message)
{
    struct args_message args;
    if (may(message, args_message(message->args, &args)))
        publish(message, &args);
}

/* A user's channel is one that only this user's clients subscribe to; here is the place to hold
 * them to that. */
static void send_to_user(const struct message *message)
{
    struct args_message args;
    if (may(message, args_message(message->args, &args)))
        publish(message, &args);
}

static void send_broadcast(const struct message *message)
{
    struct args_message args = {.channel = "broadcast"};
    if (may(message, args_broadcast(message->args, &args)))
        publish(message, &args);
}

/* ---- the queue `chat`: what clients say ---- */

static void carry_out(const struct message *message)
{
    static const struct {
        const char *op;
        void (*action)(const struct message *message);
    } table[] = {
        {"auth", auth},
        {"subscribe", subscribe},
        {"unsubscribe", unsubscribe},
        {"sendtoroom", send_to_room},
        {"sendtouser", send_to_user},
        {"sendbroadcast", send_broadcast},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(message->op, table[i].op) == 0) {
            table[i].action(message);
            return;
        }
    }
    fail(message, "Unknown operation");
}

/* NULL when it is no JSON. */
static json_t *decode(const json_t *data)
{
    const json_t *text = json_object_get(json_object_get(data, "frame"), "data");
    size_t flags = JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    return json_is_string(text)
               ? json_loadb(json_string_value(text), json_string_length(text), flags, NULL)
               : NULL;
}

/* The script's decoder is laxer than ours: it may have seen a login here, and wait. A script does
 * not wait for a uid that is set. */
static void release_script(const struct message *message, const json_t *uid)
{
    bool unset = !uid || json_is_null(uid);
    if (unset && login_is_stranger(message->chat->login, message->client))
        is_done(message->node, mix_node_set_context_value(message->node, message->client, "uid",
                                                          json_integer(0), NULL, NULL));
}

static int64_t uid_of(const json_t *data)
{
    return json_integer_value(json_object_get(data, "uid"));
}

/* An op with a NUL in it is none of ours. */
static const char *op_of(const json_t *json)
{
    const json_t *op = json_object_get(json, "op");
    const char *text = json_string_value(op);
    return text && strlen(text) == json_string_length(op) ? text : NULL;
}

static void handle_queue_chat(struct chat *chat, struct mix_node *node,
                              const struct mix_event *event)
{
    json_t *json = decode(event->data);
    struct message message = {
        .chat = chat,
        .node = node,
        .client = event->client,
        .uid = uid_of(event->data),
        .op = op_of(json),
        .args = json_object_get(json, "args"),
    };
    if (!json)
        release_script(&message, json_object_get(event->data, "uid"));
    if (json_object_size(json) == 0)
        fail(&message, "Json format error");
    else if (!message.op)
        fail(&message, "op must be a string");
    else
        carry_out(&message);
    json_decref(json);
}

/* ---- the queue `conn`: clients that come and go ---- */

static void handle_queue_conn(struct chat *chat, const struct mix_event *event)
{
    const char *what = json_string_value(json_object_get(event->data, "event"));
    if (what && strcmp(what, "close") == 0)
        login_closed(chat->login, event->client, uid_of(event->data));
}

/* ---- callbacks of the consumer ---- */

void chat_on_event(struct mix_node *node, const struct mix_event *event, void *data)
{
    if (event->client == 0)
        return; /* pushed outside of a connection: there is nobody to answer */
    if (strcmp(event->topic, "chat") == 0)
        handle_queue_chat(data, node, event);
    else
        handle_queue_conn(data, event);
}

/* That a client has gone meanwhile is no news; that a node has, was told. */
void chat_on_reply(struct mix_node *node, const struct mix_reply *reply, void *data)
{
    (void)data;
    bool gone = reply->status == -ECONNRESET ||
                (reply->status == -EREMOTEIO && (reply->code == 301 || reply->code == 401));
    if (reply->status && !gone)
        log_line("%s: %s", mix_node_address(node), reply->message);
}
