/* A state for a target that needs nothing of Lua but its values. Its memory is malloc's, so that
 * sanitizers see it. */
#pragma once

#include "base/check.h"
#include <lauxlib.h>
#include <stdlib.h>

static inline void *lua_state_allocate(void *unused, void *old, size_t old_size, size_t size)
{
    (void)unused;
    (void)old_size;
    if (size > 0)
        return realloc(old, size);
    free(old);
    return NULL;
}

/* The functions that `open` adds to a table are its globals. It lives as long as the process; the
 * stack is left empty. */
static inline lua_State *lua_state_new(void (*open)(lua_State *L))
{
    lua_State *L = lua_newstate(lua_state_allocate, NULL);
    CHECK(L);
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    open(L);
    lua_settop(L, 0);
    return L;
}
