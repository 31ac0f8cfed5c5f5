#include "base/clock.h"
#include "base/mem.h"
#include "queue/topic.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One queue with its gates, and a worker that pushes and gets answers. Values of entries are
 * numbers given by the test; answers are kept in the order in which they come. */

enum { LONG_MS = 3600000, MANY = 64 };

struct given {
    uint64_t tag;
    bool granted;
    uint32_t depth;
};

struct taker {
    struct queue_consumer *consumer;
    int ready; /* times that on_ready was called */
};

static uv_loop_t loop;
static struct gates *gates;
static struct queue *queue;
static struct mailbox worker;
static struct given answers[MANY];
static int answer_count;
static struct taker takers[4];

static void on_answer(struct msg *msg, void *data)
{
    (void)data;
    struct push_answer *answer = (struct push_answer *)msg;
    assert_int_equal(msg->type, MSG_PUSH_ANSWER);
    assert_true(answer_count < MANY);
    answers[answer_count++] = (struct given){answer->tag, answer->granted, answer->depth};
    free(answer);
}

static void set_up(uint32_t topic_size, const struct queue_options *options)
{
    answer_count = 0;
    memset(takers, 0, sizeof takers);
    assert_int_equal(uv_loop_init(&loop), 0);
    mailbox_open(&worker, &loop, on_answer, NULL);
    gates = gates_new(topic_size, 8);
    queue = queue_new(&loop, gates, options);
}

static void set_up_bound(uint32_t topic_size)
{
    set_up(topic_size, &(struct queue_options){.full_timeout_ms = LONG_MS});
}

/* Ends everything; whatever is left of it fails the test, in the gates' counts too. */
static uint32_t tear_down(void)
{
    for (size_t i = 0; i < sizeof takers / sizeof *takers; i++)
        if (takers[i].consumer != NULL)
            queue_consumer_free(takers[i].consumer);
    uint32_t lost = queue_free(queue);
    mailbox_close(&worker);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    for (struct gate *gate = NULL; (gate = gates_next(gates, gate)) != NULL;) {
        assert_int_equal(gate_count(gate), 0);
        assert_int_equal(gate_waiting(gate), 0);
    }
    gates_free(gates);
    return lost;
}

/* In all topics and in line; 0: everything was handed over. */
static uint32_t all_entries(void)
{
    uint32_t sum = 0;
    for (struct gate *gate = NULL; (gate = gates_next(gates, gate));)
        sum += gate_count(gate) + gate_waiting(gate);
    return sum;
}

static struct gate *gate_of(const char *topic)
{
    return gates_get(gates, topic, strlen(topic));
}

/* A push as far as the worker's side goes; the entry is on its way then. */
static struct entry *push_begin(const char *topic, uint64_t client, int value)
{
    struct entry *entry = xcalloc(1, sizeof *entry + 16);
    uint32_t count;
    entry->msg.type = MSG_ENTRY;
    entry->gate = gate_of(topic);
    entry->client = client;
    entry->len = (uint32_t)snprintf(entry->json, 16, "%d", value);
    entry->waiting = gate_enter_or_wait(entry->gate, &count) == GATE_WAITING;
    if (entry->waiting) {
        entry->answer = xcalloc(1, sizeof *entry->answer);
        entry->answer->tag = (uint64_t)value;
        entry->reply_to = &worker;
    }
    return entry;
}

/* Returns whether it was let in at once. */
static bool push(const char *topic, uint64_t client, int value)
{
    struct entry *entry = push_begin(topic, client, value);
    bool entered = !entry->waiting;
    queue_accept(queue, entry);
    return entered;
}

static void on_ready(void *data)
{
    ((struct taker *)data)->ready++;
}

static struct taker *join(int which, const char *topic)
{
    struct taker *taker = &takers[which];
    if (taker->consumer == NULL)
        taker->consumer = queue_consumer_new(queue, on_ready, taker);
    assert_int_equal(queue_consume(taker->consumer, topic, strlen(topic)), 0);
    return taker;
}

static void leave(int which)
{
    queue_consumer_free(takers[which].consumer);
    takers[which].consumer = NULL;
}

