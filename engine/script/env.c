#include "script/env.h"
#include "script/session.h"

bool script_env_turn(struct script_env *env, unsigned max)
{
    while (max-- > 0) {
        struct list *node = list_pop_front(&env->ready);
        if (!node)
            return false;
        session_turn(list_entry(node, struct session, in_ready));
    }
    return !list_empty(&env->ready);
}

void script_env_fini(struct script_env *env)
{
    tasks_free(env);
    buf_free(&env->scratch);
    buf_free(&env->json);
}
