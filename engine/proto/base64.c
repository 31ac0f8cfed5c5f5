#include "proto/base64.h"
#include <stdint.h>

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_has(char c)
{
    return digit_of(c) >= 0;
}

ssize_t base64_read(const char *text, size_t len, char *out)
{
    size_t pad = 0;
    while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
        pad++;
    if (len % 4 != 0)
        return -1;
    size_t size = len / 4 * 3 - pad;
    uint32_t group = 0;
    for (size_t i = 0; i < len; i++) {
        int digit = i < len - pad ? digit_of(text[i]) : 0;
        if (digit < 0)
            return -1;
        group = group << 6 | (uint32_t)digit;
        for (size_t j = 0, at = i / 4 * 3; i % 4 == 3 && j < 3 && at + j < size; j++)
            out[at + j] = (char)(group >> (16 - 8 * j));
    }
    return (ssize_t)size;
}

struct blob *base64_decode(const char *text, size_t len)
{
    struct blob *bytes = blob_new(NULL, len / 4 * 3);
    ssize_t size = base64_read(text, len, bytes->data);
    if (size >= 0) {
        bytes->len = (size_t)size;
        bytes->data[size] = '\0';
        return bytes;
    }
    blob_unref(bytes);
    return NULL;
}
