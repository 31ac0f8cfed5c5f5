#include "base/check.h"
#include "base/mem.h"
#include "net/transport.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* One at a time, as a shutdown comes when all is written. Made when first needed: most connections
 * never have a write that waits. */
union request {
    uv_write_t write;
    uv_shutdown_t shutdown;
};

static struct transport_tcp *self(struct transport *t)
{
    return container_of(t, struct transport_tcp, transport);
}

static uv_stream_t *stream(struct transport *t)
{
    return (uv_stream_t *)&self(t)->tcp;
}

static struct transport *of_handle(void *handle)
{
    return &container_of((uv_tcp_t *)handle, struct transport_tcp, tcp)->transport;
}

static union request *request_of(struct transport *t)
{
    uv_tcp_t *tcp = &self(t)->tcp;
    if (!tcp->data)
        tcp->data = xmalloc(sizeof(union request));
    return tcp->data;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct transport *t = of_handle(handle);
    *buf = t->events->on_room(t->owner);
}

static void on_full_read(struct transport *t, const uv_buf_t *buf)
{
    uint64_t begun_ns = uv_hrtime();
    t->events->on_bytes(t->owner, buf->base, buf->len);
    t->events->on_full(t->owner, uv_hrtime() - begun_ns);
}

static void on_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buf)
{
    struct transport *t = of_handle(handle);
    if (n > 0 && (size_t)n == buf->len)
        on_full_read(t, buf);
    else if (n > 0)
        t->events->on_bytes(t->owner, buf->base, (size_t)n);
    else if (n < 0)
        t->events->on_end(t->owner, (int)n);
}

static int read_start(struct transport *t)
{
    return uv_read_start(stream(t), on_alloc, on_read);
}

static void read_stop(struct transport *t)
{
    uv_read_stop(stream(t));
}

static ssize_t try_write(struct transport *t, const uv_buf_t *bufs, unsigned count)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)bufs, .msg_iovlen = count};
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&self(t)->tcp, &fd) != 0)
        return UV_EBADF;
    ssize_t n;
    do
        n = count == 1 ? send(fd, bufs->base, bufs->len, MSG_NOSIGNAL)
                       : sendmsg(fd, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return n;
    return errno == EWOULDBLOCK || errno == ENOBUFS ? UV_EAGAIN : uv_translate_sys_error(errno);
}

static void on_write(uv_write_t *req, int status)
{
    struct transport *t = of_handle(req->handle);
    if (status != UV_ECANCELED)
        t->events->on_written(t->owner, status);
}

static int write_all(struct transport *t, const uv_buf_t *bufs, unsigned count)
{
    return uv_write(&request_of(t)->write, stream(t), bufs, count, on_write);
}

static size_t unwritten(const struct transport *t)
{
    const struct transport_tcp *tcp = container_of(t, const struct transport_tcp, transport);
    return uv_stream_get_write_queue_size((const uv_stream_t *)&tcp->tcp);
}

static size_t held(const struct transport *t)
{
    (void)t;
    return 0;
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct transport *t = of_handle(req->handle);
    if (status != UV_ECANCELED)
        t->events->on_shutdown(t->owner);
}

static int shut_down(struct transport *t)
{
    return uv_shutdown(&request_of(t)->shutdown, stream(t), on_shutdown);
}

static bool hung_up(struct transport *t, bool *reset)
{
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&self(t)->tcp, &fd) != 0)
        return false;
    struct pollfd poller = {.fd = fd, .events = POLLRDHUP};
    if (poll(&poller, 1, 0) <= 0)
        return false;
    *reset = poller.revents & (POLLERR | POLLNVAL);
    return true;
}

static void on_close(uv_handle_t *handle)
{
    struct transport *t = of_handle(handle);
    free(handle->data);
    t->events->on_closed(t->owner);
}

static void close_now(struct transport *t)
{
    uv_close((uv_handle_t *)&self(t)->tcp, on_close);
}

static const struct transport_ops tcp_ops = {
    .read_start = read_start,
    .read_stop = read_stop,
    .try_write = try_write,
    .write = write_all,
    .unwritten = unwritten,
    .held = held,
    .shutdown = shut_down,
    .hung_up = hung_up,
    .close = close_now,
};

void transport_tcp_open(struct transport_tcp *tcp, uv_loop_t *loop, int fd,
                        const struct transport_events *events, void *owner)
{
    tcp->transport = (struct transport){&tcp_ops, events, owner};
    CHECK(uv_tcp_init(loop, &tcp->tcp) == 0);
    tcp->tcp.data = NULL;
    if (uv_tcp_open(&tcp->tcp, fd) != 0)
        close(fd);
}
