/* How a generation finds its files: those beside the entry script, the shipped ones, and all that
 * it added to package.path are read anew and kept in mind; system modules, C modules among them,
 * are loaded once in a vm, outside of any generation. VM's thread. */
#pragma once

#include "script/generation.h"

/* Opens the library `package` in the generation that was entered. */
void require_open(lua_State *L, const struct generation *base);

/* Reads a file for the generation that is in force and leaves its function on the stack. Else an
 * error's text, and what lua_load returns, or LUA_ERRFILE when it cannot be read. */
int require_load(lua_State *L, const char *path);
