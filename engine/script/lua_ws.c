/* The C leaves of lua/protocols/websocket.lua: one call a stage, all byte work here, all callbacks
 * of the script in Lua, where they may suspend. */
#include "script/lua_ws.h"
#include "base/mem.h"
#include "proto/handshake.h"
#include "proto/ws.h"
#include "script/lua_buf.h"
#include "script/lua_conn.h"
#include "script/lua_helpers.h"
#include "script/lua_modules.h"
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

struct ws_state {
    struct session *session;
    bool open;  /* the 101 answer is queued */
    bool asked; /* the script has called input() */
    struct ws_decoder decoder;
    struct timeout timer; /* the handshake's, then the pings' */
    int message_ref;      /* what decode() hands out next */
    char *close_why;      /* what on_close is told of the client's close frame */
};

static struct ws_state *state_of(struct session *s)
{
    if (s->ws)
        return s->ws;
    struct ws_state *ws = s->ws = xcalloc(1, sizeof *ws);
    ws->session = s;
    ws->message_ref = LUA_NOREF;
    ws_decoder_init(&ws->decoder, s->vm->server->max_message_size);
    return ws;
}

void lua_ws_free(struct session *s)
{
    struct ws_state *ws = s->ws;
    if (!ws)
        return;
    s->ws = NULL;
    wheel_clear(s->vm->env->wheel, &ws->timer);
    luaL_unref(s->vm->L, LUA_REGISTRYINDEX, ws->message_ref);
    ws_decoder_fini(&ws->decoder);
    free(ws->close_why);
    free(ws);
}

/* -- frames out -- */

static const char *send_message(struct session *s, enum ws_opcode opcode, const char *data,
                                size_t len)
{
    char header[WS_HEADER_MAX];
    size_t header_len = ws_header(header, opcode, len);
    struct frame *frame = frame_new(NULL, header_len + len);
    memcpy(frame->data, header, header_len);
    memcpy(frame->data + header_len, data, len);
    const char *why = session_send_frame(s, frame);
    frame_unref(frame);
    return why;
}

static void send_close(struct session *s, uint16_t code, const char *reason)
{
    struct buf out = {0};
    ws_encode_close(&out, code, reason);
    session_send(s, out.data, out.len);
    buf_free(&out);
}

bool lua_ws_pending(const struct session *s)
{
    return s->vm->websocket && !s->plain && !(s->ws && s->ws->open);
}

void lua_ws_packet(struct session *s)
{
    if (!s->vm->websocket || s->plain || (s->ws && s->ws->asked))
        return;
    s->plain = true;
    lua_ws_free(s);
}

void lua_ws_goodbye(struct session *s, uint16_t code, const char *reason)
{
    if (s->ws && s->ws->open)
        send_close(s, code, reason);
}

/* -- the handshake -- */

static void refuse(struct session *s, int status, const char *why)
{
    struct buf out = {0};
    handshake_refuse(&out, status, why);
    session_send(s, out.data, out.len);
    buf_free(&out);
    session_close(s, why);
}

static void on_handshake_timeout(struct timeout *timeout)
{
    struct ws_state *ws = container_of(timeout, struct ws_state, timer);
    /* While a handler waits it is us who do not read. */
    if (ws->session->suspended)
        lua_ws_start_timer(ws->session);
    else
        refuse(ws->session, 408, "handshake timeout");
}

void lua_ws_start_timer(struct session *s)
{
    uint32_t seconds = s->vm->server->handshake_timeout;
    if (seconds)
        wheel_set(s->vm->env->wheel, &state_of(s)->timer, (uint64_t)seconds * 1000,
                  on_handshake_timeout);
}

static void on_ping_due(struct timeout *timeout)
{
    struct ws_state *ws = container_of(timeout, struct ws_state, timer);
    struct session *s = ws->session;
    if (send_message(s, WS_OP_PING, "", 0) == NULL)
        wheel_set(s->vm->env->wheel, timeout, (uint64_t)s->vm->server->ping_interval * 1000,
                  on_ping_due);
}

