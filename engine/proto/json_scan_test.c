#include "proto/json_scan.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The text alone in memory, so that a look behind its end shows under a sanitizer. */
static struct json_scan scan_of(char **copy, const char *text)
{
    size_t len = strlen(text);
    *copy = malloc(len + !len);
    memcpy(*copy, text, len);
    return (struct json_scan){*copy, *copy + len};
}

/* What a string stands for, in static memory; NULL: refused. */
static const char *string_of(const char *text)
{
    static char plain[256];
    char *copy;
    struct json_scan scan = scan_of(&copy, text);
    struct json_text found;
    bool good = json_scan_string(&scan, &found) && json_scan_end(&scan);
    if (good) {
        size_t len = json_text_copy(plain, &found);
        assert_true(len <= found.len);
        assert_true(found.escaped == (len < found.len));
        plain[len] = '\0';
    }
    free(copy);
    return good ? plain : NULL;
}

static void strings_are_taken_or_refused(void **state)
{
    (void)state;
    assert_string_equal(string_of("\"\""), "");
    assert_string_equal(string_of(" \t\r\n\"a longer plain text\" \n"), "a longer plain text");
    assert_string_equal(string_of("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), "\"\\/\b\f\n\r\t");
    assert_string_equal(string_of("\"12345678\\n2345678\\\\\""), "12345678\n2345678\\");
    assert_string_equal(string_of("\"\xe4\xbd\xa0 \x7f\""), "\xe4\xbd\xa0 \x7f");
    static const char *const bad[] = {"",
                                      "a",
                                      "\"",
                                      "\"a",
                                      "\"\\\"",
                                      "\"\\",
                                      "\"\\u0041\"",
                                      "\"\\x\"",
                                      "\"\xff\"",
                                      "\"\xe4\xbd\"",
                                      "\"\x1f\"",
                                      "\"tab\t\"",
                                      "\"1234567\n\"",
                                      "\"a\" b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_null(string_of(bad[i]));
}

/* UINT64_MAX: refused. */
static uint64_t count_of(const char *text)
{
    char *copy;
    uint64_t count;
    struct json_scan scan = scan_of(&copy, text);
    bool good = json_scan_count(&scan, &count) && json_scan_end(&scan);
    free(copy);
    return good ? count : UINT64_MAX;
}

static void counts_are_plain_integers(void **state)
{
    (void)state;
    assert_int_equal(count_of("0"), 0);
    assert_int_equal(count_of(" 907 "), 907);
    assert_int_equal(count_of("9223372036854775807"), INT64_MAX);
    static const char *const bad[] = {"",
                                      "-1",
                                      "-0",
                                      "00",
                                      "01",
                                      "1.0",
                                      "1e1",
                                      "1E1",
                                      "0x1",
                                      "+1",
                                      "1 2",
                                      "a",
                                      "9223372036854775808",
                                      "18446744073709551617",
                                      "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(count_of(bad[i]), UINT64_MAX);
}

static void literals_stand_as_they_are(void **state)
{
    (void)state;
    char *copy;
    struct json_scan scan = scan_of(&copy, "null nul");
    assert_false(JSON_SCAN_LITERAL(&scan, "nulls"));
    assert_true(JSON_SCAN_LITERAL(&scan, "null"));
    assert_false(JSON_SCAN_LITERAL(&scan, "nul"));
    assert_false(json_scan_char(&scan, 'x'));
    assert_true(json_scan_char(&scan, 'n'));
    assert_false(json_scan_end(&scan));
    assert_false(JSON_SCAN_LITERAL(&scan, "ull"));
    assert_true(JSON_SCAN_LITERAL(&scan, "ul"));
    assert_true(json_scan_end(&scan));
    assert_false(json_scan_char(&scan, 'l'));
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_taken_or_refused),
        cmocka_unit_test(counts_are_plain_integers),
        cmocka_unit_test(literals_stand_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
