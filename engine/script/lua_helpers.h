/* How every C function of the Lua API reports a failure: nil and a text. Misuse throws (luaL_arg…).
 */
#pragma once

#include <lauxlib.h>
#include <stdbool.h>

static inline int lua_fail(lua_State *L, const char *why)
{
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

/* The type of a message, "text" unless given: is it "binary"? */
static inline bool lua_check_binary(lua_State *L, int arg)
{
    static const char *const types[] = {"text", "binary", NULL};
    return luaL_checkoption(L, arg, "text", types) == 1;
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
