#include "script/dispatch.h"
#include "base/check.h"
#include "base/log.h"
#include "msg/client_id.h"
#include "script/lua_buf.h"
#include "script/lua_conn.h"
#include "script/lua_modules.h"
#include "script/session_input.h"
#include "script/session_protocol.h"
#include "script/session_ws.h"
#include <lauxlib.h>
#include <string.h>

extern const char dispatch_lua[], dispatch_lua_end[];

/* -- leaves: called by compiled code, so no Lua from here -- */

static struct session *running(const struct vm *vm)
{
    return vm->env->running->session;
}

static void put_in_box(struct vm *vm, const char *data, size_t len, bool binary)
{
    vm->box.data = data;
    vm->box.len = len;
    vm->box.binary = binary;
}

static bool fetch_message(struct session *s)
{
    struct ws_item message;
    if (!s->vm->protocol->next(s, &message))
        return false;
    put_in_box(s->vm, message.data, message.len, message.opcode == WS_OP_BINARY);
    return true;
}

static int32_t next_message(struct vm *vm)
{
    bool full = vm->box.full;
    vm->box.full = false;
    return full || fetch_message(running(vm));
}

static int32_t begin_input(struct vm *vm)
{
    struct session *s = running(vm);
    if (!session_begin_input(s))
        return 0;
    lua_buf_point(s->task->view, s);
    return 1;
}

static int32_t find_packet(struct vm *vm, double length)
{
    struct session *s = running(vm);
    lua_buf_point(s->task->view, NULL);
    size_t len;
    const char *packet = session_find_packet(s, length, &len);
    put_in_box(vm, packet, len, false);
    return packet != NULL;
}

static void take_packet(struct vm *vm)
{
    session_take_packet(running(vm), vm->box.len);
}

static int32_t begin_message(struct vm *vm)
{
    return session_begin_message(running(vm));
}

/* Its registry reference; 0: it has none yet, or there is none. */
static int32_t current_ref(struct vm *vm)
{
    const struct session *s = lua_conn_current(vm);
    return s && s->conn_ref > 0 ? s->conn_ref : 0;
}

static int32_t context_ref(struct vm *vm, const struct conn_handle *handle)
{
    const struct session *s = session_find(vm->env, handle->id);
    return s && s->context_ref > 0 ? s->context_ref : 0;
}

static const char *send_bytes(struct vm *vm, const struct conn_handle *handle, const char *data,
                              size_t len, int32_t binary)
{
    struct session *s = session_find(vm->env, handle->id);
    if (!s)
        return SESSION_CLOSED;
    const struct session_protocol *protocol = vm->protocol;
    return protocol->send ? protocol->send(s, data, len, binary) : session_send(s, data, len);
}

/* In generation 2 no conn is given: the current one is meant. */
static struct session *session_of(struct vm *vm, const struct conn_handle *handle)
{
    return handle ? session_find(vm->env, handle->id) : lua_conn_current(vm);
}

static int32_t slot_of(const struct session *s)
{
    return (int32_t)(client_number(s->id) >> SLOT_GENERATION_BITS);
}

/* How many bytes it took; box.slot: of the session whose message is in the box, -1: none is.
 * -1: for the slow way. */
static double ws_input(struct vm *vm, const struct buf_view *view, const struct conn_handle *handle)
{
    struct session *s = session_of(vm, handle);
    size_t len, taken;
    const char *data = lua_buf_bytes(view, &len);
    vm->box.slot = -1;
    if (!data || !s || s->closing || !session_ws_is_open(s))
        return -1;
    struct ws_item message;
    if (session_ws_read(s, data, len, &taken, &message)) {
        put_in_box(vm, message.data, message.len, false);
        vm->box.slot = slot_of(s);
        s->message = message.opcode;
    }
    return (double)taken;
}

/* The slot of the session whose message waits to be handed out; -1: none does. */
static int32_t ws_take(struct vm *vm, const struct conn_handle *handle)
{
    struct session *s = session_of(vm, handle);
    if (!s || !s->message)
        return -1;
    vm->box.binary = s->message == WS_OP_BINARY;
    s->message = 0;
    return slot_of(s);
}

static const char *ws_send(struct vm *vm, const struct conn_handle *handle, const char *data,
                           size_t len, int32_t binary)
{
    struct session *s = session_of(vm, handle);
    return s ? session_ws_send(s, data, len, binary) : SESSION_CLOSED;
}

