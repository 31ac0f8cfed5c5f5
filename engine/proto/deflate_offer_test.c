#include "proto/deflate_offer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PMD "permessage-deflate"
#define SNC "; server_no_context_takeover"
#define CNC "; client_no_context_takeover"
#define SWB "; server_max_window_bits"
#define CWB "; client_max_window_bits"
#define MALFORMED "400"

/* Headers are separated by a line break. A NULL answer: declined. */
struct row {
    const char *headers;
    const char *fresh; /* the answer where no context is kept */
    const char *kept;
};

static struct handshake request(const char *headers)
{
    struct handshake h = {0};
    while (*headers) {
        size_t len = strcspn(headers, "\n");
        h.headers[h.header_count++] = (struct handshake_header){{"X-Other", 7}, {PMD, 18}};
        h.headers[h.header_count++] =
            (struct handshake_header){{"sec-websocket-extensions", 24}, {headers, len}};
        headers += len + (headers[len] == '\n');
    }
    return h;
}

static void check(const char *headers, bool takeover, const char *want)
{
    struct deflate_terms terms;
    struct deflate_answer answer = {""};
    char *exact = strdup(headers); /* its end is where a sanitizer looks */
    struct handshake h = request(exact);
    enum deflate_offer_result result = deflate_offer_read(&h, takeover, &terms, &answer);
    if (result == DEFLATE_OFFER_MALFORMED)
        strcpy(answer.text, MALFORMED);
    if (result == DEFLATE_OFFER_NONE ? want != NULL : !want || strcmp(answer.text, want) != 0)
        fail_msg("%s: got %s, not %s", headers, answer.text, want ? want : "none");
    free(exact);
}

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        check(rows[i].headers, false, rows[i].fresh);
        check(rows[i].headers, true, rows[i].kept);
    }
}

#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof *(rows))
#define SAME(answer) answer, answer

static void each_parameter(void **state)
{
    static const struct row rows[] = {
        {PMD, PMD SNC CNC, PMD},
        {PMD SNC, PMD SNC CNC, PMD SNC},
        {PMD CNC, PMD SNC CNC, PMD CNC},
        {PMD CNC SNC, SAME(PMD SNC CNC)},
        {PMD SWB "=15", PMD SNC CNC SWB "=15", PMD SWB "=12"},
        {PMD SWB "=13", PMD SNC CNC SWB "=13", PMD SWB "=12"},
        {PMD SWB "=10", PMD SNC CNC SWB "=10", PMD SWB "=10"},
        {PMD SWB "=9", PMD SNC CNC SWB "=9", PMD SWB "=9"},
        {PMD SNC SWB "=15", PMD SNC CNC SWB "=15", PMD SNC SWB "=15"},
        {PMD CWB, PMD SNC CNC, PMD CWB "=12"},
        {PMD CWB "=15", PMD SNC CNC, PMD CWB "=12"},
        {PMD CWB "=14", PMD SNC CNC CWB "=14", PMD CWB "=12"},
        {PMD CWB "=8", PMD SNC CNC CWB "=8", PMD CWB "=8"},
        {PMD CNC CWB, PMD SNC CNC, PMD CNC},
        {PMD CNC CWB "=11", PMD SNC CNC CWB "=11", PMD CNC CWB "=11"},
        {PMD SNC CNC SWB "=11" CWB "=10", SAME(PMD SNC CNC SWB "=11" CWB "=10")},
        {PMD CWB "=10" SWB "=11" CNC SNC, SAME(PMD SNC CNC SWB "=11" CWB "=10")},
    };
    (void)state;
    CHECK_ROWS(rows);
}

