#include "stamp.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_what_is_written_is_found(void **state)
{
    (void)state;
    struct stamp in = {.ns = 0x0123456789abcdefu, .sequence = 0xfedcba98u}, out;
    char text[64] = "{\"data\":\"@";
    size_t before = strlen(text);
    stamp_write(text + before, &in);
    strcpy(text + before + STAMP_LEN, "xx\"}");
    const char *at = text, *end = text + strlen(text);
    assert_true(stamp_next(&at, end, &out));
    assert_true(out.ns == in.ns && out.sequence == in.sequence);
    assert_ptr_equal(at, text + before + STAMP_LEN);
    assert_false(stamp_next(&at, end, &out));
}

static void test_two_in_one_text(void **state)
{
    (void)state;
    char text[2 * STAMP_LEN];
    stamp_write(text, &(struct stamp){.sequence = 1});
    stamp_write(text + STAMP_LEN, &(struct stamp){.sequence = 2});
    struct stamp out;
    const char *at = text;
    assert_true(stamp_next(&at, text + sizeof text, &out));
    assert_int_equal(out.sequence, 1);
    assert_true(stamp_next(&at, text + sizeof text, &out));
    assert_int_equal(out.sequence, 2);
}

static void test_a_part_of_one_is_none(void **state)
{
    (void)state;
    char text[STAMP_LEN];
    struct stamp out;
    stamp_write(text, &(struct stamp){.ns = 5, .sequence = 1});
    for (size_t len = 0; len < STAMP_LEN; len++) {
        const char *at = text;
        assert_false(stamp_next(&at, text + len, &out));
    }
    for (size_t i = 0; i < STAMP_LEN; i++) {
        char broken[STAMP_LEN];
        memcpy(broken, text, STAMP_LEN);
        broken[i] = 'g';
        const char *at = broken;
        assert_false(stamp_next(&at, broken + STAMP_LEN, &out));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_found),
        cmocka_unit_test(test_two_in_one_text),
        cmocka_unit_test(test_a_part_of_one_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
