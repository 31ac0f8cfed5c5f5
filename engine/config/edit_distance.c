#include "config/edit_distance.h"

#include <ctype.h>
#include <stddef.h>

enum { NAME_MAX_LEN = 64 };

/* Returns the length, or NAME_MAX_LEN + 1 when it does not fit. */
static size_t fold(char out[NAME_MAX_LEN], const char *name)
{
    size_t len = 0;
    for (; *name; name++) {
        if (*name == '_')
            continue;
        if (len == NAME_MAX_LEN)
            return NAME_MAX_LEN + 1;
        out[len++] = (char)tolower((unsigned char)*name);
    }
    return len;
}

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* One row of Levenshtein's table at a time. */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned row[NAME_MAX_LEN + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = least(replaced, row[j] + 1, row[j - 1] + 1);
        }
    }
    return row[b_len];
}

unsigned edit_distance(const char *a, const char *b)
{
    char fa[NAME_MAX_LEN], fb[NAME_MAX_LEN];
    size_t a_len = fold(fa, a), b_len = fold(fb, b);
    if (a_len > NAME_MAX_LEN || b_len > NAME_MAX_LEN)
        return EDIT_DISTANCE_FAR;
    return distance(fa, a_len, fb, b_len);
}
