#include "args.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *list(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(value);
    return value;
}

/* A list of one string of `len` bytes, behind a channel when `channel`. */
static json_t *long_list(size_t len, bool channel)
{
    char *text = malloc(len);
    memset(text, 'x', len);
    json_t *args = channel ? json_pack("[s, s%]", "room", text, len) : json_pack("[s%]", text, len);
    free(text);
    return args;
}

static void test_login(void **state)
{
    (void)state;
    struct args_login login;
    json_t *args = list("[\"user1\", \"123456\", \"more\"]");
    assert_null(args_login(args, &login));
    assert_string_equal(login.name, "user1");
    assert_string_equal(login.password, "123456");
    json_decref(args);
    args = list("[17, -123456]");
    assert_null(args_login(args, &login));
    assert_string_equal(login.name, "17");
    assert_string_equal(login.password, "-123456");
    json_decref(args);
}

static void test_login_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "null",
        "{}",
        "[]",
        "\"user1\"",
        "[\"user1\"]",
        "[\"\", \"x\"]",
        "[\"x\", \"\"]",
        "[null, \"x\"]",
        "[\"x\", 1.5]",
        "[\"x\", true]",
        "[[\"x\"], \"y\"]",
        "{\"0\": \"user1\", \"1\": \"123456\"}",
        "[\"a\\u0000b\", \"x\"]",
        "[\"x\", \"a\\u0000\"]",
    };
    struct args_login login;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *args = list(bad[i]);
        assert_non_null(args_login(args, &login));
        json_decref(args);
    }
    assert_non_null(args_login(NULL, &login));
}

static void test_channels(void **state)
{
    (void)state;
    struct args_channels channels;
    json_t *args = list("[\"room_101\", 5]");
    assert_null(args_channels(args, &channels));
    assert_int_equal(channels.count, 2);
    assert_string_equal(channels.names[0], "room_101");
    assert_string_equal(channels.names[1], "5");
    json_decref(args);
    args = json_array();
    assert_non_null(args_channels(args, &channels));
    for (int i = 0; i < ARGS_CHANNELS_MAX; i++)
        json_array_append_new(args, json_integer(i));
    assert_null(args_channels(args, &channels));
    json_array_append_new(args, json_integer(100));
    assert_non_null(args_channels(args, &channels));
    json_decref(args);
}

static void test_longest(void **state)
{
    (void)state;
    struct args_channels channels;
    struct args_message message;
    for (size_t over = 0; over < 2; over++) {
        json_t *args = long_list(255 + over, false);
        assert_int_equal(args_channels(args, &channels) != NULL, over);
        json_decref(args);
        args = long_list(65536 + over, true);
        assert_int_equal(args_message(args, &message) != NULL, over);
        json_decref(args);
        args = long_list(65536 + over, false);
        assert_int_equal(args_broadcast(args, &message) != NULL, over);
        json_decref(args);
    }
}

static void test_message(void **state)
{
    (void)state;
    struct args_message message;
    json_t *args = list("[\"room\", \"a\\u0000b\"]");
    assert_null(args_message(args, &message));
    assert_string_equal(message.channel, "room");
    assert_int_equal(message.len, 3);
    assert_memory_equal(message.text, "a\0b", 4);
    json_decref(args);
    args = list("[42]");
    assert_non_null(args_message(args, &message));
    assert_null(args_broadcast(args, &message));
    assert_string_equal(message.text, "42");
    json_decref(args);
}

static json_t *any(unsigned *seed, int depth)
{
    static const double reals[] = {0.0, -1.5, 1e300};
    json_t *value;
    switch (rand_r(seed) % (depth > 0 ? 9 : 7)) {
    case 0:
        return json_null();
    case 1:
        return json_boolean(rand_r(seed) % 2);
    case 2:
        return json_integer((json_int_t)rand_r(seed) << (rand_r(seed) % 33));
    case 3:
        return json_real(reals[rand_r(seed) % 3]);
    case 4:
        return json_stringn("a\0b", 3);
    case 5:
        return json_string("");
    case 6:
        return json_string("room");
    case 7:
        value = json_array();
        for (int n = rand_r(seed) % 4; n > 0; n--)
            json_array_append_new(value, any(seed, depth - 1));
        return value;
    default:
        return json_pack("{s:o}", "0", any(seed, depth - 1));
    }
}

/* Whatever comes, what is accepted keeps the promises of the header. */
static void test_anything(void **state)
{
    (void)state;
    unsigned seed = 1;
    for (int i = 0; i < 20000; i++) {
        json_t *args = any(&seed, 3);
        struct args_login login;
        struct args_channels channels;
        struct args_message message = {0};
        if (!args_login(args, &login))
            assert_true(*login.name && *login.password);
        if (!args_channels(args, &channels))
            assert_true(channels.count >= 1 && *channels.names[channels.count - 1]);
        if (!args_message(args, &message))
            assert_true(*message.channel && message.len >= 1);
        if (!args_broadcast(args, &message))
            assert_true(message.len >= 1);
        json_decref(args);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_login),    cmocka_unit_test(test_login_refused),
        cmocka_unit_test(test_channels), cmocka_unit_test(test_longest),
        cmocka_unit_test(test_message),  cmocka_unit_test(test_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
