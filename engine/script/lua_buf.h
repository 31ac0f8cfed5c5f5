/* The `buf` that protocol_input gets: a view of the unread input, valid during that call. Each task
 * has one. VM's thread. */
#pragma once

#include "script/session.h"

struct buf_view;

/* Makes the metatable; once for each VM. */
void lua_buf_open(lua_State *L);
void lua_buf_push_meta(lua_State *L);

/* Pushes a new view, which points at nothing yet. */
struct buf_view *lua_buf_new(lua_State *L);

/* Points it at the session's input; NULL: at nothing. Touches no Lua state. */
void lua_buf_point(struct buf_view *view, struct session *s);

/* The bytes of a view, NULL when it points at nothing. Touches no Lua state. */
const char *lua_buf_bytes(const struct buf_view *view, size_t *len);

/* The same at stack index `arg`; raises an error when it is none or no longer valid. */
const char *lua_buf_check(lua_State *L, int arg, size_t *len);
