#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/mailbox.h"
#include "loop/watchdog.h"
#include "loop/wheel.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uv_loop_t loop;

static int open_loop(void **state)
{
    (void)state;
    return uv_loop_init(&loop);
}

/* Whatever a test leaves open makes it fail. */
static int close_loop(void **state)
{
    (void)state;
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

/* Mailbox */

struct note {
    struct msg msg;
    int value;
};

struct receiver {
    struct mailbox box;
    int values[16];
    int count;
    void (*on_note)(struct receiver *receiver, int value);
};

static void post(struct mailbox *box, int value)
{
    struct note *note = xcalloc(1, sizeof *note);
    note->value = value;
    mailbox_post(box, &note->msg);
}

static void receive(struct msg *msg, void *data)
{
    struct receiver *receiver = data;
    int value = ((struct note *)msg)->value;
    free(msg);
    receiver->values[receiver->count++] = value;
    if (receiver->on_note != NULL)
        receiver->on_note(receiver, value);
}

static void assert_received(const struct receiver *receiver, int count)
{
    assert_int_equal(receiver->count, count);
    for (int i = 0; i < count; i++)
        assert_int_equal(receiver->values[i], i + 1);
}

static void test_mailbox_wakes_its_loop_and_keeps_order(void **state)
{
    (void)state;
    struct receiver receiver = {.count = 0};
    mailbox_open(&receiver.box, &loop, receive, &receiver);
    for (int i = 1; i <= 5; i++)
        post(&receiver.box, i);
    assert_int_equal(receiver.count, 0);
    uv_run(&loop, UV_RUN_ONCE);
    assert_received(&receiver, 5);
    post(&receiver.box, 6);
    uv_run(&loop, UV_RUN_ONCE);
    assert_received(&receiver, 6);
    mailbox_close(&receiver.box);
    uv_run(&loop, UV_RUN_DEFAULT);
}

static void post_to_itself(struct receiver *receiver, int value)
{
    if (value == 1)
        post(&receiver->box, 4);
}

static void test_what_a_handler_posts_comes_with_the_next_batch(void **state)
{
    (void)state;
    struct receiver receiver = {.on_note = post_to_itself};
    mailbox_open(&receiver.box, &loop, receive, &receiver);
    for (int i = 1; i <= 3; i++)
        post(&receiver.box, i);
    mailbox_drain(&receiver.box);
    assert_received(&receiver, 3);
    mailbox_drain(&receiver.box);
    assert_received(&receiver, 4);
    mailbox_close(&receiver.box);
    uv_run(&loop, UV_RUN_DEFAULT);
}

static void drain_within(struct receiver *receiver, int value)
{
    if (value == 2) {
        post(&receiver->box, 4);
        mailbox_drain(&receiver->box);
    }
}

static void test_a_drain_within_a_handler_keeps_order(void **state)
{
    (void)state;
    struct receiver receiver = {.on_note = drain_within};
    mailbox_open(&receiver.box, &loop, receive, &receiver);
    for (int i = 1; i <= 3; i++)
        post(&receiver.box, i);
    mailbox_drain(&receiver.box);
    mailbox_drain(&receiver.box);
    assert_received(&receiver, 4);
    mailbox_close(&receiver.box);
    uv_run(&loop, UV_RUN_DEFAULT);
}

static void close_within(struct receiver *receiver, int value)
{
    if (value == 2) {
        post(&receiver->box, 4);
        mailbox_close(&receiver->box);
    }
}

static void test_closing_loses_nothing(void **state)
{
    (void)state;
    struct receiver receiver = {.on_note = close_within};
    mailbox_open(&receiver.box, &loop, receive, &receiver);
    for (int i = 1; i <= 3; i++)
        post(&receiver.box, i);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_received(&receiver, 4);
}

enum { PRODUCERS = 3, NOTES = 20000 };

struct crowd {
    struct mailbox box;
    int next[PRODUCERS], total;
    bool in_order;
};

struct producer {
    struct mailbox *box;
    int number;
};

static void *produce(void *data)
{
    const struct producer *producer = data;
    for (int i = 0; i < NOTES; i++)
        post(producer->box, producer->number + PRODUCERS * i);
    return NULL;
}

/* Closes the box as soon as the last note is there, when its producer may still be about to wake.
 */
static void receive_of_crowd(struct msg *msg, void *data)
{
    struct crowd *crowd = data;
    int value = ((struct note *)msg)->value;
    free(msg);
    if (crowd->next[value % PRODUCERS]++ != value / PRODUCERS)
        crowd->in_order = false;
    if (++crowd->total == PRODUCERS * NOTES)
        mailbox_close(&crowd->box);
}

static void test_mailbox_with_several_producers(void **state)
{
    (void)state;
    struct crowd crowd = {.in_order = true};
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    mailbox_open(&crowd.box, &loop, receive_of_crowd, &crowd);
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){&crowd.box, i};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(crowd.total, PRODUCERS * NOTES);
    assert_true(crowd.in_order);
}

