#include "consumer/command.h"
#include "consumer/dial.h"
#include "consumer/inbox.h"
#include "consumer/message_scan.h"
#include "consumer/outbox.h"
#include "consumer/replies.h"
#include "proto/ws_frame.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- commands ---- */

static void check_frame(struct buf *out, int status, const char *expected)
{
    assert_int_equal(status, 0);
    buf_append_char(out, '\0');
    assert_string_equal(out->data, expected);
    out->len = 0;
}

static void commands_are_written_to_the_byte(void **state)
{
    (void)state;
    static const char *const topics[] = {"chat", "c\"n", NULL};
    static const char *const channels[] = {"a", ""};
    json_t *value = json_loads("{\"a\": [1, null, \"é\"]}", 0, NULL);
    struct buf out = {0};
    check_frame(&out, command_consume(&out, 0, topics),
                "{\"m\":\"queue.pop\",\"p\":{\"t\":[\"chat\",\"c\\\"n\"]},\"i\":0}");
    check_frame(&out, command_unconsume(&out, 10), "{\"m\":\"queue.unpop\",\"p\":{},\"i\":10}");
    check_frame(
        &out, command_send(&out, 1, INT64_MAX, "h\n\0é", 5, false),
        "{\"m\":\"mesh.send\",\"p\":{\"c\":\"9223372036854775807\",\"d\":\"h\\u000a\\u0000é\"}"
        ",\"i\":1}");
    check_frame(
        &out, command_publish(&out, UINT64_MAX, "r", "", 0, false),
        "{\"m\":\"mesh.publish\",\"p\":{\"c\":\"r\",\"d\":\"\"},\"i\":18446744073709551615}");
    check_frame(
        &out, command_channels(&out, 2, 0, "subscribe", channels, 2),
        "{\"m\":\"conn.call\",\"p\":{\"c\":\"0\",\"f\":\"subscribe\",\"a\":[\"a\",\"\"]},\"i\":2}");
    check_frame(&out, command_channels(&out, 2, 7, "unsubscribe", NULL, 0),
                "{\"m\":\"conn.call\",\"p\":{\"c\":\"7\",\"f\":\"unsubscribe\",\"a\":[]},\"i\":2}");
    check_frame(
        &out, command_context_value(&out, 3, 7, "uid", value),
        "{\"m\":\"conn.call\",\"p\":{\"c\":\"7\",\"f\":\"set_context_value\",\"a\":[\"uid\","
        "{\"a\":[1,null,\"é\"]}]},\"i\":3}");
    check_frame(
        &out, command_context(&out, 4, 7, value),
        "{\"m\":\"conn.call\",\"p\":{\"c\":\"7\",\"f\":\"set_context\",\"a\":[{\"a\":[1,null,"
        "\"é\"]}]},\"i\":4}");
    buf_free(&out);
    json_decref(value);
}

static void binary_data_travels_as_base64(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "AA==", "AP8=", "AP/+", "AP/+gA=="};
    struct buf out = {0};
    for (size_t len = 0; len <= 4; len++) {
        char expected[128];
        snprintf(expected, sizeof expected,
                 "{\"m\":\"mesh.send\",\"p\":{\"c\":\"7\",\"d\":\"%s\",\"t\":\"binary\"},\"i\":1}",
                 texts[len]);
        check_frame(&out, command_send(&out, 1, 7, "\x00\xff\xfe\x80", len, true), expected);
    }
    check_frame(
        &out, command_publish(&out, 1, "c", "\x0f\xc3\x3e", 3, true),
        "{\"m\":\"mesh.publish\",\"p\":{\"c\":\"c\",\"d\":\"D8M+\",\"t\":\"binary\"},\"i\":1}");
    buf_free(&out);
}

