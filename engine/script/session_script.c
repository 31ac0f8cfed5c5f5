/* Servers whose script splits its own packets. */
#include "base/log.h"
#include "script/lua_conn.h"
#include "script/session_protocol.h"
#include <lauxlib.h>

enum {
    /* protocol_encode may send, and that is encoded too; a script that does so for every message
     * would never come to an end. */
    ENCODE_DEPTH_MAX = 4,
};

/* Calls protocol_encode for one session, or for all (NULL). The result stands on L; false: an
 * error. *touched: it depends on the connection. */
static bool call_encode(struct vm *vm, struct session *s, const char *data, size_t len, bool binary,
                        bool *touched)
{
    struct script_env *env = vm->env;
    struct session *outer = env->current;
    lua_State *L = vm->L;
    int handler = lua_gettop(L);
    lua_pushlstring(L, data, len);
    if (vm->protocol->push_encoder_connection)
        vm->protocol->push_encoder_connection(vm, s, L);
    lua_pushstring(L, binary ? "binary" : "text");
    bool outer_touched = vm->probe_touched;
    env->current = s;
    env->encoding++;
    bool fan_out = conns_fan_out(env->conns, false); /* what the script sends is its own */
    vm->probe_touched = false;
    int status = vm_call(vm, L, lua_gettop(L) - handler, 1, "protocol_encode", s ? s->id : 0);
    *touched = vm->probe_touched;
    vm->probe_touched = outer_touched;
    env->encoding--;
    conns_fan_out(env->conns, fan_out);
    env->current = outer;
    return status == 0;
}

static struct frame *message_frame(const char *data, size_t len)
{
    struct frame *frame = frame_new(data, len);
    frame->messages = 1;
    return frame;
}

static struct frame *encode_on_main_state(struct vm *vm, struct session *s, const char *data,
                                          size_t len, bool binary, const char **why)
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
        return message_frame(data, len);
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
        frame = message_frame(bytes, n);
    else
        *why = "protocol_encode must return a non-empty string";
    if (!frame)
        log_error("script", "%s: it returned %s", *why, bytes ? "\"\"" : luaL_typename(L, -1));
    lua_pop(L, 1);
    return frame;
}

static struct frame *encode(struct vm *vm, struct session *s, const char *data, size_t len,
                            bool binary, const char **why)
{
    struct vm *outside = vm_enter(vm->env, NULL);
    struct frame *frame = encode_on_main_state(vm, s, data, len, binary, why);
    vm_enter(vm->env, outside);
    return frame;
}

/* clang-format off */
#define SCRIPT_HANDLERS {                       \
    [STAGE_CONNECT] = {"on_connect"},           \
    [STAGE_CLOSE] = {"on_close"},               \
}
/* clang-format on */

/* -- generation 1: conn comes last -- */

static void push_conn_or_probe(struct vm *vm, struct session *s, lua_State *L)
{
    if (s)
        lua_conn_push(L, s);
    else
        lua_conn_push_probe(vm, L);
}

static void push_conn(struct session *s, lua_State *L)
{
    lua_conn_push(L, s);
}

const struct session_protocol session_generation_1 = {
    .first = STAGE_CONNECT,
    .handlers = SCRIPT_HANDLERS,
    .push_connection = push_conn,
    .push_encoder_connection = push_conn_or_probe,
    .encode = encode,
};

/* -- generation 2: what is not said by an id, the script asks of mix.socket.tcp() -- */

const struct session_protocol session_socket = {
    .first = STAGE_CONNECT,
    .handlers = SCRIPT_HANDLERS,
    .push_connection = session_protocol_push_id,
    .encode = encode,
};
