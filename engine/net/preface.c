/* Bytes are looked at before they are taken (MSG_PEEK): while the parser wants more, all of them
 * are the header's, and once it knows where the header ends, the rest stays in the socket. */
#include "net/preface.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "proto/proxy_header.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const char BROKEN[] = "it was reset before its PROXY header";

struct preface {
    struct prefaces *prefaces;
    struct list in_all;
    uv_poll_t poll;
    struct timeout timer;
    struct msg_accepted *accepted;
    struct buf head; /* of the header, as far as it was taken */
};

static void on_poll_closed(uv_handle_t *handle)
{
    struct preface *preface = handle->data;
    buf_free(&preface->head);
    free(preface);
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
        close(accepted->fd);
    prefaces->on_done(prefaces->owner, accepted, why);
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
        finish(preface, NULL);
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct preface *preface = poll->data;
    size_t room = PROXY_HEADER_MAX - preface->head.len;
    (void)status; /* recv tells more */
    (void)events;
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

static void on_timeout(struct timeout *timeout)
{
    finish(container_of(timeout, struct preface, timer), "its PROXY header did not come in time");
}

void preface_open(struct prefaces *prefaces, struct msg_accepted *accepted, uint64_t timeout_ms)
{
    struct preface *preface = xcalloc(1, sizeof *preface);
    preface->prefaces = prefaces;
    preface->accepted = accepted;
    preface->poll.data = preface;
    list_push_back(&prefaces->all, &preface->in_all);
    CHECK(uv_poll_init(prefaces->loop, &preface->poll, accepted->fd) == 0);
    CHECK(uv_poll_start(&preface->poll, UV_READABLE, on_readable) == 0);
    wheel_set(prefaces->wheel, &preface->timer, timeout_ms, on_timeout);
}

void prefaces_init(struct prefaces *prefaces, uv_loop_t *loop, struct wheel *wheel,
                   preface_done *on_done, void *owner)
{
    *prefaces = (struct prefaces){loop, wheel, on_done, owner, {0}};
    list_init(&prefaces->all);
}

void prefaces_drop(struct prefaces *prefaces, const char *why)
{
    list_for_each(node, &prefaces->all) finish(list_entry(node, struct preface, in_all), why);
}
