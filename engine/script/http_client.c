#include "script/http_client.h"
#include "base/check.h"
#include <stdlib.h>
#include <sys/socket.h>

enum {
    EASY_POOL = 64,
    CACHED_CONNECTIONS = 256,
    LOOKUP_MS = 30000, /* three name servers, asked twice for five seconds each */
};

struct http_client {
    uv_loop_t *loop;
    struct wheel *wheel;
    CURLM *multi;
    uv_timer_t timer; /* libcurl's */
    struct list waiting, ghosts;
    unsigned waiting_count, running, lookups;
    size_t held;
    CURL *pool[EASY_POOL];
    unsigned pooled;
};

/* A socket of libcurl's that it wants to hear of. */
struct watched {
    uv_poll_t poll;
    struct list in_transfer;
    struct http_client *client;
    curl_socket_t fd;
};

/* A look-up that nobody waits for any more, and that still has its thread. */
struct ghost {
    struct timeout timeout;
    struct list in_ghosts;
    struct http_client *client;
};

void http_client_global_init(void)
{
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

void http_client_global_fini(void)
{
    curl_global_cleanup();
}

bool http_client_hold(struct http_client *client, size_t bytes)
{
    if (bytes > HTTP_HELD_MAX - client->held)
        return false;
    client->held += bytes;
    return true;
}

void http_client_let_go(struct http_client *client, size_t bytes)
{
    client->held -= bytes;
}

/* -- look-ups -- */

static void bury(struct ghost *ghost)
{
    wheel_clear(ghost->client->wheel, &ghost->timeout);
    list_remove(&ghost->in_ghosts);
    ghost->client->lookups--;
    free(ghost);
}

static void pump(struct http_client *client);

static void on_lookup_over(struct timeout *timeout)
{
    struct ghost *ghost = container_of(timeout, struct ghost, timeout);
    struct http_client *client = ghost->client;
    bury(ghost);
    pump(client);
}

static void abandon_lookup(struct http_client *client)
{
    struct ghost *ghost = xcalloc(1, sizeof *ghost);
    ghost->client = client;
    list_push_back(&client->ghosts, &ghost->in_ghosts);
    wheel_set(client->wheel, &ghost->timeout, LOOKUP_MS, on_lookup_over);
}

static void end_lookup(struct http_transfer *t)
{
    if (t->state != HTTP_LOOKING_UP)
        return;
    t->state = HTTP_RUNNING;
    t->client->lookups--;
}

static curl_socket_t on_open_socket(void *owner, curlsocktype purpose, struct curl_sockaddr *addr)
{
    (void)purpose;
    end_lookup(owner);
    return socket(addr->family, addr->socktype | SOCK_CLOEXEC, addr->protocol);
}

/* On a connection that was there already, too. */
static int on_connected(void *owner, char *peer, char *local, int peer_port, int local_port)
{
    (void)peer;
    (void)local;
    (void)peer_port;
    (void)local_port;
    end_lookup(owner);
    return CURL_PREREQFUNC_OK;
}

/* -- transfers -- */

static CURL *take_easy(struct http_client *client)
{
    if (client->pooled > 0)
        return client->pool[--client->pooled];
    CURL *easy = curl_easy_init();
    CHECK(easy);
    return easy;
}

void http_client_release(struct http_transfer *t)
{
    struct http_client *client = t->client;
    if (!t->easy)
        return;
    curl_easy_reset(t->easy);
    if (client->pooled < EASY_POOL)
        client->pool[client->pooled++] = t->easy;
    else
        curl_easy_cleanup(t->easy);
    t->easy = NULL;
}

/* Without QUICK_EXIT the end of a transfer would wait for its look-up. */
static void set_own_options(struct http_transfer *t)
{
    CURL *easy = t->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, t);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, t);
}

static void run(struct http_client *client, struct http_transfer *t)
{
    list_remove(&t->in_line);
    client->waiting_count--;
    client->running++;
    client->lookups += t->by_name;
    t->state = t->by_name ? HTTP_LOOKING_UP : HTTP_RUNNING;
    list_init(&t->watched);
    if (!t->easy)
        t->easy = take_easy(client);
    set_own_options(t);
    t->on_turn(t);
    CHECK(curl_multi_add_handle(client->multi, t->easy) == CURLM_OK);
}

static void pump(struct http_client *client)
{
    list_for_each(node, &client->waiting)
    {
        struct http_transfer *t = list_entry(node, struct http_transfer, in_line);
        if (client->running == HTTP_RUNNING_MAX)
            return;
        if (!t->by_name || client->lookups < HTTP_LOOKUPS_MAX)
            run(client, t);
    }
}

bool http_client_start(struct http_transfer *t)
{
    struct http_client *client = t->client;
    if (client->waiting_count == HTTP_WAITING_MAX)
        return false;
    t->state = HTTP_WAITING;
    list_push_back(&client->waiting, &t->in_line);
    client->waiting_count++;
    pump(client);
    return true;
}

