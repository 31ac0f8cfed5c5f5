#include "base/json_string.h"
#include <stdbool.h>

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

static void append_escaped(struct buf *out, unsigned char c)
{
    if (c < 0x20)
        buf_printf(out, "\\u%04x", c);
    else
        buf_printf(out, "\\%c", c);
}

void json_string_append(struct buf *out, const char *text, size_t len)
{
    const char *end = text + len;
    buf_append_char(out, '"');
    while (text < end) {
        const char *from = text;
        while (text < end && is_plain((unsigned char)*text))
            text++;
        buf_append(out, from, (size_t)(text - from));
        if (text < end)
            append_escaped(out, (unsigned char)*text++);
    }
    buf_append_char(out, '"');
}
