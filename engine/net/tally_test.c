#include "base/address.h"
#include "net/tally.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t S = 1000000000, T0 = 77777777777777;

static char *none[] = {NULL};
static struct config_server server;
static struct tally *tally;
static bool counted;

static int set_up(void **state)
{
    (void)state;
    server =
        (struct config_server){.trusted_proxies = none, .limits = {.burst = 1, .exempt = none}};
    tally = tally_new(3);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tally_free(tally);
    return 0;
}

static struct sockaddr_storage peer_at(const char *text)
{
    struct sockaddr_storage peer;
    assert_true(address_from_text(&peer, text, strlen(text)));
    return peer;
}

static bool enters(const char *text, uint64_t now)
{
    struct sockaddr_storage peer = peer_at(text);
    return tally_enter(tally, &server, &peer, now, &counted);
}

static void leaves(const char *text, uint64_t now)
{
    struct sockaddr_storage peer = peer_at(text);
    tally_leave(tally, &peer, now);
}

static uint64_t addresses(void)
{
    return counter_get(&tally_counters(tally)->addresses);
}

static uint64_t refused(enum tally_limit limit)
{
    return counter_get(&tally_counters(tally)->refused[limit]);
}

static void no_limit_counts_nobody(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_true(enters("192.0.2.1:5", T0));
        assert_false(counted);
    }
    assert_int_equal(addresses(), 0);
}

static void connections_at_once(void **state)
{
    (void)state;
    server.limits.connections_per_address = 2;
    assert_true(enters("192.0.2.1:1", T0) && counted);
    assert_true(enters("192.0.2.1:2", T0));
    assert_false(enters("192.0.2.1:3", T0));
    assert_false(counted);
    assert_true(enters("192.0.2.2:1", T0)); /* somebody else */
    assert_int_equal(refused(TALLY_CONNECTIONS), 1);
    leaves("192.0.2.1:1", T0);
    assert_true(enters("192.0.2.1:3", T0));
    assert_false(enters("192.0.2.1:4", T0));
    assert_int_equal(addresses(), 2);
}

static void connects_in_a_second(void **state)
{
    (void)state;
    server.limits.connects_per_second = 4;
    for (int i = 0; i < 4; i++) {
        assert_true(enters("192.0.2.1:1", T0));
        leaves("192.0.2.1:1", T0);
    }
    for (int i = 0; i < 9; i++)
        assert_false(enters("192.0.2.1:1", T0));
    assert_true(enters("192.0.2.2:1", T0));
    assert_int_equal(refused(TALLY_CONNECTS), 9);
    assert_true(enters("192.0.2.1:1", T0 + S / 4)); /* what was refused costs nothing */
    assert_false(enters("192.0.2.1:1", T0 + S / 4));
}

static void a_limit_that_changes_holds_at_once(void **state)
{
    (void)state;
    server.limits.connections_per_address = 1;
    assert_true(enters("192.0.2.1:1", T0));
    server.limits.connections_per_address = 2;
    assert_true(enters("192.0.2.1:2", T0));
    assert_false(enters("192.0.2.1:3", T0));
    server.limits.connections_per_address = 0;
    assert_true(enters("192.0.2.1:3", T0));
    assert_false(counted);
}

/* One host has a /64 to choose from; IPv4 in its IPv6 form is IPv4. */
static void ipv6_counts_by_network(void **state)
{
    (void)state;
    server.limits.connections_per_address = 1;
    assert_true(enters("[2001:db8:0:1::1]:1", T0));
    assert_false(enters("[2001:db8:0:1:ffff::2]:1", T0));
    assert_true(enters("[2001:db8:0:2::1]:1", T0));
    assert_true(enters("192.0.2.1:1", T0));
    assert_false(enters("::ffff:192.0.2.1", T0));
    leaves("[2001:db8:0:1::1]:1", T0);
    assert_true(enters("[2001:db8:0:1:ffff::2]:1", T0));
}

