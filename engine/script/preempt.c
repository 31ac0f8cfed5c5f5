#include "script/preempt.h"
#include "base/check.h"
#include "script/guard.h"
#include <lauxlib.h>

static _Thread_local struct script_env *own;

/* -- the hook -- */

static void push_text(lua_State *L, const struct vm *vm)
{
    lua_pushfstring(L, "the handler has run for more than %d ms (engine.luavm.handlerBudget)",
                    (int)vm->budget_ms);
}

static void tell(lua_State *L, struct vm *vm)
{
    const struct pulse *pulse = vm->env->pulse;
    struct vm *outside = vm_enter(vm->env, NULL);
    push_text(L, vm);
    luaL_traceback(L, L, lua_tostring(L, -1), 0);
    lua_remove(L, -2);
    vm->cut_told = true;
    vm_log_error(vm, L, atomic_load(&pulse->what), atomic_load(&pulse->client));
    vm_enter(vm->env, outside);
}

/* A coroutine of the script's own is suspended into its resume, whose next instruction comes here
 * again. */
static void on_count(lua_State *L, lua_Debug *call)
{
    (void)call;
    struct vm *vm = vm_of(L);
    if (!pulse_is_overdue(vm->env->pulse)) {
        preempt_close(vm);
        return;
    }
    vm->cut = true;
    if (!lua_isyieldable(L)) {
        luaL_where(L, 0);
        push_text(L, vm);
        lua_concat(L, 2);
        lua_error(L);
    }
    if (!vm->cut_told)
        tell(L, vm);
    lua_yield(L, 0);
}

void preempt_close(struct vm *vm)
{
    if (!vm->hooked)
        return;
    lua_sethook(vm->L, NULL, 0, 0);
    vm->hooked = false;
}

/* -- the signal -- */

/* It may interrupt anything. No state runs while the engine's own code is at work in one
 * (vm_enter), so lua_sethook is not interrupted by itself. */
static void on_signal(int number)
{
    (void)number;
    struct vm *vm = own ? own->in_lua : NULL;
    if (!vm || vm->loading || !pulse_is_overdue(own->pulse))
        return;
    vm->hooked = true;
    lua_sethook(vm->L, on_count, LUA_MASKCOUNT, 1);
}

void preempt_adopt(struct script_env *env)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    own = env;
    pulse_adopt(env->pulse);
    CHECK(sigaction(PULSE_SIGNAL, &action, NULL) == 0);
}

void preempt_leave(struct script_env *env)
{
    pulse_leave(env->pulse);
}

/* -- what scripts cannot have -- */

static int debug_sethook(lua_State *L)
{
    return luaL_error(L, "debug.sethook: the hook is the engine's, as engine.luavm.preempt is on");
}

void preempt_open(struct vm *vm)
{
    guard_jit_off(vm->L);
    guard_replace(vm->L, "debug", "sethook", debug_sethook);
}
