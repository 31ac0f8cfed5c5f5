/* A limit over two workers that answer when the test says so, all on one loop. */
#include "overload.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

enum { PLACES = 2 };
static const uint64_t SMALL = 1 << 20; /* less than any process holds */

static uv_loop_t loop;
static struct mailbox boxes[PLACES], *const box_list[PLACES] = {&boxes[0], &boxes[1]};
static struct memory_guard guard;
static struct acceptor *acceptor;
static struct gates *gates;
static struct overload *overload;

/* What came to a place. */
static struct weighing *asked[PLACES];
static int rounds[PLACES];
static uint32_t shed_count;

static void on_message(struct msg *msg, void *data)
{
    ptrdiff_t place = (struct mailbox *)data - boxes;
    if (msg->type == MSG_WEIGH) {
        asked[place] = (struct weighing *)msg;
        rounds[place]++;
        return;
    }
    assert_int_equal(msg->type, MSG_SHED);
    shed_count += ((struct msg_shed *)msg)->count;
    free(msg);
}

static int set_up(void **state)
{
    (void)state;
    static const struct config config;
    memset(&guard, 0, sizeof guard);
    memset(asked, 0, sizeof asked);
    memset(rounds, 0, sizeof rounds);
    shed_count = 0;
    uv_loop_init(&loop);
    for (int i = 0; i < PLACES; i++)
        mailbox_open(&boxes[i], &loop, on_message, &boxes[i]);
    acceptor = acceptor_new(
        &(struct acceptor_options){.loop = &loop, .config = &config, .worker_count = PLACES});
    gates = gates_new(1, 1);
    overload = overload_new(&(struct overload_options){.loop = &loop,
                                                       .boxes = (struct mailbox **)box_list,
                                                       .box_count = PLACES,
                                                       .acceptor = acceptor,
                                                       .gates = gates,
                                                       .memory = &guard});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < PLACES; i++) {
        free(asked[i]);
        mailbox_close(&boxes[i]);
    }
    acceptor_stop(acceptor);
    overload_close(overload);
    uv_run(&loop, UV_RUN_DEFAULT);
    overload_free(overload);
    acceptor_free(acceptor);
    gates_free(gates);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

static void turn_until_asked(void)
{
    while (!asked[0] || !asked[1])
        uv_run(&loop, UV_RUN_ONCE);
}

/* One client that holds so much. */
static void answer(int place, uint64_t bytes)
{
    struct weighing *weighing = asked[place];
    asked[place] = NULL;
    weighing_add(weighing, 1, bytes);
    overload_weighed(overload, weighing);
}

static void turn(void)
{
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void who_holds_much_is_shed(void **state)
{
    (void)state;
    overload_limit(overload, SMALL);
    turn_until_asked();
    answer(0, 1 << 20);
    answer(1, 1 << 20);
    turn();
    assert_int_equal(shed_count, 2);
    assert_true(gates_are_held(gates));
}

static void without_a_limit_answers_shed_nobody(void **state)
{
    (void)state;
    overload_limit(overload, SMALL);
    turn_until_asked();
    answer(0, 1 << 20);
    overload_limit(overload, 0);
    answer(1, 1 << 20);
    turn();
    assert_int_equal(shed_count, 0);
    assert_false(gates_are_held(gates));
}

static void what_was_given_back_meanwhile_counts(void **state)
{
    (void)state;
    enum { LIMIT = 128 << 20 };
    void *block = mmap(NULL, LIMIT, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_ptr_not_equal(block, MAP_FAILED);
    overload_limit(overload, LIMIT);
    turn_until_asked();
    munmap(block, LIMIT);
    answer(0, 1 << 20);
    answer(1, 1 << 20);
    turn();
    assert_int_equal(shed_count, 0);
}

/* One does not answer: what the other is told to shed is given time to go. */
static void nobody_is_asked_again_before_another_look(void **state)
{
    (void)state;
    overload_limit(overload, SMALL);
    turn_until_asked();
    answer(0, 1 << 20);
    while (shed_count == 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(rounds[0], 1);
    while (rounds[0] == 1)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(rounds[1], 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_holds_much_is_shed),
        TEST(without_a_limit_answers_shed_nobody),
        TEST(what_was_given_back_meanwhile_counts),
        TEST(nobody_is_asked_again_before_another_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
