#include "script/http_text.h"
#include <math.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

bool http_text_is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_token_char(text[i]))
            return false;
    return len > 0;
}

bool http_text_is_value(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (is_control(text[i]) && text[i] != '\t')
            return false;
    return true;
}

bool http_text_is_cookie_value(const char *text, size_t len)
{
    return http_text_is_value(text, len) && (len == 0 || !memchr(text, ';', len));
}

bool http_text_is_url(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (is_control(text[i]) || text[i] == ' ')
            return false;
    return len > 0;
}

/* -- durations -- */

struct cursor {
    const char *at, *end;
};

static double digits(struct cursor *c, double unit, bool *any)
{
    double value = 0;
    for (; c->at < c->end && is_digit(*c->at); c->at++, *any = true) {
        value = unit < 1 ? value + unit * (*c->at - '0') : value * 10 + (*c->at - '0');
        unit = unit < 1 ? unit / 10 : unit;
    }
    return value;
}

/* "12", "1.5", ".5" */
static bool number(struct cursor *c, double *value)
{
    bool any = false;
    *value = digits(c, 1, &any);
    if (c->at < c->end && *c->at == '.') {
        c->at++;
        *value += digits(c, 0.1, &any);
    }
    return any;
}

static bool unit(struct cursor *c, double *ms)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = {
        {"ns", 1e-6}, {"us", 1e-3}, {"\302\265s", 1e-3}, {"\316\274s", 1e-3},
        {"ms", 1},    {"s", 1e3},   {"m", 60e3},         {"h", 3600e3},
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t len = strlen(units[i].name);
        if ((size_t)(c->end - c->at) >= len && memcmp(c->at, units[i].name, len) == 0) {
            c->at += len;
            *ms = units[i].ms;
            return true;
        }
    }
    return false;
}

bool http_text_duration(const char *text, size_t len, uint64_t max, uint64_t *ms)
{
    struct cursor c = {text, text + len};
    double sum = 0, value, factor;
    do {
        if (!number(&c, &value) || !unit(&c, &factor))
            return false;
        sum += value * factor;
    } while (c.at < c.end);
    if (sum > (double)max)
        return false;
    uint64_t ns = (uint64_t)llround(sum * 1e6);
    *ms = (ns + 999999) / 1000000;
    return true;
}

/* -- cookies -- */

static void trim(const char **text, size_t *len)
{
    for (; *len > 0 && strchr(" \t", **text); ++*text)
        --*len;
    while (*len > 0 && strchr(" \t", (*text)[*len - 1]))
        --*len;
}

bool http_text_cookie(const char *line, struct http_cookie *cookie)
{
    size_t len = strcspn(line, ";"), equals = strcspn(line, "=");
    if (equals >= len)
        return false;
    *cookie = (struct http_cookie){line, line + equals + 1, equals, len - equals - 1};
    trim(&cookie->name, &cookie->name_len);
    trim(&cookie->value, &cookie->value_len);
    if (cookie->value_len >= 2 && cookie->value[0] == '"' &&
        cookie->value[cookie->value_len - 1] == '"') {
        cookie->value++;
        cookie->value_len -= 2;
    }
    return http_text_is_token(cookie->name, cookie->name_len);
}
