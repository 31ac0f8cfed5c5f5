/* The Lua state of one server block on one worker: its libraries, its entry script, calls into it.
 */
#pragma once

#include "script/env.h"
#include "script/heap.h"
#include "script/terms.h"
#include <lua.h>
#include <signal.h>

struct generation;
struct sources;

struct vm {
    struct script_env *env;
    struct terms *terms;                /* of connections that begin now */
    const struct config_server *server; /* in those; a connection's own are in its session's */
    struct server_stats *stats;
    const struct session_protocol *protocol;
    int index;                             /* of the server */
    lua_State *L;                          /* the main state */
    struct list idle;                      /* tasks that wait for work */
    struct list generations;               /* all */
    struct generation *base;               /* the libraries, which each generation copies */
    struct generation *current, *prepared; /* whose handlers begin; which may follow it; or NULL */
    struct generation *loading;            /* whose chunk or init runs; NULL: none */
    struct generation *running;            /* whose globals are in force */
    uint64_t limit_ms;                     /* for the one that is loaded; 0: none */
    struct dispatch_box {
        const char *data; /* the first four as dispatch.lua declares them */
        size_t len;
        int32_t binary, slot;
        bool full;
    } box;                             /* between the dispatch loop and its leaves */
    int serve_messages, serve_packets; /* registry references: the loops */
    int waiting;                       /* what the codec's decode() is to hand out, by slot */
    int codec;                         /* the functions of mixengine.websocket */
    int conn_meta;
    int probe; /* stands for a connection when a publish is encoded for all */
    bool probe_touched;
    uint64_t flood_logged_ms; /* when a client that sent too much was last told of; 0: never */
    struct heap heap;
    uint32_t budget_ms;           /* of a handler, where preempt.h is in use */
    volatile sig_atomic_t hooked; /* its hook is set */
    bool cut, cut_told; /* it has ended a handler of the task that runs; has logged that */
    bool websocket; /* clients are to speak it: built in, or the script uses the shipped codec */
};

/* Makes the state with its libraries; `env` outlives it. `index`: of the server in the
 * configuration. */
struct vm *vm_new(struct script_env *env, const struct config *config, int index);

/* The configuration was read again; for connections that begin from now on. */
void vm_configure(struct vm *vm, const struct config *config);

/* Loads the entry script and what it requires as a new generation (generation.h): runs its chunk
 * and, with `init`, its init(). 0, or -1 with a line in `error` that names file and line. Either
 * way vm_commit (after 0) or vm_abort comes next. A script that replaces another has 3 s. */
int vm_prepare(struct vm *vm, bool init, char *error, size_t error_size);

/* From here on handlers begin in the prepared generation. */
void vm_commit(struct vm *vm);

/* Forgets the prepared generation; harmless when there is none. */
void vm_abort(struct vm *vm);

/* The files of the prepared generation, else of the one in use. */
const struct sources *vm_sources(const struct vm *vm);

/* No timer goes on, and none can be started. */
void vm_stop(struct vm *vm);
void vm_free(struct vm *vm);

/* Bytes that its Lua objects take. */
uint64_t vm_memory(const struct vm *vm);

/* Nobody asks anything for now: goes on with the collection of garbage for about a millisecond.
 * True at the end of a cycle; what died during one goes in the next. */
bool vm_collect(struct vm *vm);

/* Calls a function that stands on L's stack with its arguments, under a traceback; it may not
 * suspend. 0, or -1 with the message and traceback on the stack in place of results. One of the two
 * doors into Lua; the other is task_resume. */
int vm_call(struct vm *vm, lua_State *L, int args, int results, const char *what, uint64_t client);

/* From here on Lua of `vm` runs, NULL: the engine's own code, for which no allocation is refused
 * and which no hook interrupts. Functions that scripts call put it around what must not be left
 * half done, and around work on another coroutine than their own, and restore what it returned. */
struct vm *vm_enter(struct script_env *env, struct vm *vm);

/* Lua of `vm` has returned to where `outside` ran. */
void vm_leave(struct vm *vm, struct vm *outside);

/* Names memoryLimit in the error on top of L when a call has ended with LUA_ERRMEM because of it.
 */
void vm_explain(struct vm *vm, lua_State *L, int status);

/* After the outermost call: collects the garbage of one that has met memoryLimit. */
void vm_settle(struct vm *vm);

/* Has the call that runs, or the loading, taken longer than it may? A hook ends it then. */
bool vm_is_ending(const struct vm *vm);

/* Pushes a global of the script, also one that a metatable of its globals provides; nil when there
 * is none or that metatable raises an error. */
void vm_push_global(struct vm *vm, lua_State *L, const char *name);

/* Logs the error that stands on top of L and pops it. */
void vm_log_error(struct vm *vm, lua_State *L, const char *what, uint64_t client);

/* The vm of a C function that lua_modules.h opened. */
struct vm *vm_of(lua_State *L);
