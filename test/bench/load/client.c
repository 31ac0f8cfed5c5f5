#include "client.h"

#include "base/check.h"
#include "base/clock.h"
#include "dial.h"
#include "dialogue.h"
#include "fatal.h"
#include "options.h"
#include "run.h"
#include "secure.h"
#include "upgrade.h"
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IN_KEEP = 16 * 1024 };

struct client *client_of(const struct group *group, uint32_t nth)
{
    return (struct client *)(group->clients + nth * group->role->size);
}

static const struct options *options_of(const struct client *client)
{
    return client->loop->run->options;
}

/* Publishers' seeds differ from those of connections with the same number. */
static uint64_t seed_of(const struct client *client)
{
    return client->index | (uint64_t)(client == client->loop->publisher) << 32;
}

static void complain(struct client *client, const char *what, const char *why)
{
    if (!client->expendable)
        loop_error(client->loop, "connection %u: %s%s", client->index, what, why);
}

/* ---- the end ---- */

static void count_end(struct client *client, enum client_state was)
{
    struct tally *tally = &client->loop->tally;
    if (was != CLIENT_OPEN) {
        client->loop->under_way--;
        tally_add(tally, COUNT_FAILED, 1);
    } else if (client->expendable)
        tally_add(tally, COUNT_SLOW_DROPPED, 1);
    else
        tally_add(tally, COUNT_DROPPED, 1);
}

static void close_socket(struct client *client)
{
    secure_free(client->tls);
    client->tls = NULL;
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
}

/* What was read stays until client_free: a handler may be looking at it. */
void client_close(struct client *client)
{
    enum client_state was = client->state;
    if (was == CLIENT_CLOSED)
        return;
    client->state = CLIENT_CLOSED;
    close_socket(client);
    count_end(client, was);
    if (was == CLIENT_OPEN && client->group->role->on_close)
        client->group->role->on_close(client);
}

void client_free(struct client *client)
{
    close_socket(client);
    if (client->group->role->fini)
        client->group->role->fini(client);
    frame_reader_free(&client->reader);
    buf_free(&client->in);
    buf_free(&client->out);
}

/* ---- writing ---- */

static void watch(struct client *client, int operation)
{
    struct epoll_event event = {.events = (client->paused ? 0 : EPOLLIN) |
                                          (client->waits_for_room ? EPOLLOUT : 0),
                                .data.ptr = client};
    CHECK(epoll_ctl(client->loop->epoll, operation, client->fd, &event) == 0);
}

static void wait_for_room(struct client *client, bool waits)
{
    if (client->waits_for_room == waits)
        return;
    client->waits_for_room = waits;
    watch(client, EPOLL_CTL_MOD);
}

/* How much of it the socket took; the connection may be closed then. */
static size_t write_some(struct client *client, const char *data, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = client->tls ? secure_send(client->tls, data + done, len - done)
                                : send(client->fd, data + done, len - done, MSG_NOSIGNAL);
        if (n > 0)
            done += (size_t)n;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR) {
            complain(client, "write: ", strerror(errno));
            client_close(client);
            break;
        }
    }
    return done;
}

void client_write(struct client *client, const char *data, size_t len)
{
    if (client->state == CLIENT_CLOSED)
        return;
    size_t done = client_is_full(client) ? 0 : write_some(client, data, len);
    if (done == len || client->state == CLIENT_CLOSED)
        return;
    buf_append(&client->out, data + done, len - done);
    wait_for_room(client, true);
}

static void flush(struct client *client)
{
    client->out_sent +=
        write_some(client, client->out.data + client->out_sent, client->out.len - client->out_sent);
    if (client->state == CLIENT_CLOSED || client_is_full(client))
        return;
    client->out.len = client->out_sent = 0;
    wait_for_room(client, false);
}

bool client_is_full(const struct client *client)
{
    return client->out.len > client->out_sent;
}

static void write_frame(struct client *client, enum ws_opcode opcode, const char *data, size_t len)
{
    struct loop *loop = client->loop;
    loop->scratch.len = 0;
    frame_write(&loop->scratch, opcode, data, len, loop_mask(loop));
    client_write(client, loop->scratch.data, loop->scratch.len);
}

