/* Functions that a script wants called later (mix.timer). Each runs on a task of its own, which
 * belongs to no session. VM's thread. */
#pragma once

#include "script/task.h"

/* A userdata: Lua's memory, kept alive by self_ref until the function has returned. */
struct lua_timer {
    struct vm *vm;
    struct list in_vm, in_ready;
    struct timeout timeout;
    struct task *task;          /* NULL: the function has not begun, or has returned */
    int function_ref, self_ref; /* registry references; no function: it has begun, or never will */
};

/* Begins or goes on at the end of the turn. */
void lua_timer_ready(struct lua_timer *timer);

/* Runs what is ready now of this timer. */
void lua_timer_turn(struct lua_timer *timer);

/* No timer of this vm begins or goes on, and none can be started. */
void lua_timers_drop(struct vm *vm);
