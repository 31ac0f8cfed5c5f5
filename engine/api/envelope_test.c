#include "api/envelope.h"
#include "api/request_scan.h"
#include "msg/client_id.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char text[8192];

static const char *const commands[] = {"send",      "publish",     "set",  "get",
                                       "subscribe", "unsubscribe", "close"};

static void describe_packed(struct buf *out, const struct blob *packed)
{
    const char *part;
    size_t at = 0, len;
    while (packed && strings_next(packed, &at, &part, &len)) {
        buf_append_char(out, '|');
        buf_append(out, part, len);
    }
}

static void describe_command(struct buf *out, const struct command *c)
{
    buf_append_str(out, commands[c->kind]);
    if (c->kind != COMMAND_PUBLISH)
        buf_printf(out, " %llu", (unsigned long long)c->client);
    if (c->name) {
        buf_append_char(out, ' ');
        buf_append(out, c->name->data, c->name->len);
    }
    if (c->kind == COMMAND_SEND || c->kind == COMMAND_PUBLISH) {
        buf_append_str(out, c->binary ? " binary|" : "|");
        buf_append(out, c->data->data, c->data->len);
    } else if (c->kind == COMMAND_CLOSE) {
        buf_printf(out, " %u|", c->code);
        buf_append(out, c->data->data, c->data->len);
    } else {
        describe_packed(out, c->data);
    }
}

/* "SPELLING ID: what it is", in static memory. Frees what the request owns. */
static const char *described(struct request *request)
{
    static const char *const kinds[] = {"bad",     "consume",     "unconsume",
                                        "command", "server ping", "ping"};
    struct buf out = {0};
    buf_printf(&out, "%c %s: ", request->spelling == ENVELOPE_A ? 'A' : 'B',
               request->id ? request->id : "null");
    if (request->kind == REQUEST_COMMAND)
        describe_command(&out, request->command);
    else
        buf_append_str(&out, kinds[request->kind]);
    if (request->kind == REQUEST_BAD)
        buf_printf(&out, " %d %s", (int)request->code, request->why);
    if (request->kind == REQUEST_CONSUME)
        buf_printf(&out, " %s", request->event);
    describe_packed(&out, request->topics);
    snprintf(text, sizeof text, "%.*s", (int)out.len, out.data);
    buf_free(&out);
    request_fini(request);
    return text;
}

static const char *parsed(const char *frame, enum envelope_spelling last)
{
    struct request request;
    request_parse(&request, frame, strlen(frame), last);
    return described(&request);
}

/* The same of what the short way reads; NULL: it leaves it to the long one. */
static const char *scanned(const char *frame)
{
    struct request request;
    return request_scan(&request, frame, strlen(frame)) ? described(&request) : NULL;
}

struct pair {
    const char *frame, *meaning;
};

static void check_all(const struct pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_string_equal(parsed(pairs[i].frame, ENVELOPE_A), pairs[i].meaning);
}

#define CHECK_ALL(pairs) check_all(pairs, sizeof(pairs) / sizeof *(pairs))
#define SEND(members) "{\"method\":\"mesh.send\",\"params\":{" members "},\"id\":1}"
#define CALL(members) "{\"m\":\"conn.call\",\"p\":{\"c\":\"5\"," members "},\"i\":1}"

static void topics_come_in_many_shapes(void **state)
{
    (void)state;
    static const struct pair pairs[] = {
        {"{\"method\":\"queue.consume\",\"params\":[\"chat\",\"conn\"],\"id\":0}",
         "A 0: consume queue.consume|chat|conn"},
        {"{\"m\":\"queue.pop\",\"p\":{\"t\":[\"chat\",\"conn\"]},\"i\":1}",
         "B 1: consume queue.pop|chat|conn"},
        {"{\"m\":\"queue.consume\",\"p\":[{\"t\":[\"chat\"]}],\"id\":1}",
         "B 1: consume queue.consume|chat"},
        {"{\"m\":\"queue.pop\",\"p\":{\"t\":\"chat\"}}", "B null: consume queue.pop|chat"},
        {"{\"m\":\"queue.pop\",\"p\":\"chat\"}", "B null: consume queue.pop|chat"},
        {"{\"m\":\"queue.pop\",\"p\":[[\"chat\",\"x\"]]}", "B null: consume queue.pop|chat|x"},
        {"{\"method\":\"queue.consume\",\"params\":[],\"id\":2}", "A 2: bad 101 no topic"},
        {"{\"method\":\"queue.consume\",\"id\":2}", "A 2: bad 101 no topic"},
        {"{\"m\":\"queue.pop\",\"p\":{},\"i\":2}", "B 2: bad 101 no topic"},
        {"{\"m\":\"queue.pop\",\"p\":[\"a\",5],\"i\":2}",
         "B 2: bad 101 a topic is a string of 1 to 255 bytes"},
        {"{\"m\":\"queue.pop\",\"p\":[\"\"],\"i\":2}",
         "B 2: bad 101 a topic is a string of 1 to 255 bytes"},
        {"{\"method\":\"queue.unconsume\",\"params\":[],\"id\":3}", "A 3: unconsume"},
        {"{\"m\":\"queue.unpop\",\"p\":{},\"i\":3}", "B 3: unconsume"},
    };
    CHECK_ALL(pairs);
}

