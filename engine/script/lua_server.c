/* mix.server, worker_id, node_id; and mix.http, which this version does not have: it says so. */
#include "config/config.h"
#include "script/lua_helpers.h"
#include "script/lua_modules.h"
#include "script/vm.h"
#include <lauxlib.h>

static int server_option(lua_State *L)
{
    lua_pushstring(L, config_option(vm_of(L)->server, luaL_checkstring(L, 1)));
    return 1;
}

static int worker_id(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)vm_of(L)->env->worker);
    return 1;
}

static int node_id(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)vm_of(L)->env->node);
    return 1;
}

static int not_here(lua_State *L)
{
    return lua_fail(L, "this version of the engine has no mix.http yet");
}

static void add_refusals(lua_State *L, const char *table, const char *const *names)
{
    lua_newtable(L);
    for (; *names; names++) {
        lua_pushcfunction(L, not_here);
        lua_setfield(L, -2, *names);
    }
    lua_setfield(L, -2, table);
}

void lua_server_open(lua_State *L)
{
    static const char *const http[] = {"request", NULL};
    lua_newtable(L);
    lua_pushcfunction(L, server_option);
    lua_setfield(L, -2, "option");
    lua_setfield(L, -2, "server");
    lua_pushcfunction(L, worker_id);
    lua_setfield(L, -2, "worker_id");
    lua_pushcfunction(L, node_id);
    lua_setfield(L, -2, "node_id");
    add_refusals(L, "http", http);
}