static void commands_that_cannot_be(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    static const char *const bad[] = {"a", "\xff"};
    json_t *number = json_integer(1), *inner = json_array();
    json_t *outer = json_pack("[O]", inner);
    json_array_append(inner, outer);
    struct buf out = {0};
    assert_int_equal(command_send(&out, 1, 7, "\xc3", 1, false), -EINVAL);
    assert_int_equal(command_send(&out, 1, 7, "\xed\xa0\x80", 3, false), -EINVAL);
    assert_int_equal(command_publish(&out, 1, "\xff", "", 0, false), -EINVAL);
    assert_int_equal(command_publish(&out, 1, NULL, "", 0, true), -EINVAL);
    assert_int_equal(command_channels(&out, 1, 7, "subscribe", bad, 2), -EINVAL);
    assert_int_equal(command_channels(&out, 1, 7, "subscribe", none, 1), -EINVAL);
    assert_int_equal(command_context_value(&out, 1, 7, "\xff", number), -EINVAL);
    assert_int_equal(command_context_value(&out, 1, 7, NULL, number), -EINVAL);
    assert_int_equal(command_context_value(&out, 1, 7, "k", NULL), -EINVAL);
    assert_int_equal(command_context_value(&out, 1, 7, "k", outer), -EINVAL);
    assert_int_equal(command_context(&out, 1, 7, number), -EINVAL);
    assert_int_equal(command_context(&out, 1, 7, NULL), -EINVAL);
    json_array_clear(inner);
    json_decref(outer);
    json_decref(inner);
    json_decref(number);
    buf_free(&out);
}

static void a_frame_has_at_most_4_mib(void **state)
{
    (void)state;
    enum { ENVELOPE = sizeof "{\"m\":\"mesh.send\",\"p\":{\"c\":\"7\",\"d\":\"\"},\"i\":1}" - 1 };
    char *text = malloc(COMMAND_MAX + 1);
    memset(text, 'x', COMMAND_MAX + 1);
    struct buf out = {0};
    buf_append_str(&out, "what stands before it does not count");
    size_t before = out.len;
    assert_int_equal(command_send(&out, 1, 7, text, COMMAND_MAX - ENVELOPE, false), 0);
    assert_int_equal(out.len - before, COMMAND_MAX);
    out.len = before;
    assert_int_equal(command_send(&out, 1, 7, text, COMMAND_MAX - ENVELOPE + 1, false), -EMSGSIZE);
    assert_int_equal(command_send(&out, 1, 7, text, COMMAND_MAX + 1, false), -EMSGSIZE);
    assert_int_equal(command_send(&out, 1, 7, text, COMMAND_MAX + 1, true), -EMSGSIZE);
    assert_int_equal(command_send(&out, 1, 7, text, COMMAND_MAX, true), -EMSGSIZE);
    buf_free(&out);
    free(text);
}

/* ---- messages ---- */

/* What a message means, in static memory. Frees what it owns. */
static const char *described(struct message *m)
{
    static char text[512];
    if (m->kind == MESSAGE_BAD) {
        snprintf(text, sizeof text, "bad: %s", m->why);
    } else if (m->kind == MESSAGE_EVENT) {
        char *data = json_dumps(m->event.data, JSON_COMPACT | JSON_ENCODE_ANY);
        snprintf(text, sizeof text, "event %llu %s %s", (unsigned long long)m->event.client,
                 m->event.topic, data);
        free(data);
    } else {
        snprintf(text, sizeof text, "reply %llu: %d %d \"%s\" %llu %llu", (unsigned long long)m->id,
                 m->reply.status, m->reply.code, m->reply.message,
                 (unsigned long long)m->reply.delivered, (unsigned long long)m->reply.failed);
    }
    message_fini(m);
    return text;
}

static const char *parsed(const char *frame)
{
    struct message m;
    message_parse(&m, frame, strlen(frame));
    return described(&m);
}

/* The same of what the short way reads; NULL: it leaves it to the long one. */
static const char *scanned(const char *frame)
{
    static const char *const topics[] = {"conn", "chat", NULL};
    struct message m;
    return message_scan(&m, frame, strlen(frame), topics) ? described(&m) : NULL;
}

