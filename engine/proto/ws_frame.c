#include "proto/ws_frame.h"
#include <string.h>

enum {
    BIT_FIN = 0x80,
    BIT_MASKED = 0x80,
    BITS_LENGTH = 0x7F,
    LENGTH_16 = 126,
    LENGTH_64 = 127,
    MASK_LEN = 4,
    LENGTH_7_MAX = 125,
    /* Left before a payload: what most frames need, so that few payloads have to be moved far. */
    ROOM = 8,
};

size_t ws_header(char out[WS_HEADER_MAX], enum ws_opcode opcode, size_t len)
{
    size_t size = len > UINT16_MAX ? 8 : len > LENGTH_7_MAX ? 2 : 0;
    out[0] = (char)(BIT_FIN | opcode);
    out[1] = (char)(size == 8 ? LENGTH_64 : size == 2 ? LENGTH_16 : len);
    for (size_t i = 0; i < size; i++)
        out[2 + i] = (char)((uint64_t)len >> 8 * (size - 1 - i));
    return 2 + size;
}

void ws_mask(char *to, const char *from, size_t len, const uint8_t mask[MASK_LEN])
{
    uint64_t key, word;
    memcpy(&key, mask, MASK_LEN);
    memcpy((char *)&key + MASK_LEN, mask, MASK_LEN);
    size_t i = 0;
    for (; len - i >= sizeof(word); i += sizeof(word)) {
        memcpy(&word, from + i, sizeof(word));
        word ^= key;
        memcpy(to + i, &word, sizeof(word));
    }
    for (; i < len; i++)
        to[i] = (char)(from[i] ^ mask[i % MASK_LEN]);
}

size_t ws_frame_begin(struct buf *out)
{
    size_t begun = out->len;
    buf_reserve(out, ROOM);
    out->len += ROOM;
    return begun;
}

size_t ws_frame_payload(const struct buf *out, size_t begun)
{
    return out->len - begun - ROOM;
}

void ws_frame_end(struct buf *out, size_t begun, enum ws_opcode opcode,
                  const uint8_t mask[MASK_LEN])
{
    char header[WS_HEADER_MAX + MASK_LEN];
    size_t len = ws_frame_payload(out, begun), size = ws_header(header, opcode, len);
    if (mask) {
        header[1] = (char)(header[1] | BIT_MASKED);
        memcpy(header + size, mask, MASK_LEN);
        size += MASK_LEN;
    }
    buf_reserve(out, sizeof header);
    char *frame = out->data + begun, *payload = frame + size;
    memmove(payload, frame + ROOM, len);
    if (mask)
        ws_mask(payload, payload, len, mask);
    memcpy(frame, header, size);
    out->len = begun + size + len;
}

size_t ws_frame_size(const char *frame)
{
    const uint8_t *at = (const uint8_t *)frame;
    uint64_t len = at[1] & BITS_LENGTH;
    size_t more = len == LENGTH_64 ? 8 : len == LENGTH_16 ? 2 : 0;
    if (more > 0)
        len = 0;
    for (size_t i = 0; i < more; i++)
        len = len << 8 | at[2 + i];
    return 2 + more + (at[1] & BIT_MASKED ? (size_t)MASK_LEN : 0) + (size_t)len;
}
