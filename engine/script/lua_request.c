#include "script/lua_request.h"
#include "script/lua_conn.h"
#include "script/session_protocol.h"
#include "script/session_ws.h"
#include <lauxlib.h>
#include <string.h>

static const char *const FIND = "mixengine.find"; /* string.find, whatever the script does to it */

static void set_slice(lua_State *L, const char *name, struct slice value)
{
    lua_pushlstring(L, value.data, value.len);
    lua_setfield(L, -2, name);
}

void lua_request_open(lua_State *L)
{
    lua_getglobal(L, "string");
    lua_getfield(L, -1, "find");
    lua_setfield(L, LUA_REGISTRYINDEX, FIND);
    lua_pop(L, 1);
}

static void set_request(lua_State *L, const struct handshake *h)
{
    set_slice(L, "Method", h->method);
    set_slice(L, "RequestUri", h->uri);
    set_slice(L, "ServerProtocol", h->version);
}

/* The built-in protocol's are canonical, the shipped codec's as they were sent. */
static enum header_names names_of(const struct session *s)
{
    return s->vm->protocol->open ? HEADER_NAMES_CANONICAL : HEADER_NAMES_AS_SENT;
}

static void push_headers(lua_State *L, const struct handshake *h, enum header_names names)
{
    lua_headers_new(L, h->header_count + 3);
    for (size_t i = 0; i < h->header_count; i++)
        lua_headers_add(L, h->headers[i].name, h->headers[i].value, names);
    set_request(L, h);
}

void lua_request_push_headers(lua_State *L, struct session *s, const struct handshake *h)
{
    push_headers(L, h, names_of(s));
    session_push_context(s, L);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "headers");
    lua_pop(L, 1);
    lua_conn_context_changed(s);
}

void lua_request_recall(lua_State *L, struct session *s)
{
    struct handshake h;
    const char *request = session_ws_kept(s);
    if (!request)
        return;
    /* A finalizer of the script's may ask for the context meanwhile: the text is Lua's until the
     * headers are made, and this session has none any more. */
    lua_pushstring(L, request);
    request = lua_tostring(L, -1);
    session_ws_drop_kept(s);
    if (handshake_parse(&h, request, strlen(request)) == HANDSHAKE_OK) {
        push_headers(L, &h, names_of(s));
        lua_setfield(L, -3, "headers");
    }
    lua_pop(L, 1);
}

void lua_request_push_server(lua_State *L, const struct session *s, const struct handshake *h)
{
    char remote[ADDRESS_TEXT];
    lua_createtable(L, 0, 5);
    set_request(L, h);
    set_slice(L, "Host", h->host);
    lua_pushstring(L, session_remote(s, remote));
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
