#include "proto/handshake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ==" /* RFC 6455, section 1.3 */
#define HOST "Host: example.org:6790\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEYED "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n"
#define REST HOST UPGRADE KEYED
#define LINE "GET /chat?x=1 HTTP/1.1\r\n"
#define GOOD LINE REST "\r\n"

/* Parses a block of exactly that size, so that a sanitizer sees a read beyond it. The slices
 * of *out are void. */
static enum handshake_result parse(struct handshake *out, const char *data, size_t len)
{
    char *exact = malloc(len ? len : 1);
    memcpy(exact, data, len);
    enum handshake_result result = handshake_parse(out, exact, len);
    free(exact);
    return result;
}

/* The answer at the end, once it is known at each later byte too, and nothing but "more" before. */
static int check_all_prefixes(const char *text, size_t len, enum handshake_result want, int status)
{
    struct handshake h;
    size_t known = 0;
    for (size_t i = 0; i <= len; i++) {
        enum handshake_result result = parse(&h, text, i);
        if (result == HANDSHAKE_MORE && known == 0)
            continue;
        known = known ? known : i;
        if (result != want || (want == HANDSHAKE_BAD && (h.status != status || !h.why)))
            fail_msg("after %zu bytes of: %s", i, text);
    }
    if (known == 0)
        fail_msg("no answer to: %s", text);
    return (int)known;
}

static void assert_slice(struct slice got, const char *want)
{
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.data, want, got.len);
}

static void parts_of_a_request(void **state)
{
    static const char text[] = LINE "host:\t[::1]:80 \r\n"
                                    "X-Empty:\r\n"
                                    "x-real-ip:  10.0.0.1\t \r\n" UPGRADE KEYED
                                    "Sec-WebSocket-Extensions: permessage-deflate; a=\"b, c\"\r\n"
                                    "Sec-WebSocket-Extensions: second\r\n"
                                    "Sec-WebSocket-Protocol: chat, superchat\r\n"
                                    "Origin: http://example.org\r\n"
                                    "\r\nfirst frames";
    struct handshake h;
    (void)state;
    assert_int_equal(handshake_parse(&h, text, sizeof(text) - 1), HANDSHAKE_OK);
    assert_int_equal(h.head_len, sizeof(text) - 1 - strlen("first frames"));
    assert_slice(h.method, "GET");
    assert_slice(h.uri, "/chat?x=1");
    assert_slice(h.version, "HTTP/1.1");
    assert_slice(h.host, "[::1]:80");
    assert_slice(h.key, KEY);
    const struct handshake_header *extensions =
        handshake_next(&h, "sec-websocket-extensions", NULL);
    assert_slice(extensions->value, "permessage-deflate; a=\"b, c\"");
    extensions = handshake_next(&h, "sec-websocket-extensions", extensions);
    assert_slice(extensions->value, "second");
    assert_null(handshake_next(&h, "sec-websocket-extensions", extensions));
    assert_slice(h.protocols, "chat, superchat");
    assert_slice(h.origin, "http://example.org");
    assert_int_equal(h.header_count, 11);
    assert_slice(h.headers[1].name, "X-Empty");
    assert_slice(h.headers[1].value, "");
    assert_slice(handshake_find(&h, "X-Real-IP")->value, "10.0.0.1");
    assert_null(handshake_find(&h, "X-Real"));
    assert_null(handshake_find(&h, "X-Real-IP2"));
}

static void absent_headers_are_empty(void **state)
{
    struct handshake h;
    (void)state;
    assert_int_equal(handshake_parse(&h, GOOD, strlen(GOOD)), HANDSHAKE_OK);
    assert_null(handshake_next(&h, "Sec-WebSocket-Extensions", NULL));
    assert_int_equal(h.protocols.len, 0);
    assert_int_equal(h.origin.len, 0);
}

