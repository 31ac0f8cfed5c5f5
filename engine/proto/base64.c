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

struct blob *base64_decode(const char *text, size_t len)
{
    size_t pad = 0;
    while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
        pad++;
    if (len % 4 != 0)
        return NULL;
    struct blob *bytes = blob_new(NULL, len / 4 * 3 - pad);
    uint32_t group = 0;
    for (size_t i = 0; i < len; i++) {
        int digit = i < len - pad ? digit_of(text[i]) : 0;
        if (digit < 0) {
            blob_unref(bytes);
            return NULL;
        }
        group = group << 6 | (uint32_t)digit;
        for (size_t j = 0, at = i / 4 * 3; i % 4 == 3 && j < 3 && at + j < bytes->len; j++)
            bytes->data[at + j] = (char)(group >> (16 - 8 * j));
    }
    return bytes;
}