void client_send(struct client *client, struct slice text, const struct template_values *values)
{
    struct buf *out = &client->loop->text;
    out->len = 0;
    template_expand(out, text, values);
    write_frame(client, options_of(client)->binary ? WS_OP_BINARY : WS_OP_TEXT,
                out->data ? out->data : "", out->len);
}

/* ---- reading ---- */

static void on_closing(struct client *client, const struct frame_item *item)
{
    tally_add(&client->loop->tally, COUNT_CLOSE_FRAMES, 1);
    const unsigned char *code = (const unsigned char *)item->data;
    if (!client->expendable && item->len >= 2)
        loop_error(client->loop, "connection %u: the server closed it: %u %.*s", client->index,
                   (unsigned)(code[0] << 8 | code[1]), (int)item->len - 2, item->data + 2);
    write_frame(client, WS_OP_CLOSE, item->data, item->len >= 2 ? 2 : 0);
    client_close(client);
}

static void on_control(struct client *client, enum frame_event event, const struct frame_item *item)
{
    if (event == FRAME_PING) {
        tally_add(&client->loop->tally, COUNT_PINGS, 1);
        write_frame(client, WS_OP_PONG, item->data, item->len);
    } else if (event == FRAME_CLOSE)
        on_closing(client, item);
    else if (event == FRAME_BAD) {
        tally_add(&client->loop->tally, COUNT_PROTOCOL_ERRORS, 1);
        loop_error(client->loop, "connection %u: protocol: %s", client->index, item->why);
        client_close(client);
    }
}

static bool answer_automatically(struct client *client, const char *data, size_t len)
{
    const struct options *options = options_of(client);
    for (size_t i = 0; i < options->auto_count; i++) {
        const struct options_auto *rule = &options->autos[i];
        if (len != rule->when.len || memcmp(data, rule->when.data, len) != 0)
            continue;
        struct template_values values = {.connection = client->index, .round = client->round};
        client_send(client, rule->answer, &values);
        return true;
    }
    return false;
}

static void on_message(struct client *client, const char *data, size_t len, uint64_t now)
{
    const struct role *role = client->group->role;
    if (answer_automatically(client, data, len))
        return;
    if (client->state == CLIENT_PREAMBLE)
        dialogue_on_preamble_message(client, (struct slice){data, len});
    else if (role->on_message)
        role->on_message(client, data, len, now);
    else
        tally_add(&client->loop->tally, COUNT_UNEXPECTED, 1);
}

static size_t take_frames(struct client *client, const char *data, size_t len)
{
    uint64_t now = clock_ns();
    size_t at = 0, used;
    while (client->state != CLIENT_CLOSED) {
        struct frame_item item;
        enum frame_event event = frame_read(&client->reader, data + at, len - at, &used, &item);
        if (event == FRAME_MORE)
            break;
        at += used;
        if (event == FRAME_MESSAGE)
            on_message(client, item.data, item.len, now);
        else
            on_control(client, event, &item);
    }
    return at;
}

static void fail_handshake(struct client *client, const char *why)
{
    tally_add(&client->loop->tally, COUNT_HANDSHAKE_ERRORS, 1);
    complain(client, "", why);
    client_close(client);
}

/* The bytes of a head that is whole, after which the preamble has begun. */
static size_t take_handshake(struct client *client, const char *data, size_t len)
{
    struct buf why = {0};
    size_t head = upgrade_head(data, len);
    if (head == 0 && len > UPGRADE_HEAD_MAX)
        fail_handshake(client, "handshake: the answer's head does not end");
    if (head == 0)
        return 0;
    const char *refused = upgrade_refused(data, head, seed_of(client), &why);
    if (refused)
        fail_handshake(client, refused);
    else
        dialogue_begin_preamble(client);
    buf_free(&why);
    return head;
}

static size_t take_bytes(struct client *client, const char *data, size_t len)
{
    size_t used = 0;
    if (client->group->role->on_bytes)
        return client->group->role->on_bytes(client, data, len);
    if (client->state == CLIENT_HANDSHAKE)
        used = take_handshake(client, data, len);
    if (client->state == CLIENT_PREAMBLE || client->state == CLIENT_OPEN)
        used += take_frames(client, data + used, len - used);
    return used;
}