static int read_request(lua_State *L, struct session *s, const char *data, size_t len)
{
    struct handshake h;
    switch (handshake_parse(&h, data, len)) {
    case HANDSHAKE_MORE:
        lua_pushinteger(L, 0);
        return 1;
    case HANDSHAKE_BAD:
        refuse(s, h.status, h.why);
        lua_pushinteger(L, -1);
        return 1;
    case HANDSHAKE_OK:
        break;
    }
    lua_pushinteger(L, (lua_Integer)h.head_len);
    lua_pushlstring(L, h.uri.data, h.uri.len);
    return 2;
}

static void set_slice(lua_State *L, const char *name, struct slice value)
{
    lua_pushlstring(L, value.data, value.len);
    lua_setfield(L, -2, name);
}

/* A header that comes again is joined to the first with a comma (RFC 9110 section 5.3). */
static void add_header(lua_State *L, const struct handshake_header *header)
{
    lua_pushlstring(L, header->name.data, header->name.len);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushlstring(L, header->value.data, header->value.len);
    } else {
        lua_pushliteral(L, ", ");
        lua_pushlstring(L, header->value.data, header->value.len);
        lua_concat(L, 3);
    }
    lua_rawset(L, -3);
}

static void push_headers(lua_State *L, const struct handshake *h)
{
    lua_createtable(L, 0, (int)h->header_count + 3);
    for (size_t i = 0; i < h->header_count; i++)
        add_header(L, &h->headers[i]);
    set_slice(L, "Method", h->method);
    set_slice(L, "RequestUri", h->uri);
    set_slice(L, "ServerProtocol", h->version);
}

/* accept(buf, conn): queues the 101 answer; returns the headers, which stand in the context too. */
static int ws_accept(lua_State *L)
{
    struct session *s = lua_conn_check(L, 2);
    struct handshake h;
    size_t len;
    const char *data = lua_buf_check(L, 1, &len);
    if (!s || handshake_parse(&h, data, len) != HANDSHAKE_OK)
        return 0;
    struct ws_state *ws = state_of(s);
    struct buf answer = {0};
    handshake_answer(&answer, &h, NULL);
    session_send(s, answer.data, answer.len);
    buf_free(&answer);
    ws->open = true;
    wheel_clear(s->vm->env->wheel, &ws->timer);
    if (s->vm->server->ping_interval)
        wheel_set(s->vm->env->wheel, &ws->timer, (uint64_t)s->vm->server->ping_interval * 1000,
                  on_ping_due);
    push_headers(L, &h);
    session_push_context(s, L);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "headers");
    lua_pop(L, 1);
    lua_conn_context_changed(s);
    return 1;
}

/* refuse(conn): the request's path is not served. */
static int ws_refuse(lua_State *L)
{
    struct session *s = lua_conn_check(L, 1);
    if (s)
        refuse(s, 404, "no such path");
    return 0;
}

/* report(conn, text): an error in on_handshake is logged like one in on_message; the client stays.
 */
static int ws_report(lua_State *L)
{
    struct session *s = lua_conn_check(L, 1);
    lua_settop(L, 2);
    vm_log_error(vm_of(L), L, "on_handshake", s ? s->id : 0);
    return 0;
}

/* -- frames in -- */

static void keep_message(lua_State *L, struct ws_state *ws, const struct ws_item *item)
{
    lua_createtable(L, 0, 3);
    lua_pushstring(L, item->opcode == WS_OP_TEXT ? "text" : "binary");
    lua_setfield(L, -2, "type");
    lua_pushlstring(L, item->data, item->len);
    lua_setfield(L, -2, "data");
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "finish");
    luaL_unref(L, LUA_REGISTRYINDEX, ws->message_ref);
    ws->message_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* Done, gone, and no code at all are how clients leave in order. */
