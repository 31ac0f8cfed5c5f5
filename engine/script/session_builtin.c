/* The built-in `protocol: websocket`: the script sees whole messages only. No coroutine is taken
 * before there is something for a handler. */
#include "script/lua_request.h"
#include "script/session_input.h"
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
static void shake_hands(struct session *s)
{
    struct handshake h;
    size_t len;
    const char *data = session_input(s, &len);
    enum handshake_result result = session_ws_request(s, data, len, &h);
    s->starved = result == HANDSHAKE_MORE;
    if (result != HANDSHAKE_OK)
        return;
    if (!path_is_served(s->vm, h.uri)) {
        session_ws_refuse(s, 404, "no such path");
        return;
    }
    session_ws_accept(s, &h);
    s->stage = STAGE_CONNECT;
    if (session_is_handled(s)) {
        lua_State *L = session_stack(s);
        lua_request_push_headers(L, s, &h);
        lua_request_push_server(L, s, &h);
    } else {
        session_ws_keep(s, &h);
    }
    session_take(s, h.head_len);
}

static bool next_message(struct session *s, struct ws_item *message)
{
    /* After a suspension the run ends: the connection's input is let go first (session_turn). */
    if (s->suspended || s->closing)
        return false;
    size_t len, taken;
    const char *data = session_input(s, &len);
    bool found = session_ws_read(s, data, len, &taken, message);
    session_take(s, taken);
    s->starved = !found;
    return found && session_begin_message(s);
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
            [STAGE_CLOSE] = {"on_close"},
        },
    .push_connection = session_protocol_push_id,
    .open = shake_hands,
    .next = next_message,
    .encode = encode,
    .variant = session_ws_variant,
    .send = session_ws_send,
    .close_code = 1000,
};