static void sends_and_publishes(void **state)
{
    (void)state;
    static const struct pair pairs[] = {
        {SEND("\"client_id\":\"7\",\"data\":\"hi\""), "A 1: send 7|hi"},
        {SEND("\"client_id\":9223372036854775807,\"data\":\"hi\""),
         "A 1: send 9223372036854775807|hi"},
        {"{\"m\":\"mesh.send\",\"p\":[{\"c\":7,\"d\":\"aGk=\",\"t\":\"binary\"}],\"i\":1}",
         "B 1: send 7 binary|hi"},
        {SEND("\"channel\":\"room\",\"data\":\"x\""), "A 1: publish room|x"},
        {SEND("\"client_id\":null,\"channel\":\"room\",\"data\":\"x\""), "A 1: publish room|x"},
        {"{\"m\":\"mesh.send\",\"p\":{\"c\":\"room\",\"d\":\"x\"},\"i\":1}", "B 1: send 0|x"},
        {SEND("\"client_id\":-4,\"data\":\"x\""), "A 1: send 0|x"},
        {SEND("\"client_id\":1.5e18,\"data\":\"x\""), "A 1: send 0|x"},
        {SEND("\"data\":\"x\""), "A 1: bad 101 no client id"},
        {SEND("\"client_id\":[7],\"data\":\"x\""), "A 1: bad 101 no client id"},
        {SEND("\"client_id\":7"), "A 1: bad 101 the data is not a string"},
        {SEND("\"client_id\":7,\"data\":{}"), "A 1: bad 101 the data is not a string"},
        {SEND("\"client_id\":7,\"data\":\"a\",\"t\":\"binary\""),
         "A 1: bad 101 the data is not base64"},
        {SEND("\"client_id\":7,\"data\":\"a===\",\"t\":\"binary\""),
         "A 1: bad 101 the data is not base64"},
        {SEND("\"client_id\":7,\"data\":\"a\",\"t\":\"blob\""),
         "A 1: bad 101 the type is neither text nor binary"},
        {"{\"method\":\"mesh.send\",\"params\":[],\"id\":1}",
         "A 1: bad 101 the params are not one object"},
        {"{\"m\":\"mesh.publish\",\"p\":{\"c\":\"r\",\"d\":\"\",\"t\":\"text\"},\"i\":1}",
         "B 1: publish r|"},
        {"{\"m\":\"mesh.publish\",\"p\":{\"c\":101,\"d\":\"\"},\"i\":1}", "B 1: publish 101|"},
        {"{\"m\":\"mesh.publish\",\"p\":{\"d\":\"\"},\"i\":1}",
         "B 1: bad 101 the channel is not a string"},
    };
    CHECK_ALL(pairs);
}

