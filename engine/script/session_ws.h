/* A client that speaks WebSocket: its handshake, its frames, its pings, its end. For the built-in
 * protocol and for the leaves of the shipped codec (lua_ws.c); nothing here runs a script.
 *
 * The 101 answer opens it, and says whether messages are compressed (RFC 7692) where the server's
 * `compression` is on and the client offers it; before that no frame goes out, and handshakeTimeout
 * runs. From then on the client is pinged; one that has sent nothing at all from one ping to the
 * next is closed. Its state is made on first use and lives until on_close has returned. Worker's
 * thread. */
#pragma once

#include "proto/handshake.h"
#include "proto/ws.h"
#include "script/session.h"

/* A client that takes too long for its handshake gets a 408. */
void session_ws_start_timer(struct session *s);

/* Is the 101 answer queued? */
bool session_ws_is_open(const struct session *s);

/* Its server speaks WebSocket, and the handshake is still to come. */
bool session_ws_pending(const struct session *s);

/* Reads the request. HANDSHAKE_OK: session_ws_accept or session_ws_refuse must follow.
 * HANDSHAKE_BAD: it was refused here. */
enum handshake_result session_ws_request(struct session *s, const char *data, size_t len,
                                         struct handshake *h);

/* Queues the 101 answer. */
void session_ws_accept(struct session *s, const struct handshake *h);

/* Nobody wants the request's headers now: it is kept as it came, which takes less than a table, for
 * the context that somebody may ask for. */
void session_ws_keep(struct session *s, const struct handshake *h);

/* What was kept; NULL: nothing, or it was dropped. */
const char *session_ws_kept(const struct session *s);
void session_ws_drop_kept(struct session *s);

/* Answers with an HTTP status and closes; `why` is static text. */
void session_ws_refuse(struct session *s, int status, const char *why);

/* Eats frames up to the end of the first message, so that it is handled before what follows it;
 * answers pings, closes, and failures on the way; counts frames (conn_count). True: `message` is
 * one, its data valid until the scratch buffer is used again. *taken: how many bytes were eaten. */
bool session_ws_read(struct session *s, const char *data, size_t len, size_t *taken,
                     struct ws_item *message);

/* For whom a frame of a message of that length is good: 0: for any client, as it is not compressed;
 * SESSION_ALONE: for this one alone, as it refers to what that was sent before; else for all with
 * the same answer. */
unsigned session_ws_variant(const struct session *s, size_t len);

/* A whole message as a frame, compressed where that was agreed on; the reference is the caller's.
 * `s` NULL: for any client. What is made for one alone must be sent to it, in the order made. */
struct frame *session_ws_frame(struct session *s, const char *data, size_t len, bool binary);

/* NULL, or static text of why it was not sent. */
const char *session_ws_send(struct session *s, const char *data, size_t len, bool binary);

/* Sends a close frame when the handshake is done; session_close is to follow. The reason is cut to
 * what fits (ws_encode_close). */
void session_ws_goodbye(struct session *s, uint16_t code, const char *reason);

/* The script has found a packet. If it has not asked the codec for it, this client speaks something
 * else: it is not waited for with a handshake. */
void session_ws_packet(struct session *s);

/* Bytes of a message that has begun, and of what compression keeps. */
uint64_t session_ws_weight(const struct session *s);

/* Drops a message that has begun, of a client that is being closed. */
void session_ws_forget_input(struct session *s);

void session_ws_free(struct session *s);
