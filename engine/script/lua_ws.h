/* The state of the shipped WebSocket codec in a session. VM's thread. */
#pragma once

#include "script/session.h"

/* Sends a close frame when the handshake is done. The reason is cut to what fits
 * (ws_encode_close). */
void lua_ws_goodbye(struct session *s, uint16_t code, const char *reason);

/* No frame may precede the 101 answer. */
bool lua_ws_pending(const struct session *s);

/* A client that takes too long for its handshake gets a 408. */
void lua_ws_start_timer(struct session *s);

/* A packet was found. If the codec was not asked, this client speaks something else: it is not
 * waited for with a handshake. */
void lua_ws_packet(struct session *s);

void lua_ws_free(struct session *s);
