/* mix.redis. A command is written into env->command and handed to its pool; its handler is
 * suspended until the answer is there. */
#include "script/json.h"
#include "script/lua_helpers.h"
#include "script/lua_modules.h"
#include "script/redis_pool.h"
#include "script/session.h"
#include <inttypes.h>
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const META = "mixengine.redis";

enum { EXACT_BITS = 53 }; /* integers that a Lua number holds */

/* -- replies -- */

static void push_integer(lua_State *L, long long value)
{
    char text[24];
    long long limit = 1LL << EXACT_BITS;
    if (value <= limit && value >= -limit) {
        lua_pushnumber(L, (lua_Number)value);
        return;
    }
    snprintf(text, sizeof text, "%lld", value);
    lua_pushstring(L, text);
}

static void push_element(lua_State *L, const redisReply *reply);

/* The reader refuses lists more than seven deep: they fit the stack that a C function has. */
static void push_list(lua_State *L, const redisReply *reply)
{
    lua_createtable(L, (int)reply->elements, 0);
    for (size_t i = 0; i < reply->elements; i++) {
        push_element(L, reply->element[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

static void push_value(lua_State *L, const redisReply *reply)
{
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        push_integer(L, reply->integer);
        break;
    case REDIS_REPLY_ARRAY:
        push_list(L, reply);
        break;
    case REDIS_REPLY_NIL:
        lua_pushnil(L);
        break;
    default: /* a string, a status, an error's text */
        lua_pushlstring(L, reply->str, reply->len);
    }
}

/* A list keeps its length, so nil is false there; and an error is told from a string. */
static void push_element(lua_State *L, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_NIL) {
        lua_pushboolean(L, false);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        lua_createtable(L, 0, 1);
        push_value(L, reply);
        lua_setfield(L, -2, "err");
    } else {
        push_value(L, reply);
    }
}

/* -- waiting -- */

static int push_failure(lua_State *L, const char *why)
{
    lua_fail(L, why);
    return 2;
}

/* What the call returns is made at once: the reply ends with this call. */
static void on_done(void *owner, const redisReply *reply, const char *why)
{
    struct task *task = owner;
    lua_State *L = task->L;
    task->pending = NULL;
    if (!reply) {
        task->expected = push_failure(L, why);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        lua_pushnil(L);
        push_value(L, reply);
        task->expected = 2;
    } else {
        push_value(L, reply);
        task->expected = 1;
    }
    task_wake(task);
}

static void redis_fini(struct task *task)
{
    if (task->pending)
        redis_forget(task->pending);
    task->pending = NULL;
}

static void redis_cut(struct task *task)
{
    redis_fini(task);
    task->why = SESSION_CLOSED;
}

static int redis_results(struct task *task)
{
    return task->why ? push_failure(task->L, task->why) : (int)task->expected;
}

static const struct task_wait redis_wait = {
    .what = "redis",
    .cut_by_end = true,
    .cut = redis_cut,
    .results = redis_results,
    .fini = redis_fini,
};

/* Sends the command in env->command. Messages that came before the end of the input are handled
 * after it, and what they send counts; but nothing is begun that waits for data. */
static int call(lua_State *L, struct vm *vm, struct redis_pool *pool)
{
    const struct buf *command = &vm->env->command;
    struct redis_need need = redis_command_need(command->data, command->len);
    const char *why = need.refused;
    if (why || !task_may_suspend(vm, L, &why))
        return lua_fail(L, why);
    struct task *task = vm->env->running;
    if (need.alone && session_is_ending(task->session))
        return lua_fail(L, SESSION_CLOSED);
    task->why = NULL;
    task->pending = redis_send(pool, command, &need, on_done, task, &why);
    if (!task->pending)
        return lua_fail(L, why);
    return task_suspend(task, &redis_wait);
}

/* -- commands -- */

static void check_arg(lua_State *L, int arg)
{
    int type = lua_type(L, arg);
    luaL_argcheck(L, type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TBOOLEAN, arg,
                  "a string, a number or a boolean");
}

static void add_text(struct buf *out, const char *text)
{
    redis_command_add(out, text, strlen(text));
}

static void add_number(struct buf *out, double value)
{
    struct buf text = {0};
    if (isfinite(value))
        json_number_append(&text, value);
    else
        buf_printf(&text, "%g", value); /* scores and increments may be inf */
    redis_command_add(out, text.data, text.len);
    buf_free(&text);
}

static void add_arg(lua_State *L, struct buf *out, int arg)
{
    size_t len;
    const char *text;
    switch (lua_type(L, arg)) {
    case LUA_TNUMBER:
        add_number(out, lua_tonumber(L, arg));
        break;
    case LUA_TBOOLEAN:
        add_text(out, lua_toboolean(L, arg) ? "true" : "false");
        break;
    default:
        text = lua_tolstring(L, arg, &len);
        redis_command_add(out, text, len);
    }
}

static struct buf *begin(struct vm *vm, const char *name, size_t args)
{
    struct buf *out = &vm->env->command;
    out->len = 0;
    redis_command_begin(out, args + (name ? 1 : 0));
    if (name)
        add_text(out, name);
    return out;
}

/* any, err = redis:command(name, …) */
static int redis_command(lua_State *L)
{
    struct redis_pool **pool = luaL_checkudata(L, 1, META);
    struct vm *vm = vm_of(L);
    int last = lua_gettop(L);
    luaL_checkstring(L, 2);
    for (int i = 2; i <= last; i++)
        check_arg(L, i);
    struct buf *out = begin(vm, NULL, (size_t)last - 1);
    for (int i = 2; i <= last; i++) {
        add_arg(L, out, i);
        if (out->len > REDIS_BYTES_MAX)
            return lua_fail(L, "the command is larger than 64 MiB");
    }
    return call(L, vm, *pool);
}

/* redis, err = redis.connection([name]) */
static int redis_connection(lua_State *L)
{
    struct vm *vm = vm_of(L);
    const char *name = luaL_optstring(L, 1, "default");
    struct redis_pool *pool = redis_pool_find(vm->env->redis, name);
    if (!pool) {
        lua_pushnil(L);
        lua_pushfstring(L, "engine.luavm.redis of the configuration has no '%s'", name);
        return 2;
    }
    struct redis_pool **handle = lua_newuserdata(L, sizeof(struct redis_pool *));
    *handle = pool;
    luaL_getmetatable(L, META);
    lua_setmetatable(L, -2);
    return 1;
}

/* -- the earlier calls, on the connection named default -- */

static int call_default(lua_State *L, struct vm *vm)
{
    struct redis_pool *pool = redis_pool_find(vm->env->redis, "default");
    if (!pool)
        return lua_fail(L, "engine.luavm.redis of the configuration has no 'default'");
    return call(L, vm, pool);
}

static const char *encode_push(lua_State *L, struct script_env *env)
{
    struct buf *out = &env->json;
    const char *why = NULL;
    out->len = 0;
    buf_printf(out, "{\"n\":\"%u\",\"c\":\"%" PRIu64 "\",\"t\":", env->node,
               env->current ? env->current->id : 0);
    if (!json_encode(L, 1, out, &why))
        return why;
    buf_append_str(out, ",\"d\":");
    why = json_encode_message(L, 2, out);
    buf_append_str(out, "}");
    return why;
}

/* n, err = redis.push(key, v) */
static int redis_push(lua_State *L)
{
    struct vm *vm = vm_of(L);
    size_t len;
    luaL_checkstring(L, 1);
    const char *key = lua_tolstring(L, 1, &len); /* a string also where it was a number */
    lua_settop(L, 2);
    const char *why = encode_push(L, vm->env);
    if (why)
        return lua_fail(L, why);
    struct buf *out = begin(vm, "LPUSH", 2);
    redis_command_add(out, key, len);
    redis_command_add(out, vm->env->json.data, vm->env->json.len);
    return call_default(L, vm);
}

static int call_with_key(lua_State *L, const char *name, int args)
{
    struct vm *vm = vm_of(L);
    luaL_checkstring(L, 1);
    for (int i = 2; i <= args; i++)
        check_arg(L, i);
    struct buf *out = begin(vm, name, (size_t)args);
    for (int i = 1; i <= args; i++)
        add_arg(L, out, i);
    return call_default(L, vm);
}

/* n, err = redis.llen(key) */
static int redis_llen(lua_State *L)
{
    return call_with_key(L, "LLEN", 1);
}

/* s, err = redis.get(key) */
static int redis_get(lua_State *L)
{
    return call_with_key(L, "GET", 1);
}

static int add_to(lua_State *L, const char *name)
{
    if (lua_isnoneornil(L, 2)) {
        lua_settop(L, 1);
        lua_pushinteger(L, 1);
    }
    return call_with_key(L, name, 2);
}

/* n, err = redis.incr(key[, n]) */
static int redis_incr(lua_State *L)
{
    return add_to(L, "INCRBY");
}

/* n, err = redis.decr(key[, n]) */
static int redis_decr(lua_State *L)
{
    return add_to(L, "DECRBY");
}

/* s, err = redis.set(key, v[, expire]), expire in seconds, 0: never */
static int redis_set(lua_State *L)
{
    lua_Number seconds = luaL_optnumber(L, 3, 0);
    luaL_argcheck(L, seconds >= 0 && seconds <= 1e12, 3, "seconds; 0: it does not expire");
    if (seconds == 0)
        return call_with_key(L, "SET", 2);
    luaL_checkstring(L, 1);
    check_arg(L, 2);
    lua_settop(L, 2);
    lua_pushliteral(L, "PX");
    lua_pushnumber(L, ceil(seconds * 1000));
    return call_with_key(L, "SET", 4);
}

void lua_redis_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"connection", redis_connection},
        {"push", redis_push},
        {"llen", redis_llen},
        {"incr", redis_incr},
        {"decr", redis_decr},
        {"set", redis_set},
        {"get", redis_get},
        {NULL, NULL},
    };
    luaL_newmetatable(L, META);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, redis_command);
    lua_setfield(L, -2, "command");
    lua_pop(L, 1);
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_setfield(L, -2, "redis");
}