static void who_is_not_counted(void **state)
{
    static char net[] = "10.0.0.0/8", proxy[] = "192.0.2.9";
    char *exempt[] = {net, NULL}, *proxies[] = {proxy, NULL};
    (void)state;
    server.limits.connections_per_address = 1;
    server.limits.exempt = exempt;
    server.trusted_proxies = proxies;
    for (int i = 0; i < 5; i++) {
        assert_true(enters("10.1.2.3:1", T0) && !counted);
        assert_true(enters("192.0.2.9:1", T0) && !counted);
        assert_true(enters("unix:", T0) && !counted);
    }
    assert_true(enters("11.0.0.1:1", T0) && counted);
    assert_false(enters("11.0.0.1:1", T0));
}

static void nobody_is_remembered_for_nothing(void **state)
{
    (void)state;
    server.limits.connects_per_second = 1;
    server.limits.burst = 10;
    for (unsigned i = 0; i < 100; i++) {
        char text[32];
        snprintf(text, sizeof text, "192.0.2.%u:1", i);
        assert_true(enters(text, T0));
        leaves(text, T0);
    }
    assert_int_equal(addresses(), 100);
    for (unsigned i = 0; i < 60; i++) { /* their second is over: each that comes takes two along */
        assert_true(enters("198.51.100.1:1", T0 + (2 + 2 * i) * S));
        leaves("198.51.100.1:1", T0 + (3 + 2 * i) * S);
    }
    assert_int_equal(addresses(), 0);
}

static void without_a_rate_none_is_remembered(void **state)
{
    (void)state;
    server.limits.connects_per_second = 1;
    server.limits.burst = 10;
    assert_true(enters("192.0.2.1:1", T0) && enters("192.0.2.1:2", T0) &&
                enters("192.0.2.2:1", T0));
    leaves("192.0.2.2:1", T0);
    tally_configure(tally, &server);
    assert_int_equal(addresses(), 2);
    server.limits.connects_per_second = 0;
    tally_configure(tally, &server);
    assert_int_equal(addresses(), 1); /* it has two open */
    leaves("192.0.2.1:1", T0);
    leaves("192.0.2.1:2", T0);
    assert_int_equal(addresses(), 0);
    server.limits.connects_per_second = 1;
    tally_configure(tally, &server);
    assert_true(enters("192.0.2.1:1", T0));
    leaves("192.0.2.1:1", T0);
    assert_int_equal(addresses(), 1);
}

static void the_table_is_bounded(void **state)
{
    (void)state;
    server.limits.connects_per_second = 1;
    server.limits.burst = 1;
    assert_true(enters("192.0.2.1:1", T0)); /* it stays */
    for (unsigned i = 0; i < TALLY_IDLE_MAX + 1000; i++) {
        char text[48];
        snprintf(text, sizeof text, "[2001:db8:%x:%x::1]:1", i >> 16, i & 0xffff);
        assert_true(enters(text, T0));
        leaves(text, T0);
    }
    assert_int_equal(addresses(), TALLY_IDLE_MAX + 1);
    assert_false(enters("192.0.2.1:1", T0));
    assert_false(enters("[2001:db8:1:3e7::1]:1", T0)); /* the last one */
    assert_true(enters("[2001:db8::1]:1", T0));        /* the first one is forgotten */
}

static void *come_and_go(void *data)
{
    (void)data;
    for (int i = 0; i < 20000; i++) {
        struct sockaddr_storage peer = peer_at("192.0.2.1:1");
        bool mine;
        if (tally_enter(tally, &server, &peer, T0, &mine))
            tally_leave(tally, &peer, T0);
    }
    return NULL;
}

static void threads_share_it(void **state)
{
    pthread_t threads[3];
    (void)state;
    server.limits.connections_per_address = 2;
    assert_true(enters("192.0.2.1:1", T0));
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, come_and_go, NULL);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_true(enters("192.0.2.1:1", T0));
    assert_false(enters("192.0.2.1:1", T0));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(no_limit_counts_nobody),
        TEST(connections_at_once),
        TEST(connects_in_a_second),
        TEST(a_limit_that_changes_holds_at_once),
        TEST(ipv6_counts_by_network),
        TEST(who_is_not_counted),
        TEST(nobody_is_remembered_for_nothing),
        TEST(without_a_rate_none_is_remembered),
        TEST(the_table_is_bounded),
        TEST(threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
