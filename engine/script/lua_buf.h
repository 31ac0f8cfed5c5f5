/* The `buf` that protocol_input gets: a view of the unread input, valid during that call. Each task
 * has one. VM's thread. */
#pragma once

#include "script/session.h"

/* Makes the metatable; once for each VM. */
void lua_buf_open(lua_State *L);

/* Pushes a new view, which belongs to nobody yet. */
void lua_buf_new(lua_State *L);

/* Points the task's view at the session's input, and pushes it; or at nothing (s NULL), pushing
 * nothing. */
void lua_buf_attach(struct task *task, struct session *s);

/* The bytes of a view at stack index `arg`; raises an error when it is none or no longer valid. */
const char *lua_buf_check(lua_State *L, int arg, size_t *len);
