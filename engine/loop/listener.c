#include "loop/listener.h"
#include "base/address.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BACKLOG = 4096, /* the kernel cuts it to net.core.somaxconn */
    BATCH = 64,
    PAUSE_MS = 100,
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

static const char *remedy(int error)
{
    switch (error) {
    case -EMFILE:
        return "raise the limit on open files";
    case -ENFILE:
        return "raise the system's limit on open files (fs.file-max)";
    default:
        return "the system must give it more memory";
    }
}

/* A connection that stays in the backlog would wake the loop at once. */
static void rest(struct listener *listener, int error)
{
    if (log_due(&listener->logged_ms, uv_now(listener->poll.loop))) {
        char at[ADDRESS_TEXT];
        address_text(&listener->address, at);
        log_warn("net", "no new connections on %s for now: %s; %s", at, uv_strerror(error),
                 remedy(error));
    }
    watch(listener, false);
    CHECK(uv_timer_start(&listener->pause, on_pause_over, PAUSE_MS, 0) == 0);
}

/* The connection is gone, or never came to be: Linux tells what was wrong with it (accept(2)). */
static bool is_passing(int error)
{
    switch (error) {
    case -EINTR:
    case -ECONNABORTED:
    case -EPERM:
    case -EPROTO:
    case -ENOPROTOOPT:
    case -EOPNOTSUPP:
    case -ENETDOWN:
    case -ENETUNREACH:
    case -EHOSTDOWN:
    case -EHOSTUNREACH:
    case -ENONET:
        return true;
    default:
        return false;
    }
}

/* False when there is nothing more to accept now. */
static bool accept_one(struct listener *listener)
{
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof peer;
    int fd = accept4(listener->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int error = fd < 0 ? -errno : 0;
    address_of_peer(&peer);
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

static int port_options(int fd, const struct sockaddr_storage *at)
{
    int yes = 1, no = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        (at->ss_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no) != 0))
        return -errno;
    return 0;
}

/* -EADDRINUSE when somebody listens there, -ECONNREFUSED when nobody does. */
static int ask(const struct sockaddr_storage *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int error = connect(fd, (const struct sockaddr *)at, address_len(at)) == 0 ? 0 : -errno;
    close(fd);
    return error == 0 || error == -EAGAIN ? -EADDRINUSE : error;
}

/* Removes what a process that was killed has left. Nothing else: not a file of another kind, not a
 * socket in use. */
static int remove_stale(const struct sockaddr_storage *at, const char *path)
{
    struct stat file;
    if (lstat(path, &file) != 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(file.st_mode))
        return -EEXIST;
    int error = ask(at);
    if (error != -ECONNREFUSED)
        return error;
    return unlink(path) == 0 ? 0 : -errno;
}

