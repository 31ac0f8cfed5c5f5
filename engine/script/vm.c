#include "script/vm.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "msg/client_id.h"
#include "script/dispatch.h"
#include "script/fast_functions.h"
#include "script/generation.h"
#include "script/guard.h"
#include "script/lua_buf.h"
#include "script/lua_headers.h"
#include "script/lua_modules.h"
#include "script/lua_request.h"
#include "script/lua_timer.h"
#include "script/preempt.h"
#include "script/require.h"
#include "script/session_protocol.h"
#include "script/task.h"
#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOAD_MS = 3000,
    LIMIT_LOOK = 100000, /* instructions between looks at the clock */
    COLLECT_KB = 512,    /* of garbage in a step: about a millisecond */
};

static const char vm_key; /* its address is the registry's key */

struct vm *vm_of(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&vm_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    struct vm *vm = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return vm;
}

/* -- errors -- */

/* Message handler: the message with a traceback; what is no string is named by its type. */
static int add_traceback(lua_State *L)
{
    const char *text = lua_tostring(L, 1);
    if (!text)
        text = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    luaL_traceback(L, L, text, 1);
    return 1;
}

void vm_log_error(struct vm *vm, lua_State *L, const char *what, uint64_t client)
{
    const char *text = lua_tostring(L, -1);
    counter_add(&vm->stats->script_errors[script_handler_named(what)], 1);
    const struct session *s = client ? session_find(vm->env, client) : NULL;
    char remote[ADDRESS_TEXT];
    if (!text)
        text = "(no message)";
    if (client)
        log_write_alike(LOG_LEVEL_ERROR, "script", text, "%s of client %llu (%s): %s", what,
                        (unsigned long long)client, s ? session_remote(s, remote) : "gone", text);
    else
        log_error("script", "%s: %s", what, text);
    lua_pop(L, 1);
}

/* What is called on the main state, from whatever handler, is the newest code's. */
static struct generation *of_main_state(struct vm *vm)
{
    if (vm->loading)
        return vm->loading;
    return vm->current ? vm->current : vm->running;
}

/* -- in Lua and out of it -- */

struct vm *vm_enter(struct script_env *env, struct vm *vm)
{
    struct vm *outside = env->in_lua;
    if (outside)
        outside->heap.strict = false;
    if (vm)
        vm->heap.strict = true;
    env->in_lua = vm;
    return outside;
}

void vm_explain(struct vm *vm, lua_State *L, int status)
{
    if (status != LUA_ERRMEM || !vm->heap.full)
        return;
    lua_pushfstring(L, "%s (engine.luavm.memoryLimit: %f MiB)", lua_tostring(L, -1),
                    (double)vm->heap.limit / (1024 * 1024));
    lua_remove(L, -2);
}

/* The collector may take memory (for a smaller table of strings), and is stuck if that is refused.
 */
static int run_collector(lua_State *L, int what, int size)
{
    struct vm *vm = vm_of(L), *outside = vm_enter(vm->env, NULL);
    int over = lua_gc(L, what, size);
    vm_enter(vm->env, outside);
    return over;
}

static int collect_all(lua_State *L)
{
    run_collector(L, LUA_GCCOLLECT, 0);
    return 0;
}

static void recover(void *data)
{
    struct vm *vm = data;
    lua_pushcfunction(vm->L, collect_all);
    if (vm_call(vm, vm->L, 0, 0, "a finalizer", 0) != 0)
        vm_log_error(vm, vm->L, "a finalizer", 0);
}

void vm_leave(struct vm *vm, struct vm *outside)
{
    vm_enter(vm->env, NULL);
    preempt_close(vm);
    vm_enter(vm->env, outside);
}

void vm_settle(struct vm *vm)
{
    heap_recover(&vm->heap, recover, vm);
}

