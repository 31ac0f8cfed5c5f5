#include "base/mem.h"
#include "queue/gate.h"
#include "script/generation.h"
#include "script/json.h"
#include "script/lua_helpers.h"
#include "script/lua_modules.h"
#include "script/session.h"
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

typedef struct gate *gate_finder(struct gates *gates, const char *name, size_t len);

/* Gates live as long as the engine, so each VM looks a topic up once; the cache is upvalue 1. */
static struct gate *find_gate(lua_State *L, struct vm *vm, int name, gate_finder *look_up)
{
    lua_pushvalue(L, name);
    lua_rawget(L, lua_upvalueindex(1));
    struct gate *gate = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (gate)
        return gate;
    size_t len;
    const char *text = lua_tolstring(L, name, &len);
    gate = look_up(vm->env->gates, text, len);
    if (!gate)
        return NULL;
    lua_pushvalue(L, name);
    lua_pushlightuserdata(L, gate);
    lua_rawset(L, lua_upvalueindex(1));
    return gate;
}

/* queue.new(topic, size) */
static int queue_new_topic(lua_State *L)
{
    struct vm *vm = vm_of(L);
    if (vm->env->over)
        return lua_fail(L, "the engine has stopped");
    luaL_checkstring(L, 1);
    lua_Number size = luaL_checknumber(L, 2);
    luaL_argcheck(L, size >= 1 && size <= UINT32_MAX / 2, 2, "a size of 1 or more");
    if (generation_stage(vm, L))
        return 0;
    struct gate *gate = find_gate(L, vm, 1, gates_get);
    if (!gate)
        return lua_fail(L, "too many topics");
    gate_resize(gate, (uint32_t)size);
    struct msg_resized *m = xmalloc(sizeof *m);
    *m = (struct msg_resized){.msg.type = MSG_RESIZED, .gate = gate};
    mailbox_post(vm->env->api_box, &m->msg);
    return 0;
}

static struct entry *make_entry(struct script_env *env, struct gate *gate)
{
    struct entry *entry = xmalloc(sizeof *entry + env->json.len);
    *entry = (struct entry){.msg.type = MSG_ENTRY,
                            .gate = gate,
                            .client = env->current ? env->current->id : 0,
                            .len = (uint32_t)env->json.len};
    memcpy(entry->json, env->json.data, env->json.len);
    return entry;
}

/* -- waiting for room -- */

static int push_results(struct task *task)
{
    if (task->why)
        return lua_fail(task->L, task->why);
    lua_pushinteger(task->L, (lua_Integer)task->success);
    return 1;
}

/* The connection closes: the entry keeps its place in line, so for the script it has been pushed;
 * the session stays until the entry's answer has come. */
static void push_cut(struct task *task)
{
    task->session->waiting_pushes++;
    task->why = NULL;
    task->success = task->expected;
}

static const struct task_wait push_wait = {
    .what = "queue.push",
    .cut = push_cut,
    .results = push_results,
};

static int wait_for_room(struct task *task, struct entry *entry, uint32_t count)
{
    struct script_env *env = task->vm->env;
    struct push_answer *answer = xcalloc(1, sizeof *answer);
    answer->owner = task->session; /* lives until it is answered; NULL: a timer's */
    answer->tag = task_tag(task);
    entry->waiting = true;
    entry->answer = answer;
    entry->reply_to = env->box;
    task->expected = count;
    mailbox_post(env->api_box, &entry->msg);
    return task_suspend(task, &push_wait);
}

void lua_queue_answer(struct script_env *env, struct push_answer *answer)
{
    struct task *task = task_find(env, answer->tag);
    if (task) {
        task->why = answer->granted ? NULL : "queue is full";
        task->success = answer->depth;
        task_wake(task);
    } else if (answer->owner) {
        session_push_answered(answer->owner);
    }
    free(answer);
}

static int push_or_wait(lua_State *L, struct vm *vm, struct gate *gate, struct task *task)
{
    struct script_env *env = vm->env;
    uint32_t count;
    if (task && gate_enter_or_wait(gate, &count) == GATE_WAITING)
        return wait_for_room(task, make_entry(env, gate), gate_count(gate));
    if (!task && !gate_enter(gate, &count))
        return lua_fail(L, "queue is full");
    mailbox_post(env->api_box, &make_entry(env, gate)->msg);
    lua_pushinteger(L, (lua_Integer)count);
    return 1;
}

/* Kept back as JSON: the script may change the table. What it returns is true if nobody else pushes
 * until then. */
static bool stage_push(lua_State *L, struct vm *vm)
{
    if (vm->loading && lua_istable(L, 2)) {
        lua_pushlstring(L, vm->env->json.data, vm->env->json.len);
        lua_replace(L, 2);
    }
    return generation_stage(vm, L);
}

static int push_later(lua_State *L, struct vm *vm)
{
    struct gate *gate = find_gate(L, vm, 1, gates_find);
    lua_pushinteger(L, (lua_Integer)(gate ? gate_count(gate) : 0) + 1);
    return 1;
}

/* n, err = queue.push(topic, v) */
static int queue_push(lua_State *L)
{
    struct vm *vm = vm_of(L);
    const char *why;
    if (vm->env->over)
        return lua_fail(L, "the engine has stopped");
    luaL_checkstring(L, 1);
    if (gates_are_held(vm->env->gates))
        return lua_fail(L, "the engine is at its memoryLimit");
    lua_settop(L, 2);
    vm->env->json.len = 0;
    why = json_encode_message(L, 2, &vm->env->json);
    if (why)
        return lua_fail(L, why);
    if (stage_push(L, vm))
        return push_later(L, vm);
    struct gate *gate = find_gate(L, vm, 1, gates_get);
    if (!gate)
        return lua_fail(L, "too many topics");
    bool may_wait = !vm->env->full_error && task_may_suspend(vm, L, &why);
    return push_or_wait(L, vm, gate, may_wait ? vm->env->running : NULL);
}

/* n, err = queue.len(topic) */
static int queue_len(lua_State *L)
{
    struct vm *vm = vm_of(L);
    luaL_checkstring(L, 1);
    struct gate *gate = find_gate(L, vm, 1, gates_find);
    if (!gate)
        return lua_fail(L, "no such topic");
    lua_pushinteger(L, (lua_Integer)gate_count(gate));
    return 1;
}

void lua_queue_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"new", queue_new_topic},
        {"push", queue_push},
        {"len", queue_len},
        {NULL, NULL},
    };
    lua_newtable(L);
    lua_newtable(L); /* the cache of gates */
    luaL_setfuncs(L, functions, 1);
    lua_setfield(L, -2, "queue");
}
