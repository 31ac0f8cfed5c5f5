#include "frame.h"
#include <string.h>

enum {
    BIT_FIN = 0x80,
    BITS_RESERVED = 0x70,
    BITS_OPCODE = 0x0f,
    BIT_CONTROL = 0x08,
    BIT_MASKED = 0x80,
    BITS_LENGTH = 0x7f,
    LENGTH_16 = 126,
    LENGTH_64 = 127,
    CONTROL_MAX = 125,
    MASK_LEN = 4,
};

void frame_reader_free(struct frame_reader *reader)
{
    buf_free(&reader->message);
}

static const char *bad_first_byte(const struct frame_reader *reader, uint8_t byte)
{
    uint8_t opcode = byte & BITS_OPCODE;
    if (byte & BITS_RESERVED)
        return "reserved bits set";
    if (opcode > WS_OP_PONG || (opcode > WS_OP_BINARY && opcode < WS_OP_CLOSE))
        return "reserved opcode";
    if (opcode & BIT_CONTROL)
        return byte & BIT_FIN ? NULL : "fragmented control frame";
    if (opcode == WS_OP_CONTINUATION)
        return reader->begun ? NULL : "continuation of nothing";
    return reader->begun ? "new message inside an unfinished one" : NULL;
}

static const char *bad_second_byte(uint8_t opcode, uint8_t byte)
{
    if (byte & BIT_MASKED)
        return "server frame is masked";
    if (opcode & BIT_CONTROL && (byte & BITS_LENGTH) > CONTROL_MAX)
        return "control frame too long";
    return NULL;
}

/* The header's own length. */
static size_t header_size(uint8_t byte)
{
    uint8_t length = byte & BITS_LENGTH;
    return length == LENGTH_64 ? 10 : length == LENGTH_16 ? 4 : 2;
}

static const char *read_length(const uint8_t *at, size_t header, uint64_t *length)
{
    *length = at[1] & BITS_LENGTH;
    if (header > 2)
        *length = 0;
    for (size_t i = 2; i < header; i++)
        *length = *length << 8 | at[i];
    if ((header == 4 && *length < LENGTH_16) || (header == 10 && *length <= UINT16_MAX))
        return "length is not in its shortest form";
    return *length > FRAME_PAYLOAD_MAX ? "frame above 64 MiB" : NULL;
}

static enum frame_event bad(struct frame_item *item, const char *why)
{
    item->why = why;
    return FRAME_BAD;
}

/* A piece of a message that came in several. */
static enum frame_event take_piece(struct frame_reader *reader, bool fin, struct frame_item *item)
{
    if (reader->told)
        reader->message.len = 0;
    if (reader->message.len + item->len > FRAME_PAYLOAD_MAX)
        return bad(item, "message above 64 MiB");
    buf_append(&reader->message, item->data, item->len);
    reader->begun = !fin;
    reader->told = fin;
    item->data = reader->message.data ? reader->message.data : "";
    item->len = reader->message.len;
    return fin ? FRAME_MESSAGE : FRAME_NEXT;
}

static enum frame_event take(struct frame_reader *reader, uint8_t first, struct frame_item *item)
{
    bool fin = first & BIT_FIN;
    switch (first & BITS_OPCODE) {
    case WS_OP_CLOSE:
        return item->len == 1 ? bad(item, "close frame of one byte") : FRAME_CLOSE;
    case WS_OP_PING:
        return FRAME_PING;
    case WS_OP_PONG:
        return FRAME_PONG;
    case WS_OP_CONTINUATION:
        return take_piece(reader, fin, item);
    default:
        return fin ? FRAME_MESSAGE : take_piece(reader, fin, item);
    }
}

enum frame_event frame_read(struct frame_reader *reader, const char *data, size_t len, size_t *used,
                            struct frame_item *item)
{
    const uint8_t *at = (const uint8_t *)data;
    const char *why;
    uint64_t length;
    *used = 0;
    if (len < 2)
        return FRAME_MORE;
    if ((why = bad_first_byte(reader, at[0])) ||
        (why = bad_second_byte(at[0] & BITS_OPCODE, at[1])))
        return bad(item, why);
    size_t header = header_size(at[1]);
    if (len < header)
        return FRAME_MORE;
    if ((why = read_length(at, header, &length)))
        return bad(item, why);
    if (len - header < length)
        return FRAME_MORE;
    *used = header + (size_t)length;
    *item = (struct frame_item){.data = data + header, .len = (size_t)length};
    return take(reader, at[0], item);
}

/* Eight bytes at a time. */
static void mask_into(char *to, const char *from, size_t len, uint32_t mask)
{
    uint64_t key = (uint64_t)mask << 32 | mask, word;
    size_t i = 0;
    for (; len - i >= sizeof word; i += sizeof word) {
        memcpy(&word, from + i, sizeof word);
        word ^= key;
        memcpy(to + i, &word, sizeof word);
    }
    char bytes[MASK_LEN];
    memcpy(bytes, &mask, MASK_LEN);
    for (; i < len; i++)
        to[i] = (char)(from[i] ^ bytes[i % MASK_LEN]);
}

void frame_write(struct buf *out, enum ws_opcode opcode, const char *data, size_t len,
                 uint32_t mask)
{
    char *to = buf_reserve(out, WS_HEADER_MAX + MASK_LEN + len);
    size_t header = ws_header(to, opcode, len);
    to[1] = (char)(to[1] | BIT_MASKED);
    memcpy(to + header, &mask, MASK_LEN);
    mask_into(to + header + MASK_LEN, data, len, mask);
    out->len += header + MASK_LEN + len;
}