int vm_call(struct vm *vm, lua_State *L, int args, int results, const char *what, uint64_t client)
{
    struct pulse *pulse = vm->env->pulse;
    bool outer = pulse_is_in_call(pulse);
    struct generation *entered = vm->running;
    if (L == vm->L)
        generation_enter(of_main_state(vm));
    int handler = lua_gettop(L) - args;
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, handler);
    if (!outer)
        pulse_begin(pulse, what, client);
    struct vm *outside = vm_enter(vm->env, vm);
    int status = lua_pcall(L, args, results, handler);
    vm_leave(vm, NULL);
    vm_explain(vm, L, status);
    vm_enter(vm->env, outside);
    if (!outer)
        pulse_end(pulse);
    lua_remove(L, handler);
    generation_enter(entered);
    if (!outer)
        vm_settle(vm);
    return status == 0 ? 0 : -1;
}

/* Of the table at upvalue 1. */
static int get_global(lua_State *L)
{
    lua_gettable(L, lua_upvalueindex(1));
    return 1;
}

static void push_globals(struct vm *vm, lua_State *L)
{
    if (L == vm->L)
        lua_rawgeti(L, LUA_REGISTRYINDEX, of_main_state(vm)->globals);
    else
        lua_pushvalue(L, LUA_GLOBALSINDEX);
}

void vm_push_global(struct vm *vm, lua_State *L, const char *name)
{
    push_globals(vm, L);
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    if (!lua_isnil(L, -1) || !lua_getmetatable(L, -2)) {
        lua_remove(L, -2);
        return;
    }
    lua_pop(L, 2);
    lua_pushcclosure(L, get_global, 1);
    lua_pushstring(L, name);
    if (vm_call(vm, L, 1, 1, name, 0) != 0) {
        lua_pop(L, 1);
        lua_pushnil(L);
    }
}

/* -- libraries -- */

/* What lies in the working directory is a script's own, if it is anyone's. */
static void leave_out_working_directory(lua_State *L)
{
    static const char here[] = "./?.lua;";
    lua_getfield(L, -1, "path");
    const char *path = lua_tostring(L, -1);
    if (strncmp(path, here, strlen(here)) == 0) {
        lua_pushstring(L, path + strlen(here));
        lua_setfield(L, -3, "path");
    }
    lua_pop(L, 1);
}

static int open_all(lua_State *L)
{
    static void (*const parts[])(lua_State *) = {
        lua_json_open, lua_text_open,   lua_php_open,   lua_url_open,
        lua_log_open,  lua_server_open, lua_queue_open, lua_mesh_open,
        lua_conn_open, lua_timer_open,  lua_redis_open, lua_http_open,
    };
    luaL_openlibs(L);
    lua_buf_open(L);
    lua_headers_open(L);
    lua_request_open(L);
    lua_newtable(L);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        parts[i](L);
    guard_open(L);
    dispatch_open(L);
    lua_setglobal(L, "mix");
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_mixengine_websocket);
    lua_setfield(L, -2, "mixengine.websocket");
    lua_pop(L, 1);
    leave_out_working_directory(L);
    lua_pop(L, 1);
    return 0;
}

#ifdef MIXENGINE_SYSTEM_ALLOCATOR
static void *allocate(void *data, void *old, size_t old_size, size_t size)
{
    (void)data;
    (void)old_size;
    if (size == 0) {
        free(old);
        return NULL;
    }
    return realloc(old, size);
}

static lua_State *new_state(void)
{
    return lua_newstate(allocate, NULL);
}
#else
static lua_State *new_state(void)
{
    return luaL_newstate();
}
#endif

/* -- life -- */

