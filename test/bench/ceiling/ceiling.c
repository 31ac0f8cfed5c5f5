/* The ceiling of a machine: a WebSocket server on bare epoll, one thread, no script, no allocation
 * for a message, no bookkeeping. It is measured beside the engine, and is no server to use: it
 * trusts that a frame fits its buffer, and its clients' memory is never given back.
 *
 *   ceiling PORT [-b] [-l]
 *
 * It echoes what it gets, but
 *   sub        joins the one channel; answered with "ok"
 *   pub:DATA   is DATA for every subscriber, from one shared frame
 * With -b the publishes of one read leave together, in one write to each subscriber; with -l too,
 * those of a whole round of epoll. Without, each publish is a write to each subscriber. */
#include "base/mem.h"
#include "proto/handshake.h"
#include "proto/ws.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    INPUT = 256 * 1024,
    FRAME_MAX = INPUT / 2,
    EVENTS = 1024,
    BACKLOG = 4096,
    MASK_LEN = 4,
};

/* Memory is held while there is something in it. */
struct bytes {
    char *data;
    uint32_t len, cap;
};

struct peer {
    int fd; /* -1: closed; the struct stays, as events of this round may name it */
    bool upgraded, subscribed;
    struct bytes in, out; /* what is not whole yet; what the socket did not take */
};

static struct {
    int epoll, listener;
    bool batch, late;
    struct peer **subscribers;
    size_t subscriber_count, subscriber_cap;
    char input[INPUT + 1], answers[2 * INPUT], published[2 * INPUT];
    size_t answers_len, published_len;
} server;

static void watch(struct peer *peer, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = peer};
    epoll_ctl(server.epoll, operation, peer->fd, &event);
}

static void bytes_drop(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}

static void bytes_add(struct bytes *bytes, const char *data, size_t len)
{
    if (bytes->len + len > bytes->cap) {
        bytes->cap = (uint32_t)(bytes->len + len) * 2;
        bytes->data = xrealloc(bytes->data, bytes->cap);
    }
    /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): none without any room has any len */
    memcpy(bytes->data + bytes->len, data, len);
    bytes->len += (uint32_t)len;
}

/* ---- peers ---- */

static void unsubscribe(const struct peer *peer)
{
    for (size_t i = 0; peer->subscribed && i < server.subscriber_count; i++)
        if (server.subscribers[i] == peer) {
            server.subscribers[i] = server.subscribers[--server.subscriber_count];
            return;
        }
}

static void subscribe(struct peer *peer)
{
    if (peer->subscribed)
        return;
    if (server.subscriber_count == server.subscriber_cap) {
        server.subscriber_cap = server.subscriber_cap ? server.subscriber_cap * 2 : 1024;
        server.subscribers =
            xrealloc(server.subscribers, server.subscriber_cap * sizeof *server.subscribers);
    }
    server.subscribers[server.subscriber_count++] = peer;
    peer->subscribed = true;
}

static void drop(struct peer *peer)
{
    unsubscribe(peer);
    close(peer->fd);
    peer->fd = -1;
    bytes_drop(&peer->in);
    bytes_drop(&peer->out);
}