/* on_done's caller sees to it that it runs. */
void http_client_go_on(struct http_transfer *t)
{
    curl_easy_reset(t->easy);
    t->state = HTTP_WAITING;
    list_push_front(&t->client->waiting, &t->in_line);
    t->client->waiting_count++;
}

static void on_unwatched(uv_handle_t *handle)
{
    free(container_of((uv_poll_t *)handle, struct watched, poll));
}

static void unwatch(struct watched *w)
{
    list_remove(&w->in_transfer);
    uv_close((uv_handle_t *)&w->poll, on_unwatched);
}

/* A socket that is still connecting libcurl closes before it says so: the descriptor may be another
 * thread's by then. */
static void unwatch_all(struct http_transfer *t)
{
    list_for_each(node, &t->watched)
    {
        struct watched *w = list_entry(node, struct watched, in_transfer);
        CHECK(curl_multi_assign(w->client->multi, w->fd, NULL) == CURLM_OK);
        unwatch(w);
    }
}

static void leave(struct http_transfer *t)
{
    struct http_client *client = t->client;
    unwatch_all(t);
    CHECK(curl_multi_remove_handle(client->multi, t->easy) == CURLM_OK);
    if (t->state == HTTP_LOOKING_UP)
        abandon_lookup(client);
    client->running--;
    t->state = HTTP_IDLE;
}

void http_client_stop(struct http_transfer *t)
{
    if (t->state == HTTP_WAITING) {
        list_remove(&t->in_line);
        t->client->waiting_count--;
        t->state = HTTP_IDLE;
    } else if (t->state != HTTP_IDLE) {
        leave(t);
        pump(t->client);
    }
}

/* -- libcurl on the loop -- */

static void reap(struct http_client *client)
{
    int left;
    for (CURLMsg *msg; (msg = curl_multi_info_read(client->multi, &left));) {
        struct http_transfer *t;
        CURLcode code = msg->data.result;
        CHECK(curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &t) == CURLE_OK);
        if (code == CURLE_COULDNT_RESOLVE_HOST)
            end_lookup(t);
        leave(t);
        t->on_done(t, code);
    }
    pump(client);
}

static void act(struct http_client *client, curl_socket_t fd, int events)
{
    int running;
    CHECK(curl_multi_socket_action(client->multi, fd, events, &running) == CURLM_OK);
    reap(client);
}

static void on_timer(uv_timer_t *timer)
{
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

/* libuv's time may be behind: a timer that is early is only set again. */
static int on_want_timer(CURLM *multi, long ms, void *data)
{
    (void)multi;
    struct http_client *client = data;
    if (ms < 0)
        uv_timer_stop(&client->timer);
    else
        CHECK(uv_timer_start(&client->timer, on_timer, (uint64_t)ms, 0) == 0);
    return 0;
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
    struct watched *w = container_of(poll, struct watched, poll);
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    flags |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
    flags |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
    act(w->client, w->fd, flags);
}

static struct watched *watch(struct http_client *client, CURL *easy, curl_socket_t fd)
{
    struct http_transfer *t;
    struct watched *w = xcalloc(1, sizeof *w);
    CHECK(curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t) == CURLE_OK);
    list_push_back(&t->watched, &w->in_transfer);
    w->client = client;
    w->fd = fd;
    CHECK(uv_poll_init(client->loop, &w->poll, fd) == 0);
    CHECK(curl_multi_assign(client->multi, fd, w) == CURLM_OK);
    return w;
}

static int on_want_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data)
{
    struct watched *w = socket_data;
    if (what == CURL_POLL_REMOVE) {
        if (w)
            unwatch(w);
        return 0;
    }
    if (!w)
        w = watch(data, easy, fd);
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    CHECK(uv_poll_start(&w->poll, events, on_socket) == 0);
    return 0;
}

/* -- life -- */

struct http_client *http_client_new(uv_loop_t *loop, struct wheel *wheel)
{
    struct http_client *client = xcalloc(1, sizeof *client);
    client->loop = loop;
    client->wheel = wheel;
    list_init(&client->waiting);
    list_init(&client->ghosts);
    CHECK(uv_timer_init(loop, &client->timer) == 0);
    client->timer.data = client;
    client->multi = curl_multi_init();
    CHECK(client->multi);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)CACHED_CONNECTIONS);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_want_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_want_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    return client;
}

static void on_freed(uv_handle_t *handle)
{
    free(handle->data);
}

void http_client_free(struct http_client *client)
{
    CHECK(client->running == 0 && list_empty(&client->waiting));
    while (client->pooled > 0)
        curl_easy_cleanup(client->pool[--client->pooled]);
    CHECK(curl_multi_cleanup(client->multi) == CURLM_OK);
    list_for_each(node, &client->ghosts) bury(list_entry(node, struct ghost, in_ghosts));
    uv_close((uv_handle_t *)&client->timer, on_freed);
}