/* Returns a descriptor or a negative errno. */
static int bind_port(const struct sockaddr_storage *at)
{
    int fd = socket(at->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error = fd < 0 ? -errno : port_options(fd, at);
    if (!error && bind(fd, (const struct sockaddr *)at, address_len(at)) != 0)
        error = -errno;
    if (error && fd >= 0)
        close(fd);
    return error ? error : fd;
}

/* What was bound while the process might, each until a listener takes it. */
static struct reserved {
    char *bind;
    int port, fd;
} * reserved;
static size_t reserved_count;

int listener_reserve(const char *bind_to, int port, char *error, size_t error_size)
{
    struct listener refused = {0};
    if (address_path(bind_to))
        return 0;
    CHECK(address_from_bind(&refused.address, bind_to, port));
    int fd = bind_port(&refused.address);
    if (fd < 0) {
        listener_explain(&refused, fd, error, error_size);
        return fd;
    }
    reserved = xrealloc(reserved, (reserved_count + 1) * sizeof *reserved);
    reserved[reserved_count++] = (struct reserved){xstrdup(bind_to), port, fd};
    return 0;
}

/* -1: there is none. */
static int take_reserved(const char *bind_to, int port)
{
    for (size_t i = 0; i < reserved_count; i++) {
        struct reserved found = reserved[i];
        if (found.port != port || strcmp(found.bind, bind_to) != 0)
            continue;
        reserved[i] = reserved[--reserved_count];
        free(found.bind);
        return found.fd;
    }
    return -1;
}

/* Returns a descriptor or a negative errno. */
static int open_port(struct sockaddr_storage *at, const char *bind_to, int port)
{
    socklen_t len = sizeof *at;
    int fd = take_reserved(bind_to, port);
    if (fd < 0)
        fd = bind_port(at);
    if (fd < 0)
        return fd;
    if (listen(fd, BACKLOG) == 0 && getsockname(fd, (struct sockaddr *)at, &len) == 0)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

static int listen_at_path(struct listener *listener, int fd, const char *path)
{
    struct stat file;
    struct sockaddr_storage *at = &listener->address;
    int error = remove_stale(at, path);
    if (error)
        return error;
    if (bind(fd, (struct sockaddr *)at, address_len(at)) != 0 || listen(fd, BACKLOG) != 0 ||
        lstat(path, &file) != 0)
        return -errno;
    listener->device = file.st_dev;
    listener->inode = file.st_ino;
    return 0;
}

/* Returns a descriptor or a negative errno. */
static int open_path(struct listener *listener, const char *path)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error = fd < 0 ? -errno : listen_at_path(listener, fd, path);
    if (error && fd >= 0)
        close(fd);
    return error ? error : fd;
}

int listener_open(struct listener *listener, uv_loop_t *loop, const char *bind_to, int port)
{
    const char *path = address_path(bind_to);
    if (!address_from_bind(&listener->address, bind_to, port))
        return -EINVAL;
    int fd = path ? open_path(listener, path) : open_port(&listener->address, bind_to, port);
    if (fd < 0)
        return fd;
    int error = uv_poll_init(loop, &listener->poll, fd);
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

void listener_turn_away(int fd)
{
    const struct linger at_once = {.l_onoff = 1};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

static const char *path_of(const struct listener *listener, char text[ADDRESS_TEXT])
{
    address_text(&listener->address, text);
    return address_path(text);
}

/* Another process may have put its own in place of a file that somebody removed. */
static void remove_own_file(const struct listener *listener)
{
    char text[ADDRESS_TEXT];
    struct stat file;
    const char *path = path_of(listener, text);
    if (path && lstat(path, &file) == 0 && file.st_dev == listener->device &&
        file.st_ino == listener->inode)
        (void)!unlink(path);
}

void listener_close(struct listener *listener)
{
    if (!listener->open)
        return;
    listener->open = listener->accepting = false;
    uv_close((uv_handle_t *)&listener->poll, NULL);
    uv_close((uv_handle_t *)&listener->pause, NULL);
    remove_own_file(listener);
    close(listener->fd);
}

static const char *path_remedy(int status)
{
    switch (status) {
    case -EADDRINUSE:
        return "stop what listens there (ss -lxp) or choose another path";
    case -EEXIST:
        return "it is no socket: remove it or choose another path";
    case -ENOENT:
        return "make its folder first";
    case -EACCES:
        return "choose a folder in which this user may write, and a socket that it may use";
    default:
        return "choose another path";
    }
}

static const char *port_remedy(int status)
{
    switch (status) {
    case -EADDRINUSE:
        return "stop what listens there (ss -ltnp) or choose another port";
    case -EACCES:
        return "choose a port above 1023, give the program CAP_NET_BIND_SERVICE, or start it as "
               "root "
               "with the key 'user'";
    case -EADDRNOTAVAIL:
        return "choose an address of this machine, 0.0.0.0 or ::";
    case -EAFNOSUPPORT:
        return "this machine has no IPv6: choose an IPv4 address, as 0.0.0.0";
    default:
        return "choose another address or port";
    }
}

void listener_explain(const struct listener *listener, int status, char *text, size_t size)
{
    char at[ADDRESS_TEXT];
    const char *remedy = path_of(listener, at) ? path_remedy(status) : port_remedy(status);
    snprintf(text, size, "%s: %s: %s", at, uv_strerror(status), remedy);
}
