/* The shapes of requests that exist in the wild are wider than what any one client sends: members
 * are looked up by either spelling's name, whatever spelled the envelope, and arguments may come as
 * a list, as the one element of a list, or as an object whose values count in their order. */
#include "api/request.h"
#include "base/mem.h"
#include "msg/client_id.h"
#include "proto/base64.h"
#include "proto/ws.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SHOWN_MAX = 64 };

static __attribute__((format(printf, 3, 4))) void
refuse(struct request *out, enum envelope_error code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(out->why, sizeof out->why, format, args);
    va_end(args);
    out->kind = REQUEST_BAD;
    out->code = code;
}

/* How much of a text is shown in a message: whole characters of it. */
static int shown(const char *text)
{
    size_t len = strnlen(text, NAME_SHOWN_MAX + 1);
    if (len > NAME_SHOWN_MAX)
        for (len = NAME_SHOWN_MAX; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80;)
            len--;
    return (int)len;
}

/* A member under either of its names; NULL also where it is null. */
static const json_t *member(const json_t *object, const char *name, const char *other)
{
    const json_t *value = json_object_get(object, name);
    if (!value || json_is_null(value))
        value = json_object_get(object, other);
    return json_is_null(value) ? NULL : value;
}

static struct blob *blob_of_string(const json_t *string)
{
    return blob_new(json_string_value(string), json_string_length(string));
}

static void pack_json(struct buf *packed, const json_t *value)
{
    const size_t flags = JSON_ENCODE_ANY | JSON_COMPACT;
    size_t len = json_dumpb(value, NULL, 0, flags);
    char *text = xmalloc(len + 1);
    json_dumpb(value, text, len, flags);
    strings_add(packed, text, len);
    free(text);
}

/* ---- lists of arguments ---- */

/* Up to a few arguments, or many channels: borrowed from the parsed request. */
struct arguments {
    const json_t **items;
    size_t count;
    const char *key; /* they are the one member of an object: its name; else NULL */
};

static void arguments_add(struct arguments *args, const json_t *item)
{
    args->items = xrealloc(args->items, (args->count + 1) * sizeof(*args->items));
    args->items[args->count++] = item;
}

static void arguments_add_all(struct arguments *args, const json_t *value)
{
    const char *key;
    json_t *item;
    size_t i;
    if (json_is_array(value)) {
        json_array_foreach(value, i, item) arguments_add(args, item);
    } else if (json_is_object(value)) {
        json_object_foreach((json_t *)value, key, item) arguments_add(args, item);
    } else if (value) {
        arguments_add(args, value);
    }
}

/* Shapes that stand for what was left out: [], {}, null, [null], [[]]. */
static void drop_nothing(struct arguments *args)
{
    const json_t *only = args->count == 1 ? args->items[0] : NULL;
    if (json_is_null(only) || (json_is_array(only) && json_array_size(only) == 0))
        args->count = 0;
}

/* ---- values of arguments ---- */

/* Strings, and numbers as their decimal text, which loosely typed clients send. */
static bool pack_text(struct buf *packed, const json_t *value)
{
    if (json_is_integer(value)) {
        char digits[24];
        int len =
            snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        strings_add(packed, digits, (size_t)len);
        return true;
    }
    size_t len = json_string_length(value);
    if (!json_is_string(value) || len > REQUEST_CHANNEL_MAX)
        return false;
    strings_add(packed, json_string_value(value), len);
    return true;
}

static struct blob *blob_of_text(const json_t *value)
{
    struct buf packed = {0};
    struct blob *text = NULL;
    if (pack_text(&packed, value))
        text = blob_new(packed.data + sizeof(uint32_t), packed.len - sizeof(uint32_t));
    buf_free(&packed);
    return text;
}

/* False for what cannot name a client; text that names none is client 0, which nobody has. */
static bool client_of(const json_t *value, uint64_t *client)
{
    *client = 0;
    if (json_is_integer(value)) {
        json_int_t id = json_integer_value(value);
        *client = id > 0 ? (uint64_t)id : 0;
        return true;
    }
    if (!json_is_string(value))
        return json_is_real(value);
    if (!client_id_parse(json_string_value(value), json_string_length(value), client))
        *client = 0;
    return true;
}

/* ---- queue.consume ---- */

