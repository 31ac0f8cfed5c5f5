/* The redis servers that scripts use, each through a pool of connections of this worker's own.
 *
 * A worker's commands to one server share one connection, pipelined: what is sent first is carried
 * out first, and what one turn of the loop sends goes out with one write. A command that may wait
 * for data (BRPOP) has a connection of its own meanwhile. Connections are opened when they are
 * needed; a worker has its share of poolSize, one at least; where that is one, such a command takes
 * turns with the others. A server that cannot be reached is tried again by the next command, after
 * a pause that grows to a second; commands within it fail at once.
 *
 * Loop's thread. */
#pragma once

#include "script/redis_command.h"
#include "script/redis_conn.h"

enum {
    /* For a connection; then of silence until the answer, beside what a command itself waits. */
    REDIS_TIMEOUT_MS = 5000,
    REDIS_COMMANDS_MAX = 10000, /* without an answer, in one pool */
    REDIS_BYTES_MAX = 64 << 20, /* of them */
};

struct redis_pools;
struct redis_pool;
struct redis_request;

/* The answer, valid during the call; or NULL, and text of why there is none. */
typedef void redis_done(void *owner, const redisReply *reply, const char *why);

/* The pools of `config`, for one of `workers`; nothing is opened. They hold a reference to it. */
struct redis_pools *redis_pools_new(uv_loop_t *loop, struct wheel *wheel,
                                    const struct config *config, unsigned workers);

/* Before the loop polls: writes what was sent. */
void redis_pools_flush(struct redis_pools *pools);

/* Ends all connections; nobody may wait for an answer any more. Then, when the loop has run until
 * nothing was left on it: free. */
void redis_pools_close(struct redis_pools *pools);
void redis_pools_free(struct redis_pools *pools);

/* NULL: none has that name. */
struct redis_pool *redis_pool_find(struct redis_pools *pools, const char *name);

/* Sends a command as redis_command.h writes it. `done` is called once, later; NULL and text in *why
 * (valid until the pool's next call) when the command was not accepted. */
struct redis_request *redis_send(struct redis_pool *pool, const struct buf *command,
                                 const struct redis_need *need, redis_done *done, void *owner,
                                 const char **why);

/* Before `done` was called: it will not be. The command is carried out all the same; but one that
 * waits for data is withdrawn, so that it takes nothing that nobody gets. */
void redis_forget(struct redis_request *request);