static const char *const good[] = {
    GOOD,
    "GET / HTTP/1.1\r\n" HOST KEYED "Upgrade: foo/2, WebSocket\r\n"
    "Connection: keep-alive,\tupgrade\r\n\r\n",
    "GET / HTTP/1.1\r\n" HOST KEYED "upgrade: ,\r\nUPGRADE:WEBSOCKET\r\n"
    "connection: keep-alive\r\ncONNECTION: ,UPGRADE,\r\n\r\n",
    "GET /\xE4\xBD\xA0 HTTP/1.1\r\nX: \xFF caf\xE9\r\n" REST "\r\n",
    LINE REST "Content-Length: 0\r\n\r\n",
    LINE REST "~!#$%&'*+-.^_`|09azAZ: every token character\r\n\r\n",
};

static void good_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        struct buf more = {0};
        buf_append_str(&more, good[i]);
        buf_append_str(&more, "\x81\x80\r\n\r\nGET / HTTP/1.0\r\n\r\n");
        assert_int_equal(check_all_prefixes(more.data, more.len, HANDSHAKE_OK, 0), strlen(good[i]));
        buf_free(&more);
    }
}

static const struct {
    const char *target, *uri;
} targets[] = {
    {"http://example.org/chat?a=b", "/chat?a=b"},
    {"WSS://example.org:6790/", "/"},
    {"ws://[::1]:80//x", "//x"},
    {"https://example.org", "/"},
};

static void absolute_targets(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(targets) / sizeof(*targets); i++) {
        struct buf text = {0};
        struct handshake h;
        buf_printf(&text, "GET %s HTTP/1.1\r\n" REST "\r\n", targets[i].target);
        assert_int_equal(handshake_parse(&h, text.data, text.len), HANDSHAKE_OK);
        assert_slice(h.uri, targets[i].uri);
        buf_free(&text);
    }
}

