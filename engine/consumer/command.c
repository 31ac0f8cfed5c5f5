#include "consumer/command.h"
#include "base/decimal.h"
#include "base/json_string.h"
#include "proto/utf8.h"
#include <errno.h>
#include <string.h>

/* ---- parts of a frame ---- */

static void append_decimal(struct buf *out, uint64_t number)
{
    char digits[DECIMAL_TEXT];
    buf_append(out, digits, decimal_format(number, digits));
}

static int append_text(struct buf *out, const char *text, size_t len)
{
    if (len > COMMAND_MAX)
        return -EMSGSIZE;
    if (!utf8_valid(text, len))
        return -EINVAL;
    json_string_append(out, text, len);
    return 0;
}

static int append_word(struct buf *out, const char *text)
{
    return text ? append_text(out, text, strlen(text)) : -EINVAL;
}

static int append_words(struct buf *out, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_append_char(out, ',');
        int status = append_word(out, words[i]);
        if (status)
            return status;
    }
    return 0;
}

static void encode_three(char *out, const unsigned char *in, size_t len)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned second = len > 1 ? in[1] : 0, third = len > 2 ? in[2] : 0;
    out[0] = alphabet[in[0] >> 2];
    out[1] = alphabet[(in[0] & 3u) << 4 | second >> 4];
    out[2] = len > 1 ? alphabet[(second & 15) << 2 | third >> 6] : '=';
    out[3] = len > 2 ? alphabet[third & 63] : '=';
}

static int append_base64(struct buf *out, const unsigned char *bytes, size_t len)
{
    if (len > COMMAND_MAX)
        return -EMSGSIZE;
    buf_append_char(out, '"');
    char *to = buf_reserve(out, (len + 2) / 3 * 4);
    for (size_t i = 0; i < len; i += 3, to += 4)
        encode_three(to, bytes + i, len - i);
    out->len += (len + 2) / 3 * 4;
    buf_append_char(out, '"');
    return 0;
}

static int on_dumped(const char *text, size_t len, void *data)
{
    buf_append(data, text, len);
    return 0;
}

static int append_json(struct buf *out, json_t *value)
{
    const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY;
    return value && json_dump_callback(value, on_dumped, out, flags) == 0 ? 0 : -EINVAL;
}

/* Ends a frame that began at out->data + from. */
static int end(struct buf *out, size_t from, uint64_t id, const char *closing)
{
    buf_append_str(out, closing);
    buf_append_str(out, ",\"i\":");
    append_decimal(out, id);
    buf_append_char(out, '}');
    return out->len - from > COMMAND_MAX ? -EMSGSIZE : 0;
}

/* ---- frames ---- */

int command_consume(struct buf *out, uint64_t id, const char *const *topics)
{
    size_t from = out->len, count = 0;
    while (topics[count])
        count++;
    buf_append_str(out, "{\"m\":\"queue.pop\",\"p\":{\"t\":[");
    int status = append_words(out, topics, count);
    return status ? status : end(out, from, id, "]}");
}

int command_unconsume(struct buf *out, uint64_t id)
{
    size_t from = out->len;
    buf_append_str(out, "{\"m\":\"queue.unpop\",\"p\":{");
    return end(out, from, id, "}");
}

static int end_message(struct buf *out, size_t from, uint64_t id, const void *data, size_t len,
                       bool binary)
{
    buf_append_str(out, ",\"d\":");
    int status = binary ? append_base64(out, data, len) : append_text(out, data, len);
    return status ? status : end(out, from, id, binary ? ",\"t\":\"binary\"}" : "}");
}

int command_send(struct buf *out, uint64_t id, uint64_t client, const void *data, size_t len,
                 bool binary)
{
    size_t from = out->len;
    buf_append_str(out, "{\"m\":\"mesh.send\",\"p\":{\"c\":\"");
    append_decimal(out, client);
    buf_append_char(out, '"');
    return end_message(out, from, id, data, len, binary);
}

int command_publish(struct buf *out, uint64_t id, const char *channel, const void *data, size_t len,
                    bool binary)
{
    size_t from = out->len;
    buf_append_str(out, "{\"m\":\"mesh.publish\",\"p\":{\"c\":");
    int status = append_word(out, channel);
    return status ? status : end_message(out, from, id, data, len, binary);
}

static void begin_call(struct buf *out, uint64_t client, const char *function)
{
    buf_append_str(out, "{\"m\":\"conn.call\",\"p\":{\"c\":\"");
    append_decimal(out, client);
    buf_append_str(out, "\",\"f\":\"");
    buf_append_str(out, function);
    buf_append_str(out, "\",\"a\":[");
}

int command_channels(struct buf *out, uint64_t id, uint64_t client, const char *function,
                     const char *const *channels, size_t count)
{
    size_t from = out->len;
    begin_call(out, client, function);
    int status = append_words(out, channels, count);
    return status ? status : end(out, from, id, "]}");
}

int command_context_value(struct buf *out, uint64_t id, uint64_t client, const char *key,
                          json_t *value)
{
    size_t from = out->len;
    begin_call(out, client, "set_context_value");
    int status = append_word(out, key);
    if (status)
        return status;
    buf_append_char(out, ',');
    status = append_json(out, value);
    return status ? status : end(out, from, id, "]}");
}

int command_context(struct buf *out, uint64_t id, uint64_t client, json_t *object)
{
    size_t from = out->len;
    if (!json_is_object(object))
        return -EINVAL;
    begin_call(out, client, "set_context");
    int status = append_json(out, object);
    return status ? status : end(out, from, id, "]}");
}
