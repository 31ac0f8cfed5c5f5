#include "base/log_repeats.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line {
    uint64_t key; /* 0: not in use */
    uint64_t since_ms;
    unsigned seen;
    struct log_repeat repeat;
};

struct log_repeats {
    struct line lines[LOG_REPEATS_LINES];
};

struct log_repeats *log_repeats_new(void)
{
    return xcalloc(1, sizeof(struct log_repeats));
}

void log_repeats_free(struct log_repeats *repeats)
{
    free(repeats);
}

/* FNV-1a from a seed, with a finish that mixes the high bits down. */
static uint64_t mix(uint64_t hash, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 32;
}

uint64_t log_repeats_key(uint64_t seed, enum log_level level, const char *module, const char *text,
                         size_t len)
{
    uint64_t hash = mix(seed + level, module, strlen(module) + 1);
    hash = mix(hash, text, len);
    return hash ? hash : 1;
}

static bool is_over(const struct line *line, uint64_t now_ms)
{
    return now_ms - line->since_ms >= LOG_REPEATS_MS;
}

/* One that is not known, or whose window is over, and which has nothing to tell; else the oldest
 * that has nothing to tell. NULL: all have. */
static struct line *find_room(struct log_repeats *repeats, uint64_t now_ms)
{
    struct line *oldest = NULL;
    for (struct line *line = repeats->lines; line < repeats->lines + LOG_REPEATS_LINES; line++) {
        if (line->repeat.held > 0)
            continue;
        if (line->key == 0 || is_over(line, now_ms))
            return line;
        if (!oldest || line->since_ms < oldest->since_ms)
            oldest = line;
    }
    return oldest;
}

static struct line *find(struct log_repeats *repeats, uint64_t key)
{
    for (size_t i = 0; i < LOG_REPEATS_LINES; i++)
        if (repeats->lines[i].key == key)
            return &repeats->lines[i];
    return NULL;
}

static void begin(struct line *line, uint64_t key, uint64_t now_ms)
{
    line->key = key;
    line->since_ms = now_ms;
    line->seen = 1;
}

/* Not within a character. */
static size_t cut(const char *text, size_t len)
{
    const char *end = memchr(text, '\n', len);
    size_t n = end ? (size_t)(end - text) : len;
    if (n < LOG_REPEATS_TEXT)
        return n;
    n = LOG_REPEATS_TEXT;
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static void hold(struct line *line, enum log_level level, const char *module, const char *text,
                 size_t len)
{
    struct log_repeat *repeat = &line->repeat;
    if (repeat->held++ > 0)
        return;
    repeat->level = level;
    snprintf(repeat->module, sizeof repeat->module, "%s", module);
    repeat->len = cut(text, len);
    memcpy(repeat->text, text, repeat->len);
}

bool log_repeats_hold(struct log_repeats *repeats, uint64_t key, enum log_level level,
                      const char *module, const char *text, size_t len, uint64_t now_ms)
{
    struct line *line = find(repeats, key);
    /* NOLINTNEXTLINE(bugprone-branch-clone): room is looked for where there is no line yet */
    if (line && is_over(line, now_ms) && line->repeat.held == 0) {
        begin(line, key, now_ms);
    } else if (line) {
        if (line->seen++ >= LOG_REPEATS_FREE) {
            hold(line, level, module, text, len);
            return true;
        }
    } else if ((line = find_room(repeats, now_ms)) != NULL) {
        begin(line, key, now_ms);
    }
    return false;
}

unsigned log_repeats_due(const struct log_repeats *repeats, uint64_t now_ms)
{
    unsigned due = LOG_REPEATS_NEVER;
    for (size_t i = 0; i < LOG_REPEATS_LINES; i++) {
        const struct line *line = &repeats->lines[i];
        if (line->repeat.held == 0)
            continue;
        uint64_t age = now_ms - line->since_ms;
        unsigned left = age >= LOG_REPEATS_MS ? 0 : LOG_REPEATS_MS - (unsigned)age;
        due = left < due ? left : due;
    }
    return due;
}

size_t log_repeats_take(struct log_repeats *repeats, uint64_t now_ms, bool all,
                        struct log_repeat out[LOG_REPEATS_LINES])
{
    size_t count = 0;
    for (struct line *line = repeats->lines; line < repeats->lines + LOG_REPEATS_LINES; line++) {
        if (line->repeat.held == 0 || (!all && !is_over(line, now_ms)))
            continue;
        line->repeat.seconds = (unsigned)((now_ms - line->since_ms + 999) / 1000);
        out[count++] = line->repeat;
        *line = (struct line){0};
    }
    return count;
}
