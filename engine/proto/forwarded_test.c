#include "base/address.h"
#include "base/buf.h"
#include "proto/forwarded.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define REST                                                                                       \
    "Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"        \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
#define FOR "X-Forwarded-For: "

static char *const trusted[] = {"10.0.0.0/8", "2001:db8::/32", "unix", NULL};
static char *const nobody[] = {NULL};

/* What becomes of the peer; `headers`: whole lines. */
static void client_of(const char *peer, const char *headers, char *const *list,
                      char text[ADDRESS_TEXT])
{
    struct handshake h;
    struct sockaddr_storage address;
    struct buf request = {0};
    buf_printf(&request, "GET / HTTP/1.1\r\n%s%s", headers, REST);
    assert_int_equal(handshake_parse(&h, request.data, request.len), HANDSHAKE_OK);
    assert_true(address_from_text(&address, peer, strlen(peer)));
    char before[ADDRESS_TEXT];
    address_text(&address, before);
    bool found = forwarded_client(&h, list, &address);
    address_text(&address, text);
    assert_true(found || strcmp(before, text) == 0);
    buf_free(&request);
}

static void who_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *peer, *headers, *client;
    } rows[] = {
        {"10.0.0.1:5", "", "10.0.0.1:5"},
        {"10.0.0.1:5", FOR "203.0.113.7\r\n", "203.0.113.7:0"},
        {"unix:", FOR "203.0.113.7\r\n", "203.0.113.7:0"},
        {"[2001:db8::1]:5", "x-forwarded-for:203.0.113.7\t\r\n", "203.0.113.7:0"},
        /* a peer that is not trusted may write what it likes */
        {"203.0.113.1:5", FOR "203.0.113.7\r\n", "203.0.113.1:5"},
        {"[2001:db9::1]:5", FOR "203.0.113.7\r\n", "[2001:db9::1]:5"},
        /* what the client itself sent stands first */
        {"10.0.0.1:5", FOR "1.1.1.1, 203.0.113.7\r\n", "203.0.113.7:0"},
        {"10.0.0.1:5", FOR "10.9.9.9, 203.0.113.7\r\n", "203.0.113.7:0"},
        {"10.0.0.1:5", FOR "garbage, , 203.0.113.7\r\n", "203.0.113.7:0"},
        /* several proxies */
        {"10.0.0.1:5", FOR "1.1.1.1, 203.0.113.7, 10.0.0.2,10.0.0.3\r\n", "203.0.113.7:0"},
        {"10.0.0.1:5", FOR "203.0.113.7, 2001:db8::9 , unix:\r\n", "203.0.113.7:0"},
        {"10.0.0.1:5", FOR "1.1.1.1, 203.0.113.7\r\nX-A: b\r\n" FOR "10.0.0.2\r\n",
         "203.0.113.7:0"},
        {"10.0.0.1:5", FOR "203.0.113.7\r\nX-Forwarded-Format: 1.1.1.1\r\n", "203.0.113.7:0"},
        /* all of them trusted: the first */
        {"10.0.0.1:5", FOR "10.0.0.9, 10.0.0.2\r\n", "10.0.0.9:0"},
        /* what cannot be read, and what stands before it, tells nothing */
        {"10.0.0.1:5", FOR "203.0.113.7, unknown\r\n", "10.0.0.1:5"},
        {"10.0.0.1:5", FOR "203.0.113.7, unknown, 10.0.0.2\r\n", "10.0.0.2:0"},
        {"10.0.0.1:5", FOR "203.0.113.7,\r\n", "10.0.0.1:5"},
        {"10.0.0.1:5", FOR "\r\n", "10.0.0.1:5"},
        {"10.0.0.1:5", FOR ",\r\n", "10.0.0.1:5"},
        /* every form of an address */
        {"10.0.0.1:5", FOR "203.0.113.7:81\r\n", "203.0.113.7:81"},
        {"10.0.0.1:5", FOR "2001:db9::7\r\n", "[2001:db9::7]:0"},
        {"10.0.0.1:5", FOR "[2001:db9::7]:81\r\n", "[2001:db9::7]:81"},
        {"10.0.0.1:5", FOR "::ffff:203.0.113.7\r\n", "203.0.113.7:0"},
        {"10.0.0.1:5", FOR "203.0.113.7, ::ffff:10.0.0.2\r\n", "203.0.113.7:0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[ADDRESS_TEXT];
        client_of(rows[i].peer, rows[i].headers, trusted, text);
        if (strcmp(text, rows[i].client) != 0)
            fail_msg("%s with %s is %s", rows[i].peer, rows[i].headers, text);
        client_of(rows[i].peer, rows[i].headers, nobody, text);
        assert_string_equal(text, rows[i].peer);
    }
}

static void hops_are_bounded(void **state)
{
    (void)state;
    struct buf headers = {0};
    char text[ADDRESS_TEXT];
    buf_append_str(&headers, FOR "203.0.113.7, 10.0.0.99");
    for (int i = 1; i < FORWARDED_HOPS_MAX; i++)
        buf_append_str(&headers, ", 10.0.0.2");
    buf_append(&headers, "\r\n", 3);
    client_of("10.0.0.1:5", headers.data, trusted, text);
    assert_string_equal(text, "10.0.0.99:0");
    buf_free(&headers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_it_is),
        cmocka_unit_test(hops_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
