#include "script/fast_functions.h"
#include <lauxlib.h>
#include <limits.h>

/* Calls the fast function, upvalue 1. What its arguments may be is looked at before: it would not
 * know its name when it complains. */
static int call(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int of_any(lua_State *L)
{
    luaL_checkany(L, 1);
    return call(L);
}

static int of_string(lua_State *L)
{
    luaL_checkstring(L, 1);
    return call(L);
}

static int of_string_and_range(lua_State *L)
{
    luaL_checkstring(L, 1);
    luaL_checkinteger(L, 2);
    luaL_optinteger(L, 3, -1);
    return call(L);
}

static int of_bytes(lua_State *L)
{
    for (int i = 1; i <= lua_gettop(L); i++) {
        lua_Integer byte = luaL_checkinteger(L, i);
        luaL_argcheck(L, byte >= 0 && byte <= UCHAR_MAX, i, "invalid value");
    }
    return call(L);
}

void fast_functions_open(lua_State *L)
{
    static const struct {
        const char *library, *name;
        lua_CFunction before;
    } makers[] = {
        {"_G", "tostring", of_any},     {"string", "char", of_bytes},
        {"string", "lower", of_string}, {"string", "reverse", of_string},
        {"string", "upper", of_string}, {"string", "sub", of_string_and_range},
    };
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        lua_getglobal(L, makers[i].library);
        lua_getfield(L, -1, makers[i].name);
        lua_pushcclosure(L, makers[i].before, 1);
        lua_setfield(L, -2, makers[i].name);
        lua_pop(L, 1);
    }
}