static void read_consume(struct request *out, const json_t *params)
{
    struct buf packed = {0};
    const json_t *only = json_array_size(params) == 1 ? json_array_get(params, 0) : params;
    const json_t *topics = json_is_object(only)  ? json_object_get(only, "t")
                           : json_is_array(only) ? only
                                                 : params;
    struct arguments args = {0};
    arguments_add_all(&args, json_is_object(topics) ? NULL : topics);
    out->kind = REQUEST_CONSUME;
    if (args.count == 0)
        refuse(out, ENVELOPE_INVALID, "no topic");
    for (size_t i = 0; i < args.count; i++) {
        size_t len = json_string_length(args.items[i]);
        if (len == 0 || len > REQUEST_TOPIC_MAX)
            refuse(out, ENVELOPE_INVALID, "a topic is a string of 1 to %d bytes",
                   REQUEST_TOPIC_MAX);
        else
            strings_add(&packed, json_string_value(args.items[i]), len);
    }
    if (out->kind == REQUEST_CONSUME)
        out->topics = blob_new(packed.data, packed.len);
    buf_free(&packed);
    free(args.items);
}

/* ---- conn.call ---- */

/* A key and a value, or, as the first clients sent it, an object of that one member. */
static void call_set_value(struct request *out, struct arguments *args)
{
    struct buf packed = {0};
    out->command->kind = COMMAND_SET_CONTEXT;
    if (args->key) {
        strings_add(&packed, args->key, strlen(args->key));
        pack_json(&packed, args->items[0]);
    } else if (args->count != 2) {
        refuse(out, ENVELOPE_INVALID, "set_context_value takes a key and a value");
    } else if (!pack_text(&packed, args->items[0])) {
        refuse(out, ENVELOPE_INVALID, "the key is not a string");
    } else {
        pack_json(&packed, args->items[1]);
    }
    out->command->data = blob_new(packed.data, packed.len);
    buf_free(&packed);
}

static void call_set(struct request *out, struct arguments *args)
{
    struct buf packed = {0};
    const char *key;
    json_t *value;
    drop_nothing(args);
    out->command->kind = COMMAND_SET_CONTEXT;
    if (args->count > 1 || (args->count == 1 && !json_is_object(args->items[0])))
        refuse(out, ENVELOPE_INVALID, "set_context takes one object");
    else if (args->count == 1)
        json_object_foreach((json_t *)args->items[0], key, value)
        {
            strings_add(&packed, key, strlen(key));
            pack_json(&packed, value);
        }
    out->command->data = blob_new(packed.data, packed.len);
    buf_free(&packed);
}

/* Strings, in a list of their own too. */
static void call_names(struct request *out, struct arguments *args, enum command_kind kind,
                       const char *what)
{
    drop_nothing(args);
    struct arguments inner = {0};
    if (args->count == 1 && (json_is_array(args->items[0]) || json_is_object(args->items[0])))
        arguments_add_all(&inner, args->items[0]);
    const struct arguments *names = inner.count > 0 ? &inner : args;
    struct buf packed = {0};
    for (size_t i = 0; i < names->count; i++)
        if (!pack_text(&packed, names->items[i]))
            refuse(out, ENVELOPE_INVALID, "a %s is a string", what);
    out->command->kind = kind;
    out->command->data = blob_new(packed.data, packed.len);
    buf_free(&packed);
    free(inner.items);
}

static void call_subscribe(struct request *out, struct arguments *args)
{
    call_names(out, args, COMMAND_SUBSCRIBE, "channel");
}

static void call_unsubscribe(struct request *out, struct arguments *args)
{
    call_names(out, args, COMMAND_UNSUBSCRIBE, "channel");
}

static void call_get_context(struct request *out, struct arguments *args)
{
    call_names(out, args, COMMAND_GET_CONTEXT, "key");
}

/* Not closing in order but with a code and a reason is for those who speak WebSocket. */
static void read_close(struct request *out, const json_t *code, const json_t *reason)
{
    json_int_t number = json_integer_value(code);
    bool none = !code || json_is_null(code);
    if (json_is_null(reason))
        reason = NULL;
    out->command->kind = COMMAND_CLOSE;
    if (!none && (number < 0 || number > UINT16_MAX || !ws_close_code_valid((uint16_t)number)))
        refuse(out, ENVELOPE_INVALID, "the code is none that a close frame may carry");
    else if (reason && (none || !json_is_string(reason)))
        refuse(out, ENVELOPE_INVALID, "the reason is a string that goes with a code");
    out->command->code = (uint16_t)number;
    out->command->data = reason ? blob_of_string(reason) : blob_new("", 0);
}

static void call_close(struct request *out, struct arguments *args)
{
    drop_nothing(args);
    if (args->count > 2)
        refuse(out, ENVELOPE_INVALID, "close takes a code and a reason");
    else
        read_close(out, args->count > 0 ? args->items[0] : NULL,
                   args->count > 1 ? args->items[1] : NULL);
}

static const struct function {
    const char *name;
    void (*read)(struct request *out, struct arguments *args);
} functions[] = {
    {"set_context_value", call_set_value}, {"set_context", call_set},
    {"subscribe", call_subscribe},         {"unsubscribe", call_unsubscribe},
    {"get_context", call_get_context},     {"close", call_close},
};

