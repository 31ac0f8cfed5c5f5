#include "api/access.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Basic reader:secret, writer:pass:word, nobody:secret, and what is not base64 or has no colon. */
#define READER "Basic cmVhZGVyOnNlY3JldA=="
#define WRITER "Basic d3JpdGVyOnBhc3M6d29yZA=="
#define NOBODY "Basic bm9ib2R5OnNlY3JldA=="

static char reader[] = "reader", writer[] = "writer", secret[] = "secret", password[] = "pass:word",
            all[] = "*", lan[] = "172.*.*.*";

static struct config_user users[] = {
    {reader, secret, all, true, false},
    {writer, password, lan, true, true},
};
static const struct config with_users = {.users = users, .user_count = 2};
static const struct config without = {0};

static void everybody_may_without_users(void **state)
{
    (void)state;
    assert_int_equal(access_check(&without, NULL, "10.0.0.1", ACCESS_WRITE), 0);
}

static void credentials_are_needed(void **state)
{
    (void)state;
    static const char *const bad[] = {NULL,
                                      "",
                                      "Basic",
                                      "Basic ",
                                      "Basic !!!!",
                                      "Basic c2VjcmV0",
                                      "Bearer cmVhZGVyOnNlY3JldA==",
                                      NOBODY,
                                      "Basic cmVhZGVyOnNlY3Jl",
                                      "Basic cmVhZGVyOnNlY3JldA"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(access_check(&with_users, bad[i], "10.0.0.1", ACCESS_READ), 401);
    assert_int_equal(access_check(&with_users, READER, "10.0.0.1", ACCESS_READ), 0);
    assert_int_equal(access_check(&with_users, "basic  cmVhZGVyOnNlY3JldA==", "::1", ACCESS_READ),
                     0);
}

static void roles_count(void **state)
{
    (void)state;
    assert_int_equal(access_check(&with_users, READER, "10.0.0.1", ACCESS_WRITE), 403);
    assert_int_equal(access_check(&with_users, WRITER, "172.16.0.9", ACCESS_WRITE), 0);
}

static void hosts_count(void **state)
{
    (void)state;
    assert_int_equal(access_check(&with_users, WRITER, "10.0.0.1", ACCESS_WRITE), 401);
    assert_int_equal(access_check(&with_users, WRITER, "1172.1.1.1", ACCESS_WRITE), 401);
}

/* The peer's text is the one of address_host. */
static void hosts_of_every_family(void **state)
{
    (void)state;
    static const struct {
        char *host;
        const char *in, *out;
    } rows[] = {
        {"*", "unix", NULL},
        {"*", "2001:db8::1", NULL},
        {"::1", "::1", "127.0.0.1"},
        {"0:0:0:0:0:0:0:1", "::1", "::2"},
        {"2001:DB8:0::A", "2001:db8::a", "2001:db8::b"},
        {"2001:db8:*", "2001:db8::1", "2001:db80::1"},
        {"2001:DB8:*", "2001:db8::1", "unix"},
        {"::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"},
        {"10.*", "10.0.0.1", "unix"},
        {"unix", "unix", "::1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config_user one = {reader, secret, rows[i].host, true, true};
        struct config config = {.users = &one, .user_count = 1};
        assert_int_equal(access_check(&config, READER, rows[i].in, ACCESS_READ), 0);
        if (rows[i].out)
            assert_int_equal(access_check(&config, READER, rows[i].out, ACCESS_READ), 401);
    }
}

/* One name may have a line for each of its hosts. */
static void lines_of_one_user_add_up(void **state)
{
    (void)state;
    struct config_user lines[] = {{reader, secret, all, false, true},
                                  {reader, secret, all, true, false}};
    struct config config = {.users = lines, .user_count = 2};
    assert_int_equal(access_check(&config, READER, "10.0.0.1", ACCESS_READ), 0);
    assert_int_equal(access_check(&config, READER, "10.0.0.1", ACCESS_WRITE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_may_without_users),
        cmocka_unit_test(credentials_are_needed),
        cmocka_unit_test(roles_count),
        cmocka_unit_test(hosts_count),
        cmocka_unit_test(hosts_of_every_family),
        cmocka_unit_test(lines_of_one_user_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
