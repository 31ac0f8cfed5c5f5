#include "script/lua_headers.h"
#include <lauxlib.h>
#include <strings.h>

static const char *const META = "mixengine.headers";

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static void push_canonical(lua_State *L, struct slice name)
{
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    for (size_t i = 0; i < name.len; i++) {
        bool first = i == 0 || name.data[i - 1] == '-';
        luaL_addchar(&out, first ? upper(name.data[i]) : lower(name.data[i]));
    }
    luaL_pushresult(&out);
}

static void push_name(lua_State *L, struct slice name, enum header_names names)
{
    if (names == HEADER_NAMES_CANONICAL)
        push_canonical(L, name);
    else
        lua_pushlstring(L, name.data, name.len);
}

void lua_headers_add(lua_State *L, struct slice name, struct slice value, enum header_names names)
{
    push_name(L, name, names);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushlstring(L, value.data, value.len);
    } else {
        lua_pushliteral(L, ", ");
        lua_pushlstring(L, value.data, value.len);
        lua_concat(L, 3);
    }
    lua_rawset(L, -3);
}

/* A look-up of a name that is not there as it was asked for. */
static int find_any_case(lua_State *L)
{
    if (lua_type(L, 1) != LUA_TTABLE || lua_type(L, 2) != LUA_TSTRING)
        return 0;
    const char *name = lua_tostring(L, 2);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1))
        if (lua_type(L, -2) == LUA_TSTRING && strcasecmp(lua_tostring(L, -2), name) == 0)
            return 1;
    return 0;
}

void lua_headers_open(lua_State *L)
{
    luaL_newmetatable(L, META);
    lua_pushcfunction(L, find_any_case);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void lua_headers_new(lua_State *L, size_t count)
{
    lua_createtable(L, 0, (int)count);
    luaL_getmetatable(L, META);
    lua_setmetatable(L, -2);
}
