#include "script/generation.h"
#include "base/log.h"
#include "base/mem.h"
#include "script/lua_timer.h"
#include "script/require.h"
#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>

enum { STAGED_MAX = 10000 };

/* -- life -- */

static struct generation *make(struct vm *vm)
{
    struct generation *g = xcalloc(1, sizeof *g);
    g->vm = vm;
    g->globals = g->loaded = g->strings = g->staged = LUA_NOREF;
    list_init(&g->timers);
    list_init(&g->in_vm);
    list_push_back(&vm->generations, &g->in_vm);
    return g;
}

static int ref_field(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

struct generation *generation_base(struct vm *vm)
{
    struct generation *g = make(vm);
    lua_State *L = vm->L;
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    g->globals = luaL_ref(L, LUA_REGISTRYINDEX);
    g->loaded = ref_field(L, LUA_REGISTRYINDEX, "_LOADED");
    g->strings = ref_field(L, LUA_GLOBALSINDEX, LUA_STRLIBNAME);
    return g;
}

void generation_free(struct generation *g)
{
    lua_State *L = g->vm->L;
    luaL_unref(L, LUA_REGISTRYINDEX, g->globals);
    luaL_unref(L, LUA_REGISTRYINDEX, g->loaded);
    luaL_unref(L, LUA_REGISTRYINDEX, g->strings);
    luaL_unref(L, LUA_REGISTRYINDEX, g->staged);
    list_remove(&g->in_vm);
    sources_free(&g->sources);
    free(g);
}

static void free_if_unused(struct generation *g)
{
    if (g->over && g->tasks == 0)
        generation_free(g);
}

void generation_retire(struct generation *g)
{
    g->tasks++; /* those of its timers leave meanwhile */
    g->over = true;
    lua_timers_drop(g);
    generation_leave(g);
}

void generation_join(struct generation *g, lua_State *L)
{
    g->tasks++;
    lua_rawgeti(L, LUA_REGISTRYINDEX, g->globals);
    lua_replace(L, LUA_GLOBALSINDEX);
}

void generation_leave(struct generation *g)
{
    g->tasks--;
    free_if_unused(g);
}

/* -- which one is in force -- */

/* A script may have taken it away. */
static void push_string_metatable(lua_State *L)
{
    lua_pushliteral(L, "");
    if (!lua_getmetatable(L, -1)) {
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setmetatable(L, -3);
    }
    lua_remove(L, -2);
}

/* Scripts may put an index of their own in place of the library. */
static void change_string_methods(lua_State *L, int from, int to)
{
    push_string_metatable(L);
    lua_pushliteral(L, "__index");
    lua_rawget(L, -2);
    if (lua_isnil(L, -1))
        lua_pop(L, 1);
    else
        lua_rawseti(L, LUA_REGISTRYINDEX, from);
    lua_pushliteral(L, "__index");
    lua_rawgeti(L, LUA_REGISTRYINDEX, to);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

struct generation *generation_enter(struct generation *g)
{
    struct vm *vm = g->vm;
    struct generation *outer = vm->running;
    lua_State *L = vm->L;
    if (g == outer)
        return outer;
    lua_rawgeti(L, LUA_REGISTRYINDEX, g->globals);
    lua_replace(L, LUA_GLOBALSINDEX);
    lua_rawgeti(L, LUA_REGISTRYINDEX, g->loaded);
    lua_setfield(L, LUA_REGISTRYINDEX, "_LOADED"); /* where require and module look */
    change_string_methods(L, outer->strings, g->strings);
    vm->running = g;
    return outer;
}

/* -- its environment -- */

/* Replaces the table on top by its copy, and those in it by theirs; `copies` has those that were
 * made. */
static void copy_table(lua_State *L, int copies)
{
    luaL_checkstack(L, 8, "libraries are nested too deeply");
    int from = lua_gettop(L), to = from + 1;
    lua_pushvalue(L, from);
    lua_rawget(L, copies);
    if (lua_isnil(L, to)) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, from);
        lua_pushvalue(L, to);
        lua_rawset(L, copies);
        if (lua_getmetatable(L, from))
            lua_setmetatable(L, to);
        for (lua_pushnil(L); lua_next(L, from);) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            if (lua_istable(L, -1))
                copy_table(L, copies);
            lua_rawset(L, to);
        }
    }
    lua_remove(L, from);
}