static const struct {
    int status;
    const char *text;
} refused[] = {
    {405, "POST / HTTP/1.1\r\n" REST "\r\n"},
    {405, "get / HTTP/1.1\r\n" REST "\r\n"},
    {405, "GETS / HTTP/1.1\r\n" REST "\r\n"},
    {405, "OPTIONS * HTTP/1.1\r\n" REST "\r\n"},
    {405, "CONNECT example.org:80 HTTP/1.1\r\n" REST "\r\n"},
    {505, "GET / HTTP/1.0\r\n" REST "\r\n"},
    {505, "GET / HTTP/1.2\r\n" REST "\r\n"},
    {505, "GET / HTTP/2.1\r\n" REST "\r\n"},
    {505, "PRI * HTTP/2.0\r\n\r\n"},
    /* the request line */
    {400, "\r\n" GOOD},
    {400, " GET / HTTP/1.1\r\n" REST "\r\n"},
    {400, "\tGET / HTTP/1.1\r\n" REST "\r\n"},
    {400, "GE:T / HTTP/1.1\r\n" REST "\r\n"},
    {400, "GET  / HTTP/1.1\r\n" REST "\r\n"},
    {400, "GET\t/ HTTP/1.1\r\n" REST "\r\n"},
    {400, "GET /  HTTP/1.1\r\n" REST "\r\n"},
    {400, "GET /a b HTTP/1.1\r\n" REST "\r\n"},
    {400, "GET /a\tb HTTP/1.1\r\n" REST "\r\n"},
    {400, "GET /\x7F HTTP/1.1\r\n" REST "\r\n"},
    {400, "GET / HTTP/1.1 \r\n" REST "\r\n"},
    {400, "GET / HTTP/1.1\n" REST "\r\n"},
    {400, "GET / HTTP/1.1\r" REST "\r\n"},
    {400, "GET / HTTP/11\r\n" REST "\r\n"},
    {400, "GET / HTTP/1.x\r\n" REST "\r\n"},
    {400, "GET / HTTP/x.1\r\n" REST "\r\n"},
    {400, "GET / http/1.1\r\n" REST "\r\n"},
    {400, "GET / HTTP/1.10\r\n" REST "\r\n"},
    {400, "GET /\r\n" REST "\r\n"},
    {400, "GET chat HTTP/1.1\r\n" REST "\r\n"},
    {400, "GET * HTTP/1.1\r\n" REST "\r\n"},
    {400, "GET ftp://example.org/ HTTP/1.1\r\n" REST "\r\n"},
    {400, "GET http:/// HTTP/1.1\r\n" REST "\r\n"},
    {400, "GET http:// HTTP/1.1\r\n" REST "\r\n"},
    {400, "GET http://user@example.org/ HTTP/1.1\r\n" REST "\r\n"},
    {400, "GET http://example.org?x HTTP/1.1\r\n" REST "\r\n"},
    /* header lines */
    {400, LINE REST " folded: line\r\n\r\n"},
    {400, LINE REST "\tfolded\r\n\r\n"},
    {400, LINE REST "Name : space before the colon\r\n\r\n"},
    {400, LINE REST "Na me: space\r\n\r\n"},
    {400, LINE REST "Na(me: no token\r\n\r\n"},
    {400, LINE REST "Na\xC3\xA9me: no token\r\n\r\n"},
    {400, LINE REST ": no name\r\n\r\n"},
    {400, LINE REST "no colon\r\n\r\n"},
    {400, LINE REST "NoColon\r\n\r\n"},
    {400, LINE REST "X: bare CR\rY: z\r\n\r\n"},
    {400, LINE REST "X: bare LF\nY: z\r\n\r\n"},
    {400, LINE REST "X: two CR\r\r\n\r\n"},
    {400, LINE REST "X: bell\a\r\n\r\n"},
    {400, LINE REST "X: delete\x7F\r\n\r\n"},
    {400, LINE REST "\n"},
    {400, LINE REST "\rX"},
    /* what would be smuggled */
    {400, LINE REST "Transfer-Encoding: chunked\r\n\r\n"},
    {400, LINE REST "transfer-encoding: identity\r\n\r\n"},
    {400, LINE REST "Content-Length: 1\r\n\r\n"},
    {400, LINE REST "Content-Length: 0\r\nContent-Length: 5\r\n\r\n"},
    {400, LINE REST "Content-Length: 0, 5\r\n\r\n"},
    {400, LINE REST "Content-Length: 00\r\n\r\n"},
    {400, LINE REST "Content-Length:\r\n\r\n"},
    /* Host */
    {400, LINE UPGRADE KEYED "\r\n"},
    {400, LINE UPGRADE KEYED "Host:\r\n\r\n"},
    {400, LINE REST "Host: example.org\r\n\r\n"},
    {400, LINE REST HOST "\r\n"},
    {400, LINE UPGRADE KEYED "Host: a b\r\n\r\n"},
    {400, LINE UPGRADE KEYED "Host: a, b\r\n\r\n"},
    {400, LINE UPGRADE KEYED "Host: a/b\r\n\r\n"},
    {400, LINE UPGRADE KEYED "Host: user@a\r\n\r\n"},
    /* the upgrade */
    {426, "GET / HTTP/1.1\r\n" HOST "\r\n"},
    {426, LINE HOST KEYED "Connection: Upgrade\r\n\r\n"},
    {426, LINE HOST KEYED "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"},
    {426, LINE HOST KEYED "Connection: Upgrade\r\nUpgrade: websockets\r\n\r\n"},
    {426, LINE HOST KEYED "Connection: Upgrade\r\nUpgrade: websocke\r\n\r\n"},
    {426, LINE HOST KEYED "Connection: Upgrade\r\nUpgrade: web socket\r\n\r\n"},
    {426, LINE HOST KEYED "Connection: Upgrade\r\nUpgraded: websocket\r\n\r\n"},
    {400, LINE HOST KEYED "Upgrade: websocket\r\n\r\n"},
    {400, LINE HOST KEYED "Upgrade: websocket\r\nConnection: close\r\n\r\n"},
    {426, LINE HOST UPGRADE "Sec-WebSocket-Key: " KEY "\r\n\r\n"},
    {426, LINE HOST UPGRADE "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 8\r\n\r\n"},
    {426, LINE HOST UPGRADE "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 130\r\n\r\n"},
    {426, LINE HOST UPGRADE "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 8, 13\r\n\r\n"},
    {400, LINE REST "Sec-WebSocket-Version: 13\r\n\r\n"},
    {400, LINE REST "Sec-WebSocket-Key: " KEY "\r\n\r\n"},
    {400, LINE HOST UPGRADE "Sec-WebSocket-Version: 13\r\n\r\n"},
};