/* What is not whole yet is kept for the next time. */
static void feed(struct client *client, const char *data, size_t len)
{
    struct buf *in = &client->in;
    if (in->len == 0) {
        size_t used = take_bytes(client, data, len);
        buf_append(in, data + used, len - used);
    } else {
        buf_append(in, data, len);
        buf_consume(in, take_bytes(client, in->data, in->len));
        if (in->len == 0 && in->cap > IN_KEEP)
            buf_free(in);
    }
    if (client->state == CLIENT_OPEN && client->group->role->on_read)
        client->group->role->on_read(client);
}

size_t client_read(struct client *client, size_t max)
{
    char *to = client->loop->input;
    size_t room = max < LOOP_INPUT ? max : LOOP_INPUT;
    ssize_t n = client->tls ? secure_receive(client->tls, to, room) : recv(client->fd, to, room, 0);
    if (n > 0) {
        feed(client, to, (size_t)n);
        return (size_t)n;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    const char *why = n < 0 ? strerror(errno) : "end of stream";
    if (client->state == CLIENT_HANDSHAKE)
        fail_handshake(client, why);
    complain(client, "the server ended it: ", why);
    client_close(client);
    return 0;
}

/* epoll does not know what libssl has read already. */
static void read_what_is_there(struct client *client)
{
    while (client_read(client, LOOP_INPUT) == LOOP_INPUT && client->tls)
        continue;
}

void client_pause(struct client *client)
{
    client->paused = true;
    watch(client, EPOLL_CTL_MOD);
}

void client_resume(struct client *client)
{
    client->paused = false;
    watch(client, EPOLL_CTL_MOD);
    if (client->tls)
        read_what_is_there(client);
}

/* ---- the beginning ---- */

static void fail_connect(struct client *client, int error)
{
    tally_add(&client->loop->tally, COUNT_CONNECT_ERRORS, 1);
    complain(client, "connect: ", strerror(error));
    client_close(client);
}

void client_start(struct client *client)
{
    struct loop *loop = client->loop;
    client->state = CLIENT_CONNECTING;
    client->connect_ns = clock_ns();
    loop->under_way++;
    client->fd = dial(client->group->target, loop->id, &loop->next_port, client->receive_buffer);
    if (client->fd < 0) {
        int error = -client->fd;
        client->fd = -1;
        fail_connect(client, error);
        return;
    }
    client->waits_for_room = true;
    watch(client, EPOLL_CTL_ADD);
}

static void send_upgrade(struct client *client)
{
    struct loop *loop = client->loop;
    const struct group *group = client->group;
    struct template_values values = {.connection = client->index};
    const char *path = group->target->path;
    loop->text.len = loop->scratch.len = 0;
    template_expand(&loop->text, (struct slice){path, strlen(path) + 1}, &values);
    upgrade_request(&loop->scratch, group->target->host, loop->text.data, group->headers,
                    seed_of(client));
    client_write(client, loop->scratch.data, loop->scratch.len);
}

static void begin(struct client *client)
{
    if (client->group->role->on_bytes) {
        dialogue_begin_preamble(client);
        return;
    }
    client->state = CLIENT_HANDSHAKE;
    send_upgrade(client);
}

static void shake_hands(struct client *client)
{
    int events = secure_shake(client->tls);
    wait_for_room(client, events == EPOLLOUT);
    if (events < 0)
        fail_handshake(client, "the TLS handshake failed");
    else if (events == 0)
        begin(client);
}

static void on_connected(struct client *client)
{
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error) {
        fail_connect(client, error);
        return;
    }
    wait_for_room(client, false);
    if (!client->group->target->tls) {
        begin(client);
        return;
    }
    client->state = CLIENT_SHAKING;
    client->tls = secure_new(client->fd);
    shake_hands(client);
}

void client_on_events(struct client *client, uint32_t events)
{
    if (client->state == CLIENT_CLOSED)
        return;
    if (client->state == CLIENT_CONNECTING) {
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
            on_connected(client);
        return;
    }
    if (client->state == CLIENT_SHAKING) {
        shake_hands(client);
        return;
    }
    if (events & EPOLLOUT)
        flush(client);
    if (client->state != CLIENT_CLOSED && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        read_what_is_there(client);
}
