#include "text_template.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expands_to(const char *text, const struct template_values *values, const char *want)
{
    struct buf out = {0};
    template_expand(&out, (struct slice){text, strlen(text)}, values);
    buf_append_char(&out, '\0');
    assert_string_equal(out.data, want);
    buf_free(&out);
}

static void test_names_become_values(void **state)
{
    (void)state;
    struct template_values values = {.connection = 7,
                                     .round = 4000000000u,
                                     .channel = 12,
                                     .has_channel = true,
                                     .message = {"@@payload", 9}};
    expands_to("{i}", &values, "7");
    expands_to("[{i}{n}{c}]", &values, "[7400000000012]");
    expands_to("{\"pub\":\"ch{c}\",\"data\":\"{msg}\"}", &values,
               "{\"pub\":\"ch12\",\"data\":\"@@payload\"}");
    expands_to("{msg}{msg}", &values, "@@payload@@payload");
}

static void test_other_braces_are_text(void **state)
{
    (void)state;
    struct template_values values = {.connection = 7};
    expands_to("", &values, "");
    expands_to("{", &values, "{");
    expands_to("{i", &values, "{i");
    expands_to("{{i}}", &values, "{7}");
    expands_to("{x}{ii}{}", &values, "{x}{ii}{}");
    expands_to("{\"i\":{i}}", &values, "{\"i\":7}");
}

static void test_what_has_no_value_is_text(void **state)
{
    (void)state;
    struct template_values values = {.connection = 7};
    expands_to("{c}{msg}{m", &values, "{c}{msg}{m");
}

static void unescapes_to(const char *text, const char *want, size_t len)
{
    struct slice out = template_unescape(text);
    assert_int_equal(out.len, len);
    assert_memory_equal(out.data, want, len);
    free((char *)out.data);
}

static void test_escapes(void **state)
{
    (void)state;
    unescapes_to("a\\r\\nb", "a\r\nb", 4);
    unescapes_to("\\t\\0\\\\", "\t\0\\", 3);
    unescapes_to("\\x41\\xff\\x0g", "A\xff\\x0g", 6);
    unescapes_to("\\", "\\", 1);
    unescapes_to("\\q\\x4", "\\q\\x4", 5);
}

static void test_the_payload_is_found(void **state)
{
    (void)state;
    assert_true(template_has_message((struct slice){"pub:{msg}", 9}));
    assert_false(template_has_message((struct slice){"pub:{msg", 8}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_become_values),
        cmocka_unit_test(test_other_braces_are_text),
        cmocka_unit_test(test_what_has_no_value_is_text),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_the_payload_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
