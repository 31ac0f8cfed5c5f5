/* What is valid is derived here from an encoder: a byte is wrong exactly where no character that
 * the encoder can produce begins like that. */
#include "proto/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* By the number of bytes: can a character begin with these? Indexed by the bytes, big-endian. */
static uint8_t *begins[5];

static size_t put(uint32_t point, uint8_t out[4])
{
    static const uint8_t lead[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
    size_t len = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = len; i-- > 1; point >>= 6)
        out[i] = 0x80 | (point & 0x3F);
    out[0] = (uint8_t)(lead[len] | point);
    return len;
}

static uint32_t number(const uint8_t *bytes, size_t len)
{
    uint32_t value = 0;
    for (size_t i = 0; i < len; i++)
        value = value << 8 | bytes[i];
    return value;
}

static bool is_character(uint32_t point)
{
    return point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF);
}

/* Four bytes fit a table only because all leads of four are F0 and up. */
static uint32_t place(const uint8_t *bytes, size_t len)
{
    return len < 4 ? number(bytes, len) : number(bytes, 4) - 0xF0000000u;
}

static int fill_tables(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 4; len++)
        begins[len] = calloc(1, len < 4 ? (size_t)1 << 8 * len : (size_t)1 << 28);
    for (uint32_t point = 0; point <= 0x10FFFF; point++) {
        uint8_t bytes[4];
        if (!is_character(point))
            continue;
        size_t whole = put(point, bytes);
        for (size_t len = 1; len <= whole; len++)
            begins[len][place(bytes, len)] = len == whole ? 2 : 1;
    }
    return 0;
}

static int free_tables(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 4; len++)
        free(begins[len]);
    return 0;
}

/* One character's bytes: each is fed alone, and the first that is wrong must be refused. */
static void check_bytes(const uint8_t *bytes, size_t len)
{
    struct utf8 state = {0};
    for (size_t i = 0; i < len; i++) {
        uint8_t may = begins[i + 1][place(bytes, i + 1)];
        if (utf8_feed(&state, bytes + i, 1) != (may > 0))
            fail_msg("byte %zu of %08x", i, number(bytes, len));
        assert_int_equal(utf8_valid(bytes, i + 1), may == 2);
        if (may == 0)
            assert_int_equal(utf8_bad_len(bytes, len), i > 0 ? i : 1);
        if (may != 1)
            return;
        assert_false(utf8_done(&state));
    }
    assert_int_equal(utf8_bad_len(bytes, len), len);
}

static void every_sequence_of_up_to_three(void **state)
{
    (void)state;
    for (unsigned lead = 0; lead < 256; lead++)
        for (unsigned second = 0; second < 256; second++)
            check_bytes((uint8_t[]){(uint8_t)lead, (uint8_t)second}, 2);
    for (unsigned lead = 0xE0; lead < 0xF0; lead++)
        for (unsigned rest = 0; rest < 0x10000; rest++)
            check_bytes((uint8_t[]){(uint8_t)lead, (uint8_t)(rest >> 8), (uint8_t)rest}, 3);
}

static void sequences_of_four(void **state)
{
    static const uint8_t edges[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    (void)state;
    for (unsigned lead = 0xF0; lead < 0x100; lead++)
        for (unsigned second = 0; second < 256; second++)
            for (size_t i = 0; i < sizeof(edges) * sizeof(edges); i++)
                check_bytes((uint8_t[]){(uint8_t)lead, (uint8_t)second, edges[i % sizeof(edges)],
                                        edges[i / sizeof(edges)]},
                            4);
}

static void every_character(void **state)
{
    (void)state;
    for (uint32_t point = 0; point <= 0x10FFFF; point++) {
        uint8_t bytes[4];
        size_t len = put(point, bytes);
        if (utf8_valid(bytes, len) != is_character(point))
            fail_msg("U+%04X", point);
    }
}

static const struct {
    const char *bytes;
    size_t len, prefix; /* valid characters at the front */
} texts[] = {
    {"", 0, 0},
    {"\0", 1, 1},
    {"plain", 5, 5},
    {"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5", 11, 11},
    {"\xEF\xBF\xBD\xEF\xBF\xBE\xEF\xBF\xBF", 9, 9}, /* U+FFFD and non-characters */
    {"\xF4\x8F\xBF\xBF", 4, 4},                     /* the last one */
    {"a\xF4\x90\x80\x80", 5, 1},                    /* the one after it */
    {"a\xED\xA0\x80", 4, 1},                        /* surrogates: high, low, a pair */
    {"a\xED\xBF\xBF", 4, 1},
    {"a\xED\xA0\x80\xED\xB0\x80", 7, 1},
    {"\xED\x9F\xBF\xEE\x80\x80", 6, 6}, /* the neighbours of the surrogates */
    {"ab\xC0\xAF", 4, 2},               /* overlong slashes */
    {"ab\xE0\x80\xAF", 5, 2},
    {"ab\xF0\x80\x80\xAF", 6, 2},
    {"\xF8\x88\x80\x80\x80", 5, 0}, /* five and six bytes */
    {"\xFC\x84\x80\x80\x80\x80", 6, 0},
    {"\xFE", 1, 0},
    {"\xFF", 1, 0},
    {"\x80", 1, 0}, /* nothing to continue */
    {"\xC3\xA9\xA9", 3, 2},
    {"abc\xC3", 4, 3}, /* cut off */
    {"abc\xE2\x82", 5, 3},
    {"abc\xF0\x9F\x98", 6, 3},
    {"abc\xE2\x82"
     "d",
     6, 3},
};

static void check_split(const char *bytes, size_t len, size_t at, bool valid)
{
    struct utf8 state = {0};
    bool good = utf8_feed(&state, bytes, at) && utf8_feed(&state, bytes + at, len - at);
    assert_int_equal(good && utf8_done(&state), valid);
}

static void texts_in_any_two_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        bool valid = texts[i].prefix == texts[i].len;
        assert_int_equal(utf8_valid(texts[i].bytes, texts[i].len), valid);
        assert_int_equal(utf8_prefix(texts[i].bytes, texts[i].len), texts[i].prefix);
        for (size_t at = 0; at <= texts[i].len; at++)
            check_split(texts[i].bytes, texts[i].len, at, valid);
    }
}

/* Whole words of ASCII are skipped: nothing may hide at any place of a word. */
static void bad_byte_at_any_place(void **state)
{
    char text[64];
    (void)state;
    for (size_t len = 1; len < sizeof(text); len++) {
        for (size_t at = 0; at < len; at++) {
            memset(text, 'x', len);
            text[at] = (char)0x80;
            assert_false(utf8_valid(text, len));
            assert_int_equal(utf8_prefix(text, len), at);
        }
    }
}

static void two_byte_character_at_any_place(void **state)
{
    char text[64];
    (void)state;
    for (size_t at = 0; at + 2 <= sizeof(text); at++) {
        memset(text, 'x', sizeof(text));
        memcpy(text + at, "\xC3\xA9", 2);
        assert_true(utf8_valid(text, sizeof(text)));
        assert_int_equal(utf8_prefix(text, at + 1), at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sequence_of_up_to_three),
        cmocka_unit_test(sequences_of_four),
        cmocka_unit_test(every_character),
        cmocka_unit_test(texts_in_any_two_pieces),
        cmocka_unit_test(bad_byte_at_any_place),
        cmocka_unit_test(two_byte_character_at_any_place),
    };
    return cmocka_run_group_tests_name("utf8", tests, fill_tables, free_tables);
}
