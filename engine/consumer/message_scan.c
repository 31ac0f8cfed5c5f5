/* Members stand in the order in which the engine writes them, with no white space in between. */
#include "consumer/message_scan.h"
#include "consumer/value.h"
#include <string.h>

enum { TOPICS_SCANNED = 16 }; /* events of the others are read the long way */

static const char *topic_of(const struct json_text *name, const char *const *topics)
{
    for (size_t i = 0; i < TOPICS_SCANNED && topics[i]; i++)
        if (strlen(topics[i]) == name->len && memcmp(topics[i], name->data, name->len) == 0)
            return topics[i];
    return NULL;
}

static bool scan_event(struct message *message, struct json_scan *scan, const char *const *topics)
{
    struct json_text node, client, topic;
    struct mix_event *event = &message->event;
    if (!json_scan_string(scan, &node) || !JSON_SCAN_LITERAL(scan, ",\"c\":") ||
        !json_scan_string(scan, &client) || !JSON_SCAN_LITERAL(scan, ",\"t\":") ||
        !json_scan_string(scan, &topic) || !JSON_SCAN_LITERAL(scan, ",\"d\":") ||
        !message_client(client.data, client.len, &event->client))
        return false;
    event->topic = topic.escaped ? NULL : topic_of(&topic, topics);
    event->data = event->topic ? value_scan(scan) : NULL;
    message->kind = MESSAGE_EVENT;
    message->root = event->data;
    return event->data && JSON_SCAN_LITERAL(scan, "},\"id\":null}") && json_scan_end(scan);
}

/* True for one client, a count for a channel. */
static bool scan_success(struct json_scan *scan)
{
    uint64_t count;
    return JSON_SCAN_LITERAL(scan, "true") || json_scan_count(scan, &count);
}

static bool scan_reply(struct message *message, struct json_scan *scan)
{
    uint64_t total;
    struct mix_reply *reply = &message->reply;
    if (!scan_success(scan) || !JSON_SCAN_LITERAL(scan, ",\"f\":") ||
        !json_scan_count(scan, &reply->failed) || !JSON_SCAN_LITERAL(scan, ",\"t\":") ||
        !json_scan_count(scan, &total) || !JSON_SCAN_LITERAL(scan, "},\"i\":") ||
        !json_scan_count(scan, &message->id) || !json_scan_char(scan, '}'))
        return false;
    reply->delivered = total > reply->failed ? total - reply->failed : 0;
    reply->message = "";
    message->kind = MESSAGE_REPLY;
    return json_scan_end(scan);
}

bool message_scan(struct message *message, const char *text, size_t len, const char *const *topics)
{
    struct json_scan scan = {text, text + len};
    struct message found = {0};
    bool done = false;
    if (JSON_SCAN_LITERAL(&scan, "{\"e\":\"queue.pop\",\"p\":{\"n\":"))
        done = scan_event(&found, &scan, topics);
    else if (JSON_SCAN_LITERAL(&scan, "{\"E\":null,\"r\":{\"s\":"))
        done = scan_reply(&found, &scan);
    if (done)
        *message = found;
    else
        message_fini(&found);
    return done;
}
