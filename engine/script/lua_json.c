/* mix.json_encode and mix.json_decode: errors are values, never raised. */
#include "script/json.h"
#include "script/lua_helpers.h"
#include "script/lua_modules.h"

#include <lauxlib.h>

enum { KEEP_MAX = 64 << 10 }; /* a larger buffer is given back after its call */

/* The buffer is an upvalue, so that a memory error in the push does not leak it. */
static int encode(lua_State *L)
{
    struct buf *out = lua_touserdata(L, lua_upvalueindex(1));
    const char *why;
    if (lua_gettop(L) == 0)
        return lua_fail(L, "json_encode: a value is expected");
    out->len = 0;
    bool done = json_encode(L, 1, out, &why);
    if (done)
        lua_pushlstring(L, out->data, out->len);
    else
        lua_pushfstring(L, "json_encode: %s", why);
    if (out->cap > KEEP_MAX)
        buf_free(out);
    return done ? 1 : lua_fail(L, lua_tostring(L, -1));
}

static int decode(lua_State *L)
{
    if (lua_type(L, 1) != LUA_TSTRING) {
        lua_pushfstring(L, "json_decode: a string is expected, got %s", luaL_typename(L, 1));
        return lua_fail(L, lua_tostring(L, -1));
    }
    size_t len;
    const char *text = lua_tolstring(L, 1, &len);
    return json_decode(L, text, len) ? 1 : lua_fail(L, lua_tostring(L, -1));
}

static int free_buffer(lua_State *L)
{
    buf_free(lua_touserdata(L, 1));
    return 0;
}

static const luaL_Reg functions[] = {
    {"json_encode", encode},
    {"json_decode", decode},
    {NULL, NULL},
};

void lua_json_open(lua_State *L)
{
    struct buf *out = lua_newuserdata(L, sizeof *out);
    *out = (struct buf){0};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, free_buffer);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    luaL_setfuncs(L, functions, 1);
}
