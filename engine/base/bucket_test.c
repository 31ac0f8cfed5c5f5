#include "base/bucket.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const uint64_t MS = 1000000, S = 1000000000, T0 = 77777777777777;

static unsigned take_all(struct bucket *bucket, const struct rate *rate, uint64_t now)
{
    unsigned taken = 0;
    while (taken < 100000 && bucket_take(bucket, rate, 1, now))
        taken++;
    return taken;
}

static void test_a_burst_and_then_the_rate(void **state)
{
    static const struct {
        uint64_t per_second, burst_s;
    } rows[] = {{1, 1}, {3, 5}, {7, 10}, {100, 10}, {999, 1}, {1000, 60}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rate rate = {rows[i].per_second, rows[i].burst_s * S};
        struct bucket bucket = {0};
        assert_int_equal(take_all(&bucket, &rate, T0), rows[i].per_second * rows[i].burst_s);
        unsigned later = 0;
        for (uint64_t ms = 1; ms <= 10000; ms++)
            later += take_all(&bucket, &rate, T0 + ms * MS);
        assert_int_equal(later, rows[i].per_second * 10);
    }
}

static void test_a_long_silence_earns_one_burst(void **state)
{
    struct rate rate = {10, 2 * S};
    struct bucket bucket = {0};
    (void)state;
    assert_int_equal(take_all(&bucket, &rate, T0), 20);
    assert_int_equal(take_all(&bucket, &rate, T0 + 3600 * S), 20);
    assert_int_equal(take_all(&bucket, &rate, T0 + 3601 * S), 10);
}

static void test_many_at_once(void **state)
{
    struct rate rate = {1000, 1 * S};
    struct bucket bucket = {0};
    (void)state;
    assert_false(bucket_take(&bucket, &rate, 1001, T0));
    assert_true(bucket_take(&bucket, &rate, 1000, T0)); /* a refusal has taken nothing */
    assert_false(bucket_take(&bucket, &rate, 501, T0 + 500 * MS));
    assert_true(bucket_take(&bucket, &rate, 500, T0 + 500 * MS));
    struct rate widest = {1, 3600 * S};
    assert_false(bucket_take(&bucket, &widest, BUCKET_TAKE_MAX, T0 + S));
}

static void test_a_debt_is_waited_for(void **state)
{
    struct rate rate = {10, 1 * S};
    struct bucket bucket = {0};
    (void)state;
    assert_int_equal(bucket_owe(&bucket, &rate, 10, T0), 0);
    assert_int_equal(bucket_owe(&bucket, &rate, 5, T0), 500 * MS);
    assert_int_equal(bucket_owe(&bucket, &rate, 0, T0 + 500 * MS), 0);
    assert_int_equal(bucket_owe(&bucket, &rate, 1, T0 + 500 * MS), 100 * MS);
}

static void test_full(void **state)
{
    struct rate rate = {10, 1 * S};
    struct bucket bucket = {0};
    (void)state;
    assert_true(bucket_is_full(&bucket, T0));
    assert_true(bucket_take(&bucket, &rate, 5, T0));
    assert_false(bucket_is_full(&bucket, T0 + 499 * MS));
    assert_true(bucket_is_full(&bucket, T0 + 500 * MS));
}

static void test_no_limit(void **state)
{
    struct rate none = {0, 1 * S};
    struct bucket bucket = {0};
    (void)state;
    assert_int_equal(take_all(&bucket, &none, T0), 100000);
    assert_int_equal(bucket_owe(&bucket, &none, BUCKET_TAKE_MAX, T0), 0);
    assert_true(bucket_is_full(&bucket, T0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_burst_and_then_the_rate),
        cmocka_unit_test(test_a_long_silence_earns_one_burst),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_a_debt_is_waited_for),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
