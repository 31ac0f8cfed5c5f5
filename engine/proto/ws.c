/* A message that is whole in the input passes at once; else it has begun, and its decoder is
 * between two of its frames (left == 0) or inside the payload of one (left > 0). Every check is
 * made in the order of the bytes that it needs, so that the events of a stream do not depend on how
 * the stream was cut. */
#include "proto/ws.h"

#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

enum {
    CODE_PROTOCOL = 1002,
    CODE_BAD_DATA = 1007,
    CODE_TOO_BIG = 1009,
    BIT_FIN = 0x80,
    BITS_RSV = 0x70,
    BIT_RSV1 = 0x40,
    BITS_OPCODE = 0x0F,
    BIT_CONTROL = 0x08,
    BIT_MASKED = 0x80,
    BITS_LENGTH = 0x7F,
    LENGTH_16 = 126,
    LENGTH_64 = 127,
    CONTROL_MAX = 125,
    REASON_MAX = CONTROL_MAX - 2,
    MASK_LEN = 4,
    MESSAGE_CAP_MIN = 256,
    PACKED_EXTRA = 1024,
    SCRATCH_KEEP = 64 * 1024,
};

struct header {
    uint8_t opcode;
    bool fin;
    bool packed;
    size_t size; /* of the header itself */
    uint64_t len;
    uint8_t mask[MASK_LEN];
};

enum header_state { HEADER_MORE, HEADER_WHOLE, HEADER_BAD };

static const char too_big[] = "message too big";

void ws_decoder_init(struct ws_decoder *decoder, uint64_t max_message)
{
    *decoder = (struct ws_decoder){.max_message = max_message};
}

static void drop_begun(struct ws_decoder *decoder)
{
    if (!decoder->begun)
        return;
    buf_free(&decoder->begun->message);
    free(decoder->begun);
    decoder->begun = NULL;
}

void ws_decoder_fini(struct ws_decoder *decoder)
{
    drop_begun(decoder);
}

void ws_decoder_inflate(struct ws_decoder *decoder, struct deflate *deflate)
{
    decoder->deflate = deflate;
}

bool ws_decoder_pending(const struct ws_decoder *decoder)
{
    return decoder->begun != NULL;
}

static void turn_mask(uint8_t mask[MASK_LEN], size_t by)
{
    uint8_t old[MASK_LEN];
    memcpy(old, mask, MASK_LEN);
    for (size_t i = 0; i < MASK_LEN; i++)
        mask[i] = old[(i + by) % MASK_LEN];
}

static uint64_t big_endian(const uint8_t *at, size_t len)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value = value << 8 | at[i];
    return value;
}

/* Only the first frame of a message says that it is compressed. */
static bool may_be_packed(const struct ws_decoder *decoder, uint8_t byte)
{
    uint8_t opcode = byte & BITS_OPCODE;
    return decoder->deflate && (byte & BITS_RSV) == BIT_RSV1 &&
           (opcode == WS_OP_TEXT || opcode == WS_OP_BINARY);
}

static const char *bad_first_byte(const struct ws_decoder *decoder, uint8_t byte)
{
    uint8_t opcode = byte & BITS_OPCODE;
    if (byte & BITS_RSV && !may_be_packed(decoder, byte))
        return "reserved bit set";
    if (opcode > WS_OP_PONG || (opcode > WS_OP_BINARY && opcode < WS_OP_CLOSE))
        return "reserved opcode";
    if (opcode & BIT_CONTROL)
        return byte & BIT_FIN ? NULL : "fragmented control frame";
    if (opcode == WS_OP_CONTINUATION && !ws_decoder_pending(decoder))
        return "continuation of nothing";
    if (opcode != WS_OP_CONTINUATION && ws_decoder_pending(decoder))
        return "new message inside an unfinished one";
    return NULL;
}

static const char *bad_second_byte(uint8_t opcode, uint8_t byte)
{
    if (!(byte & BIT_MASKED))
        return "frame is not masked";
    if (opcode & BIT_CONTROL && (byte & BITS_LENGTH) > CONTROL_MAX)
        return "control frame too long";
    return NULL;
}

/* The length field's own bytes: 0, 2 or 8. */
static size_t length_size(uint8_t byte)
{
    uint8_t length = byte & BITS_LENGTH;
    return length == LENGTH_64 ? 8 : length == LENGTH_16 ? 2 : 0;
}

static enum header_state bad_header(struct ws_item *item, uint16_t code, const char *why)
{
    item->code = code;
    item->why = why;
    return HEADER_BAD;
}

/* How long the frame may be. A compressed message may be an eighth longer than what it holds, as
 * the worst that a compressor does to what it cannot compress: 9 bits for a byte. */