static const struct function *function_of(const char *name)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].name, name) == 0)
            return &functions[i];
    return NULL;
}

static void read_call(struct request *out, const json_t *params)
{
    const json_t *name = member(params, "func", "f");
    const json_t *values = member(params, "args", "a");
    if (!name)
        name = member(params, "method", "m");
    if (!values)
        values = member(params, "params", "p");
    out->command = command_new(COMMAND_SET_CONTEXT);
    if (!client_of(member(params, "client_id", "c"), &out->command->client)) {
        refuse(out, ENVELOPE_INVALID, "no client id");
        return;
    }
    if (!json_is_string(name)) {
        refuse(out, ENVELOPE_INVALID, "no function");
        return;
    }
    const struct function *function = function_of(json_string_value(name));
    if (!function) {
        const char *text = json_string_value(name);
        refuse(out, ENVELOPE_CALL_FAILED, "unknown function \"%.*s\"", shown(text), text);
        return;
    }
    struct arguments args = {0};
    arguments_add_all(&args, values);
    if (json_is_object(values) && args.count == 1)
        args.key = json_object_iter_key(json_object_iter((json_t *)values));
    function->read(out, &args);
    free(args.items);
}

/* ---- conn.close ---- */

static void read_conn_close(struct request *out, const json_t *params)
{
    out->command = command_new(COMMAND_CLOSE);
    if (client_of(member(params, "client_id", "c"), &out->command->client))
        read_close(out, json_object_get(params, "code"), json_object_get(params, "reason"));
    else
        refuse(out, ENVELOPE_INVALID, "no client id");
}

/* ---- mesh.send, mesh.publish ---- */

static void read_data(struct request *out, const json_t *params)
{
    const json_t *data = member(params, "data", "d"), *type = member(params, "t", "t");
    const char *kind = json_is_string(type) ? json_string_value(type) : type ? "" : "text";
    out->command->binary = strcmp(kind, "binary") == 0;
    if (!json_is_string(data)) {
        refuse(out, ENVELOPE_INVALID, "the data is not a string");
    } else if (out->command->binary) {
        out->command->data = base64_decode(json_string_value(data), json_string_length(data));
        if (!out->command->data)
            refuse(out, ENVELOPE_INVALID, "the data is not base64");
    } else if (strcmp(kind, "text") == 0) {
        out->command->data = blob_of_string(data);
    } else {
        refuse(out, ENVELOPE_INVALID, "the type is neither text nor binary");
    }
}

static void read_publish(struct request *out, const json_t *params)
{
    out->command = command_new(COMMAND_PUBLISH);
    out->command->name = blob_of_text(member(params, "channel", "c"));
    if (!out->command->name)
        refuse(out, ENVELOPE_INVALID, "the channel is not a string");
    else
        read_data(out, params);
}

static void read_send(struct request *out, const json_t *params)
{
    const json_t *client = member(params, "client_id", "c");
    /* One client publishes under this method's name: a channel and no client can mean nothing else.
     */
    if ((!client || (json_is_string(client) && json_string_length(client) == 0)) &&
        json_object_get(params, "channel")) {
        read_publish(out, params);
        return;
    }
    out->command = command_new(COMMAND_SEND);
    if (!client_of(client, &out->command->client))
        refuse(out, ENVELOPE_INVALID, "no client id");
    else
        read_data(out, params);
}

/* ---- methods ---- */

static void read_command(struct request *out, const json_t *params,
                         void (*read)(struct request *out, const json_t *params))
{
    out->kind = REQUEST_COMMAND;
    const json_t *only = json_array_size(params) == 1 ? json_array_get(params, 0) : params;
    if (json_is_object(only))
        read(out, only);
    else
        refuse(out, ENVELOPE_INVALID, "the params are not one object");
}

static void read_method(struct request *out, const char *method, const json_t *params)
{
    if (strcmp(method, "conn.call") == 0) {
        read_command(out, params, read_call);
    } else if (strcmp(method, "conn.close") == 0) {
        read_command(out, params, read_conn_close);
    } else if (strcmp(method, "mesh.send") == 0) {
        read_command(out, params, read_send);
    } else if (strcmp(method, "mesh.publish") == 0) {
        read_command(out, params, read_publish);
    } else if (strcmp(method, "queue.consume") == 0 || strcmp(method, "queue.pop") == 0) {
        out->event = strcmp(method, "queue.pop") == 0 ? "queue.pop" : "queue.consume";
        read_consume(out, params);
    } else if (strcmp(method, "queue.unconsume") == 0 || strcmp(method, "queue.unpop") == 0) {
        out->kind = REQUEST_UNCONSUME;
    } else if (strcmp(method, "server.ping") == 0) {
        out->kind = REQUEST_SERVER_PING;
    } else {
        refuse(out, ENVELOPE_INVALID, "unknown method \"%.*s\"", shown(method), method);
    }
}

