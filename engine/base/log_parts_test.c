#include "base/buf.h"
#include "base/log_record.h"
#include "base/log_repeats.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- records ---- */

static const struct timeval noon = {.tv_sec = 1735732800, .tv_usec = 7000};

/* The message of a record, in a buffer of its own. */
static const char *written(enum log_format format, const char *text, size_t len)
{
    static char out[256];
    struct buf record = {0};
    log_record_append(&record, format, &noon, LOG_LEVEL_WARN, "m", text, len);
    buf_append_char(&record, '\0');
    const char *mark = format == LOG_FORMAT_JSON ? "\"message\":\"" : " m: ";
    snprintf(out, sizeof out, "%s", strstr(record.data, mark) + strlen(mark));
    buf_free(&record);
    out[strlen(out) - (format == LOG_FORMAT_JSON ? 3 : 1)] = '\0';
    return out;
}

static void nothing_in_a_message_steers_a_terminal_or_a_reader(void **state)
{
    (void)state;
    static const struct {
        const char *given, *text, *json;
    } rows[] = {
        {"plain \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "plain \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
         "plain \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"a\nb", "a\n    b", "a\\nb"},
        {"a\r\nb", "a\n    b", "a\\nb"},
        {"a\rb", "a\\x0db", "a\\u000db"},
        {"\tx", "\tx", "\\tx"},
        {"\x1b[31m", "\\x1b[31m", "\\u001b[31m"},
        {"\x7f", "\\x7f", "\\u007f"},
        {"\xc2\x9b", "\\u009b", "\\u009b"},
        {"\xe2\x80\xa8", "\\u2028", "\\u2028"},
        {"\xe2\x80\xae", "\\u202e", "\\u202e"},
        {"\xe2\x81\xa6", "\\u2066", "\\u2066"},
        {"\"\\", "\"\\", "\\\"\\\\"},
        {"\x80", "\\x80", "\\\\x80"},
        {"\xc0\xaf", "\\xc0\\xaf", "\\\\xc0\\\\xaf"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80", "\\\\xed\\\\xa0\\\\x80"},
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\\\\xf4\\\\x90\\\\x80\\\\x80"},
        {"\xe2\x82", "\\xe2\\x82", "\\\\xe2\\\\x82"},
        {"\xff", "\\xff", "\\\\xff"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t len = strlen(rows[i].given);
        assert_string_equal(written(LOG_FORMAT_TEXT, rows[i].given, len), rows[i].text);
        assert_string_equal(written(LOG_FORMAT_JSON, rows[i].given, len), rows[i].json);
    }
    assert_string_equal(written(LOG_FORMAT_TEXT, "a\0b", 3), "a\\x00b");
}

static void records_are_cut_within_their_size(void **state)
{
    (void)state;
    static char text[2 * LOG_RECORD_MAX];
    for (int byte = 0; byte < 256; byte += 5) {
        memset(text, byte, sizeof text);
        for (enum log_format format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
            struct buf record = {0};
            log_record_append(&record, format, &noon, LOG_LEVEL_INFO, "m", text, sizeof text);
            assert_in_range(record.len, LOG_RECORD_MAX - 12, LOG_RECORD_MAX);
            const char *end = format == LOG_FORMAT_JSON ? " [cut]\"}\n" : " [cut]\n";
            assert_memory_equal(record.data + record.len - strlen(end), end, strlen(end));
            buf_free(&record);
        }
    }
}

static void records_are_counted(void **state)
{
    (void)state;
    static const char three[] = "a\n    b\n    c\nd\n{\"e\":1}\n";
    assert_int_equal(log_record_len(three, strlen(three)), 14);
    assert_int_equal(log_record_count(three, strlen(three)), 3);
}

/* ---- repeats ---- */

static bool hold(struct log_repeats *repeats, const char *text, uint64_t now_ms)
{
    uint64_t key = log_repeats_key(1, LOG_LEVEL_INFO, "m", text, strlen(text));
    return log_repeats_hold(repeats, key, LOG_LEVEL_INFO, "m", text, strlen(text), now_ms);
}

static int count_held(struct log_repeats *repeats, const char *text, int times, uint64_t now_ms)
{
    int held = 0;
    for (int i = 0; i < times; i++)
        held += hold(repeats, text, now_ms);
    return held;
}

static void the_first_are_written_and_the_others_counted(void **state)
{
    (void)state;
    struct log_repeat told[LOG_REPEATS_LINES];
    struct log_repeats *repeats = log_repeats_new();
    assert_int_equal(count_held(repeats, "a\nb", LOG_REPEATS_FREE, 1000), 0);
    assert_int_equal(log_repeats_due(repeats, 1000), LOG_REPEATS_NEVER);
    assert_int_equal(count_held(repeats, "a\nb", 412, 2000), 412);
    assert_int_equal(count_held(repeats, "c", 1, 2000), 0);
    assert_int_equal(log_repeats_due(repeats, 2000), LOG_REPEATS_MS - 1000);
    assert_int_equal(log_repeats_take(repeats, 2000, false, told), 0);
    assert_int_equal(log_repeats_due(repeats, 20000), 0);
    assert_int_equal(log_repeats_take(repeats, 11000, false, told), 1);
    assert_int_equal(told[0].held, 412);
    assert_int_equal(told[0].seconds, 10);
    assert_int_equal(told[0].len, 1);
    assert_memory_equal(told[0].text, "a", 1);
    assert_string_equal(told[0].module, "m");
    assert_int_equal(count_held(repeats, "a\nb", LOG_REPEATS_FREE + 1, 11000), 1);
    log_repeats_free(repeats);
}

static void a_window_begins_anew(void **state)
{
    (void)state;
    struct log_repeats *repeats = log_repeats_new();
    for (int i = 0; i < 100; i++)
        assert_false(hold(repeats, "a", (uint64_t)(i / LOG_REPEATS_FREE) * LOG_REPEATS_MS));
    log_repeats_free(repeats);
}

static void level_and_module_tell_lines_apart(void **state)
{
    (void)state;
    uint64_t key = log_repeats_key(1, LOG_LEVEL_INFO, "m", "text", 4);
    assert_true(key != log_repeats_key(1, LOG_LEVEL_WARN, "m", "text", 4));
    assert_true(key != log_repeats_key(1, LOG_LEVEL_INFO, "n", "text", 4));
    assert_true(key != log_repeats_key(1, LOG_LEVEL_INFO, "mt", "ext", 3));
    assert_true(key != log_repeats_key(2, LOG_LEVEL_INFO, "m", "text", 4));
}

/* More lines than are known at a time: nothing is lost, and what has a count keeps it. */
static void a_full_table_lets_lines_pass(void **state)
{
    (void)state;
    char text[32];
    struct log_repeat told[LOG_REPEATS_LINES];
    struct log_repeats *repeats = log_repeats_new();
    for (int i = 0; i < LOG_REPEATS_LINES; i++) {
        snprintf(text, sizeof text, "line %d", i);
        assert_int_equal(count_held(repeats, text, LOG_REPEATS_FREE + 1, 0), 1);
    }
    assert_int_equal(count_held(repeats, "one more", 100, 0), 0);
    assert_int_equal(log_repeats_take(repeats, 1, true, told), LOG_REPEATS_LINES);
    assert_int_equal(told[0].seconds, 1);
    assert_int_equal(count_held(repeats, "one more", LOG_REPEATS_FREE + 1, 0), 1);
    log_repeats_free(repeats);
}

static void long_texts_are_told_cut(void **state)
{
    (void)state;
    char text[1000];
    struct log_repeat told[LOG_REPEATS_LINES];
    struct log_repeats *repeats = log_repeats_new();
    for (size_t i = 0; i + 1 < sizeof text; i += 3)
        memcpy(text + i, "\xe2\x82\xac", 3);
    text[sizeof text - 1] = '\0';
    assert_int_equal(count_held(repeats, text, LOG_REPEATS_FREE + 1, 0), 1);
    assert_int_equal(log_repeats_take(repeats, 1, true, told), 1);
    assert_int_equal(told[0].len, LOG_REPEATS_TEXT / 3 * 3);
    log_repeats_free(repeats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_in_a_message_steers_a_terminal_or_a_reader),
        cmocka_unit_test(records_are_cut_within_their_size),
        cmocka_unit_test(records_are_counted),
        cmocka_unit_test(the_first_are_written_and_the_others_counted),
        cmocka_unit_test(a_window_begins_anew),
        cmocka_unit_test(level_and_module_tell_lines_apart),
        cmocka_unit_test(a_full_table_lets_lines_pass),
        cmocka_unit_test(long_texts_are_told_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
