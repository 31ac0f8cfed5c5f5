#include "script/redis_command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Words are separated by single spaces. */
static struct buf written(const char *words)
{
    struct buf out = {0};
    size_t count = 1;
    for (const char *at = words; (at = strchr(at, ' ')); at++)
        count++;
    redis_command_begin(&out, count);
    for (; count > 0; count--) {
        size_t len = strcspn(words, " ");
        redis_command_add(&out, words, len);
        words += len + 1;
    }
    return out;
}

static struct redis_need need_of(const char *words)
{
    struct buf command = written(words);
    struct redis_need need = redis_command_need(command.data, command.len);
    buf_free(&command);
    return need;
}

static void test_bytes(void **state)
{
    (void)state;
    struct buf out = {0};
    redis_command_begin(&out, 3);
    redis_command_add(&out, "set", 3);
    redis_command_add(&out, "", 0);
    redis_command_add(&out, "a\0\r\n", 4);
    static const char expected[] = "*3\r\n$3\r\nset\r\n$0\r\n\r\n$4\r\na\0\r\n\r\n";
    assert_int_equal(out.len, sizeof expected - 1);
    assert_memory_equal(out.data, expected, out.len);
    buf_free(&out);
}

static void test_commands_that_share(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "get k",
        "set multi exec",
        "BRPOPX k 1",
        "BRPO",
        "client list",
        "client setname reply",
        "xread COUNT 1 STREAMS s 0",
        "wait",
        "brpop",
        "publish a b",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct redis_need need = need_of(rows[i]);
        assert_null(need.refused);
        assert_false(need.alone);
    }
}

static void test_commands_that_wait(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        uint64_t ms;
    } rows[] = {
        {"brpop k 5", 5000},
        {"BLPOP a b c 0.25", 250},
        {"BrPop k 0", REDIS_FOR_EVER},
        {"brpop k 1e30", REDIS_FOR_EVER},
        {"brpop k inf", REDIS_FOR_EVER},
        {"brpop k -1", 0},
        {"brpop k nan", 0},
        {"brpoplpush a b 2", 2000},
        {"blmove a b LEFT RIGHT 3", 3000},
        {"bzpopmin k 1", 1000},
        {"bzpopmax k 1", 1000},
        {"blmpop 4 1 k LEFT", 4000},
        {"bzmpop 4 1 k MIN", 4000},
        {"wait 1 100", 100},
        {"waitaof 1 0 100", 100},
        {"xread block 700 STREAMS s $", 700},
        {"XREADGROUP GROUP g c COUNT 1 BLOCK 0 STREAMS s >", REDIS_FOR_EVER},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct redis_need need = need_of(rows[i].words);
        assert_null(need.refused);
        assert_true(need.alone);
        assert_true(need.wait_ms == rows[i].ms);
    }
}

static void test_commands_that_are_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "subscribe a",       "PSUBSCRIBE a*", "ssubscribe a", "unsubscribe",
        "punsubscribe",      "sunsubscribe",  "monitor",      "sync",
        "psync ? -1",        "multi",         "exec",         "discard",
        "watch k",           "unwatch",       "auth p",       "select 1",
        "hello 3",           "reset",         "quit",         "client reply off",
        "CLIENT Reply skip",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_non_null(need_of(rows[i]).refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_commands_that_share),
        cmocka_unit_test(test_commands_that_wait),
        cmocka_unit_test(test_commands_that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
