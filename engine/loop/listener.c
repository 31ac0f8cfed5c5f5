#include "loop/listener.h"
#include "base/check.h"
#include "base/log.h"
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    BACKLOG = 4096, /* the kernel cuts it to net.core.somaxconn */
    BATCH = 64,
    PAUSE_MS = 100,
    LOG_EACH_MS = 10000,
};

static void on_readable(uv_poll_t *poll, int status, int events);

static void watch(struct listener *listener, bool on)
{
    if (on)
        CHECK(uv_poll_start(&listener->poll, UV_READABLE, on_readable) == 0);
    else
        uv_poll_stop(&listener->poll);
}

static void on_pause_over(uv_timer_t *pause)
{
    struct listener *listener = pause->data;
    watch(listener, listener->accepting);
}

/* A connection that stays in the backlog would wake the loop at once. */
static void rest(struct listener *listener, int error)
{
    uint64_t now = uv_now(listener->poll.loop);
    if (listener->failed_ms == 0 || now - listener->failed_ms >= LOG_EACH_MS) {
        log_warn("net", "no new connections on port %d for now: %s; raise the limit on open files",
                 listener_port(listener), uv_strerror(error));
        listener->failed_ms = now;
    }
    watch(listener, false);
    CHECK(uv_timer_start(&listener->pause, on_pause_over, PAUSE_MS, 0) == 0);
}

static bool is_passing(int error)
{
    return error == -EINTR || error == -ECONNABORTED || error == -EPROTO || error == -EPERM;
}

/* False when there is nothing more to accept now. */
static bool accept_one(struct listener *listener)
{
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof peer;
    int fd = accept4(listener->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int error = fd < 0 ? -errno : 0;
    if (fd >= 0)
        listener->on_accept(listener, fd, &peer);
    else if (error != -EAGAIN && !is_passing(error))
        rest(listener, error);
    return fd >= 0 || is_passing(error);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < BATCH && listener->accepting && accept_one(listener); i++)
        continue;
}

static int resolve(const char *bind_to, int port, struct sockaddr_storage *out, socklen_t *len)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    int error = getaddrinfo(bind_to, service, &hints, &found);
    if (error != 0)
        return error == EAI_MEMORY ? -ENOMEM : -EADDRNOTAVAIL;
    memcpy(out, found->ai_addr, found->ai_addrlen);
    *len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static int bind_and_listen(int fd, struct sockaddr_storage *address, socklen_t len)
{
    int yes = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, (struct sockaddr *)address, len) != 0 || listen(fd, BACKLOG) != 0)
        return -errno;
    len = sizeof *address;
    return getsockname(fd, (struct sockaddr *)address, &len) == 0 ? 0 : -errno;
}

int listener_open(struct listener *listener, uv_loop_t *loop, const char *bind_to, int port)
{
    socklen_t len;
    int error = resolve(bind_to, port, &listener->address, &len);
    if (error)
        return error;
    int fd = socket(listener->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    error = bind_and_listen(fd, &listener->address, len);
    if (!error)
        error = uv_poll_init(loop, &listener->poll, fd);
    if (error) {
        close(fd);
        return error;
    }
    CHECK(uv_timer_init(loop, &listener->pause) == 0);
    listener->fd = fd;
    listener->open = true;
    listener->poll.data = listener->pause.data = listener;
    return 0;
}

void listener_accept(struct listener *listener, bool on)
{
    if (!listener->open || listener->accepting == on)
        return;
    listener->accepting = on;
    uv_timer_stop(&listener->pause);
    watch(listener, on);
}

int listener_port(const struct listener *listener)
{
    const struct sockaddr_storage *at = &listener->address;
    return ntohs(at->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)at)->sin6_port
                                           : ((const struct sockaddr_in *)at)->sin_port);
}

void listener_close(struct listener *listener)
{
    if (!listener->open)
        return;
    listener->open = listener->accepting = false;
    uv_close((uv_handle_t *)&listener->poll, NULL);
    uv_close((uv_handle_t *)&listener->pause, NULL);
    close(listener->fd);
}

const char *listener_remedy(int status)
{
    switch (status) {
    case -EADDRINUSE:
        return "stop what listens there (ss -ltnp) or choose another port";
    case -EACCES:
        return "choose a port above 1023, or give the program CAP_NET_BIND_SERVICE";
    case -EADDRNOTAVAIL:
        return "choose an address of this machine, 0.0.0.0 or ::";
    default:
        return "choose another address or port";
    }
}