/* The value of what a consumer gets next, 0 for nothing. */
static int take(struct taker *taker, uint64_t *client)
{
    struct entry *entry = queue_take(taker->consumer);
    if (entry == NULL)
        return 0;
    assert_null(entry->answer);
    assert_false(entry->waiting);
    int value = atoi(entry->json);
    if (client != NULL)
        *client = entry->client;
    free(entry);
    return value;
}

static void assert_takes(struct taker *taker, int from, int to)
{
    for (int value = from; value <= to; value++)
        assert_int_equal(take(taker, NULL), value);
}

static void assert_takes_nothing(struct taker *taker)
{
    assert_int_equal(take(taker, NULL), 0);
}

static void assert_answers(const struct given *expected, int count)
{
    mailbox_drain(&worker);
    assert_int_equal(answer_count, count);
    for (int i = 0; i < count; i++) {
        assert_int_equal(answers[i].tag, expected[i].tag);
        assert_int_equal(answers[i].granted, expected[i].granted);
        assert_int_equal(answers[i].depth, expected[i].depth);
    }
    answer_count = 0;
}

/* A client that falls to the second of two consumers of `topic`, and one that falls to the first:
 * found out by trying. */
static void find_clients(const char *topic, struct taker *a, struct taker *b, uint64_t *of_a,
                         uint64_t *of_b)
{
    *of_a = *of_b = 0;
    for (uint64_t client = 1000; *of_a == 0 || *of_b == 0; client++) {
        assert_true(client < 1100);
        assert_true(push(topic, client, 1));
        if (take(a, NULL) != 0) {
            *of_a = client;
        } else {
            assert_int_equal(take(b, NULL), 1);
            *of_b = client;
        }
    }
    assert_takes_nothing(a);
    assert_takes_nothing(b);
    a->ready = b->ready = 0;
}

/* Gates */

static void test_gates_are_found_by_name(void **state)
{
    (void)state;
    struct gates *some = gates_new(7, 3);
    struct gate *chat = gates_get(some, "chat", 4), *nul = gates_get(some, "ch\0t", 4);
    struct gate *empty = gates_get(some, "", 0);
    assert_non_null(chat);
    assert_non_null(nul);
    assert_non_null(empty);
    assert_ptr_equal(gates_get(some, "chatter", 4), chat);
    assert_ptr_not_equal(chat, nul);
    assert_null(gates_get(some, "one more", 8));
    size_t len;
    assert_memory_equal(gate_name(nul, &len), "ch\0t", 4);
    assert_int_equal(len, 4);
    assert_int_equal(gate_size(chat), 7);
    gate_resize(chat, 9);
    assert_int_equal(gate_size(chat), 9);
    assert_int_equal(gate_size(nul), 7);
    assert_ptr_equal(gates_next(some, NULL), chat);
    assert_ptr_equal(gates_next(some, chat), nul);
    assert_ptr_equal(gates_next(some, nul), empty);
    assert_null(gates_next(some, empty));
    gates_free(some);
}

static void test_a_gate_is_exact_and_nobody_jumps_the_line(void **state)
{
    (void)state;
    struct gates *some = gates_new(2, 1);
    struct gate *gate = gates_get(some, "chat", 4);
    uint32_t count = 0;
    assert_true(gate_enter(gate, &count));
    assert_int_equal(count, 1);
    assert_int_equal(gate_enter_or_wait(gate, &count), GATE_ENTERED);
    assert_int_equal(count, 2);
    assert_false(gate_enter(gate, &count));
    assert_int_equal(gate_enter_or_wait(gate, &count), GATE_WAITING);
    assert_int_equal(gate_waiting(gate), 1);
    assert_false(gate_admit(gate, &count));
    gate_leave(gate);
    /* There is room, but it is for the one who waits. */
    assert_false(gate_enter(gate, &count));
    assert_int_equal(gate_enter_or_wait(gate, &count), GATE_WAITING);
    assert_true(gate_admit(gate, &count));
    assert_int_equal(count, 2);
    assert_int_equal(gate_count(gate), 2);
    assert_int_equal(gate_waiting(gate), 1);
    assert_int_equal(gate_pass(gate), 2);
    assert_int_equal(gate_waiting(gate), 0);
    gate_leave(gate);
    assert_true(gate_enter(gate, &count));
    assert_int_equal(gate_enter_or_wait(gate, &count), GATE_WAITING);
    gate_give_up(gate);
    assert_int_equal(gate_waiting(gate), 0);
    assert_int_equal(gate_count(gate), 2);
    gates_free(some);
}

