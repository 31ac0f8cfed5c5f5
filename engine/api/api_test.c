/* A whole API thread on free ports, a mesh that is played by the test, and clients on real sockets.
 */
#include "api/api_private.h"
#include "api/consumer.h"
#include "api/socket.h"
#include "api/window.h"
#include "base/address.h"
#include "base/mem.h"
#include "msg/client_id.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the mesh ---- */

enum {
    NODE = 3,
    GONE = 404,  /* a client that is unknown to its worker */
    FAILS = 500, /* one whose worker refuses */
    HELD = 77,   /* one whose commands lie until they are released */
    WORKERS = 2, /* copies of a publish */
    PATIENCE_S = 20,
};

struct fake_mesh {
    struct mesh mesh;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct msg *held, **held_end;
    uint32_t seen;
    bool passing;   /* nothing is held any more */
    char last[256]; /* the last command, as text */
};

static struct fake_mesh *fake(struct mesh *mesh)
{
    return container_of(mesh, struct fake_mesh, mesh);
}

static void describe(struct fake_mesh *m, const struct command *c)
{
    struct buf text = {0};
    buf_printf(&text, "%d %llu %s", (int)c->kind, (unsigned long long)client_number(c->client),
               c->binary ? "binary " : "");
    if (c->name)
        buf_append(&text, c->name->data, c->name->len);
    size_t at = 0, len;
    const char *part;
    if (c->kind == COMMAND_SEND || c->kind == COMMAND_PUBLISH) {
        buf_append_char(&text, '|');
        buf_append(&text, c->data->data, c->data->len);
    } else {
        while (strings_next(c->data, &at, &part, &len))
            buf_printf(&text, "|%.*s", (int)len, part);
    }
    snprintf(m->last, sizeof m->last, "%.*s", (int)text.len, text.data);
    buf_free(&text);
}

static void hold(struct fake_mesh *m, struct command *c)
{
    c->msg.next = NULL;
    *m->held_end = &c->msg;
    m->held_end = &c->msg.next;
}

static void answer(struct command *c)
{
    uint64_t number = client_number(c->client);
    c->msg.type = MSG_OUTCOME;
    c->status = number == GONE    ? COMMAND_NO_CLIENT
                : number == FAILS ? COMMAND_FAILED
                                  : COMMAND_DONE;
    c->why = number == FAILS ? "too many subscriptions" : NULL;
    mailbox_post(c->reply_to, &c->msg);
}

static void carry_out(struct fake_mesh *m, struct command *c, bool wait)
{
    pthread_mutex_lock(&m->lock);
    describe(m, c);
    m->seen++;
    wait = wait && !m->passing;
    if (wait)
        hold(m, c);
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    if (!wait)
        answer(c);
}

static int submit(struct mesh *mesh, struct command *command)
{
    if (client_node(command->client) != NODE)
        return UV_ENOENT;
    carry_out(fake(mesh), command, client_number(command->client) == HELD);
    return 0;
}

/* Two workers: one has two subscribers, the other one, which fails; on "half" the other is silent.
 */
static int publish(struct mesh *mesh, int except_worker, struct command *command)
{
    (void)except_worker;
    bool half = command->name->len == 4 && memcmp(command->name->data, "half", 4) == 0;
    for (int i = 0; i < WORKERS; i++) {
        struct command *copy = command_new(COMMAND_PUBLISH);
        copy->reply_to = command->reply_to;
        copy->tag = command->tag;
        copy->since = command->since;
        copy->name = blob_ref(command->name);
        copy->data = blob_ref(command->data);
        copy->binary = command->binary;
        copy->delivered = i == 0 ? 2 : 0;
        copy->failed = i == 1;
        carry_out(fake(mesh), copy, half && i == 1);
    }
    return WORKERS;
}

static unsigned node(const struct mesh *mesh)
{
    (void)mesh;
    return NODE;
}

static const struct mesh_ops ops = {.submit = submit, .publish = publish, .node = node};

static void wait_until_seen(struct fake_mesh *m, uint32_t count)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&m->lock);
    int status = 0;
    while (m->seen < count && status == 0)
        status = pthread_cond_timedwait(&m->changed, &m->lock, &until);
    pthread_mutex_unlock(&m->lock);
    assert_int_equal(status, 0);
}

static void end_held(struct fake_mesh *m, void (*end)(struct command *command))
{
    pthread_mutex_lock(&m->lock);
    struct msg *msg = m->held;
    m->held = NULL;
    m->held_end = &m->held;
    pthread_mutex_unlock(&m->lock);
    while (msg) {
        struct msg *next = msg->next;
        end(container_of(msg, struct command, msg));
        msg = next;
    }
}

static void release_all(struct fake_mesh *m)
{
    end_held(m, answer);
}

/* ---- the API ---- */

struct world {
    struct config config;
    struct config_user users[2];
    struct gates *gates;
    uv_loop_t loop; /* the main thread's */
    struct mailbox main_box;
    struct fake_mesh mesh;
    struct api *api;
    bool running, drained;
    int center, engine; /* ports */
};

static void on_main(struct msg *msg, void *data)
{
    struct world *w = data;
    w->drained = msg->type == MSG_DRAINED;
    free(msg);
}

static void add_metrics(struct buf *out, const struct config *config, void *data)
{
    (void)config;
    (void)data;
    buf_append_str(out, "engine_part 1\n");
}

static void post_plain(struct world *w, int type)
{
    struct msg *msg = xcalloc(1, sizeof *msg);
    msg->type = type;
    mailbox_post(api_box(w->api), msg);
}

