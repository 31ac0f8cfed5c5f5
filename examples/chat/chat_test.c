/* chat and login over a stand-in for the library, the engine and the database: commands are kept
 * until the test lets the engine carry them out, and so are the engine's answers. */
#include "chat.h"
#include "mem.h"
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { USERS = 4, CLIENTS = 8, THREADS = 2 };

/* ---- the database: user1 to user3, with the password "pass" ---- */

static struct {
    uv_mutex_t mutex;
    bool online[USERS];
    bool find_fails, set_fails;
    int finds;
    bool gated; /* finds wait for the gate */
    uv_sem_t gate;
} db;

static enum users_status find(struct users *users, const char *name, struct user *user)
{
    uv_mutex_lock(&db.mutex);
    bool fails = db.find_fails, gated = db.gated;
    db.finds++;
    uv_mutex_unlock(&db.mutex);
    if (gated)
        uv_sem_wait(&db.gate);
    if (fails)
        return users_fail(users, USERS_UNAVAILABLE, "finds fail");
    *user = (struct user){.password = "pass"};
    return sscanf(name, "user%" SCNd64, &user->id) == 1 && user->id < USERS ? USERS_OK : USERS_NONE;
}

static enum users_status set_online(struct users *users, int64_t id, bool value)
{
    uv_mutex_lock(&db.mutex);
    bool fails = db.set_fails;
    if (!fails && id > 0 && id < USERS)
        db.online[id] = value;
    uv_mutex_unlock(&db.mutex);
    return fails ? users_fail(users, USERS_UNAVAILABLE, "sets fail") : USERS_OK;
}

static void close_users(struct users *users)
{
    free(users);
}

static void set_failing(bool finds, bool sets)
{
    uv_mutex_lock(&db.mutex);
    db.find_fails = finds;
    db.set_fails = sets;
    uv_mutex_unlock(&db.mutex);
}

/* ---- the engine and the library ---- */

struct mix_node {
    int refs;
    bool connected;
};

struct command {
    uint64_t client;
    bool sets;
    int64_t uid;
    bool done, refused;
    mix_reply_fn on_reply;
    void *data;
    TAILQ_ENTRY(command) entry;
};

TAILQ_HEAD(commands, command);

struct client {
    bool open, has_uid;
    int64_t uid;
};

static struct mix_node node;
static struct commands waiting, answered; /* before and after the engine */
static struct client clients[CLIENTS];
static char said[1 << 17]; /* commands as text, a line each */
static bool refuses_subscribe;

static uv_loop_t loop;
static struct pool *pool;
static struct chat chat;

static void say(const char *format, ...)
{
    size_t len = strlen(said);
    va_list args;
    va_start(args, format);
    vsnprintf(said + len, sizeof said - len, format, args);
    va_end(args);
}

static int command(struct mix_node *to, struct command command)
{
    if (!to->connected)
        return -ENOTCONN;
    struct command *kept = mem_new(sizeof *kept);
    *kept = command;
    TAILQ_INSERT_TAIL(&waiting, kept, entry);
    return 0;
}

struct mix_node *mix_node_ref(struct mix_node *of)
{
    of->refs++;
    return of;
}

void mix_node_unref(struct mix_node *of)
{
    of->refs--;
}

const char *mix_node_id(const struct mix_node *of)
{
    (void)of;
    return "1";
}

const char *mix_node_address(const struct mix_node *of)
{
    (void)of;
    return "127.0.0.1:6789";
}

int mix_node_set_context_value(struct mix_node *to, uint64_t client, const char *key, json_t *value,
                               mix_reply_fn on_reply, void *data)
{
    int64_t uid = json_integer_value(value);
    json_decref(value);
    if (to->connected)
        say("%" PRIu64 " %s=%" PRId64 "\n", client, key, uid);
    else
        say("%" PRIu64 " not connected\n", client);
    return command(
        to, (struct command){client, .sets = true, .uid = uid, .on_reply = on_reply, .data = data});
}

int mix_node_send(struct mix_node *to, uint64_t client, const char *text, size_t len,
                  mix_reply_fn on_reply, void *data)
{
    if (to->connected)
        say("%" PRIu64 " < %.*s\n", client, (int)len, text);
    return command(to, (struct command){client, .on_reply = on_reply, .data = data});
}

