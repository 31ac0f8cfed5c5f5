/* What goes out to a session: bytes as they are, or through the script's protocol_encode, to one or
 * to a channel's subscribers. */
#include "base/log.h"
#include "base/mem.h"
#include "script/lua_conn.h"
#include "script/lua_ws.h"
#include "script/session.h"
#include <lauxlib.h>
#include <stdlib.h>

enum {
    /* protocol_encode may send, and that is encoded too; a script that does so for every message
     * would never come to an end. */
    ENCODE_DEPTH_MAX = 4,
};

const char *session_send_frame(struct session *s, struct frame *frame)
{
    struct worker_stats *stats = s->vm->env->stats;
    if (s->closing || !s->conn || conn_send(s->conn, frame) != 0) {
        counter_add(&stats->send_errors, 1);
        return SESSION_CLOSED;
    }
    counter_add(&stats->send_messages, 1);
    return NULL;
}

const char *session_send(struct session *s, const char *data, size_t len)
{
    if (len == 0)
        return s->closing ? SESSION_CLOSED : NULL;
    struct frame *frame = frame_new(data, len);
    const char *why = session_send_frame(s, frame);
    frame_unref(frame);
    return why;
}

/* Calls protocol_encode for one session, or for all (NULL). The result stands on L; false: an
 * error. *touched: it depends on the connection. */
static bool call_encode(struct vm *vm, struct session *s, const char *data, size_t len, bool binary,
                        bool *touched)
{
    struct script_env *env = vm->env;
    struct session *outer = env->current;
    lua_State *L = vm->L;
    lua_pushlstring(L, data, len);
    if (s)
        lua_conn_push(L, s);
    else
        lua_conn_push_probe(vm, L);
    lua_pushstring(L, binary ? "binary" : "text");
    bool outer_touched = vm->probe_touched;
    env->current = s;
    env->encoding++;
    vm->probe_touched = false;
    int status = vm_call(vm, L, 3, 1, "protocol_encode", s ? s->id : 0);
    *touched = vm->probe_touched;
    vm->probe_touched = outer_touched;
    env->encoding--;
    env->current = outer;
    return status == 0;
}

/* One reference, or NULL and *why. With `s` NULL, *why is NULL when the encoding depends on the
 * connection. */
static struct frame *encode(struct vm *vm, struct session *s, const char *data, size_t len,
                            bool binary, const char **why)
{
    lua_State *L = vm->L;
    struct frame *frame = NULL;
    bool touched;
    *why = NULL;
    if (vm->env->encoding == ENCODE_DEPTH_MAX) {
        *why = "protocol_encode sends from within itself, too deep";
        log_error("script", "%s", *why);
        return NULL;
    }
    vm_push_global(vm, L, "protocol_encode");
    if (!lua_isfunction(L, -1)) {
        lua_pop(L, 1);
        return frame_new(data, len);
    }
    bool done = call_encode(vm, s, data, len, binary, &touched);
    if (!s && touched) {
        lua_pop(L, 1);
        return NULL;
    }
    if (!done) {
        *why = "error in protocol_encode";
        vm_log_error(vm, L, "protocol_encode", s ? s->id : 0);
        return NULL;
    }
    size_t n = 0;
    const char *bytes = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
    if (n > 0)
        frame = frame_new(bytes, n);
    else
        *why = "protocol_encode must return a non-empty string";
    if (!frame)
        log_error("script", "%s: it returned %s", *why, bytes ? "\"\"" : luaL_typename(L, -1));
    lua_pop(L, 1);
    return frame;
}

/* Why it gets no message now; NULL: it does. */
static const char *deaf(const struct session *s)
{
    if (s->closing)
        return SESSION_CLOSED;
    return lua_ws_pending(s) ? "the WebSocket handshake is not done" : NULL;
}

const char *session_send_encoded(struct session *s, const char *data, size_t len, bool binary)
{
    const char *why = deaf(s);
    if (why)
        return why;
    struct frame *frame = encode(s->vm, s, data, len, binary, &why);
    if (!frame) {
        counter_add(&s->vm->env->stats->send_errors, 1);
        return why;
    }
    why = session_send_frame(s, frame);
    frame_unref(frame);
    return why;
}

/* -- publishing -- */

/* What a publish has become for the subscribers of one vm. */
struct encoding {
    struct vm *vm;
    struct frame *frame; /* NULL: failed, or each by itself */
    bool each;
    struct encoding *next;
};

struct publish {
    const char *data;
    size_t len;
    bool binary;
    struct encoding *encodings;
    uint32_t delivered, failed;
};

static struct encoding *encoding_for(struct publish *p, struct vm *vm)
{
    for (struct encoding *e = p->encodings; e; e = e->next)
        if (e->vm == vm)
            return e;
    struct encoding *e = xcalloc(1, sizeof *e);
    const char *why = NULL;
    e->vm = vm;
    e->next = p->encodings;
    p->encodings = e;
    if (vm->server->shared_encode)
        e->frame = encode(vm, NULL, p->data, p->len, p->binary, &why);
    e->each = !e->frame && !why;
    return e;
}

static void deliver(struct subscriber *who, void *data)
{
    struct publish *p = data;
    struct session *s = container_of(who, struct session, subscriber);
    const char *why = deaf(s);
    struct encoding *e = why ? NULL : encoding_for(p, s->vm);
    if (e && e->each)
        why = session_send_encoded(s, p->data, p->len, p->binary);
    else if (e)
        why = e->frame ? session_send_frame(s, e->frame) : "not encoded";
    if (why)
        p->failed++;
    else
        p->delivered++;
}

void session_publish(struct script_env *env, const char *channel, size_t channel_len,
                     const char *data, size_t len, bool binary, uint32_t *delivered,
                     uint32_t *failed)
{
    struct publish p = {.data = data, .len = len, .binary = binary};
    channel_publish(env->channels, channel, channel_len, deliver, &p);
    while (p.encodings) {
        struct encoding *e = p.encodings;
        p.encodings = e->next;
        frame_unref(e->frame);
        free(e);
    }
    *delivered = p.delivered;
    *failed = p.failed;
}
