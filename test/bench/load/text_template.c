#include "text_template.h"

#include "base/mem.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const struct slice MESSAGE = {"{msg}", 5};

static bool starts_with(const char *at, const char *end, const char *word)
{
    size_t len = strlen(word);
    return (size_t)(end - at) >= len && memcmp(at, word, len) == 0;
}

/* What stands at an opening brace: how many bytes of the template it takes; 0: it is text. */
static size_t expand_name(struct buf *out, const char *at, const char *end,
                          const struct template_values *values)
{
    if (starts_with(at, end, "{i}"))
        buf_printf(out, "%u", values->connection);
    else if (starts_with(at, end, "{n}"))
        buf_printf(out, "%u", values->round);
    else if (values->has_channel && starts_with(at, end, "{c}"))
        buf_printf(out, "%u", values->channel);
    else if (values->message.data && starts_with(at, end, MESSAGE.data)) {
        buf_append(out, values->message.data, values->message.len);
        return MESSAGE.len;
    } else
        return 0;
    return 3;
}

void template_expand(struct buf *out, struct slice text, const struct template_values *values)
{
    const char *at = text.data, *end = text.data + text.len;
    while (at < end) {
        const char *brace = memchr(at, '{', (size_t)(end - at));
        if (!brace)
            brace = end;
        buf_append(out, at, (size_t)(brace - at));
        at = brace;
        if (at == end)
            break;
        size_t taken = expand_name(out, at, end, values);
        if (taken == 0)
            buf_append_char(out, *at++);
        at += taken;
    }
}

bool template_has_message(struct slice text)
{
    return memmem(text.data, text.len, MESSAGE.data, MESSAGE.len) != NULL;
}

/* What stands behind a backslash: its byte, and how many bytes it took; 0: the backslash is text.
 */
static size_t unescape_one(const char *at, char *out)
{
    static const char names[] = "nrt0\\", bytes[] = "\n\r\t\0\\";
    const char *name = *at ? strchr(names, *at) : NULL;
    if (name) {
        *out = bytes[name - names];
        return 1;
    }
    if (*at != 'x' || !isxdigit((unsigned char)at[1]) || !isxdigit((unsigned char)at[2]))
        return 0;
    const char digits[] = {at[1], at[2], '\0'};
    *out = (char)strtol(digits, NULL, 16);
    return 3;
}

struct slice template_unescape(const char *text)
{
    char *out = xmalloc(strlen(text) + 1);
    size_t len = 0;
    while (*text) {
        size_t taken = *text == '\\' ? unescape_one(text + 1, &out[len]) : 0;
        if (taken == 0)
            out[len] = *text;
        len++;
        text += 1 + taken;
    }
    return (struct slice){out, len};
}
