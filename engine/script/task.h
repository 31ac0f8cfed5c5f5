/* A task is a coroutine on which handlers run, and what it waits for. Tasks are pooled: one stays
 * with a connection only while it is suspended.
 *
 * A C function suspends its handler with
 *     if (!task_may_suspend(vm, L, &why)) return fail(why);
 *     … start what will answer; its tag is task_tag(task) …
 *     return task_suspend(task, &wait);
 * and whoever has the answer finds the task again with task_find(tag), stores the outcome in it and
 * calls task_wake: it goes on at the end of the loop's turn, never inside another handler. */
#pragma once

#include "loop/wheel.h"
#include "script/vm.h"

/* What a task waits for. */
struct task_wait {
    const char *what;
    bool cut_by_end; /* does the end of the peer's input cut it short? (a close cuts all) */
    /* Stores the outcome of being cut short; the task is then woken. Touches no Lua state: a leaf
     * (dispatch.h) may have closed the connection. */
    void (*cut)(struct task *task);
    int (*results)(struct task *task); /* pushes what the call returns on task->L; how many */
    void (*fini)(struct task *task);   /* releases what the wait holds; may be NULL */
};

struct task {
    struct vm *vm;
    lua_State *L;
    int ref;               /* keeps L alive */
    struct buf_view *view; /* of unread input (lua_buf.h) */
    int view_ref;
    struct list idle;
    uint32_t index;                /* of its place */
    struct generation *generation; /* whose globals L has */
    struct session *session;       /* whose handler runs; NULL: nobody's */
    struct lua_timer *job;         /* where there is no session: whose function runs */
    const struct task_wait *wait;
    bool woken;
    struct timeout timer;
    /* the outcome, as the wait's functions use it */
    int key_ref;     /* wait_context_value: the key; when it was set, its value */
    const char *why; /* static text of an error, NULL: none */
    uint32_t expected, success, fail;
    void *pending; /* what the wait's fini gives up */
};

enum task_status { TASK_DONE, TASK_SUSPENDED, TASK_FAILED, TASK_CUT };

struct task *task_new(struct vm *vm, struct session *session); /* from the pool when it can */
void task_release(struct task *task);                          /* back to the pool */

/* Between two handlers: what runs next is of the newest generation. */
void task_renew(struct task *task);

/* Frees those that wait for work but `keep`: as many as were once suspended at a time are left. */
void tasks_trim(struct vm *vm, unsigned keep);

/* All that wait for work, after a commit. */
void tasks_renew(struct vm *vm);

/* Starts the function that stands on task->L with `args` arguments above it, or goes on with a task
 * that was woken. TASK_DONE: its results stand on task->L. TASK_FAILED: the error was logged, the
 * coroutine replaced; TASK_CUT: the same, as it has run for too long (preempt.h). */
enum task_status task_resume(struct task *task, int args, const char *what);
enum task_status task_go_on(struct task *task, const char *what);

/* May the function that runs on L suspend? Else static text in *why. */
bool task_may_suspend(struct vm *vm, lua_State *L, const char **why);
int task_suspend(struct task *task, const struct task_wait *wait);

uint64_t task_tag(const struct task *task);
struct task *task_find(struct script_env *env, uint64_t tag); /* NULL: it waits no more */

/* The outcome is there. Idempotent. */
void task_wake(struct task *task);

/* Wakes it with what its wait says about being cut short; false when it is not cut by `closing`. */
void task_cut(struct task *task, bool closing);

/* It waits no more and never goes on. */
void task_abandon(struct task *task);

/* The same, and what it was in the middle of is forgotten: back to the pool. */
void task_drop(struct task *task);

/* With every vm, when the worker ends. */
void tasks_free(struct script_env *env);
