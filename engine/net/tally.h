/* What each address has open on a server, and how fast it connects: connectsPerSecond and
 * connectionsPerAddress of its `limits`. Exact over all workers: an address is counted before its
 * connection is served, by whoever learns it: the acceptor, or the worker that reads it from a
 * PROXY header or from X-Forwarded-For. Any thread; a lock is taken once when a connection comes
 * and once when it goes, and never where the server has no such limits.
 *
 * An IPv6 address stands for its /64, which is what one host may choose from. The table has an
 * entry for each address that has a connection, or whose rate is still to be remembered; of the
 * latter TALLY_IDLE_MAX at most, beyond which the oldest is forgotten. */
#pragma once

#include "base/counter.h"
#include "config/config.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { TALLY_IDLE_MAX = 1 << 16 };

enum tally_limit {
    TALLY_CONNECTS,    /* connectsPerSecond */
    TALLY_CONNECTIONS, /* connectionsPerAddress */
    TALLY_LIMITS,
};

/* Read by any thread. */
struct tally_counters {
    counter addresses; /* in the table */
    counter refused[TALLY_LIMITS];
};

struct tally;

/* `server`: its index, for the log. */
struct tally *tally_new(int server);
void tally_free(struct tally *tally);

/* A connection has come from `peer`. False: its address has had as much as `server` allows; it is
 * counted as refused, and told in the log, held back. *counted: tally_leave must follow when the
 * connection is gone; not where no limit holds, for Unix peers, for `exempt` ones, and for trusted
 * proxies, whose clients are counted instead. */
bool tally_enter(struct tally *tally, const struct config_server *server,
                 const struct sockaddr_storage *peer, uint64_t now_ns, bool *counted)
    __attribute__((warn_unused_result));

void tally_leave(struct tally *tally, const struct sockaddr_storage *peer, uint64_t now_ns);

/* The limits have changed: where there is no rate any more, none is remembered. */
void tally_configure(struct tally *tally, const struct config_server *server);

const struct tally_counters *tally_counters(const struct tally *tally);