static void calls_take_arguments_in_many_shapes(void **state)
{
    (void)state;
    static const struct pair pairs[] = {
        {"{\"method\":\"conn.call\",\"params\":[{\"client_id\":5,\"method\":\"subscribe\","
         "\"params\":[\"a\",7]}],\"id\":1}",
         "A 1: subscribe 5|a|7"},
        {CALL("\"f\":\"unsubscribe\",\"a\":{\"x\":\"b\",\"y\":\"a\"}"), "B 1: unsubscribe 5|b|a"},
        {CALL("\"f\":\"get_context\",\"a\":[]"), "B 1: get 5"},
        {CALL("\"f\":\"get_context\",\"a\":[[\"a\",7]]"), "B 1: get 5|a|7"},
        {CALL("\"f\":\"get_context\",\"a\":[null,1]"), "B 1: bad 101 a key is a string"},
        {CALL("\"f\":\"close\",\"a\":[]"), "B 1: close 5 0|"},
        {CALL("\"f\":\"close\",\"a\":[4000,\"why\"]"), "B 1: close 5 4000|why"},
        {CALL("\"f\":\"close\",\"a\":[1005]"),
         "B 1: bad 101 the code is none that a close frame may carry"},
        {CALL("\"f\":\"close\",\"a\":[null,\"why\"]"),
         "B 1: bad 101 the reason is a string that goes with a code"},
        {CALL("\"f\":\"subscribe\",\"a\":[[\"a\",\"b\"]]"), "B 1: subscribe 5|a|b"},
        {CALL("\"f\":\"subscribe\",\"a\":\"a\""), "B 1: subscribe 5|a"},
        {CALL("\"f\":\"subscribe\",\"a\":[]"), "B 1: subscribe 5"},
        {CALL("\"f\":\"subscribe\",\"a\":[[]]"), "B 1: subscribe 5"},
        {CALL("\"f\":\"subscribe\",\"a\":[null]"), "B 1: subscribe 5"},
        {CALL("\"f\":\"subscribe\",\"a\":null"), "B 1: subscribe 5"},
        {CALL("\"f\":\"subscribe\""), "B 1: subscribe 5"},
        {CALL("\"f\":\"subscribe\",\"a\":[\"\"]"), "B 1: subscribe 5|"},
        {CALL("\"f\":\"subscribe\",\"a\":[true]"), "B 1: bad 101 a channel is a string"},
        {CALL("\"f\":\"set_context_value\",\"a\":[\"uid\",9007199254740993]"),
         "B 1: set 5|uid|9007199254740993"},
        {CALL("\"f\":\"set_context_value\",\"a\":[\"uid\",null]"), "B 1: set 5|uid|null"},
        {CALL("\"f\":\"set_context_value\",\"a\":{\"k\":\"uid\",\"v\":{\"a\": [1]}}"),
         "B 1: set 5|uid|{\"a\":[1]}"},
        {"{\"method\":\"conn.call\",\"params\":{\"client_id\":5,\"method\":\"set_context_value\","
         "\"params\":{\"uid\":1}},\"id\":0}",
         "A 0: set 5|uid|1"},
        {CALL("\"f\":\"set_context_value\",\"a\":[\"uid\"]"),
         "B 1: bad 101 set_context_value takes a key and a value"},
        {CALL("\"f\":\"set_context_value\",\"a\":[[],1]"), "B 1: bad 101 the key is not a string"},
        {CALL("\"f\":\"set_context\",\"a\":[{\"a\":1,\"b\":\"x\"}]"), "B 1: set 5|a|1|b|\"x\""},
        {CALL("\"f\":\"set_context\",\"a\":[]"), "B 1: set 5"},
        {CALL("\"f\":\"set_context\",\"a\":[[]]"), "B 1: set 5"},
        {CALL("\"f\":\"set_context\",\"a\":{}"), "B 1: set 5"},
        {CALL("\"f\":\"set_context\",\"a\":[1]"), "B 1: bad 101 set_context takes one object"},
        {CALL("\"f\":\"explode\""), "B 1: bad 301 unknown function \"explode\""},
        {CALL("\"a\":[]"), "B 1: bad 101 no function"},
        {"{\"m\":\"conn.call\",\"p\":{\"f\":\"subscribe\"},\"i\":1}", "B 1: bad 101 no client id"},
    };
    CHECK_ALL(pairs);
}

static void what_is_no_request_is_told_so(void **state)
{
    (void)state;
    static const struct pair pairs[] = {
        {"ping", "A null: ping"},
        {"", "A null: bad 101 empty frame"},
        {"{", "A null: bad 101 malformed JSON at byte 1"},
        {"[1]", "A null: bad 101 not a JSON object"},
        {"7", "A null: bad 101 not a JSON object"},
        {"{\"id\":4}", "A 4: bad 101 no method"},
        {"{\"m\":7,\"i\":4}", "B 4: bad 101 no method"},
        {"{\"m\":\"a.b\",\"i\":4}", "B 4: bad 101 unknown method \"a.b\""},
        {"{\"method\":\"server.ping\",\"params\":[],\"id\":4}", "A 4: server ping"},
    };
    CHECK_ALL(pairs);
    assert_string_equal(parsed("{", ENVELOPE_B), "B null: bad 101 malformed JSON at byte 1");
    assert_string_equal(parsed("{\"i\":4}", ENVELOPE_B), "B 4: bad 101 no method");
}

