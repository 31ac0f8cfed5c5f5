/* The parts of HTTP that are text alone: no connection, no Lua. Pure functions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A method, or the name of a header or a cookie (RFC 9110 section 5.6.2). */
bool http_text_is_token(const char *text, size_t len);

/* What may stand in a header's value: no control character but the tab. */
bool http_text_is_value(const char *text, size_t len);

/* The same for a cookie's value, which ends at a semicolon. */
bool http_text_is_cookie_value(const char *text, size_t len);

/* No space, no control character: what may stand in a URL. */
bool http_text_is_url(const char *text, size_t len);

/* A duration as Go writes it ("300ms", "1h30m", "1.5s"), in milliseconds, rounded up. False when it
 * is none, or is longer than `max`. */
bool http_text_duration(const char *text, size_t len, uint64_t max, uint64_t *ms);

struct http_cookie {
    const char *name, *value; /* in the line; their ends are not marked */
    size_t name_len, value_len;
};

/* The name and value of a Set-Cookie header, the value without its quotes; its attributes are
 * passed over. False when it is none. */
bool http_text_cookie(const char *line, struct http_cookie *cookie);
