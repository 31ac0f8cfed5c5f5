/* JSON text is written piece by piece; its one hard part is a string. Pure functions. */
#pragma once

#include "base/buf.h"

/* A quoted JSON string (RFC 8259 section 7) of valid UTF-8. */
void json_string_append(struct buf *out, const char *text, size_t len);

/* How many bytes from here are neither a quote, a backslash nor a control character. */
size_t json_plain_run(const char *text, size_t len);
