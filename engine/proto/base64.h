/* Base64 (RFC 4648 section 4): with padding, without white space. Pure functions. */
#pragma once

#include "base/blob.h"
#include <stdbool.h>
#include <sys/types.h>

/* In the alphabet, which `=` is not. */
bool base64_has(char c);

/* Writes the bytes, for which `out` has room for len / 4 * 3; how many they are, or -1 when the
 * text is not base64. */
ssize_t base64_read(const char *text, size_t len, char *out);

/* A new blob of the bytes, or NULL when the text is not base64. */
struct blob *base64_decode(const char *text, size_t len);
