#include "msg/client_id.h"
#include "msg/msg.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_client_id_is_arithmetic(void **state)
{
    (void)state;
    uint64_t number = ((uint64_t)1 << CLIENT_NUMBER_BITS) - 1;
    uint64_t id = client_id(CLIENT_NODES_MAX - 1, CLIENT_WORKERS_MAX - 1, number);
    assert_true(id == INT64_MAX);
    id = client_id(5, 63, 12345);
    assert_int_equal(client_node(id), 5);
    assert_int_equal(client_worker(id), 63);
    assert_int_equal(client_number(id), 12345);
}

static bool parses(const char *text, uint64_t *id)
{
    return client_id_parse(text, strlen(text), id);
}

static void test_client_id_text_and_back(void **state)
{
    (void)state;
    const uint64_t ids[] = {0, 1, 9007199254740993, client_id(1, 2, 3), INT64_MAX};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char text[CLIENT_ID_TEXT];
        uint64_t id = 7;
        int len = client_id_format(ids[i], text);
        assert_int_equal(len, strlen(text));
        assert_true(parses(text, &id));
        assert_true(id == ids[i]);
    }
}

static void test_client_id_refuses_anything_else(void **state)
{
    (void)state;
    const char *const bad[] = {"",
                               "-1",
                               "+1",
                               " 1",
                               "1 ",
                               "1.0",
                               "1e3",
                               "0x1",
                               "chat",
                               "9223372036854775808",
                               "9999999999999999999",
                               "00000000000000000001"};
    uint64_t id;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(parses(bad[i], &id));
    assert_false(client_id_parse("1\0", 2, &id));
    assert_true(client_id_parse("123456", 3, &id));
    assert_int_equal(id, 123);
}

static void test_strings_of_any_bytes(void **state)
{
    (void)state;
    struct buf packed = {0};
    strings_add(&packed, "room", 4);
    strings_add(&packed, "", 0);
    strings_add(&packed, "a\0b", 3);
    struct blob *blob = blob_new(packed.data, packed.len);
    buf_free(&packed);
    size_t offset = 0, len;
    const char *text;
    assert_true(strings_next(blob, &offset, &text, &len));
    assert_int_equal(len, 4);
    assert_memory_equal(text, "room", 4);
    assert_true(strings_next(blob, &offset, &text, &len));
    assert_int_equal(len, 0);
    assert_true(strings_next(blob, &offset, &text, &len));
    assert_int_equal(len, 3);
    assert_memory_equal(text, "a\0b", 3);
    assert_false(strings_next(blob, &offset, &text, &len));
    blob_unref(blob);
}

static void test_no_strings(void **state)
{
    (void)state;
    struct blob *blob = blob_new("", 0);
    size_t offset = 0, len;
    const char *text;
    assert_false(strings_next(blob, &offset, &text, &len));
    blob_unref(blob);
}

static uint64_t sum_of(const struct weighing *weighing)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < weighing->count; i++) {
        assert_int_equal(weighing->heaviest[i].id, weighing->heaviest[i].bytes + 1);
        sum += weighing->heaviest[i].bytes;
    }
    return sum;
}

static void test_the_heaviest_are_kept(void **state)
{
    (void)state;
    enum { ALL = 1000 };
    struct weighing weighing = {0};
    uint64_t wanted = 0;
    weighing_add(&weighing, 1, WEIGHT_MIN - 1);
    assert_int_equal(weighing.count, 0);
    for (uint64_t i = 0; i < ALL; i++) { /* each once, in no order */
        uint64_t bytes = WEIGHT_MIN + i * 7 % ALL;
        weighing_add(&weighing, bytes + 1, bytes);
    }
    for (uint64_t i = ALL - WEIGHTS_MAX; i < ALL; i++)
        wanted += WEIGHT_MIN + i;
    assert_int_equal(weighing.count, WEIGHTS_MAX);
    assert_int_equal(sum_of(&weighing), wanted);
}

static void test_command_gives_back_its_references(void **state)
{
    (void)state;
    struct blob *data = blob_new("data", 4);
    struct command *command = command_new(COMMAND_PUBLISH);
    assert_int_equal(command->msg.type, MSG_COMMAND);
    assert_int_equal(command->kind, COMMAND_PUBLISH);
    assert_null(command->reply_to);
    assert_null(command->name);
    command->data = blob_ref(data);
    command_free(command);
    assert_int_equal(atomic_load(&data->refs), 1);
    blob_unref(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_id_is_arithmetic),
        cmocka_unit_test(test_client_id_text_and_back),
        cmocka_unit_test(test_client_id_refuses_anything_else),
        cmocka_unit_test(test_strings_of_any_bytes),
        cmocka_unit_test(test_no_strings),
        cmocka_unit_test(test_the_heaviest_are_kept),
        cmocka_unit_test(test_command_gives_back_its_references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
