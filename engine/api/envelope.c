#include "api/envelope.h"
#include "base/json_string.h"
#include <stdbool.h>
#include <string.h>

static void append_id(struct buf *out, enum envelope_spelling spelling, const char *id)
{
    if (spelling != ENVELOPE_HTTP) {
        buf_append_str(out, spelling == ENVELOPE_A ? ",\"id\":" : ",\"i\":");
        buf_append_str(out, id ? id : "null");
    }
    buf_append_char(out, '}');
}

static void append_result(struct buf *out, enum envelope_spelling spelling)
{
    buf_append_str(out,
                   spelling == ENVELOPE_A ? "{\"error\":null,\"result\":" : "{\"E\":null,\"r\":");
}

void envelope_success(struct buf *out, enum envelope_spelling spelling, const char *id,
                      const struct blob *data)
{
    bool a = spelling == ENVELOPE_A;
    append_result(out, spelling);
    buf_append_str(out,
                   a ? "{\"success\":true,\"fail\":0,\"total\":1" : "{\"s\":true,\"f\":0,\"t\":1");
    if (data) {
        buf_append_str(out, a ? ",\"data\":" : ",\"d\":");
        buf_append(out, data->data, data->len);
    }
    buf_append_char(out, '}');
    append_id(out, spelling, id);
}

void envelope_published(struct buf *out, enum envelope_spelling spelling, const char *id,
                        uint32_t delivered, uint32_t failed)
{
    unsigned long long total = (unsigned long long)delivered + failed;
    append_result(out, spelling);
    if (spelling == ENVELOPE_A)
        buf_printf(out, "{\"success\":true,\"fail\":%u,\"total\":%llu}", failed, total);
    else
        buf_printf(out, "{\"s\":%u,\"f\":%u,\"t\":%llu}", delivered, failed, total);
    append_id(out, spelling, id);
}

void envelope_server_pong(struct buf *out, enum envelope_spelling spelling, const char *id)
{
    append_result(out, spelling);
    buf_append_str(out, spelling == ENVELOPE_A ? "{\"status\":\"server.pong\"}"
                                               : "{\"s\":\"server.pong\",\"m\":\"server.pong\"}");
    append_id(out, spelling, id);
}

void envelope_error(struct buf *out, enum envelope_spelling spelling, const char *id, int code,
                    const char *message)
{
    buf_printf(out,
               spelling == ENVELOPE_A ? "{\"error\":{\"code\":%d,\"message\":"
                                      : "{\"E\":{\"c\":%d,\"m\":",
               code);
    json_string_append(out, message, strlen(message));
    buf_append_char(out, '}');
    append_id(out, spelling, id);
}

void envelope_event(struct buf *head, struct buf *middle, enum envelope_spelling spelling,
                    const char *method, unsigned node, const char *topic, size_t topic_len)
{
    if (spelling == ENVELOPE_A) {
        buf_printf(head, "{\"event\":\"%s\",\"result\":{\"client_id\":\"", method);
        buf_append_str(middle, "\",\"queue\":");
    } else {
        buf_printf(head, "{\"e\":\"%s\",\"p\":{\"n\":\"%u\",\"c\":\"", method, node);
        buf_append_str(middle, "\",\"t\":");
    }
    json_string_append(middle, topic, topic_len);
    buf_append_str(middle, spelling == ENVELOPE_A ? ",\"data\":" : ",\"d\":");
}
