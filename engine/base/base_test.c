#include "base/blob.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/decimal.h"
#include "base/json_string.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "base/slots.h"
#include "base/sources.h"
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void test_check_ends_the_process_and_says_why(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        check_failed("some.c", 7, "the sky is up");
    }
    close(ends[1]);
    char said[256] = {0};
    assert_true(read(ends[0], said, sizeof said - 1) > 0);
    close(ends[0]);
    assert_non_null(strstr(said, "some.c:7"));
    assert_non_null(strstr(said, "the sky is up"));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void test_buf_grows_and_is_consumed(void **state)
{
    (void)state;
    struct buf buf = {0};
    assert_non_null(buf_reserve(&buf, 0));
    for (int i = 0; i < 1000; i++)
        buf_append_char(&buf, (char)('a' + i % 26));
    buf_append_str(&buf, "end");
    buf_append(&buf, NULL, 0);
    assert_int_equal(buf.len, 1003);
    buf_consume(&buf, 998);
    assert_memory_equal(buf.data, "klend", 5);
    assert_int_equal(buf.len, 5);
    buf_consume(&buf, 5);
    assert_int_equal(buf.len, 0);
    buf_free(&buf);
    assert_null(buf.data);
    buf_append_str(&buf, "again");
    assert_int_equal(buf.len, 5);
    buf_free(&buf);
}

/* Every length around the room that is there, where vsnprintf's NUL may not fit. */
static void test_buf_printf_at_the_edge_of_its_room(void **state)
{
    (void)state;
    for (int len = 0; len < 200; len++) {
        struct buf buf = {0};
        buf_append_char(&buf, '<');
        buf_printf(&buf, "%0*d>", len, 0);
        assert_int_equal(buf.len, 1 + (len ? len : 1) + 1);
        assert_int_equal(buf.data[buf.len - 1], '>');
        buf_free(&buf);
    }
}

static void test_json_strings_are_escaped(void **state)
{
    (void)state;
    static const char text[] = "\"a\\b\"\n\x1f\0\x7f \xe4\xbd\xa0/end";
    struct buf buf = {0};
    json_string_append(&buf, text, sizeof text - 1);
    buf_append_char(&buf, '\0');
    assert_string_equal(buf.data, "\"\\\"a\\\\b\\\"\\u000a\\u001f\\u0000\x7f \xe4\xbd\xa0/end\"");
    buf_free(&buf);
    json_string_append(&buf, "", 0);
    assert_int_equal(buf.len, 2);
    buf_free(&buf);
}

/* Any byte at any place, with more of its kind behind the end. */
static void test_plain_runs_end_where_they_must(void **state)
{
    (void)state;
    char text[24];
    for (int c = 0; c < 256; c++) {
        bool plain = c >= 0x20 && c != '"' && c != '\\';
        for (size_t at = 0; at < 20; at++) {
            memset(text, '"', sizeof text);
            memset(text, at % 2 ? 0x80 : 0x20, 20);
            text[at] = (char)c;
            assert_int_equal(json_plain_run(text, 20), plain ? 20 : at);
        }
    }
    assert_int_equal(json_plain_run(text, 0), 0);
}

static void test_decimal_numbers(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {0, 7, 10, 99, 100, 9007199254740993, UINT64_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char text[DECIMAL_TEXT], expected[DECIMAL_TEXT];
        snprintf(expected, sizeof expected, "%" PRIu64, numbers[i]);
        assert_int_equal(decimal_format(numbers[i], text), strlen(expected));
        assert_string_equal(text, expected);
    }
}

static void test_strings_are_copied(void **state)
{
    (void)state;
    char *text = xstrdup("abcdef"), *start = xstrndup(text, 3),
         *made = xasprintf("%s-%d", start, 7);
    assert_string_equal(text, "abcdef");
    assert_string_equal(start, "abc");
    assert_string_equal(made, "abc-7");
    free(text);
    free(start);
    free(made);
}

static void *ref_and_unref(void *data)
{
    struct blob *blob = data;
    for (int i = 0; i < 1000; i++)
        blob_unref(blob_ref(blob));
    blob_unref(blob);
    return NULL;
}

static void test_blob_is_shared_by_threads(void **state)
{
    (void)state;
    struct blob *blob = blob_new("payload", 7);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, blob_ref(blob)), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&blob->refs), 1);
    assert_string_equal(blob->data, "payload");
    blob_unref(blob);
    blob_unref(NULL);
}

