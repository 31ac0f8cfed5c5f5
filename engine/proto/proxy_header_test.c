#include "base/address.h"
#include "proto/proxy_header.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

/* Of a block of exactly that size, so that a sanitizer sees a read beyond it. */
static enum proxy_header_result parse(struct proxy_header *out, const char *data, size_t len)
{
    char *exact = malloc(len ? len : 1);
    memcpy(exact, data, len);
    enum proxy_header_result result = proxy_header_parse(out, exact, len);
    free(exact);
    return result;
}

/* Byte by byte: nothing but "more" until the answer, and from there on always the same one. Returns
 * where the answer came. */
static size_t parse_all_prefixes(struct proxy_header *out, const char *data, size_t len,
                                 enum proxy_header_result want)
{
    size_t known = 0;
    for (size_t i = 0; i <= len; i++) {
        enum proxy_header_result result = parse(out, data, i);
        if (result == PROXY_HEADER_MORE && known == 0)
            continue;
        known = known ? known : i;
        if (result != want)
            fail_msg("answer %d after %zu bytes of %.*s", result, i, (int)len, data);
    }
    if (known == 0)
        fail_msg("no answer to %.*s", (int)len, data);
    return known;
}

static void assert_source(const struct proxy_header *header, const char *want)
{
    char text[ADDRESS_TEXT] = "own";
    if (header->source.ss_family != AF_UNSPEC)
        address_text(&header->source, text);
    assert_string_equal(text, want);
}

