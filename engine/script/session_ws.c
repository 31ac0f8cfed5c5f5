#include "script/session_ws.h"
#include "base/mem.h"
#include "script/session_protocol.h"
#include <stdlib.h>
#include <string.h>

enum {
    /* A loop that was held up meets its timers first: before silence is believed, it polls once
     * more. */
    LAST_LOOK_MS = 1,
    CODE_NO_PONG = 1011,
    PACKED_KEEP = 64 * 1024,
};

struct session_ws {
    struct session *session;
    struct ws_decoder decoder; /* its `deflate` is ours; NULL: not agreed on */
    struct timeout timer;      /* the handshake's, then the pings' */
    char *request;             /* kept as it came; NULL: in the context if anywhere */
    char *close_why;           /* what on_close is told of the client's close frame */
    bool open;                 /* the 101 answer is queued */
    bool asked;                /* for the request */
    bool pinged, silence_seen;
};

static struct session_ws *state_of(struct session *s)
{
    if (s->ws)
        return s->ws;
    struct session_ws *ws = s->ws = xcalloc(1, sizeof *ws);
    ws->session = s;
    ws_decoder_init(&ws->decoder, s->terms->server->max_message_size);
    return ws;
}

void session_ws_free(struct session *s)
{
    struct session_ws *ws = s->ws;
    if (!ws)
        return;
    s->ws = NULL;
    wheel_clear(s->vm->env->wheel, &ws->timer);
    ws_decoder_fini(&ws->decoder);
    deflate_free(ws->decoder.deflate);
    free(ws->request);
    free(ws->close_why);
    free(ws);
}

uint64_t session_ws_weight(const struct session *s)
{
    if (!s->ws)
        return 0;
    const struct ws_decoder *decoder = &s->ws->decoder;
    return (decoder->begun ? decoder->begun->message.cap : 0) +
           (decoder->deflate ? deflate_weight(decoder->deflate) : 0);
}

void session_ws_forget_input(struct session *s)
{
    if (s->ws)
        ws_decoder_fini(&s->ws->decoder);
}

bool session_ws_is_open(const struct session *s)
{
    return s->ws && s->ws->open;
}

bool session_ws_pending(const struct session *s)
{
    return s->vm->websocket && !s->plain && !session_ws_is_open(s);
}

void session_ws_packet(struct session *s)
{
    if (s->plain || (s->ws && s->ws->asked))
        return;
    s->plain = true;
    session_ws_free(s);
}

/* -- frames out -- */

/* A frame in two pieces, of which the second is the caller's or env->packed. */
struct pieces {
    char header[WS_HEADER_MAX];
    size_t header_len;
    const char *data;
    size_t len;
    bool needed; /* for what comes after it: it is compressed in a context */
};

/* False: no context is kept, and it would be no shorter. */
static bool pack(struct session *s, enum ws_opcode opcode, const char *data, size_t len,
                 struct pieces *out)
{
    struct buf *packed = &s->vm->env->packed;
    struct deflate *deflate = s->ws->decoder.deflate;
    packed->len = 0;
    deflate_pack(deflate, packed, data, len);
    if (packed->len >= len && !deflate_terms(deflate)->server_keeps)
        return false;
    out->header_len = ws_header_packed(out->header, opcode, packed->len);
    out->data = packed->data;
    out->len = packed->len;
    out->needed = deflate_terms(deflate)->server_keeps;
    return true;
}

static void release_packed(struct script_env *env)
{
    if (env->packed.cap > PACKED_KEEP)
        buf_free(&env->packed);
}

static const char *send_plain(struct session *s, enum ws_opcode opcode, const char *data,
                              size_t len)
{
    char header[WS_HEADER_MAX];
    return session_send_joined(s, header, ws_header(header, opcode, len), data, len, false);
}

unsigned session_ws_variant(const struct session *s, size_t len)
{
    struct deflate *deflate = s->ws ? s->ws->decoder.deflate : NULL;
    if (!deflate || len < s->terms->server->compression.threshold)
        return 0;
    const struct deflate_terms *terms = deflate_terms(deflate);
    return terms->server_keeps ? SESSION_ALONE : terms->server_bits;
}

static void encode(struct session *s, const char *data, size_t len, bool binary, struct pieces *out)
{
    enum ws_opcode opcode = binary ? WS_OP_BINARY : WS_OP_TEXT;
    if (s && session_ws_variant(s, len) != 0 && pack(s, opcode, data, len, out))
        return;
    out->header_len = ws_header(out->header, opcode, len);
    out->data = data;
    out->len = len;
    out->needed = false;
}