static void refused_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++)
        check_all_prefixes(refused[i].text, strlen(refused[i].text), HANDSHAKE_BAD,
                           refused[i].status);
}

static void keys(void **state)
{
    static const char *const bad[] = {
        "",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25jZQQ=",
        "dGhlIHNhbXBsZSBub25jZQQQ",
        "dGhlIHNhbXBsZSBub25=ZQ==",
        "dGhlIHNhbXBsZSBub25-ZQ==",
        "dGhlIHNhbXBsZSBub25jZQ==, x",
        "dGhlIHNhbXBsZSBub2 jZQ==",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct buf text = {0};
        buf_printf(&text,
                   LINE HOST UPGRADE "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
                   bad[i]);
        check_all_prefixes(text.data, text.len, HANDSHAKE_BAD, 400);
        buf_free(&text);
    }
}

/* What is no HTTP is refused where it stops being that, not at an end that may never come. */
static void garbage_is_refused_at_once(void **state)
{
    (void)state;
    assert_int_equal(check_all_prefixes("\x16\x03\x01", 3, HANDSHAKE_BAD, 400), 1);
    assert_int_equal(check_all_prefixes("GET\n", 4, HANDSHAKE_BAD, 400), 4);
    assert_int_equal(check_all_prefixes("GET / FTP", 9, HANDSHAKE_BAD, 400), 7);
    assert_int_equal(check_all_prefixes(LINE "\0", sizeof(LINE), HANDSHAKE_BAD, 400), sizeof(LINE));
    assert_int_equal(check_all_prefixes("GET /\0 HTTP", 11, HANDSHAKE_BAD, 400), 6);
    assert_int_equal(check_all_prefixes("G\0T / HTTP", 10, HANDSHAKE_BAD, 400), 2);
    assert_int_equal(check_all_prefixes(LINE "X: \0", sizeof(LINE) + 3, HANDSHAKE_BAD, 400),
                     sizeof(LINE) + 3);
}

static void put_good_with(struct buf *text, size_t headers)
{
    text->len = 0;
    buf_append_str(text, LINE REST);
    for (size_t i = 5; i < headers; i++)
        buf_printf(text, "X-%zu: y\r\n", i);
}

static void number_of_headers(void **state)
{
    struct buf text = {0};
    struct handshake h;
    (void)state;
    put_good_with(&text, HANDSHAKE_HEADERS_MAX);
    assert_int_equal(parse(&h, text.data, text.len), HANDSHAKE_MORE);
    buf_append_str(&text, "\r\n");
    assert_int_equal(parse(&h, text.data, text.len), HANDSHAKE_OK);
    assert_int_equal(h.header_count, HANDSHAKE_HEADERS_MAX);
    put_good_with(&text, HANDSHAKE_HEADERS_MAX);
    buf_append_str(&text, "X");
    assert_int_equal(parse(&h, text.data, text.len), HANDSHAKE_BAD);
    assert_int_equal(h.status, 431);
    buf_free(&text);
}

static void put_head_of(struct buf *text, size_t size)
{
    text->len = 0;
    buf_append_str(text, LINE REST "X: ");
    while (text->len < size - 4)
        buf_append_char(text, 'x');
    buf_append_str(text, "\r\n\r\n");
}

