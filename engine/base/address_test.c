#include "base/address.h"
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define PATH_107                                                                                   \
    "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
    "aaaaa"                                                                                        \
    "aaaaaaaaaa"

static void assert_text(const struct sockaddr_storage *address, const char *want)
{
    char text[ADDRESS_TEXT];
    address_text(address, text);
    assert_string_equal(text, want);
}

static void assert_host(const struct sockaddr_storage *address, const char *want)
{
    char host[ADDRESS_HOST];
    address_host(address, host);
    assert_string_equal(host, want);
}

static void what_may_be_bound(void **state)
{
    (void)state;
    static const struct {
        const char *bind, *text, *host;
    } good[] = {
        {"0.0.0.0", "0.0.0.0:80", "0.0.0.0"},
        {"::", "[::]:80", "::"},
        {"::1", "[::1]:80", "::1"},
        {"[::1]", "[::1]:80", "::1"},
        {"2001:DB8:0:0::1", "[2001:db8::1]:80", "2001:db8::1"},
        {"::ffff:127.0.0.1", "127.0.0.1:80", "127.0.0.1"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:80", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        {"unix:/run/a.sock", "unix:/run/a.sock", "unix"},
        {"unix:a", "unix:a", "unix"},
        {"unix:" PATH_107, "unix:" PATH_107, "unix"},
    };
    struct sockaddr_storage address;
    assert_int_equal(strlen(PATH_107), ADDRESS_PATH_MAX);
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(address_from_bind(&address, good[i].bind, 80));
        assert_text(&address, good[i].text);
        assert_host(&address, good[i].host);
        assert_int_equal(address_port(&address), address.ss_family == AF_UNIX ? 0 : 80);
    }
}

static void what_may_not_be_bound(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",     "host",  "1.2.3",     "1.2.3.4.5", "1.2.3.4:80",
        "[::1", "::1]",  "[]",        "[::1]:80",  "fe80::1%lo",
        "unix", "unix:", "[1.2.3.4]", "01.2.3.4",  "unix:" PATH_107 "a",
    };
    struct sockaddr_storage address;
    for (size_t i = 0; i < COUNT(bad); i++)
        if (address_from_bind(&address, bad[i], 80))
            fail_msg("taken: %s", bad[i]);
}

static void texts_of_peers(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want; /* NULL: refused */
    } rows[] = {
        {"192.0.2.1", "192.0.2.1:0"},
        {"192.0.2.1:8080", "192.0.2.1:8080"},
        {"192.0.2.1:65535", "192.0.2.1:65535"},
        {"2001:db8::1", "[2001:db8::1]:0"},
        {"[2001:db8::1]", "[2001:db8::1]:0"},
        {"[2001:db8::1]:80", "[2001:db8::1]:80"},
        {"::ffff:192.0.2.1", "192.0.2.1:0"},
        {"[::ffff:192.0.2.1]:9", "192.0.2.1:9"},
        {"unix:", "unix:"},
        {"", NULL},
        {":", NULL},
        {":80", NULL},
        {"unknown", NULL},
        {"_hidden", NULL},
        {"unix:/run/a", NULL},
        {"192.0.2.1:", NULL},
        {"192.0.2.1:65536", NULL},
        {"192.0.2.1:080", NULL},
        {"192.0.2.1:+8", NULL},
        {"192.0.2.1:8a", NULL},
        {"192.0.2.256", NULL},
        {"[192.0.2.1]:80", NULL},
        {"[2001:db8::1]80", NULL},
        {"[2001:db8::1]:", NULL},
        {"[]", NULL},
        {"[]:80", NULL},
        {"]:80", NULL},
        {" 192.0.2.1", NULL},
        {"1111:2222:3333:4444:5555:6666:7777:8888:9999:1111:2222:3333:4444:5555", NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct sockaddr_storage address;
        bool taken = address_from_text(&address, rows[i].text, strlen(rows[i].text));
        if (taken != (rows[i].want != NULL))
            fail_msg("%s: %s", taken ? "taken" : "refused", rows[i].text);
        if (taken)
            assert_text(&address, rows[i].want);
    }
    struct sockaddr_storage address;
    assert_false(address_from_text(&address, "192.0.2.1\0:80", 13));
    assert_true(address_from_text(&address, "192.0.2.1, 10.0.0.1", 9));
}