static void lines(void **state)
{
    (void)state;
    static const struct {
        const char *line, *source;
    } rows[] = {
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "192.0.2.1:56324"},
        {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 0 0\r\n", "192.0.2.1:0"},
        {"PROXY TCP6 2001:db8::1 ::1 4124 443\r\n", "[2001:db8::1]:4124"},
        {"PROXY TCP6 ::ffff:192.0.2.1 ::1 4124 443\r\n", "192.0.2.1:4124"},
        {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "65535 65535\r\n",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
        {"PROXY UNKNOWN\r\n", "own"},
        {"PROXY UNKNOWN what ever 1 2 3\r\n", "own"},
        {"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "own"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct proxy_header header;
        char with_more[256];
        size_t len = strlen(rows[i].line);
        assert_true(len <= 107);
        snprintf(with_more, sizeof with_more, "%sGET / HTTP/1.1\r\n", rows[i].line);
        size_t at = parse_all_prefixes(&header, with_more, strlen(with_more), PROXY_HEADER_OK);
        assert_int_equal(at, len);
        assert_int_equal(header.len, len);
        assert_source(&header, rows[i].source);
    }
}

static void lines_that_are_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        size_t known; /* after so many bytes; 0: at the line's end */
    } rows[] = {
        {"GET / HTTP/1.1\r\n", 1},
        {"\x16\x03\x01\x02", 1},
        {"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", 1},
        {"PROXX ", 5},
        {"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", 7},
        {"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", 10},
        {"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", 8},
        {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", 0},
        {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", 0},
        {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", 0},
        {"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", 0},
        {"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n", 0},
        {"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", 0},
        {"PROXY TCP4 192.0.2.1 192.0.2.2  1 2\r\n", 0},
        {"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", 0},
        {"PROXY TCP4 192.0.2.1 192.0.2.2 65536 1\r\n", 0},
        {"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", 0},
        {"PROXY TCP4 192.0.2.1 192.0.2.2 1 02\r\n", 0},
        {"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n", 0},
        {"PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n", 0},
        {"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", 0},
        {"PROXY TCP4 192.0.2.1 192.0.2 1 2\r\n", 0},
        {"PROXY TCP4 ::1 ::1 1 2\r\n", 0},
        {"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", 0},
        {"PROXY TCP6 [::1] [::1] 1 2\r\n", 0},
        {"PROXY TCP4 \r\n", 0},
        {"PROXY TCP4 4294967297 192.0.2.2 1 99999999999999999999\r\n", 0},
        {"PROXY UNKNOWN\n", 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct proxy_header header;
        size_t len = strlen(rows[i].line);
        size_t at = parse_all_prefixes(&header, rows[i].line, len, PROXY_HEADER_BAD);
        if (at != (rows[i].known ? rows[i].known : len))
            fail_msg("known after %zu bytes: %s", at, rows[i].line);
        assert_non_null(header.why);
    }
}

static void a_line_is_bounded(void **state)
{
    (void)state;
    struct proxy_header header;
    char line[128] = "PROXY UNKNOWN ";
    memset(line + 14, 'x', sizeof line - 14);
    assert_int_equal(parse_all_prefixes(&header, line, sizeof line, PROXY_HEADER_BAD), 107);
    memcpy(line + 106, "\r\n", 2); /* one too many */
    assert_int_equal(parse_all_prefixes(&header, line, sizeof line, PROXY_HEADER_BAD), 107);
    memcpy(line + 105, "\r\n", 2);
    assert_int_equal(parse_all_prefixes(&header, line, sizeof line, PROXY_HEADER_OK), 107);
    line[20] = '\0';
    assert_int_equal(parse_all_prefixes(&header, line, sizeof line, PROXY_HEADER_BAD), 107);
}

static size_t binary(char *out, int command, int family, const void *body, size_t len)
{
    memcpy(out, SIGNATURE, 12);
    out[12] = (char)command;
    out[13] = (char)family;
    out[14] = (char)(len >> 8);
    out[15] = (char)len;
    memcpy(out + 16, body, len);
    return 16 + len;
}

#define IPV4 "\300\000\002\001\306\063\144\002\334\004\001\273"
#define IPV6                                                                                       \
    "\040\001\015\270\0\0\0\0\0\0\0\0\0\0\0\001"                                                   \
    "\040\001\015\270\0\0\0\0\0\0\0\0\0\0\0\002\334\004\001\273"
#define MAPPED                                                                                     \
    "\0\0\0\0\0\0\0\0\0\0\377\377\300\0\002\001"                                                   \
    "\0\0\0\0\0\0\0\0\0\0\377\377\300\0\002\002\334\004\001\273"
#define TLV "\003\000\004\251\270\173\217\004\000\003\000\000\000"

static void binary_headers(void **state)
{
    (void)state;
    static const char nothing[216] = "/run/a.sock";
    static const struct {
        int command, family;
        const char *body;
        size_t len;
        const char *source;
    } rows[] = {
        {0x21, 0x11, IPV4, 12, "192.0.2.1:56324"},
        {0x21, 0x11, IPV4 TLV, 12 + 13, "192.0.2.1:56324"},
        {0x21, 0x21, IPV6, 36, "[2001:db8::1]:56324"},
        {0x21, 0x21, IPV6 TLV, 36 + 13, "[2001:db8::1]:56324"},
        {0x21, 0x21, MAPPED, 36, "192.0.2.1:56324"},
        {0x21, 0x31, nothing, 216, "unix:"},
        {0x21, 0x00, "", 0, "own"},
        {0x21, 0x00, TLV, 13, "own"},
        {0x20, 0x00, "", 0, "own"},
        {0x20, 0x11, IPV4, 12, "own"}, /* LOCAL: what follows is not looked at */
        {0x20, 0xff, "x", 1, "own"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct proxy_header header;
        char data[512];
        size_t len = binary(data, rows[i].command, rows[i].family, rows[i].body, rows[i].len);
        memcpy(data + len, "GET /", 5);
        assert_int_equal(parse_all_prefixes(&header, data, len + 5, PROXY_HEADER_OK), len);
        assert_int_equal(header.len, len);
        assert_source(&header, rows[i].source);
    }
}

static void binary_headers_that_are_wrong(void **state)
{
    (void)state;
    static const struct {
        int command, family;
        const char *body;
        size_t len, known; /* after so many bytes; 0: at the end */
    } rows[] = {
        {0x11, 0x11, IPV4, 12, 13}, /* version 1 */
        {0x31, 0x11, IPV4, 12, 13}, /* version 3 */
        {0x22, 0x11, IPV4, 12, 13}, /* no such command */
        {0x21, 0x11, IPV4, 11, 0},  {0x21, 0x11, "", 0, 0},    {0x21, 0x21, IPV6, 35, 0},
        {0x21, 0x31, IPV6, 36, 0},  {0x21, 0x12, IPV4, 12, 0}, /* datagrams */
        {0x21, 0x22, IPV6, 36, 0},  {0x21, 0x10, IPV4, 12, 0}, {0x21, 0x01, IPV4, 12, 0},
        {0x21, 0x41, IPV4, 12, 0},  {0x21, 0x13, IPV4, 12, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct proxy_header header;
        char data[512];
        size_t len = binary(data, rows[i].command, rows[i].family, rows[i].body, rows[i].len);
        size_t at = parse_all_prefixes(&header, data, len, PROXY_HEADER_BAD);
        if (at != (rows[i].known ? rows[i].known : len))
            fail_msg("row %zu is known after %zu bytes", i, at);
        assert_non_null(header.why);
    }
    for (size_t i = 0; i < 12; i++) {
        struct proxy_header header;
        char data[64];
        size_t len = binary(data, 0x21, 0x11, IPV4, 12);
        data[i] ^= 1;
        assert_int_equal(parse_all_prefixes(&header, data, len, PROXY_HEADER_BAD), i + 1);
    }
}

static void additional_data_is_bounded(void **state)
{
    (void)state;
    static char body[PROXY_HEADER_MAX], data[PROXY_HEADER_MAX + 32];
    struct proxy_header header;
    memcpy(body, IPV4, 12);
    size_t len = binary(data, 0x21, 0x11, body, PROXY_HEADER_MAX - 16);
    assert_int_equal(parse_all_prefixes(&header, data, len, PROXY_HEADER_OK), PROXY_HEADER_MAX);
    len = binary(data, 0x21, 0x11, body, PROXY_HEADER_MAX - 15);
    assert_int_equal(parse_all_prefixes(&header, data, len, PROXY_HEADER_BAD), 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(lines_that_are_wrong),
        cmocka_unit_test(a_line_is_bounded),
        cmocka_unit_test(binary_headers),
        cmocka_unit_test(binary_headers_that_are_wrong),
        cmocka_unit_test(additional_data_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