static struct vm *make(struct script_env *env, const struct config *config, int index)
{
    struct vm *vm = xcalloc(1, sizeof *vm);
    vm->env = env;
    vm->index = index;
    vm->stats = &env->servers[index];
    vm->terms = terms_new(config, index, &vm->stats->bytes);
    vm->server = vm->terms->server;
    vm->protocol = session_protocol_of(vm->server->protocol);
    vm->websocket = vm->server->protocol == CONFIG_PROTOCOL_WEBSOCKET;
    vm->probe = LUA_NOREF;
    list_init(&vm->idle);
    list_init(&vm->generations);
    vm->L = new_state();
    CHECK(vm->L);
    lua_pushlightuserdata(vm->L, (void *)&vm_key);
    lua_pushlightuserdata(vm->L, vm);
    lua_rawset(vm->L, LUA_REGISTRYINDEX);
    return vm;
}

/* Where a step of the collector that compiled code takes is refused memory (for a smaller table of
 * strings), LuaJIT 2.1 unwinds by the wrong trace and crashes. */
static void limit_memory(struct vm *vm, uint64_t limit)
{
    guard_jit_off(vm->L);
    fast_functions_open(vm->L);
    heap_open(&vm->heap, vm->L, limit);
}

struct vm *vm_new(struct script_env *env, const struct config *config, int index)
{
    struct vm *vm = make(env, config, index);
    lua_pushcfunction(vm->L, open_all);
    CHECK(lua_pcall(vm->L, 0, 0, 0) == 0);
    vm->budget_ms = config->luavm.handler_budget;
    if (config->luavm.preempt)
        preempt_open(vm);
    if (config->luavm.memory_limit != 0)
        limit_memory(vm, config->luavm.memory_limit);
    vm->base = vm->running = generation_base(vm);
    return vm;
}

void vm_configure(struct vm *vm, const struct config *config)
{
    terms_unref(vm->terms);
    vm->terms = terms_new(config, vm->index, &vm->stats->bytes);
    vm->server = vm->terms->server;
}

void vm_stop(struct vm *vm)
{
    list_for_each(node, &vm->generations)
    {
        struct generation *g = list_entry(node, struct generation, in_vm);
        g->over = true;
        lua_timers_drop(g);
    }
}

void vm_free(struct vm *vm)
{
    vm_stop(vm);
    list_for_each(node, &vm->generations)
        sources_free(&list_entry(node, struct generation, in_vm)->sources);
    heap_close(&vm->heap);
    lua_close(vm->L);
    terms_unref(vm->terms);
    list_for_each(node, &vm->generations) free(list_entry(node, struct generation, in_vm));
    free(vm);
}

/* -- loading -- */

bool vm_is_ending(const struct vm *vm)
{
    return vm->limit_ms != 0 ? clock_ms() >= vm->limit_ms : pulse_is_overdue(vm->env->pulse);
}

/* A script that does not return would stop the whole worker, and at once all of them. At the start
 * there is nothing to lose, and it may take its time. */
static void on_count(lua_State *L, lua_Debug *call)
{
    (void)call;
    if (!vm_is_ending(vm_of(L)))
        return;
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1); /* whatever catches this meets the next one */
    luaL_where(L, 0);                           /* a hook has no level of its own */
    lua_pushfstring(
        L,
        "the script has not returned within %d s; only when the engine starts it may take longer",
        LOAD_MS / 1000);
    lua_concat(L, 2);
    lua_error(L);
}

static bool jit_is_on(lua_State *L)
{
    lua_getglobal(L, "jit");
    lua_getfield(L, -1, "status");
    lua_call(L, 0, 1);
    bool on = lua_toboolean(L, -1);
    lua_pop(L, 2);
    return on;
}