static void size_of_the_head(void **state)
{
    struct buf text = {0};
    struct handshake h;
    (void)state;
    put_head_of(&text, HANDSHAKE_HEAD_MAX);
    assert_int_equal(parse(&h, text.data, text.len - 1), HANDSHAKE_MORE);
    assert_int_equal(parse(&h, text.data, text.len), HANDSHAKE_OK);
    assert_int_equal(h.head_len, HANDSHAKE_HEAD_MAX);
    put_head_of(&text, HANDSHAKE_HEAD_MAX + 1);
    assert_int_equal(parse(&h, text.data, HANDSHAKE_HEAD_MAX - 1), HANDSHAKE_MORE);
    assert_int_equal(parse(&h, text.data, HANDSHAKE_HEAD_MAX), HANDSHAKE_BAD);
    assert_int_equal(h.status, 431);
    assert_int_equal(parse(&h, text.data, text.len), HANDSHAKE_BAD);
    assert_int_equal(h.status, 431);
    buf_free(&text);
}

static void accept_of_the_sample_key(void **state)
{
    char accept[HANDSHAKE_ACCEPT_LEN + 1];
    (void)state;
    handshake_accept((struct slice){KEY, strlen(KEY)}, accept);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static void assert_text(struct buf *got, const char *want)
{
    buf_append_char(got, '\0');
    assert_string_equal(got->data, want);
    buf_free(got);
}

static void answers(void **state)
{
    struct handshake h;
    struct buf out = {0};
    (void)state;
    assert_int_equal(handshake_parse(&h, GOOD, strlen(GOOD)), HANDSHAKE_OK);
    handshake_answer(&out, &h, NULL);
    assert_text(&out, "HTTP/1.1 101 Switching Protocols\r\n"
                      "Upgrade: websocket\r\n"
                      "Connection: Upgrade\r\n"
                      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    handshake_answer(&out, &h, "permessage-deflate");
    assert_text(&out, "HTTP/1.1 101 Switching Protocols\r\n"
                      "Upgrade: websocket\r\n"
                      "Connection: Upgrade\r\n"
                      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                      "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
}

static void refusals(void **state)
{
    struct buf out = {0};
    (void)state;
    handshake_refuse(&out, 404, "no such path");
    assert_text(&out, "HTTP/1.1 404 Not Found\r\nConnection: close\r\n"
                      "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nno such path\n");
    handshake_refuse(&out, 405, "x");
    assert_text(&out, "HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\nAllow: GET\r\n"
                      "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nx\n");
    handshake_refuse(&out, 426, "x");
    assert_text(&out, "HTTP/1.1 426 Upgrade Required\r\nConnection: close, Upgrade\r\n"
                      "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                      "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nx\n");
}

static void every_status_has_a_reason(void **state)
{
    static const int statuses[] = {400, 401, 403, 404, 405, 408, 426, 431, 500, 503, 505};
    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
        struct buf out = {0};
        char want[16];
        snprintf(want, sizeof(want), "HTTP/1.1 %d ", statuses[i]);
        handshake_refuse(&out, statuses[i], "x");
        assert_memory_equal(out.data, want, strlen(want));
        assert_memory_not_equal(out.data + strlen(want), "Refused", strlen("Refused"));
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_of_a_request),
        cmocka_unit_test(absent_headers_are_empty),
        cmocka_unit_test(good_requests),
        cmocka_unit_test(absolute_targets),
        cmocka_unit_test(refused_requests),
        cmocka_unit_test(keys),
        cmocka_unit_test(garbage_is_refused_at_once),
        cmocka_unit_test(number_of_headers),
        cmocka_unit_test(size_of_the_head),
        cmocka_unit_test(accept_of_the_sample_key),
        cmocka_unit_test(answers),
        cmocka_unit_test(refusals),
        cmocka_unit_test(every_status_has_a_reason),
    };
    return cmocka_run_group_tests_name("handshake", tests, NULL, NULL);
}