static void values_that_are_not_allowed(void **state)
{
    static const struct row rows[] = {
        {PMD SWB, SAME(NULL)},
        {PMD SWB "=8", SAME(NULL)}, /* zlib cannot */
        {PMD SWB "=7", SAME(NULL)},
        {PMD SWB "=16", SAME(NULL)},
        {PMD SWB "=0", SAME(NULL)},
        {PMD SWB "=010", SAME(NULL)},
        {PMD SWB "=+10", SAME(NULL)},
        {PMD SWB "=10.0", SAME(NULL)},
        {PMD SWB "=1", SAME(NULL)},
        {PMD SWB "=1000", SAME(NULL)},
        {PMD SWB "=10000000000", SAME(NULL)},
        {PMD SWB "=x", SAME(NULL)},
        {PMD CWB "=7", SAME(NULL)},
        {PMD CWB "=16", SAME(NULL)},
        {PMD CWB "=08", SAME(NULL)},
        {PMD CWB "=true", SAME(NULL)},
        {PMD SNC "=1", SAME(NULL)},
        {PMD SNC "=true", SAME(NULL)},
        {PMD CNC "=12", SAME(NULL)},
    };
    (void)state;
    CHECK_ROWS(rows);
}

static void unknown_and_repeated_parameters(void **state)
{
    static const struct row rows[] = {
        {PMD "; unknown", SAME(NULL)},
        {PMD "; unknown=\"value\"", SAME(NULL)},
        {PMD "; Server_No_Context_Takeover", SAME(NULL)},
        {PMD "; server_max_window_bit=10", SAME(NULL)},
        {PMD "; server_max_window_bits_=10", SAME(NULL)},
        {PMD SNC SNC, SAME(NULL)},
        {PMD CNC SWB "=10" CNC, SAME(NULL)},
        {PMD SWB "=10" SWB "=10", SAME(NULL)},
        {PMD SWB "=10" SWB "=11", SAME(NULL)},
        {PMD CWB CWB "=11", SAME(NULL)},
        {PMD CWB "=11" CWB, SAME(NULL)},
    };
    (void)state;
    CHECK_ROWS(rows);
}

static void quoted_values(void **state)
{
    static const struct row rows[] = {
        {PMD SWB "=\"10\"", PMD SNC CNC SWB "=10", PMD SWB "=10"},
        {PMD CWB "=\"9\" ; client_no_context_takeover", PMD SNC CNC CWB "=9", PMD CNC CWB "=9"},
        {PMD SWB "=\"1\\0\"", PMD SNC CNC SWB "=10", PMD SWB "=10"},
        {PMD SWB "=\"\\1\\1\"", PMD SNC CNC SWB "=11", PMD SWB "=11"},
        {PMD SWB "=\"16\"", SAME(NULL)},
        {PMD "; x=\"y\", " PMD, PMD SNC CNC, PMD},
        {PMD SWB "=\"\"", SAME(MALFORMED)},
        {PMD SWB "=\"10", SAME(MALFORMED)},
        {PMD SWB "=\"10\\", SAME(MALFORMED)},
        {PMD SWB "=\"10\\\"", SAME(MALFORMED)},
        {PMD SWB "=\"1 0\"", SAME(MALFORMED)},
        {PMD SWB "=\"10,\"", SAME(MALFORMED)},
        {PMD SWB "=\"10\"0", SAME(MALFORMED)},
        {PMD SWB "=1\"0\"", SAME(MALFORMED)},
        {PMD SWB "=\"", SAME(MALFORMED)},
    };
    (void)state;
    CHECK_ROWS(rows);
}

static void fallback_lists(void **state)
{
    static const struct row rows[] = {
        {PMD SNC ", " PMD, PMD SNC CNC, PMD SNC},
        {PMD SWB "=8, " PMD, PMD SNC CNC, PMD},
        {PMD "; unknown, " PMD CWB "=7, " PMD CWB "=9," PMD, PMD SNC CNC CWB "=9", PMD CWB "=9"},
        {PMD SNC SNC "," PMD SNC SNC, SAME(NULL)},
        {"x-webkit-deflate-frame, " PMD, PMD SNC CNC, PMD},
        {"permessage-bzip2; server_max_window_bits=10, " PMD CNC, PMD SNC CNC, PMD CNC},
        {"foo; bar=\"baz\"", SAME(NULL)},
        {"Permessage-Deflate", SAME(NULL)},
        {"permessage-deflat", SAME(NULL)},
        {"permessage-deflate-", SAME(NULL)},
        /* over several headers, where an earlier one goes first */
        {"foo\n" PMD SWB "=8\n" PMD CNC "\n" PMD, PMD SNC CNC, PMD CNC},
        {PMD "\n" PMD SNC, PMD SNC CNC, PMD},
        {PMD "\n;", SAME(MALFORMED)},
    };
    (void)state;
    CHECK_ROWS(rows);
}

