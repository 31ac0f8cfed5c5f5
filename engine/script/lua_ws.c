/* What lua/protocols/websocket.lua needs of C, but for its calls for each message (dispatch.lua):
 * all byte work is in C (session_ws.h), all callbacks of the script are called from Lua, where they
 * may suspend. */
#include "script/lua_buf.h"
#include "script/lua_conn.h"
#include "script/lua_helpers.h"
#include "script/lua_modules.h"
#include "script/lua_request.h"
#include "script/session_ws.h"
#include <lauxlib.h>

/* In generation 2 no conn is given: the current one is meant. */
static struct session *session_at(lua_State *L, int arg)
{
    return lua_isuserdata(L, arg) ? lua_conn_check(L, arg) : lua_conn_current(vm_of(L));
}

/* accept(buf, conn, tell): queues the 101 answer; with `tell` returns the headers, which stand in
 * the context too, and without conn what else generation 2 tells of a client: its id, the table
 * `server`. */
static int ws_accept(lua_State *L)
{
    struct session *s = session_at(L, 2);
    struct handshake h;
    size_t len;
    const char *data = lua_buf_check(L, 1, &len);
    if (!s || handshake_parse(&h, data, len) != HANDSHAKE_OK)
        return 0;
    session_ws_accept(s, &h);
    if (!lua_toboolean(L, 3)) {
        session_ws_keep(s, &h);
        return 0;
    }
    lua_request_push_headers(L, s, &h);
    if (!lua_isnoneornil(L, 2))
        return 1;
    lua_conn_push_id(L, s);
    lua_request_push_server(L, s, &h);
    return 3;
}

/* path_matches(uri, path) */
static int ws_path_matches(lua_State *L)
{
    struct slice uri, path;
    uri.data = luaL_checklstring(L, 1, &uri.len);
    path.data = luaL_checklstring(L, 2, &path.len);
    lua_pushboolean(L, lua_request_path_matches(vm_of(L), L, uri, path));
    return 1;
}

/* refuse(conn): the request's path is not served. */
static int ws_refuse(lua_State *L)
{
    struct session *s = session_at(L, 1);
    if (s)
        session_ws_refuse(s, 404, "no such path");
    return 0;
}

/* report(conn, text): an error in on_handshake is logged like one in on_message; the client stays.
 */
static int ws_report(lua_State *L)
{
    struct session *s = session_at(L, 1);
    lua_settop(L, 2);
    vm_log_error(vm_of(L), L, "on_handshake", s ? s->id : 0);
    return 0;
}

static int read_request(lua_State *L, struct session *s, const char *data, size_t len)
{
    struct handshake h;
    switch (session_ws_request(s, data, len, &h)) {
    case HANDSHAKE_MORE:
        lua_pushinteger(L, 0);
        return 1;
    case HANDSHAKE_BAD:
        lua_pushinteger(L, -1);
        return 1;
    case HANDSHAKE_OK:
        break;
    }
    lua_pushinteger(L, (lua_Integer)h.head_len);
    lua_pushlstring(L, h.uri.data, h.uri.len);
    return 2;
}

/* input(buf, conn): the length of a request, and its URI, which accept() or refuse() must answer;
 * -1 to disconnect. Open clients are read by dispatch.lua. */
static int ws_input(lua_State *L)
{
    struct session *s = session_at(L, 2);
    size_t len;
    const char *data = lua_buf_check(L, 1, &len);
    if (s && !s->closing)
        return read_request(L, s, data, len);
    lua_pushinteger(L, -1);
    return 1;
}

/* encode(data[, type]): a whole frame. */
static int ws_encode_call(lua_State *L)
{
    size_t len;
    const char *data = luaL_checklstring(L, 1, &len);
    char header[WS_HEADER_MAX];
    luaL_Buffer out;
    enum ws_opcode opcode = lua_check_binary(L, 2) ? WS_OP_BINARY : WS_OP_TEXT;
    luaL_buffinit(L, &out);
    luaL_addlstring(&out, header, ws_header(header, opcode, len));
    luaL_addlstring(&out, data, len);
    luaL_pushresult(&out);
    return 1;
}

/* send(conn, data[, type]) */
static int ws_send(lua_State *L)
{
    struct session *s = session_at(L, 1);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    bool binary = lua_check_binary(L, 3);
    return lua_outcome(L, s ? session_ws_send(s, data, len, binary) : SESSION_CLOSED);
}

void lua_ws_push(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"path_matches", ws_path_matches},
        {"input", ws_input},
        {"accept", ws_accept},
        {"refuse", ws_refuse},
        {"report", ws_report},
        {"send", ws_send},
        {"encode", ws_encode_call},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
}

int luaopen_mixengine_websocket(lua_State *L)
{
    struct vm *vm = vm_of(L);
    vm->websocket = true;
    lua_newtable(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->codec);
    for (lua_pushnil(L); lua_next(L, -2);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -5);
    }
    lua_pop(L, 1);
    return 1;
}