/* False when it is too long to be kept until the answer. */
static bool read_id(struct request *out, const json_t *object)
{
    const char *name = out->spelling == ENVELOPE_A ? "id" : "i";
    const json_t *id = member(object, name, out->spelling == ENVELOPE_A ? "i" : "id");
    size_t len = id ? json_dumpb(id, NULL, 0, JSON_ENCODE_ANY | JSON_COMPACT) : 0;
    if (len > 0 && len <= REQUEST_ID_MAX) {
        out->id = xcalloc(1, len + 1);
        json_dumpb(id, out->id, len, JSON_ENCODE_ANY | JSON_COMPACT);
    }
    return len <= REQUEST_ID_MAX;
}

static void read_object(struct request *out, const json_t *object)
{
    const json_t *method = json_object_get(object, "method");
    if (method)
        out->spelling = ENVELOPE_A;
    else if ((method = json_object_get(object, "m")))
        out->spelling = ENVELOPE_B;
    if (!read_id(out, object)) {
        refuse(out, ENVELOPE_INVALID, "the id is longer than %d bytes", REQUEST_ID_MAX);
    } else if (!json_is_string(method)) {
        refuse(out, ENVELOPE_INVALID, "no method");
    } else {
        bool a = out->spelling == ENVELOPE_A;
        read_method(out, json_string_value(method),
                    member(object, a ? "params" : "p", a ? "p" : "params"));
    }
}

static void read_any(struct request *out, const json_t *value)
{
    if (json_is_object(value))
        read_object(out, value);
    else
        refuse(out, ENVELOPE_INVALID, "not a JSON object");
}

static json_t *load(const char *text, size_t len, json_error_t *error)
{
    return json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, error);
}

void request_parse(struct request *out, const char *text, size_t len, enum envelope_spelling last)
{
    *out = (struct request){.spelling = last};
    if (len == 4 && memcmp(text, "ping", 4) == 0) {
        out->kind = REQUEST_PING;
        return;
    }
    json_error_t error;
    json_t *object = load(text, len, &error);
    if (len == 0)
        refuse(out, ENVELOPE_INVALID, "empty frame");
    else if (!object)
        refuse(out, ENVELOPE_INVALID, "malformed JSON at byte %d", error.position);
    else
        read_any(out, object);
    json_decref(object);
}

/* ---- bodies of HTTP requests ---- */

static void give(struct request *request, request_fn on_request, void *data)
{
    if (request->kind == REQUEST_CONSUME || request->kind == REQUEST_UNCONSUME)
        refuse(request, ENVELOPE_INVALID, "consuming takes a WebSocket");
    request->spelling = ENVELOPE_HTTP;
    on_request(request, data);
    request_fini(request);
}

static int read_batch(const json_t *list, request_fn on_request, void *data,
                      char why[REQUEST_WHY_MAX])
{
    const json_t *item;
    size_t i;
    if (!json_is_array(list)) {
        snprintf(why, REQUEST_WHY_MAX, "not a list of commands");
        return 400;
    }
    if (json_array_size(list) > REQUEST_BATCH_MAX) {
        snprintf(why, REQUEST_WHY_MAX, "more than %d commands", REQUEST_BATCH_MAX);
        return 413;
    }
    json_array_foreach(list, i, item)
    {
        struct request request = {0};
        read_any(&request, item);
        give(&request, on_request, data);
    }
    return 0;
}

int request_parse_body(const char *method, const char *text, size_t len, request_fn on_request,
                       void *data, char why[REQUEST_WHY_MAX])
{
    json_error_t error;
    struct request request = {0};
    int status = 0;
    json_t *body = load(text, len, &error);
    if (!body) {
        snprintf(why, REQUEST_WHY_MAX, "malformed JSON at byte %d", error.position);
        return 400;
    }
    if (method) {
        read_method(&request, method, body);
        give(&request, on_request, data);
    } else {
        status = read_batch(body, on_request, data, why);
    }
    json_decref(body);
    return status;
}

void request_refuse(struct request *out, enum envelope_spelling last, const char *why)
{
    *out = (struct request){.spelling = last};
    refuse(out, ENVELOPE_INVALID, "%s", why);
}

void request_fini(struct request *request)
{
    free(request->id);
    blob_unref(request->topics);
    if (request->command)
        command_free(request->command);
    *request = (struct request){.spelling = request->spelling};
}
