#include "worker/rest.h"
#include "base/clock.h"
#include "base/memory_use.h"
#include "loop/mailbox.h"
#include "script/task.h"

enum {
    TASKS_KEPT = 8,
    CYCLES = 2, /* the first may have begun before the last of the work */
    TRIM_MS = 1000,
};

/* Changes with whatever a worker does but pings. */
static uint64_t work_of(const struct rest *rest)
{
    const struct script_env *env = rest->env;
    return atomic_load_explicit(&env->pulse->calls, memory_order_relaxed) +
           (uint64_t)counter_get(&env->stats->connections) + env->box->batches;
}

/* Not more often than once in TRIM_MS, whoever rests. False: not now. */
static bool trim(void)
{
    static _Atomic uint64_t trimmed_ms;
    uint64_t now = clock_ms(), last = atomic_load(&trimmed_ms);
    if (now - last < TRIM_MS || !atomic_compare_exchange_strong(&trimmed_ms, &last, now))
        return false;
    memory_give_back();
    return true;
}

void rest_look(struct rest *rest)
{
    if (rest->untrimmed)
        rest->untrimmed = !trim();
    uint64_t work = work_of(rest);
    bool silent = work == rest->work;
    rest->work = work;
    rest->had_work |= !silent;
    if (!silent || !rest->had_work || rest->resting)
        return;
    rest->resting = true;
    rest->vm = 0;
    rest->cycles = 0;
    for (size_t i = 0; i < rest->vm_count; i++)
        tasks_trim(rest->vms[i], TASKS_KEPT);
}

static void finish(struct rest *rest)
{
    rest->resting = rest->had_work = false;
    script_env_rest(rest->env);
    rest->untrimmed = !trim();
}

bool rest_turn(struct rest *rest)
{
    if (!rest->resting)
        return false;
    if (work_of(rest) != rest->work) {
        rest->resting = false;
        return false;
    }
    if (rest->vm == rest->vm_count) {
        finish(rest);
        return false;
    }
    if (vm_collect(rest->vms[rest->vm]) && ++rest->cycles == CYCLES) {
        rest->vm++;
        rest->cycles = 0;
    }
    rest->work = work_of(rest); /* finalizers are none */
    return true;
}
