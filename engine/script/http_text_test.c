#include "script/http_text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { DAY = 24 * 3600 * 1000 };

static void test_durations(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } rows[] = {
        {"300ms", 300}, {"10s", 10000},  {"1h", 3600000},     {"1h30m", 5400000},
        {"1.5s", 1500}, {".5s", 500},    {"1.s", 1000},       {"1ns", 1},
        {"1500us", 2},  {"1500µs", 2},   {"1500μs", 2},       {"1h1m1s1ms", 3661001},
        {"0s", 0},      {"24h", DAY},    {"1m1.001s", 61001}, {"1s1s", 2000},
        {"0.3s", 300},  {"4.35s", 4350}, {"0.000001ms", 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t ms;
        if (!http_text_duration(rows[i].text, strlen(rows[i].text), DAY, &ms) || ms != rows[i].ms)
            fail_msg("%s", rows[i].text);
    }
}

static void test_what_is_no_duration(void **state)
{
    static const char *const rows[] = {
        "",    "1",   "s",     "1x",   "1 s", " 1s", "1s ", "-1s",
        "+1s", ".s",  "1..5s", "1e3s", "1d",  "1S",  "25h", "99999999999999999999999999h",
        "1s1", "0x1s"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t ms;
        if (http_text_duration(rows[i], strlen(rows[i]), DAY, &ms))
            fail_msg("%s", rows[i]);
    }
    uint64_t ms;
    assert_false(http_text_duration("1s\0", 3, DAY, &ms));
}

static void test_cookies(void **state)
{
    static const struct {
        const char *line, *name, *value;
    } rows[] = {
        {"a=b", "a", "b"},         {"a=b; Path=/; HttpOnly", "a", "b"},
        {" a = b ;x", "a", "b"},   {"a=", "a", ""},
        {"a=;b=c", "a", ""},       {"a=\"b c\"; Secure", "a", "b c"},
        {"a=\"", "a", "\""},       {"a=\"\"", "a", ""},
        {"a=b=c==", "a", "b=c=="}, {"a=b, c=d", "a", "b, c=d"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct http_cookie c;
        if (!http_text_cookie(rows[i].line, &c))
            fail_msg("%s", rows[i].line);
        assert_int_equal(c.name_len, strlen(rows[i].name));
        assert_memory_equal(c.name, rows[i].name, c.name_len);
        assert_int_equal(c.value_len, strlen(rows[i].value));
        assert_memory_equal(c.value, rows[i].value, c.value_len);
    }
}

static void test_what_is_no_cookie(void **state)
{
    static const char *const rows[] = {"", "a", "=b", " =b", "a b=c", "; a=b", "HttpOnly; a=b"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct http_cookie c;
        if (http_text_cookie(rows[i], &c))
            fail_msg("%s", rows[i]);
    }
}

static void test_what_may_stand_where(void **state)
{
    (void)state;
    assert_true(http_text_is_token("X-a_b.1~", 8));
    assert_false(http_text_is_token("", 0));
    assert_false(http_text_is_token("a:b", 3));
    assert_false(http_text_is_token("a b", 3));
    assert_false(http_text_is_token("a\0", 2));
    assert_false(http_text_is_token("\303\251", 2));
    assert_true(http_text_is_value("", 0));
    assert_true(http_text_is_value("a\tb \303\251;=", 8));
    assert_false(http_text_is_value("a\r", 2));
    assert_false(http_text_is_value("a\nb", 3));
    assert_false(http_text_is_value("a\0b", 3));
    assert_false(http_text_is_value("\177", 1));
    assert_true(http_text_is_cookie_value("a b=\"", 5));
    assert_false(http_text_is_cookie_value("a;b", 3));
    assert_true(http_text_is_url("http://x/\303\251", 11));
    assert_false(http_text_is_url("", 0));
    assert_false(http_text_is_url("http://x/ ", 10));
    assert_false(http_text_is_url("http://x/\n", 10));
    assert_false(http_text_is_url("http://x/\0", 10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_what_is_no_duration),
        cmocka_unit_test(test_cookies),
        cmocka_unit_test(test_what_is_no_cookie),
        cmocka_unit_test(test_what_may_stand_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
