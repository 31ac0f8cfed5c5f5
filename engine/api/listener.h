/* A listening TCP socket on the loop of the API: its own, not libwebsockets', so that a failure to
 * bind has its errno, port 0 its number, and a process without descriptors pauses instead of
 * spinning. Loop's thread, or before the loop runs. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <uv.h>

struct listener {
    uv_poll_t poll;
    uv_timer_t pause; /* after a failed accept */
    int fd;
    bool open;
    bool failing;                    /* the last accept found no descriptor or memory */
    struct sockaddr_storage address; /* as bound: with its real port */
    void (*on_accept)(struct listener *listener, int fd); /* takes the descriptor over */
    void *data;                                           /* the owner's */
};

/* Binds, listens and watches. Returns 0 or a negative errno; then nothing is open. */
int listener_open(struct listener *listener, uv_loop_t *loop, const char *bind, int port)
    __attribute__((warn_unused_result));

/* Twice does no harm. The struct must live until the loop has run once more. */
void listener_close(struct listener *listener);
