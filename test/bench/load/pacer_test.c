#include "pacer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_the_schedule_waits_for_nobody(void **state)
{
    (void)state;
    struct pacer pacer;
    pacer_start(&pacer, 5000, 1e6);
    for (uint64_t i = 0; i < 3000000; i += 999) {
        pacer.done = i;
        assert_true(pacer_due(&pacer) == 5000 + i * 1000);
    }
}

static void test_a_rate_that_does_not_divide_a_second(void **state)
{
    (void)state;
    struct pacer pacer;
    pacer_start(&pacer, 0, 3);
    pacer.done = 3000;
    assert_true(pacer_due(&pacer) == 1000000000000u);
}

static void test_how_many_were_due(void **state)
{
    (void)state;
    struct pacer pacer;
    pacer_start(&pacer, 1000, 1e7); /* each 100 ns */
    assert_true(pacer_due_by(&pacer, 0) == 0);
    assert_true(pacer_due_by(&pacer, 1000) == 0);
    assert_true(pacer_due_by(&pacer, 1001) == 1);
    assert_true(pacer_due_by(&pacer, 1150) == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_schedule_waits_for_nobody),
        cmocka_unit_test(test_a_rate_that_does_not_divide_a_second),
        cmocka_unit_test(test_how_many_were_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