/* Wheel. Its own time is moved on by setting its start back, so that nobody has to wait for it. */

struct alarm {
    struct timeout timeout;
    int fired;
    void (*also)(struct alarm *alarm);
};

static struct wheel wheel;
static struct alarm alarms[4];

static int open_wheel(void **state)
{
    memset(alarms, 0, sizeof alarms);
    if (open_loop(state) != 0)
        return -1;
    wheel_init(&wheel, &loop);
    return 0;
}

static int close_wheel(void **state)
{
    wheel_fini(&wheel);
    return close_loop(state);
}

static void on_timeout(struct timeout *timeout)
{
    struct alarm *alarm = container_of(timeout, struct alarm, timeout);
    alarm->fired++;
    if (alarm->also != NULL)
        alarm->also(alarm);
}

static void set(struct alarm *alarm, uint64_t ms)
{
    wheel_set(&wheel, &alarm->timeout, ms, on_timeout);
}

static bool runs(void)
{
    return uv_is_active((uv_handle_t *)&wheel.timer);
}

/* Lets the wheel's timer fire once, when `ms` more have passed. */
static void pass(uint64_t ms)
{
    wheel.start_ms -= ms;
    uv_run(&loop, UV_RUN_ONCE);
}

static void test_wheel_fires_once_and_not_early(void **state)
{
    (void)state;
    set(&alarms[0], 120);
    uint64_t due = uv_now(&loop) + 120;
    assert_true(timeout_is_set(&alarms[0].timeout));
    while (alarms[0].fired == 0) {
        assert_true(runs());
        uv_run(&loop, UV_RUN_ONCE);
    }
    assert_true(uv_now(&loop) >= due);
    assert_false(timeout_is_set(&alarms[0].timeout));
    assert_false(runs());
}

static void test_wheel_runs_only_while_something_is_set(void **state)
{
    (void)state;
    assert_false(timeout_is_set(&alarms[0].timeout));
    assert_false(runs());
    wheel_clear(&wheel, &alarms[0].timeout);
    set(&alarms[0], 1000);
    set(&alarms[1], 2000);
    wheel_clear(&wheel, &alarms[0].timeout);
    wheel_clear(&wheel, &alarms[0].timeout);
    assert_true(runs());
    wheel_clear(&wheel, &alarms[1].timeout);
    assert_false(runs());
    /* After a pause of any length it knows what time it is. */
    wheel.start_ms -= 1000000;
    set(&alarms[0], 5000);
    pass(3000);
    assert_int_equal(alarms[0].fired, 0);
    pass(2200);
    assert_int_equal(alarms[0].fired, 1);
}

static void test_wheel_moves_a_timeout_that_is_set(void **state)
{
    (void)state;
    set(&alarms[0], 1000);
    set(&alarms[0], 5000);
    pass(3000);
    assert_int_equal(alarms[0].fired, 0);
    set(&alarms[0], 100);
    pass(200);
    assert_int_equal(alarms[0].fired, 1);
    assert_false(runs());
}

static void test_wheel_keeps_timeouts_longer_than_its_round(void **state)
{
    (void)state;
    const uint64_t round = (uint64_t)WHEEL_SLOTS * WHEEL_TICK_MS;
    set(&alarms[0], 3 * round + 10000);
    set(&alarms[1], 10000);
    pass(20000);
    assert_int_equal(alarms[1].fired, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(alarms[0].fired, 0);
        pass(round);
    }
    assert_int_equal(alarms[0].fired, 1);
}

