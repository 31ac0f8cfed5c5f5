#include "dial.h"

#include "base/address.h"
#include "fatal.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST_PORT = 12000, PORTS = 20000, HOSTS = 64, TRIES = 20000 };

static const uint32_t FIRST_HOST = 0x7f4d0001; /* 127.77.0.1 */

static int open_socket(const struct target *target, int receive_buffer)
{
    int one = 1;
    int fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fatal("no socket can be had: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (receive_buffer)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    return fd;
}

/* 0 or a negative errno. */
static int bind_source(int fd, unsigned lane, uint32_t k)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(FIRST_HOST + lane * HOSTS + k / PORTS % HOSTS);
    source.sin_port = htons((uint16_t)(FIRST_PORT + k % PORTS));
    return bind(fd, (struct sockaddr *)&source, sizeof source) == 0 ? 0 : -errno;
}

/* 0, also when it is under way, or a negative errno. */
static int connect_to(int fd, const struct target *target)
{
    const struct sockaddr *address = (const struct sockaddr *)&target->address;
    if (connect(fd, address, address_len(&target->address)) == 0 || errno == EINPROGRESS)
        return 0;
    return -errno;
}

/* A pair of addresses that was in use a moment ago is refused by bind or by connect. */
static int dial_from_loopback(const struct target *target, unsigned lane, uint32_t *next_port,
                              int receive_buffer)
{
    int error = -EADDRNOTAVAIL;
    for (int i = 0; i < TRIES && (error == -EADDRINUSE || error == -EADDRNOTAVAIL); i++) {
        int fd = open_socket(target, receive_buffer);
        error = bind_source(fd, lane, (*next_port)++);
        if (error == 0)
            error = connect_to(fd, target);
        if (error == 0)
            return fd;
        close(fd);
    }
    return error;
}

int dial(const struct target *target, unsigned lane, uint32_t *next_port, int receive_buffer)
{
    if (target->loopback && target->address.ss_family == AF_INET)
        return dial_from_loopback(target, lane, next_port, receive_buffer);
    int fd = open_socket(target, receive_buffer), error = connect_to(fd, target);
    if (error == 0)
        return fd;
    close(fd);
    return error;
}
