/* The loops that hand a client's input to its script's handlers, and what handlers call for each
 * message. They run as Lua (dispatch.lua), so that LuaJIT compiles them and the handlers as one;
 * the C functions here are their leaves, which touch no Lua state, as compiled code calls them.
 * VM's thread. */
#pragma once

#include "script/session.h"

/* Puts the loop and the calls into the vm's libraries, after all others are open. On the stack's
 * top stands the table `mix`. */
void dispatch_open(lua_State *L);

/* Is there something for the loop? Where the engine splits the input itself it has then read the
 * first message. */
bool dispatch_has_work(struct session *s);

/* Pushes the loop that serves the session's input, and its arguments; how many. */
int dispatch_push(struct session *s, lua_State *L);

/* What input() has found for this session, and decode() has not handed out, is forgotten. */
void dispatch_forget(struct session *s);
