#include "base/log.h"
#include "script/lua_modules.h"
#include <lauxlib.h>

static int mix_log(lua_State *L)
{
    lua_Integer level = luaL_checkinteger(L, 1);
    luaL_argcheck(L, level >= LOG_LEVEL_DEBUG && level <= LOG_LEVEL_ERROR, 1,
                  "mix.DEBUG, mix.INFO, mix.WARN or mix.ERROR");
    luaL_checkany(L, 2);
    if (level < (lua_Integer)log_level())
        return 0;
    lua_getglobal(L, "tostring");
    lua_pushvalue(L, 2);
    lua_call(L, 1, 1);
    const char *text = lua_tostring(L, -1);
    if (!text)
        text = "nil";
    log_write_alike((enum log_level)level, "lua", text, "%s", text);
    return 0;
}

void lua_log_open(lua_State *L)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {
        {"DEBUG", LOG_LEVEL_DEBUG},
        {"INFO", LOG_LEVEL_INFO},
        {"WARN", LOG_LEVEL_WARN},
        {"ERROR", LOG_LEVEL_ERROR},
    };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        lua_pushinteger(L, levels[i].level);
        lua_setfield(L, -2, levels[i].name);
    }
    lua_pushcfunction(L, mix_log);
    lua_setfield(L, -2, "log");
}
