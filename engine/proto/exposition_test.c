#include "proto/exposition.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct metric depth = {"depth", "gauge", "How many."};

static void expect(struct buf *out, const char *text)
{
    buf_append(out, "", 1);
    assert_string_equal(out->data, text);
    buf_free(out);
}

static void test_a_family_with_one_sample(void **state)
{
    (void)state;
    struct buf out = {0};
    exposition_single(&out, &depth, 7);
    expect(&out, "# HELP depth How many.\n# TYPE depth gauge\ndepth 7\n");
}

static void test_labels_are_escaped(void **state)
{
    (void)state;
    static const char name[] = "a\"b\\c\nd";
    struct buf out = {0};
    exposition_sample(&out, &depth, "_sum",
                      (struct metric_label[]){{"topic", name, strlen(name)}, {"x", "", 0}}, 2, 1);
    expect(&out, "depth_sum{topic=\"a\\\"b\\\\c\\nd\",x=\"\"} 1\n");
}

static void test_labels_are_utf8(void **state)
{
    (void)state;
    struct buf out = {0};
    exposition_sample(&out, &depth, "", (struct metric_label[]){{"t", "\xc3\xa9\xff!\xe2\x82", 6}},
                      1, 1);
    expect(&out, "depth{t=\"\xc3\xa9\xef\xbf\xbd!\xef\xbf\xbd\"} 1\n");
}

static void test_values(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } rows[] = {{0, "depth 0\n"},
                {123456789012, "depth 123456789012\n"},
                {0.25, "depth 0.25\n"},
                {1e-9, "depth 1e-09\n"},
                {NAN, "depth NaN\n"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out = {0};
        exposition_sample(&out, &depth, "", NULL, 0, rows[i].value);
        expect(&out, rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_family_with_one_sample),
        cmocka_unit_test(test_labels_are_escaped),
        cmocka_unit_test(test_labels_are_utf8),
        cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
