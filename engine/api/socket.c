#include "api/socket.h"
#include <linux/tcp.h> /* its struct tcp_info has tcpi_bytes_acked, that of <netinet/tcp.h> has not */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
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

void socket_cork(int fd, bool on)
{
    set(fd, IPPROTO_TCP, TCP_CORK, on);
}

uint64_t socket_acked(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    (void)!getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len);
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
    return address;
}

struct sockaddr_storage socket_local(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &len);
    return address;
}

void socket_host(const struct sockaddr_storage *address, char host[SOCKET_HOST])
{
    char text[SOCKET_HOST];
    if (getnameinfo((const struct sockaddr *)address, sizeof *address, text, sizeof text, NULL, 0,
                    NI_NUMERICHOST) != 0)
        strcpy(text, "?");
    bool mapped = strncmp(text, "::ffff:", 7) == 0 && strchr(text, '.');
    snprintf(host, SOCKET_HOST, "%s", mapped ? text + 7 : text);
}

int socket_port(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)address)->sin_port);
}

bool socket_is_wildcard(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)address)->sin6_addr);
    return ((const struct sockaddr_in *)address)->sin_addr.s_addr == htonl(INADDR_ANY);
}