struct frame *session_ws_frame(struct session *s, const char *data, size_t len, bool binary)
{
    struct pieces p;
    encode(s, data, len, binary, &p);
    struct frame *frame = frame_new(NULL, p.header_len + p.len);
    memcpy(frame->data, p.header, p.header_len);
    memcpy(frame->data + p.header_len, p.data, p.len);
    frame->messages = !p.needed;
    if (s)
        release_packed(s->vm->env);
    return frame;
}

const char *session_ws_send(struct session *s, const char *data, size_t len, bool binary)
{
    if (s->closing)
        return session_send_frame(s, NULL); /* refuses it: nothing is encoded */
    if (session_ws_pending(s))
        return "the WebSocket handshake is not done";
    struct pieces p;
    encode(s, data, len, binary, &p);
    const char *why = session_send_joined(s, p.header, p.header_len, p.data, p.len, !p.needed);
    release_packed(s->vm->env);
    return why;
}

static void send_close(struct session *s, uint16_t code, const char *reason)
{
    struct buf out = {0};
    ws_encode_close(&out, code, reason);
    session_send(s, out.data, out.len);
    buf_free(&out);
}

void session_ws_goodbye(struct session *s, uint16_t code, const char *reason)
{
    if (session_ws_is_open(s))
        send_close(s, code, reason);
}

/* -- the handshake -- */

void session_ws_refuse(struct session *s, int status, const char *why)
{
    struct buf out = {0};
    handshake_refuse(&out, status, why);
    session_send(s, out.data, out.len);
    buf_free(&out);
    session_close(s, status == 408 ? CLOSE_TIMEOUT : CLOSE_REFUSED, why);
}

static void on_handshake_timeout(struct timeout *timeout)
{
    struct session_ws *ws = container_of(timeout, struct session_ws, timer);
    /* The script may have been loaded anew, without the codec. */
    if (!session_ws_pending(ws->session))
        return;
    /* While a handler waits it is us who do not read. */
    if (ws->session->suspended) {
        ws->silence_seen = false;
        session_ws_start_timer(ws->session);
    } else if (!ws->silence_seen) { /* after a stop of the process its request may be there */
        ws->silence_seen = true;
        wheel_set(ws->session->vm->env->wheel, timeout, LAST_LOOK_MS, on_handshake_timeout);
    } else {
        session_ws_refuse(ws->session, 408, "handshake timeout");
    }
}

void session_ws_start_timer(struct session *s)
{
    uint32_t seconds = s->terms->server->handshake_timeout;
    if (seconds)
        wheel_set(s->vm->env->wheel, &state_of(s)->timer, (uint64_t)seconds * 1000,
                  on_handshake_timeout);
}

/* A client that names no origin is no browser: it could name any. */
static bool origin_allowed(const struct session *s, struct slice origin)
{
    return origin.len == 0 ||
           config_allows_origin(s->terms->server->origins, origin.data, origin.len);
}

static enum deflate_offer_result read_offers(const struct session *s, const struct handshake *h,
                                             struct deflate_terms *terms,
                                             struct deflate_answer *answer)
{
    const struct config_server *server = s->terms->server;
    if (!server->compression.on)
        return DEFLATE_OFFER_NONE;
    return deflate_offer_read(h, server->compression.context_takeover, terms, answer);
}

static bool offers_are_malformed(const struct session *s, const struct handshake *h)
{
    struct deflate_terms terms;
    struct deflate_answer answer;
    return read_offers(s, h, &terms, &answer) == DEFLATE_OFFER_MALFORMED;
}

static enum handshake_result forbid(struct handshake *h, int status, const char *why)
{
    h->status = status;
    h->why = why;
    return HANDSHAKE_BAD;
}

enum handshake_result session_ws_request(struct session *s, const char *data, size_t len,
                                         struct handshake *h)
{
    state_of(s)->asked = true;
    enum handshake_result result = handshake_parse(h, data, len);
    if (result == HANDSHAKE_OK && !session_forwarded(s, h))
        result = forbid(h, 429, "too many connections from this address");
    if (result == HANDSHAKE_OK && !origin_allowed(s, h->origin))
        result = forbid(h, 403, "this origin is not allowed");
    if (result == HANDSHAKE_OK && offers_are_malformed(s, h))
        result = forbid(h, 400, "malformed Sec-WebSocket-Extensions");
    if (result == HANDSHAKE_BAD)
        session_ws_refuse(s, h->status, h->why);
    return result;
}