static int channels(struct mix_node *to, uint64_t client, const char *what,
                    const char *const *names, size_t count, mix_reply_fn on_reply, void *data)
{
    say("%" PRIu64 " %s", client, what);
    for (size_t i = 0; i < count; i++)
        say(" %s", names[i]);
    say("\n");
    return command(to, (struct command){client, .refused = refuses_subscribe, .on_reply = on_reply,
                                        .data = data});
}

int mix_node_subscribe(struct mix_node *to, uint64_t client, const char *const *names, size_t count,
                       mix_reply_fn on_reply, void *data)
{
    return channels(to, client, "subscribe", names, count, on_reply, data);
}

int mix_node_unsubscribe(struct mix_node *to, uint64_t client, const char *const *names,
                         size_t count, mix_reply_fn on_reply, void *data)
{
    return channels(to, client, "unsubscribe", names, count, on_reply, data);
}

int mix_node_publish(struct mix_node *to, const char *channel, const char *text, size_t len,
                     mix_reply_fn on_reply, void *data)
{
    say("%s << %.*s\n", channel, (int)len, text);
    return command(to, (struct command){0, .on_reply = on_reply, .data = data});
}

/* The engine carries out the oldest command. */
static bool engine_step(void)
{
    struct command *first = TAILQ_FIRST(&waiting);
    if (!first)
        return false;
    TAILQ_REMOVE(&waiting, first, entry);
    static struct client unknown;
    struct client *client = first->client < CLIENTS ? &clients[first->client] : &unknown;
    first->refused |= first->client && !client->open;
    if (first->sets && client->open) {
        client->has_uid = true;
        client->uid = first->uid;
    }
    TAILQ_INSERT_TAIL(&answered, first, entry);
    return true;
}

static void call_back(struct command *of, const struct mix_reply *reply)
{
    if (of->on_reply)
        of->on_reply(&node, reply, of->data);
    else
        chat_on_reply(&node, reply, &chat);
    free(of);
}

/* The oldest answer of the engine arrives. */
static bool reply_step(void)
{
    static const struct mix_reply done = {.message = ""};
    static const struct mix_reply refused = {-EREMOTEIO, 301, "no such client", 0, 0};
    struct command *first = TAILQ_FIRST(&answered);
    if (!first)
        return false;
    TAILQ_REMOVE(&answered, first, entry);
    call_back(first, first->refused ? &refused : &done);
    return true;
}

/* The connection breaks: no answer arrives, and of the commands the engine has those carried out.
 */
static void lose_node(void)
{
    static const struct mix_reply lost = {-ECONNRESET, 0, "the connection is lost", 0, 0};
    struct commands all = TAILQ_HEAD_INITIALIZER(all);
    TAILQ_CONCAT(&all, &answered, entry);
    TAILQ_CONCAT(&all, &waiting, entry);
    node.connected = false;
    for (struct command *each; (each = TAILQ_FIRST(&all));) {
        TAILQ_REMOVE(&all, each, entry);
        call_back(each, &lost);
    }
}

static void find_node(void)
{
    node.connected = true;
    login_reconnected(chat.login, &node);
}

/* ---- what tests do ---- */

static int set_up(void **state)
{
    (void)state;
    static const struct users_ops ops = {
        .find = find, .set_online = set_online, .close = close_users};
    memset(&db, 0, sizeof db);
    memset(clients, 0, sizeof clients);
    for (int i = 1; i < CLIENTS; i++)
        clients[i].open = true;
    uv_mutex_init(&db.mutex);
    uv_sem_init(&db.gate, 0);
    TAILQ_INIT(&waiting);
    TAILQ_INIT(&answered);
    node = (struct mix_node){.connected = true};
    *said = '\0';
    refuses_subscribe = false;
    uv_loop_init(&loop);
    struct users *users[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        users[i] = mem_new(sizeof **users);
        users[i]->ops = &ops;
    }
    pool = pool_open(&loop, users, THREADS);
    chat.online = online_open(&loop, pool);
    chat.login = login_open(&loop, pool, chat.online);
    alarm(60);
    return 0;
}

static void on_pool_closed(void *data)
{
    (void)data;
    login_close(chat.login);
    online_close(chat.online);
}

