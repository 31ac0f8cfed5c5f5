#include "api/door.h"
#include "api/secure.h"
#include "api/socket.h"
#include "base/address.h"
#include "base/check.h"
#include "base/mem.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct visitor {
    struct api *api;
    struct listener *listener;
    int fd;
    struct list link; /* of api->visitors */
    uv_poll_t poll;
    struct timeout due; /* of the head */
    size_t seen;        /* bytes that the socket held */
    char peer[ADDRESS_HOST];
    char *authorization; /* NULL until it has come */
};

static void on_closed(uv_handle_t *handle)
{
    struct visitor *v = handle->data;
    free(v->authorization);
    free(v);
}

static void forget(struct visitor *v)
{
    list_remove(&v->link);
    v->api->visitor_count--;
    wheel_clear(&v->api->wheel, &v->due);
    uv_close((uv_handle_t *)&v->poll, on_closed);
}

static void let_in(struct visitor *v)
{
    socket_wait_for(v->fd, 1);
    forget(v);
    api_adopt(v->api, v->listener, v->fd);
}

static void turn_away(struct visitor *v)
{
    forget(v);
    close(v->fd);
}

static void on_due(struct timeout *timeout)
{
    turn_away(container_of(timeout, struct visitor, due));
}

/* The value of the first Authorization header, NULL when there is none. */
static char *find_authorization(const char *head)
{
    static const char name[] = "\nAuthorization:";
    const char *at = strcasestr(head, name);
    if (!at)
        return NULL;
    at += sizeof name - 1;
    at += strspn(at, " \t");
    return xstrndup(at, strcspn(at, "\r\n"));
}

static bool must_wait(const struct visitor *v)
{
    return access_must_wait(v->api->access, v->authorization, v->peer);
}

/* A whole head, or the most that there can be. */
static void judge(struct visitor *v, const char *head)
{
    v->authorization = find_authorization(head);
    if (!v->authorization || !must_wait(v)) {
        let_in(v);
        return;
    }
    uv_poll_stop(&v->poll);
    wheel_clear(&v->api->wheel, &v->due);
}

/* When nothing has come beyond what was there the peer is gone, or the socket cannot be told to
 * wait for more. */
static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct visitor *v = poll->data;
    char head[API_HEAD_MAX + 1];
    ssize_t got = recv(v->fd, head, API_HEAD_MAX, MSG_PEEK | MSG_DONTWAIT);
    (void)events;
    if (got < 0 && (errno == EAGAIN || errno == EINTR) && status == 0)
        return;
    head[got > 0 ? got : 0] = '\0';
    bool more = got > 0 && (size_t)got > v->seen;
    if (more && got < API_HEAD_MAX && !strstr(head, "\r\n\r\n")) {
        v->seen = (size_t)got;
        socket_wait_for(v->fd, (int)v->seen + 1);
    } else {
        judge(v, head);
    }
}

void door_knock(struct api *api, struct listener *listener, int fd)
{
    if (!access_has_hashes(api->access) || secure_vhost(api, listener)) {
        api_adopt(api, listener, fd);
        return;
    }
    struct visitor *v = xcalloc(1, sizeof *v);
    struct sockaddr_storage peer = socket_peer(fd);
    *v = (struct visitor){.api = api, .listener = listener, .fd = fd};
    address_host(&peer, v->peer);
    list_push_back(&api->visitors, &v->link);
    api->visitor_count++;
    CHECK(uv_poll_init(&api->loop, &v->poll, fd) == 0);
    v->poll.data = v;
    CHECK(uv_poll_start(&v->poll, UV_READABLE, on_readable) == 0);
    wheel_set(&api->wheel, &v->due, (uint64_t)api->read_timeout_s * 1000, on_due);
}

void door_on_checked(void *data)
{
    struct api *api = data;
    list_for_each(node, &api->visitors)
    {
        struct visitor *v = list_entry(node, struct visitor, link);
        if (v->authorization && !must_wait(v))
            let_in(v);
    }
}

void door_close(struct api *api)
{
    list_for_each(node, &api->visitors) turn_away(list_entry(node, struct visitor, link));
}