/* Several workers push into one gate; a thread in the place of the api loop grants, hands over and
 * watches that the bound is never passed. */

enum { PUSHERS = 3, PUSHES = 20000, BOUND = 5 };

struct crowd {
    struct gate *gate;
    _Atomic int entered, waiting; /* told to the api loop, as its mailbox would */
    _Atomic int over;             /* times that a count was above the bound */
};

static void *push_through_gate(void *data)
{
    struct crowd *crowd = data;
    uint32_t count;
    for (int i = 0; i < PUSHES; i++) {
        bool entered = i % 2 ? gate_enter(crowd->gate, &count)
                             : gate_enter_or_wait(crowd->gate, &count) == GATE_ENTERED;
        if (entered && (count == 0 || count > BOUND))
            atomic_fetch_add(&crowd->over, 1);
        if (entered)
            atomic_fetch_add(&crowd->entered, 1);
        else if (i % 2 == 0)
            atomic_fetch_add(&crowd->waiting, 1);
    }
    return NULL;
}

/* Deals with one that is in and one that waits; returns how many it has handed over. */
static int serve_gate(struct crowd *crowd, int turn)
{
    int handed = 0;
    uint32_t count;
    if (atomic_load(&crowd->entered) > 0) {
        atomic_fetch_sub(&crowd->entered, 1);
        gate_leave(crowd->gate);
        handed++;
    }
    if (atomic_load(&crowd->waiting) > 0) {
        if (turn % 7 == 0) {
            gate_pass(crowd->gate);
            handed++;
        } else if (gate_admit(crowd->gate, &count)) {
            if (count > BOUND)
                atomic_fetch_add(&crowd->over, 1);
            atomic_fetch_add(&crowd->entered, 1);
        } else {
            return handed;
        }
        atomic_fetch_sub(&crowd->waiting, 1);
    }
    return handed;
}

static void test_a_gate_with_several_threads(void **state)
{
    (void)state;
    struct gates *some = gates_new(BOUND, 1);
    struct crowd crowd = {.gate = gates_get(some, "chat", 4)};
    pthread_t threads[PUSHERS];
    for (int i = 0; i < PUSHERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, push_through_gate, &crowd), 0);
    /* Every second push of each thread is handed over in the end; those between may be refused. */
    int handed = 0;
    for (int turn = 0; handed < PUSHERS * PUSHES / 2; turn++)
        handed += serve_gate(&crowd, turn);
    for (int i = 0; i < PUSHERS; i++)
        pthread_join(threads[i], NULL);
    for (int turn = 0; atomic_load(&crowd.entered) + atomic_load(&crowd.waiting) > 0; turn++)
        handed += serve_gate(&crowd, turn);
    assert_int_equal(atomic_load(&crowd.over), 0);
    assert_int_equal(gate_count(crowd.gate), 0);
    assert_int_equal(gate_waiting(crowd.gate), 0);
    gates_free(some);
}

static void *get_gates(void *data)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    uint32_t count;
    for (int i = 0; i < 6000; i++) {
        struct gate *gate = gates_get(data, names[i % 6], 1);
        if (gate != NULL)
            gate_enter(gate, &count);
    }
    return NULL;
}

static void test_gates_are_made_once(void **state)
{
    (void)state;
    struct gates *some = gates_new(UINT32_MAX, 5);
    pthread_t threads[PUSHERS];
    for (int i = 0; i < PUSHERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_gates, some), 0);
    for (int i = 0; i < PUSHERS; i++)
        pthread_join(threads[i], NULL);
    int made = 0;
    for (struct gate *gate = NULL; (gate = gates_next(some, gate)) != NULL; made++)
        assert_int_equal(gate_count(gate), PUSHERS * 1000);
    assert_int_equal(made, 5);
    gates_free(some);
}

/* Queue: the bound */

