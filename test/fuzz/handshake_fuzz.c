/* An answer to a handshake must not change with the bytes that follow, and what is accepted must be
 * well-formed whatever way it is looked at. */
#include "proto/forwarded.h"
#include "proto/handshake.h"

#include "base/address.h"
#include "base/check.h"
#include "exact.h"
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum handshake_result parse(struct handshake *h, struct exact *exact, const uint8_t *data,
                                   size_t len)
{
    const char *block = exact_copy(exact, data, len);
    enum handshake_result result = handshake_parse(h, block, len);
    CHECK(len == 0 || memcmp(block, data, len) == 0);
    return result;
}

/* Returns false when the answer to the first `len` bytes is "more". */
static bool answered(const uint8_t *data, size_t len, enum handshake_result whole,
                     const struct handshake *of_whole)
{
    static struct handshake h;
    static struct exact prefix;
    enum handshake_result result = parse(&h, &prefix, data, len);
    if (result == HANDSHAKE_MORE)
        return false;
    CHECK(result == whole);
    CHECK(h.status == of_whole->status && h.why == of_whole->why);
    CHECK(h.head_len == of_whole->head_len && h.header_count == of_whole->header_count);
    return true;
}

/* The shortest prefix that is answered, found by halving: at each step the answer is held against
 * the one to the whole. */
static size_t first_answer(const uint8_t *data, size_t size, enum handshake_result whole,
                           const struct handshake *of_whole)
{
    size_t low = 0, high = size;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (answered(data, middle, whole, of_whole))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void check_slice(struct slice s, const char *block, size_t head_len)
{
    if (s.len == 0)
        return;
    CHECK(s.data >= block && s.data + s.len <= block + head_len);
    for (size_t i = 0; i < s.len; i++)
        CHECK((unsigned char)s.data[i] >= ' ' || s.data[i] == '\t');
    CHECK(s.data[0] != ' ' && s.data[0] != '\t');
    CHECK(s.data[s.len - 1] != ' ' && s.data[s.len - 1] != '\t');
}

static size_t count_lines(const char *head, size_t len)
{
    size_t lines = 0;
    for (size_t i = 0; i < len; i++)
        lines += head[i] == '\n';
    return lines;
}

static void check_headers(const struct handshake *h, const char *block)
{
    CHECK(h->header_count <= HANDSHAKE_HEADERS_MAX);
    CHECK(count_lines(block, h->head_len) == h->header_count + 2);
    for (size_t i = 0; i < h->header_count; i++) {
        check_slice(h->headers[i].name, block, h->head_len);
        check_slice(h->headers[i].value, block, h->head_len);
        CHECK(h->headers[i].name.len > 0);
        CHECK(!memchr(h->headers[i].name.data, ' ', h->headers[i].name.len));
    }
    CHECK(!handshake_find(h, "Transfer-Encoding"));
}

/* Whom the proxies name, when every address is one's own. */
static void check_forwarded(const struct handshake *h)
{
    char any4[] = "0.0.0.0/0", any6[] = "::/0", local[] = "unix", text[ADDRESS_TEXT];
    char *const all[] = {any4, any6, local, NULL}, *const nobody[] = {NULL};
    struct sockaddr_storage peer = {.ss_family = AF_UNIX}, again;
    CHECK(!forwarded_client(h, nobody, &peer) && peer.ss_family == AF_UNIX);
    bool found = forwarded_client(h, all, &peer);
    CHECK(!found || handshake_find(h, "X-Forwarded-For"));
    address_text(&peer, text);
    CHECK(address_from_text(&again, text, strlen(text)) && address_same_host(&peer, &again));
}

static void check_accepted(const struct handshake *h, const char *block)
{
    static const char start[] = "HTTP/1.1 101 Switching Protocols\r\n";
    struct buf answer = {0};
    CHECK(h->head_len >= 4 && h->head_len <= HANDSHAKE_HEAD_MAX);
    CHECK(memcmp(block + h->head_len - 4, "\r\n\r\n", 4) == 0);
    CHECK(h->method.len == 3 && memcmp(h->method.data, "GET", 3) == 0);
    CHECK(h->version.len == 8 && memcmp(h->version.data, "HTTP/1.1", 8) == 0);
    CHECK(h->uri.len > 0 && h->uri.data[0] == '/' && !memchr(h->uri.data, ' ', h->uri.len));
    CHECK(h->host.len > 0 && h->key.len == HANDSHAKE_KEY_LEN);
    check_slice(h->uri, block, h->head_len);
    check_headers(h, block);
    check_forwarded(h);
    handshake_answer(&answer, h, NULL);
    CHECK(answer.len > sizeof(start) && memcmp(answer.data, start, sizeof(start) - 1) == 0);
    CHECK(count_lines(answer.data, answer.len) == 5);
    buf_free(&answer);
}

static void check_refused(const struct handshake *h)
{
    struct buf answer = {0};
    CHECK(h->status == 400 || h->status == 405 || h->status == 426 || h->status == 431 ||
          h->status == 505);
    CHECK(h->why && h->why[0] && !strpbrk(h->why, "\r\n"));
    handshake_refuse(&answer, h->status, h->why);
    CHECK(answer.len > 0 && answer.data[answer.len - 1] == '\n');
    buf_free(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct handshake h;
    static struct exact whole;
    enum handshake_result result = parse(&h, &whole, data, size);
    size_t first = first_answer(data, size, result, &h);
    CHECK(result != HANDSHAKE_MORE || size < HANDSHAKE_HEAD_MAX);
    if (result == HANDSHAKE_MORE)
        CHECK(first == size);
    else
        CHECK(first > 0);
    if (result == HANDSHAKE_OK) {
        CHECK(first == h.head_len);
        check_accepted(&h, h.method.data); /* which the block begins with */
    }
    if (result == HANDSHAKE_BAD)
        check_refused(&h);
    return 0;
}
