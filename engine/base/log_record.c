#include "base/log_record.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- characters ---- */

/* Reads one character of UTF-8 (RFC 3629); returns its length, 0 when it is none. */
static size_t decode(const unsigned char *text, size_t len, uint32_t *out)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char c = text[0];
    size_t n = c < 0x80 ? 1 : (c & 0xe0) == 0xc0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : 4;
    if (n > len || (n == 4 && (c & 0xf8) != 0xf0))
        return 0;
    uint32_t code = n == 1 ? c : c & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3fu);
    }
    *out = code;
    return code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : n;
}

/* Controls of both sets, and what breaks lines or turns the direction of text. */
static bool is_harmful(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

enum { UNIT_MAX = 12 }; /* of one character's escape */

struct unit {
    char text[UNIT_MAX + 1];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void put(struct unit *unit, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    unit->len = (size_t)vsnprintf(unit->text, sizeof unit->text, format, args);
    va_end(args);
}

static void put_text(struct unit *unit, uint32_t c)
{
    if (c == '\n')
        put(unit, "\n    ");
    else if (c == '\t')
        put(unit, "\t");
    else if (c < 0x80)
        put(unit, "\\x%02x", c);
    else
        put(unit, "\\u%04x", c);
}

static void put_json(struct unit *unit, uint32_t c)
{
    if (c == '\n')
        put(unit, "\\n");
    else if (c == '\t')
        put(unit, "\\t");
    else
        put(unit, "\\u%04x", c);
}

/* The next character as it is written; returns how many bytes were read. */
static size_t next_unit(struct unit *unit, enum log_format format, const char *text, size_t len)
{
    bool json = format == LOG_FORMAT_JSON;
    uint32_t c;
    size_t n = decode((const unsigned char *)text, len, &c);
    if (len > 1 && memcmp(text, "\r\n", 2) == 0) {
        unit->len = 0;
        return 1;
    }
    if (n == 0) {
        put(unit, json ? "\\\\x%02x" : "\\x%02x", (unsigned char)*text);
        return 1;
    }
    if (is_harmful(c)) {
        json ? put_json(unit, c) : put_text(unit, c);
    } else if (json && (c == '"' || c == '\\')) {
        put(unit, "\\%c", (int)c);
    } else {
        memcpy(unit->text, text, n);
        unit->len = n;
    }
    return n;
}

/* ---- records ---- */

static const char CUT[] = " [cut]";

/* What most messages are throughout: the same in both formats. */
static size_t plain_len(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && text[n] >= ' ' && text[n] < 0x7f && text[n] != '"' && text[n] != '\\')
        n++;
    return n;
}

static void append_message(struct buf *out, enum log_format format, const char *text, size_t len,
                           size_t limit)
{
    struct unit unit;
    for (size_t n, i = 0; i < len; i += n) {
        size_t room = limit - out->len;
        n = plain_len(text + i, len - i < room ? len - i : room);
        if (n > 0) {
            buf_append(out, text + i, n);
            continue;
        }
        n = next_unit(&unit, format, text + i, len - i);
        if (out->len + unit.len > limit) {
            buf_append_str(out, CUT);
            return;
        }
        buf_append(out, unit.text, unit.len);
    }
}

static void append_time(struct buf *out, enum log_format format, const struct timeval *when)
{
    struct tm local;
    char date[32], zone[8];
    localtime_r(&when->tv_sec, &local);
    bool json = format == LOG_FORMAT_JSON;
    strftime(date, sizeof date, json ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &local);
    buf_printf(out, "%s.%03d", date, (int)(when->tv_usec / 1000));
    if (!json)
        return;
    strftime(zone, sizeof zone, "%z", &local);
    buf_printf(out, "%.3s:%s", zone, zone + 3);
}

void log_record_append(struct buf *out, enum log_format format, const struct timeval *when,
                       enum log_level level, const char *module, const char *text, size_t len)
{
    static const char *const names[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};
    static const char *const words[] = {"debug", "info", "warn", "error"};
    bool json = format == LOG_FORMAT_JSON;
    const char *end = json ? "\"}\n" : "\n";
    size_t limit = out->len + LOG_RECORD_MAX - strlen(CUT) - strlen(end);
    buf_append_str(out, json ? "{\"time\":\"" : "");
    append_time(out, format, when);
    if (json)
        buf_printf(out, "\",\"level\":\"%s\",\"module\":\"%s\",\"message\":\"", words[level],
                   module);
    else
        buf_printf(out, " %s %s: ", names[level], module);
    append_message(out, format, text, len, limit);
    buf_append_str(out, end);
}

size_t log_record_date_at(enum log_format format)
{
    return format == LOG_FORMAT_JSON ? strlen("{\"time\":\"") : 0;
}

size_t log_record_len(const char *data, size_t len)
{
    size_t n = 0;
    do
        n = (size_t)((const char *)memchr(data + n, '\n', len - n) - data) + 1;
    while (n < len && data[n] == ' ');
    return n;
}

size_t log_record_count(const char *data, size_t len)
{
    size_t count = 0;
    for (size_t at = 0; at < len; at += log_record_len(data + at, len - at))
        count++;
    return count;
}
