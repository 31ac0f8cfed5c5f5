#include "script/task.h"
#include "base/check.h"
#include "base/mem.h"
#include "script/generation.h"
#include "script/lua_buf.h"
#include "script/lua_timer.h"
#include "script/session.h"
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

/* -- coroutines -- */

static void new_coroutine(struct task *task)
{
    lua_State *L = task->vm->L;
    task->L = lua_newthread(L);
    task->ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* A coroutine that has failed, or was given up, cannot run again. */
static void replace_coroutine(struct task *task)
{
    luaL_unref(task->vm->L, LUA_REGISTRYINDEX, task->ref);
    new_coroutine(task);
    generation_join(task->generation, task->L);
    generation_leave(task->generation);
}

void task_renew(struct task *task)
{
    struct generation *old = task->generation;
    if (old == task->vm->current)
        return;
    task->generation = task->vm->current;
    generation_join(task->generation, task->L);
    if (old)
        generation_leave(old);
}

void tasks_renew(struct vm *vm)
{
    list_for_each(node, &vm->idle) task_renew(list_entry(node, struct task, idle));
}

static struct task_place *place_of(const struct task *task)
{
    return &task->vm->env->tasks[task->index];
}

static void grow(struct script_env *env)
{
    uint32_t cap = env->task_cap ? 2 * env->task_cap : 16;
    env->tasks = xrealloc(env->tasks, cap * sizeof *env->tasks);
    memset(env->tasks + env->task_cap, 0, (cap - env->task_cap) * sizeof *env->tasks);
    env->task_count += env->task_count == 0; /* no task's */
    env->task_cap = cap;
}

static void enroll(struct script_env *env, struct task *task)
{
    if (env->task_free == 0 && env->task_count == env->task_cap)
        grow(env);
    task->index = env->task_free ? env->task_free : env->task_count++;
    env->task_free = env->tasks[task->index].next_free;
    env->tasks[task->index].next_free = 0;
    env->tasks[task->index].task = task;
}

static void strike(struct script_env *env, struct task *task)
{
    struct task_place *place = place_of(task);
    place->task = NULL;
    place->turn++;
    place->next_free = env->task_free;
    env->task_free = task->index;
}

static struct task *make(struct vm *vm)
{
    struct task *task = xcalloc(1, sizeof *task);
    task->vm = vm;
    task->key_ref = LUA_NOREF;
    list_init(&task->idle);
    new_coroutine(task);
    task->view = lua_buf_new(vm->L);
    task->view_ref = luaL_ref(vm->L, LUA_REGISTRYINDEX);
    enroll(vm->env, task);
    task_renew(task);
    return task;
}

struct task *task_new(struct vm *vm, struct session *session)
{
    struct list *node = list_pop_front(&vm->idle);
    struct task *task = node ? list_entry(node, struct task, idle) : make(vm);
    task->session = session;
    return task;
}

void task_release(struct task *task)
{
    lua_settop(task->L, 0);
    lua_buf_point(task->view, NULL);
    task->session = NULL;
    task->job = NULL;
    task_renew(task);
    list_push_front(&task->vm->idle, &task->idle);
}

static void discard(struct task *task)
{
    lua_State *L = task->vm->L;
    strike(task->vm->env, task);
    luaL_unref(L, LUA_REGISTRYINDEX, task->ref);
    luaL_unref(L, LUA_REGISTRYINDEX, task->view_ref);
    generation_leave(task->generation);
    list_remove(&task->idle);
    free(task);
}

void tasks_trim(struct vm *vm, unsigned keep)
{
    list_for_each(node, &vm->idle)
    {
        if (keep > 0)
            keep--;
        else
            discard(list_entry(node, struct task, idle));
    }
}

void tasks_free(struct script_env *env)
{
    for (uint32_t i = 0; i < env->task_count; i++)
        free(env->tasks[i].task);
    free(env->tasks);
}

/* -- running -- */

static void fail(struct task *task, int status, const char *what)
{
    lua_State *L = task->L;
    vm_explain(task->vm, L, status);
    const char *text = lua_tostring(L, -1);
    if (!text)
        text = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, -1));
    luaL_traceback(task->vm->L, L, text, 0);
    const struct session *s = task->session;
    vm_log_error(task->vm, task->vm->L, s ? s->handler : what, s ? s->id : 0);
    replace_coroutine(task);
}

