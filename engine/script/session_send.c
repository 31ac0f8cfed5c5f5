/* What goes out to a session: bytes as they are, or encoded by its protocol, to one or to a
 * channel's subscribers. */
#include "base/clock.h"
#include "base/mem.h"
#include "script/session_protocol.h"
#include "script/session_ws.h"
#include <stdlib.h>

static const char *count_send(struct session *s, bool sent)
{
    struct server_stats *stats = s->vm->stats;
    counter_add(sent ? &stats->send_messages : &stats->send_errors, 1);
    return sent ? NULL : SESSION_CLOSED;
}

static bool is_reachable(const struct session *s)
{
    return !s->closing && s->conn;
}

const char *session_send_frame(struct session *s, struct frame *frame)
{
    return count_send(s, is_reachable(s) && conn_send(s->conn, frame) == 0);
}

const char *session_send_joined(struct session *s, const char *head, size_t head_len,
                                const char *data, size_t len, bool message)
{
    return count_send(s, is_reachable(s) &&
                             conn_append(s->conn, head, head_len, data, len, message) == 0);
}

const char *session_send(struct session *s, const char *data, size_t len)
{
    if (len == 0)
        return s->closing ? SESSION_CLOSED : NULL;
    return session_send_joined(s, "", 0, data, len, false);
}

/* Why it gets no message now; NULL: it does. */
static const char *deaf(const struct session *s)
{
    if (s->closing)
        return SESSION_CLOSED;
    return session_ws_pending(s) ? "the WebSocket handshake is not done" : NULL;
}

const char *session_send_encoded(struct session *s, const char *data, size_t len, bool binary)
{
    const char *why = deaf(s);
    if (why)
        return why;
    if (s->vm->protocol->send)
        return s->vm->protocol->send(s, data, len, binary);
    struct frame *frame = s->vm->protocol->encode(s->vm, s, data, len, binary, &why);
    if (!frame) {
        counter_add(&s->vm->stats->send_errors, 1);
        return why;
    }
    why = session_send_frame(s, frame);
    frame_unref(frame);
    return why;
}

void session_count_sent(struct vm *vm)
{
    uint64_t posted = vm->env->posted_ns;
    if (posted == 0)
        return;
    uint64_t now = clock_ns();
    summary_record(vm->stats->send_duration, now, now > posted ? now - posted : 0);
}

/* -- publishing -- */

/* What a publish has become for the subscribers of one vm that are alike. */
struct encoding {
    struct vm *vm;
    unsigned variant;
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

static struct encoding *encoding_for(struct publish *p, struct session *s)
{
    struct vm *vm = s->vm;
    unsigned variant = vm->protocol->variant ? vm->protocol->variant(s, p->len) : 0;
    for (struct encoding *e = p->encodings; e; e = e->next)
        if (e->vm == vm && e->variant == variant)
            return e;
    struct encoding *e = xcalloc(1, sizeof *e);
    const char *why = NULL;
    e->vm = vm;
    e->variant = variant;
    e->next = p->encodings;
    p->encodings = e;
    if (vm->server->shared_encode && variant != SESSION_ALONE)
        e->frame = vm->protocol->encode(vm, variant ? s : NULL, p->data, p->len, p->binary, &why);
    e->each = !e->frame && !why;
    return e;
}

static void deliver(struct subscriber *who, void *data)
{
    struct publish *p = data;
    struct session *s = container_of(who, struct session, subscriber);
    const char *why = deaf(s);
    struct encoding *e = why ? NULL : encoding_for(p, s);
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
    bool outer = conns_fan_out(env->conns, true);
    channel_publish(env->channels, channel, channel_len, deliver, &p);
    conns_fan_out(env->conns, outer);
    while (p.encodings) {
        struct encoding *e = p.encodings;
        p.encodings = e->next;
        frame_unref(e->frame);
        session_count_sent(e->vm);
        free(e);
    }
    *delivered = p.delivered;
    *failed = p.failed;
}
