#include "api/window.h"
#include <inttypes.h>
#include <stdio.h>

size_t window_ping(struct window *window, char data[WINDOW_PING + 1])
{
    window->pinged = window->sent;
    return (size_t)snprintf(data, WINDOW_PING + 1, "%" PRIu64, window->sent);
}

void window_pong(struct window *window, const char *data, size_t len)
{
    uint64_t count = 0;
    for (size_t i = 0; i < len; i++) {
        if (data[i] < '0' || data[i] > '9' || count > window->pinged)
            return;
        count = count * 10 + (uint64_t)(data[i] - '0');
    }
    if (count <= window->heard || count > window->pinged)
        return;
    window->heard = count;
    window->answers = true;
}
