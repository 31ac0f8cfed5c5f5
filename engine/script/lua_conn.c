#include "script/lua_conn.h"
#include "msg/client_id.h"
#include "proto/ws.h"
#include "script/lua_helpers.h"
#include "script/lua_modules.h"
#include "script/session_protocol.h"
#include <lauxlib.h>
#include <math.h>
#include <string.h>

static const char *const META = "mixengine.conn";
static const char *const PROBE_META = "mixengine.probe";

static int touch_probe(lua_State *L)
{
    vm_of(L)->probe_touched = true;
    return luaL_error(L, "this encoding depends on the connection");
}

static struct conn_handle *check_handle(lua_State *L, int arg)
{
    struct conn_handle *handle = luaL_testudata(L, arg, META);
    if (!handle && luaL_testudata(L, arg, PROBE_META))
        touch_probe(L);
    return handle ? handle : luaL_checkudata(L, arg, META);
}

struct session *lua_conn_check(lua_State *L, int arg)
{
    uint64_t id = check_handle(L, arg)->id;
    return session_find(vm_of(L)->env, id);
}

void lua_conn_push(lua_State *L, struct session *s)
{
    if (s->conn_ref != LUA_NOREF) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->conn_ref);
        return;
    }
    struct conn_handle *handle = lua_newuserdata(L, sizeof *handle);
    handle->id = s->id;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->vm->conn_meta);
    lua_pushvalue(L, -1);
    lua_setfenv(L, -3); /* else it would keep the globals of the generation in which it is made */
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    s->conn_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* -- who it is -- */

static int push_id(lua_State *L, uint64_t id)
{
    char text[CLIENT_ID_TEXT];
    lua_pushlstring(L, text, (size_t)client_id_format(id, text));
    return 1;
}

void lua_conn_push_id(lua_State *L, const struct session *s)
{
    push_id(L, s->id);
}

static int conn_client_id(lua_State *L)
{
    return push_id(L, check_handle(L, 1)->id);
}

static int conn_remote_addr(lua_State *L)
{
    struct session *s = lua_conn_check(L, 1);
    char text[ADDRESS_TEXT];
    lua_pushstring(L, s ? session_remote(s, text) : "");
    return 1;
}

static int conn_tostring(lua_State *L)
{
    lua_pushliteral(L, "conn: ");
    push_id(L, check_handle(L, 1)->id);
    lua_concat(L, 2);
    return 1;
}

/* -- the context -- */

static int conn_context(lua_State *L)
{
    struct session *s = lua_conn_check(L, 1);
    if (s)
        session_push_context(s, L);
    else
        lua_newtable(L);
    return 1;
}

static int conn_context_value(lua_State *L)
{
    struct session *s = lua_conn_check(L, 1);
    luaL_checkany(L, 2);
    if (!s || !session_has_context(s) || lua_isnil(L, 2)) {
        lua_pushnil(L);
        return 1;
    }
    session_push_context(s, L);
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    return 1;
}

static void check_key(lua_State *L, int arg)
{
    luaL_argcheck(L, !lua_isnoneornil(L, arg), arg, "a key");
    luaL_argcheck(L, lua_type(L, arg) != LUA_TNUMBER || !isnan(lua_tonumber(L, arg)), arg,
                  "a key, not NaN");
}

static int conn_set_context_value(lua_State *L)
{
    struct session *s = lua_conn_check(L, 1);
    check_key(L, 2);
    luaL_checkany(L, 3);
    if (!s)
        return lua_outcome(L, SESSION_CLOSED);
    session_push_context(s, L);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_rawset(L, -3);
    lua_conn_context_changed(s);
    return lua_outcome(L, NULL);
}

static int conn_set_context(lua_State *L)
{
    struct session *s = lua_conn_check(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    if (!s)
        return lua_outcome(L, SESSION_CLOSED);
    session_push_context(s, L);
    int context = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, 2)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, context);
    }
    lua_conn_context_changed(s);
    return lua_outcome(L, NULL);
}

/* -- waiting for a context value -- */

static bool push_value(struct session *s, lua_State *L, int key)
{
    session_push_context(s, L);
    lua_pushvalue(L, key);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    if (!lua_isnil(L, -1))
        return true;
    lua_pop(L, 1);
    return false;
}

static int wait_results(struct task *task)
{
    if (task->why)
        return lua_fail(task->L, task->why);
    lua_rawgeti(task->L, LUA_REGISTRYINDEX, task->key_ref);
    return 1;
}

static void wait_cut(struct task *task)
{
    task->why = SESSION_CLOSED;
}

static void wait_fini(struct task *task)
{
    luaL_unref(task->L, LUA_REGISTRYINDEX, task->key_ref);
    task->key_ref = LUA_NOREF;
}

static const struct task_wait context_wait = {
    .what = "wait_context_value",
    .cut_by_end = true,
    .cut = wait_cut,
    .results = wait_results,
    .fini = wait_fini,
};

static void on_wait_timeout(struct timeout *timeout)
{
    struct task *task = container_of(timeout, struct task, timer);
    task->why = "timeout";
    task_wake(task);
}

void lua_conn_context_changed(struct session *s)
{
    struct task *task = s->task;
    if (!s->suspended || !task || task->wait != &context_wait || task->woken)
        return;
    lua_State *L = s->vm->L;
    struct vm *outside = vm_enter(s->vm->env, NULL);
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->key_ref);
    if (push_value(s, L, lua_gettop(L))) {
        /* The value goes with the wake: the next command may take the key away again. */
        luaL_unref(L, LUA_REGISTRYINDEX, task->key_ref);
        task->key_ref = luaL_ref(L, LUA_REGISTRYINDEX);
        task_wake(task);
    }
    lua_pop(L, 1);
    vm_enter(s->vm->env, outside);
}

