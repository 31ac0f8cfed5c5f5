#include "net/acceptor.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "msg/msg.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BATCH = 64,
    BACKLOG = 4096,   /* the kernel cuts it to net.core.somaxconn */
    RETRY_MS = 100,   /* how soon a pause for want of descriptors is looked at again */
    ID_CHECK_MS = 20, /* how often the second is looked at before the first accept */
    LOG_EACH_MS = 10000,
};

struct listener {
    struct acceptor *acceptor;
    uv_poll_t poll;
    int fd, server, port;
    unsigned count; /* connections of this server */
    uint64_t refused_logged_ms;
};

struct acceptor {
    struct acceptor_options options;
    struct listener *listeners;
    int listener_count;
    unsigned *load; /* connections by worker */
    unsigned total;
    bool paused, stopped;
    uint64_t pause_logged_ms;
    uint32_t bound_s;
    uv_timer_t timer; /* start, and the end of a pause */
};

static void on_connections(uv_poll_t *poll, int status, int events);

static void watch(struct acceptor *a, bool on)
{
    for (int i = 0; i < a->listener_count; i++)
        if (on)
            CHECK(uv_poll_start(&a->listeners[i].poll, UV_READABLE, on_connections) == 0);
        else
            uv_poll_stop(&a->listeners[i].poll);
}

static void on_retry(uv_timer_t *timer)
{
    struct acceptor *a = timer->data;
    if (a->total >= a->options.ceiling)
        return;
    a->paused = false;
    uv_timer_stop(timer);
    watch(a, true);
}

/* What waits in the kernel's backlog keeps waiting, and the loop does not spin on a readable socket
 * that cannot be served. */
static void pause_accepting(struct acceptor *a, const char *why)
{
    if (a->paused)
        return;
    a->paused = true;
    watch(a, false);
    CHECK(uv_timer_start(&a->timer, on_retry, RETRY_MS, RETRY_MS) == 0);
    uint64_t now = uv_now(a->options.loop);
    if (a->pause_logged_ms && now - a->pause_logged_ms < LOG_EACH_MS)
        return;
    a->pause_logged_ms = now;
    log_warn("net", "no new connections for now: %s (%u open); raise the limit on open files", why,
             a->total);
}

static int least_loaded(const struct acceptor *a)
{
    int best = 0;
    for (int i = 1; i < a->options.worker_count; i++)
        if (a->load[i] < a->load[best])
            best = i;
    return best;
}

static void hand_over(struct listener *l, int fd, const struct sockaddr_storage *peer)
{
    struct acceptor *a = l->acceptor;
    int one = 1, worker = least_loaded(a);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct msg_accepted *m = xmalloc(sizeof *m);
    *m = (struct msg_accepted){
        .msg.type = MSG_ACCEPTED, .fd = fd, .server = l->server, .peer = *peer};
    l->count++;
    a->total++;
    a->load[worker]++;
    mailbox_post(a->options.workers[worker], &m->msg);
}

static void refuse(struct listener *l, int fd)
{
    close(fd);
    uint64_t now = uv_now(l->acceptor->options.loop);
    if (l->refused_logged_ms && now - l->refused_logged_ms < LOG_EACH_MS)
        return;
    l->refused_logged_ms = now;
    log_warn("net", "server on port %d has its maxConnections of %u: new connections are refused",
             l->port, l->count);
}

/* False when there is nothing more to accept now. */
static bool accept_one(struct listener *l)
{
    struct acceptor *a = l->acceptor;
    unsigned max = a->options.config->servers[l->server].max_connections;
    if (a->total >= a->options.ceiling) {
        pause_accepting(a, "the limit on open files is near");
        return false;
    }
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof peer;
    int fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accepting(a, strerror(errno));
        return errno == ECONNABORTED || errno == EINTR;
    }
    if (max && l->count >= max)
        refuse(l, fd);
    else
        hand_over(l, fd, &peer);
    return true;
}

static void on_connections(uv_poll_t *poll, int status, int events)
{
    (void)events;
    if (status != 0)
        return;
    for (int i = 0; i < BATCH; i++)
        if (!accept_one(poll->data))
            return;
}

