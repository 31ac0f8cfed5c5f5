/* LuaJIT's library functions that are written in assembly ("fast functions") leave the stack's top
 * where it was when they make a string. If its memory is refused, LuaJIT 2.1 puts the error's
 * message there, which may be amidst the frames of the callers, and crashes when it walks them.
 * Called from C they are given a top of their own.
 */
#pragma once

#include <lua.h>

/* Puts C functions before those that make strings. After the libraries are open, before they are
 * copied for a generation, and with the JIT off: compiled code calls none of them. */
void fast_functions_open(lua_State *L);
