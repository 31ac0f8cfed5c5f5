/* The server's half (proto/handshake.h) reads the request and answers it. */
#include "upgrade.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { SEED = 4711 };

static void answer_to(struct buf *request, struct buf *answer, const char *extensions)
{
    static const char headers[] = "Cookie: a=b\r\n";
    struct handshake handshake;
    upgrade_request(request, "127.0.0.1:9000", "/u/7", (struct slice){headers, strlen(headers)},
                    SEED);
    assert_int_equal(handshake_parse(&handshake, request->data, request->len), HANDSHAKE_OK);
    assert_memory_equal(handshake.uri.data, "/u/7", 4);
    assert_non_null(handshake_find(&handshake, "cookie"));
    handshake_answer(answer, &handshake, extensions);
}

static void test_a_server_accepts_and_is_accepted(void **state)
{
    (void)state;
    struct buf request = {0}, answer = {0}, why = {0};
    answer_to(&request, &answer, NULL);
    for (size_t cut = 0; cut < answer.len; cut++)
        assert_int_equal(upgrade_head(answer.data, cut), 0);
    assert_int_equal(upgrade_head(answer.data, answer.len), answer.len);
    assert_null(upgrade_refused(answer.data, answer.len, SEED, &why));
    assert_non_null(upgrade_refused(answer.data, answer.len, SEED + 1, &why));
    assert_non_null(strstr(why.data, "wrong Sec-WebSocket-Accept"));
    buf_free(&request);
    buf_free(&answer);
    buf_free(&why);
}

static void refused(const char *head, const char *want)
{
    struct buf why = {0};
    const char *said = upgrade_refused(head, strlen(head), SEED, &why);
    assert_non_null(said);
    assert_non_null(strstr(said, want));
    buf_free(&why);
}

static void test_other_answers_are_refused(void **state)
{
    (void)state;
    struct buf request = {0}, answer = {0};
    answer_to(&request, &answer, "permessage-deflate");
    buf_append_char(&answer, '\0');
    refused(answer.data, "not offered: permessage-deflate");
    refused("HTTP/1.1 404 Not Found\r\n\r\n", "refused: HTTP/1.1 404 Not Found");
    refused("HTTP/1.1 101 Switching Protocols\r\nX-Sec-WebSocket-Accept: a\r\n\r\n",
            "no Sec-WebSocket-Accept");
    buf_free(&request);
    buf_free(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_server_accepts_and_is_accepted),
        cmocka_unit_test(test_other_answers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