static void ids_are_echoed_whatever_they_are(void **state)
{
    (void)state;
    static const struct pair pairs[] = {
        {"{\"m\":\"server.ping\",\"i\":0}", "B 0: server ping"},
        {"{\"m\":\"server.ping\",\"id\":\"a\\\"b\"}", "B \"a\\\"b\": server ping"},
        {"{\"m\":\"server.ping\",\"i\":9223372036854775807}", "B 9223372036854775807: server ping"},
        {"{\"m\":\"server.ping\",\"i\":[1, {\"a\":null}]}", "B [1,{\"a\":null}]: server ping"},
        {"{\"method\":\"server.ping\",\"id\":null}", "A null: server ping"},
        {"{\"method\":\"server.ping\",\"id\":false}", "A false: server ping"},
    };
    CHECK_ALL(pairs);
    char frame[REQUEST_ID_MAX + 64];
    snprintf(frame, sizeof frame, "{\"m\":\"server.ping\",\"i\":\"%0*d\"}", REQUEST_ID_MAX, 0);
    assert_string_equal(parsed(frame, ENVELOPE_A),
                        "B null: bad 101 the id is longer than 4096 bytes");
}

static void long_names_are_cut_between_characters(void **state)
{
    (void)state;
    char frame[512] = "{\"m\":\"a", *at = frame + strlen(frame);
    for (int i = 0; i < 64; i++)
        at += sprintf(at, "\xc3\xa9");
    strcpy(at, "\"}");
    const char *got = strchr(parsed(frame, ENVELOPE_A), '"');
    assert_int_equal(strlen(got), 1 + 63 + 1);
}

static void built(struct buf *out, const char *expected)
{
    snprintf(text, sizeof text, "%.*s", (int)out->len, out->data);
    assert_string_equal(text, expected);
    out->len = 0;
}

static void replies_have_two_spellings(void **state)
{
    (void)state;
    struct buf out = {0};
    envelope_success(&out, ENVELOPE_A, NULL, NULL);
    built(&out,
          "{\"error\":null,\"result\":{\"success\":true,\"fail\":0,\"total\":1},\"id\":null}");
    envelope_success(&out, ENVELOPE_B, "1", NULL);
    built(&out, "{\"E\":null,\"r\":{\"s\":true,\"f\":0,\"t\":1},\"i\":1}");
    envelope_published(&out, ENVELOPE_A, "1", 5, 2);
    built(&out, "{\"error\":null,\"result\":{\"success\":true,\"fail\":2,\"total\":7},\"id\":1}");
    envelope_published(&out, ENVELOPE_B, "1", 5, 2);
    built(&out, "{\"E\":null,\"r\":{\"s\":5,\"f\":2,\"t\":7},\"i\":1}");
    envelope_error(&out, ENVELOPE_A, "1", 101, "a \"b\"\n\\");
    built(&out, "{\"error\":{\"code\":101,\"message\":\"a \\\"b\\\"\\u000a\\\\\"},\"id\":1}");
    envelope_error(&out, ENVELOPE_B, NULL, 401, "x");
    built(&out, "{\"E\":{\"c\":401,\"m\":\"x\"},\"i\":null}");
    envelope_server_pong(&out, ENVELOPE_A, "1");
    built(&out, "{\"error\":null,\"result\":{\"status\":\"server.pong\"},\"id\":1}");
    envelope_server_pong(&out, ENVELOPE_B, "1");
    built(&out, "{\"E\":null,\"r\":{\"s\":\"server.pong\",\"m\":\"server.pong\"},\"i\":1}");
    buf_free(&out);
}

static void events_have_two_spellings(void **state)
{
    (void)state;
    struct buf head = {0}, middle = {0};
    envelope_event(&head, &middle, ENVELOPE_A, "queue.consume", 1, "ch\"at", 5);
    built(&head, "{\"event\":\"queue.consume\",\"result\":{\"client_id\":\"");
    built(&middle, "\",\"queue\":\"ch\\\"at\",\"data\":");
    envelope_event(&head, &middle, ENVELOPE_B, "queue.pop", 1, "chat", 4);
    built(&head, "{\"e\":\"queue.pop\",\"p\":{\"n\":\"1\",\"c\":\"");
    built(&middle, "\",\"t\":\"chat\",\"d\":");
    buf_free(&head);
    buf_free(&middle);
}