static uint64_t room_for(const struct ws_decoder *decoder, const struct header *header)
{
    uint64_t max = decoder->max_message;
    if (!header->packed)
        return max - (decoder->begun ? decoder->begun->message.len : 0);
    uint64_t fed = decoder->begun ? deflate_fed(decoder->deflate) : 0;
    return max + max / 8 + PACKED_EXTRA - fed;
}

static enum header_state read_length(const struct ws_decoder *decoder, const uint8_t *at,
                                     size_t len, struct header *header, struct ws_item *item)
{
    size_t size = length_size(at[1]);
    if (size == 8 && len > 2 && at[2] & 0x80)
        return bad_header(item, CODE_PROTOCOL, "length above 63 bits");
    if (len < 2 + size)
        return HEADER_MORE;
    header->len = size == 0 ? at[1] & BITS_LENGTH : big_endian(at + 2, size);
    if ((size == 2 && header->len < LENGTH_16) || (size == 8 && header->len <= UINT16_MAX))
        return bad_header(item, CODE_PROTOCOL, "length is not in its shortest form");
    if (!(header->opcode & BIT_CONTROL) && header->len > room_for(decoder, header))
        return bad_header(item, CODE_TOO_BIG, too_big);
    header->size = 2 + size + MASK_LEN;
    return HEADER_WHOLE;
}

static enum header_state read_header(const struct ws_decoder *decoder, const uint8_t *at,
                                     size_t len, struct header *header, struct ws_item *item)
{
    const char *why;
    if (len < 1)
        return HEADER_MORE;
    if ((why = bad_first_byte(decoder, at[0])))
        return bad_header(item, CODE_PROTOCOL, why);
    header->opcode = at[0] & BITS_OPCODE;
    header->fin = at[0] & BIT_FIN;
    header->packed =
        header->opcode == WS_OP_CONTINUATION ? decoder->begun->packed : (at[0] & BIT_RSV1) != 0;
    if (len < 2)
        return HEADER_MORE;
    if ((why = bad_second_byte(header->opcode, at[1])))
        return bad_header(item, CODE_PROTOCOL, why);
    enum header_state state = read_length(decoder, at, len, header, item);
    if (state != HEADER_WHOLE)
        return state;
    if (len < header->size)
        return HEADER_MORE;
    memcpy(header->mask, at + header->size - MASK_LEN, MASK_LEN);
    return HEADER_WHOLE;
}

static enum ws_event end(struct ws_decoder *decoder, enum ws_event event)
{
    decoder->over = true;
    drop_begun(decoder);
    return event;
}

static enum ws_event fail(struct ws_decoder *decoder, struct ws_item *item, uint16_t code,
                          const char *why)
{
    *item = (struct ws_item){.code = code, .why = why};
    return end(decoder, WS_FAIL);
}

static enum ws_event fail_utf8(struct ws_decoder *decoder, struct ws_item *item)
{
    return fail(decoder, item, CODE_BAD_DATA, "not UTF-8");
}

static enum ws_event fail_too_big(struct ws_decoder *decoder, struct ws_item *item)
{
    return fail(decoder, item, CODE_TOO_BIG, too_big);
}

/* A payload that is whole in the input, unmasked into the scratch buffer. */
static void take_whole(struct buf *scratch, const struct header *header, const char *payload,
                       struct ws_item *item)
{
    size_t len = (size_t)header->len;
    scratch->len = 0;
    char *to = buf_reserve(scratch, len + 1);
    ws_mask(to, payload, len, header->mask);
    scratch->len = len;
    *item = (struct ws_item){.opcode = header->opcode, .data = to, .len = len};
}

static enum ws_event take_close(struct ws_decoder *decoder, struct ws_item *item)
{
    if (item->len == 0)
        return end(decoder, WS_CLOSE);
    if (item->len == 1)
        return fail(decoder, item, CODE_PROTOCOL, "close frame of one byte");
    item->code = (uint16_t)big_endian((const uint8_t *)item->data, 2);
    if (!ws_close_code_valid(item->code))
        return fail(decoder, item, CODE_PROTOCOL, "bad close code");
    item->data += 2;
    item->len -= 2;
    if (!utf8_valid(item->data, item->len))
        return fail(decoder, item, CODE_BAD_DATA, "close reason is not UTF-8");
    return end(decoder, WS_CLOSE);
}

static enum ws_event take_control(struct ws_decoder *decoder, struct ws_item *item)
{
    if (item->opcode == WS_OP_CLOSE)
        return take_close(decoder, item);
    return item->opcode == WS_OP_PING ? WS_PING : WS_PONG;
}

