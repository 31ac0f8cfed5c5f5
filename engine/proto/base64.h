/* Base64 (RFC 4648 section 4): with padding, without white space. Pure functions. */
#pragma once

#include "base/blob.h"
#include <stdbool.h>

/* In the alphabet, which `=` is not. */
bool base64_has(char c);

/* A new blob of the bytes, or NULL when the text is not base64. */
struct blob *base64_decode(const char *text, size_t len);
