/* mix.server, worker_id, node_id. */
#include "config/config.h"
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

void lua_server_open(lua_State *L)
{
    lua_newtable(L);
    lua_pushcfunction(L, server_option);
    lua_setfield(L, -2, "option");
    lua_setfield(L, -2, "server");
    lua_pushcfunction(L, worker_id);
    lua_setfield(L, -2, "worker_id");
    lua_pushcfunction(L, node_id);
    lua_setfield(L, -2, "node_id");
}
