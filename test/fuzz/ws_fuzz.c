/* The same stream is decoded whole and in pieces, with the sizes of the pieces chosen by the input:
 * the events must be the same, and the decoder's promises about memory and bytes left must hold.
 * Two targets are made of this, with compressed messages (WS_PACKED) and without.
 *
 * Input: byte 0 is the limit on messages (an exponent) and, in bit 6, whether a context is kept;
 * byte 1 the number of piece sizes that follow; then the stream. */
#include "proto/ws.h"

#include "base/check.h"
#include "exact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SCRATCH_MAX = 64 * 1024 };

struct setting {
    uint64_t max;
    bool keeps;
};

struct cuts {
    const uint8_t *sizes;
    size_t count;
};

struct run {
    struct ws_decoder decoder;
    struct deflate *deflate; /* NULL: no compression */
    struct buf uneaten, log;
    bool over;
};

/* As in a worker, all have these in common. */
static struct deflate_pool *pool;
static struct buf scratch;

static void check_item(const struct run *run, enum ws_event event, const struct ws_item *item)
{
    CHECK(!run->over);
    CHECK(event == WS_FAIL ? item->why != NULL : item->data != NULL);
    if (event == WS_MESSAGE) {
        CHECK(item->len <= run->decoder.max_message);
        CHECK(item->opcode == WS_OP_TEXT || item->opcode == WS_OP_BINARY);
        CHECK(item->opcode != WS_OP_TEXT || utf8_valid(item->data, item->len));
    } else if (event == WS_FAIL) {
        CHECK(item->code == 1002 || item->code == 1007 || item->code == 1009);
    } else {
        CHECK(item->len <= 125);
    }
    if (event == WS_CLOSE)
        CHECK((item->code == 0 && item->len == 0) ||
              (ws_close_code_valid(item->code) && utf8_valid(item->data, item->len)));
}

static void record(struct run *run, enum ws_event event, const struct ws_item *item)
{
    check_item(run, event, item);
    run->over = event == WS_CLOSE || event == WS_FAIL;
    buf_printf(&run->log, "%d %u %zu ", event, run->over ? item->code : item->opcode, item->len);
    if (item->len > 0)
        buf_append(&run->log, item->data, item->len);
}

static enum ws_event decode_exactly(struct run *run)
{
    static struct exact exact;
    struct ws_item item = {0};
    size_t len = run->uneaten.len, eaten;
    const char *copy = exact_copy(&exact, run->uneaten.data, len);
    enum ws_event event = ws_decode(&run->decoder, &scratch, copy, len, &eaten, &item);
    CHECK(eaten <= len);
    CHECK(len == 0 || memcmp(copy, run->uneaten.data, len) == 0);
    CHECK(event == WS_MORE || eaten > 0);
    if (event != WS_MORE)
        record(run, event, &item);
    CHECK(!run->over || eaten == len);
    buf_consume(&run->uneaten, eaten);
    return event;
}

static void check_bounds(const struct ws_begun *begun, uint64_t max)
{
    CHECK(begun->message.cap <= max);
    CHECK(begun->message.len <= max);
    CHECK(begun->packed || begun->message.len + begun->left <= max);
}

static size_t begun_len(const struct run *run)
{
    return run->decoder.begun ? run->decoder.begun->message.len : 0;
}

static void feed(struct run *run, const uint8_t *data, size_t len)
{
    const struct ws_decoder *decoder = &run->decoder;
    if (len > 0)
        buf_append(&run->uneaten, data, len);
    while (decode_exactly(run) != WS_MORE)
        continue;
    CHECK(run->uneaten.len <= WS_UNEATEN_MAX);
    CHECK(scratch.cap <= decoder->max_message || scratch.cap <= SCRATCH_MAX);
    if (decoder->begun)
        check_bounds(decoder->begun, decoder->max_message);
}

/* With the widest window what is inflated does not depend on how it was cut. */
static struct run run_new(const struct setting *setting)
{
    const struct deflate_terms terms = {setting->keeps, setting->keeps, 15, 15};
    struct run run = {0};
    ws_decoder_init(&run.decoder, setting->max);
    if (WS_PACKED) {
        run.deflate = deflate_new(pool, &terms);
        ws_decoder_inflate(&run.decoder, run.deflate);
    }
    return run;
}

static struct run decode(const struct setting *setting, const uint8_t *data, size_t size,
                         const struct cuts *cuts)
{
    struct run run = run_new(setting);
    for (size_t i = 0; size > 0; i++) {
        size_t len = cuts->count > 0 ? cuts->sizes[i % cuts->count] + 1u : size;
        len = len < size ? len : size;
        feed(&run, data, len);
        data += len;
        size -= len;
    }
    return run;
}

static void run_fini(struct run *run)
{
    ws_decoder_fini(&run->decoder);
    deflate_free(run->deflate);
    if (scratch.cap > SCRATCH_MAX)
        buf_free(&scratch);
    buf_free(&run->uneaten);
    buf_free(&run->log);
}

static void compare(const struct run *a, const struct run *b)
{
    CHECK(a->log.len == b->log.len);
    CHECK(a->log.len == 0 || memcmp(a->log.data, b->log.data, a->log.len) == 0);
    CHECK(a->over == b->over);
    CHECK(a->uneaten.len == b->uneaten.len);
    CHECK(ws_decoder_pending(&a->decoder) == ws_decoder_pending(&b->decoder));
    CHECK(begun_len(a) == begun_len(b));
}

/* What goes out must come in again, once it has a key. */
static void check_round_trip(const uint8_t *data, size_t size)
{
    struct buf frame = {0}, payload = {0};
    char header[WS_HEADER_MAX];
    if (WS_PACKED)
        deflate_pack_once(pool, 9 + size % 7, &payload, data, size);
    else
        buf_append(&payload, data, size);
    size_t start = WS_PACKED ? ws_header_packed(header, WS_OP_BINARY, payload.len)
                             : ws_header(header, WS_OP_BINARY, payload.len);
    header[1] |= (char)0x80;
    buf_append(&frame, header, start);
    buf_append(&frame, "\0\0\0", 4);
    buf_append(&frame, payload.data, payload.len);
    buf_free(&payload);
    const struct setting setting = {.max = size};
    const struct cuts whole = {NULL, 0};
    struct run run = decode(&setting, (const uint8_t *)frame.data, frame.len, &whole);
    CHECK(run.log.len > size && memcmp(run.log.data + run.log.len - size, data, size) == 0);
    CHECK(!run.over && !ws_decoder_pending(&run.decoder));
    run_fini(&run);
    buf_free(&frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size - 2 < data[1] % 8u)
        return 0;
    if (WS_PACKED && !pool)
        pool = deflate_pool_new();
    const struct setting setting = {(UINT64_C(1) << data[0] % 32) - 1, data[0] & 0x40};
    const struct cuts whole = {NULL, 0}, pieces = {data + 2, data[1] % 8};
    const uint8_t *stream = data + 2 + pieces.count;
    size_t len = size - 2 - pieces.count;
    struct run a = decode(&setting, stream, len, &whole),
               b = decode(&setting, stream, len, &pieces);
    compare(&a, &b);
    run_fini(&a);
    run_fini(&b);
    check_round_trip(stream, len);
    return 0;
}
