/* Any bytes as a consumer's frame: what comes of it is answered in both spellings, and the answers
 * must be JSON that carries the request's id; where the short way reads it, it must be what the
 * long way makes of it. The first byte chooses the spelling of what was before. */
#include "api/envelope.h"
#include "api/request_scan.h"
#include "base/check.h"
#include "msg/client_id.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes the bytes; the buffer is empty afterwards. */
static void check_reply(struct buf *out, const char *id, const char *id_key)
{
    json_t *reply = json_loadb(out->data, out->len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    CHECK(json_is_object(reply));
    const json_t *echoed = json_object_get(reply, id_key);
    json_t *given = json_loads(id ? id : "null", JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    CHECK(given && json_equal(echoed, given));
    json_decref(given);
    json_decref(reply);
    out->len = 0;
}

static void check_replies(const struct request *request, enum envelope_spelling spelling)
{
    const char *key = spelling == ENVELOPE_A ? "id" : "i";
    struct buf out = {0};
    envelope_error(&out, spelling, request->id, (int)request->code, request->why);
    check_reply(&out, request->id, key);
    envelope_success(&out, spelling, request->id, NULL);
    check_reply(&out, request->id, key);
    struct blob *context = blob_new("{}", 2);
    envelope_success(&out, spelling, request->id, context);
    check_reply(&out, request->id, key);
    blob_unref(context);
    envelope_published(&out, spelling, request->id, UINT32_MAX, UINT32_MAX);
    check_reply(&out, request->id, key);
    envelope_server_pong(&out, spelling, request->id);
    check_reply(&out, request->id, key);
    buf_free(&out);
}

static void check_event(const struct request *request, const char *topic, size_t len)
{
    struct buf event = {0}, middle = {0};
    envelope_event(&event, &middle, request->spelling, request->event, 1, topic, len);
    buf_append_str(&event, "7");
    buf_append(&event, middle.data, middle.len);
    buf_append_str(&event, "[]" ENVELOPE_EVENT_TAIL);
    check_reply(&event, NULL, "id");
    buf_free(&event);
    buf_free(&middle);
}

static void check_topics(const struct request *request)
{
    const char *topic;
    size_t len, at = 0, count = 0;
    for (; strings_next(request->topics, &at, &topic, &len); count++) {
        CHECK(len > 0 && len <= REQUEST_TOPIC_MAX);
        check_event(request, topic, len);
    }
    CHECK(count > 0 && at == request->topics->len);
}

static void check_pairs(const struct blob *data)
{
    const char *text;
    size_t len, at = 0;
    for (size_t i = 0; strings_next(data, &at, &text, &len); i++) {
        if (i % 2 == 0)
            continue;
        json_t *value = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        CHECK(value != NULL);
        json_decref(value);
    }
    CHECK(at == data->len);
}

static void check_command(const struct command *command)
{
    CHECK(command->data != NULL);
    CHECK(command->client <= INT64_MAX);
    CHECK((command->kind == COMMAND_PUBLISH) == (command->name != NULL));
    if (command->kind == COMMAND_SET_CONTEXT)
        check_pairs(command->data);
}

static bool same_bytes(const struct blob *a, const struct blob *b)
{
    return a && b ? a->len == b->len && memcmp(a->data, b->data, a->len + 1) == 0 : a == b;
}

static void check_scan(const struct request *parsed, const char *text, size_t len)
{
    struct request scanned;
    if (!request_scan(&scanned, text, len))
        return;
    const struct command *a = scanned.command, *b = parsed->command;
    CHECK(parsed->kind == REQUEST_COMMAND && scanned.kind == REQUEST_COMMAND);
    CHECK(scanned.spelling == parsed->spelling);
    CHECK(scanned.id && parsed->id ? strcmp(scanned.id, parsed->id) == 0
                                   : scanned.id == parsed->id);
    CHECK(a->kind == b->kind && a->client == b->client && a->binary == b->binary);
    CHECK(same_bytes(a->name, b->name) && same_bytes(a->data, b->data));
    request_fini(&scanned);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct request request;
    request_parse(&request, (const char *)data + 1, size - 1,
                  data[0] & 1 ? ENVELOPE_B : ENVELOPE_A);
    CHECK((request.kind == REQUEST_BAD) == (request.why[0] != '\0'));
    check_scan(&request, (const char *)data + 1, size - 1);
    if (request.kind == REQUEST_CONSUME)
        check_topics(&request);
    if (request.kind == REQUEST_COMMAND)
        check_command(request.command);
    check_replies(&request, ENVELOPE_A);
    check_replies(&request, ENVELOPE_B);
    request_fini(&request);
    return 0;
}