static void test_blob_to_be_filled_in(void **state)
{
    (void)state;
    struct blob *blob = blob_new(NULL, 3);
    assert_int_equal(blob->len, 3);
    assert_int_equal(blob->data[3], '\0');
    blob_unref(blob);
}

static void test_clocks_do_not_run_backwards(void **state)
{
    (void)state;
    uint64_t ns = clock_ns(), ms = clock_ms();
    uint32_t s = clock_epoch_s();
    assert_true(clock_ns() >= ns);
    assert_true(ms >= ns / 1000000);
    assert_true(clock_epoch_s() >= s);
    assert_true((int64_t)s + 1735689600 <= (int64_t)time(NULL));
    assert_true((int64_t)clock_epoch_s() + 1735689600 + 5 >= (int64_t)time(NULL));
}

struct item {
    int value;
    struct list link;
};

static int sum_in_order(const struct list *list)
{
    int sum = 0;
    list_for_each(node, list) sum = sum * 10 + list_entry(node, struct item, link)->value;
    return sum;
}

static void test_list_keeps_its_order(void **state)
{
    (void)state;
    struct list a, b;
    struct item items[4];
    list_init(&a);
    list_init(&b);
    for (int i = 0; i < 4; i++)
        items[i].value = i + 1;
    list_push_back(&a, &items[1].link);
    list_push_front(&a, &items[0].link);
    list_push_back(&b, &items[2].link);
    list_push_back(&b, &items[3].link);
    list_splice_back(&a, &b);
    assert_true(list_empty(&b));
    list_splice_back(&a, &b);
    assert_int_equal(sum_in_order(&a), 1234);
    list_remove(&items[2].link);
    list_remove(&items[2].link);
    assert_int_equal(sum_in_order(&a), 124);
    assert_ptr_equal(list_pop_front(&a), &items[0].link);
    list_for_each(node, &a) list_remove(node);
    assert_null(list_pop_front(&a));
}

static void test_counter_counts_both_ways(void **state)
{
    (void)state;
    counter c = 0;
    counter_add(&c, 5);
    counter_add(&c, -2);
    assert_int_equal(counter_get(&c), 3);
}

static uint64_t slot_of(uint64_t number)
{
    return number >> SLOT_GENERATION_BITS;
}

static uint64_t generation_of(uint64_t number)
{
    return number & ((1u << SLOT_GENERATION_BITS) - 1);
}

static int objects[SLOTS_MAX];

static void test_slots_find_what_was_put(void **state)
{
    (void)state;
    struct slots *slots = slots_new(0);
    uint64_t a = slots_put_at(slots, &objects[0], 100), b = slots_put_at(slots, &objects[1], 100);
    assert_int_equal(generation_of(a), 100);
    assert_int_not_equal(a, b);
    assert_ptr_equal(slots_get(slots, a), &objects[0]);
    assert_ptr_equal(slots_get(slots, b), &objects[1]);
    assert_int_equal(slots_count(slots), 2);
    slots_remove(slots, a);
    slots_remove(slots, a);
    assert_null(slots_get(slots, a));
    assert_null(slots_get(slots, 0));
    assert_null(slots_get(slots, b + 1));
    assert_null(slots_get(slots, UINT64_MAX));
    assert_int_equal(slots_count(slots), 1);
    slots_free(slots);
}

static void test_slots_are_reused_only_in_a_later_second(void **state)
{
    (void)state;
    struct slots *slots = slots_new(0);
    uint64_t a = slots_put_at(slots, &objects[0], 100), b = slots_put_at(slots, &objects[1], 100);
    slots_remove(slots, b);
    slots_remove(slots, a);
    uint64_t c = slots_put_at(slots, &objects[2], 100);
    assert_int_equal(slot_of(c), 2);
    /* The clock goes on: the slot given back first comes first. */
    uint64_t d = slots_put_at(slots, &objects[3], 101), e = slots_put_at(slots, &objects[4], 101);
    assert_int_equal(slot_of(d), slot_of(b));
    assert_int_equal(slot_of(e), slot_of(a));
    assert_int_equal(generation_of(d), 101);
    assert_null(slots_get(slots, b));
    assert_ptr_equal(slots_get(slots, d), &objects[3]);
    /* The line is empty now, and works again afterwards. */
    assert_int_equal(slot_of(slots_put_at(slots, &objects[5], 102)), 3);
    slots_remove(slots, d);
    assert_int_equal(slot_of(slots_put_at(slots, &objects[6], 102)), slot_of(d));
    slots_free(slots);
}

