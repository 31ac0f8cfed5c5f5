/* The queue by itself: no socket, no loop. */
#include "base/mem.h"
#include "net/out_queue.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct out_queue queue;
static struct out_spare spare;

static int set_up(void **state)
{
    (void)state;
    out_queue_init(&queue);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    out_queue_fini(&queue, &spare);
    assert_int_equal(queue.count, 0);
    assert_int_equal(queue.bytes, 0);
    assert_ptr_equal(queue.ring, queue.inlined);
    out_spare_fini(&spare);
    return 0;
}

/* A message of the queue's own. */
static void append(const char *text, bool apart)
{
    memcpy(out_queue_reserve(&queue, &spare, strlen(text), true, apart), text, strlen(text));
}

static void push(const char *text, uint32_t messages)
{
    struct frame *frame = frame_new(text, strlen(text));
    frame->messages = messages;
    out_queue_push(&queue, &spare, frame);
}

/* All that is queued and not written, in its order. */
static void assert_holds(const char *expected)
{
    uv_buf_t bufs[OUT_QUEUE_GATHER_MAX];
    char text[1024];
    size_t len = 0, bytes;
    unsigned n = out_queue_gather(&queue, bufs, SIZE_MAX, &bytes);
    for (unsigned i = 0; i < n; len += bufs[i++].len)
        memcpy(text + len, bufs[i].base, bufs[i].len);
    text[len] = '\0';
    assert_string_equal(text, expected);
    assert_int_equal(bytes, len);
    assert_int_equal(queue.bytes, len + queue.count * OUT_QUEUE_FRAME_COST);
}

static void small_messages_share_a_frame(void **state)
{
    (void)state;
    append("one", false);
    append("two", false);
    assert_int_equal(queue.count, 1);
    assert_int_equal(out_queue_at(&queue, 0)->messages, 2);
    push("three", 0);
    append("four", false);
    assert_int_equal(queue.count, 3);
    assert_holds("onetwothreefour");
}

static void what_is_written_goes_from_the_front(void **state)
{
    (void)state;
    append("onetwo", false);
    push("three", 0);
    push("four", 0);
    out_queue_written(&queue, &spare, 4);
    assert_holds("wothreefour");
    out_queue_written(&queue, &spare, 7);
    assert_holds("four");
    out_queue_written(&queue, &spare, 4);
    assert_int_equal(queue.count, 0);
}

static void the_ring_grows_and_goes(void **state)
{
    (void)state;
    push("head", 0);
    out_queue_written(&queue, &spare, 4); /* so that it does not begin at its start */
    for (int i = 0; i < 40; i++) {
        push("x", 0);
        push("y", 0);
        out_queue_written(&queue, &spare, 1);
    }
    assert_int_equal(queue.count, 40);
    assert_ptr_not_equal(queue.ring, queue.inlined);
    out_queue_written(&queue, &spare, 40);
    assert_int_equal(queue.count, 0);
    assert_ptr_equal(queue.ring, queue.inlined);
}

static void a_write_that_waits_is_not_touched(void **state)
{
    (void)state;
    uv_buf_t bufs[OUT_QUEUE_GATHER_MAX];
    append("one", false);
    push("two", 1);
    assert_int_equal(out_queue_begin(&queue, &spare, bufs, SIZE_MAX), 2);
    append("three", false);
    assert_int_equal(out_queue_waiting(&queue), 6);
    assert_int_equal(queue.count, 3);
    assert_memory_equal(bufs[0].base, "one", 3);
    out_queue_drop_unbegun(&queue, &spare);
    assert_holds("onetwo");
    assert_int_equal(out_queue_drop_oldest(&queue, &spare), 0);
    out_queue_written(&queue, &spare, out_queue_waiting(&queue));
    assert_int_equal(queue.count, 0);
    assert_int_equal(queue.writing, 0);
}

static void the_oldest_messages_are_left_out(void **state)
{
    (void)state;
    push("begun", 1);
    push("-ping-", 0);
    append("one", true);
    append("two", true);
    push("last", 1);
    out_queue_written(&queue, &spare, 1);
    assert_int_equal(out_queue_drop_oldest(&queue, &spare), 2);
    assert_holds("egun-ping-last");
    assert_int_equal(out_queue_drop_oldest(&queue, &spare), 1);
    assert_holds("egun-ping-");
    assert_int_equal(out_queue_drop_oldest(&queue, &spare), 0);
}

static void what_may_be_left_out_lies_apart(void **state)
{
    (void)state;
    append("message", true);
    memcpy(out_queue_reserve(&queue, &spare, 4, false, true), "ping", 4);
    append("message", true);
    assert_int_equal(queue.count, 3);
    append("message", true);
    assert_int_equal(queue.count, 3);
    assert_holds("messagepingmessagemessage");
}

static void what_many_hold_weighs_its_part(void **state)
{
    (void)state;
    static char block[10000];
    struct frame *frame = frame_new(block, sizeof block);
    assert_int_equal(out_queue_weight(&queue), 0);
    out_queue_push(&queue, &spare, frame_ref(frame));
    uint64_t half = out_queue_weight(&queue);
    frame_unref(frame);
    assert_in_range(out_queue_weight(&queue), sizeof block, sizeof block + 100);
    assert_in_range(half, sizeof block / 2, sizeof block / 2 + 100);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(small_messages_share_a_frame),     TEST(what_is_written_goes_from_the_front),
        TEST(the_ring_grows_and_goes),          TEST(a_write_that_waits_is_not_touched),
        TEST(the_oldest_messages_are_left_out), TEST(what_may_be_left_out_lies_apart),
        TEST(what_many_hold_weighs_its_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
