/* A listening TCP socket that accepts in batches. A process without descriptors or memory pauses
 * instead of spinning: what waits stays in the kernel's backlog. Loop's thread, or before the loop
 * runs. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

struct listener {
    uv_poll_t poll;
    uv_timer_t pause; /* after a failed accept */
    int fd;
    bool open, accepting;
    uint64_t failed_ms;              /* when a failed accept was last logged; 0: never */
    struct sockaddr_storage address; /* as bound: with its real port */
    /* Takes the descriptor over: non-blocking, close-on-exec. */
    void (*on_accept)(struct listener *listener, int fd, const struct sockaddr_storage *peer);
    void *data; /* the owner's, as is on_accept: set before listener_accept */
};

/* Binds and listens; nothing is accepted yet. `bind` is a numeric address; port 0 is any free one.
 * Returns 0 or a negative errno; then nothing is open. */
int listener_open(struct listener *listener, uv_loop_t *loop, const char *bind, int port)
    __attribute__((warn_unused_result));

/* Accepts from now on, or no more; may be called in on_accept. */
void listener_accept(struct listener *listener, bool on);

int listener_port(const struct listener *listener);

/* Twice does no harm. The struct must live until the loop has run once more. */
void listener_close(struct listener *listener);

/* What to do about a status of listener_open, as the end of a message. */
const char *listener_remedy(int status);
