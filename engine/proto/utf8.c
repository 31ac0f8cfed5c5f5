#include "proto/utf8.h"

#include <string.h>

enum { CONTINUATION_LOW = 0x80, CONTINUATION_HIGH = 0xBF };

/* Not every range of continuation bytes is whole: the second byte decides on overlong forms,
 * surrogates and the upper end, so that these are errors there and not only at the last byte. */
static bool start(struct utf8 *state, uint8_t need, uint8_t low, uint8_t high)
{
    *state = (struct utf8){.need = need, .low = low, .high = high};
    return true;
}

static bool first_byte(struct utf8 *state, uint8_t byte)
{
    if (byte < 0x80)
        return true;
    if (byte < 0xC2 || byte > 0xF4)
        return false;
    if (byte < 0xE0)
        return start(state, 1, CONTINUATION_LOW, CONTINUATION_HIGH);
    if (byte < 0xF0)
        return start(state, 2, byte == 0xE0 ? 0xA0 : CONTINUATION_LOW,
                     byte == 0xED ? 0x9F : CONTINUATION_HIGH);
    return start(state, 3, byte == 0xF0 ? 0x90 : CONTINUATION_LOW,
                 byte == 0xF4 ? 0x8F : CONTINUATION_HIGH);
}

static bool step(struct utf8 *state, uint8_t byte)
{
    if (state->need == 0)
        return first_byte(state, byte);
    if (byte < state->low || byte > state->high)
        return false;
    return start(state, state->need - 1, CONTINUATION_LOW, CONTINUATION_HIGH);
}

/* How many whole words of ASCII stand at the front: most text is nothing else. */
static size_t ascii_words(const uint8_t *at, size_t len)
{
    size_t done = 0;
    for (uint64_t word; len - done >= sizeof(word); done += sizeof(word)) {
        memcpy(&word, at + done, sizeof(word));
        if (word & UINT64_C(0x8080808080808080))
            break;
    }
    return done;
}

/* Returns how many bytes were good, and in *whole how many of them make whole characters. */
static size_t walk(struct utf8 *state, const uint8_t *at, size_t len, size_t *whole)
{
    struct utf8 now = *state;
    size_t i = 0;
    *whole = 0;
    while (i < len) {
        if (now.need == 0) {
            i += ascii_words(at + i, len - i);
            *whole = i;
        }
        if (i == len || !step(&now, at[i]))
            break;
        i++;
    }
    if (now.need == 0)
        *whole = i;
    *state = now;
    return i;
}

bool utf8_feed(struct utf8 *state, const void *data, size_t len)
{
    size_t whole;
    return walk(state, data, len, &whole) == len;
}

bool utf8_valid(const void *data, size_t len)
{
    struct utf8 state = {0};
    return utf8_feed(&state, data, len) && utf8_done(&state);
}

size_t utf8_prefix(const void *data, size_t len)
{
    struct utf8 state = {0};
    size_t whole;
    walk(&state, data, len, &whole);
    return whole;
}

size_t utf8_bad_len(const void *data, size_t len)
{
    struct utf8 state = {0};
    const uint8_t *at = data;
    size_t good = 0;
    while (good < len && step(&state, at[good]))
        good++;
    return good > 0 ? good : 1;
}
