/* Bytes of a PROXY header are looked at before they are taken (MSG_PEEK): while the parser wants
 * more, all of them are the header's, and once it knows where the header ends, the rest stays in
 * the socket. */
#include "net/preface.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "loop/listener.h"
#include "proto/proxy_header.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    LINGER_MS = 1000,
    HANDSHAKES_NS = 250000, /* a turn's share, which one handshake may exceed */
};

static const char BROKEN[] = "it was reset before its PROXY header";

struct preface {
    struct prefaces *prefaces;
    struct list in_all;
    uv_poll_t poll;
    struct timeout timer;
    struct msg_accepted *accepted;
    struct preface_counters *counters;
    void (*stage)(struct preface *preface); /* the socket is ready for it */
    struct buf head;                        /* of the header, as far as it was taken */
    const char *late;                       /* what is wrong when the time is over */
    char why[128];                          /* while it lingers */
};

static void on_poll_closed(uv_handle_t *handle)
{
    struct preface *preface = handle->data;
    buf_free(&preface->head);
    free(preface);
}

void preface_give_up(struct msg_accepted *accepted, bool refused)
{
    SSL_free(accepted->tls);
    accepted->tls = NULL;
    if (refused)
        listener_turn_away(accepted->fd);
    else
        close(accepted->fd);
}

static void finish(struct preface *preface, const char *why)
{
    struct prefaces *prefaces = preface->prefaces;
    struct msg_accepted *accepted = preface->accepted;
    list_remove(&preface->in_all);
    wheel_clear(prefaces->wheel, &preface->timer);
    /* From here on the loop knows nothing of the descriptor: it may go to another handle. */
    uv_close((uv_handle_t *)&preface->poll, on_poll_closed);
    if (why)
        preface_give_up(accepted, !*why);
    prefaces->on_done(prefaces->owner, accepted, why);
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void wait_for(struct preface *preface, int events)
{
    CHECK(uv_poll_start(&preface->poll, events, on_ready) == 0);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct preface *preface = poll->data;
    (void)events;
    if (status < 0) /* libuv polls no more; reading tells why, perhaps in a later turn */
        wait_for(preface, UV_READABLE);
    preface->stage(preface);
}

/* ---- the end of what is no TLS: closing on unread bytes would destroy the alert ---- */

static void discard(struct preface *preface)
{
    char scratch[4096];
    ssize_t len = recv(preface->accepted->fd, scratch, sizeof scratch, 0);
    if (len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR))
        finish(preface, preface->why);
}

static void on_linger_over(struct timeout *timeout)
{
    struct preface *preface = container_of(timeout, struct preface, timer);
    finish(preface, preface->why);
}

static void linger(struct preface *preface)
{
    struct prefaces *prefaces = preface->prefaces;
    preface->stage = discard;
    shutdown(preface->accepted->fd, SHUT_WR);
    wait_for(preface, UV_READABLE);
    wheel_clear(prefaces->wheel, &preface->timer);
    wheel_set(prefaces->wheel, &preface->timer, LINGER_MS, on_linger_over);
}

/* ---- the handshake ---- */

static void explain(struct preface *preface, int error)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    if (error == SSL_ERROR_SYSCALL || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        text = "it was cut off";
    else if (reason == SSL_R_HTTP_REQUEST || reason == SSL_R_WRONG_VERSION_NUMBER)
        text = "it does not speak TLS";
    snprintf(preface->why, sizeof preface->why, "its TLS handshake failed: %s",
             text ? text : "no more is known");
}

static void fail(struct preface *preface, int error)
{
    counter_add(&preface->counters->failures, 1);
    explain(preface, error);
    linger(preface);
}

static void go_on(struct preface *preface, int status)
{
    int error = SSL_get_error(preface->accepted->tls, status);
    if (error == SSL_ERROR_NONE) {
        counter_add(&preface->counters->handshakes, 1);
        finish(preface, NULL);
    } else if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        wait_for(preface, error == SSL_ERROR_WANT_READ ? UV_READABLE : UV_WRITABLE);
    } else {
        fail(preface, error);
    }
}

