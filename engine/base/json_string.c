#include "base/json_string.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

static const uint64_t ONES = UINT64_C(0x0101010101010101), TOPS = UINT64_C(0x8080808080808080);

/* Is a byte of the word below `limit`, which is at most 128? */
static bool has_below(uint64_t word, uint8_t limit)
{
    return ((word - ONES * limit) & ~word & TOPS) != 0;
}

static bool is_plain_word(uint64_t word)
{
    return !has_below(word, 0x20) && !has_below(word ^ ONES * '"', 1) &&
           !has_below(word ^ ONES * '\\', 1);
}

size_t json_plain_run(const char *text, size_t len)
{
    size_t n = 0;
    for (uint64_t word; len - n >= sizeof word; n += sizeof word) {
        memcpy(&word, text + n, sizeof word);
        if (!is_plain_word(word))
            break;
    }
    while (n < len && is_plain((unsigned char)text[n]))
        n++;
    return n;
}

static void append_escaped(struct buf *out, unsigned char c)
{
    if (c < 0x20) {
        buf_printf(out, "\\u%04x", c);
        return;
    }
    buf_append_char(out, '\\');
    buf_append_char(out, (char)c);
}

void json_string_append(struct buf *out, const char *text, size_t len)
{
    const char *end = text + len;
    buf_append_char(out, '"');
    while (text < end) {
        size_t run = json_plain_run(text, (size_t)(end - text));
        buf_append(out, text, run);
        text += run;
        if (text < end)
            append_escaped(out, (unsigned char)*text++);
    }
    buf_append_char(out, '"');
}