static void events_of_both_spellings(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"{\"e\":\"queue.pop\",\"p\":{\"n\":\"1\",\"c\":\"5\",\"t\":\"chat\",\"d\":{\"a\":1}},"
         "\"id\":null}",
         "event 5 chat {\"a\":1}"},
        {"{\"event\":\"queue.consume\",\"result\":{\"client_id\":\"5\",\"queue\":\"chat\",\"data\":"
         "null},"
         "\"id\":null}",
         "event 5 chat null"},
        {"{\"e\":\"queue.pop\",\"p\":{\"c\":9223372036854775807,\"t\":\"x\",\"d\":0}}",
         "event 9223372036854775807 x 0"},
        {"{\"e\":\"queue.pop\",\"p\":{\"c\":\"9223372036854775807\",\"t\":\"x\",\"d\":0}}",
         "event 9223372036854775807 x 0"},
        {"{\"e\":\"queue.pop\",\"p\":{\"c\":\"9223372036854775808\",\"t\":\"x\",\"d\":0}}",
         "bad: an event without a client"},
        {"{\"e\":\"queue.pop\",\"p\":{\"c\":\"\",\"t\":\"x\",\"d\":0}}",
         "bad: an event without a client"},
        {"{\"e\":\"queue.pop\",\"p\":{\"c\":-1,\"t\":\"x\",\"d\":0}}",
         "bad: an event without a client"},
        {"{\"e\":\"queue.pop\",\"p\":{\"c\":\"7x\",\"t\":\"x\",\"d\":0}}",
         "bad: an event without a client"},
        {"{\"e\":\"queue.pop\",\"p\":{\"t\":\"x\",\"d\":0}}", "bad: an event without a client"},
        {"{\"e\":\"queue.pop\",\"p\":{\"c\":\"7\",\"d\":0}}", "bad: an event without a topic"},
        {"{\"e\":\"queue.pop\",\"p\":{\"c\":\"7\",\"t\":\"x\"}}", "bad: an event without data"},
        {"{\"e\":\"queue.pop\",\"p\":[]}", "bad: an event without a topic"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        assert_string_equal(parsed(pairs[i][0]), pairs[i][1]);
}

static void answers_of_both_spellings(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"{\"E\":null,\"r\":{\"s\":true,\"f\":0,\"t\":1},\"i\":0}", "reply 0: 0 0 \"\" 1 0"},
        {"{\"E\":null,\"r\":{\"s\":5,\"f\":2,\"t\":7},\"i\":9}", "reply 9: 0 0 \"\" 5 2"},
        {"{\"error\":null,\"result\":{\"success\":true,\"fail\":2,\"total\":7},\"id\":9}",
         "reply 9: 0 0 \"\" 5 2"},
        {"{\"E\":{\"c\":401,\"m\":\"no such client\"},\"i\":3}",
         "reply 3: -121 401 \"no such client\" 0 0"},
        {"{\"error\":{\"code\":301,\"message\":\"x\"},\"id\":3}", "reply 3: -121 301 \"x\" 0 0"},
        {"{\"E\":null,\"r\":{\"s\":false,\"f\":1,\"t\":1},\"i\":0}",
         "reply 0: -121 0 \"not successful\" 0 1"},
        {"{\"E\":null,\"r\":{\"s\":0,\"f\":-4,\"t\":-5},\"i\":0}", "reply 0: 0 0 \"\" 0 0"},
        {"{\"E\":{},\"i\":3}", "reply 3: -121 0 \"\" 0 0"},
        {"{\"E\":\"text\",\"i\":3}", "bad: an answer whose error is not an object"},
        {"{\"E\":null,\"i\":3}", "bad: an answer whose result is not an object"},
        {"{\"E\":{\"c\":101,\"m\":\"x\"},\"i\":null}",
         "bad: an answer without the id of a command"},
        {"{\"E\":null,\"r\":{},\"i\":\"3\"}", "bad: an answer without the id of a command"},
        {"{\"E\":null,\"r\":{},\"i\":-3}", "bad: an answer without the id of a command"},
        {"{\"i\":3}", "bad: neither an event nor an answer"},
        {"{}", "bad: neither an event nor an answer"},
        {"[]", "bad: not a JSON object"},
        {"", "bad: not a JSON object"},
        {"pong", "bad: not a JSON object"},
    };
    assert_int_equal(EREMOTEIO, 121);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        assert_string_equal(parsed(pairs[i][0]), pairs[i][1]);
}

static void an_event_may_have_a_nul_and_a_key_twice(void **state)
{
    (void)state;
    assert_string_equal(parsed("{\"e\":\"queue.pop\",\"p\":{\"c\":\"1\",\"t\":\"x\",\"d\":{\"1\":1,"
                               "\"1\":\"\\u0000\"}}}"),
                        "event 1 x {\"1\":\"\\u0000\"}");
}

#define EVENT(client, data)                                                                        \
    "{\"e\":\"queue.pop\",\"p\":{\"n\":\"1\",\"c\":\"" client "\",\"t\":\"chat\",\"d\":" data      \
    "},\"id\":null}"

