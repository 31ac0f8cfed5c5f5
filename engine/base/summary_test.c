#include "base/summary.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t SECOND = 1000000000;

static struct summary_view *view_at(const struct summary *summary, uint64_t now)
{
    static struct summary_view view;
    memset(&view, 0, sizeof view);
    summary_add_to(summary, now, &view);
    return &view;
}

static void close_to(double got, double wanted)
{
    assert_true(fabs(got - wanted) <= wanted / 16 + 1e-12);
}

static void test_nothing_has_no_quantile(void **state)
{
    (void)state;
    struct summary *summary = summary_new(10000, 5);
    assert_true(isnan(summary_quantile(view_at(summary, SECOND), 0.5)));
    summary_free(summary);
}

static void test_quantiles_are_right_within_a_sixteenth(void **state)
{
    (void)state;
    struct summary *summary = summary_new(10000, 5);
    for (uint64_t i = 1; i <= 1000; i++)
        summary_record(summary, SECOND, i * 1000);
    struct summary_view *view = view_at(summary, SECOND);
    close_to(summary_quantile(view, 0), 1e-6);
    close_to(summary_quantile(view, 0.25), 250e-6);
    close_to(summary_quantile(view, 0.5), 500e-6);
    close_to(summary_quantile(view, 0.75), 750e-6);
    close_to(summary_quantile(view, 1), 1000e-6);
    assert_int_equal(view->count, 1000);
    close_to(view->sum, 0.5005);
    summary_free(summary);
}

static void test_every_length_has_its_place(void **state)
{
    (void)state;
    for (uint64_t ns = 0; ns < 60 * SECOND; ns += ns / 40 + 1) {
        struct summary *summary = summary_new(10000, 1);
        summary_record(summary, SECOND, ns);
        double got = summary_quantile(view_at(summary, SECOND), 0.5);
        assert_true(fabs(got * 1e9 - (double)ns) <= (double)ns / 16);
        summary_free(summary);
    }
}

static void test_what_is_old_is_forgotten_but_for_count_and_sum(void **state)
{
    (void)state;
    struct summary *summary = summary_new(10000, 5);
    summary_record(summary, 100 * SECOND, SECOND);
    summary_record(summary, 105 * SECOND, 2 * SECOND);
    close_to(summary_quantile(view_at(summary, 107 * SECOND), 0), 1);
    close_to(summary_quantile(view_at(summary, 111 * SECOND), 0), 2);
    assert_true(isnan(summary_quantile(view_at(summary, 130 * SECOND), 0)));
    summary_record(summary, 130 * SECOND, 3 * SECOND);
    struct summary_view *view = view_at(summary, 130 * SECOND);
    assert_int_equal(view->recent, 1);
    assert_int_equal(view->count, 3);
    close_to(view->sum, 6);
    summary_free(summary);
}

static void test_summaries_of_several_writers_are_one(void **state)
{
    (void)state;
    struct summary *a = summary_new(10000, 5), *b = summary_new(10000, 5);
    struct summary_view view = {0};
    summary_record(a, SECOND, 1000);
    summary_record(b, SECOND, 3000);
    summary_add_to(a, SECOND, &view);
    summary_add_to(b, SECOND, &view);
    assert_int_equal(view.count, 2);
    close_to(summary_quantile(&view, 1), 3e-6);
    summary_free(a);
    summary_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_has_no_quantile),
        cmocka_unit_test(test_quantiles_are_right_within_a_sixteenth),
        cmocka_unit_test(test_every_length_has_its_place),
        cmocka_unit_test(test_what_is_old_is_forgotten_but_for_count_and_sum),
        cmocka_unit_test(test_summaries_of_several_writers_are_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
