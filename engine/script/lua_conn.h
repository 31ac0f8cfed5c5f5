/* The `conn` of scripts. VM's thread. */
#pragma once

#include "script/session.h"

/* What it is made of: scripts hold ids, never pointers; one that outlives its connection finds
 * nothing. */
struct conn_handle {
    uint64_t id;
};

/* Pushes the session's one conn object; made on first use. */
void lua_conn_push(lua_State *L, struct session *s);

/* Pushes its client id, as text. */
void lua_conn_push_id(lua_State *L, const struct session *s);

/* The session whose handler runs, NULL when there is none. Sets vm->probe_touched; touches no Lua
 * state. */
struct session *lua_conn_current(struct vm *vm);

/* The session of the conn at stack index `arg`, NULL when it is over. Raises an error for anything
 * that is not a conn. */
struct session *lua_conn_check(lua_State *L, int arg);

/* A key of its context may have been set: wakes the handler that waits for it. */
void lua_conn_context_changed(struct session *s);

/* Pushes the object that stands for a connection while a publish is encoded for all subscribers:
 * using it in any way sets vm->probe_touched and raises an error. */
void lua_conn_push_probe(struct vm *vm, lua_State *L);
