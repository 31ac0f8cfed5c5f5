/* The stages that a client's input goes through, step by step as the dispatch loop takes them
 * (dispatch.lua). Nothing here touches a Lua state: compiled code calls it. Worker's thread. */
#pragma once

#include "script/session.h"

/* Is there unread input that protocol_input has not asked more for? */
bool session_wants_input(const struct session *s);

/* May protocol_input be called now? If so, that is the stage from here on. */
bool session_begin_input(struct session *s);

/* The packet at the head of the input, by what protocol_input has returned. NULL: none, or it is
 * wrong, which closes. */
const char *session_find_packet(struct session *s, double length, size_t *len);

/* Takes it; protocol_decode is next. */
void session_take_packet(struct session *s, size_t len);

/* May on_message be called now? */
bool session_begin_message(struct session *s);

/* protocol_input has returned something else than a length: logs it, closes. */
void session_wrong_length(struct session *s, const char *wrong, const char *got);