static void test_slots_wait_for_their_first_second(void **state)
{
    (void)state;
    struct slots *slots = slots_new(100);
    assert_int_equal(slots_put_at(slots, &objects[0], 99), 0);
    assert_int_equal(slots_count(slots), 0);
    assert_int_not_equal(slots_put_at(slots, &objects[0], 100), 0);
    assert_int_equal(slots_put_at(slots, &objects[0], 1u << SLOT_GENERATION_BITS), 0);
    slots_free(slots);
    slots = slots_new(0);
    assert_int_equal(slots_put_at(slots, &objects[0], 0), 0);
    assert_int_equal(slots_count(slots), 0);
    slots_free(slots);
}

static void test_slots_use_the_clock(void **state)
{
    (void)state;
    struct slots *slots = slots_new(0);
    uint32_t before = clock_epoch_s();
    uint64_t number = slots_put(slots, &objects[0]);
    assert_in_range(generation_of(number), before, clock_epoch_s());
    slots_free(slots);
}

static void test_slots_run_out(void **state)
{
    (void)state;
    struct slots *slots = slots_new(0);
    uint64_t number = 0;
    for (int i = 0; i < SLOTS_MAX; i++) {
        number = slots_put_at(slots, &objects[i], 5);
        assert_int_equal(slot_of(number), i);
    }
    assert_int_equal(slots_put_at(slots, &objects[0], 6), 0);
    slots_remove(slots, number);
    assert_int_equal(slots_put_at(slots, &objects[0], 5), 0);
    assert_int_equal(slots_put_at(slots, &objects[0], 6), number + 1);
    slots_free(slots);
}

/* Puts and removes as they come; a number must never be seen twice, though slots are. */
static void test_no_number_comes_twice(void **state)
{
    (void)state;
    enum { ROUNDS = 4000, LIVE = 16 };
    struct slots *slots = slots_new(0);
    uint64_t live[LIVE] = {0}, last_of_slot[ROUNDS] = {0}, highest = 0;
    unsigned random = 1;
    for (int i = 0; i < ROUNDS; i++) {
        random = random * 1103515245u + 12345u;
        unsigned which = random >> 16 & (LIVE - 1);
        slots_remove(slots, live[which]);
        uint64_t number = slots_put_at(slots, &objects[which], 1 + (uint32_t)i / 50);
        assert_true(number > last_of_slot[slot_of(number)]);
        last_of_slot[slot_of(number)] = live[which] = number;
        highest = slot_of(number) > highest ? slot_of(number) : highest;
    }
    assert_true(highest < 200);
    slots_free(slots);
}

static char *source_path(const char *name)
{
    char folder[] = "/tmp/sources_test.XXXXXX";
    assert_non_null(mkdtemp(folder));
    return xasprintf("%s/%s", folder, name);
}

static void write_source(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void remove_sources(char *path)
{
    unlink(path);
    *strrchr(path, '/') = '\0';
    assert_int_equal(rmdir(path), 0);
    free(path);
}

static void test_sources_notice_each_change(void **state)
{
    (void)state;
    char *path = source_path("a.lua");
    struct sources sources = {0};
    struct buf text = {0};
    assert_int_equal(sources_read(&sources, path, &text), -ENOENT);
    uint64_t absent = sources_digest(&sources);
    assert_int_equal(sources_digest_now(&sources), absent);
    write_source(path, "return 1");
    assert_int_not_equal(sources_digest_now(&sources), absent);
    sources_free(&sources);
    assert_int_equal(sources_read(&sources, path, &text), 0);
    assert_int_equal(text.len, 8);
    assert_int_equal(sources_digest_now(&sources), sources_digest(&sources));
    write_source(path, "return 10"); /* another size: its times may be the same */
    assert_int_not_equal(sources_digest_now(&sources), sources_digest(&sources));
    unlink(path);
    assert_int_not_equal(sources_digest_now(&sources), sources_digest(&sources));
    sources_free(&sources);
    buf_free(&text);
    remove_sources(path);
}

static void test_sources_are_regular_files(void **state)
{
    (void)state;
    char *path = source_path("fifo");
    struct sources sources = {0};
    struct buf text = {0};
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(sources_read(&sources, path, &text), -EINVAL);
    assert_int_equal(sources_read(&sources, "/tmp", &text), -EINVAL);
    assert_int_equal(text.len, 0);
    sources_free(&sources);
    remove_sources(path);
}

static void test_sources_tell_of_missing_descriptors(void **state)
{
    (void)state;
    char *path = source_path("a.lua");
    struct sources sources = {0}, merged = {0};
    struct buf text = {0};
    struct rlimit before, none;
    write_source(path, "return 1");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int status = sources_read(&sources, path, &text);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, -EMFILE);
    assert_true(sources.starved);
    assert_true(sources_merge(&merged, &sources));
    assert_true(merged.starved);
    sources_free(&merged);
    assert_false(merged.starved);
    sources_free(&sources);
    remove_sources(path);
}