static enum ws_event take_message(struct ws_decoder *decoder, struct ws_item *item)
{
    if (item->opcode == WS_OP_TEXT && !utf8_valid(item->data, item->len))
        return fail_utf8(decoder, item);
    return WS_MESSAGE;
}

static void begin_frame(struct ws_decoder *decoder, const struct header *header)
{
    if (!decoder->begun) {
        decoder->begun = xcalloc(1, sizeof *decoder->begun);
        decoder->begun->opcode = header->opcode;
        decoder->begun->packed = header->packed;
    }
    decoder->begun->left = header->len;
    decoder->begun->fin = header->fin;
    memcpy(decoder->begun->mask, header->mask, MASK_LEN);
}

/* Memory follows what has arrived, not what was announced; it at least doubles, so that many small
 * pieces cost linear time, but ends where the message must end. */
static char *reserve(struct ws_decoder *decoder, size_t extra)
{
    struct buf *message = &decoder->begun->message;
    uint64_t most = decoder->begun->fin && !decoder->begun->packed
                        ? message->len + decoder->begun->left
                        : decoder->max_message;
    uint64_t cap = message->cap * 2 > MESSAGE_CAP_MIN ? message->cap * 2 : MESSAGE_CAP_MIN;
    if (message->cap - message->len >= extra)
        return message->data + message->len;
    if (cap > most)
        cap = most;
    if (cap < message->len + extra)
        cap = message->len + extra;
    message->data = xrealloc(message->data, (size_t)cap);
    message->cap = (size_t)cap;
    return message->data + message->len;
}

static void unmask_next(struct ws_decoder *decoder, char *to, const char *data, size_t len)
{
    ws_mask(to, data, len, decoder->begun->mask);
    turn_mask(decoder->begun->mask, len);
    decoder->begun->left -= len;
}

/* The last `len` bytes of the message, which are new. Returns false when they are not the text they
 * must be. */
static bool check_text(struct ws_decoder *decoder, const char *data, size_t len)
{
    return decoder->begun->opcode != WS_OP_TEXT || utf8_feed(&decoder->begun->utf8, data, len);
}

/* What `data` has of the current frame's payload. WS_MORE, or WS_FAIL. */
static enum ws_event take_piece(struct ws_decoder *decoder, const char *data, size_t len,
                                struct ws_item *item)
{
    char *to = reserve(decoder, len);
    unmask_next(decoder, to, data, len);
    decoder->begun->message.len += len;
    return check_text(decoder, to, len) ? WS_MORE : fail_utf8(decoder, item);
}

/* A piece that would go beyond the limit is taken up to there: its text fails first if it is bad,
 * however the stream was cut. */
static enum ws_event append_inflated(struct ws_decoder *decoder, struct slice piece,
                                     struct ws_item *item)
{
    uint64_t room = decoder->max_message - decoder->begun->message.len;
    if (room == 0)
        return fail_too_big(decoder, item);
    size_t len = piece.len < room ? piece.len : (size_t)room;
    char *to = reserve(decoder, len);
    memcpy(to, piece.data, len);
    decoder->begun->message.len += len;
    if (!check_text(decoder, to, len))
        return fail_utf8(decoder, item);
    return len == piece.len ? WS_MORE : fail_too_big(decoder, item);
}

static enum ws_event inflate_fed(struct ws_decoder *decoder, struct ws_item *item)
{
    for (;;) {
        struct slice piece;
        enum deflate_state state = deflate_pull(decoder->deflate, &piece);
        if (state == DEFLATE_MORE)
            return WS_MORE;
        if (state == DEFLATE_BAD)
            return fail(decoder, item, CODE_BAD_DATA, "not deflate data");
        enum ws_event event = append_inflated(decoder, piece, item);
        if (event != WS_MORE)
            return event;
    }
}

static enum ws_event take_packed_piece(struct ws_decoder *decoder, struct buf *scratch,
                                       const char *data, size_t len, struct ws_item *item)
{
    scratch->len = 0;
    char *to = buf_reserve(scratch, len);
    unmask_next(decoder, to, data, len);
    deflate_feed(decoder->deflate, to, len);
    return inflate_fed(decoder, item);
}

/* No byte at all stands for no message at all: some clients send that where one byte would say it.
 */
static enum ws_event end_packed(struct ws_decoder *decoder, struct ws_item *item)
{
    if (deflate_fed(decoder->deflate) == 0)
        return WS_MORE;
    deflate_feed_end(decoder->deflate);
    return inflate_fed(decoder, item);
}