/* A head has no NUL. */
void session_ws_keep(struct session *s, const struct handshake *h)
{
    s->ws->request = xstrndup(h->method.data, h->head_len);
}

const char *session_ws_kept(const struct session *s)
{
    return s->ws ? s->ws->request : NULL;
}

void session_ws_drop_kept(struct session *s)
{
    free(s->ws->request);
    s->ws->request = NULL;
}

/* -- pings -- */

static void on_ping_due(struct timeout *timeout);

static void wait_for_pong(struct session_ws *ws)
{
    struct session *s = ws->session;
    if (s->terms->server->ping_interval)
        wheel_set(s->vm->env->wheel, &ws->timer, (uint64_t)s->terms->server->ping_interval * 1000,
                  on_ping_due);
}

/* Has nothing come since the last ping? While a handler waits it is us who do not read. */
static bool is_silent(const struct session_ws *ws)
{
    const struct session *s = ws->session;
    return ws->pinged && !s->suspended && !conn_heard(s->conn);
}

static void on_ping_due(struct timeout *timeout)
{
    struct session_ws *ws = container_of(timeout, struct session_ws, timer);
    struct session *s = ws->session;
    if (s->closing)
        return;
    bool silent = is_silent(ws), looked = ws->silence_seen;
    ws->silence_seen = silent;
    if (silent && looked) {
        session_dismiss(s, CLOSE_TIMEOUT, CODE_NO_PONG, "no answer to a ping",
                        "no answer to a ping");
    } else if (silent) {
        wheel_set(s->vm->env->wheel, timeout, LAST_LOOK_MS, on_ping_due);
    } else if (send_plain(s, WS_OP_PING, "", 0) == NULL) {
        ws->pinged = true;
        conn_mark(s->conn);
        wait_for_pong(ws);
    }
}

static void agree(struct session *s, const struct deflate_terms *terms)
{
    struct script_env *env = s->vm->env;
    if (!env->deflate)
        env->deflate = deflate_pool_new();
    ws_decoder_inflate(&s->ws->decoder, deflate_new(env->deflate, terms));
}

void session_ws_accept(struct session *s, const struct handshake *h)
{
    struct session_ws *ws = state_of(s);
    struct buf answer = {0};
    struct deflate_terms terms;
    struct deflate_answer extensions;
    bool agreed = read_offers(s, h, &terms, &extensions) == DEFLATE_OFFER_ACCEPTED;
    if (agreed)
        agree(s, &terms);
    handshake_answer(&answer, h, agreed ? extensions.text : NULL);
    session_send(s, answer.data, answer.len);
    buf_free(&answer);
    ws->open = true;
    wheel_clear(s->vm->env->wheel, &ws->timer);
    wait_for_pong(ws);
}

/* -- frames in -- */

/* Done, gone, and no code at all are how clients leave in order. */
static const char *explain_close(struct session_ws *ws, const struct ws_item *item)
{
    if (item->code == 0 || item->code == 1000 || item->code == 1001)
        return NULL;
    ws->close_why = xasprintf("the client closed: %u%s%.*s", item->code, item->len > 0 ? " " : "",
                              (int)item->len, item->data);
    return ws->close_why;
}

static void answer_close(struct session *s, const struct ws_item *item)
{
    const char *why = explain_close(s->ws, item);
    send_close(s, item->code, "");
    session_close(s, CLOSE_CLIENT, why);
}

static void fail(struct session *s, const struct ws_item *item)
{
    send_close(s, item->code, item->why);
    session_close(s, CLOSE_PROTOCOL, item->why);
}

/* Each counts by itself, also those of which a message is made and those of which none is. */
static bool count_frames(struct session *s)
{
    uint32_t frames = s->ws->decoder.frames;
    s->ws->decoder.frames = 0;
    return frames == 0 || conn_count(s->conn, frames);
}

bool session_ws_read(struct session *s, const char *data, size_t len, size_t *taken,
                     struct ws_item *item)
{
    struct session_ws *ws = s->ws;
    *taken = 0;
    while (!s->closing) {
        size_t eaten;
        enum ws_event event = ws_decode(&ws->decoder, &s->vm->env->scratch, data + *taken,
                                        len - *taken, &eaten, item);
        *taken += eaten;
        if (!count_frames(s))
            return false;
        if (event == WS_MORE || event == WS_MESSAGE)
            return event == WS_MESSAGE;
        if (event == WS_PING)
            send_plain(s, WS_OP_PONG, item->data, item->len);
        else if (event == WS_CLOSE)
            answer_close(s, item);
        else if (event == WS_FAIL)
            fail(s, item);
    }
    return false;
}
