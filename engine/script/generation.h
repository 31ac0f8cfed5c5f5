/* One loading of a server's scripts: globals, libraries, loaded modules and timers of its own in
 * the Lua state of its vm (the two generations of scripts are another matter: session_protocol.h).
 * Contexts and connections belong to the vm and outlive it.
 *
 * It is prepared (its chunk and init run, what they do outside of the vm is kept back) and then
 * committed or dropped. After the next commit it is over: its timers are gone, no handler begins in
 * it, and it is freed when the last handler that is suspended in it has returned. VM's thread. */
#pragma once

#include "base/sources.h"
#include "script/vm.h"

struct generation {
    struct vm *vm;
    struct list in_vm;
    int globals, loaded, strings; /* registry references; of what strings index */
    int staged;                   /* the same: calls that wait for the commit */
    uint32_t staged_count;
    struct list timers; /* of mix.timer, until their functions have returned */
    uint32_t timer_count;
    uint32_t tasks; /* whose environment it is */
    bool over;
    bool websocket; /* it uses the shipped codec */
    struct sources sources;
};

/* What the Lua state has got after its libraries were opened. No script runs in it: it is copied
 * for each generation, and keeps what system modules return. */
struct generation *generation_base(struct vm *vm);

/* With fresh copies of the libraries. NULL: the reason stands on the main state. */
struct generation *generation_new(struct vm *vm);

/* Its handlers go on, but it starts nothing new; frees it when there are none. */
void generation_retire(struct generation *g);

void generation_free(struct generation *g);

/* Makes it the one whose globals, modules and string methods are in force; the one before. */
struct generation *generation_enter(struct generation *g);

/* A task takes its environment from this one, or leaves it. */
void generation_join(struct generation *g, lua_State *L);
void generation_leave(struct generation *g);

/* For C functions whose effect is seen outside of the vm. While a generation that replaces another
 * is loaded: keeps the call back, with its arguments as they stand now, true. Else false. */
bool generation_stage(struct vm *vm, lua_State *L);

/* Makes the calls that were kept back. */
void generation_run_staged(struct generation *g);