static void what_engines_write_is_read_the_short_way(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {EVENT("9223372036854775807", "{\"a\":[1,-2,{\"b\":\"\\\"\\n\"},{},[]],\"c\":null}"),
         "event 9223372036854775807 chat {\"a\":[1,-2,{\"b\":\"\\\"\\n\"},{},[]],\"c\":null}"},
        {EVENT("0", " [ true , false , 0 ]"), "event 0 chat [true,false,0]"},
        {EVENT("1", "{\"a\":1,\"a\":\"\xc3\xa9\"}"), "event 1 chat {\"a\":\"\xc3\xa9\"}"},
        {"{\"E\":null,\"r\":{\"s\":true,\"f\":0,\"t\":1},\"i\":0}", "reply 0: 0 0 \"\" 1 0"},
        {"{\"E\":null,\"r\":{\"s\":5,\"f\":2,\"t\":7},\"i\":9}", "reply 9: 0 0 \"\" 5 2"},
        {"{\"E\":null,\"r\":{\"s\":0,\"f\":7,\"t\":5},\"i\":9}", "reply 9: 0 0 \"\" 0 7"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_string_equal(parsed(pairs[i][0]), pairs[i][1]);
        assert_string_equal(scanned(pairs[i][0]), pairs[i][1]);
    }
}

static void what_is_rarer_is_read_the_long_way(void **state)
{
    (void)state;
    static const char *const frames[] = {
        "",
        "pong",
        EVENT("9223372036854775808", "1"),
        EVENT("", "1"),
        EVENT(" 1", "1"),
        EVENT("-1", "1"),
        EVENT("1", ""),
        EVENT("1", "1.5"),
        EVENT("1", "1e3"),
        EVENT("1", "-0"),
        EVENT("1", "- 1"),
        EVENT("1", "-"),
        EVENT("1", "01"),
        EVENT("1", "9223372036854775808"),
        EVENT("1", "\"\\u0000\""),
        EVENT("1", "\"\xff\""),
        EVENT("1", "[1"),
        EVENT("1", "[1,]"),
        EVENT("1", "[,1]"),
        EVENT("1", "{\"a\"}"),
        EVENT("1", "{\"a\":1,}"),
        EVENT("1", "{\"\\n\":1}"),
        EVENT("1", "nul"),
        EVENT("1", "1,\"d\":2"),
        EVENT("1", "1") "x",
        "{\"e\":\"queue.pop\",\"p\":{\"n\":\"1\",\"c\":\"1\",\"t\":\"else\",\"d\":1},\"id\":null}",
        "{\"E\":null,\"r\":{\"s\":false,\"f\":1,\"t\":1},\"i\":0}",
        "{\"E\":null,\"r\":{\"s\":true,\"f\":0,\"t\":1},\"i\":null}",
        "{\"E\":null,\"r\":{\"s\":true,\"f\":0,\"t\":1},\"i\":1",
        "{\"E\":{\"c\":401,\"m\":\"x\"},\"i\":3}",
    };
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++)
        assert_null(scanned(frames[i]));
}

/* However deep a value is nested, no stack ends. */
static void deep_values_are_read_the_long_way(void **state)
{
    (void)state;
    char frame[256];
    for (int depth = 31; depth <= 33; depth++) {
        char open[40] = "", close[40] = "";
        memset(open, '[', (size_t)depth);
        memset(close, ']', (size_t)depth);
        snprintf(frame, sizeof frame, EVENT("1", "%s%s"), open, close);
        assert_true((scanned(frame) != NULL) == (depth <= 32));
    }
}

/* ---- outbox ---- */

static const uint8_t mask[4] = {1, 2, 3, 0xff};

static void put(struct outbox *outbox, const char *text)
{
    buf_append_str(outbox_begin(outbox), text);
    outbox_end(outbox, mask);
}

/* The text of the frame at the front, which is a short one. */
static void take_from(const char *frame, const char *expected)
{
    char text[126];
    size_t len = strlen(expected);
    assert_int_equal((uint8_t)frame[0], 0x81);
    assert_int_equal((uint8_t)frame[1], 0x80 | len);
    assert_memory_equal(frame + 2, mask, 4);
    ws_mask(text, frame + 6, len, mask);
    assert_memory_equal(text, expected, len);
}

static void take(struct outbox *outbox, const char *expected)
{
    size_t len;
    char *frame = outbox_front(outbox, 1, &len);
    assert_non_null(frame);
    assert_int_equal(len, 6 + strlen(expected));
    take_from(frame, expected);
    memset(frame, 0xee, len);
    outbox_drop_front(outbox, len);
}

