/* Before a real loopback socket, its peer driven with plain system calls. */
#include "net/pair_test.h"
#include "net/preface.h"
#include <errno.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct wheel wheel;
static struct prefaces prefaces;
static struct preface_counters counters;
static struct msg_accepted accepted;
static SSL_CTX *context;
static int peer;

/* What the owner was told. */
static int asked, done;
static bool welcome;
static char told[128];

static bool on_peer(void *owner, struct msg_accepted *m)
{
    (void)owner;
    assert_ptr_equal(m, &accepted);
    asked++;
    return welcome;
}

static void on_done(void *owner, struct msg_accepted *m, const char *why)
{
    (void)owner;
    assert_ptr_equal(m, &accepted);
    done++;
    snprintf(told, sizeof told, "%s", why ? why : "served");
    if (!why) {
        SSL_free(m->tls);
        close(m->fd);
    }
}

static int set_up(void **state)
{
    (void)state;
    asked = done = 0;
    uv_loop_init(&loop);
    wheel_init(&wheel, &loop);
    prefaces_init(&prefaces, &loop, &wheel, on_peer, on_done, NULL);
    context = SSL_CTX_new(TLS_server_method());
    accepted = (struct msg_accepted){0};
    connect_pair(&accepted.fd, &peer);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(peer);
    SSL_CTX_free(context);
    wheel_fini(&wheel);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

static void open_preface(bool proxy)
{
    preface_open(&prefaces, &accepted,
                 &(struct preface_terms){
                     .proxy = proxy, .tls = context, .timeout_ms = 60000, .counters = &counters});
}

/* Turns the loop as a worker does; fails after five seconds. */
static void turn_until_done(void)
{
    uint64_t end = uv_hrtime() + 5000000000u;
    while (done == 0) {
        assert_true(uv_hrtime() < end);
        prefaces_turn(&prefaces);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(done, 1);
}

static void a_reset_in_a_turn_that_is_used_up_is_met_later(void **state)
{
    (void)state;
    const struct linger at_once = {.l_onoff = 1};
    open_preface(false);
    prefaces.shaken_ns = UINT64_MAX;
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(peer);
    peer = -1;
    for (int i = 0; i < 3; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(done, 0);
    turn_until_done();
    assert_non_null(strstr(told, "it was cut off"));
}

static void who_is_not_served_gets_no_handshake(void **state)
{
    (void)state;
    static const char header[] = "PROXY TCP4 203.0.113.7 198.51.100.2 56324 443\r\n";
    char answer;
    open_preface(true);
    welcome = false;
    assert_int_equal(write(peer, header, strlen(header)), strlen(header));
    turn_until_done();
    assert_string_equal(told, "");
    assert_int_equal(asked, 1);
    assert_int_equal(read(peer, &answer, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_null(accepted.tls);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_reset_in_a_turn_that_is_used_up_is_met_later),
        TEST(who_is_not_served_gets_no_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