/* -- the slow ways -- */

/* inherited(name): of the metatable of the script's globals. */
static int push_inherited(lua_State *L)
{
    vm_push_global(vm_of(L), L, luaL_checkstring(L, 1));
    return 1;
}

static int on_no_input(lua_State *L)
{
    struct vm *vm = vm_of(L);
    log_error("script", "%s defines no protocol_input", vm->server->entry);
    session_close(running(vm), CLOSE_ERROR, "the script defines no protocol_input");
    return 0;
}

/* wrong_length(value): protocol_input has returned what is no number. */
static int on_wrong_length(lua_State *L)
{
    struct session *s = running(vm_of(L));
    const char *text = lua_tostring(L, 1);
    session_wrong_length(s,
                         "must return an integer: the packet's length, 0 to wait, -1 to disconnect",
                         text ? text : luaL_typename(L, 1));
    return 0;
}

static const luaL_Reg slow_ways[] = {
    {"inherited", push_inherited},
    {"no_input", on_no_input},
    {"wrong_length", on_wrong_length},
    {NULL, NULL},
};

/* -- opening -- */

typedef void leaf_fn(void);

static const struct {
    const char *name;
    leaf_fn *leaf;
} leaves[] = {
    {"next_message", (leaf_fn *)next_message},
    {"begin_input", (leaf_fn *)begin_input},
    {"find_packet", (leaf_fn *)find_packet},
    {"take_packet", (leaf_fn *)take_packet},
    {"begin_message", (leaf_fn *)begin_message},
    {"current_ref", (leaf_fn *)current_ref},
    {"context_ref", (leaf_fn *)context_ref},
    {"send", (leaf_fn *)send_bytes},
    {"ws_input", (leaf_fn *)ws_input},
    {"ws_take", (leaf_fn *)ws_take},
    {"ws_send", (leaf_fn *)ws_send},
};

static void push_leaves(lua_State *L)
{
    lua_createtable(L, 0, sizeof leaves / sizeof *leaves);
    for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++) {
        /* POSIX: a pointer to a function fits a pointer to an object (dlsym). */
        void *address;
        memcpy(&address, &leaves[i].leaf, sizeof address);
        lua_pushlightuserdata(L, address);
        lua_setfield(L, -2, leaves[i].name);
    }
}

static void push_slow_ways(lua_State *L)
{
    lua_newtable(L);
    luaL_setfuncs(L, slow_ways, 0);
}

void dispatch_open(lua_State *L)
{
    struct vm *vm = vm_of(L);
    int mix = lua_gettop(L);
    size_t len = (size_t)(dispatch_lua_end - dispatch_lua);
    CHECK(luaL_loadbuffer(L, dispatch_lua, len, "=dispatch") == 0);
    push_leaves(L);
    push_slow_ways(L);
    lua_pushvalue(L, mix);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->conn_meta);
    lua_buf_push_meta(L);
    lua_ws_push(L);
    lua_pushvalue(L, -1);
    vm->codec = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushvalue(L, LUA_REGISTRYINDEX);
    lua_pushlightuserdata(L, vm);
    lua_pushlightuserdata(L, &vm->box);
    lua_call(L, 9, 3);
    vm->waiting = luaL_ref(L, LUA_REGISTRYINDEX);
    vm->serve_packets = luaL_ref(L, LUA_REGISTRYINDEX);
    vm->serve_messages = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* -- use -- */

bool dispatch_has_work(struct session *s)
{
    return !s->vm->protocol->next || (s->vm->box.full = fetch_message(s));
}

int dispatch_push(struct session *s, lua_State *L)
{
    const struct session_protocol *protocol = s->vm->protocol;
    lua_rawgeti(L, LUA_REGISTRYINDEX,
                protocol->next ? s->vm->serve_messages : s->vm->serve_packets);
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    if (protocol->next)
        return 1;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->task->view_ref);
    protocol->push_connection(s, L);
    return lua_gettop(L) - 1;
}

void dispatch_forget(struct session *s)
{
    if (!s->message)
        return;
    lua_State *L = s->vm->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->vm->waiting);
    lua_pushboolean(L, false);
    lua_rawseti(L, -2, slot_of(s));
    lua_pop(L, 1);
    s->message = 0;
}