static void frames_leave_in_order(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    size_t len;
    assert_null(outbox_front(&outbox, SIZE_MAX, &len));
    assert_int_equal(outbox_bytes(&outbox), 0);
    put(&outbox, "one");
    buf_append_str(outbox_begin(&outbox), "not this one");
    outbox_cancel(&outbox);
    put(&outbox, "");
    put(&outbox, "three");
    assert_int_equal(outbox_bytes(&outbox), 3 * 6 + 8);
    take(&outbox, "one");
    take(&outbox, "");
    put(&outbox, "four");
    take(&outbox, "three");
    take(&outbox, "four");
    assert_null(outbox_front(&outbox, SIZE_MAX, &len));
    assert_int_equal(outbox_bytes(&outbox), 0);
    outbox_free(&outbox);
}

/* A pong may come between any two writes, so a write ends where a frame does. */
static void one_write_has_whole_frames(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    size_t len;
    put(&outbox, "one");
    put(&outbox, "two");
    put(&outbox, "three");
    assert_non_null(outbox_front(&outbox, 18, &len));
    assert_int_equal(len, 18);
    assert_non_null(outbox_front(&outbox, 17, &len));
    assert_int_equal(len, 9);
    outbox_drop_front(&outbox, len);
    const char *frames = outbox_front(&outbox, 20, &len);
    assert_int_equal(len, 20);
    take_from(frames, "two");
    take_from(frames + 9, "three");
    outbox_free(&outbox);
}

/* Filled and emptied at the same pace, it stays as large as what waits. */
static void a_steady_outbox_does_not_grow(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    char text[64];
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "frame %d", i);
        put(&outbox, text);
    }
    size_t cap = 0;
    for (int i = 100; i < 10000; i++) {
        snprintf(text, sizeof text, "frame %d", i);
        put(&outbox, text);
        snprintf(text, sizeof text, "frame %d", i - 100);
        take(&outbox, text);
        if (i == 1000)
            cap = outbox.buf.cap;
        assert_true(i < 1000 || outbox.buf.cap == cap);
    }
    outbox_free(&outbox);
}

static void an_empty_outbox_gives_a_large_buffer_back(void **state)
{
    (void)state;
    struct outbox outbox = {0};
    char *large = calloc(1, 1 << 20);
    memset(large, 'x', (1 << 20) - 1);
    put(&outbox, "small");
    put(&outbox, large);
    take(&outbox, "small");
    assert_true(outbox.buf.cap > 1 << 20);
    size_t len;
    assert_non_null(outbox_front(&outbox, 100, &len));
    assert_int_equal(len, (1 << 20) - 1 + 14);
    outbox_drop_front(&outbox, len);
    assert_int_equal(outbox.buf.cap, 0);
    buf_append(outbox_begin(&outbox), large, 1 << 20);
    outbox_cancel(&outbox);
    assert_int_equal(outbox.buf.cap, 0);
    put(&outbox, "small");
    take(&outbox, "small");
    assert_true(outbox.buf.cap > 0);
    outbox_free(&outbox);
    free(large);
}

/* ---- replies ---- */

static uint64_t await(struct replies *replies, uint64_t due_ms)
{
    return replies_add(replies, NULL, (void *)(uintptr_t)due_ms, due_ms);
}

static void answers_come_in_any_order(void **state)
{
    (void)state;
    struct replies replies = {0};
    struct awaited awaited;
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(await(&replies, 100 + i), i);
    assert_true(replies_take(&replies, 3, &awaited));
    assert_int_equal(awaited.due_ms, 103);
    assert_false(replies_take(&replies, 3, &awaited));
    assert_false(replies_take(&replies, 5, &awaited));
    assert_false(replies_take(&replies, UINT64_MAX, &awaited));
    assert_int_equal(replies_due(&replies), 100);
    assert_int_equal(replies_span(&replies), 5);
    assert_true(replies_take(&replies, 0, &awaited));
    assert_false(replies_take(&replies, 0, &awaited));
    assert_true(replies_take(&replies, 2, &awaited));
    assert_int_equal(replies_span(&replies), 4);
    assert_true(replies_take(&replies, 1, &awaited));
    assert_int_equal(replies_span(&replies), 1);
    assert_int_equal(replies_due(&replies), 104);
    assert_true(replies_take_first(&replies, &awaited));
    assert_int_equal((uintptr_t)awaited.data, 104);
    assert_false(replies_take_first(&replies, &awaited));
    assert_int_equal(replies_due(&replies), UINT64_MAX);
    assert_int_equal(await(&replies, 9), 5);
    replies_fini(&replies);
}

