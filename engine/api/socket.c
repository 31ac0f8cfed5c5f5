#include "api/socket.h"
#include "base/address.h"
#include <linux/sockios.h>
#include <linux/tcp.h> /* its struct tcp_info has tcpi_bytes_acked, that of <netinet/tcp.h> has not */
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/ioctl.h>

/* After a minute of silence the kernel asks, after another without an answer it gives up. */
enum { KEEPALIVE_IDLE_S = 60, KEEPALIVE_INTERVAL_S = 15, KEEPALIVE_COUNT = 4 };

/* More may come in between the looks at the two numbers. */
enum { LOOKS_MAX = 16 };

/* Of tcpi_state; the header that names it is at odds with <linux/tcp.h>. */
enum { STATE_ESTABLISHED = 1 };

/* A refusal is harmless: what is set here only improves on what works without. */
static void set(int fd, int level, int option, int value)
{
    (void)!setsockopt(fd, level, option, &value, sizeof value);
}

void socket_tune(int fd)
{
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    /* Urgent data would end what FIONREAD counts. */
    set(fd, SOL_SOCKET, SO_OOBINLINE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
}

void socket_set_buffer(int fd, int bytes)
{
    set(fd, SOL_SOCKET, SO_SNDBUF, bytes);
}

void socket_wait_for(int fd, int bytes)
{
    set(fd, SOL_SOCKET, SO_RCVLOWAT, bytes);
}

/* Bytes that were written to a Unix socket and not read by its peer. */
static uint64_t unread(int fd)
{
    int bytes = 0;
    (void)!ioctl(fd, SIOCOUTQ, &bytes);
    return (uint64_t)bytes;
}

uint64_t socket_taken(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return UINT64_MAX - unread(fd);
    return info.tcpi_bytes_acked;
}

bool socket_received(int fd, uint64_t *bytes)
{
    struct tcp_info before = {0}, after = {0};
    for (int i = 0; i < LOOKS_MAX; i++) {
        socklen_t before_len = sizeof before, after_len = sizeof after;
        int waiting = 0;
        if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &before, &before_len) != 0 ||
            ioctl(fd, FIONREAD, &waiting) != 0 ||
            getsockopt(fd, IPPROTO_TCP, TCP_INFO, &after, &after_len) != 0)
            return false;
        if (before.tcpi_bytes_received != after.tcpi_bytes_received ||
            before.tcpi_state != after.tcpi_state)
            continue;
        /* The peer's FIN counts as a byte of the first number and not of the second. */
        bool ended = after.tcpi_state != STATE_ESTABLISHED;
        *bytes = after.tcpi_bytes_received - (uint64_t)waiting - ended;
        return true;
    }
    return false;
}

void socket_abort(int fd)
{
    struct linger now = {.l_onoff = 1};
    (void)!setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    shutdown(fd, SHUT_RDWR);
}

struct sockaddr_storage socket_peer(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    getpeername(fd, (struct sockaddr *)&address, &len);
    address_of_peer(&address);
    return address;
}

struct sockaddr_storage socket_local(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &len);
    address_of_peer(&address);
    return address;
}
