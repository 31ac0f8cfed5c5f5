/* The built-in `protocol: websocket`: the script sees whole messages only. No coroutine is taken
 * before there is something for a handler. */
#include "script/lua_request.h"
#include "script/session_protocol.h"
#include "script/session_ws.h"
#include <lauxlib.h>
#include <string.h>

static bool path_is_served(struct vm *vm, struct slice uri)
{
    const char *path = config_option(vm->server, "path");
    return !path || lua_request_path_matches(vm, vm->L, uri, (struct slice){path, strlen(path)});
}

/* Nothing of the script has run before this is done. */
static void shake_hands(struct session *s, const char *data, size_t len)
{
    struct handshake h;
    enum handshake_result result = session_ws_request(s, data, len, &h);
    s->starved = result == HANDSHAKE_MORE;
    if (result != HANDSHAKE_OK)
        return;
    if (!path_is_served(s->vm, h.uri)) {
        session_ws_refuse(s, 404, "no such path");
        return;
    }
    session_ws_accept(s, &h);
    lua_State *L = session_stack(s);
    lua_request_push_headers(L, s, &h, HEADER_NAMES_CANONICAL);
    lua_request_push_server(L, s, &h);
    session_take(s, h.head_len);
    s->stage = STAGE_CONNECT;
}

static void take_message(struct session *s, const char *data, size_t len)
{
    struct ws_item message;
    size_t taken;
    bool found = session_ws_read(s, data, len, &taken, &message);
    session_take(s, taken);
    s->starved = !found;
    if (!found)
        return;
    lua_request_push_message(session_stack(s), &message);
    counter_add(&s->vm->stats->read_messages, 1);
    s->stage = STAGE_MESSAGE;
}

static void read_input(struct session *s)
{
    size_t len;
    const char *data = session_input(s, &len);
    if (session_ws_is_open(s))
        take_message(s, data, len);
    else
        shake_hands(s, data, len);
}

static struct frame *encode(struct vm *vm, struct session *s, const char *data, size_t len,
                            bool binary, const char **why)
{
    (void)vm;
    (void)why;
    return session_ws_frame(s, data, len, binary);
}

const struct session_protocol session_builtin_websocket = {
    .first = STAGE_INPUT,
    .handlers =
        {
            [STAGE_CONNECT] = {"on_handshake", "on_connect"},
            [STAGE_MESSAGE] = {"on_message"},
            [STAGE_CLOSE] = {"on_close"},
        },
    .push_connection = session_protocol_push_id,
    .read = read_input,
    .encode = encode,
    .variant = session_ws_variant,
    .send = session_ws_send,
    .close_code = 1000,
};
