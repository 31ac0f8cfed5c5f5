#include "steps.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static bool is(struct slice text, const char *want)
{
    return text.data && text.len == strlen(want) && memcmp(text.data, want, text.len) == 0;
}

static void test_an_expectation_belongs_to_the_step_before_it(void **state)
{
    (void)state;
    struct steps steps = {0};
    assert_true(steps_expect(&steps, "hello")); /* before anything was sent */
    assert_true(steps_send(&steps, "login\\n", true));
    assert_true(steps_expect(&steps, "ok"));
    assert_true(steps_expect(&steps, "ready")); /* a second one */
    assert_true(steps_send(&steps, "bye", false));
    assert_int_equal(steps.count, 4);
    assert_true(!steps.list[0].send.data && steps.list[0].waits);
    assert_true(is(steps.list[0].expect, "hello"));
    assert_true(is(steps.list[1].send, "login\n") && is(steps.list[1].expect, "ok"));
    assert_true(!steps.list[2].send.data && is(steps.list[2].expect, "ready"));
    assert_true(is(steps.list[3].send, "bye") && !steps.list[3].waits);
    steps_free(&steps);
}

static void test_they_are_bounded(void **state)
{
    (void)state;
    struct steps steps = {0};
    for (int i = 0; i < STEPS_MAX; i++)
        assert_true(steps_send(&steps, "x", true));
    assert_false(steps_send(&steps, "x", true));
    assert_true(steps_expect(&steps, "y"));
    assert_false(steps_expect(&steps, "z"));
    steps_free(&steps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_expectation_belongs_to_the_step_before_it),
        cmocka_unit_test(test_they_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
