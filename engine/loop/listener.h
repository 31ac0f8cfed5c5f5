/* A listening socket, TCP or Unix-domain, that accepts in batches. A process without descriptors or
 * memory pauses instead of spinning: what waits stays in the kernel's backlog. Loop's thread, or
 * before the loop runs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <uv.h>

struct listener {
    uv_poll_t poll;
    uv_timer_t pause; /* after a failed accept */
    int fd;
    bool open, accepting;
    uint64_t logged_ms;              /* when a failed accept was last logged; 0: never */
    struct sockaddr_storage address; /* as bound: with its real port */
    dev_t device;                    /* of a Unix socket's file, as is inode */
    ino_t inode;
    /* Takes the descriptor over: non-blocking, close-on-exec. `peer` is plain (address_of_peer). */
    void (*on_accept)(struct listener *listener, int fd, const struct sockaddr_storage *peer);
    void *data; /* the owner's, as is on_accept: set before listener_accept */
};

/* Binds and listens; nothing is accepted yet. `bind` is as address_from_bind reads it; port 0 is
 * any free one; :: takes IPv4 too. A socket's file on which nobody listens any more is replaced;
 * one in use is -EADDRINUSE, as a port. Returns 0 or a negative errno; then nothing is open. */
int listener_open(struct listener *listener, uv_loop_t *loop, const char *bind, int port)
    __attribute__((warn_unused_result));

/* Binds a port, without listening, for the listener_open that comes for the same `bind` and `port`:
 * for a process that is about to lose the right to. A Unix socket is left to listener_open. Returns
 * 0, or a negative errno with listener_explain's line in `error`. Before other threads exist. */
int listener_reserve(const char *bind, int port, char *error, size_t error_size)
    __attribute__((warn_unused_result));

/* Accepts from now on, or no more; may be called in on_accept. */
void listener_accept(struct listener *listener, bool on);

/* Closes a socket that was accepted, with a reset: after an orderly end the kernel would keep the
 * connection for a minute, for whoever floods, in any number. */
void listener_turn_away(int fd);

/* Twice does no harm; a Unix socket's file goes too. The struct must live until the loop has run
 * once more. */
void listener_close(struct listener *listener);

/* After listener_open failed: where, what was wrong, and what to do. */
void listener_explain(const struct listener *listener, int status, char *text, size_t size);
