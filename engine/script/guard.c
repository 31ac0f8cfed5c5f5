#include "script/guard.h"
#include "base/check.h"
#include "script/vm.h"
#include <lauxlib.h>
#include <luajit.h>
#include <stdint.h>

extern const char guard_lua[], guard_lua_end[];

/* report(text): a finalizer has failed. */
static int on_failure(lua_State *L)
{
    lua_settop(L, 1);
    vm_log_error(vm_of(L), L, "a finalizer", 0);
    return 0;
}

enum { DEEP = 512 * 1024 };

/* How far the thread's stack may grow from where it was when it was looked at first: at the start
 * of some chain of coroutines, as LuaJIT bounds what else nests. The thread's own variables lie on
 * the stack too, and may take any share of it. */
static uintptr_t stack_limit(uintptr_t here)
{
    static _Thread_local uintptr_t limit;
    if (limit == 0)
        limit = here - DEEP;
    return limit;
}

/* is_deep(): does one coroutine resume the other? */
static int is_deep(lua_State *L)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    lua_pushboolean(L, here < stack_limit(here));
    return 1;
}

/* is_ending(): does a hook end what runs? */
static int is_ending(lua_State *L)
{
    lua_pushboolean(L, vm_is_ending(vm_of(L)));
    return 1;
}

void guard_open(lua_State *L)
{
    size_t len = (size_t)(guard_lua_end - guard_lua);
    CHECK(luaL_loadbuffer(L, guard_lua, len, "=guard") == 0);
    lua_pushcfunction(L, on_failure);
    lua_pushcfunction(L, is_deep);
    lua_pushcfunction(L, is_ending);
    lua_call(L, 3, 0);
}

void guard_replace(lua_State *L, const char *library, const char *name, lua_CFunction function)
{
    lua_getglobal(L, library);
    lua_pushcfunction(L, function);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

static int jit_on(lua_State *L)
{
    (void)L;
    return 0;
}

void guard_jit_off(lua_State *L)
{
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    guard_replace(L, "jit", "on", jit_on);
}
