/* What scripts see of a WebSocket client: its request, its messages. VM's thread. */
#pragma once

#include "proto/ws.h"
#include "script/lua_headers.h"
#include "script/session.h"

/* Once for each VM. */
void lua_request_open(lua_State *L);

/* Pushes the table of the request's headers, with Method, RequestUri and ServerProtocol; it stands
 * in the context under `headers` too. */
void lua_request_push_headers(lua_State *L, struct session *s, const struct handshake *h);

/* Puts the headers of a request that was kept as it came (session_ws_keep) into the context that
 * stands on top of L; nothing when none was kept. */
void lua_request_recall(lua_State *L, struct session *s);

/* Pushes { Method, RequestUri, ServerProtocol, Host, RemoteAddr }. */
void lua_request_push_server(lua_State *L, const struct session *s, const struct handshake *h);

/* Is the path a plain prefix of the URI, or else a Lua pattern that matches at its beginning? */
bool lua_request_path_matches(struct vm *vm, lua_State *L, struct slice uri, struct slice path);
