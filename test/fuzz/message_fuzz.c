/* Any bytes as a frame from the engine: where the library reads it the short way it must be what
 * the long way makes of it. */
#include "base/check.h"
#include "consumer/message_scan.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_event(const struct mix_event *a, const struct mix_event *b)
{
    CHECK(a->client == b->client);
    CHECK(strcmp(a->topic, b->topic) == 0);
    CHECK(json_equal(a->data, b->data));
}

static void check_reply(const struct message *a, const struct message *b)
{
    CHECK(a->id == b->id);
    CHECK(a->reply.status == b->reply.status && a->reply.code == b->reply.code);
    CHECK(strcmp(a->reply.message, b->reply.message) == 0);
    CHECK(a->reply.delivered == b->reply.delivered && a->reply.failed == b->reply.failed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const topics[] = {"chat", "conn", "", NULL};
    struct message scanned, parsed;
    message_parse(&parsed, (const char *)data, size);
    if (message_scan(&scanned, (const char *)data, size, topics)) {
        CHECK(scanned.kind == parsed.kind);
        if (parsed.kind == MESSAGE_EVENT)
            check_event(&scanned.event, &parsed.event);
        else
            check_reply(&scanned, &parsed);
        message_fini(&scanned);
    }
    message_fini(&parsed);
    return 0;
}
