#include "descriptors.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct config plain = {.server_count = 1};

static void the_apis_have_their_part(void **state)
{
    (void)state;
    assert_int_equal(descriptors_of_api(20000), 20000 / 32);
    assert_int_equal(descriptors_of_api(1024), 64);
    assert_int_equal(descriptors_of_api(100), 25);
    assert_int_equal(descriptors_of_api(1u << 30), 4096);
}

static void clients_have_what_is_left(void **state)
{
    (void)state;
    unsigned one = descriptors_of_clients(20000, &plain, 1);
    assert_true(one < 20000 - descriptors_of_api(20000));
    assert_true(one > 19000);
    assert_int_equal(descriptors_of_clients(20000, &plain, 3), one - 2 * 8);
    assert_int_equal(descriptors_of_clients(100, &plain, 1), 50);
}

static void pools_of_redis_are_not_for_clients(void **state)
{
    (void)state;
    struct config_redis pools[] = {{.pool_size = 20}, {.pool_size = 300}};
    struct config config = {.server_count = 1, .redis = pools, .redis_count = 2};
    assert_int_equal(descriptors_of_clients(20000, &config, 1),
                     descriptors_of_clients(20000, &plain, 1) - 320);
}

static void the_process_takes_all_that_it_may(void **state)
{
    (void)state;
    unsigned all = descriptors_raise();
    assert_true(all > 0);
    assert_int_equal(descriptors_raise(), all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_apis_have_their_part),
        cmocka_unit_test(clients_have_what_is_left),
        cmocka_unit_test(pools_of_redis_are_not_for_clients),
        cmocka_unit_test(the_process_takes_all_that_it_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