static int prepare(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    static char any[] = "0.0.0.0", local[] = "127.0.0.1", nothing[] = "";
    w->config.refs = 1;
    w->config.center_api.listen.bind = local;
    w->config.engine_api.listen.bind = any;
    w->config.engine_api.advertise = nothing;
    w->config.stop_timeout = 10;
    w->config.queue.full_timeout = 10;
    w->config.queue.stall_timeout = 1;
    w->gates = gates_new(2000, 4);
    uv_loop_init(&w->loop);
    mailbox_open(&w->main_box, &w->loop, on_main, w);
    w->mesh.mesh.ops = &ops;
    w->mesh.held_end = &w->mesh.held;
    pthread_mutex_init(&w->mesh.lock, NULL);
    pthread_cond_init(&w->mesh.changed, NULL);
    struct api_options options = {.config = &w->config,
                                  .gates = w->gates,
                                  .main_box = &w->main_box,
                                  .sockets_max = 4096,
                                  .metrics = add_metrics};
    w->api = api_new(&options);
    *state = w;
    return 0;
}

static void start(struct world *w)
{
    char error[256] = "";
    assert_int_equal(api_listen(w->api, error, sizeof error), 0);
    w->center = address_port(&w->api->center.address);
    w->engine = address_port(&w->api->engine.address);
    api_run(w->api, &w->mesh.mesh);
    w->running = true;
}

static void stop(struct world *w)
{
    post_plain(w, MSG_STOP);
    api_join(w->api);
    w->running = false;
}

static int finish(void **state)
{
    struct world *w = *state;
    if (w->running) {
        release_all(&w->mesh);
        stop(w);
    }
    api_free(w->api);
    mailbox_close(&w->main_box);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    uv_loop_close(&w->loop);
    gates_free(w->gates);
    pthread_mutex_destroy(&w->mesh.lock);
    pthread_cond_destroy(&w->mesh.changed);
    free(w);
    return 0;
}

/* ---- clients ---- */

static int try_dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

static int dial(int port)
{
    int fd = try_dial(port);
    assert_true(fd >= 0);
    return fd;
}

static void send_all(int fd, const void *data, size_t len)
{
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(fd, (const char *)data + sent, len - sent, MSG_NOSIGNAL);
        assert_true(n > 0);
        sent += (size_t)n;
    }
}

static void recv_all(int fd, void *data, size_t len)
{
    for (size_t got = 0; got < len;) {
        ssize_t n = recv(fd, (char *)data + got, len - got, 0);
        assert_true(n > 0);
        got += (size_t)n;
    }
}

static bool at_end(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* Reads one head and its body; the result is static. */
static const char *http_answer(int fd)
{
    static char text[65536];
    size_t len = 0;
    do {
        recv_all(fd, text + len, 1);
        text[++len] = '\0';
    } while (len < 4 || memcmp(text + len - 4, "\r\n\r\n", 4) != 0);
    const char *length = strstr(text, "Content-Length: ");
    size_t body = length ? strtoul(length + 16, NULL, 10) : 0;
    recv_all(fd, text + len, body);
    text[len + body] = '\0';
    return text;
}

static const char *ask(int fd, const char *request)
{
    send_all(fd, request, strlen(request));
    return http_answer(fd);
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no \"%s\" in: %s", part, text);
}

#define UPGRADE_HEAD                                                                               \
    "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static int ws_dial(struct world *w)
{
    int fd = dial(w->engine);
    const char *head = ask(fd, "GET /ws/v1 HTTP/1.1\r\n" UPGRADE_HEAD KEY "\r\n");
    assert_contains(head, "HTTP/1.1 101 ");
    return fd;
}

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, FIN = 0x80 };

static void ws_send_frame(int fd, int first, const char *data, size_t len)
{
    unsigned char head[14] = {(unsigned char)first};
    size_t n = 2;
    if (len < 126) {
        head[1] = (unsigned char)(0x80 | len);
    } else if (len < 65536) {
        head[1] = 0x80 | 126;
        head[n++] = (unsigned char)(len >> 8);
        head[n++] = (unsigned char)len;
    } else {
        head[1] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            head[n++] = (unsigned char)((uint64_t)len >> shift);
    }
    n += 4; /* a mask of zeroes */
    send_all(fd, head, n);
    send_all(fd, data, len);
}

static void ws_send(int fd, const char *text)
{
    ws_send_frame(fd, FIN | TEXT, text, strlen(text));
}

/* Reads one frame, whatever it is: returns the opcode; `text` is terminated. */
static int ws_read_frame(int fd, char *text, size_t size)
{
    unsigned char head[10];
    recv_all(fd, head, 2);
    size_t len = head[1];
    if (len >= 126) {
        size_t more = len == 126 ? 2 : 8;
        recv_all(fd, head + 2, more);
        len = 0;
        for (size_t i = 0; i < more; i++)
            len = len << 8 | head[2 + i];
    }
    assert_true(len < size);
    recv_all(fd, text, len);
    text[len] = '\0';
    return head[0] & 15;
}

/* The next frame that is no ping; pings are answered, as all libraries do. */
static int ws_read(int fd, char *text, size_t size)
{
    int opcode;
    while ((opcode = ws_read_frame(fd, text, size)) == PING)
        ws_send_frame(fd, FIN | PONG, text, strlen(text));
    return opcode;
}

static void expect(int fd, const char *text)
{
    char got[8192];
    assert_int_equal(ws_read(fd, got, sizeof got), TEXT);
    assert_string_equal(got, text);
}

static void expect_close(int fd, int code)
{
    char got[8192];
    while (ws_read(fd, got, sizeof got) != CLOSE)
        ;
    assert_int_equal((unsigned char)got[0] << 8 | (unsigned char)got[1], code);
}

static void converse(int fd, const char *request, const char *reply)
{
    ws_send(fd, request);
    expect(fd, reply);
}

static const char *id_text(unsigned number)
{
    static char text[4][CLIENT_ID_TEXT];
    static int next;
    char *out = text[next++ % 4];
    client_id_format(client_id(NODE, 0, number), out);
    return out;
}

static char *with_client(const char *format, unsigned number)
{
    static char text[512];
    const char *at = strstr(format, "ID");
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - format), format, id_text(number), at + 2);
    return text;
}

