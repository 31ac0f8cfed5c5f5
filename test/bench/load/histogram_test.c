#include "histogram.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct histogram *make(void)
{
    struct histogram *histogram = calloc(1, sizeof *histogram);
    assert_non_null(histogram);
    return histogram;
}

static void test_an_empty_one_says_zero(void **state)
{
    (void)state;
    struct histogram *histogram = make();
    assert_int_equal(histogram_percentile(histogram, 50), 0);
    assert_true(histogram_mean(histogram) == 0);
    free(histogram);
}

static void test_buckets_never_go_back_and_none_is_missing(void **state)
{
    (void)state;
    unsigned last = 0;
    for (uint64_t ns = 0; ns < 1 << 16; ns++) {
        unsigned bucket = histogram_bucket(ns);
        assert_true(bucket == last || bucket == last + 1);
        last = bucket;
    }
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void test_any_value_is_told_within_one_percent(void **state)
{
    (void)state;
    for (uint64_t value = 1; value < UINT64_C(1) << 60; value += value / 3 + 1) {
        struct histogram *histogram = make();
        histogram_add(histogram, value);
        histogram_add(histogram, value * 3); /* so that max does not cut it */
        double told = (double)histogram_percentile(histogram, 50);
        assert_true(fabs(told - (double)value) <= (double)value * 0.008);
        free(histogram);
    }
}

static void test_percentiles_are_ranks(void **state)
{
    (void)state;
    struct histogram *histogram = make();
    for (uint64_t ns = 1; ns <= 100; ns++)
        histogram_add(histogram, ns);
    assert_int_equal(histogram_percentile(histogram, 0), 1);
    assert_int_equal(histogram_percentile(histogram, 50), 50);
    assert_int_equal(histogram_percentile(histogram, 99), 99);
    assert_int_equal(histogram_percentile(histogram, 99.9), 100);
    assert_int_equal(histogram_percentile(histogram, 100), 100);
    assert_true(histogram_mean(histogram) == 50.5);
    free(histogram);
}

static void test_nothing_is_told_above_the_greatest(void **state)
{
    (void)state;
    struct histogram *histogram = make();
    histogram_add(histogram, 1000001);
    assert_int_equal(histogram_percentile(histogram, 100), 1000001);
    free(histogram);
}

static void test_merged_ones_are_as_one(void **state)
{
    (void)state;
    struct histogram *a = make(), *b = make(), *both = make();
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t ns = i * i * 977;
        histogram_add(i % 3 ? a : b, ns);
        histogram_add(both, ns);
    }
    histogram_merge(a, b);
    assert_memory_equal(a, both, sizeof *both);
    free(a);
    free(b);
    free(both);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_one_says_zero),
        cmocka_unit_test(test_buckets_never_go_back_and_none_is_missing),
        cmocka_unit_test(test_any_value_is_told_within_one_percent),
        cmocka_unit_test(test_percentiles_are_ranks),
        cmocka_unit_test(test_nothing_is_told_above_the_greatest),
        cmocka_unit_test(test_merged_ones_are_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
