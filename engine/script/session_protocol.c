#include "script/session_protocol.h"

const struct session_protocol *session_protocol_of(enum config_protocol protocol)
{
    static const struct session_protocol *const protocols[] = {
        [CONFIG_PROTOCOL_SCRIPT] = &session_generation_1,
        [CONFIG_PROTOCOL_SOCKET] = &session_socket,
        [CONFIG_PROTOCOL_WEBSOCKET] = &session_builtin_websocket,
    };
    return protocols[protocol];
}