static int tear_down(void **state)
{
    (void)state;
    while (engine_step() || reply_step())
        ;
    pool_close(pool, on_pool_closed, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_mutex_destroy(&db.mutex);
    uv_sem_destroy(&db.gate);
    return uv_loop_close(&loop) != 0 || node.refs != 0;
}

/* Takes the value. */
static void push(uint64_t client, const char *topic, json_t *data)
{
    struct mix_event event = {.client = client, .topic = topic, .data = data};
    chat_on_event(&node, &event, &chat);
    json_decref(data);
}

/* What a script pushes for a message: with the uid that the client has, or had, or none. */
static json_t *chat_event(const char *text, bool has_uid, int64_t uid)
{
    json_t *data = json_pack("{s:{s:s, s:s}}", "frame", "type", "text", "data", text);
    if (has_uid)
        json_object_set_new(data, "uid", json_integer(uid));
    return data;
}

static json_t *close_event(const struct client *client)
{
    json_t *data = json_pack("{s:s}", "event", "close");
    if (client->has_uid)
        json_object_set_new(data, "uid", json_integer(client->uid));
    return data;
}

static void tell(uint64_t client, const char *text)
{
    push(client, "chat", chat_event(text, clients[client].has_uid, clients[client].uid));
}

static void hang_up(uint64_t client)
{
    clients[client].open = false;
    push(client, "conn", close_event(&clients[client]));
}

static bool unsettled(void)
{
    return login_unsettled(chat.login) || online_unwritten(chat.online) || !TAILQ_EMPTY(&waiting) ||
           !TAILQ_EMPTY(&answered);
}

/* Until all is done, with an engine that answers at once. */
static void settle(void)
{
    while (unsettled()) {
        if (!engine_step() && !reply_step())
            uv_run(&loop, UV_RUN_ONCE);
    }
}

static void assert_said(const char *text)
{
    assert_string_equal(said, text);
    *said = '\0';
}

/* Runs the loop until the command stands in `said`. */
static void wait_said(const char *text)
{
    while (!strstr(said, text))
        uv_run(&loop, UV_RUN_ONCE);
}

static int finds(void)
{
    uv_mutex_lock(&db.mutex);
    int count = db.finds;
    uv_mutex_unlock(&db.mutex);
    return count;
}

static void wait_finds(int count)
{
    while (finds() < count)
        sched_yield();
}

static const char AUTH1[] = "{\"op\":\"auth\",\"args\":[\"user1\",\"pass\"]}";
static const char AUTH2[] = "{\"op\":\"auth\",\"args\":[\"user2\",\"pass\"]}";
static const char AUTH3[] = "{\"op\":\"auth\",\"args\":[\"user3\",\"pass\"]}";
static const char WRONG[] = "{\"op\":\"auth\",\"args\":[\"user1\",\"Pass\"]}";

static void log_in(uint64_t client, const char *text)
{
    tell(client, text);
    settle();
    *said = '\0';
}

/* ---- what clients hear ---- */

static void test_transcript(void **state)
{
    (void)state;
    tell(1, AUTH1);
    settle();
    assert_said("1 uid=1\n1 < {\"op\":\"auth\",\"success\":true}\n");
    assert_true(db.online[1]);
    tell(1, "{\"op\":\"subscribe\",\"args\":[\"room_101\",\"b\"]}");
    assert_said("1 subscribe room_101 b\n1 < {\"op\":\"subscribe\",\"success\":true}\n");
    tell(1, "{\"op\":\"sendtoroom\",\"args\":[\"room_101\",\"hello,world!\"]}");
    assert_said("room_101 << {\"event\":\"subscribe\",\"channel\":\"room_101\","
                "\"data\":\"uid:1,message:hello,world!\"}\n"
                "1 < {\"op\":\"sendtoroom\",\"success\":true}\n");
    tell(1, "{\"op\":\"sendtouser\",\"args\":[\"user_2\",7]}");
    assert_said("user_2 << {\"event\":\"subscribe\",\"channel\":\"user_2\","
                "\"data\":\"uid:1,message:7\"}\n"
                "1 < {\"op\":\"sendtouser\",\"success\":true}\n");
    tell(1, "{\"op\":\"sendbroadcast\",\"args\":[\"say \\\"\xc3\xa4/\\u00e4\\\"\\u0000\"]}");
    assert_said("broadcast << {\"event\":\"subscribe\",\"channel\":\"broadcast\","
                "\"data\":\"uid:1,message:say \\\"\xc3\xa4/\xc3\xa4\\\"\\u0000\"}\n"
                "1 < {\"op\":\"sendbroadcast\",\"success\":true}\n");
    tell(1, "{\"op\":\"unsubscribe\",\"args\":[\"b\"]}");
    assert_said("1 unsubscribe b\n1 < {\"op\":\"unsubscribe\",\"success\":true}\n");
}

static void test_logins_that_fail(void **state)
{
    (void)state;
    static const char *const wrong[] = {WRONG, "{\"op\":\"auth\",\"args\":[\"nobody\",\"pass\"]}",
                                        /* nobody's id is that of a user */
                                        "{\"op\":\"auth\",\"args\":[\"user0\",\"pass\"]}"};
    for (size_t i = 0; i < 3; i++) {
        tell(1, wrong[i]);
        settle();
        assert_said("1 uid=0\n1 < {\"op\":\"auth\",\"error\":\"Invalid name or password\"}\n");
    }
    tell(1, "{\"op\":\"auth\",\"args\":{\"name\":\"user1\"}}");
    settle();
    assert_int_equal(strncmp(said, "1 uid=0\n1 < {\"op\":\"auth\",\"error\":\"args ", 37), 0);
    assert_int_equal(db.finds, 3);
}

static void test_no_access(void **state)
{
    (void)state;
    static const char *const ops[] = {"subscribe", "unsubscribe", "sendtoroom", "sendtouser",
                                      "sendbroadcast"};
    for (size_t i = 0; i < 5; i++) {
        char text[100], want[100];
        snprintf(text, sizeof text, "{\"op\":\"%s\",\"args\":[\"a\",\"b\"]}", ops[i]);
        snprintf(want, sizeof want, "1 < {\"op\":\"%s\",\"error\":\"No access\"}\n", ops[i]);
        tell(1, text);
        assert_said(want);
    }
}

static void test_what_is_no_operation(void **state)
{
    (void)state;
    tell(1, "{\"op\":\"x\\\"y\"}");
    assert_said("1 < {\"op\":\"x\\\"y\",\"error\":\"Unknown operation\"}\n");
    tell(1, "{\"op\":\"0123456789012345678901234567890\xc3\xa4 and more\"}");
    assert_said("1 < {\"op\":\"0123456789012345678901234567890\","
                "\"error\":\"Unknown operation\"}\n");
    tell(1, "{\"op\":5}");
    assert_said("1 < {\"error\":\"op must be a string\"}\n");
    tell(1, "{\"op\":\"auth\\u0000\",\"args\":[\"user1\",\"pass\"]}");
    assert_said("1 < {\"error\":\"op must be a string\"}\n");
}

/* The script may wait after what our decoder does not take; not after what it does, and not once
 * its client has a uid. */
static void test_what_is_no_json_object(void **state)
{
    (void)state;
    static const char *const others[] = {"[]", "5", "\"auth\"", "{}"};
    for (size_t i = 0; i < 4; i++) {
        tell(1, others[i]);
        assert_said("1 < {\"error\":\"Json format error\"}\n");
    }
    const char *twice = "{\"op\":\"x\",\"op\":\"auth\",\"args\":[\"user1\",\"pass\"]}";
    tell(1, twice);
    assert_said("1 uid=0\n1 < {\"error\":\"Json format error\"}\n");
    settle();
    log_in(1, AUTH1);
    tell(1, twice);
    assert_said("1 < {\"error\":\"Json format error\"}\n");
    push(1, "chat", chat_event(twice, false, 0)); /* pushed before the login, and late */
    assert_said("1 < {\"error\":\"Json format error\"}\n");
}

static void test_a_subscription_that_is_refused(void **state)
{
    (void)state;
    log_in(1, AUTH1);
    refuses_subscribe = true;
    tell(1, "{\"op\":\"subscribe\",\"args\":[\"a\"]}");
    settle();
    assert_said("1 subscribe a\n1 < {\"op\":\"subscribe\",\"success\":true}\n"
                "1 < {\"op\":\"subscribe\",\"error\":\"no such client\"}\n");
}

static json_t *any(unsigned *seed, int depth)
{
    static const char *const texts[] = {"close", "auth", "{}", "{\"op\":\"auth\"}", "", "chat"};
    static const char *const keys[] = {"event", "uid", "frame", "data", "op", "args"};
    json_t *value;
    switch (rand_r(seed) % (depth > 0 ? 6 : 4)) {
    case 0:
        return json_null();
    case 1:
        return json_integer(rand_r(seed) - RAND_MAX / 2);
    case 2:
        return json_real(1.5);
    case 3:
        return json_string(texts[rand_r(seed) % 6]);
    case 4:
        value = json_array();
        for (int n = rand_r(seed) % 4; n > 0; n--)
            json_array_append_new(value, any(seed, depth - 1));
        return value;
    default:
        value = json_object();
        for (int n = rand_r(seed) % 5; n > 0; n--)
            json_object_set_new(value, keys[rand_r(seed) % 6], any(seed, depth - 1));
        return value;
    }
}

/* Another script may push anything, and clients say anything. */
static void test_anything(void **state)
{
    (void)state;
    unsigned seed = 1;
    for (int i = 0; i < 5000; i++) {
        *said = '\0';
        push((uint64_t)(rand_r(&seed) % CLIENTS), rand_r(&seed) % 4 ? "chat" : "conn",
             any(&seed, 4));
        json_t *message = json_pack("{s:s, s:o}", "op", i % 2 ? "sendtoroom" : "subscribe", "args",
                                    any(&seed, 3));
        char *text = json_dumps(message, 0);
        push(1, "chat", chat_event(text, true, 1));
        free(text);
        json_decref(message);
        if (i % 16 == 0)
            settle();
    }
    settle();
}

/* ---- who is online ---- */

static void test_a_close_takes_the_flag_down(void **state)
{
    (void)state;
    log_in(1, AUTH1);
    assert_true(db.online[1]);
    hang_up(1);
    settle();
    assert_false(db.online[1]);
    assert_true(login_is_stranger(chat.login, 1));
}

static void test_another_login_takes_it_down(void **state)
{
    (void)state;
    log_in(1, AUTH1);
    log_in(1, AUTH1);
    assert_true(db.online[1]);
    log_in(1, AUTH2);
    assert_true(!db.online[1] && db.online[2]);
    log_in(1, WRONG);
    assert_true(!db.online[1] && !db.online[2]);
    log_in(1, AUTH3);
    log_in(1, "{\"op\":\"auth\"}");
    assert_false(db.online[3]);
}

/* All three are pushed with the uid of the first. */
static void test_logins_without_waiting(void **state)
{
    (void)state;
    log_in(1, AUTH1);
    tell(1, AUTH2);
    tell(1, AUTH3);
    settle();
    assert_said("1 uid=2\n1 < {\"op\":\"auth\",\"success\":true}\n"
                "1 uid=3\n1 < {\"op\":\"auth\",\"success\":true}\n");
    assert_true(!db.online[1] && !db.online[2] && db.online[3]);
    push(1, "chat", chat_event(AUTH2, true, 1)); /* late */
    settle();
    assert_true(!db.online[1] && db.online[2] && !db.online[3]);
}

/* Another process answered the login before. */
static void test_another_login_of_a_client_that_is_not_known(void **state)
{
    (void)state;
    db.online[1] = true;
    push(1, "chat", chat_event(AUTH2, true, 1));
    settle();
    assert_true(!db.online[1] && db.online[2]);
}

/* While both threads are held by others, the login's job has not begun. */
static void test_gone_before_the_check(void **state)
{
    (void)state;
    db.gated = true;
    tell(2, AUTH2);
    tell(3, AUTH3);
    tell(1, AUTH1);
    hang_up(1);
    for (int i = 0; i < THREADS; i++)
        uv_sem_post(&db.gate);
    settle();
    assert_int_equal(db.finds, 2);
    assert_null(strstr(said, "1 uid"));
    assert_true(!db.online[1] && db.online[2] && db.online[3]);
}

static void test_gone_during_the_check(void **state)
{
    (void)state;
    db.gated = true;
    tell(1, AUTH1);
    uv_sem_post(&db.gate);
    while (!online_unwritten(chat.online))
        uv_run(&loop, UV_RUN_ONCE);
    hang_up(1); /* the flag is on its way up */
    settle();
    assert_said("");
    assert_false(db.online[1]);
}

static void test_gone_before_the_answer_is_carried_out(void **state)
{
    (void)state;
    tell(1, AUTH1);
    wait_said("1 uid=1");
    hang_up(1); /* with no uid */
    settle();
    assert_false(db.online[1]);
    tell(2, AUTH2);
    wait_said("2 uid=2");
    clients[2].open = false; /* another process hears of it */
    settle();
    assert_false(db.online[2]);
}

static void test_gone_after_the_answer_was_carried_out(void **state)
{
    (void)state;
    tell(1, AUTH1);
    wait_said("1 uid=1");
    engine_step();
    hang_up(1);
    settle();
    assert_false(db.online[1]);
}

static void test_a_lost_connection_with_the_answer_on_it(void **state)
{
    (void)state;
    tell(1, AUTH1);
    wait_said("1 uid=1");
    engine_step();
    lose_node();
    tell(2, WRONG);
    wait_said("2 not connected");
    assert_said("1 uid=1\n1 < {\"op\":\"auth\",\"success\":true}\n2 not connected\n");
    find_node();
    settle();
    assert_said("1 uid=1\n1 < {\"op\":\"auth\",\"success\":true}\n"
                "2 uid=0\n2 < {\"op\":\"auth\",\"error\":\"Invalid name or password\"}\n");
    assert_true(db.online[1]);
}

static void test_a_client_that_goes_with_the_connection(void **state)
{
    (void)state;
    tell(1, AUTH1);
    wait_said("1 uid=1");
    lose_node();
    clients[1].open = false; /* nobody hears of it */
    find_node();
    settle();
    assert_false(db.online[1]);
}

static void test_a_node_that_stays_away(void **state)
{
    (void)state;
    tell(1, AUTH1);
    wait_said("1 uid=1");
    lose_node();
    assert_int_equal(login_unsettled(chat.login), 1);
    login_hurry(chat.login);
    settle();
    assert_false(db.online[1]);
}

/* ---- a database that fails ---- */

static void test_a_database_that_fails(void **state)
{
    (void)state;
    set_failing(true, false);
    tell(1, AUTH1);
    settle();
    assert_said("1 uid=0\n1 < {\"op\":\"auth\",\"error\":\"Try again later\"}\n");
    set_failing(false, true);
    tell(1, AUTH1);
    wait_said("later");
    assert_said("1 uid=0\n1 < {\"op\":\"auth\",\"error\":\"Try again later\"}\n");
    db.online[1] = true; /* it was written after all */
    set_failing(false, false);
    settle();
    assert_false(db.online[1]);
}

static void test_too_many_logins(void **state)
{
    (void)state;
    db.gated = true;
    for (uint64_t client = 1; client <= 10000; client++)
        push(client, "chat", chat_event(AUTH1, false, 0));
    assert_said("");
    push(10001, "chat", chat_event(AUTH1, false, 0));
    assert_said("10001 uid=0\n10001 < {\"op\":\"auth\",\"error\":\"Too busy, try again\"}\n");
    login_hurry(chat.login);
    wait_finds(THREADS); /* the others have not begun */
    clients[1].open = clients[2].open = false;
    for (int i = 0; i < THREADS; i++)
        uv_sem_post(&db.gate);
    settle();
    assert_int_equal(db.finds, THREADS);
    assert_non_null(strstr(said, "7 uid=0\n7 < {\"op\":\"auth\",\"error\":\"Try again later\"}\n"));
    assert_false(db.online[1]);
}

/* A client that does not wait for answers is told out of turn. */
static void test_too_many_logins_of_one_client(void **state)
{
    (void)state;
    db.gated = true;
    for (int i = 0; i < 101; i++)
        tell(1, AUTH1);
    assert_said("");
    tell(1, AUTH1);
    assert_said("1 < {\"op\":\"auth\",\"error\":\"Too busy, try again\"}\n");
    wait_finds(1);
    hang_up(1);
    uv_sem_post(&db.gate);
    settle();
    assert_int_equal(db.finds, 1);
}

/* ---- any order ---- */

struct pushed {
    uint64_t client;
    const char *topic;
    json_t *data;
    TAILQ_ENTRY(pushed) entry;
};

static TAILQ_HEAD(, pushed) events;

static void push_later(uint64_t client, const char *topic, json_t *data)
{
    struct pushed *event = mem_new(sizeof *event);
    *event = (struct pushed){.client = client, .topic = topic, .data = data};
    TAILQ_INSERT_TAIL(&events, event, entry);
}

static bool event_step(void)
{
    struct pushed *event = node.connected ? TAILQ_FIRST(&events) : NULL;
    if (!event)
        return false;
    TAILQ_REMOVE(&events, event, entry);
    push(event->client, event->topic, event->data);
    free(event);
    return true;
}

static void client_step(unsigned *seed)
{
    static const char *const logins[] = {AUTH1, AUTH2, AUTH3, WRONG, "{\"op\":\"auth\"}"};
    uint64_t id = 1 + (uint64_t)(rand_r(seed) % (CLIENTS - 1));
    struct client *client = &clients[id];
    if (!client->open)
        return;
    client->open = rand_r(seed) % 3 > 0;
    if (client->open)
        push_later(id, "chat", chat_event(logins[rand_r(seed) % 5], client->has_uid, client->uid));
    else
        push_later(id, "conn", close_event(client));
}

/* As long as it takes until a thread is done, but not if none is at work. */
static void run_some_time(void)
{
    struct pollfd loop_fd = {.fd = uv_backend_fd(&loop), .events = POLLIN};
    poll(&loop_fd, 1, 2);
    uv_run(&loop, UV_RUN_NOWAIT);
}

/* Clients log in again and again and go; events, commands and answers are late by any measure; the
 * connection breaks. In the end nobody is there, and nobody is online. */
static void any_order(unsigned seed)
{
    memset(clients, 0, sizeof clients);
    for (int i = 1; i < CLIENTS; i++)
        clients[i].open = true;
    bool breaks = seed % 8 == 0;
    for (int i = 0; i < 150; i++) {
        *said = '\0';
        switch (rand_r(&seed) % 7) {
        case 0:
            client_step(&seed);
            break;
        case 1:
            event_step();
            break;
        case 2:
            engine_step();
            break;
        case 3:
            reply_step();
            break;
        case 4:
            if (breaks && rand_r(&seed) % 8 == 0)
                node.connected ? lose_node() : find_node();
            break;
        default:
            run_some_time();
        }
    }
    for (uint64_t id = 1; id < CLIENTS; id++) {
        if (clients[id].open)
            push_later(id, "conn", close_event(&clients[id]));
        clients[id].open = false;
    }
    if (!node.connected)
        find_node();
    while (unsettled() || !TAILQ_EMPTY(&events)) {
        *said = '\0';
        if (!event_step() && !engine_step() && !reply_step())
            uv_run(&loop, UV_RUN_ONCE);
    }
}

static void test_any_order(void **state)
{
    (void)state;
    TAILQ_INIT(&events);
    for (unsigned seed = 1; seed <= 60; seed++) {
        any_order(seed);
        for (int user = 1; user < USERS; user++) {
            if (db.online[user])
                fail_msg("seed %u: user%d is still online", seed, user);
        }
    }
}

int main(void)
{
#define WITH_CHAT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_CHAT(test_transcript),
        WITH_CHAT(test_logins_that_fail),
        WITH_CHAT(test_no_access),
        WITH_CHAT(test_what_is_no_operation),
        WITH_CHAT(test_what_is_no_json_object),
        WITH_CHAT(test_a_subscription_that_is_refused),
        WITH_CHAT(test_anything),
        WITH_CHAT(test_a_close_takes_the_flag_down),
        WITH_CHAT(test_another_login_takes_it_down),
        WITH_CHAT(test_logins_without_waiting),
        WITH_CHAT(test_another_login_of_a_client_that_is_not_known),
        WITH_CHAT(test_gone_before_the_check),
        WITH_CHAT(test_gone_during_the_check),
        WITH_CHAT(test_gone_before_the_answer_is_carried_out),
        WITH_CHAT(test_gone_after_the_answer_was_carried_out),
        WITH_CHAT(test_a_lost_connection_with_the_answer_on_it),
        WITH_CHAT(test_a_client_that_goes_with_the_connection),
        WITH_CHAT(test_a_node_that_stays_away),
        WITH_CHAT(test_a_database_that_fails),
        WITH_CHAT(test_too_many_logins),
        WITH_CHAT(test_too_many_logins_of_one_client),
        WITH_CHAT(test_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