static void test_wheel_after_a_long_stop(void **state)
{
    (void)state;
    const uint64_t round = (uint64_t)WHEEL_SLOTS * WHEEL_TICK_MS;
    set(&alarms[0], 1000);
    set(&alarms[1], round + 2000);
    set(&alarms[2], 9 * round);
    pass(5 * round);
    assert_int_equal(alarms[0].fired, 1);
    assert_int_equal(alarms[1].fired, 1);
    assert_int_equal(alarms[2].fired, 0);
    pass(5 * round);
    assert_int_equal(alarms[2].fired, 1);
}

static void set_again(struct alarm *alarm)
{
    if (alarm->fired < 3)
        set(alarm, 0);
}

static void test_wheel_sets_itself_in_its_callback(void **state)
{
    (void)state;
    alarms[0].also = set_again;
    set(&alarms[0], 0);
    for (int i = 1; i <= 3; i++) {
        pass(WHEEL_TICK_MS);
        assert_in_range(alarms[0].fired, 1, i);
    }
    while (runs())
        pass(WHEEL_TICK_MS);
    assert_int_equal(alarms[0].fired, 3);
}

static void end_all_others(struct alarm *alarm)
{
    (void)alarm;
    for (int i = 1; i < 4; i++)
        wheel_clear(&wheel, &alarms[i].timeout);
    /* As memory that has been freed would look. */
    memset(&alarms[1], 0xff, 3 * sizeof alarms[1]);
}

static void test_wheel_callbacks_may_end_those_of_the_same_tick(void **state)
{
    (void)state;
    alarms[0].also = end_all_others;
    for (int i = 0; i < 4; i++)
        set(&alarms[i], 1000);
    pass(2000);
    assert_int_equal(alarms[0].fired, 1);
    assert_int_equal(alarms[1].fired, -1);
    assert_false(runs());
}

static void free_itself(struct alarm *alarm)
{
    free(alarm);
}

static void test_wheel_callback_may_free_its_timeout(void **state)
{
    (void)state;
    struct alarm *alarm = xcalloc(1, sizeof *alarm);
    alarm->also = free_itself;
    set(alarm, 10);
    pass(100);
    assert_false(runs());
}

/* Watchdog */

static char log_file[64];

static int open_log(void **state)
{
    (void)state;
    strcpy(log_file, "/tmp/loop_test.XXXXXX");
    int fd = mkstemp(log_file);
    if (fd < 0)
        return -1;
    close(fd);
    const struct log_options options = {.filename = log_file, .level = LOG_LEVEL_INFO};
    return log_start(&options);
}

static int close_log(void **state)
{
    (void)state;
    log_stop();
    return unlink(log_file);
}

static const char *logged(void)
{
    static char text[8192];
    FILE *in = fopen(log_file, "r");
    assert_non_null(in);
    text[fread(text, 1, sizeof text - 1, in)] = '\0';
    fclose(in);
    return text;
}

static int times_logged(const char *what)
{
    int count = 0;
    for (const char *at = logged(); (at = strstr(at, what)) != NULL; at++)
        count++;
    return count;
}

/* Waits until the log holds `what` so many times; a watchdog that never says it fails the test. */
static void wait_for(int times, const char *what)
{
    for (int i = 0; i < 1000; i++, usleep(10000))
        if (times_logged(what) >= times)
            return;
    fail_msg("\"%s\" is not %d times in: %s", what, times, logged());
}

/* How long the first two reports say that it has taken. */
static void reported_tenths(uint64_t *first, uint64_t *second)
{
    static const char what[] = "has not returned for ";
    unsigned s, tenths;
    const char *at = strstr(logged(), what) + strlen(what);
    assert_int_equal(sscanf(at, "%u.%u", &s, &tenths), 2);
    *first = s * 10 + tenths;
    at = strstr(at, what) + strlen(what);
    assert_int_equal(sscanf(at, "%u.%u", &s, &tenths), 2);
    *second = s * 10 + tenths;
}

static atomic_bool enough;