static void test_the_bound_counts_what_is_not_handed_over(void **state)
{
    (void)state;
    set_up_bound(3);
    struct taker *taker = join(0, "chat");
    for (int i = 1; i <= 3; i++)
        assert_true(push("chat", 1, i));
    for (int i = 4; i <= 6; i++)
        assert_false(push("chat", 1, i));
    assert_int_equal(gate_count(gate_of("chat")), 3);
    assert_int_equal(gate_waiting(gate_of("chat")), 3);
    assert_int_equal(all_entries(), 6);
    assert_answers(NULL, 0);
    assert_takes(taker, 1, 1);
    assert_answers((struct given[]){{4, true, 3}}, 1);
    /* Room is for the line first. */
    assert_false(push("chat", 2, 7));
    assert_takes(taker, 2, 7);
    assert_answers((struct given[]){{5, true, 3}, {6, true, 3}, {7, true, 3}}, 3);
    assert_takes_nothing(taker);
    assert_true(push("chat", 1, 8));
    assert_int_equal(all_entries(), 1);
    assert_takes(taker, 8, 8);
    assert_int_equal(tear_down(), 0);
}

static void test_a_topic_of_its_own_has_its_own_bound(void **state)
{
    (void)state;
    set_up_bound(1);
    gate_resize(gate_of("wide"), 2);
    assert_true(push("chat", 1, 1));
    assert_false(push("chat", 1, 2));
    assert_true(push("wide", 1, 3));
    assert_true(push("wide", 1, 4));
    assert_false(push("wide", 1, 5));
    struct taker *taker = join(0, "wide");
    assert_takes(taker, 3, 3);
    assert_answers((struct given[]){{5, true, 2}}, 1);
    assert_int_equal(tear_down(), 3);
    assert_int_equal(answer_count, 1);
    assert_false(answers[0].granted);
}

static void test_room_that_came_while_the_entry_was_on_its_way(void **state)
{
    (void)state;
    set_up_bound(1);
    struct taker *taker = join(0, "chat");
    assert_true(push("chat", 1, 1));
    struct entry *late = push_begin("chat", 1, 2);
    assert_true(late->waiting);
    assert_takes(taker, 1, 1);
    queue_accept(queue, late);
    assert_answers((struct given[]){{2, true, 1}}, 1);
    assert_takes(taker, 2, 2);
    assert_int_equal(tear_down(), 0);
}

static void test_a_raised_bound_lets_in(void **state)
{
    (void)state;
    set_up_bound(1);
    for (int i = 1; i <= 5; i++)
        push("chat", 1, i);
    gate_resize(gate_of("chat"), 3);
    queue_resized(queue, gate_of("chat"));
    assert_answers((struct given[]){{2, true, 2}, {3, true, 3}}, 2);
    /* A lower one puts nobody out. */
    gate_resize(gate_of("chat"), 1);
    queue_resized(queue, gate_of("chat"));
    struct taker *taker = join(0, "chat");
    assert_takes(taker, 1, 2);
    assert_answers(NULL, 0);
    assert_takes(taker, 3, 3);
    assert_answers((struct given[]){{4, true, 1}}, 1);
    queue_resized(queue, gate_of("never pushed to"));
    assert_takes(taker, 4, 5);
    assert_int_equal(tear_down(), 0);
}

/* Queue: order */

static void test_one_consumer_gets_all_topics_in_the_order_pushed(void **state)
{
    (void)state;
    set_up_bound(2);
    struct taker *taker = join(0, "auth");
    join(0, "chat");
    join(0, "close");
    /* "chat" is full from the third on: what comes after it must not overtake it. */
    static const char *const topics[] = {"auth", "chat", "chat", "chat", "auth", "chat", "close"};
    for (int i = 0; i < 7; i++)
        push(topics[i], 5, i + 1);
    assert_int_equal(gate_waiting(gate_of("chat")), 2);
    assert_takes(taker, 1, 2);
    assert_answers((struct given[]){{4, true, 2}}, 1);
    assert_takes(taker, 3, 7);
    assert_answers((struct given[]){{6, true, 2}}, 1);
    assert_takes_nothing(taker);
    assert_int_equal(tear_down(), 0);
}

