/* The state of the shipped WebSocket codec in a session. VM's thread. */
#pragma once

#include "script/session.h"

/* Sends a close frame when the handshake is done. */
void lua_ws_goodbye(struct session *s, uint16_t code);

/* The client has taken too long for its handshake: 408. */
void lua_ws_start_timer(struct session *s);

void lua_ws_free(struct session *s);
