#include "script/session_input.h"
#include "base/log.h"
#include "script/session_ws.h"
#include <math.h>
#include <stdio.h>

/* The watchdog is told of each handler by itself. */
static void begin(struct session *s, enum session_stage stage, const char *handler)
{
    struct pulse *pulse = s->vm->env->pulse;
    s->stage = stage;
    s->handler = handler;
    pulse_end(pulse);
    pulse_begin(pulse, handler, s->id);
}

bool session_wants_input(const struct session *s)
{
    size_t len;
    session_input(s, &len);
    return len == 0 || s->starved;
}

/* After a suspension the run ends: the connection's input is let go first (session_turn). */
bool session_begin_input(struct session *s)
{
    if (s->suspended || s->closing)
        return false;
    s->discarded = false;
    begin(s, STAGE_INPUT, "protocol_input");
    session_input(s, &s->seen);
    return !session_wants_input(s);
}

void session_wrong_length(struct session *s, const char *wrong, const char *got)
{
    char remote[ADDRESS_TEXT];
    size_t there;
    session_input(s, &there);
    log_write_alike(LOG_LEVEL_ERROR, "script", wrong,
                    "protocol_input of client %llu (%s) %s (got %s, buf has %zu bytes)",
                    (unsigned long long)s->id, session_remote(s, remote), wrong, got, there);
    counter_add(&s->vm->stats->script_errors[HANDLER_INPUT], 1);
    session_close(s, CLOSE_ERROR, "protocol_input returned a wrong length");
}

static const char *what_is_wrong(const struct session *s, double length, size_t there)
{
    if (length != floor(length))
        return "must return an integer: the packet's length, 0 to wait, -1 to disconnect";
    if (length < -1)
        return "returned less than -1";
    if (length > (double)there && !s->discarded)
        return "returned a length past the end of buf";
    return NULL;
}

const char *session_find_packet(struct session *s, double length, size_t *len)
{
    size_t there;
    const char *data = session_input(s, &there);
    *len = 0;
    if (s->closing)
        return NULL;
    const char *wrong = what_is_wrong(s, length, there);
    if (wrong) {
        char got[32];
        snprintf(got, sizeof got, "%.14g", length);
        session_wrong_length(s, wrong, got);
    } else if (length == -1) {
        session_close(s, CLOSE_PROTOCOL, "protocol_input returned -1");
    } else if (length > 0 && !s->discarded) {
        if (!s->ws && !conn_count(s->conn, 1)) /* WebSocket counts its frames */
            return NULL;
        *len = (size_t)length;
        return data;
    } else {
        s->starved = !s->discarded;
    }
    return NULL;
}

void session_take_packet(struct session *s, size_t len)
{
    session_ws_packet(s);
    session_take(s, len);
    begin(s, STAGE_DECODE, "protocol_decode");
}

bool session_begin_message(struct session *s)
{
    if (s->closing)
        return false;
    counter_add(&s->vm->stats->read_messages, 1);
    begin(s, STAGE_MESSAGE, "on_message");
    return true;
}
