/* guard.lua: what of Lua's libraries could end the process by mistake, made harmless. */
#pragma once

#include <lua.h>

/* After the libraries are open, before dispatch.h is and before they are copied for a generation.
 */
void guard_open(lua_State *L);

/* The same time: puts `function` in place of one of a library's. */
void guard_replace(lua_State *L, const char *library, const char *name, lua_CFunction function);

/* The same time: turns the JIT off, and scripts cannot turn it on. */
void guard_jit_off(lua_State *L);