/* The libraries among the loaded modules; what else is there was loaded for a script. */
static void push_loaded(lua_State *L, const struct generation *base, int copies)
{
    lua_newtable(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, base->loaded);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawget(L, copies);
        if (lua_isnil(L, -1))
            lua_pop(L, 2);
        else
            lua_rawset(L, -6);
    }
    lua_pop(L, 1);
}

/* The package library is opened anew, so that its functions look at this generation's table. */
static void reserve_package(lua_State *L, const struct generation *base, int copies)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, base->globals);
    lua_getfield(L, -1, LUA_LOADLIBNAME);
    lua_newtable(L);
    lua_rawset(L, copies);
    lua_pop(L, 1);
}

static int ref_copy(lua_State *L, int original, int copies)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, original);
    copy_table(L, copies);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static int make_environment(lua_State *L)
{
    struct generation *g = lua_touserdata(L, 1), *base = g->vm->base;
    struct vm *outside = vm_enter(g->vm->env, NULL);
    lua_newtable(L);
    reserve_package(L, base, 2);
    g->globals = ref_copy(L, base->globals, 2);
    g->strings = ref_copy(L, base->strings, 2);
    push_loaded(L, base, 2);
    g->loaded = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    g->staged = luaL_ref(L, LUA_REGISTRYINDEX);
    generation_enter(g);
    require_open(L, base);
    vm_enter(g->vm->env, outside);
    return 0;
}

/* C functions keep the globals of the place that makes them, and must not keep those of the
 * generation before. */
struct generation *generation_new(struct vm *vm)
{
    struct generation *g = make(vm), *outer = generation_enter(vm->base);
    lua_pushcfunction(vm->L, make_environment);
    lua_pushlightuserdata(vm->L, g);
    int status = vm_call(vm, vm->L, 1, 0, "opening the libraries", 0);
    generation_enter(outer);
    if (status == 0)
        return g;
    generation_free(g);
    return NULL;
}

/* -- calls that wait for the commit -- */

bool generation_stage(struct vm *vm, lua_State *L)
{
    struct generation *g = vm->loading;
    if (!g || !vm->current)
        return false;
    if (g->staged_count == STAGED_MAX)
        luaL_error(L, "more than %d queue and mesh calls while the script is loaded", STAGED_MAX);
    int count = lua_gettop(L);
    lua_Debug call;
    lua_getstack(L, 0, &call);
    lua_rawgeti(L, LUA_REGISTRYINDEX, g->staged);
    lua_createtable(L, count + 1, 0);
    lua_getinfo(L, "f", &call);
    lua_rawseti(L, -2, 1);
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(L, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_rawseti(L, -2, (int)g->staged_count + 1);
    g->staged_count++;
    lua_settop(L, count);
    return true;
}

static int push_staged(lua_State *L, int call)
{
    int count = (int)lua_objlen(L, call);
    luaL_checkstack(L, count, "too many arguments");
    for (int i = 1; i <= count; i++)
        lua_rawgeti(L, call, i);
    return count - 1;
}

/* These calls report a failure as their last result. */
static void run_call(struct vm *vm)
{
    lua_State *L = vm->L;
    int call = lua_gettop(L);
    if (vm_call(vm, L, push_staged(L, call), LUA_MULTRET, "init", 0) != 0 ||
        (lua_gettop(L) > call && lua_type(L, -1) == LUA_TSTRING))
        vm_log_error(vm, L, "what the script did while it was loaded", 0);
    lua_settop(L, call - 1);
}

void generation_run_staged(struct generation *g)
{
    lua_State *L = g->vm->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, g->staged);
    luaL_unref(L, LUA_REGISTRYINDEX, g->staged);
    g->staged = LUA_NOREF;
    for (uint32_t i = 1; i <= g->staged_count; i++) {
        lua_rawgeti(L, -1, (int)i);
        run_call(g->vm);
    }
    lua_pop(L, 1);
}