static void push(struct world *w, const char *topic, unsigned client, const char *json)
{
    uint32_t count;
    size_t len = strlen(json);
    struct entry *entry = xcalloc(1, sizeof *entry + len);
    entry->msg.type = MSG_ENTRY;
    entry->gate = gates_get(w->gates, topic, strlen(topic));
    entry->client = client ? client_id(NODE, 0, client) : 0;
    entry->len = (uint32_t)len;
    memcpy(entry->json, json, len);
    assert_true(gate_enter(entry->gate, &count));
    mailbox_post(api_box(w->api), &entry->msg);
}

/* ---- HTTP ---- */

static void center_answers_on_a_kept_connection(void **state)
{
    struct world *w = *state;
    start(w);
    int fd = dial(w->center);
    const char *version = ask(fd, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_contains(version, "HTTP/1.1 200 OK\r\n");
    assert_contains(version, "\r\nContent-Type: application/json\r\n");
    assert_contains(version, "\"apis\":[\"v1\"],\"api\":[\"v1\"]");
    char nodes[256];
    snprintf(nodes, sizeof nodes,
             "{\"nodes\":[{\"id\":\"3\",\"api_server\":\"127.0.0.1:%d\","
             "\"host\":\"127.0.0.1:%d\",\"ip\":\"127.0.0.1\",\"port\":%d}]}",
             w->engine, w->engine, w->engine);
    assert_contains(ask(fd, "GET /v1/nodes HTTP/1.1\r\nHost: x\r\n\r\n"), nodes);
    close(fd);
}

static void advertised_address_is_told(void **state)
{
    struct world *w = *state;
    static char address[] = "[2001:db8::1]:7000";
    w->config.engine_api.advertise = address;
    start(w);
    int fd = dial(w->center);
    const char *nodes = ask(fd, "GET /v1/nodes HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_contains(nodes, "\"host\":\"[2001:db8::1]:7000\",\"ip\":\"2001:db8::1\",\"port\":7000");
    close(fd);
}

static void other_requests_are_refused(void **state)
{
    struct world *w = *state;
    start(w);
    int fd = dial(w->center);
    const char *text = ask(fd, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_contains(text, "HTTP/1.1 404 Not Found\r\n");
    assert_contains(text, "{\"E\":{\"c\":404,\"m\":\"no such path\"}}");
    text = ask(fd, "POST /version HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
    assert_contains(text, "HTTP/1.1 405 ");
    assert_contains(text, "\r\nAllow: GET, HEAD\r\n");
    assert_contains(ask(fd, "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"),
                    "HTTP/1.1 404 ");
    assert_contains(ask(fd, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200 ");
    assert_contains(ask(fd, "POST /version HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 411 ");
    assert_true(at_end(fd));
    close(fd);
    fd = dial(w->engine);
    assert_contains(ask(fd, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 404 ");
    assert_contains(ask(fd, "GET /ws/v1 HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 426 ");
    assert_contains(ask(fd, "GET /v1/nodes HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n"),
                    "HTTP/1.1 400 ");
    close(fd);
}

/* ---- commands over HTTP ---- */

static const char *post(int fd, const char *path, const char *body)
{
    char request[1024];
    int len = snprintf(request, sizeof request,
                       "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", path,
                       strlen(body), body);
    assert_true(len < (int)sizeof request);
    return ask(fd, request);
}

static void commands_are_taken_over_http(void **state)
{
    struct world *w = *state;
    start(w);
    int fd = dial(w->engine);
    assert_contains(post(fd, "/v1/mesh/publish", "{\"c\":\"room\",\"d\":\"hi\"}"),
                    "\r\n\r\n{\"E\":null,\"r\":{\"s\":2,\"f\":1,\"t\":3}}");
    assert_string_equal(w->mesh.last, "1 0 room|hi");
    assert_contains(post(fd, "/v1/conn/call",
                         with_client("{\"c\":\"ID\",\"f\":\"subscribe\",\"a\":[\"a\"]}", FAILS)),
                    "\r\n\r\n{\"E\":{\"c\":301,\"m\":\"too many subscriptions\"}}");
    assert_contains(post(fd, "/v1/mesh/send", with_client("{\"c\":\"ID\",\"d\":\"x\"}", GONE)),
                    "\r\n\r\n{\"E\":{\"c\":401,\"m\":\"no such client\"}}");
    assert_contains(post(fd, "/v1/mesh/send", with_client("{\"c\":\"ID\",\"d\":\"x\"}", 1)),
                    "\r\n\r\n{\"E\":null,\"r\":{\"s\":true,\"f\":0,\"t\":1}}");
    close(fd);
}

static void silent_workers_are_given_up_over_http(void **state)
{
    struct world *w = *state;
    w->api->answer_ms = 100;
    start(w);
    int fd = dial(w->engine);
    const char *batch = with_client("[{\"m\":\"mesh.publish\",\"p\":{\"c\":\"half\",\"d\":\"x\"}},"
                                    "{\"m\":\"mesh.send\",\"p\":{\"c\":\"ID\",\"d\":\"x\"}},"
                                    "{\"m\":\"server.ping\"}]",
                                    HELD);
    assert_contains(post(fd, "/v1/batch", batch),
                    "\r\n\r\n[{\"E\":null,\"r\":{\"s\":2,\"f\":1,\"t\":3}},"
                    "{\"E\":{\"c\":401,\"m\":\"the worker does not answer\"}},"
                    "{\"E\":null,\"r\":{\"s\":\"server.pong\",\"m\":\"server.pong\"}}]");
    release_all(&w->mesh);
    assert_contains(post(fd, "/v1/batch", "[]"), "\r\n\r\n[]");
    close(fd);
}

/* What has been read of it cannot be told, so that each connection gets one answer. */
static void one_request_is_taken_from_what_is_not_tcp(void **state)
{
    struct world *w = *state;
    char error[256];
    int fds[2], gets[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, gets), 0);
    assert_int_equal(api_listen(w->api, error, sizeof error), 0);
    w->api->engine.on_accept(&w->api->engine, fds[1], NULL);
    w->api->engine.on_accept(&w->api->engine, gets[1], NULL);
    api_run(w->api, &w->mesh.mesh);
    w->running = true;
    const char *text = ask(fds[0], "POST /v1/mesh/publish HTTP/1.1\r\nHost: x\r\n"
                                   "Content-Length: 16\r\n\r\n{\"c\":\"a\",\"d\":\"\"}"
                                   "POST /v1/mesh/publish HTTP/1.1\r\nHost: x\r\n"
                                   "Content-Length: 16\r\n\r\n{\"c\":\"b\",\"d\":\"\"}");
    assert_contains(text, "HTTP/1.1 200 ");
    assert_contains(text, "\r\nConnection: close\r\n");
    assert_true(at_end(fds[0]));
    assert_string_equal(w->mesh.last, "1 0 a|");
    assert_contains(ask(gets[0], "GET /v1/nodes HTTP/1.1\r\nHost: x\r\n\r\n"
                                 "POST /v1/mesh/publish HTTP/1.1\r\nHost: x\r\n"
                                 "Content-Length: 16\r\n\r\n{\"c\":\"b\",\"d\":\"\"}"),
                    "\r\nConnection: close\r\n");
    assert_true(at_end(gets[0]));
    assert_string_equal(w->mesh.last, "1 0 a|");
    close(fds[0]);
    close(gets[0]);
}

/* The engine stops while commands of one HTTP connection are out, and another is half-way. */
static void http_connections_end_with_commands_out(void **state)
{
    struct world *w = *state;
    start(w);
    int fd = dial(w->engine), half = dial(w->engine);
    const char *send = "POST /v1/mesh/send HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{";
    send_all(half, send, strlen(send));
    char body[128], request[256];
    snprintf(body, sizeof body, "%s", with_client("{\"c\":\"ID\",\"d\":\"x\"}", HELD));
    snprintf(request, sizeof request,
             "POST /v1/mesh/send HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(body), body);
    send_all(fd, request, strlen(request));
    wait_until_seen(&w->mesh, 1);
    post_plain(w, MSG_STOP);
    assert_true(at_end(fd));
    assert_true(at_end(half));
    close(fd);
    close(half);
    api_join(w->api);
    end_held(&w->mesh, command_free);
    w->running = false;
}

static void metrics_are_told(void **state)
{
    struct world *w = *state;
    start(w);
    push(w, "a\"b", 1, "[]");
    int ws = ws_dial(w), fd = dial(w->engine);
    converse(ws, "{\"method\":\"queue.consume\",\"params\":[\"x\"],\"id\":0}",
             "{\"error\":null,\"result\":{\"success\":true,\"fail\":0,\"total\":1},\"id\":0}");
    const char *text = ask(fd, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_contains(text, "\r\nContent-Type: text/plain");
    assert_contains(text, "engine_part 1\n");
    assert_contains(text, "\nmixengine_api_sockets 2\n");
    assert_contains(text, "\nmixengine_api_connections 1\n");
    assert_contains(text, "\nmixengine_api_consumers 1\n");
    assert_contains(text, "\nmixengine_topic_depth{topic=\"a\\\"b\"} 1\n");
    close(ws);
    close(fd);
}

static void users_need_their_role_and_host(void **state)
{
    struct world *w = *state;
    static char reader[] = "reader", writer[] = "writer", secret[] = "s:ecret",
                here[] = "127.*.*.*";
    w->users[0] =
        (struct config_user){.username = reader, .password = secret, .host = here, .read = true};
    w->users[1] =
        (struct config_user){.username = writer, .password = secret, .host = here, .write = true};
    w->config.users = w->users;
    w->config.user_count = 2;
    access_configure(w->api->access, &w->config);
    start(w);
    int fd = dial(w->center);
    const char *text = ask(fd, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_contains(text, "HTTP/1.1 401 ");
    assert_contains(text, "\r\nWWW-Authenticate: Basic ");
    assert_contains(ask(fd, "GET /version HTTP/1.1\r\nHost: x\r\n"
                            "Authorization: Basic cmVhZGVyOnM6ZWNyZXQ=\r\n\r\n"),
                    "HTTP/1.1 200 ");
    assert_contains(ask(fd, "GET /version HTTP/1.1\r\nHost: x\r\n"
                            "Authorization: Basic d3JpdGVyOnM6ZWNyZXQ=\r\n\r\n"),
                    "HTTP/1.1 403 ");
    close(fd);
    fd = dial(w->engine);
    assert_contains(ask(fd, "GET /ws/v1 HTTP/1.1\r\n" UPGRADE_HEAD KEY
                            "Authorization: Basic cmVhZGVyOnM6ZWNyZXQ=\r\n\r\n"),
                    "HTTP/1.1 403 ");
    close(fd);
    fd = dial(w->engine);
    assert_contains(ask(fd, "GET /ws/v1 HTTP/1.1\r\n" UPGRADE_HEAD KEY
                            "Authorization: Basic d3JpdGVyOnM6ZWNyZXQ=\r\n\r\n"),
                    "HTTP/1.1 101 ");
    close(fd);
}

static void upgrade_promises_nothing(void **state)
{
    struct world *w = *state;
    start(w);
    for (int i = 0; i < 2; i++) {
        int fd = dial(w->engine);
        const char *head =
            ask(fd, "GET /ws/v1?x=1 HTTP/1.1\r\n" UPGRADE_HEAD KEY
                    "Origin: http://127.0.0.1\r\nSec-WebSocket-Protocol: chat.v2, other\r\n"
                    "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
        assert_contains(head, "HTTP/1.1 101 ");
        assert_contains(head, "\r\nConnection: Upgrade\r\n");
        assert_contains(head, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
        assert_null(strcasestr(head, "Sec-WebSocket-Protocol"));
        assert_null(strcasestr(head, "Sec-WebSocket-Extensions"));
        converse(fd, "ping", "pong");
        close(fd);
    }
}

static void bad_handshakes_are_refused(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *request, *status;
    } cases[] = {
        {"GET /other HTTP/1.1\r\n" UPGRADE_HEAD KEY "\r\n", "HTTP/1.1 404 "},
        {"GET /ws/v1 HTTP/1.1\r\n" UPGRADE_HEAD "\r\n", "HTTP/1.1 400 "},
        {"GET /ws/v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" KEY
         "\r\n",
         "HTTP/1.1 400 "},
        {"GET /ws/v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Version: 8\r\n" KEY "\r\n",
         "HTTP/1.1 426 "},
        {"POST /ws/v1 HTTP/1.1\r\n" UPGRADE_HEAD KEY "\r\n", "HTTP/1.1 405 "},
    };
    start(w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = dial(w->engine);
        assert_contains(ask(fd, cases[i].request), cases[i].status);
        assert_true(at_end(fd));
        close(fd);
    }
}

static void origins_are_checked_when_configured(void **state)
{
    struct world *w = *state;
    static char allowed[] = "https://good.example";
    static char *origins[] = {allowed, NULL};
    w->config.engine_api.origins = origins;
    start(w);
    int fd = dial(w->engine);
    assert_contains(
        ask(fd, "GET /ws/v1 HTTP/1.1\r\n" UPGRADE_HEAD KEY "Origin: https://evil.example\r\n\r\n"),
        "HTTP/1.1 403 ");
    close(fd);
    fd = dial(w->engine);
    assert_contains(
        ask(fd, "GET /ws/v1 HTTP/1.1\r\n" UPGRADE_HEAD KEY "Origin: https://good.example\r\n\r\n"),
        "HTTP/1.1 101 ");
    close(fd);
}

static void port_in_use_is_named(void **state)
{
    struct world *w = *state;
    static struct listener other;
    assert_int_equal(listener_open(&other, &w->loop, "127.0.0.1", 0), 0);
    w->config.engine_api.listen.bind = w->config.center_api.listen.bind;
    w->config.engine_api.listen.port = address_port(&other.address);
    char error[256], expected[256];
    assert_int_equal(api_listen(w->api, error, sizeof error), UV_EADDRINUSE);
    snprintf(expected, sizeof expected,
             "engine.apiServer 127.0.0.1:%d: address already in use: "
             "stop what listens there (ss -ltnp) or choose another port",
             w->config.engine_api.listen.port);
    assert_string_equal(error, expected);
    listener_close(&other);
}

/* ---- requests ---- */

#define DONE_A(id)                                                                                 \
    "{\"error\":null,\"result\":{\"success\":true,\"fail\":0,\"total\":1},\"id\":" id "}"
#define DONE_B(id) "{\"E\":null,\"r\":{\"s\":true,\"f\":0,\"t\":1},\"i\":" id "}"

static void commands_are_answered_in_their_spelling(void **state)
{
    struct world *w = *state;
    start(w);
    int fd = ws_dial(w);
    converse(fd,
             with_client("{\"method\":\"mesh.send\",\"params\":{\"client_id\":\"ID\","
                         "\"data\":\"hi\"},\"id\":0}",
                         1),
             DONE_A("0"));
    assert_string_equal(w->mesh.last, "0 1 |hi");
    converse(fd,
             with_client("{\"m\":\"conn.call\",\"p\":[{\"c\":ID,\"f\":\"subscribe\","
                         "\"a\":{\"x\":\"room\",\"y\":7}}],\"i\":\"q\"}",
                         1),
             DONE_B("\"q\""));
    assert_string_equal(w->mesh.last, "4 1 |room|7");
    converse(fd,
             "{\"method\":\"mesh.publish\",\"params\":{\"channel\":\"c\",\"data\":\"x\"},\"id\":1}",
             "{\"error\":null,\"result\":{\"success\":true,\"fail\":1,\"total\":3},\"id\":1}");
    converse(
        fd, "{\"m\":\"mesh.publish\",\"p\":{\"c\":\"c\",\"d\":\"eA==\",\"t\":\"binary\"},\"id\":1}",
        "{\"E\":null,\"r\":{\"s\":2,\"f\":1,\"t\":3},\"i\":1}");
    converse(fd, "{\"method\":\"server.ping\",\"params\":[],\"id\":2}",
             "{\"error\":null,\"result\":{\"status\":\"server.pong\"},\"id\":2}");
    close(fd);
}

static void failures_have_their_codes(void **state)
{
    struct world *w = *state;
    start(w);
    int fd = ws_dial(w);
    converse(fd,
             with_client("{\"m\":\"mesh.send\",\"p\":{\"c\":\"ID\",\"d\":\"x\"},\"i\":1}", GONE),
             "{\"E\":{\"c\":401,\"m\":\"no such client\"},\"i\":1}");
    converse(fd, "{\"m\":\"mesh.send\",\"p\":{\"c\":\"room\",\"d\":\"x\"},\"i\":1}",
             "{\"E\":{\"c\":401,\"m\":\"no such client\"},\"i\":1}");
    converse(fd, "{\"m\":\"mesh.send\",\"p\":{\"c\":12,\"d\":\"x\"},\"i\":1}",
             "{\"E\":{\"c\":401,\"m\":\"no such client\"},\"i\":1}");
    converse(fd,
             with_client("{\"method\":\"conn.call\",\"params\":{\"client_id\":ID,\"func\":"
                         "\"subscribe\",\"args\":[\"a\"]},\"id\":1}",
                         FAILS),
             "{\"error\":{\"code\":301,\"message\":\"too many subscriptions\"},\"id\":1}");
    ws_send_frame(fd, FIN | TEXT, "", 0);
    expect(fd, "{\"error\":{\"code\":101,\"message\":\"empty frame\"},\"id\":null}");
    ws_send_frame(fd, FIN | BINARY, "{}", 2);
    expect(fd, "{\"error\":{\"code\":101,\"message\":\"a binary frame: requests are text\"},"
               "\"id\":null}");
    converse(fd, "ping", "pong");
    close(fd);
}

static void replies_keep_the_order_of_requests(void **state)
{
    struct world *w = *state;
    start(w);
    int fd = ws_dial(w);
    ws_send(fd,
            with_client("{\"m\":\"mesh.send\",\"p\":{\"c\":\"ID\",\"d\":\"x\"},\"i\":1}", HELD));
    ws_send(fd, "{\"m\":\"server.ping\",\"i\":2}");
    ws_send(fd, with_client("{\"m\":\"mesh.send\",\"p\":{\"c\":\"ID\",\"d\":\"x\"},\"i\":3}", 1));
    wait_until_seen(&w->mesh, 2);
    release_all(&w->mesh);
    expect(fd, DONE_B("1"));
    expect(fd, "{\"E\":null,\"r\":{\"s\":\"server.pong\",\"m\":\"server.pong\"},\"i\":2}");
    expect(fd, DONE_B("3"));
    close(fd);
}

static void cork(int fd, int on)
{
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on), 0);
}

static void silent_workers_are_given_up(void **state)
{
    struct world *w = *state;
    w->api->answer_ms = 100;
    start(w);
    int fd = ws_dial(w);
    /* Read in one go, so that what is known and what is not are owed together. */
    cork(fd, 1);
    ws_send(fd, "ping");
    ws_send(fd,
            with_client("{\"m\":\"mesh.send\",\"p\":{\"c\":\"ID\",\"d\":\"x\"},\"i\":1}", HELD));
    ws_send(fd, "{\"m\":\"mesh.publish\",\"p\":{\"c\":\"half\",\"d\":\"x\"},\"i\":2}");
    ws_send(fd,
            with_client("{\"m\":\"conn.call\",\"p\":{\"c\":\"ID\",\"f\":\"set_context\"},\"i\":3}",
                        HELD));
    cork(fd, 0);
    expect(fd, "pong");
    expect(fd, "{\"E\":{\"c\":401,\"m\":\"the worker does not answer\"},\"i\":1}");
    expect(fd, "{\"E\":null,\"r\":{\"s\":2,\"f\":1,\"t\":3},\"i\":2}");
    expect(fd, "{\"E\":{\"c\":301,\"m\":\"the worker does not answer\"},\"i\":3}");
    release_all(&w->mesh);
    converse(fd, "ping", "pong");
    close(fd);
}

static void outcomes_for_nobody_are_dropped(void **state)
{
    struct world *w = *state;
    start(w);
    int fd = ws_dial(w);
    ws_send(fd,
            with_client("{\"m\":\"mesh.send\",\"p\":{\"c\":\"ID\",\"d\":\"x\"},\"i\":1}", HELD));
    wait_until_seen(&w->mesh, 1);
    ws_send_frame(fd, FIN | CLOSE, "\x03\xe8", 2);
    expect_close(fd, 1000);
    assert_true(at_end(fd));
    close(fd);
    release_all(&w->mesh);
    fd = dial(w->engine);
    assert_contains(ask(fd, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
                    "\nmixengine_api_commands_in_flight 0\n");
    close(fd);
}

enum { FLOOD = 3000 };

static void *flood(void *data)
{
    int fd = *(int *)data;
    char request[256], client[CLIENT_ID_TEXT];
    client_id_format(client_id(NODE, 0, HELD), client);
    for (int i = 0; i < FLOOD; i++) {
        snprintf(request, sizeof request,
                 "{\"m\":\"mesh.send\",\"p\":{\"c\":\"%s\",\"d\":\"x\"},\"i\":%d}", client, i);
        ws_send(fd, request);
    }
    return NULL;
}

static void unanswered_commands_are_bounded(void **state)
{
    struct world *w = *state;
    w->api->answer_ms = PATIENCE_S * 1000;
    start(w);
    int fd = ws_dial(w), other = ws_dial(w);
    pthread_t sender;
    pthread_create(&sender, NULL, flood, &fd);
    pthread_join(sender, NULL);
    wait_until_seen(&w->mesh, CONSUMER_PENDING_MAX);
    /* Each of these takes the loop around, past the connection that must not be read. */
    for (int i = 0; i < 50; i++)
        converse(other, "ping", "pong");
    pthread_mutex_lock(&w->mesh.lock);
    uint32_t seen = w->mesh.seen;
    w->mesh.passing = true;
    pthread_mutex_unlock(&w->mesh.lock);
    assert_int_equal(seen, CONSUMER_PENDING_MAX);
    release_all(&w->mesh);
    for (int i = 0; i < FLOOD; i++) {
        char reply[64];
        snprintf(reply, sizeof reply, DONE_B("%d"), i);
        expect(fd, reply);
    }
    close(other);
    close(fd);
}

static void messages_are_joined_up_to_a_limit(void **state)
{
    struct world *w = *state;
    start(w);
    int fd = ws_dial(w);
    size_t len = 1 << 20;
    char *data = xmalloc(len);
    memset(data, 'x', len);
    const char *head = "{\"m\":\"mesh.publish\",\"p\":{\"c\":\"c\",\"d\":\"";
    ws_send_frame(fd, TEXT, head, strlen(head));
    for (size_t i = 0; i < len; i += 4096)
        ws_send_frame(fd, 0, data + i, 4096);
    ws_send_frame(fd, FIN, "\"},\"i\":5}", 9);
    expect(fd, "{\"E\":null,\"r\":{\"s\":2,\"f\":1,\"t\":3},\"i\":5}");
    for (int i = 0; i < 4; i++)
        ws_send_frame(fd, i == 0 ? TEXT : 0, data, len);
    ws_send_frame(fd, FIN, "x", 1);
    expect_close(fd, 1009);
    free(data);
    close(fd);
}

static void bad_frames_fail_with_their_code(void **state)
{
    struct world *w = *state;
    static const struct {
        int first;
        const char *data;
        int code;
    } cases[] = {{FIN | TEXT, "a\xc0\xaf", 1007},
                 {TEXT, "\xed\xa0\x80", 1007},
                 {FIN | 0x40 | TEXT, "{}", 1002},
                 {FIN | 3, "", 1002},
                 {FIN | 0, "x", 1002},
                 {9, "x", 1002}};
    start(w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = ws_dial(w);
        converse(fd, "{\"m\":\"queue.pop\",\"p\":[\"a\"],\"i\":0}", DONE_B("0"));
        ws_send_frame(fd, cases[i].first, cases[i].data, strlen(cases[i].data));
        push(w, "a", 1, "0");
        expect_close(fd, cases[i].code);
        assert_true(at_end(fd));
        close(fd);
    }
}

static void pings_are_answered_between_fragments(void **state)
{
    struct world *w = *state;
    char got[64];
    start(w);
    int fd = ws_dial(w);
    ws_send_frame(fd, TEXT, "pi", 2);
    ws_send_frame(fd, FIN | 9, "hello", 5);
    assert_int_equal(ws_read(fd, got, sizeof got), 10);
    assert_string_equal(got, "hello");
    ws_send_frame(fd, FIN, "ng", 2);
    expect(fd, "pong");
    close(fd);
}

/* ---- consuming ---- */

static void events_are_spelled_as_asked(void **state)
{
    struct world *w = *state;
    start(w);
    int a = ws_dial(w), b = ws_dial(w);
    push(w, "chat", 5, "{\"op\":\"auth\"}");
    converse(a, "{\"method\":\"queue.consume\",\"params\":[\"chat\",\"chat\"],\"id\":0}",
             DONE_A("0"));
    char expected[256];
    snprintf(expected, sizeof expected,
             "{\"event\":\"queue.consume\",\"result\":{\"client_id\":\"%s\",\"queue\":\"chat\","
             "\"data\":{\"op\":\"auth\"}},\"id\":null}",
             id_text(5));
    expect(a, expected);
    converse(b, "{\"m\":\"queue.pop\",\"p\":{\"t\":[\"conn\"]},\"i\":0}", DONE_B("0"));
    push(w, "conn", 0, "[1]");
    expect(b, "{\"e\":\"queue.pop\",\"p\":{\"n\":\"3\",\"c\":\"0\",\"t\":\"conn\",\"d\":[1]},"
              "\"id\":null}");
    converse(a, "{\"method\":\"queue.consume\",\"params\":[\"new\",\"chat\"],\"id\":1}",
             "{\"error\":{\"code\":202,\"message\":\"a topic is consumed already\"},\"id\":1}");
    converse(a, "{\"method\":\"queue.consume\",\"params\":[\"new\"],\"id\":1}", DONE_A("1"));
    converse(
        a, "{\"method\":\"queue.consume\",\"params\":[\"4th\",\"5th\"],\"id\":2}",
        "{\"error\":{\"code\":201,\"message\":\"too many topics: see queue.maxTopics\"},\"id\":2}");
    converse(a, "{\"method\":\"queue.unconsume\",\"params\":[],\"id\":3}", DONE_A("3"));
    converse(a, "{\"m\":\"queue.unpop\",\"p\":{},\"i\":4}",
             "{\"E\":{\"c\":203,\"m\":\"nothing is consumed\"},\"i\":4}");
    push(w, "chat", 5, "[2]");
    converse(a, "ping", "pong");
    converse(b, "{\"m\":\"queue.consume\",\"p\":[\"chat\"],\"i\":5}", DONE_B("5"));
    snprintf(expected, sizeof expected,
             "{\"e\":\"queue.consume\",\"p\":{\"n\":\"3\",\"c\":\"%s\",\"t\":\"chat\",\"d\":[2]},"
             "\"id\":null}",
             id_text(5));
    expect(b, expected);
    close(a);
    close(b);
}

static void events_come_in_order(void **state)
{
    struct world *w = *state;
    start(w);
    int fd = ws_dial(w);
    converse(fd, "{\"m\":\"queue.pop\",\"p\":[\"a\",\"b\"],\"i\":0}", DONE_B("0"));
    char json[32], expected[128];
    for (int i = 0; i < 1000; i++) {
        snprintf(json, sizeof json, "[%d]", i);
        push(w, i % 3 ? "a" : "b", 0, json);
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(expected, sizeof expected,
                 "{\"e\":\"queue.pop\",\"p\":{\"n\":\"3\",\"c\":\"0\",\"t\":\"%s\",\"d\":[%d]},"
                 "\"id\":null}",
                 i % 3 ? "a" : "b", i);
        expect(fd, expected);
    }
    close(fd);
}

enum { ENTRIES = 1500, ENTRY_BYTES = 8000, WINDOW = 512 << 10 };

/* Passes over replies. */
static int read_event_number(int fd, char *text)
{
    const char *at;
    do {
        assert_int_equal(ws_read(fd, text, ENTRY_BYTES + 256), TEXT);
        at = strstr(text, "\"d\":[");
    } while (!at);
    return atoi(at + 5);
}

static void push_numbers(struct world *w, int from, int to)
{
    char *json = xcalloc(1, ENTRY_BYTES + 256);
    memset(json, ' ', ENTRY_BYTES);
    for (int i = from; i < to; i++) {
        char number[16];
        int len = snprintf(number, sizeof number, "[%d]", i);
        memcpy(json, number, (size_t)len);
        push(w, "a", 1, json);
    }
    free(json);
}

/* A second consumer gets all but the first `lost_most` of the entries from `from` on, in order. */
static void rest_reaches_another(struct world *w, int from, int lost_most)
{
    char *text = xmalloc(ENTRY_BYTES + 256);
    int live = ws_dial(w);
    ws_send(live, "{\"m\":\"queue.pop\",\"p\":[\"a\"],\"i\":1}");
    int first = read_event_number(live, text);
    assert_in_range(first, from, from + lost_most);
    for (int i = first + 1; i < ENTRIES; i++)
        assert_int_equal(read_event_number(live, text), i);
    free(text);
    close(live);
}

/* It has never answered a ping: what it loses is what the two socket buffers hold. */
static void consumer_that_takes_nothing_is_dropped(void **state)
{
    struct world *w = *state;
    start(w);
    int small = 8192, dead = ws_dial(w);
    setsockopt(dead, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    converse(dead, "{\"m\":\"queue.pop\",\"p\":[\"a\"],\"i\":0}", DONE_B("0"));
    push_numbers(w, 0, ENTRIES);
    rest_reaches_another(w, 0, WINDOW / ENTRY_BYTES);
    close(dead);
}

/* Its kernel would take megabytes that its program never sees. */
static void what_a_dead_consumer_loses_is_bounded_by_what_it_has_read(void **state)
{
    struct world *w = *state;
    start(w);
    enum { READ = 500 };
    int large = 8 << 20, dead = ws_dial(w);
    setsockopt(dead, SOL_SOCKET, SO_RCVBUF, &large, sizeof large);
    converse(dead, "{\"m\":\"queue.pop\",\"p\":[\"a\"],\"i\":0}", DONE_B("0"));
    char *text = xmalloc(ENTRY_BYTES + 256);
    push_numbers(w, 0, READ);
    for (int i = 0; i < READ; i++)
        assert_int_equal(read_event_number(dead, text), i);
    free(text);
    push_numbers(w, READ, ENTRIES);
    rest_reaches_another(w, READ, WINDOW_MAX / ENTRY_BYTES + 1);
    close(dead);
}

/* It reads an event only now and then, for longer than the stall timeout in all. */
static void slow_consumer_stays(void **state)
{
    struct world *w = *state;
    start(w);
    int fd = ws_dial(w);
    char *text = xmalloc(ENTRY_BYTES + 256);
    converse(fd, "{\"m\":\"queue.pop\",\"p\":[\"a\"],\"i\":0}", DONE_B("0"));
    push_numbers(w, 0, ENTRIES);
    for (int i = 0; i < 60; i++) {
        assert_int_equal(read_event_number(fd, text), i);
        usleep(50000); /* the pace is what is tested: 3 s where 1 s without a sign is the end */
    }
    for (int i = 60; i < ENTRIES; i++)
        assert_int_equal(read_event_number(fd, text), i);
    free(text);
    close(fd);
}

/* ---- the end ---- */

static void drain_hands_over_what_is_there(void **state)
{
    struct world *w = *state;
    start(w);
    int fd = ws_dial(w);
    char expected[128];
    converse(fd, "{\"m\":\"queue.pop\",\"p\":[\"a\"],\"i\":0}", DONE_B("0"));
    post_plain(w, MSG_HURRY);
    converse(fd, "ping", "pong");
    assert_int_equal(try_dial(w->engine), -1);
    assert_int_equal(try_dial(w->center), -1);
    for (int i = 0; i < 100; i++)
        push(w, "a", 1, "0");
    post_plain(w, MSG_DRAIN);
    snprintf(
        expected, sizeof expected,
        "{\"e\":\"queue.pop\",\"p\":{\"n\":\"3\",\"c\":\"%s\",\"t\":\"a\",\"d\":0},\"id\":null}",
        id_text(1));
    for (int i = 0; i < 100; i++)
        expect(fd, expected);
    while (!w->drained)
        uv_run(&w->loop, UV_RUN_ONCE);
    /* Commands still work, and so does what the workers push last. */
    converse(fd, with_client("{\"m\":\"mesh.send\",\"p\":{\"c\":\"ID\",\"d\":\"x\"},\"i\":1}", 1),
             DONE_B("1"));
    push(w, "a", 1, "0");
    post_plain(w, MSG_STOP);
    expect(fd, expected);
    expect_close(fd, 1001);
    close(fd);
    api_join(w->api);
    w->running = false;
}

static void drain_ends_when_its_time_is_over(void **state)
{
    struct world *w = *state;
    w->config.stop_timeout = 0;
    start(w);
    push(w, "nobody", 1, "0");
    post_plain(w, MSG_DRAIN);
    while (!w->drained)
        uv_run(&w->loop, UV_RUN_ONCE);
    stop(w);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, prepare, finish)
    const struct CMUnitTest tests[] = {
        TEST(center_answers_on_a_kept_connection),
        TEST(advertised_address_is_told),
        TEST(other_requests_are_refused),
        TEST(commands_are_taken_over_http),
        TEST(silent_workers_are_given_up_over_http),
        TEST(one_request_is_taken_from_what_is_not_tcp),
        TEST(http_connections_end_with_commands_out),
        TEST(metrics_are_told),
        TEST(users_need_their_role_and_host),
        TEST(upgrade_promises_nothing),
        TEST(bad_handshakes_are_refused),
        TEST(origins_are_checked_when_configured),
        TEST(port_in_use_is_named),
        TEST(commands_are_answered_in_their_spelling),
        TEST(failures_have_their_codes),
        TEST(replies_keep_the_order_of_requests),
        TEST(silent_workers_are_given_up),
        TEST(outcomes_for_nobody_are_dropped),
        TEST(unanswered_commands_are_bounded),
        TEST(messages_are_joined_up_to_a_limit),
        TEST(bad_frames_fail_with_their_code),
        TEST(pings_are_answered_between_fragments),
        TEST(events_are_spelled_as_asked),
        TEST(events_come_in_order),
        TEST(consumer_that_takes_nothing_is_dropped),
        TEST(what_a_dead_consumer_loses_is_bounded_by_what_it_has_read),
        TEST(slow_consumer_stays),
        TEST(drain_hands_over_what_is_there),
        TEST(drain_ends_when_its_time_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
