/* A client's connection as its script sees it: handlers in order, the context, subscriptions.
 *
 * Each client's handlers run one after the other, on_connect first, on_close last and once. A
 * handler that suspends holds the connection's input (conn_hold); commands from consumers reach the
 * client meanwhile. An orderly end of input takes its place in the order: complete packets before
 * it are handled first. A session lives until on_close has returned, its socket is closed and every
 * push of its that waits has been answered. Worker's thread. */
#pragma once

#include "base/address.h"
#include "msg/msg.h"
#include "script/task.h"
#include <stddef.h>

#define SESSION_CLOSED "closed"

enum session_stage {
    STAGE_CONNECT,
    STAGE_INPUT,
    STAGE_DECODE,
    STAGE_MESSAGE,
    STAGE_CLOSE,
    STAGE_OVER,
} __attribute__((packed));

/* There is one for each client: what it takes is in docs/performance.md. */
struct session {
    uint64_t id;
    struct vm *vm;
    struct terms *terms;          /* that held when it began */
    struct conn *conn;            /* NULL: the socket is closed */
    struct subscriber subscriber; /* of channels */
    struct list in_all, in_ready;
    struct task *task;        /* of the stage; NULL between batches of input */
    const char *handler;      /* that runs, or ran last */
    const char *why;          /* of the close, in words: on_close's err; NULL: orderly */
    struct session_ws *ws;    /* of a client that speaks WebSocket (session_ws.h) */
    enum session_stage stage; /* that runs, waits, or comes next */
    enum close_reason reason; /* of the close */
    bool suspended;           /* the task waits */
    bool starved;             /* protocol_input wants more bytes than it has `seen` */
    bool ended;               /* the peer sends no more */
    bool closing;
    bool greeted;    /* its first handler's turn has come: on_close is due */
    bool discarded;  /* the script dropped input during protocol_input */
    bool counted;    /* in the server's tally */
    bool plain;      /* it has sent packets that are not the shipped WebSocket codec's */
    uint8_t message; /* the shipped WebSocket codec's decode() hands one out next: its opcode; 0:
                        none */
    uint32_t waiting_pushes; /* that nobody waits for any more, but whose answers are to come */
    /* input that on_input was called with; NULL: what the connection holds */
    const char *data;
    size_t len, taken;
    size_t seen;
    uint64_t context_bytes; /* set by consumers since it was last measured, at most */
    /* Lua: registry references, LUA_NOREF where there is none yet */
    int conn_ref, context_ref;
    struct address_packed peer;
    _Alignas(max_align_t) char conn_memory[]; /* conn_size() */
};

/* Takes over an accepted connection and runs on_connect. False when it could not: the connection is
 * still the caller's and nothing happened. */
bool session_open(struct vm *vm, const struct msg_accepted *accepted);

/* Where the client is: "ip:port" (address_text). Returns `text`. */
const char *session_remote(const struct session *s, char text[ADDRESS_TEXT]);

/* It is where the server's trusted proxies say in the client's request, if it came from one. False:
 * that address has too many connections (tally.h). */
struct handshake;
bool session_forwarded(struct session *s, const struct handshake *h)
    __attribute__((warn_unused_result));

/* Whether limits.exempt has its address decides whether the server's rates hold for it. */
void session_meter(struct session *s);

/* NULL: no such client, or its on_close has returned. */
struct session *session_find(struct script_env *env, uint64_t id);

/* Bytes as they are. NULL, or static text of what is wrong. */
const char *session_send(struct session *s, const char *data, size_t len);

struct frame;
const char *session_send_frame(struct session *s, struct frame *frame);

/* Two pieces as one, copied. `message`: they are a whole message that the client can do without. */
const char *session_send_joined(struct session *s, const char *head, size_t head_len,
                                const char *data, size_t len, bool message);

/* A message, encoded by the session's protocol. */
const char *session_send_encoded(struct session *s, const char *data, size_t len, bool binary);

/* A command's send to a client of `vm`, or its publish to some, is done: how long it took. */
void session_count_sent(struct vm *vm);

const char *session_subscribe(struct session *s, const char *name, size_t len);
const char *session_unsubscribe(struct session *s, const char *name, size_t len);

/* Brings the worker's counters of channels and subscriptions up to date. */
void session_count_channels(struct script_env *env);

/* Keys and JSON texts by turns, packed (strings_next); JSON null removes a key. */
const char *session_set_context(struct session *s, const struct blob *pairs);

/* Is there anything in the context? It need not be a table yet. */
bool session_has_context(const struct session *s);

/* Pushes the context table on L; makes it when there is none. */
void session_push_context(struct session *s, lua_State *L);

/* Starts an orderly close: what was sent goes out, on_close runs with `why` (it lives as long as
 * the session; NULL: nil). */
void session_close(struct session *s, enum close_reason reason, const char *why);

/* The same, and a WebSocket client is told `code` (0: its protocol's own) and `text` first. */
void session_dismiss(struct session *s, enum close_reason reason, uint16_t code, const char *text,
                     const char *why);

/* Bytes of memory that go with its socket, about: what waits to be written, unread input, a message
 * that has begun, what compression keeps, what consumers have set in its context. */
uint64_t session_weight(const struct session *s);

/* Memory is short: it is closed, a WebSocket client with 1013, and most of that goes at once. One
 * that was closed before is cut off. */
void session_shed(struct session *s);

/* on_close has returned: session_find does not find it. */
bool session_is_over(const struct session *s);

/* Its input is over, and what its handlers wait for is cut short; on_close, which comes after the
 * end, is not. False where there is no session (NULL). */
bool session_is_ending(const struct session *s);

/* The worker ends without waiting any longer: no handler runs any more, the socket is closed. */
void session_abandon(struct session *s);

/* The unread input, from the first byte that is not in a packet yet. */
const char *session_input(const struct session *s, size_t *len);

/* Drops it; nothing where the engine reads it itself. */
void session_discard_input(struct session *s);

/* Takes the first bytes of it. */
void session_take(struct session *s, size_t len);

/* Does the script handle the stage that comes next? */
bool session_is_handled(struct session *s);

/* The stack on which a protocol puts the values of the stage that comes next. */
lua_State *session_stack(struct session *s);

/* Goes on at the end of the turn. */
void session_ready(struct session *s);

/* A push that nobody waits for any more was answered. */
void session_push_answered(struct session *s);

/* Runs what is ready now of this session. */
void session_turn(struct session *s);

/* Delivers to a channel's subscribers on this worker; counts clients. */
void session_publish(struct script_env *env, const char *channel, size_t channel_len,
                     const char *data, size_t len, bool binary, uint32_t *delivered,
                     uint32_t *failed);

/* Carries out a command and stores its outcome in it. */
void session_command(struct script_env *env, struct command *command);