static enum task_status outcome(struct task *task, int status, const char *what)
{
    bool cut = task->vm->cut;
    if (status == 0)
        return TASK_DONE;
    if (status == LUA_YIELD && task->wait)
        return TASK_SUSPENDED;
    if (status == LUA_YIELD && cut) {
        replace_coroutine(task);
        return TASK_CUT;
    }
    if (status == LUA_YIELD) {
        lua_settop(task->L, 0);
        lua_pushstring(task->L,
                       "the handler yielded: only calls that wait for something suspend it");
    }
    fail(task, status, what);
    return cut ? TASK_CUT : TASK_FAILED;
}

static int run(struct task *task, int args, const char *what)
{
    struct script_env *env = task->vm->env;
    struct task *outer_task = env->running;
    struct session *outer_session = env->current;
    struct generation *outer = generation_enter(task->generation);
    env->running = task;
    env->current = task->session;
    pulse_begin(env->pulse, what, task->session ? task->session->id : 0);
    task->vm->cut = task->vm->cut_told = false;
    struct vm *outside = vm_enter(env, task->vm);
    int status = lua_resume(task->L, args);
    vm_leave(task->vm, outside);
    pulse_end(env->pulse);
    generation_enter(outer);
    env->running = outer_task;
    env->current = outer_session;
    return status;
}

enum task_status task_resume(struct task *task, int args, const char *what)
{
    enum task_status status = outcome(task, run(task, args, what), what);
    vm_settle(task->vm);
    return status;
}

static void end_wait(struct task *task)
{
    const struct task_wait *wait = task->wait;
    wheel_clear(task->vm->env->wheel, &task->timer);
    if (wait->fini)
        wait->fini(task);
    task->wait = NULL;
    task->woken = false;
    counter_add(&task->vm->env->stats->tasks_suspended, -1);
}

void task_abandon(struct task *task)
{
    place_of(task)->turn++;
    end_wait(task);
}

void task_drop(struct task *task)
{
    task_abandon(task);
    replace_coroutine(task);
    task_release(task);
}

enum task_status task_go_on(struct task *task, const char *what)
{
    CHECK(task->wait && task->woken);
    int results = task->wait->results(task);
    end_wait(task);
    return task_resume(task, results, what);
}

/* -- suspending -- */

bool task_may_suspend(struct vm *vm, lua_State *L, const char **why)
{
    struct task *task = vm->env->running;
    if (!task || task->vm != vm || L == vm->L)
        *why = "this call waits, which init, protocol_encode and module chunks cannot";
    else if (task->L != L)
        *why = "this call waits, which the script's own coroutine cannot";
    else if (!lua_isyieldable(L))
        *why = "this call waits, which a callback of a C function (table.sort, string.gsub) cannot";
    else
        return true;
    return false;
}

int task_suspend(struct task *task, const struct task_wait *wait)
{
    task->wait = wait;
    task->woken = false;
    counter_add(&task->vm->env->stats->tasks_suspended, 1);
    return lua_yield(task->L, 0);
}

uint64_t task_tag(const struct task *task)
{
    return (uint64_t)place_of(task)->turn << 32 | task->index;
}

struct task *task_find(struct script_env *env, uint64_t tag)
{
    uint32_t index = (uint32_t)tag;
    bool there = index < env->task_count && env->tasks[index].turn == tag >> 32;
    return there ? env->tasks[index].task : NULL;
}

void task_wake(struct task *task)
{
    if (!task->wait || task->woken)
        return;
    task->woken = true;
    place_of(task)->turn++; /* later answers do not find it */
    wheel_clear(task->vm->env->wheel, &task->timer);
    if (task->session)
        session_ready(task->session);
    else
        lua_timer_ready(task->job);
}

void task_cut(struct task *task, bool closing)
{
    if (!task->wait || task->woken || (!closing && !task->wait->cut_by_end))
        return;
    task->wait->cut(task);
    task_wake(task);
}