static void *call_often(void *pulse)
{
    while (!atomic_load(&enough)) {
        pulse_begin(pulse, "on_message", 7);
        pulse_end(pulse);
    }
    return NULL;
}

static void test_watchdog_names_who_does_not_return(void **state)
{
    (void)state;
    struct pulse stuck = {.name = "worker 0"}, idle = {.name = "worker 1"},
                 busy = {.name = "worker 2"};
    struct pulse *pulses[] = {&stuck, &idle, &busy};
    pthread_t thread;
    atomic_store(&enough, false);
    pthread_create(&thread, NULL, call_often, &busy);
    pulse_begin(&stuck, "on_message", 123);
    struct watchdog *dog = watchdog_start(pulses, 3, 1000, 0);
    wait_for(1, "ERROR watchdog: worker 0: on_message of client 123 has not returned for ");
    assert_int_equal(watchdog_stalls(dog, 0), 1);
    atomic_store(&enough, true);
    pthread_join(thread, NULL);
    watchdog_stop(dog);
    assert_int_equal(times_logged("worker 1"), 0);
    assert_int_equal(times_logged("worker 2"), 0);
}

static void test_watchdog_says_when_it_has_returned(void **state)
{
    (void)state;
    struct pulse stuck = {.name = "worker 0"};
    struct pulse *pulses[] = {&stuck};
    pulse_begin(&stuck, "init", 0);
    struct watchdog *dog = watchdog_start(pulses, 1, 10, 0);
    wait_for(1, "ERROR watchdog: worker 0: init has not returned for ");
    pulse_end(&stuck);
    wait_for(1, "WARN  watchdog: worker 0: init has returned after about ");
    /* The next call is another one. */
    pulse_begin(&stuck, "on_close", 5);
    wait_for(1, "on_close of client 5 has not returned for ");
    assert_int_equal(watchdog_stalls(dog, 0), 2);
    watchdog_stop(dog);
}

static void test_watchdog_reports_again_when_doubled(void **state)
{
    (void)state;
    struct pulse stuck = {.name = "worker 0"};
    struct pulse *pulses[] = {&stuck};
    pulse_begin(&stuck, "on_message", 9);
    struct watchdog *dog = watchdog_start(pulses, 1, 200, 0);
    wait_for(2, "has not returned");
    /* It is one call all the same; and it was looked at more often than it was reported. */
    assert_int_equal(watchdog_stalls(dog, 0), 1);
    watchdog_stop(dog);
    uint64_t first, second;
    reported_tenths(&first, &second);
    assert_true(second + 1 >= 2 * first);
}

int main(void)
{
#define ON_LOOP(test) cmocka_unit_test_setup_teardown(test, open_loop, close_loop)
#define ON_WHEEL(test) cmocka_unit_test_setup_teardown(test, open_wheel, close_wheel)
#define WITH_LOG(test) cmocka_unit_test_setup_teardown(test, open_log, close_log)
    const struct CMUnitTest tests[] = {
        ON_LOOP(test_mailbox_wakes_its_loop_and_keeps_order),
        ON_LOOP(test_what_a_handler_posts_comes_with_the_next_batch),
        ON_LOOP(test_a_drain_within_a_handler_keeps_order),
        ON_LOOP(test_closing_loses_nothing),
        ON_LOOP(test_mailbox_with_several_producers),
        ON_WHEEL(test_wheel_fires_once_and_not_early),
        ON_WHEEL(test_wheel_runs_only_while_something_is_set),
        ON_WHEEL(test_wheel_moves_a_timeout_that_is_set),
        ON_WHEEL(test_wheel_keeps_timeouts_longer_than_its_round),
        ON_WHEEL(test_wheel_after_a_long_stop),
        ON_WHEEL(test_wheel_sets_itself_in_its_callback),
        ON_WHEEL(test_wheel_callbacks_may_end_those_of_the_same_tick),
        ON_WHEEL(test_wheel_callback_may_free_its_timeout),
        WITH_LOG(test_watchdog_names_who_does_not_return),
        WITH_LOG(test_watchdog_says_when_it_has_returned),
        WITH_LOG(test_watchdog_reports_again_when_doubled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
