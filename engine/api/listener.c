#include "api/listener.h"
#include "api/socket.h"
#include "base/log.h"
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 1024, ACCEPT_BATCH = 64, PAUSE_MS = 100 };

static void on_readable(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *pause)
{
    struct listener *listener = pause->data;
    uv_poll_start(&listener->poll, UV_READABLE, on_readable);
}

/* Out of descriptors or memory: the connection stays in the backlog, which would wake the loop at
 * once. */
static void rest(struct listener *listener, int error)
{
    if (!listener->failing)
        log_error("api", "cannot accept connections: %s", uv_strerror(error));
    listener->failing = true;
    uv_poll_stop(&listener->poll);
    uv_timer_start(&listener->pause, on_pause_over, PAUSE_MS, 0);
}

static bool is_passing(int error)
{
    return error == -EINTR || error == -ECONNABORTED || error == -EPROTO || error == -EPERM;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH && listener->open; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        int error = fd < 0 ? -errno : 0;
        if (fd >= 0) {
            listener->failing = false;
            socket_tune(fd);
            listener->on_accept(listener, fd);
        } else if (error == -EAGAIN) {
            return;
        } else if (!is_passing(error)) {
            rest(listener, error);
            return;
        }
    }
}

static int resolve(const char *bind_to, int port, struct sockaddr_storage *out, socklen_t *len)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    int error = getaddrinfo(bind_to && *bind_to ? bind_to : "0.0.0.0", service, &hints, &found);
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
    listener->fd = fd;
    listener->open = true;
    listener->poll.data = listener->pause.data = listener;
    uv_timer_init(loop, &listener->pause);
    uv_poll_start(&listener->poll, UV_READABLE, on_readable);
    return 0;
}

void listener_close(struct listener *listener)
{
    if (!listener->open)
        return;
    listener->open = false;
    uv_close((uv_handle_t *)&listener->poll, NULL);
    uv_close((uv_handle_t *)&listener->pause, NULL);
    close(listener->fd);
}