static void put(struct peer *peer, const char *data, size_t len)
{
    if (peer->fd < 0)
        return;
    if (peer->out.len == 0) {
        ssize_t n = write(peer->fd, data, len);
        if (n == (ssize_t)len || (n < 0 && errno != EAGAIN))
            return;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
        watch(peer, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    bytes_add(&peer->out, data, len);
}

static void flush(struct peer *peer)
{
    struct bytes *out = &peer->out;
    ssize_t n = write(peer->fd, out->data, out->len);
    if (n > 0) {
        out->len -= (uint32_t)n;
        memmove(out->data, out->data + n, out->len);
    }
    if (out->len > 0)
        return;
    bytes_drop(out);
    watch(peer, EPOLL_CTL_MOD, EPOLLIN);
}

/* ---- messages ---- */

static size_t frame(char *to, enum ws_opcode opcode, const char *data, size_t len)
{
    size_t header = ws_header(to, opcode, len);
    memmove(to + header, data, len);
    return header + len;
}

static void answer(enum ws_opcode opcode, const char *data, size_t len)
{
    server.answers_len += frame(server.answers + server.answers_len, opcode, data, len);
}

static void flush_answers(struct peer *peer)
{
    if (server.answers_len > 0)
        put(peer, server.answers, server.answers_len);
    server.answers_len = 0;
}

static void flush_published(void)
{
    for (size_t i = 0; i < server.subscriber_count; i++)
        put(server.subscribers[i], server.published, server.published_len);
    server.published_len = 0;
}

static void on_message(struct peer *peer, enum ws_opcode opcode, const char *data, size_t len)
{
    if (len == 3 && memcmp(data, "sub", 3) == 0) {
        subscribe(peer);
        answer(WS_OP_TEXT, "ok", 2);
    } else if (len >= 4 && memcmp(data, "pub:", 4) == 0) {
        char *to = server.published + server.published_len;
        server.published_len += frame(to, opcode, data + 4, len - 4);
        if (!server.batch || server.published_len > INPUT)
            flush_published();
    } else
        answer(opcode, data, len);
}

static void unmask(char *data, size_t len, const char mask[MASK_LEN])
{
    uint64_t key, word;
    size_t i = 0;
    memcpy(&key, mask, MASK_LEN);
    memcpy((char *)&key + MASK_LEN, mask, MASK_LEN);
    for (; i + sizeof word <= len; i += sizeof word) {
        memcpy(&word, data + i, sizeof word);
        word ^= key;
        memcpy(data + i, &word, sizeof word);
    }
    for (; i < len; i++)
        data[i] ^= mask[i % MASK_LEN];
}

/* A frame's opcode and payload. Returns its length; 0: it is not whole; -1: it cannot be. */
static ssize_t take_frame(char *at, size_t len, enum ws_opcode *opcode, char **data, size_t *size)
{
    const uint8_t *bytes = (const uint8_t *)at;
    size_t extra = (bytes[1] & 127) == 126 ? 2 : (bytes[1] & 127) == 127 ? 8 : 0;
    size_t header = 2 + extra + MASK_LEN;
    if (len < header)
        return 0;
    *size = extra ? 0 : bytes[1] & 127;
    for (size_t i = 0; i < extra; i++)
        *size = *size << 8 | bytes[2 + i];
    if (!(bytes[1] & 128) || *size > FRAME_MAX)
        return -1;
    if (len - header < *size)
        return 0;
    *opcode = bytes[0] & 15;
    *data = at + header;
    unmask(*data, *size, at + header - MASK_LEN);
    return (ssize_t)(header + *size);
}

static void on_frame(struct peer *peer, enum ws_opcode opcode, const char *data, size_t len)
{
    if (opcode == WS_OP_CLOSE) {
        answer(WS_OP_CLOSE, data, len < 2 ? 0 : 2);
        flush_answers(peer);
        drop(peer);
    } else if (opcode == WS_OP_PING)
        answer(WS_OP_PONG, data, len);
    else if (opcode < WS_OP_CLOSE)
        on_message(peer, opcode, data, len);
    if (server.answers_len > INPUT)
        flush_answers(peer);
}

/* How many bytes were taken. */
static size_t take_frames(struct peer *peer, char *at, size_t len)
{
    size_t taken = 0, size;
    enum ws_opcode opcode;
    char *data;
    while (len - taken >= 2 + MASK_LEN && peer->fd >= 0) {
        ssize_t n = take_frame(at + taken, len - taken, &opcode, &data, &size);
        if (n < 0)
            drop(peer);
        if (n <= 0)
            break;
        taken += (size_t)n;
        on_frame(peer, opcode, data, size);
    }
    return taken;
}

static size_t take_upgrade(struct peer *peer, const char *at, size_t len)
{
    struct handshake handshake;
    struct buf out = {0};
    enum handshake_result result = handshake_parse(&handshake, at, len);
    if (result == HANDSHAKE_BAD)
        drop(peer);
    if (result != HANDSHAKE_OK)
        return 0;
    handshake_answer(&out, &handshake, NULL);
    put(peer, out.data, out.len);
    buf_free(&out);
    peer->upgraded = true;
    return handshake.head_len;
}

static void on_readable(struct peer *peer)
{
    size_t len = peer->in.len, taken = 0;
    memcpy(server.input, peer->in.data ? peer->in.data : "", len);
    ssize_t n = read(peer->fd, server.input + len, INPUT - len);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            drop(peer);
        return;
    }
    len += (size_t)n;
    if (!peer->upgraded)
        taken = take_upgrade(peer, server.input, len);
    if (peer->upgraded)
        taken += take_frames(peer, server.input + taken, len - taken);
    flush_answers(peer);
    if (server.published_len > 0 && !server.late)
        flush_published();
    bytes_drop(&peer->in);
    if (len > taken && peer->fd >= 0)
        bytes_add(&peer->in, server.input + taken, len - taken);
}

/* ---- the server ---- */

static void accept_all(void)
{
    int one = 1;
    for (int fd; (fd = accept4(server.listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        struct peer *peer = xcalloc(1, sizeof *peer);
        peer->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(peer, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void on_event(const struct epoll_event *event)
{
    struct peer *peer = event->data.ptr;
    if (!peer) {
        accept_all();
        return;
    }
    if (peer->fd >= 0 && event->events & EPOLLOUT)
        flush(peer);
    if (peer->fd >= 0 && event->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        on_readable(peer);
}

static bool listen_on(int port)
{
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((in_port_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN};
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(server.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(server.listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(server.listener, BACKLOG) != 0)
        return false;
    server.epoll = epoll_create1(0);
    return epoll_ctl(server.epoll, EPOLL_CTL_ADD, server.listener, &event) == 0;
}

static void raise_descriptors(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    static struct epoll_event events[EVENTS];
    for (int i = 2; i < argc; i++) {
        server.batch |= strcmp(argv[i], "-b") == 0;
        server.late |= strcmp(argv[i], "-l") == 0;
    }
    signal(SIGPIPE, SIG_IGN);
    raise_descriptors();
    if (argc < 2 || !listen_on(atoi(argv[1]))) {
        fprintf(stderr, "usage: ceiling PORT [-b] [-l]: %s\n", strerror(errno));
        return 2;
    }
    for (;;) {
        int n = epoll_wait(server.epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++)
            on_event(&events[i]);
        if (server.published_len > 0)
            flush_published();
    }
}