static void peers_as_the_system_gives_them(void **state)
{
    (void)state;
    struct sockaddr_storage address = {0};
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(7);
    in6->sin6_addr = (struct in6_addr){.s6_addr = {[10] = 0xff, 0xff, 192, 0, 2, 1}};
    address_of_peer(&address);
    assert_text(&address, "192.0.2.1:7");
    address_of_peer(&address);
    assert_text(&address, "192.0.2.1:7");

    /* A path that fills its field has no NUL of its own; a peer's is not told at all. */
    struct sockaddr_un *un = (struct sockaddr_un *)&address;
    un->sun_family = AF_UNIX;
    memset(un->sun_path, 'x', sizeof un->sun_path);
    address_of_peer(&address);
    assert_text(&address, "unix:");

    address = (struct sockaddr_storage){0};
    assert_host(&address, "");
    assert_false(address_is_any(&address));
}

static void wildcards(void **state)
{
    (void)state;
    struct sockaddr_storage address;
    static const char *const any[] = {"0.0.0.0", "::", "[::]", "::ffff:0.0.0.0"};
    static const char *const one[] = {"0.0.0.1", "::1", "127.0.0.1", "unix:/"};
    for (size_t i = 0; i < COUNT(any); i++) {
        assert_true(address_from_bind(&address, any[i], 0));
        assert_true(address_is_any(&address));
        assert_true(address_from_bind(&address, one[i], 0));
        assert_false(address_is_any(&address));
    }
}

static void hosts_are_the_same_whatever_the_port(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.2", "::1",
                                        "::2",       "unix:/a",   "unix:/b"};
    for (size_t i = 0; i < COUNT(hosts); i++)
        for (size_t j = 0; j < COUNT(hosts); j++) {
            struct sockaddr_storage a, b;
            assert_true(address_from_bind(&a, hosts[i], 1) && address_from_bind(&b, hosts[j], 2));
            assert_int_equal(address_same_host(&a, &b), i == j);
        }
}

static void networks(void **state)
{
    (void)state;
    static const struct {
        char *network;
        const char *in, *out;
    } rows[] = {
        {"10.0.0.1", "10.0.0.1", "10.0.0.2"},
        {"10.0.0.0/8", "10.255.255.255", "11.0.0.0"},
        {"10.1.2.3/8", "10.9.9.9", "9.255.255.255"}, /* host bits do not matter */
        {"192.168.4.0/22", "192.168.7.255", "192.168.8.0"},
        {"192.0.2.128/25", "192.0.2.128", "192.0.2.127"},
        {"0.0.0.0/0", "255.1.2.3", "::1"},
        {"::/0", "2001:db8::1", "0.0.0.0"},
        {"2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"},
        {"[2001:db8::]/32", "2001:db8:ffff::", "2001:db9::"},
        {"::1", "::1", "::2"},
        {"::1/128", "::1", "127.0.0.1"},
        {"::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"},
        {"::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"},
        {"unix", "unix:", "127.0.0.1"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct sockaddr_storage in, out;
        char *list[] = {"203.0.113.7", rows[i].network, NULL};
        assert_true(address_is_network(rows[i].network));
        assert_true(address_from_text(&in, rows[i].in, strlen(rows[i].in)));
        assert_true(address_from_text(&out, rows[i].out, strlen(rows[i].out)));
        if (!address_in(&in, list) || address_in(&out, list))
            fail_msg("%s", rows[i].network);
        assert_false(address_in(&in, list + 2));
    }
}

static void what_is_no_network(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "host",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/08",
        "10.0.0/8",
        "10.0.0.0/8/",
        "::/129",
        "::1/a",
        "/8",
        "unix:",
        "unix:/run",
        "*",
        "10.*",
        "::ffff:10.0.0.0/95",
        "10.0.0.0 /8",
        "10.0.0.0/255.0.0.0",
        "::ffff:10.0.0.0/129",
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        if (address_is_network(bad[i]))
            fail_msg("taken: %s", bad[i]);
}

static void a_packed_address_is_told_alike(void **state)
{
    (void)state;
    static const char *const texts[] = {"192.0.2.1:80", "0.0.0.0:0", "[2001:db8::1]:65535",
                                        "192.0.2.1", "unix:"};
    struct sockaddr_storage address, again;
    struct address_packed packed;
    char want[ADDRESS_TEXT];
    for (size_t i = 0; i < COUNT(texts); i++) {
        assert_true(address_from_text(&address, texts[i], strlen(texts[i])));
        address_text(&address, want);
        address_pack(&packed, &address);
        address_unpack(&again, &packed);
        assert_text(&again, want);
        assert_true(address_same_host(&again, &address));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_be_bound),
        cmocka_unit_test(what_may_not_be_bound),
        cmocka_unit_test(texts_of_peers),
        cmocka_unit_test(peers_as_the_system_gives_them),
        cmocka_unit_test(wildcards),
        cmocka_unit_test(hosts_are_the_same_whatever_the_port),
        cmocka_unit_test(networks),
        cmocka_unit_test(what_is_no_network),
        cmocka_unit_test(a_packed_address_is_told_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
