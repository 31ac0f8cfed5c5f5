#include "consumer/message.h"
#include <errno.h>

static json_t *either(const json_t *object, const char *b, const char *a)
{
    json_t *value = json_object_get(object, b);
    return value ? value : json_object_get(object, a);
}

static uint64_t count_of(const json_t *value)
{
    json_int_t count = json_integer_value(value);
    return count > 0 ? (uint64_t)count : 0;
}

bool message_client(const char *text, size_t len, uint64_t *client)
{
    int64_t id = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(id, 10, &id) ||
            __builtin_add_overflow(id, text[i] - '0', &id))
            return false;
    }
    *client = (uint64_t)id;
    return len > 0;
}

/* As a string or as a number. */
static bool read_client(const json_t *value, uint64_t *client)
{
    if (!json_is_integer(value))
        return message_client(json_string_value(value), json_string_length(value), client);
    *client = count_of(value);
    return json_integer_value(value) >= 0;
}

static const char *parse_event(struct message *message, const json_t *params)
{
    struct mix_event *event = &message->event;
    message->kind = MESSAGE_EVENT;
    event->topic = json_string_value(either(params, "t", "queue"));
    event->data = either(params, "d", "data");
    if (!event->topic)
        return "an event without a topic";
    if (!event->data)
        return "an event without data";
    if (!read_client(either(params, "c", "client_id"), &event->client))
        return "an event without a client";
    return NULL;
}

static const char *parse_error(struct mix_reply *reply, const json_t *error)
{
    if (!json_is_object(error))
        return "an answer whose error is not an object";
    const char *text = json_string_value(either(error, "m", "message"));
    reply->status = -EREMOTEIO;
    reply->code = (int)json_integer_value(either(error, "c", "code"));
    reply->message = text ? text : "";
    return NULL;
}

static const char *parse_result(struct mix_reply *reply, const json_t *result)
{
    if (!json_is_object(result))
        return "an answer whose result is not an object";
    uint64_t total = count_of(either(result, "t", "total"));
    reply->failed = count_of(either(result, "f", "fail"));
    reply->delivered = total > reply->failed ? total - reply->failed : 0;
    if (json_is_false(either(result, "s", "success"))) {
        reply->status = -EREMOTEIO;
        reply->message = "not successful";
    }
    return NULL;
}

static const char *parse_reply(struct message *message, const json_t *root)
{
    json_t *id = either(root, "i", "id");
    message->kind = MESSAGE_REPLY;
    message->reply.message = "";
    message->id = count_of(id);
    json_t *error = either(root, "E", "error");
    const char *why = error && !json_is_null(error)
                          ? parse_error(&message->reply, error)
                          : parse_result(&message->reply, either(root, "r", "result"));
    if (!why && (!json_is_integer(id) || json_integer_value(id) < 0))
        return "an answer without the id of a command";
    return why;
}

static const char *parse_root(struct message *message, const json_t *root)
{
    if (!root)
        return "not a JSON object";
    if (json_is_string(either(root, "e", "event")))
        return parse_event(message, either(root, "p", "result"));
    if (either(root, "E", "error") || either(root, "r", "result"))
        return parse_reply(message, root);
    return "neither an event nor an answer";
}

void message_parse(struct message *message, const char *text, size_t len)
{
    *message = (struct message){0};
    json_t *root = json_loadb(text, len, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        root = NULL;
    }
    message->root = root;
    message->why = parse_root(message, root);
    if (message->why)
        message->kind = MESSAGE_BAD;
}

void message_fini(struct message *message)
{
    json_decref(message->root);
    message->root = NULL;
}
