#include "script/stats.h"
#include <string.h>

const char *const script_handler_names[HANDLERS] = {
    [HANDLER_CONNECT] = "on_connect",   [HANDLER_HANDSHAKE] = "on_handshake",
    [HANDLER_INPUT] = "protocol_input", [HANDLER_DECODE] = "protocol_decode",
    [HANDLER_MESSAGE] = "on_message",   [HANDLER_ENCODE] = "protocol_encode",
    [HANDLER_CLOSE] = "on_close",       [HANDLER_TIMER] = "timer",
    [HANDLER_OTHER] = "other",
};

enum script_handler script_handler_named(const char *name)
{
    for (int i = 0; i < HANDLER_OTHER; i++)
        if (strcmp(name, script_handler_names[i]) == 0)
            return (enum script_handler)i;
    return HANDLER_OTHER;
}
