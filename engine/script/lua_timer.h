/* Functions that a script wants called later (mix.timer). Each runs on a task of its own, which
 * belongs to no session. VM's thread. */
#pragma once

#include "script/task.h"

struct generation;

/* A userdata: Lua's memory, kept alive by self_ref until the function has returned. */
struct lua_timer {
    struct vm *vm;
    struct generation *generation; /* for as long as it is listed there */
    struct list in_generation, in_ready;
    struct timeout timeout;
    uint64_t ms;                /* from its start; from the commit, when it was set before */
    struct task *task;          /* NULL: the function has not begun, or has returned */
    int function_ref, self_ref; /* registry references; no function: it has begun, or never will */
};

/* Begins or goes on at the end of the turn. */
void lua_timer_ready(struct lua_timer *timer);

/* Runs what is ready now of this timer. */
void lua_timer_turn(struct lua_timer *timer);

/* The generation was committed: the timers that it has set so far begin to count. */
void lua_timers_start(struct generation *g);

/* No timer of this generation begins or goes on. */
void lua_timers_drop(struct generation *g);
