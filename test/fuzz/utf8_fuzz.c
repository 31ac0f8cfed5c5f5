/* Any bytes as text: the answer is that of a decoder which builds the code points, and does not
 * change when the bytes come in two pieces. Input: byte 0 says where the second piece begins. */
#include "proto/utf8.h"

#include "base/check.h"
#include "exact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The length of the character at the start; 0: there is none. */
static size_t character(const uint8_t *at, size_t len)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t need = *at < 0x80 ? 1 : *at < 0xc0 ? 0 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;
    if (need <= 1)
        return need;
    uint32_t point = *at & (0xffu >> (need + 1));
    if (*at >= 0xf8 || len < need)
        return 0;
    for (size_t i = 1; i < need; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (at[i] & 0x3f);
    }
    bool is_one = point >= smallest[need] && point <= 0x10ffff && (point & 0xfffff800) != 0xd800;
    return is_one ? need : 0;
}

static size_t valid_prefix(const uint8_t *data, size_t len)
{
    size_t at = 0, step = 1;
    while (at < len && (step = character(data + at, len - at)) > 0)
        at += step;
    return at;
}

static void check_pieces(const char *text, size_t len, size_t cut, bool valid)
{
    struct utf8 state = {0};
    bool fine = utf8_feed(&state, text, cut) && utf8_feed(&state, text + cut, len - cut);
    CHECK((fine && utf8_done(&state)) == valid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct exact exact;
    if (size == 0)
        return 0;
    size_t len = size - 1, cut = len > 0 ? data[0] % (len + 1) : 0;
    const char *text = exact_copy(&exact, data + 1, len);
    size_t prefix = valid_prefix(data + 1, len);
    CHECK(utf8_prefix(text, len) == prefix);
    CHECK(utf8_valid(text, len) == (prefix == len));
    check_pieces(text, len, cut, prefix == len);
    if (prefix < len) {
        size_t bad = utf8_bad_len(text + prefix, len - prefix);
        CHECK(bad >= 1 && bad <= 3 && bad <= len - prefix);
    }
    return 0;
}
