/* What a worker lends to the scripts that run on it. One for each worker; its thread alone, but for
 * the counters, which any thread may read. */
#pragma once

#include "base/buf.h"
#include "base/list.h"
#include "base/slots.h"
#include "channel/channel.h"
#include "config/config.h"
#include "loop/watchdog.h"
#include "loop/wheel.h"
#include "mesh/mesh.h"
#include "net/conn.h"
#include "queue/gate.h"
#include "script/stats.h"

struct deflate_pool;
struct http_client;
struct redis_pools;
struct session;
struct tally;
struct source;
struct task;
struct vm;

/* Where a task is found by its tag; it may go, but no tag comes twice. */
struct task_place {
    struct task *task; /* NULL: the place is free */
    uint32_t turn;     /* changes with each wait */
    uint32_t next_free;
};

struct script_env {
    unsigned node, worker; /* numbers, as in client ids */
    uv_loop_t *loop;
    struct wheel *wheel;
    struct conns *conns;
    struct channels *channels;
    struct slots *sessions; /* client number → struct session */
    struct mailbox *box, *api_box;
    struct mesh *mesh;
    struct gates *gates;
    struct redis_pools *redis;
    struct tally **tallies; /* by server */
    struct pulse *pulse;
    struct worker_stats *stats;
    struct server_stats *servers; /* by index */
    bool full_error;              /* a push to a full topic fails at once */
    bool over; /* nobody hears any more: finalizers that run with a VM's end post nothing */

    /* A connection is gone for good; its session is freed afterwards. */
    void (*on_gone)(struct script_env *env, int server);

    /* A handler has required a file that its scripts had not been made of so far. */
    void (*on_source)(struct script_env *env, int server, const struct source *source);

    struct list all;            /* sessions, until they are freed */
    struct list ready;          /* sessions that go on at the end of this turn */
    struct list ready_timers;   /* the same for timers (lua_timer.h) */
    struct session *current;    /* whose handler or encoder runs; NULL: nobody's */
    struct task *running;       /* the task that runs; NULL: none */
    struct vm *volatile in_lua; /* whose Lua runs; NULL: the engine's own code (vm_enter) */
    unsigned encoding;          /* how deep in protocol_encode */
    uint8_t hops;               /* of the command that is carried out; 0: none is */
    uint64_t posted_ns;         /* the same command's */
    struct http_client *http;   /* of mix.http; NULL: none was needed yet */
    struct task_place *tasks;   /* all, by index; place 0 is no task's */
    uint32_t task_count, task_cap, task_free;
    struct buf scratch;           /* unmasked frames */
    struct buf packed;            /* what is compressed next */
    struct deflate_pool *deflate; /* NULL: nothing has been compressed yet */
    struct buf json;              /* values on their way to a queue */
    struct buf command;           /* for redis */
};

/* Runs what is ready: resumed handlers, ends of connections, and functions of timers. At most `max`
 * of each kind; true when some are left. */
bool script_env_turn(struct script_env *env, unsigned max);

/* As wheel_set, from what the time is now: the loop's clock stands still while a handler runs, and
 * after a long one it would be too early. */
void script_env_set_timeout(struct script_env *env, struct timeout *timeout, uint64_t ms,
                            timeout_cb *cb);

/* Nobody asks anything for now: frees what only work needs. */
void script_env_rest(struct script_env *env);

void script_env_fini(struct script_env *env);
