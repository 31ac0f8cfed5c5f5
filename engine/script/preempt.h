/* Ends handlers that do not return (engine.luavm.preempt). The watchdog sends the worker's thread a
 * signal; its handler sets a hook for the next instruction of the Lua state that runs, as only that
 * may be done at any point of it, and the hook ends the handler: it suspends it for good, which the
 * script cannot catch, or, where a C function of Lua's stands between (table.sort, string.gsub),
 * raises an error at each further instruction. Compiled code calls no hooks, so the JIT is off. */
#pragma once

#include "script/vm.h"

/* Before the first script is loaded. Scripts cannot turn the JIT on, nor take the hook. */
void preempt_open(struct vm *vm);

/* The calling thread is the worker's from here on, until preempt_leave; between them it runs
 * handlers. */
void preempt_adopt(struct script_env *env);
void preempt_leave(struct script_env *env);

/* The state's call that was to be ended is over. */
void preempt_close(struct vm *vm);