static void blanks_and_empty_elements(void **state)
{
    static const struct row rows[] = {
        {"", SAME(NULL)},
        {",", SAME(NULL)},
        {" , ,\t,", SAME(NULL)},
        {",, " PMD " ,,", PMD SNC CNC, PMD},
        {PMD ";client_max_window_bits", PMD SNC CNC, PMD CWB "=12"},
        {"\t" PMD "\t;\tclient_max_window_bits\t=\t11\t", PMD SNC CNC CWB "=11", PMD CWB "=11"},
    };
    (void)state;
    CHECK_ROWS(rows);
}

static void malformed_headers(void **state)
{
    static const struct row rows[] = {
        {";", SAME(MALFORMED)},           {PMD ";", SAME(MALFORMED)},
        {PMD ";;", SAME(MALFORMED)},      {PMD "; ;" SNC, SAME(MALFORMED)},
        {PMD "=1", SAME(MALFORMED)},      {PMD SWB "=", SAME(MALFORMED)},
        {PMD SWB "=,", SAME(MALFORMED)},  {PMD SWB "==10", SAME(MALFORMED)},
        {PMD " " PMD, SAME(MALFORMED)},   {PMD "; a b", SAME(MALFORMED)},
        {PMD "; \"a\"", SAME(MALFORMED)}, {"\"" PMD "\"", SAME(MALFORMED)},
        {PMD ", @", SAME(MALFORMED)}, /* though an acceptable offer goes before */
        {"foo/1, " PMD, SAME(MALFORMED)}, {PMD "\x80", SAME(MALFORMED)},
    };
    (void)state;
    CHECK_ROWS(rows);
}

/* What is kept of the terms must be what was said. */
static void check_terms(const char *offer, bool takeover, struct deflate_terms want)
{
    struct deflate_terms terms;
    struct deflate_answer answer;
    struct handshake h = request(offer);
    assert_int_equal(deflate_offer_read(&h, takeover, &terms, &answer), DEFLATE_OFFER_ACCEPTED);
    assert_int_equal(terms.server_keeps, want.server_keeps);
    assert_int_equal(terms.client_keeps, want.client_keeps);
    assert_int_equal(terms.server_bits, want.server_bits);
    assert_int_equal(terms.client_bits, want.client_bits);
}

static void terms(void **state)
{
    (void)state;
    check_terms(PMD, false, (struct deflate_terms){false, false, 15, 15});
    check_terms(PMD, true, (struct deflate_terms){true, true, 12, 15});
    check_terms(PMD CWB, true, (struct deflate_terms){true, true, 12, 12});
    check_terms(PMD CWB, false, (struct deflate_terms){false, false, 15, 15});
    check_terms(PMD SNC CWB "=9", true, (struct deflate_terms){false, true, 15, 9});
    check_terms(PMD CNC SWB "=9", true, (struct deflate_terms){true, false, 9, 15});
    check_terms(PMD SWB "=14" CWB "=13", false, (struct deflate_terms){false, false, 14, 13});
}

static void no_header(void **state)
{
    struct deflate_terms agreed;
    struct deflate_answer answer;
    struct handshake h = {0};
    (void)state;
    assert_int_equal(deflate_offer_read(&h, true, &agreed, &answer), DEFLATE_OFFER_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_parameter),
        cmocka_unit_test(values_that_are_not_allowed),
        cmocka_unit_test(unknown_and_repeated_parameters),
        cmocka_unit_test(quoted_values),
        cmocka_unit_test(fallback_lists),
        cmocka_unit_test(blanks_and_empty_elements),
        cmocka_unit_test(malformed_headers),
        cmocka_unit_test(terms),
        cmocka_unit_test(no_header),
    };
    return cmocka_run_group_tests_name("deflate_offer", tests, NULL, NULL);
}