/* The topic is full of what a stalled consumer does not take. Another consumer goes on all the
 * same, also with what has not been let in; and a client's later message on another topic, which is
 * not full, comes after its earlier one. */
static void test_a_stalled_consumer_stops_nobody_else(void **state)
{
    (void)state;
    set_up_bound(2);
    struct taker *stalled = join(0, "chat"), *other = join(1, "chat");
    join(0, "close");
    join(1, "close");
    uint64_t of_stalled, of_other;
    find_clients("chat", stalled, other, &of_stalled, &of_other);
    assert_true(push("chat", of_stalled, 1));
    assert_true(push("chat", of_stalled, 2));
    assert_false(push("chat", of_stalled, 3));
    assert_false(push("chat", of_other, 4));
    assert_true(push("close", of_other, 5));
    assert_false(push("chat", of_other, 6));
    assert_true(push("close", of_stalled, 7));
    assert_int_equal(take(other, NULL), 4);
    assert_answers((struct given[]){{4, true, 2}}, 1);
    assert_takes(other, 5, 6);
    assert_answers((struct given[]){{6, true, 2}}, 1);
    assert_takes_nothing(other);
    assert_takes(stalled, 1, 3);
    assert_answers((struct given[]){{3, true, 2}}, 1);
    assert_int_equal(take(stalled, NULL), 7);
    assert_takes_nothing(stalled);
    assert_int_equal(tear_down(), 0);
}

static void test_a_client_stays_with_its_consumer(void **state)
{
    (void)state;
    set_up_bound(1000);
    struct taker *three[] = {join(0, "chat"), join(1, "chat"), join(2, "chat")};
    int value = 0, share[3] = {0};
    for (int round = 0; round < 3; round++)
        for (uint64_t client = 1; client <= 60; client++)
            assert_true(push("chat", client, ++value));
    int owner[61] = {0}, last = 0;
    for (int i = 0; i < 3; i++, last = 0) {
        uint64_t client;
        for (int got; (got = take(three[i], &client)) != 0; last = got, share[i]++) {
            assert_true(got > last);
            assert_true(owner[client] == 0 || owner[client] == i + 1);
            owner[client] = i + 1;
        }
    }
    assert_int_equal(share[0] + share[1] + share[2], value);
    for (int i = 0; i < 3; i++)
        assert_in_range(share[i], 3 * 8, 3 * 32);
    assert_int_equal(tear_down(), 0);
}

static void test_a_consumer_that_leaves_moves_only_its_own_clients(void **state)
{
    (void)state;
    set_up_bound(1000);
    struct taker *three[] = {join(0, "chat"), join(1, "chat"), join(2, "chat")};
    int owner[61] = {0};
    uint64_t client;
    for (client = 1; client <= 60; client++)
        assert_true(push("chat", client, 1));
    for (int i = 0; i < 3; i++)
        while (take(three[i], &client) != 0)
            owner[client] = i;
    leave(1);
    for (client = 1; client <= 60; client++)
        assert_true(push("chat", client, 1));
    for (int i = 0; i < 3; i += 2)
        while (take(three[i], &client) != 0)
            assert_true(owner[client] == i || owner[client] == 1);
    assert_int_equal(tear_down(), 0);
}

/* Takes all there is for these consumers; each must get its part in order, and together all
 * of 1..count exactly once. */
static void assert_all_there(struct taker *const *some, int consumers, int count)
{
    bool seen[200] = {false};
    int total = 0;
    for (int i = 0; i < consumers; i++)
        for (int got, last = 0; (got = take(some[i], NULL)) != 0; last = got, total++) {
            assert_true(got > last);
            assert_in_range(got, 1, count);
            assert_false(seen[got]);
            seen[got] = true;
        }
    assert_int_equal(total, count);
}

/* Of seven clients, on two topics. */
static void push_mixed(int from, int to)
{
    for (int value = from; value <= to; value++)
        push(value % 3 ? "chat" : "auth", (uint64_t)value % 7, value);
}

