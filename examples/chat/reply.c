#include "reply.h"
#include "mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OP_MAX = 32 };

/* Takes the value. Keys stay in the order in which they were set. */
static char *text_of(json_t *value)
{
    char *text = mem_given(json_dumps(mem_given(value), JSON_COMPACT));
    json_decref(value);
    return text;
}

/* Not in the middle of a character. */
static size_t cut(const char *text, size_t max)
{
    size_t len = strnlen(text, max + 1);
    if (len <= max)
        return len;
    for (len = max; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80;)
        len--;
    return len;
}

char *reply_success(const char *op)
{
    return text_of(json_pack("{s:s, s:b}", "op", op, "success", 1));
}

char *reply_error(const char *op, const char *error)
{
    if (!op)
        return text_of(json_pack("{s:s}", "error", error));
    return text_of(json_pack("{s:s%, s:s}", "op", op, cut(op, OP_MAX), "error", error));
}

char *reply_event(int64_t uid, const struct args_message *message)
{
    char head[48];
    size_t head_len = (size_t)snprintf(head, sizeof head, "uid:%" PRId64 ",message:", uid);
    char *data = mem_new(head_len + message->len);
    memcpy(data, head, head_len);
    memcpy(data + head_len, message->text, message->len);
    json_t *event = json_pack("{s:s, s:s, s:s%}", "event", "subscribe", "channel", message->channel,
                              "data", data, head_len + message->len);
    free(data);
    return text_of(event);
}
