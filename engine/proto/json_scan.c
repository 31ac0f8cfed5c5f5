#include "proto/json_scan.h"
#include "base/json_string.h"
#include "proto/utf8.h"
#include <string.h>

enum { DIGITS_MAX = 19 };

static void skip_space(struct json_scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r'))
        scan->at++;
}

bool json_scan_char(struct json_scan *scan, char c)
{
    skip_space(scan);
    if (scan->at == scan->end || *scan->at != c)
        return false;
    scan->at++;
    return true;
}

bool json_scan_literal(struct json_scan *scan, const char *literal, size_t len)
{
    if ((size_t)(scan->end - scan->at) < len || memcmp(scan->at, literal, len) != 0)
        return false;
    scan->at += len;
    return true;
}

bool json_scan_end(struct json_scan *scan)
{
    skip_space(scan);
    return scan->at == scan->end;
}

bool json_scan_count(struct json_scan *scan, uint64_t *count)
{
    skip_space(scan);
    const char *from = scan->at;
    uint64_t value = 0;
    for (; scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9'; scan->at++)
        value = value * 10 + (uint64_t)(*scan->at - '0'); /* may wrap: then it is refused */
    size_t digits = (size_t)(scan->at - from);
    *count = value;
    bool real = scan->at < scan->end && (*scan->at == '.' || (*scan->at | 0x20) == 'e');
    return digits > 0 && digits <= DIGITS_MAX && value <= INT64_MAX &&
           !(digits > 1 && *from == '0') && !real;
}

/* What an escape of two characters stands for; 0: it is none. */
static char meaning(char letter)
{
    switch (letter) {
    case '"':
    case '\\':
    case '/':
        return letter;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

/* Moves to the closing quote. */
static bool find_end(struct json_scan *scan, struct json_text *text)
{
    for (;;) {
        scan->at += json_plain_run(scan->at, (size_t)(scan->end - scan->at));
        if (scan->at == scan->end || (unsigned char)*scan->at < 0x20)
            return false;
        if (*scan->at == '"')
            return true;
        if (scan->end - scan->at < 2 || !meaning(scan->at[1]))
            return false;
        text->escaped = true;
        scan->at += 2;
    }
}

bool json_scan_string(struct json_scan *scan, struct json_text *text)
{
    if (!json_scan_char(scan, '"'))
        return false;
    *text = (struct json_text){.data = scan->at};
    if (!find_end(scan, text))
        return false;
    text->len = (size_t)(scan->at++ - text->data);
    return utf8_valid(text->data, text->len);
}

size_t json_text_copy(char *to, const struct json_text *text)
{
    const char *at = text->data, *end = at + text->len;
    char *out = to;
    if (!text->escaped) {
        memcpy(to, at, text->len);
        return text->len;
    }
    while (at < end) {
        size_t run = json_plain_run(at, (size_t)(end - at));
        memcpy(out, at, run);
        out += run;
        at += run;
        if (at < end) {
            *out++ = meaning(at[1]);
            at += 2;
        }
    }
    return (size_t)(out - to);
}