static void test_sources_of_two_readers_agree_or_not(void **state)
{
    (void)state;
    char *path = source_path("a.lua");
    struct sources one = {0}, other = {0}, changed = {0};
    struct buf text = {0};
    write_source(path, "return 1");
    assert_int_equal(sources_read(&one, path, &text), 0);
    assert_int_equal(sources_read(&other, path, &text), 0);
    sources_watch(&other, "/nowhere");
    sources_watch(&other, "/nowhere");
    write_source(path, "return 2");
    assert_int_equal(sources_read(&changed, path, &text), 0);
    assert_true(sources_merge(&one, &other));
    assert_int_equal(one.count, 2);
    assert_false(sources_merge(&one, &changed));
    assert_int_equal(one.count, 2);
    sources_free(&one);
    sources_free(&other);
    sources_free(&changed);
    buf_free(&text);
    remove_sources(path);
}

static void test_sources_are_bounded(void **state)
{
    (void)state;
    struct sources sources = {0};
    for (int i = 0; i < SOURCES_MAX + 10; i++) {
        char path[32];
        snprintf(path, sizeof path, "/nowhere/%d", i);
        sources_watch(&sources, path);
    }
    assert_int_equal(sources.count, SOURCES_MAX);
    sources_free(&sources);
}

/* The vectors of its authors: 00 01 02 … under the key 00 01 … 0f. */
static void test_siphash(void **state)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } rows[] = {{0, 0x726fdb47dd0e0e31},
                {1, 0x74f839c593dc67fd},
                {8, 0x93f5f5799a932462},
                {15, 0xa129ca6149be45e5}};
    const struct siphash_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    unsigned char data[16];
    (void)state;
    for (unsigned char i = 0; i < sizeof data; i++)
        data[i] = i;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(siphash(&key, data, rows[i].len), rows[i].hash);
    struct siphash_key a = siphash_key(), b = siphash_key();
    assert_true(siphash(&a, data, 8) != siphash(&b, data, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_ends_the_process_and_says_why),
        cmocka_unit_test(test_buf_grows_and_is_consumed),
        cmocka_unit_test(test_buf_printf_at_the_edge_of_its_room),
        cmocka_unit_test(test_json_strings_are_escaped),
        cmocka_unit_test(test_plain_runs_end_where_they_must),
        cmocka_unit_test(test_decimal_numbers),
        cmocka_unit_test(test_strings_are_copied),
        cmocka_unit_test(test_blob_is_shared_by_threads),
        cmocka_unit_test(test_blob_to_be_filled_in),
        cmocka_unit_test(test_clocks_do_not_run_backwards),
        cmocka_unit_test(test_list_keeps_its_order),
        cmocka_unit_test(test_counter_counts_both_ways),
        cmocka_unit_test(test_siphash),
        cmocka_unit_test(test_slots_find_what_was_put),
        cmocka_unit_test(test_slots_are_reused_only_in_a_later_second),
        cmocka_unit_test(test_slots_wait_for_their_first_second),
        cmocka_unit_test(test_slots_use_the_clock),
        cmocka_unit_test(test_slots_run_out),
        cmocka_unit_test(test_no_number_comes_twice),
        cmocka_unit_test(test_sources_notice_each_change),
        cmocka_unit_test(test_sources_are_regular_files),
        cmocka_unit_test(test_sources_tell_of_missing_descriptors),
        cmocka_unit_test(test_sources_of_two_readers_agree_or_not),
        cmocka_unit_test(test_sources_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