static void test_joining_and_leaving_loses_nothing_and_keeps_order(void **state)
{
    (void)state;
    set_up_bound(30);
    push_mixed(1, 20);
    struct taker *a = join(0, "chat");
    join(0, "auth");
    assert_int_equal(a->ready, 1);
    push_mixed(21, 60);
    assert_true(gate_waiting(gate_of("chat")) > 0);
    struct taker *b = join(1, "chat");
    join(1, "auth");
    struct taker *c = join(2, "auth");
    join(2, "chat");
    push_mixed(61, 80);
    leave(0);
    struct taker *const both[] = {b, c};
    assert_int_equal(all_entries(), 80);
    assert_all_there(both, 2, 80);
    mailbox_drain(&worker);
    for (int i = 0; i < answer_count; i++)
        assert_true(answers[i].granted);
    assert_int_equal(tear_down(), 0);
}

static void test_with_no_consumer_left_entries_stay_in_order(void **state)
{
    (void)state;
    set_up_bound(10);
    join(0, "chat");
    join(1, "chat");
    for (int i = 1; i <= 12; i++)
        push("chat", (uint64_t)i, i);
    assert_int_equal(queue_unconsume(takers[0].consumer), 1);
    leave(1);
    leave(0);
    assert_int_equal(all_entries(), 12);
    struct taker *taker = join(2, "chat");
    assert_int_equal(taker->ready, 1);
    assert_takes(taker, 1, 12);
    assert_takes_nothing(taker);
    assert_int_equal(tear_down(), 0);
}

/* Queue: consumers */

static void test_topics_of_a_consumer(void **state)
{
    (void)state;
    set_up_bound(10);
    struct taker *taker = join(0, "chat");
    assert_int_equal(queue_consume(taker->consumer, "chat", 4), UV_EEXIST);
    assert_true(queue_consumes(taker->consumer, "chat", 4));
    assert_false(queue_consumes(taker->consumer, "cha", 3));
    for (int i = 0; i < 7; i++)
        assert_int_equal(queue_consume(taker->consumer, (char[]){(char)('a' + i)}, 1), 0);
    assert_int_equal(queue_consume(taker->consumer, "one more", 8), UV_ENOSPC);
    assert_int_equal(queue_unconsume(taker->consumer), 8);
    assert_int_equal(queue_unconsume(taker->consumer), 0);
    assert_false(queue_consumes(taker->consumer, "chat", 4));
    assert_true(push("chat", 1, 1));
    assert_takes_nothing(taker);
    assert_int_equal(taker->ready, 0);
    assert_int_equal(queue_consume(taker->consumer, "chat", 4), 0);
    assert_int_equal(taker->ready, 1);
    assert_takes(taker, 1, 1);
    assert_int_equal(tear_down(), 0);
}

static void test_ready_is_told_once_until_nothing_was_there(void **state)
{
    (void)state;
    set_up_bound(1);
    struct taker *taker = join(0, "chat");
    assert_int_equal(taker->ready, 0);
    push("chat", 1, 1);
    push("chat", 1, 2);
    assert_int_equal(taker->ready, 1);
    assert_takes(taker, 1, 1);
    push("chat", 1, 3);
    assert_int_equal(taker->ready, 1);
    assert_takes(taker, 2, 3);
    assert_takes_nothing(taker);
    assert_takes_nothing(taker);
    assert_int_equal(taker->ready, 1);
    push("chat", 1, 4);
    push("chat", 1, 5);
    assert_int_equal(taker->ready, 2);
    /* One that waits is worth a word too. */
    assert_takes(taker, 4, 5);
    assert_takes_nothing(taker);
    struct taker *other = join(1, "full");
    push("full", 1, 6);
    assert_int_equal(other->ready, 1);
    assert_int_equal(taker->ready, 2);
    assert_int_equal(tear_down(), 1);
}

