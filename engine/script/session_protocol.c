#include "script/session_protocol.h"
#include "script/lua_conn.h"

void session_protocol_push_id(struct session *s, lua_State *L)
{
    if (s->stage != STAGE_CONNECT && s->stage != STAGE_CLOSE)
        return;
    lua_conn_push_id(L, s);
    lua_insert(L, 2);
}

const struct session_protocol *session_protocol_of(enum config_protocol protocol)
{
    static const struct session_protocol *const protocols[] = {
        [CONFIG_PROTOCOL_SCRIPT] = &session_generation_1,
        [CONFIG_PROTOCOL_SOCKET] = &session_socket,
        [CONFIG_PROTOCOL_WEBSOCKET] = &session_builtin_websocket,
    };
    return protocols[protocol];
}
