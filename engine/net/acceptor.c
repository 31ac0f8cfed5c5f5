#include "net/acceptor.h"
#include "base/address.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/listener.h"
#include "msg/msg.h"
#include "net/tally.h"
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ID_CHECK_MS = 20, /* how often the second is looked at before the first accept */
};

struct server {
    struct acceptor *acceptor;
    struct listener listener;
    unsigned count; /* connections */
    uint64_t refused_logged_ms, stranger_logged_ms;
};

struct acceptor {
    struct acceptor_options options;
    struct server *servers;
    int listening;  /* of the servers, the first so many */
    unsigned *load; /* connections by worker */
    unsigned total;
    bool started, full, held, stopped;
    uint64_t full_ms; /* when it was last full; 0: never */
    uint32_t bound_s;
    uv_timer_t start;
};

static void accept_or_wait(struct acceptor *a)
{
    if (a->stopped)
        return;
    for (int i = 0; i < a->listening; i++)
        listener_accept(&a->servers[i].listener, a->started && !a->full && !a->held);
}

void acceptor_hold(struct acceptor *a, bool hold)
{
    a->held = hold;
    accept_or_wait(a);
}

/* While somebody goes and somebody else comes it is full again and again: that is told once. */
static void tell_of_ceiling(struct acceptor *a)
{
    uint64_t now = uv_now(a->options.loop), before = a->full_ms;
    a->full_ms = now;
    if (!before || now - before >= LOG_EACH_MS)
        log_warn("net", "no new connections for now: %u are open; raise the limit on open files",
                 a->total);
}

/* Who comes now waits in the kernel's backlog until somebody goes. */
static void check_ceiling(struct acceptor *a)
{
    bool full = a->total >= a->options.ceiling;
    if (full == a->full)
        return;
    a->full = full;
    accept_or_wait(a);
    if (full)
        tell_of_ceiling(a);
}

static int least_loaded(const struct acceptor *a)
{
    int best = 0;
    for (int i = 1; i < a->options.worker_count; i++)
        if (a->load[i] < a->load[best])
            best = i;
    return best;
}

static void refuse(struct server *server, int fd)
{
    listener_turn_away(fd);
    if (!log_due(&server->refused_logged_ms, uv_now(server->acceptor->options.loop)))
        return;
    char at[ADDRESS_TEXT];
    address_text(&server->listener.address, at);
    log_warn("net", "server on %s has its maxConnections of %u: new connections are refused", at,
             server->count);
}

/* It would not be asked for its PROXY header, as that would not be believed. */
static bool is_stranger(const struct config_server *config, const struct sockaddr_storage *peer)
{
    return config->proxy_protocol && *config->trusted_proxies &&
           !address_in(peer, config->trusted_proxies);
}

static void refuse_stranger(struct server *server, int fd, const struct sockaddr_storage *peer)
{
    listener_turn_away(fd);
    if (!log_due(&server->stranger_logged_ms, uv_now(server->acceptor->options.loop)))
        return;
    char at[ADDRESS_TEXT], from[ADDRESS_TEXT];
    address_text(&server->listener.address, at);
    address_text(peer, from);
    log_warn("net", "server on %s refused a connection from %s, which is not in trustedProxies", at,
             from);
}

/* A reset is the answer, as an HTTP one would have to wait for the request. Behind a proxy that
 * names its client in a header the worker will know the address. */
static bool enter_tally(const struct acceptor *a, int server, const struct sockaddr_storage *peer,
                        bool *counted)
{
    const struct config_server *config = &a->options.config->servers[server];
    *counted = false;
    return config->proxy_protocol ||
           tally_enter(a->options.tallies[server], config, peer, clock_ns(), counted);
}

static void on_accept(struct listener *listener, int fd, const struct sockaddr_storage *peer)
{
    struct server *server = listener->data;
    struct acceptor *a = server->acceptor;
    int index = (int)(server - a->servers), worker = least_loaded(a);
    const struct config_server *config = &a->options.config->servers[index];
    unsigned max = config->max_connections;
    bool counted;
    if (is_stranger(config, peer)) {
        refuse_stranger(server, fd, peer);
        return;
    }
    if (max && server->count >= max) {
        refuse(server, fd);
        return;
    }
    if (!enter_tally(a, index, peer, &counted)) {
        listener_turn_away(fd);
        return;
    }
    struct msg_accepted *m = xmalloc(sizeof *m);
    *m = (struct msg_accepted){
        .msg.type = MSG_ACCEPTED, .fd = fd, .server = index, .peer = *peer, .counted = counted};
    server->count++;
    a->total++;
    a->load[worker]++;
    mailbox_post(a->options.workers[worker], &m->msg);
    check_ceiling(a);
}

void acceptor_closed(struct acceptor *a, int server, int worker)
{
    a->servers[server].count--;
    a->load[worker]--;
    a->total--;
    check_ceiling(a);
}

struct acceptor *acceptor_new(const struct acceptor_options *options)
{
    struct acceptor *a = xcalloc(1, sizeof *a);
    a->options = *options;
    a->servers = xcalloc(options->config->server_count + 1, sizeof *a->servers);
    a->load = xcalloc((size_t)options->worker_count, sizeof *a->load);
    CHECK(uv_timer_init(options->loop, &a->start) == 0);
    a->start.data = a;
    return a;
}

void acceptor_configure(struct acceptor *a, const struct config *config)
{
    a->options.config = config;
    for (size_t i = 0; i < config->server_count; i++)
        tally_configure(a->options.tallies[i], &config->servers[i]);
}

static int open_server(struct acceptor *a, int index, char *error, size_t error_size)
{
    const struct config_server *config = &a->options.config->servers[index];
    const struct config_listener *at = &config->listen;
    struct server *server = &a->servers[index];
    server->acceptor = a;
    server->listener.on_accept = on_accept;
    server->listener.data = server;
    int status = listener_open(&server->listener, a->options.loop, at->bind, at->port);
    int one = 1;
    char text[ADDRESS_TEXT + 256];
    if (status != 0) {
        listener_explain(&server->listener, status, text, sizeof text);
        snprintf(error, error_size, "servers[%d] %s", index, text);
        return status;
    }
    /* Accepted sockets inherit it. */
    (void)setsockopt(server->listener.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    a->listening++;
    address_text(&server->listener.address, text);
    log_info("net", "server listening on %s (%s)", text, config->entry);
    return 0;
}

int acceptor_listen(struct acceptor *a, char *error, size_t error_size)
{
    for (size_t i = 0; i < a->options.config->server_count; i++) {
        int status = open_server(a, (int)i, error, error_size);
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
    a->started = true;
    accept_or_wait(a);
}

void acceptor_start(struct acceptor *a)
{
    CHECK(uv_timer_start(&a->start, on_second, 0, ID_CHECK_MS) == 0);
}

void acceptor_stop(struct acceptor *a)
{
    if (a->stopped)
        return;
    a->stopped = true;
    uv_close((uv_handle_t *)&a->start, NULL);
    for (int i = 0; i < a->listening; i++)
        listener_close(&a->servers[i].listener);
}

void acceptor_free(struct acceptor *a)
{
    free(a->servers);
    free(a->load);
    free(a);
}
