/* Any bytes as a URL: all parts are there, or an error's text that is one line; what has no escapes
 * comes out as it went in. */
#include "base/check.h"
#include "lua_state.h"
#include "script/lua_modules.h"
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_fault(lua_State *L)
{
    size_t len;
    CHECK(lua_isnil(L, -2));
    const char *text = lua_tolstring(L, -1, &len);
    CHECK(text && strncmp(text, "parse \"", 7) == 0 && !memchr(text, '\n', len));
}

/* The part, which is the decoded form of `raw_key` where there is one. */
static size_t check_part(lua_State *L, const char *key, const char *raw_key)
{
    lua_getfield(L, 1, key);
    CHECK(lua_type(L, -1) == LUA_TSTRING);
    size_t len = lua_objlen(L, -1), raw_len = 0;
    lua_pop(L, 1);
    if (raw_key)
        raw_len = check_part(L, raw_key, NULL);
    CHECK(raw_len == 0 || raw_len >= len);
    return raw_len > len ? raw_len : len;
}

/* A name has one value or a list of several. */
static void check_query(lua_State *L)
{
    lua_getfield(L, 1, "query");
    CHECK(lua_istable(L, -1));
    lua_pushnil(L);
    for (; lua_next(L, -2); lua_pop(L, 1)) {
        CHECK(lua_type(L, -2) == LUA_TSTRING);
        CHECK(lua_type(L, -1) == LUA_TSTRING || lua_objlen(L, -1) > 1);
    }
    lua_pop(L, 1);
}

static void check_result(lua_State *L, size_t size)
{
    CHECK(lua_istable(L, 1));
    size_t sum = check_part(L, "scheme", NULL) + check_part(L, "opaque", NULL) +
                 check_part(L, "host", NULL) + check_part(L, "path", "raw_path") +
                 check_part(L, "raw_query", NULL) + check_part(L, "fragment", "raw_fragment");
    CHECK(sum <= size);
    check_part(L, "user", NULL);
    lua_getfield(L, 1, "force_query");
    CHECK(lua_isboolean(L, -1));
    check_query(L);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *L;
    if (!L)
        L = lua_state_new(lua_url_open);
    lua_getglobal(L, "parse_url");
    lua_pushlstring(L, (const char *)data, size);
    CHECK(lua_pcall(L, 1, LUA_MULTRET, 0) == 0);
    if (lua_gettop(L) == 2)
        check_fault(L);
    else
        check_result(L, size);
    lua_settop(L, 0);
    return 0;
}
