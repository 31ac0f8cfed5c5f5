#include "channel/channel.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MEMBERS = 50 };

static struct subscriber members[MEMBERS];
static unsigned got[MEMBERS];
static struct channels *channels;

static int set_up(void **state)
{
    (void)state;
    memset(members, 0, sizeof members);
    memset(got, 0, sizeof got);
    channels = channels_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < MEMBERS; i++)
        channel_unsubscribe_all(channels, &members[i]);
    assert_int_equal(channels_count(channels), 0);
    assert_int_equal(channels_subscriptions(channels), 0);
    channels_free(channels);
    return 0;
}

static void subscribe(int i, const char *name)
{
    channel_subscribe(channels, &members[i], name, strlen(name));
}

static void unsubscribe(int i, const char *name)
{
    channel_unsubscribe(channels, &members[i], name, strlen(name));
}

static void count(struct subscriber *who, void *data)
{
    (void)data;
    got[who - members]++;
}

static void publish(const char *name, void (*deliver)(struct subscriber *, void *))
{
    channel_publish(channels, name, strlen(name), deliver, NULL);
}

static void each_subscriber_gets_it_once(void **state)
{
    (void)state;
    for (int i = 0; i < MEMBERS; i++)
        subscribe(i, i % 2 ? "odd" : "even");
    subscribe(1, "odd");
    publish("odd", count);
    publish("nobody", count);
    for (int i = 0; i < MEMBERS; i++)
        assert_int_equal(got[i], i % 2);
    assert_int_equal(channels_subscriptions(channels), MEMBERS);
}

static void names_are_any_bytes(void **state)
{
    (void)state;
    channel_subscribe(channels, &members[0], "", 0);
    channel_subscribe(channels, &members[1], "a\0b", 3);
    channel_subscribe(channels, &members[2], "a", 1);
    channel_publish(channels, "", 0, count, NULL);
    channel_publish(channels, "a\0b", 3, count, NULL);
    assert_int_equal(got[0], 1);
    assert_int_equal(got[1], 1);
    assert_int_equal(got[2], 0);
    assert_true(channel_subscribed(channels, &members[1], "a\0b", 3));
    assert_false(channel_subscribed(channels, &members[1], "a", 1));
}

static void leaving_leaves_the_others(void **state)
{
    (void)state;
    for (int i = 0; i < MEMBERS; i++)
        subscribe(i, "room");
    for (int i = 0; i < MEMBERS; i += 3)
        unsubscribe(i, "room");
    unsubscribe(0, "room");
    unsubscribe(1, "elsewhere");
    publish("room", count);
    for (int i = 0; i < MEMBERS; i++)
        assert_int_equal(got[i], i % 3 != 0);
}

/* While it is delivered, one subscriber makes others leave and join. */
static void disturb(struct subscriber *who, void *data)
{
    count(who, data);
    if (who == &members[10]) {
        unsubscribe(10, "room"); /* has its copy */
        unsubscribe(5, "room");  /* has its copy */
        unsubscribe(20, "room"); /* must not get one any more */
        subscribe(45, "room");   /* joined too late for this one */
    }
}

static void a_delivery_may_change_the_channel(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++)
        subscribe(i, "room");
    publish("room", disturb);
    for (int i = 0; i < 40; i++)
        assert_int_equal(got[i], i != 20);
    assert_int_equal(got[45], 0);
    publish("room", count);
    for (int i = 0; i < 40; i++)
        assert_int_equal(got[i], i == 20 ? 0 : i == 10 || i == 5 ? 1 : 2);
    assert_int_equal(got[45], 1);
}

static void leave_all(struct subscriber *who, void *data)
{
    count(who, data);
    for (int i = 0; i < MEMBERS; i++)
        channel_unsubscribe_all(channels, &members[i]);
}

static void a_channel_may_end_while_it_is_published_to(void **state)
{
    (void)state;
    for (int i = 0; i < MEMBERS; i++)
        subscribe(i, "room");
    publish("room", leave_all);
    assert_int_equal(got[0], 1);
    assert_int_equal(got[1], 0);
    assert_int_equal(channels_count(channels), 0);
}

static void publish_again(struct subscriber *who, void *data)
{
    count(who, data);
    if (got[0] == 1)
        publish("room", publish_again);
    unsubscribe((int)(who - members), "room");
}

static void a_delivery_may_publish(void **state)
{
    (void)state;
    subscribe(0, "room");
    subscribe(1, "room");
    publish("room", publish_again);
    assert_int_equal(got[0], 2);
    assert_int_equal(got[1], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_subscriber_gets_it_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_are_any_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leaving_leaves_the_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_delivery_may_change_the_channel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_channel_may_end_while_it_is_published_to, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_delivery_may_publish, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