static void sends_and_publishes_are_read_the_short_way(void **state)
{
    (void)state;
    static const struct pair pairs[] = {
        {SEND("\"client_id\":\"5\",\"data\":\"x\""), "A 1: send 5|x"},
        {"{\"m\":\"mesh.send\",\"p\":{\"c\":\"5\",\"d\":\"{\\\"a\\\":\\\"\\/\\\\\\\"}\"},\"i\":0}",
         "B 0: send 5|{\"a\":\"/\\\"}"},
        {"{ \"i\" : 9 , \"p\" : [ { \"d\" : \"\" , \"c\" : 9223372036854775807 } ] , "
         "\"m\" : \"mesh.send\" }\n",
         "B 9: send 9223372036854775807|"},
        {"{\"m\":\"mesh.send\",\"params\":{\"c\":\"5\",\"data\":\"x\",\"t\":\"text\"}}",
         "B null: send 5|x"},
        {"{\"method\":\"mesh.publish\",\"params\":{\"channel\":\"r\\n\",\"data\":\"x\"},\"id\":2}",
         "A 2: publish r\n|x"},
        {"{\"m\":\"mesh.publish\",\"p\":{\"c\":\"\",\"d\":\"x\"},\"i\":2}", "B 2: publish |x"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_string_equal(parsed(pairs[i].frame, ENVELOPE_A), pairs[i].meaning);
        assert_string_equal(scanned(pairs[i].frame), pairs[i].meaning);
    }
}

static void what_is_rarer_is_read_the_long_way(void **state)
{
    (void)state;
    static const char *const frames[] = {
        "",
        "ping",
        "{}",
        SEND("\"client_id\":\"5\""),
        SEND("\"data\":\"x\""),
        SEND("\"client_id\":\"5\",\"data\":\"x\",\"data\":\"x\""),
        SEND("\"client_id\":\"5\",\"c\":\"6\",\"data\":\"x\""),
        SEND("\"channel\":\"5\",\"data\":\"x\""),
        SEND("\"client_id\":\"5\",\"channel\":\"r\",\"data\":\"x\""),
        SEND("\"client_id\":\"\",\"data\":\"x\""),
        SEND("\"client_id\":\"5x\",\"data\":\"x\""),
        SEND("\"client_id\":-5,\"data\":\"x\""),
        SEND("\"client_id\":null,\"data\":\"x\""),
        SEND("\"client_id\":\"5\",\"data\":1"),
        SEND("\"client_id\":\"5\",\"data\":\"\\u0041\""),
        SEND("\"client_id\":\"5\",\"data\":\"eA==\",\"t\":\"binary\""),
        SEND("\"client_id\":\"5\",\"data\":\"x\",\"more\":\"x\""),
        SEND("\"client_id\":\"5\",\"data\":\"x\"") " x",
        "{\"m\":\"mesh.send\",\"p\":{\"c\":\"5\",\"d\":\"x\"},\"i\":\"text\"}",
        "{\"m\":\"mesh.send\",\"p\":{\"c\":\"5\",\"d\":\"x\"},\"i\":1.0}",
        "{\"m\":\"mesh.send\",\"p\":[{\"c\":\"5\",\"d\":\"x\"},1],\"i\":1}",
        "{\"m\":\"mesh.send\",\"p\":{\"c\":\"5\",\"d\":\"x\"},\"i\":1",
        "{\"m\":\"mesh.publish\",\"p\":{\"c\":5,\"d\":\"x\"},\"i\":1}",
        "{\"m\":\"mesh.publish\",\"p\":{\"client_id\":\"5\",\"d\":\"x\"},\"i\":1}",
        "{\"m\":\"conn.call\",\"p\":{\"c\":\"5\",\"d\":\"x\"},\"i\":1}",
    };
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++)
        assert_null(scanned(frames[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_and_publishes_are_read_the_short_way),
        cmocka_unit_test(what_is_rarer_is_read_the_long_way),
        cmocka_unit_test(topics_come_in_many_shapes),
        cmocka_unit_test(sends_and_publishes),
        cmocka_unit_test(calls_take_arguments_in_many_shapes),
        cmocka_unit_test(what_is_no_request_is_told_so),
        cmocka_unit_test(ids_are_echoed_whatever_they_are),
        cmocka_unit_test(long_names_are_cut_between_characters),
        cmocka_unit_test(replies_have_two_spellings),
        cmocka_unit_test(events_have_two_spellings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
