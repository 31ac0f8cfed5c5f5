/* Base64 (RFC 4648, with padding). Pure functions. */
#pragma once

#include "base/blob.h"

/* A new blob of the bytes, or NULL when the text is not base64. */
struct blob *base64_decode(const char *text, size_t len);