/* Where the turn's share is used up the socket stays ready, and is met again in the next. */
static void shake_hands(struct preface *preface)
{
    struct prefaces *prefaces = preface->prefaces;
    if (prefaces->shaken_ns >= HANDSHAKES_NS)
        return;
    uint64_t since = clock_ns();
    ERR_clear_error();
    go_on(preface, SSL_accept(preface->accepted->tls));
    prefaces->shaken_ns += clock_ns() - since;
}

static void begin_handshake(struct preface *preface)
{
    preface->stage = shake_hands;
    preface->late = "its TLS handshake did not end in time";
}

/* ---- the PROXY header ---- */

static void header_over(struct preface *preface)
{
    struct prefaces *prefaces = preface->prefaces;
    if (!prefaces->on_peer(prefaces->owner, preface->accepted))
        finish(preface, "");
    else if (preface->accepted->tls)
        begin_handshake(preface);
    else
        finish(preface, NULL);
}

/* What was looked at, and is still in the socket. */
static bool take(const struct preface *preface, size_t len)
{
    char taken[PROXY_HEADER_MAX];
    return recv(preface->accepted->fd, taken, len, 0) == (ssize_t)len;
}

/* `len` bytes at the end of the head are new, and still in the socket. */
static void judge(struct preface *preface, size_t len)
{
    struct proxy_header header;
    size_t before = preface->head.len - len;
    enum proxy_header_result result =
        proxy_header_parse(&header, preface->head.data, preface->head.len);
    if (result == PROXY_HEADER_BAD) {
        finish(preface, header.why);
    } else if (!take(preface, result == PROXY_HEADER_OK ? header.len - before : len)) {
        finish(preface, BROKEN);
    } else if (result == PROXY_HEADER_OK) {
        if (header.source.ss_family != AF_UNSPEC)
            preface->accepted->peer = header.source;
        header_over(preface);
    }
}

static void read_header(struct preface *preface)
{
    size_t room = PROXY_HEADER_MAX - preface->head.len;
    char *end = buf_reserve(&preface->head, room);
    ssize_t len = recv(preface->accepted->fd, end, room, MSG_PEEK);
    if (len > 0) {
        preface->head.len += (size_t)len;
        judge(preface, (size_t)len);
    } else if (len == 0) {
        finish(preface, "it was ended before its PROXY header");
    } else if (errno != EAGAIN && errno != EINTR) {
        finish(preface, BROKEN);
    }
}

static void begin_header(struct preface *preface)
{
    preface->stage = read_header;
    preface->late = "its PROXY header did not come in time";
}

/* ---- life ---- */

static void on_timeout(struct timeout *timeout)
{
    struct preface *preface = container_of(timeout, struct preface, timer);
    if (preface->stage == shake_hands)
        counter_add(&preface->counters->failures, 1);
    finish(preface, preface->late);
}

static SSL *new_tls(SSL_CTX *context, int fd)
{
    SSL *tls = SSL_new(context);
    CHECK(tls && SSL_set_fd(tls, fd) == 1);
    return tls;
}

void preface_open(struct prefaces *prefaces, struct msg_accepted *accepted,
                  const struct preface_terms *terms)
{
    struct preface *preface = xcalloc(1, sizeof *preface);
    preface->prefaces = prefaces;
    preface->accepted = accepted;
    preface->counters = terms->counters;
    preface->poll.data = preface;
    list_push_back(&prefaces->all, &preface->in_all);
    if (terms->tls)
        accepted->tls = new_tls(terms->tls, accepted->fd);
    if (terms->proxy)
        begin_header(preface);
    else
        begin_handshake(preface);
    CHECK(uv_poll_init(prefaces->loop, &preface->poll, accepted->fd) == 0);
    wait_for(preface, UV_READABLE);
    wheel_set(prefaces->wheel, &preface->timer, terms->timeout_ms, on_timeout);
}

void prefaces_init(struct prefaces *prefaces, uv_loop_t *loop, struct wheel *wheel,
                   preface_peer *on_peer, preface_done *on_done, void *owner)
{
    *prefaces = (struct prefaces){
        .loop = loop, .wheel = wheel, .on_peer = on_peer, .on_done = on_done, .owner = owner};
    list_init(&prefaces->all);
}

void prefaces_turn(struct prefaces *prefaces)
{
    prefaces->shaken_ns = 0;
}

void prefaces_drop(struct prefaces *prefaces, const char *why)
{
    list_for_each(node, &prefaces->all) finish(list_entry(node, struct preface, in_all), why);
}
