/* JSON text is written piece by piece; its one hard part is a string. Pure function. */
#pragma once

#include "base/buf.h"

/* A quoted JSON string (RFC 8259 section 7) of valid UTF-8. */
void json_string_append(struct buf *out, const char *text, size_t len);