static void test_affinity_any_gives_the_oldest_to_whoever_asks(void **state)
{
    (void)state;
    set_up(3, &(struct queue_options){.full_timeout_ms = LONG_MS, .affinity_any = true});
    struct taker *a = join(0, "chat"), *b = join(1, "chat");
    join(1, "auth");
    for (int i = 1; i <= 3; i++)
        assert_true(push("chat", 1, i));
    assert_false(push("chat", 1, 4));
    assert_true(push("auth", 1, 5));
    assert_false(push("chat", 1, 6));
    assert_int_equal(a->ready, 1);
    assert_int_equal(b->ready, 1);
    assert_takes(b, 1, 1);
    assert_takes(a, 2, 2);
    assert_answers((struct given[]){{4, true, 3}, {6, true, 3}}, 2);
    assert_takes(b, 3, 5);
    assert_takes(a, 6, 6);
    assert_takes_nothing(a);
    assert_takes_nothing(b);
    assert_true(push("chat", 1, 7));
    assert_int_equal(a->ready, 2);
    assert_int_equal(b->ready, 2);
    leave(0);
    struct taker *c = join(2, "chat");
    assert_int_equal(c->ready, 1);
    assert_takes(c, 7, 7);
    assert_int_equal(tear_down(), 0);
}

/* Queue: time-outs. The loop ends by itself only when no timer is left. */

static void run_until_answered(int count)
{
    while (answer_count < count)
        uv_run(&loop, UV_RUN_ONCE);
}

static void test_who_waits_too_long_is_refused(void **state)
{
    (void)state;
    set_up(1, &(struct queue_options){.full_timeout_ms = 30});
    struct taker *taker = join(0, "chat");
    uint64_t begin = clock_ms();
    push("chat", 1, 1);
    push("auth", 1, 2);
    push("chat", 1, 3);
    push("auth", 1, 4);
    push("chat", 2, 5);
    run_until_answered(3);
    assert_true(clock_ms() >= begin + 30);
    for (int i = 0; i < 3; i++)
        assert_false(answers[i].granted);
    assert_int_equal(answers[0].tag + answers[1].tag + answers[2].tag, 3 + 4 + 5);
    assert_int_equal(gate_waiting(gate_of("chat")), 0);
    assert_int_equal(all_entries(), 2);
    answer_count = 0;
    assert_int_equal(take(taker, NULL), 1);
    assert_takes_nothing(taker);
    assert_int_equal(tear_down(), 1);
}

static void test_nobody_is_refused_early(void **state)
{
    (void)state;
    enum { TIMEOUT_MS = 30, BETWEEN_MS = 10 };
    set_up(1, &(struct queue_options){.full_timeout_ms = TIMEOUT_MS});
    push("chat", 1, 1);
    push("chat", 1, 2);
    for (uint64_t begin = clock_ms(); clock_ms() < begin + BETWEEN_MS;)
        uv_sleep(1);
    uint64_t second_began = clock_ms();
    push("chat", 1, 3);
    run_until_answered(2);
    assert_true(clock_ms() >= second_began + TIMEOUT_MS);
    assert_answers((struct given[]){{2, false, 0}, {3, false, 0}}, 2);
    assert_int_equal(tear_down(), 1);
}

/* One that was let in is not refused later, and the timer goes on for those behind it. */
static void test_who_was_let_in_is_not_refused(void **state)
{
    (void)state;
    set_up(1, &(struct queue_options){.full_timeout_ms = 20});
    struct taker *taker = join(0, "chat");
    push("chat", 1, 1);
    push("chat", 1, 2);
    push("chat", 1, 3);
    assert_takes(taker, 1, 1);
    run_until_answered(2);
    assert_answers((struct given[]){{2, true, 1}, {3, false, 0}}, 2);
    push("chat", 1, 4);
    run_until_answered(1);
    assert_answers((struct given[]){{4, false, 0}}, 1);
    assert_int_equal(take(taker, NULL), 2);
    assert_takes_nothing(taker);
    assert_int_equal(tear_down(), 0);
}

static void test_hurry_ends_all_waiting(void **state)
{
    (void)state;
    set_up_bound(1);
    push("chat", 1, 1);
    push("chat", 1, 2);
    push("auth", 1, 3);
    push("auth", 1, 4);
    queue_hurry(queue, clock_ms() + 20);
    queue_hurry(queue, clock_ms() + LONG_MS);
    push("chat", 1, 5);
    run_until_answered(3);
    for (int i = 0; i < 3; i++)
        assert_false(answers[i].granted);
    answer_count = 0;
    push("chat", 1, 6);
    run_until_answered(1);
    assert_answers((struct given[]){{6, false, 0}}, 1);
    assert_int_equal(all_entries(), 2);
    assert_int_equal(tear_down(), 2);
}

