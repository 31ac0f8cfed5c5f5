#include "script/env.h"
#include "proto/deflate.h"
#include "script/lua_timer.h"
#include "script/session.h"

static bool turn_session(struct script_env *env)
{
    struct list *node = list_pop_front(&env->ready);
    if (node)
        session_turn(list_entry(node, struct session, in_ready));
    return node;
}

static bool turn_timer(struct script_env *env)
{
    struct list *node = list_pop_front(&env->ready_timers);
    if (node)
        lua_timer_turn(list_entry(node, struct lua_timer, in_ready));
    return node;
}

/* By turns, so that neither holds up the other. */
bool script_env_turn(struct script_env *env, unsigned max)
{
    for (bool any = true; any && max > 0; max--) {
        any = turn_session(env);
        any |= turn_timer(env);
    }
    return !list_empty(&env->ready) || !list_empty(&env->ready_timers);
}

void script_env_set_timeout(struct script_env *env, struct timeout *timeout, uint64_t ms,
                            timeout_cb *cb)
{
    uv_update_time(env->loop);
    wheel_set(env->wheel, timeout, ms, cb);
}

void script_env_rest(struct script_env *env)
{
    buf_free(&env->scratch);
    buf_free(&env->packed);
    buf_free(&env->json);
    buf_free(&env->command);
}

void script_env_fini(struct script_env *env)
{
    tasks_free(env);
    script_env_rest(env);
    deflate_pool_free(env->deflate);
}