/* Compiled code calls no hooks. */
static bool limit_begin(struct vm *vm)
{
    if (!vm->current)
        return false;
    bool jit = jit_is_on(vm->L);
    luaJIT_setmode(vm->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    vm->limit_ms = clock_ms() + LOAD_MS;
    heap_lend(&vm->heap, true);
    lua_sethook(vm->L, on_count, LUA_MASKCOUNT, LIMIT_LOOK);
    return jit;
}

static void limit_end(struct vm *vm, bool jit)
{
    lua_sethook(vm->L, NULL, 0, 0);
    vm->limit_ms = 0;
    if (jit)
        luaJIT_setmode(vm->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
}

static int take_error(struct vm *vm, const char *what, char *error, size_t error_size)
{
    const char *text = lua_tostring(vm->L, -1);
    snprintf(error, error_size, "%s%s", what, text ? text : "(no message)");
    lua_pop(vm->L, 1);
    return -1;
}

static int call_init(struct vm *vm, char *error, size_t error_size)
{
    vm_push_global(vm, vm->L, "init");
    if (!lua_isfunction(vm->L, -1)) {
        lua_pop(vm->L, 1);
        return 0;
    }
    if (vm_call(vm, vm->L, 0, 0, "init", 0) != 0)
        return take_error(vm, "init(): ", error, error_size);
    return 0;
}

static int load(struct vm *vm, bool init, char *error, size_t error_size)
{
    if (require_load(vm->L, vm->server->entry) != 0 ||
        vm_call(vm, vm->L, 0, 0, "entry script", 0) != 0)
        return take_error(vm, "", error, error_size);
    return init ? call_init(vm, error, error_size) : 0;
}

int vm_prepare(struct vm *vm, bool init, char *error, size_t error_size)
{
    struct generation *g = generation_new(vm);
    if (!g)
        return take_error(vm, "", error, error_size);
    bool websocket = vm->websocket;
    struct generation *outer = generation_enter(g);
    vm->loading = g;
    /* The shipped codec sets it when it is required. */
    vm->websocket = vm->server->protocol == CONFIG_PROTOCOL_WEBSOCKET;
    bool jit = limit_begin(vm);
    int status = load(vm, init, error, error_size);
    limit_end(vm, jit);
    g->websocket = vm->websocket;
    vm->websocket = websocket;
    vm->loading = NULL;
    generation_enter(outer);
    vm->prepared = g;
    return status;
}

void vm_abort(struct vm *vm)
{
    if (vm->prepared)
        generation_retire(vm->prepared);
    vm->prepared = NULL;
    heap_lend(&vm->heap, false);
    vm_settle(vm);
}

/* Compiled code keeps what it was compiled of: the handlers of the generation before. */
static void forget_traces(lua_State *L)
{
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
}

void vm_commit(struct vm *vm)
{
    struct generation *old = vm->current;
    vm->current = vm->prepared;
    vm->prepared = NULL;
    vm->websocket = vm->current->websocket;
    generation_enter(vm->current);
    forget_traces(vm->L);
    tasks_renew(vm);
    lua_timers_start(vm->current);
    if (old)
        generation_retire(old);
    heap_lend(&vm->heap, false);
    vm_settle(vm);
    generation_run_staged(vm->current);
}

const struct sources *vm_sources(const struct vm *vm)
{
    return &(vm->prepared ? vm->prepared : vm->current)->sources;
}

uint64_t vm_memory(const struct vm *vm)
{
    return (uint64_t)lua_gc(vm->L, LUA_GCCOUNT, 0) * 1024 +
           (uint64_t)lua_gc(vm->L, LUA_GCCOUNTB, 0);
}

/* A script that has stopped its collector is left alone: a step would start it again. */
static int collect(lua_State *L)
{
    bool stopped = !lua_gc(L, LUA_GCISRUNNING, 0);
    lua_pushboolean(L, stopped || run_collector(L, LUA_GCSTEP, COLLECT_KB));
    return 1;
}

/* As a call: a finalizer of the script's may fail. */
bool vm_collect(struct vm *vm)
{
    lua_pushcfunction(vm->L, collect);
    if (vm_call(vm, vm->L, 0, 1, "a finalizer", 0) != 0) {
        vm_log_error(vm, vm->L, "a finalizer", 0);
        return false;
    }
    bool over = lua_toboolean(vm->L, -1);
    lua_pop(vm->L, 1);
    return over;
}
