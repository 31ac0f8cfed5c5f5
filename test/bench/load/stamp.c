#include "stamp.h"
#include <stddef.h>
#include <string.h>

enum { NS_DIGITS = 16, SEQUENCE_DIGITS = 8, NO_DIGIT = 16 };

static void write_hex(char *out, uint64_t value, int digits)
{
    while (digits-- > 0) {
        out[digits] = "0123456789abcdef"[value & 15];
        value >>= 4;
    }
}

void stamp_write(char out[STAMP_LEN], const struct stamp *stamp)
{
    memcpy(out, "@@", 2);
    write_hex(out + 2, stamp->ns, NS_DIGITS);
    write_hex(out + 2 + NS_DIGITS, stamp->sequence, SEQUENCE_DIGITS);
}

/* A digit's value; NO_DIGIT, and whatever else, for what is none. No branches: each delivery costs
 * 24 of these. */
static unsigned digit(char c)
{
    static const uint8_t values[256] = {
        ['0'] = 16, ['1'] = 17, ['2'] = 18, ['3'] = 19, ['4'] = 20, ['5'] = 21,
        ['6'] = 22, ['7'] = 23, ['8'] = 24, ['9'] = 25, ['a'] = 26, ['b'] = 27,
        ['c'] = 28, ['d'] = 29, ['e'] = 30, ['f'] = 31,
    };
    return values[(unsigned char)c] ^ NO_DIGIT;
}

static bool read_hex(const char *at, int digits, uint64_t *out)
{
    uint64_t value = 0;
    unsigned all = 0;
    for (int i = 0; i < digits; i++) {
        unsigned d = digit(at[i]);
        all |= d;
        value = value << 4 | (d & 15);
    }
    *out = value;
    return !(all & NO_DIGIT);
}

static bool read_stamp(const char *at, struct stamp *out)
{
    uint64_t sequence;
    if (at[1] != '@' || !read_hex(at + 2, NS_DIGITS, &out->ns) ||
        !read_hex(at + 2 + NS_DIGITS, SEQUENCE_DIGITS, &sequence))
        return false;
    out->sequence = (uint32_t)sequence;
    return true;
}

bool stamp_next(const char **at, const char *end, struct stamp *out)
{
    const char *p = *at;
    while (end - p >= STAMP_LEN && (p = memchr(p, '@', (size_t)(end - p))) != NULL) {
        if (end - p < STAMP_LEN)
            return false;
        if (read_stamp(p, out)) {
            *at = p + STAMP_LEN;
            return true;
        }
        p++;
    }
    return false;
}