static int address_of(const struct config_listener *at, struct sockaddr_storage *out)
{
    int status = uv_ip4_addr(at->bind, at->port, (struct sockaddr_in *)out);
    return status == 0 ? 0 : uv_ip6_addr(at->bind, at->port, (struct sockaddr_in6 *)out);
}

static int port_of(int fd)
{
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof at;
    CHECK(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    return at.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&at)->sin6_port)
                                    : ntohs(((struct sockaddr_in *)&at)->sin_port);
}

static int listen_on(const struct config_listener *at)
{
    struct sockaddr_storage address = {0};
    if (address_of(at, &address) != 0)
        return -EINVAL;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0)
        return -errno;
    socklen_t len =
        address.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, BACKLOG) != 0) {
        int status = -errno;
        close(fd);
        return status;
    }
    return fd;
}

static const char *remedy(int status)
{
    switch (status) {
    case -EADDRINUSE:
        return "stop what listens there (ss -ltnp) or choose another port";
    case -EACCES:
        return "ports below 1024 need root or CAP_NET_BIND_SERVICE; choose another port";
    case -EADDRNOTAVAIL:
    case -EINVAL:
        return "bind must be an address of this machine, 0.0.0.0 or ::";
    default:
        return "check port and bind";
    }
}

static int open_listener(struct acceptor *a, int server, char *error, size_t error_size)
{
    const struct config_listener *at = &a->options.config->servers[server].listen;
    int fd = listen_on(at);
    if (fd < 0) {
        snprintf(error, error_size, "servers[%d] %s:%d: %s: %s", server, at->bind, at->port,
                 strerror(-fd), remedy(fd));
        return fd;
    }
    struct listener *l = &a->listeners[server];
    *l = (struct listener){.acceptor = a, .fd = fd, .server = server, .port = port_of(fd)};
    CHECK(uv_poll_init(a->options.loop, &l->poll, fd) == 0);
    l->poll.data = l;
    a->listener_count++;
    log_info("net", "server listening on %s:%d (%s)", at->bind, l->port,
             a->options.config->servers[server].entry);
    return 0;
}

struct acceptor *acceptor_new(const struct acceptor_options *options)
{
    struct acceptor *a = xcalloc(1, sizeof *a);
    a->options = *options;
    a->listeners = xcalloc(options->config->server_count + 1, sizeof *a->listeners);
    a->load = xcalloc((size_t)options->worker_count, sizeof *a->load);
    CHECK(uv_timer_init(options->loop, &a->timer) == 0);
    a->timer.data = a;
    return a;
}

int acceptor_listen(struct acceptor *a, char *error, size_t error_size)
{
    for (size_t i = 0; i < a->options.config->server_count; i++) {
        int status = open_listener(a, (int)i, error, error_size);
        if (status != 0)
            return status;
    }
    a->bound_s = clock_epoch_s();
    return 0;
}

uint32_t acceptor_not_before(const struct acceptor *a)
{
    return a->bound_s + 1;
}

static void on_second(uv_timer_t *timer)
{
    struct acceptor *a = timer->data;
    if (clock_epoch_s() < acceptor_not_before(a))
        return;
    uv_timer_stop(timer);
    watch(a, true);
}

void acceptor_start(struct acceptor *a)
{
    CHECK(uv_timer_start(&a->timer, on_second, 0, ID_CHECK_MS) == 0);
}

int acceptor_port(const struct acceptor *a, int server)
{
    return a->listeners[server].port;
}

void acceptor_closed(struct acceptor *a, int server, int worker)
{
    a->listeners[server].count--;
    a->load[worker]--;
    a->total--;
}

void acceptor_stop(struct acceptor *a)
{
    if (a->stopped)
        return;
    a->stopped = true;
    uv_close((uv_handle_t *)&a->timer, NULL);
    for (int i = 0; i < a->listener_count; i++) {
        uv_close((uv_handle_t *)&a->listeners[i].poll, NULL);
        close(a->listeners[i].fd);
    }
}

void acceptor_free(struct acceptor *a)
{
    free(a->listeners);
    free(a->load);
    free(a);
}
