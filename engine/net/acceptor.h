/* Owns the one listening socket of each server; accepts in batches and hands each connection to the
 * worker that has the fewest. The one home of maxConnections and of the descriptor ceiling; limits
 * by address are kept where the address is known, here or in the worker (tally.h). Main thread's
 * loop. */
#pragma once

#include "config/config.h"
#include "loop/mailbox.h"
#include <stddef.h>
#include <uv.h>

struct acceptor;
struct tally;

struct acceptor_options {
    uv_loop_t *loop;
    const struct config *config; /* lives until acceptor_configure gives another */
    struct mailbox **workers;    /* by number */
    int worker_count;
    struct tally **tallies; /* by server; outlive the acceptor */
    /* Connections of all servers together at which accepting pauses: what the descriptor limit
     * leaves. */
    unsigned ceiling;
};

struct acceptor *acceptor_new(const struct acceptor_options *options);

/* Binds and listens on every server. Returns 0, or a negative errno with a line in `error` that
 * names the listener and says what to do; some may listen then, until acceptor_free. */
int acceptor_listen(struct acceptor *acceptor, char *error, size_t error_size)
    __attribute__((warn_unused_result));

/* Starts to accept, once the clock has passed the second in which the ports were bound: ids carry
 * the second, and a process before this one may have handed out ids in that one. */
void acceptor_start(struct acceptor *acceptor);

/* The first second whose ids this process may use (slots.h). After acceptor_listen. */
uint32_t acceptor_not_before(const struct acceptor *acceptor);

/* While held, who comes waits in the kernel's backlog. */
void acceptor_hold(struct acceptor *acceptor, bool hold);

/* The file was read again. */
void acceptor_configure(struct acceptor *acceptor, const struct config *config);

/* A worker reports a connection as gone. */
void acceptor_closed(struct acceptor *acceptor, int server, int worker);

/* Takes no new connection; the ports are free afterwards. */
void acceptor_stop(struct acceptor *acceptor);

/* After acceptor_stop, when the loop has run once more. */
void acceptor_free(struct acceptor *acceptor);
