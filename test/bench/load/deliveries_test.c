#include "deliveries.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* Each channel has its subscribers, each a different connection, and both ways agree. */
static void holds(uint32_t channels, uint32_t subscribers, uint32_t connections)
{
    struct deliveries d;
    uint32_t *count = calloc(channels, sizeof *count), slot;
    uint64_t all = 0;
    deliveries_init(&d, channels, subscribers, connections, 1, 0);
    for (uint32_t c = 0; c < connections; c++) {
        uint32_t slots = deliveries_slots(&d, c);
        all += slots;
        for (uint32_t s = 0; s < slots; s++) {
            uint32_t channel = deliveries_channel(&d, c, s);
            assert_true(channel < channels);
            count[channel]++;
            assert_true(deliveries_find(&d, c, channel, &slot));
            assert_int_equal(slot, s);
        }
        uint32_t found = 0;
        for (uint32_t channel = 0; channel < channels; channel++)
            found += deliveries_find(&d, c, channel, &slot);
        assert_int_equal(found, slots);
    }
    assert_int_equal(all, (uint64_t)channels * subscribers);
    for (uint32_t channel = 0; channel < channels; channel++)
        assert_int_equal(count[channel], subscribers);
    deliveries_fini(&d);
    free(count);
}

static void test_channels_are_shared_out(void **state)
{
    (void)state;
    holds(1, 1, 1);
    holds(1, 7, 7);
    holds(1000, 10, 100);
    holds(7, 3, 5);
    holds(13, 5, 5);
    holds(2, 3, 50);
    holds(101, 10, 33);
}

static void test_the_last_delivery_completes(void **state)
{
    (void)state;
    struct deliveries d;
    deliveries_init(&d, 1, 4, 4, 2, 1);
    assert_false(deliveries_add(&d, 1));
    assert_false(deliveries_add(&d, 1));
    assert_false(deliveries_add(&d, 0));
    assert_true(deliveries_add(&d, 1));
    assert_false(deliveries_add(&d, 1));
    deliveries_fini(&d);
}

static void test_slow_ones_are_as_many_as_asked_for(void **state)
{
    (void)state;
    for (uint32_t count = 1; count < 40; count++)
        for (uint32_t slow = 0; slow <= count; slow++) {
            uint32_t found = 0;
            for (uint32_t i = 0; i < count; i++)
                found += deliveries_is_slow(i, slow, count);
            assert_int_equal(found, slow);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channels_are_shared_out),
        cmocka_unit_test(test_the_last_delivery_completes),
        cmocka_unit_test(test_slow_ones_are_as_many_as_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
