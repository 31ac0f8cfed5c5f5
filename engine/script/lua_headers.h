/* Tables of HTTP headers as scripts see them: one that comes again is joined to the first with a
 * comma (RFC 9110 section 5.3), and a look-up finds a name in any case. VM's thread. */
#pragma once

#include "proto/handshake.h"
#include <lua.h>

/* How names stand in the table: canonical is X-Real-Ip, whatever was sent. */
enum header_names { HEADER_NAMES_AS_SENT, HEADER_NAMES_CANONICAL };

/* Once for each VM. */
void lua_headers_open(lua_State *L);

/* Pushes one with room for `count`. */
void lua_headers_new(lua_State *L, size_t count);

/* Adds to the one on top of the stack. */
void lua_headers_add(lua_State *L, struct slice name, struct slice value, enum header_names names);
