#include "msg/client_id.h"

bool client_id_parse(const char *text, size_t len, uint64_t *id)
{
    if (len == 0 || len > 19)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    *id = value;
    return value <= INT64_MAX;
}

int client_id_format(uint64_t id, char text[CLIENT_ID_TEXT])
{
    return (int)decimal_format(id, text);
}