static int conn_wait_context_value(lua_State *L)
{
    struct session *s = lua_conn_check(L, 1);
    check_key(L, 2);
    bool limited = !lua_isnoneornil(L, 3);
    lua_Number seconds = limited ? luaL_checknumber(L, 3) : 0;
    luaL_argcheck(L, seconds >= 0 && seconds <= 1e6, 3, "seconds, 0 to 1000000");
    if (s && push_value(s, L, 2))
        return 1;
    if (!s || s->closing || s->ended)
        return lua_fail(L, SESSION_CLOSED);
    if (limited && seconds == 0)
        return lua_fail(L, "timeout");
    const char *why;
    if (!task_may_suspend(s->vm, L, &why))
        return lua_fail(L, why);
    struct task *task = s->vm->env->running;
    if (task->session != s)
        return lua_fail(L, "a handler can wait for a context value of its own connection only");
    lua_pushvalue(L, 2);
    task->key_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    task->why = NULL;
    if (limited)
        script_env_set_timeout(s->vm->env, &task->timer, (uint64_t)(seconds * 1000),
                               on_wait_timeout);
    return task_suspend(task, &context_wait);
}

/* -- channels, bytes, the end -- */

static int each_channel(lua_State *L, const char *(*change)(struct session *, const char *, size_t))
{
    struct session *s = lua_conn_check(L, 1);
    luaL_checkstring(L, 2);
    int count = lua_gettop(L);
    for (int i = 2; i <= count; i++)
        luaL_checkstring(L, i);
    const char *why = s ? NULL : SESSION_CLOSED;
    for (int i = 2; i <= count && !why; i++) {
        size_t len;
        const char *name = lua_tolstring(L, i, &len);
        why = change(s, name, len);
    }
    return lua_outcome(L, why);
}

static int conn_subscribe(lua_State *L)
{
    return each_channel(L, session_subscribe);
}

static int conn_unsubscribe(lua_State *L)
{
    return each_channel(L, session_unsubscribe);
}

static int conn_send_method(lua_State *L)
{
    struct session *s = lua_conn_check(L, 1);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    if (!s)
        return lua_outcome(L, SESSION_CLOSED);
    const struct session_protocol *protocol = s->vm->protocol;
    return lua_outcome(L, protocol->send ? protocol->send(s, data, len, lua_check_binary(L, 3))
                                         : session_send(s, data, len));
}

/* 0: none was given. */
static uint16_t check_close_code(lua_State *L, int arg)
{
    if (lua_isnoneornil(L, arg))
        return 0;
    lua_Number code = luaL_checknumber(L, arg);
    bool valid = code >= 0 && code <= UINT16_MAX && code == floor(code) &&
                 ws_close_code_valid((uint16_t)code);
    luaL_argcheck(L, valid, arg, "a code that a close frame may carry");
    return (uint16_t)code;
}

/* err = close([code[, reason]]) */
static int conn_close_method(lua_State *L)
{
    struct session *s = lua_conn_check(L, 1);
    uint16_t code = check_close_code(L, 2);
    const char *reason = luaL_optstring(L, 3, "");
    luaL_argcheck(L, code || lua_isnoneornil(L, 3), 3, "a reason goes with a code");
    if (!s || s->closing)
        return lua_outcome(L, SESSION_CLOSED);
    session_dismiss(s, CLOSE_SCRIPT, code, reason, NULL);
    return lua_outcome(L, NULL);
}

static int conn_clear_buffer(lua_State *L)
{
    struct session *s = lua_conn_check(L, 1);
    if (s)
        session_discard_input(s);
    return 0;
}

/* -- the current connection, and the probe -- */

struct session *lua_conn_current(struct vm *vm)
{
    struct session *s = vm->env->current;
    vm->probe_touched = true;
    return s && s->vm == vm ? s : NULL;
}

static int current(lua_State *L)
{
    struct session *s = lua_conn_current(vm_of(L));
    if (!s)
        return lua_fail(L, "there is no current connection here");
    lua_conn_push(L, s);
    return 1;
}

void lua_conn_push_probe(struct vm *vm, lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->probe);
}

static const luaL_Reg methods[] = {
    {"client_id", conn_client_id},
    {"remote_addr", conn_remote_addr},
    {"context", conn_context},
    {"context_value", conn_context_value},
    {"set_context", conn_set_context},
    {"set_context_value", conn_set_context_value},
    {"wait_context_value", conn_wait_context_value},
    {"subscribe", conn_subscribe},
    {"unsubscribe", conn_unsubscribe},
    {"send", conn_send_method},
    {"close", conn_close_method},
    {"clear_buffer", conn_clear_buffer},
    {"__tostring", conn_tostring},
    {NULL, NULL},
};

static void open_probe(lua_State *L, struct vm *vm)
{
    static const char *const uses[] = {"__index", "__newindex", "__tostring", "__eq",
                                       "__lt",    "__le",       "__concat",   "__call"};
    lua_newuserdata(L, 1);
    luaL_newmetatable(L, PROBE_META);
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        lua_pushcfunction(L, touch_probe);
        lua_setfield(L, -2, uses[i]);
    }
    lua_setmetatable(L, -2);
    vm->probe = luaL_ref(L, LUA_REGISTRYINDEX);
}

void lua_conn_open(lua_State *L)
{
    struct vm *vm = vm_of(L);
    luaL_newmetatable(L, META);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    vm->conn_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    open_probe(L, vm);
    lua_pushcfunction(L, current);
    lua_setfield(L, -2, "websocket");
    lua_newtable(L);
    lua_pushcfunction(L, current);
    lua_setfield(L, -2, "tcp");
    lua_setfield(L, -2, "socket");
}