static const char *explain_close(struct ws_state *ws, const struct ws_item *item)
{
    if (item->code == 0 || item->code == 1000 || item->code == 1001)
        return NULL;
    ws->close_why = xasprintf("the client closed: %u%s%.*s", item->code, item->len > 0 ? " " : "",
                              (int)item->len, item->data);
    return ws->close_why;
}

static void answer_close(struct session *s, const struct ws_item *item)
{
    const char *why = explain_close(s->ws, item);
    send_close(s, item->code, "");
    session_close(s, why);
}

static void fail(struct session *s, const struct ws_item *item)
{
    send_close(s, item->code, item->why);
    session_close(s, item->why);
}

/* Eats frames up to the end of the first message, so that it is handled before what follows it. */
static size_t read_frames(lua_State *L, struct session *s, const char *data, size_t len)
{
    struct ws_state *ws = s->ws;
    size_t taken = 0;
    while (!s->closing) {
        struct ws_item item;
        size_t eaten;
        enum ws_event event =
            ws_decode(&ws->decoder, &s->vm->env->scratch, data + taken, len - taken, &eaten, &item);
        taken += eaten;
        if (event == WS_MORE)
            break;
        if (event == WS_PING)
            send_message(s, WS_OP_PONG, item.data, item.len);
        else if (event == WS_CLOSE)
            answer_close(s, &item);
        else if (event == WS_FAIL)
            fail(s, &item);
        else if (event == WS_MESSAGE) {
            keep_message(L, ws, &item);
            break;
        }
    }
    return taken;
}

/* input(buf, conn): the length of what was taken, -1 to disconnect; and the request's URI when that
 * was a handshake, which accept() or refuse() must answer. */
static int ws_input(lua_State *L)
{
    struct session *s = lua_conn_check(L, 2);
    size_t len;
    const char *data = lua_buf_check(L, 1, &len);
    if (!s || s->closing) {
        lua_pushinteger(L, -1);
        return 1;
    }
    struct ws_state *ws = state_of(s);
    ws->asked = true;
    if (!ws->open)
        return read_request(L, s, data, len);
    lua_pushinteger(L, (lua_Integer)read_frames(L, s, data, len));
    return 1;
}

/* decode(conn): the message that input() has found, nil when there is none. */
static int ws_decode_call(lua_State *L)
{
    struct session *s = lua_conn_check(L, 1);
    if (!s || !s->ws || s->ws->message_ref == LUA_NOREF)
        return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->ws->message_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, s->ws->message_ref);
    s->ws->message_ref = LUA_NOREF;
    return 1;
}

static enum ws_opcode check_type(lua_State *L, int arg)
{
    static const char *const types[] = {"text", "binary", NULL};
    return luaL_checkoption(L, arg, "text", types) == 0 ? WS_OP_TEXT : WS_OP_BINARY;
}

/* encode(data[, type]): a whole frame. */
static int ws_encode_call(lua_State *L)
{
    size_t len;
    const char *data = luaL_checklstring(L, 1, &len);
    enum ws_opcode opcode = check_type(L, 2);
    char header[WS_HEADER_MAX];
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    luaL_addlstring(&out, header, ws_header(header, opcode, len));
    luaL_addlstring(&out, data, len);
    luaL_pushresult(&out);
    return 1;
}

/* send(conn, data[, type]) */
static int ws_send(lua_State *L)
{
    struct session *s = lua_conn_check(L, 1);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    enum ws_opcode opcode = check_type(L, 3);
    if (s && !s->closing && lua_ws_pending(s))
        return lua_outcome(L, "the handshake is not done");
    return lua_outcome(L, s ? send_message(s, opcode, data, len) : "closed");
}

int luaopen_mixengine_websocket(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"input", ws_input},        {"accept", ws_accept}, {"refuse", ws_refuse},
        {"report", ws_report},      {"send", ws_send},     {"decode", ws_decode_call},
        {"encode", ws_encode_call}, {NULL, NULL},
    };
    vm_of(L)->websocket = true;
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    return 1;
}