static void the_ring_grows_around_what_is_open(void **state)
{
    (void)state;
    struct replies replies = {0};
    struct awaited awaited;
    for (uint64_t i = 0; i < 40; i++)
        await(&replies, i);
    for (uint64_t i = 0; i < 30; i++)
        assert_true(replies_take(&replies, i, &awaited));
    for (uint64_t i = 40; i < 20000; i++)
        await(&replies, i);
    assert_int_equal(replies_span(&replies), 20000 - 30);
    for (uint64_t i = 30; i < 20000; i++) {
        assert_int_equal(replies_due(&replies), i);
        assert_true(replies_take_first(&replies, &awaited));
        assert_int_equal((uintptr_t)awaited.data, i);
    }
    assert_null(replies.ring);
    assert_int_equal(await(&replies, 1), 20000);
    replies_fini(&replies);
    assert_int_equal(await(&replies, 1), 20001);
    replies_fini(&replies);
}

/* ---- inbox ---- */

static void held_events_keep_their_order_and_their_bytes(void **state)
{
    (void)state;
    struct inbox inbox;
    struct message message;
    char frame[80];
    inbox_init(&inbox);
    for (int i = 1; i <= 3; i++) {
        snprintf(frame, sizeof frame,
                 "{\"e\":\"queue.pop\",\"p\":{\"c\":%d,\"t\":\"x\",\"d\":[%d]}}", i, i);
        message_parse(&message, frame, strlen(frame));
        inbox_push(&inbox, &message, 10);
        assert_null(message.root);
    }
    for (uint64_t i = 1; i <= 2; i++) {
        assert_int_equal(inbox.bytes, 10 * (4 - i));
        assert_true(inbox_pop(&inbox, &message));
        assert_int_equal(message.event.client, i);
        message_fini(&message);
    }
    assert_false(inbox_empty(&inbox));
    inbox_clear(&inbox);
    assert_true(inbox_empty(&inbox));
    assert_int_equal(inbox.bytes, 0);
    assert_false(inbox_pop(&inbox, &message));
}

/* ---- addresses ---- */

static void addresses_are_host_and_port(void **state)
{
    (void)state;
    static const char *const bad[] = {"",     "x",      "x:",    ":1",        "x:0",   "x:65536",
                                      "x:y",  "x:+1",   "x: 1",  "x:1 ",      "a b:1", "x:1\r\n",
                                      "[]:1", "[::1:1", "x/y:1", "http://x:1"};
    struct address address;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(address_parse(&address, bad[i]));
    assert_true(address_parse(&address, "localhost:6787"));
    assert_string_equal(address.host, "localhost");
    assert_int_equal(address.port, 6787);
    assert_true(address_parse(&address, "[::1]:65535"));
    assert_string_equal(address.host, "::1");
    assert_string_equal(address.text, "[::1]:65535");
    char text[ADDRESS_MAX + 2];
    memset(text, 'x', sizeof text);
    memcpy(text + ADDRESS_MAX - 2, ":1", 3);
    assert_true(address_parse(&address, text));
    memcpy(text + ADDRESS_MAX - 1, ":1", 3);
    text[ADDRESS_MAX - 2] = 'x';
    assert_false(address_parse(&address, text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_written_to_the_byte),
        cmocka_unit_test(binary_data_travels_as_base64),
        cmocka_unit_test(commands_that_cannot_be),
        cmocka_unit_test(a_frame_has_at_most_4_mib),
        cmocka_unit_test(events_of_both_spellings),
        cmocka_unit_test(answers_of_both_spellings),
        cmocka_unit_test(an_event_may_have_a_nul_and_a_key_twice),
        cmocka_unit_test(what_engines_write_is_read_the_short_way),
        cmocka_unit_test(what_is_rarer_is_read_the_long_way),
        cmocka_unit_test(deep_values_are_read_the_long_way),
        cmocka_unit_test(frames_leave_in_order),
        cmocka_unit_test(one_write_has_whole_frames),
        cmocka_unit_test(a_steady_outbox_does_not_grow),
        cmocka_unit_test(an_empty_outbox_gives_a_large_buffer_back),
        cmocka_unit_test(answers_come_in_any_order),
        cmocka_unit_test(the_ring_grows_around_what_is_open),
        cmocka_unit_test(held_events_keep_their_order_and_their_bytes),
        cmocka_unit_test(addresses_are_host_and_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
