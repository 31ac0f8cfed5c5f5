/* Any arguments as a command: written, it is read again for what it needs of its connection, and
 * that does not change with the case of its name. Input: an argument to each line. */
#include "script/redis_command.h"

#include "base/check.h"
#include "exact.h"
#include <ctype.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count_lines(const char *text, size_t len)
{
    size_t lines = 1;
    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n';
    return lines;
}

static void write_lines(struct buf *out, const char *text, size_t len)
{
    const char *end = text + len;
    redis_command_begin(out, count_lines(text, len));
    for (const char *at = text; at <= end;) {
        const char *stop = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        stop = stop ? stop : end;
        redis_command_add(out, at, (size_t)(stop - at));
        at = stop + 1;
    }
}

/* The commands end in CRLF, so that reading a number does not go on behind them. */
static struct redis_need need_of(const struct buf *command)
{
    static struct exact copy;
    struct redis_need need =
        redis_command_need(exact_copy(&copy, command->data, command->len), command->len);
    CHECK(need.alone || need.wait_ms == 0);
    CHECK(!need.refused || (!need.alone && *need.refused));
    return need;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct buf command;
    command.len = 0;
    write_lines(&command, (const char *)data, size);
    struct redis_need need = need_of(&command);
    for (size_t i = 0; i < command.len; i++)
        command.data[i] = (char)toupper((unsigned char)command.data[i]);
    struct redis_need upper = need_of(&command);
    CHECK(upper.refused == need.refused && upper.alone == need.alone);
    return 0;
}