/* The joined message moves to the scratch buffer: no big memory stays with a silent connection. */
static enum ws_event finish_message(struct ws_decoder *decoder, struct buf *scratch,
                                    struct ws_item *item)
{
    if (decoder->begun->opcode == WS_OP_TEXT && !utf8_done(&decoder->begun->utf8))
        return fail_utf8(decoder, item);
    buf_free(scratch);
    *scratch = decoder->begun->message;
    *item = (struct ws_item){.opcode = decoder->begun->opcode,
                             .data = scratch->len > 0 ? scratch->data : "",
                             .len = scratch->len};
    free(decoder->begun);
    decoder->begun = NULL;
    return WS_MESSAGE;
}

/* Between frames. WS_MORE: a data frame has begun that is not a message by itself, or, with nothing
 * eaten, what there is of the next frame must wait. */
static enum ws_event take_frame(struct ws_decoder *decoder, struct buf *scratch, const char *data,
                                size_t len, size_t *eaten, struct ws_item *item)
{
    struct header header;
    enum header_state state = read_header(decoder, (const uint8_t *)data, len, &header, item);
    if (state == HEADER_BAD)
        return fail(decoder, item, item->code, item->why);
    if (state == HEADER_MORE)
        return WS_MORE;
    bool control = header.opcode & BIT_CONTROL, whole = len - header.size >= header.len;
    if (control && !whole)
        return WS_MORE;
    *eaten += header.size;
    decoder->frames++;
    if (control || (whole && header.fin && header.opcode != WS_OP_CONTINUATION && !header.packed)) {
        *eaten += (size_t)header.len;
        take_whole(scratch, &header, data + header.size, item);
        return control ? take_control(decoder, item) : take_message(decoder, item);
    }
    begin_frame(decoder, &header);
    return WS_MORE;
}

/* Inside a frame. WS_MORE: it needs more input, or it has ended and its message has not. */
static enum ws_event take_payload(struct ws_decoder *decoder, struct buf *scratch, const char *data,
                                  size_t len, size_t *eaten, struct ws_item *item)
{
    enum ws_event event = WS_MORE;
    if (len > decoder->begun->left)
        len = (size_t)decoder->begun->left;
    *eaten += len;
    if (len > 0)
        event = decoder->begun->packed ? take_packed_piece(decoder, scratch, data, len, item)
                                       : take_piece(decoder, data, len, item);
    if (event != WS_MORE || decoder->begun->left > 0 || !decoder->begun->fin)
        return event;
    if (decoder->begun->packed)
        event = end_packed(decoder, item);
    return event == WS_MORE ? finish_message(decoder, scratch, item) : event;
}

static enum ws_event next_event(struct ws_decoder *decoder, struct buf *scratch, const char *data,
                                size_t len, size_t *eaten, struct ws_item *item)
{
    for (;;) {
        if (!decoder->begun || decoder->begun->left == 0) {
            size_t before = *eaten;
            enum ws_event event =
                take_frame(decoder, scratch, data + *eaten, len - *eaten, eaten, item);
            if (event != WS_MORE || *eaten == before)
                return event;
        }
        enum ws_event event =
            take_payload(decoder, scratch, data + *eaten, len - *eaten, eaten, item);
        if (event != WS_MORE || decoder->begun->left > 0)
            return event;
    }
}

enum ws_event ws_decode(struct ws_decoder *decoder, struct buf *scratch, const char *data,
                        size_t len, size_t *eaten, struct ws_item *item)
{
    enum ws_event event = WS_MORE;
    *eaten = 0;
    if (scratch->cap > SCRATCH_KEEP)
        buf_free(scratch);
    if (!decoder->over && len > 0)
        event = next_event(decoder, scratch, data, len, eaten, item);
    if (decoder->over)
        *eaten = len;
    return event;
}

size_t ws_header_packed(char out[WS_HEADER_MAX], enum ws_opcode opcode, size_t len)
{
    size_t size = ws_header(out, opcode, len);
    out[0] |= BIT_RSV1;
    return size;
}

void ws_encode(struct buf *out, enum ws_opcode opcode, const void *data, size_t len)
{
    char *to = buf_reserve(out, WS_HEADER_MAX + len);
    size_t size = ws_header(to, opcode, len);
    if (len > 0)
        memcpy(to + size, data, len);
    out->len += size + len;
}

void ws_encode_close(struct buf *out, uint16_t code, const char *reason)
{
    char body[CONTROL_MAX] = {(char)(code >> 8), (char)code};
    size_t len = reason && code != 0 ? utf8_prefix(reason, strnlen(reason, REASON_MAX)) : 0;
    if (len > 0)
        memcpy(body + 2, reason, len);
    ws_encode(out, WS_OP_CLOSE, body, code == 0 ? 0 : 2 + len);
}

bool ws_close_code_valid(uint16_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}