static void test_freeing_refuses_who_waits(void **state)
{
    (void)state;
    set_up_bound(2);
    join(0, "chat");
    for (int i = 1; i <= 4; i++)
        push("chat", 1, i);
    assert_int_equal(tear_down(), 2);
    assert_answers((struct given[]){{3, false, 0}, {4, false, 0}}, 2);
}

static struct queue_topic_stats stats_of(const char *topic)
{
    struct queue_topic_stats stats;
    queue_topic_stats(queue, gate_of(topic), &stats);
    return stats;
}

static void test_a_topic_counts_what_went_through_it(void **state)
{
    (void)state;
    uint32_t count;
    set_up(2, &(struct queue_options){.full_timeout_ms = 1});
    struct queue_topic_stats stats = stats_of("t");
    assert_int_equal(stats.pushed + stats.delivered + stats.refused + stats.oldest_ms, 0);
    for (int i = 1; i <= 3; i++)
        push("t", 1, i);
    assert_false(gate_enter(gate_of("t"), &count)); /* refused at once */
    run_until_answered(1);                          /* the third, when its time is over */
    stats = stats_of("t");
    assert_int_equal(stats.pushed, 2);
    assert_int_equal(stats.delivered, 0);
    assert_int_equal(stats.refused, 2);
    struct taker *taker = join(0, "t");
    push("t", 1, 4); /* waits, and enters as the first is taken */
    assert_takes(taker, 1, 2);
    assert_takes(taker, 4, 4);
    assert_int_equal(stats_of("t").pushed, 3);
    assert_int_equal(stats_of("t").delivered, 3);
    tear_down();
}

static void test_a_topic_knows_the_age_of_its_oldest(void **state)
{
    (void)state;
    set_up_bound(9);
    struct taker *taker = join(0, "t");
    push("t", 1, 1);
    uint64_t began = uv_now(&loop);
    while (uv_now(&loop) < began + 30)
        uv_update_time(&loop);
    push("t", 2, 2);
    assert_int_equal(stats_of("t").oldest_ms, uv_now(&loop) - began);
    assert_int_equal(take(taker, NULL), 1);
    assert_int_equal(stats_of("t").oldest_ms, 0);
    assert_int_equal(take(taker, NULL), 2);
    tear_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gates_are_found_by_name),
        cmocka_unit_test(test_a_gate_is_exact_and_nobody_jumps_the_line),
        cmocka_unit_test(test_a_gate_with_several_threads),
        cmocka_unit_test(test_gates_are_made_once),
        cmocka_unit_test(test_the_bound_counts_what_is_not_handed_over),
        cmocka_unit_test(test_a_topic_of_its_own_has_its_own_bound),
        cmocka_unit_test(test_room_that_came_while_the_entry_was_on_its_way),
        cmocka_unit_test(test_a_raised_bound_lets_in),
        cmocka_unit_test(test_one_consumer_gets_all_topics_in_the_order_pushed),
        cmocka_unit_test(test_a_stalled_consumer_stops_nobody_else),
        cmocka_unit_test(test_a_client_stays_with_its_consumer),
        cmocka_unit_test(test_a_consumer_that_leaves_moves_only_its_own_clients),
        cmocka_unit_test(test_joining_and_leaving_loses_nothing_and_keeps_order),
        cmocka_unit_test(test_with_no_consumer_left_entries_stay_in_order),
        cmocka_unit_test(test_topics_of_a_consumer),
        cmocka_unit_test(test_ready_is_told_once_until_nothing_was_there),
        cmocka_unit_test(test_affinity_any_gives_the_oldest_to_whoever_asks),
        cmocka_unit_test(test_who_waits_too_long_is_refused),
        cmocka_unit_test(test_nobody_is_refused_early),
        cmocka_unit_test(test_who_was_let_in_is_not_refused),
        cmocka_unit_test(test_hurry_ends_all_waiting),
        cmocka_unit_test(test_freeing_refuses_who_waits),
        cmocka_unit_test(test_a_topic_counts_what_went_through_it),
        cmocka_unit_test(test_a_topic_knows_the_age_of_its_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
