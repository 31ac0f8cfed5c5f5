/* What differs between the kinds of server: scripts of generation 1, of generation 2 (`protocol:
 * socket`), and the built-in `protocol: websocket`. One constant table for each; a vm points at its
 * server's. Worker's thread. */
#pragma once

#include "config/config.h"
#include "proto/ws.h"
#include "script/session.h"
#include <limits.h>

enum { HANDLER_NAMES = 2 };
#define SESSION_ALONE UINT_MAX

struct session_protocol {
    enum session_stage first; /* of a new connection */

    /* The script's function for the stages that begin and end a connection, or, where it has none
     * of that name, the next. What comes between is served by a loop of dispatch.lua. */
    const char *handlers[STAGE_OVER][HANDLER_NAMES];

    /* Adds what tells the connection to the arguments of the stage's handler, which stand on L
     * above it. */
    void (*push_connection)(struct session *s, lua_State *L);

    /* The same for protocol_encode, between the data and its type. `s` is NULL when it encodes for
     * all. NULL: nothing tells it. */
    void (*push_encoder_connection)(struct vm *vm, struct session *s, lua_State *L);

    /* Where the engine reads the input itself: `open` reads the request that comes first; from then
     * on `next` takes input up to the end of a whole message (false: there is none, s->starved).
     * NULL: the script's protocol_input does. */
    void (*open)(struct session *s);
    bool (*next)(struct session *s, struct ws_item *message);

    /* A message as a frame for one session, or for all (NULL). NULL and *why: an error. With `s`
     * NULL, *why is NULL when the encoding depends on the connection. */
    struct frame *(*encode)(struct vm *vm, struct session *s, const char *data, size_t len,
                            bool binary, const char **why);

    /* Who may share what a message of that length is encoded to: 0: all, so that it is encoded for
     * all at once; SESSION_ALONE: nobody; else the sessions with the same answer, and it is encoded
     * for one of them. NULL: 0 for all. */
    unsigned (*variant)(const struct session *s, size_t len);

    /* conn:send; NULL: bytes as they are. */
    const char *(*send)(struct session *s, const char *data, size_t len, bool binary);

    /* What a WebSocket client is told by a close without a code; 0: no frame. */
    uint16_t close_code;
};

/* push_connection of generation 2: the client id comes first where a connection begins and ends;
 * elsewhere the script asks mix for its connection. */
void session_protocol_push_id(struct session *s, lua_State *L);

const struct session_protocol *session_protocol_of(enum config_protocol protocol);

extern const struct session_protocol session_generation_1;      /* session_script.c */
extern const struct session_protocol session_socket;            /* session_script.c */
extern const struct session_protocol session_builtin_websocket; /* session_builtin.c */
