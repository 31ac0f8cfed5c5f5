/* How every C function of the Lua API reports a failure: nil and a text. Misuse throws (luaL_arg…).
 */
#pragma once

#include <lua.h>

static inline int lua_fail(lua_State *L, const char *why)
{
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

/* For calls that return only an error: nil, or the text. */
static inline int lua_outcome(lua_State *L, const char *why)
{
    if (why)
        lua_pushstring(L, why);
    else
        lua_pushnil(L);
    return 1;
}
