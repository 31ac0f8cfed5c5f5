#include "script/lua_request.h"
#include "script/lua_conn.h"
#include <lauxlib.h>
#include <string.h>
#include <strings.h>

static const char *const META = "mixengine.headers";
static const char *const FIND = "mixengine.find"; /* string.find, whatever the script does to it */

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* X-Real-Ip, whatever was sent. */
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

static void set_slice(lua_State *L, const char *name, struct slice value)
{
    lua_pushlstring(L, value.data, value.len);
    lua_setfield(L, -2, name);
}

/* The name stands on the stack. A header that comes again is joined to the first with a comma (RFC
 * 9110 section 5.3). */
static void add_header(lua_State *L, struct slice value)
{
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

void lua_request_open(lua_State *L)
{
    luaL_newmetatable(L, META);
    lua_pushcfunction(L, find_any_case);
    lua_setfield(L, -2, "__index");
    lua_getglobal(L, "string");
    lua_getfield(L, -1, "find");
    lua_setfield(L, LUA_REGISTRYINDEX, FIND);
    lua_pop(L, 2);
}

static void set_request(lua_State *L, const struct handshake *h)
{
    set_slice(L, "Method", h->method);
    set_slice(L, "RequestUri", h->uri);
    set_slice(L, "ServerProtocol", h->version);
}

void lua_request_push_headers(lua_State *L, struct session *s, const struct handshake *h,
                              enum header_names names)
{
    lua_createtable(L, 0, (int)h->header_count + 3);
    for (size_t i = 0; i < h->header_count; i++) {
        struct slice name = h->headers[i].name;
        if (names == HEADER_NAMES_CANONICAL)
            push_canonical(L, name);
        else
            lua_pushlstring(L, name.data, name.len);
        add_header(L, h->headers[i].value);
    }
    set_request(L, h);
    luaL_getmetatable(L, META);
    lua_setmetatable(L, -2);
    session_push_context(s, L);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "headers");
    lua_pop(L, 1);
    lua_conn_context_changed(s);
}

void lua_request_push_server(lua_State *L, const struct session *s, const struct handshake *h)
{
    lua_createtable(L, 0, 5);
    set_request(L, h);
    set_slice(L, "Host", h->host);
    lua_pushstring(L, s->remote);
    lua_setfield(L, -2, "RemoteAddr");
}

bool lua_request_path_matches(struct vm *vm, lua_State *L, struct slice uri, struct slice path)
{
    if (path.len <= uri.len && memcmp(uri.data, path.data, path.len) == 0)
        return true;
    lua_getfield(L, LUA_REGISTRYINDEX, FIND);
    lua_pushlstring(L, uri.data, uri.len);
    lua_pushlstring(L, path.data, path.len);
    bool found = vm_call(vm, L, 2, 1, "path", 0) == 0 && lua_tonumber(L, -1) == 1;
    lua_pop(L, 1);
    return found;
}

void lua_request_push_message(lua_State *L, const struct ws_item *message)
{
    lua_createtable(L, 0, 3);
    lua_pushstring(L, message->opcode == WS_OP_TEXT ? "text" : "binary");
    lua_setfield(L, -2, "type");
    lua_pushlstring(L, message->data, message->len);
    lua_setfield(L, -2, "data");
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "finish");
}
