/* mix.time, sleep and timer. */
#include "script/lua_timer.h"
#include "base/clock.h"
#include "script/generation.h"
#include "script/lua_helpers.h"
#include "script/lua_modules.h"
#include "script/session.h"
#include <lauxlib.h>
#include <math.h>

enum { TIMERS_MAX = 10000 }; /* of one generation */

static const char *const META = "mixengine.timer";

static uint64_t check_ms(lua_State *L, int arg)
{
    lua_Number seconds = luaL_checknumber(L, arg);
    luaL_argcheck(L, seconds >= 0 && seconds <= 1e6, arg, "seconds, 0 to 1000000");
    return (uint64_t)ceil(seconds * 1000);
}

static int mix_time(lua_State *L)
{
    lua_pushnumber(L, clock_unix());
    return 1;
}

/* -- sleep -- */

static int sleep_results(struct task *task)
{
    return lua_outcome(task->L, task->why);
}

static void sleep_cut(struct task *task)
{
    task->why = SESSION_CLOSED;
}

static const struct task_wait sleep_wait = {
    .what = "sleep", .cut_by_end = true, .cut = sleep_cut, .results = sleep_results};

static void on_slept(struct timeout *timeout)
{
    task_wake(container_of(timeout, struct task, timer));
}

/* err = sleep(seconds) */
static int mix_sleep(lua_State *L)
{
    struct vm *vm = vm_of(L);
    uint64_t ms = check_ms(L, 1);
    const char *why;
    if (!task_may_suspend(vm, L, &why))
        return lua_outcome(L, why);
    struct task *task = vm->env->running;
    if (session_is_ending(task->session))
        return lua_outcome(L, SESSION_CLOSED);
    task->why = NULL;
    script_env_set_timeout(vm->env, &task->timer, ms, on_slept);
    return task_suspend(task, &sleep_wait);
}

/* -- timer -- */

static void forget_function(struct lua_timer *timer)
{
    luaL_unref(timer->vm->L, LUA_REGISTRYINDEX, timer->function_ref);
    timer->function_ref = LUA_NOREF;
}

/* From here on its memory lives only as long as the script holds it. */
static void over(struct lua_timer *timer)
{
    list_remove(&timer->in_generation);
    list_remove(&timer->in_ready);
    timer->generation->timer_count--;
    luaL_unref(timer->vm->L, LUA_REGISTRYINDEX, timer->self_ref);
}

static void abandon(struct lua_timer *timer)
{
    wheel_clear(timer->vm->env->wheel, &timer->timeout);
    forget_function(timer);
    if (timer->task)
        task_drop(timer->task);
    timer->task = NULL;
    over(timer);
}

void lua_timers_drop(struct generation *g)
{
    list_for_each(node, &g->timers) abandon(list_entry(node, struct lua_timer, in_generation));
}

void lua_timer_ready(struct lua_timer *timer)
{
    list_push_back(&timer->vm->env->ready_timers, &timer->in_ready);
}

static void on_due(struct timeout *timeout)
{
    lua_timer_ready(container_of(timeout, struct lua_timer, timeout));
}

static void start(struct lua_timer *timer)
{
    script_env_set_timeout(timer->vm->env, &timer->timeout, timer->ms, on_due);
}

void lua_timers_start(struct generation *g)
{
    list_for_each(node, &g->timers) start(list_entry(node, struct lua_timer, in_generation));
}

static enum task_status begin(struct lua_timer *timer)
{
    timer->task = task_new(timer->vm, NULL);
    timer->task->job = timer;
    lua_rawgeti(timer->task->L, LUA_REGISTRYINDEX, timer->function_ref);
    forget_function(timer);
    return task_resume(timer->task, 0, "timer");
}

void lua_timer_turn(struct lua_timer *timer)
{
    enum task_status status = timer->task ? task_go_on(timer->task, "timer") : begin(timer);
    if (status == TASK_SUSPENDED)
        return;
    task_release(timer->task);
    timer->task = NULL;
    over(timer);
}

static struct lua_timer *push_timer(lua_State *L, struct vm *vm)
{
    struct lua_timer *timer = lua_newuserdata(L, sizeof *timer);
    *timer = (struct lua_timer){
        .vm = vm, .generation = vm->running, .function_ref = LUA_NOREF, .self_ref = LUA_NOREF};
    list_init(&timer->in_ready);
    luaL_getmetatable(L, META);
    lua_setmetatable(L, -2);
    return timer;
}

/* timer, err = timer(seconds, f) */
static int mix_timer(lua_State *L)
{
    struct vm *vm = vm_of(L);
    uint64_t ms = check_ms(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    struct generation *g = vm->running;
    if (g->over)
        return lua_fail(L, "the script has been loaded anew, or the engine stops");
    if (g->timer_count >= TIMERS_MAX)
        return lua_fail(L, "too many timers");
    struct vm *outside = vm_enter(vm->env, NULL);
    struct lua_timer *timer = push_timer(L, vm);
    lua_pushvalue(L, 2);
    timer->function_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushvalue(L, -1);
    timer->self_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    vm_enter(vm->env, outside);
    list_push_back(&g->timers, &timer->in_generation);
    g->timer_count++;
    timer->ms = ms;
    if (vm->loading != g)
        start(timer);
    return 1;
}

/* done = timer:cancel() */
static int timer_cancel(lua_State *L)
{
    struct lua_timer *timer = luaL_checkudata(L, 1, META);
    bool pending = timer->function_ref != LUA_NOREF;
    if (pending)
        abandon(timer);
    lua_pushboolean(L, pending);
    return 1;
}

void lua_timer_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"time", mix_time},
        {"sleep", mix_sleep},
        {"timer", mix_timer},
        {NULL, NULL},
    };
    luaL_newmetatable(L, META);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, timer_cancel);
    lua_setfield(L, -2, "cancel");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
