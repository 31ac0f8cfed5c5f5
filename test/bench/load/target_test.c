#include "target.h"

#include "base/address.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void goes_to(const char *url, const char *address, const char *host, const char *path)
{
    struct target target = {0};
    char text[ADDRESS_TEXT];
    assert_null(target_parse(&target, url, false));
    address_text(&target.address, text);
    assert_string_equal(text, address);
    assert_string_equal(target.host, host);
    assert_string_equal(target.path, path);
    assert_true(target.loopback);
    target_free(&target);
}

static void fails(const char *url, bool remote, const char *why)
{
    struct target target = {0};
    const char *said = target_parse(&target, url, remote);
    assert_non_null(said);
    assert_non_null(strstr(said, why));
    target_free(&target);
}

static void test_parts_of_a_url(void **state)
{
    (void)state;
    goes_to("ws://127.0.0.1:9000/chat?x=%d", "127.0.0.1:9000", "127.0.0.1:9000", "/chat?x={i}");
    goes_to("http://localhost", "127.0.0.1:80", "localhost:80", "/");
    goes_to("ws://[::1]:81/a:b", "[::1]:81", "[::1]:81", "/a:b");
    goes_to("wss://127.0.0.1/", "127.0.0.1:443", "127.0.0.1:443", "/");
    goes_to("https://127.0.0.1:81/", "127.0.0.1:81", "127.0.0.1:81", "/");
}

static void test_what_is_no_target(void **state)
{
    (void)state;
    fails("127.0.0.1:9000", false, "ws://");
    fails("ftp://127.0.0.1:9000", false, "ws://");
    fails("ws:///path", false, "no host");
    fails("ws://127.0.0.1:/", false, "port");
    fails("ws://127.0.0.1:0/", false, "port");
    fails("ws://127.0.0.1:65536/", false, "port");
    fails("ws://127.0.0.1:80x/", false, "port");
    fails("ws://[::1/", false, "no host");
}

static void test_other_machines_need_a_word(void **state)
{
    (void)state;
    fails("ws://192.0.2.1/", false, "--remote");
    fails("ws://[2001:db8::1]/", false, "--remote");
    fails("ws://example.invalid/", false, "--remote");
    struct target target = {0};
    assert_null(target_parse(&target, "ws://192.0.2.1:90/", true));
    assert_false(target.loopback);
    target_free(&target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_of_a_url),
        cmocka_unit_test(test_what_is_no_target),
        cmocka_unit_test(test_other_machines_need_a_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
