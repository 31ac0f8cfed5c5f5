/* pack and unpack as PHP 8.2 does them. What PHP throws or returns false for is nil and its
 * message; what it only warns of (a '*' without meaning, a wrong hex digit, too few of them, X or @
 * outside of the string, arguments left over) is done as PHP does it, without a word. PHP's
 * integers are signed 64-bit: those beyond 2^53 come as decimal text, and pack takes such text, up
 * to 2^64-1. */
#include "script/lua_helpers.h"
#include "script/lua_modules.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PACKED_MAX = 64 << 20, /* a count in a format can ask for anything */
    NAME_MAX_LEN = 200,
    ALL = -1, /* the count '*' */
    HOST_BIG = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__,
};

static const int64_t EXACT_MAX = INT64_C(1) << 53;

struct number {
    char code;
    uint8_t size;
    bool big, is_signed, real;
};

static const struct number numbers[] = {
    {'c', 1, false, true, false},    {'C', 1, false, false, false},
    {'s', 2, HOST_BIG, true, false}, {'S', 2, HOST_BIG, false, false},
    {'n', 2, true, false, false},    {'v', 2, false, false, false},
    {'i', 4, HOST_BIG, true, false}, {'I', 4, HOST_BIG, false, false},
    {'l', 4, HOST_BIG, true, false}, {'L', 4, HOST_BIG, false, false},
    {'N', 4, true, false, false},    {'V', 4, false, false, false},
    {'q', 8, HOST_BIG, true, false}, {'Q', 8, HOST_BIG, true, false},
    {'J', 8, true, true, false},     {'P', 8, false, true, false},
    {'f', 4, HOST_BIG, false, true}, {'g', 4, false, false, true},
    {'G', 4, true, false, true},     {'d', 8, HOST_BIG, false, true},
    {'e', 8, false, false, true},    {'E', 8, true, false, true},
};

static const struct number *find_number(char code)
{
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].code == code)
            return &numbers[i];
    }
    return NULL;
}

static bool is_one_of(char code, const char *codes)
{
    return code != '\0' && strchr(codes, code) != NULL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The count behind a letter: 1 when there is none. False when it is no int. */
static bool read_count(const char **at, const char *end, int *count)
{
    int64_t sum = 0;
    *count = 1;
    if (*at < end && **at == '*') {
        ++*at;
        *count = ALL;
    } else if (*at < end && is_digit(**at)) {
        for (; *at < end && is_digit(**at); ++*at)
            sum = sum > INT_MAX ? sum : sum * 10 + (**at - '0');
        *count = (int)sum;
    }
    return sum <= INT_MAX;
}

/* Values */

/* As PHP reads text as a number: the longest prefix that is one. */
static size_t numeric_prefix(const char *text, bool *whole)
{
    const char *at = text + (*text == '-' || *text == '+');
    size_t digits = strspn(at, "0123456789"), fraction = 0;
    *whole = true;
    at += digits;
    if (*at == '.' && (digits > 0 || is_digit(at[1]))) {
        fraction = strspn(at + 1, "0123456789");
        *whole = false;
        at += 1 + fraction;
    }
    if (digits + fraction == 0)
        return 0;
    if ((*at | 0x20) == 'e') {
        const char *power = at + 1 + (at[1] == '-' || at[1] == '+');
        if (is_digit(*power)) {
            *whole = false;
            at = power + strspn(power, "0123456789");
        }
    }
    return (size_t)(at - text);
}

/* Outside of 64 bits the low ones count. */
static uint64_t bits_of_double(double value)
{
    if (!isfinite(value))
        return 0;
    double low = fmod(trunc(value), 0x1p64);
    return low < 0 ? -(uint64_t)-low : (uint64_t)low;
}

static uint64_t bits_of_real_text(double value)
{
    if (value >= 0x1p63)
        return INT64_MAX;
    return value < -0x1p63 ? (uint64_t)INT64_MIN : bits_of_double(value);
}

static uint64_t bits_of_digits(const char *text, size_t len)
{
    bool negative = *text == '-';
    uint64_t sum = 0, limit = negative ? UINT64_C(1) << 63 : UINT64_MAX;
    for (size_t i = !is_digit(*text); i < len; i++) {
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (sum > (limit - digit) / 10)
            return negative ? (uint64_t)INT64_MIN : INT64_MAX;
        sum = sum * 10 + digit;
    }
    return negative ? -sum : sum;
}

/* lua_tonumber reads decimals in any locale, but only when nothing follows them. */
static double prefix_to_double(lua_State *L, const char *text, size_t len)
{
    lua_pushlstring(L, text, len);
    double value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

static const char *skip_space(const char *text)
{
    return text + strspn(text, " \t\n\r\v\f");
}

static uint64_t to_bits(lua_State *L, int index)
{
    if (lua_type(L, index) == LUA_TNUMBER)
        return bits_of_double(lua_tonumber(L, index));
    if (lua_type(L, index) != LUA_TSTRING)
        return (uint64_t)lua_toboolean(L, index);
    const char *text = skip_space(lua_tostring(L, index));
    bool whole;
    size_t len = numeric_prefix(text, &whole);
    if (len == 0)
        return 0;
    return whole ? bits_of_digits(text, len) : bits_of_real_text(prefix_to_double(L, text, len));
}

static double to_double(lua_State *L, int index)
{
    if (lua_type(L, index) == LUA_TNUMBER)
        return lua_tonumber(L, index);
    if (lua_type(L, index) != LUA_TSTRING)
        return lua_toboolean(L, index);
    const char *text = skip_space(lua_tostring(L, index));
    bool whole;
    size_t len = numeric_prefix(text, &whole);
    return len > 0 ? prefix_to_double(L, text, len) : 0;
}

static uint64_t real_to_bits(double value, size_t size)
{
    uint64_t bits;
    if (size == sizeof bits) {
        memcpy(&bits, &value, sizeof bits);
        return bits;
    }
    float narrow = (float)value;
    uint32_t half;
    memcpy(&half, &narrow, sizeof half);
    return half;
}

static double bits_to_real(uint64_t bits, size_t size)
{
    if (size == sizeof bits) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    uint32_t half = (uint32_t)bits;
    float narrow;
    memcpy(&narrow, &half, sizeof narrow);
    return narrow;
}

static void put_bits(char *out, uint64_t bits, size_t size, bool big)
{
    for (size_t i = 0; i < size; i++)
        out[big ? size - 1 - i : i] = (char)(bits >> (8 * i));
}

static uint64_t get_bits(const char *in, size_t size, bool big)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < size; i++)
        bits |= (uint64_t)(unsigned char)in[big ? size - 1 - i : i] << (8 * i);
    return bits;
}

/* pack: a first pass settles counts and the size, a second one writes. */

struct item {
    char code;
    int count;
};

struct packer {
    lua_State *L;
    int next, last; /* arguments */
    struct item *items;
    size_t item_count;
    int64_t at, size;
    char *out;
};

static bool is_scalar(lua_State *L, int index)
{
    int type = lua_type(L, index);
    return type == LUA_TNIL || type == LUA_TBOOLEAN || type == LUA_TNUMBER || type == LUA_TSTRING;
}

static bool wants_scalar(struct packer *p, char code, int index)
{
    if (is_scalar(p->L, index))
        return true;
    lua_pushfstring(p->L, "Type %c: a number or a string is expected, got %s", code,
                    luaL_typename(p->L, index));
    return false;
}

static void argument_to_text(lua_State *L, int index)
{
    if (lua_isstring(L, index))
        lua_tostring(L, index); /* turns a number into text where it stands */
    else {
        lua_pushstring(L, lua_toboolean(L, index) ? "1" : "");
        lua_replace(L, index);
    }
}

static bool settle_text(struct packer *p, struct item *item)
{
    if (p->next > p->last) {
        lua_pushfstring(p->L, "Type %c: not enough arguments", item->code);
        return false;
    }
    if (!wants_scalar(p, item->code, p->next))
        return false;
    argument_to_text(p->L, p->next);
    size_t len = lua_objlen(p->L, p->next++);
    if (item->count == ALL)
        item->count = (int)len + (item->code == 'Z'); /* Z always ends in NUL */
    return true;
}

static bool settle_numbers(struct packer *p, struct item *item)
{
    int left = p->last - p->next + 1;
    if (item->count == ALL)
        item->count = left;
    if (item->count > left) {
        lua_pushfstring(p->L, "Type %c: too few arguments", item->code);
        return false;
    }
    for (int i = 0; i < item->count; i++) {
        if (!wants_scalar(p, item->code, p->next++))
            return false;
    }
    return true;
}

static bool settle(struct packer *p, struct item *item)
{
    if (is_one_of(item->code, "xX@")) {
        if (item->count == ALL)
            item->count = 1;
        return true;
    }
    if (is_one_of(item->code, "aAZhH"))
        return settle_text(p, item);
    if (find_number(item->code))
        return settle_numbers(p, item);
    lua_pushfstring(p->L, "Type %c: unknown format code", item->code);
    return false;
}

static bool too_large(struct packer *p, const struct item *item)
{
    lua_pushfstring(p->L, "Type %c: integer overflow in format string", item->code);
    return false;
}

/* Where writing the item ends. */
static bool measure(struct packer *p, const struct item *item)
{
    const struct number *number = find_number(item->code);
    int64_t count = item->count;
    if (number)
        p->at += count * number->size;
    else if (is_one_of(item->code, "hH"))
        p->at += (count + 1) / 2;
    else if (item->code == '@')
        p->at = count;
    else if (item->code == 'X')
        p->at = p->at > count ? p->at - count : 0;
    else
        p->at += count;
    if (p->at > PACKED_MAX)
        return too_large(p, item);
    if (p->size < p->at)
        p->size = p->at;
    return true;
}

/* lua_newuserdata is above the arguments then, which keeps their indices. */
static bool first_pass(struct packer *p, const char *format, size_t len)
{
    const char *at = format, *end = format + len;
    p->items = lua_newuserdata(p->L, (len + 1) * sizeof *p->items);
    while (at < end) {
        struct item *item = &p->items[p->item_count++];
        item->code = *at++;
        if (!read_count(&at, end, &item->count))
            return too_large(p, item);
        if (!settle(p, item) || !measure(p, item))
            return false;
    }
    return true;
}

static void write_text(struct packer *p, const struct item *item)
{
    size_t len, count = (size_t)item->count;
    const char *text = lua_tolstring(p->L, p->next++, &len);
    size_t most = item->code == 'Z' && count > 0 ? count - 1 : count;
    memset(p->out + p->at, item->code == 'A' ? ' ' : '\0', count);
    memcpy(p->out + p->at, text, len < most ? len : most);
    p->at += item->count;
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 0;
}

static void write_hex(struct packer *p, const struct item *item)
{
    size_t len;
    const char *text = lua_tolstring(p->L, p->next++, &len);
    int count = (size_t)item->count < len ? item->count : (int)len;
    for (int i = 0; i < count; i++) {
        bool high = (i % 2 == 0) == (item->code == 'H');
        char nibble = (char)(hex_value(text[i]) << (high ? 4 : 0));
        char *out = p->out + p->at + i / 2;
        *out = i % 2 == 0 ? nibble : (char)(*out | nibble);
    }
    p->at += (count + 1) / 2;
}

static void write_numbers(struct packer *p, const struct number *number, int count)
{
    for (int i = 0; i < count; i++, p->next++) {
        uint64_t bits = number->real ? real_to_bits(to_double(p->L, p->next), number->size)
                                     : to_bits(p->L, p->next);
        put_bits(p->out + p->at, bits, number->size, number->big);
        p->at += number->size;
    }
}

static void write_item(struct packer *p, const struct item *item)
{
    const struct number *number = find_number(item->code);
    if (number) {
        write_numbers(p, number, item->count);
    } else if (is_one_of(item->code, "aAZ")) {
        write_text(p, item);
    } else if (is_one_of(item->code, "hH")) {
        write_hex(p, item);
    } else if (item->code == 'X') {
        p->at = p->at > item->count ? p->at - item->count : 0;
    } else {
        int64_t to = item->code == '@' ? item->count : p->at + item->count;
        if (to > p->at)
            memset(p->out + p->at, '\0', (size_t)(to - p->at));
        p->at = to;
    }
}

static int php_pack(lua_State *L)
{
    size_t len;
    const char *format = luaL_checklstring(L, 1, &len);
    struct packer p = {.L = L, .next = 2, .last = lua_gettop(L)};
    if (!first_pass(&p, format, len))
        return lua_fail(L, lua_tostring(L, -1));
    p.out = lua_newuserdata(L, (size_t)p.size);
    p.at = 0;
    p.next = 2;
    for (size_t i = 0; i < p.item_count; i++)
        write_item(&p, &p.items[i]);
    lua_pushlstring(L, p.out, (size_t)p.at);
    return 1;
}

/* unpack */

struct field {
    char code;
    int count; /* as written, ALL for '*' */
    int times; /* values to take, ALL for as many as there are */
    int size;  /* of each in the input; ALL for what is left */
    const struct number *number;
    const char *name;
    size_t name_len;
};

struct unpacker {
    lua_State *L;
    int table;
    const char *data;
    int64_t len, at;
};

static bool read_field(struct unpacker *u, const char **at, const char *end, struct field *f)
{
    *f = (struct field){.code = *(*at)++};
    if (!read_count(at, end, &f->count)) {
        lua_pushfstring(u->L, "Type %c: integer overflow", f->code);
        return false;
    }
    const char *slash = memchr(*at, '/', (size_t)(end - *at)), *stop = slash ? slash : end;
    f->name = *at;
    f->name_len = (size_t)(stop - *at);
    if (f->name_len > NAME_MAX_LEN)
        f->name_len = NAME_MAX_LEN;
    *at = slash ? slash + 1 : end;
    return true;
}

static bool size_field(struct unpacker *u, struct field *f)
{
    f->times = f->count;
    f->number = find_number(f->code);
    if (is_one_of(f->code, "aAZ")) {
        f->size = f->count;
        f->times = 1;
    } else if (is_one_of(f->code, "hH")) {
        f->size = f->count > 0 ? f->count / 2 + f->count % 2 : f->count;
        f->times = 1;
    } else if (f->number || f->code == 'x') {
        f->size = f->number ? f->number->size : 1;
    } else if (!is_one_of(f->code, "X@")) {
        lua_pushfstring(u->L, "Invalid format type %c", f->code);
        return false;
    }
    return true;
}

/* Text that PHP's arrays take as an integer key. */
static bool integer_key(const char *text, size_t len, lua_Number *key)
{
    size_t sign = len > 0 && text[0] == '-', digits = len - sign;
    int64_t sum = 0;
    if (digits == 0 || digits > 15 || (text[sign] == '0' && len > 1))
        return false;
    for (size_t i = sign; i < len; i++) {
        if (!is_digit(text[i]))
            return false;
        sum = sum * 10 + (text[i] - '0');
    }
    *key = (lua_Number)(sign ? -sum : sum);
    return true;
}

/* Puts the value on top into the table, under the field's name or its name and number. */
static void set_result(struct unpacker *u, const struct field *f, int index)
{
    char name[NAME_MAX_LEN + 24];
    size_t len = f->name_len;
    lua_Number key;
    memcpy(name, f->name, len);
    if (f->times != 1 || len == 0)
        len += (size_t)snprintf(name + len, sizeof name - len, "%d", index + 1);
    if (integer_key(name, len, &key))
        lua_pushnumber(u->L, key);
    else
        lua_pushlstring(u->L, name, len);
    lua_insert(u->L, -2);
    lua_rawset(u->L, u->table);
}

static void push_integer(lua_State *L, int64_t value)
{
    char text[24];
    if (value >= -EXACT_MAX && value <= EXACT_MAX) {
        lua_pushnumber(L, (lua_Number)value);
        return;
    }
    snprintf(text, sizeof text, "%" PRId64, value);
    lua_pushstring(L, text);
}

static void push_number(lua_State *L, const char *in, const struct number *number)
{
    uint64_t bits = get_bits(in, number->size, number->big);
    int unused = 64 - 8 * number->size;
    if (number->real)
        lua_pushnumber(L, bits_to_real(bits, number->size));
    else if (number->is_signed)
        push_integer(L, (int64_t)(bits << unused) >> unused);
    else
        push_integer(L, (int64_t)bits);
}

static void take_text(struct unpacker *u, const struct field *f)
{
    const char *text = u->data + u->at, *nul;
    int64_t left = u->len - u->at, size = f->size >= 0 && left > f->size ? f->size : left;
    int64_t len = size;
    if (f->code == 'A') {
        while (len > 0 && (text[len - 1] == '\0' || is_one_of(text[len - 1], " \t\r\n")))
            len--;
    } else if (f->code == 'Z' && (nul = memchr(text, '\0', (size_t)len))) {
        len = nul - text;
    }
    lua_pushlstring(u->L, text, (size_t)len);
    u->at += size;
}

/* After "h*" PHP stands one byte before where it stood, not at the end. */
static void take_hex(struct unpacker *u, const struct field *f)
{
    int64_t left = (u->len - u->at) * 2,
            len = f->size >= 0 && left > 2 * f->size ? 2 * (int64_t)f->size : left;
    if (len > 0 && f->count > 0)
        len -= f->count % 2;
    char *hex = lua_newuserdata(u->L, (size_t)len);
    for (int64_t i = 0; i < len; i++) {
        bool high = (i % 2 == 0) == (f->code == 'H');
        hex[i] = "0123456789abcdef"[(unsigned char)u->data[u->at + i / 2] >> (high ? 4 : 0) & 15];
    }
    lua_pushlstring(u->L, hex, (size_t)len);
    lua_remove(u->L, -2);
    u->at += f->size;
    if (u->at < 0)
        u->at = 0;
}

static void take(struct unpacker *u, const struct field *f, int index)
{
    if (f->number) {
        push_number(u->L, u->data + u->at, f->number);
        u->at += f->size;
    } else if (is_one_of(f->code, "hH")) {
        take_hex(u, f);
    } else if (f->code == 'x') {
        u->at++;
        return;
    } else {
        take_text(u, f);
    }
    set_result(u, f, index);
}

/* X goes back, @ goes to a place unless it is outside (@0 goes nowhere, @* to the start). */
static void move(struct unpacker *u, const struct field *f)
{
    if (f->code == 'X') {
        int64_t back = f->count == ALL ? 1 : f->count;
        u->at = u->at > back ? u->at - back : 0;
    } else if (f->count == ALL) {
        u->at = 0;
    } else if (f->count > 0 && f->count <= u->len) {
        u->at = f->count;
    }
}

static bool take_all(struct unpacker *u, const struct field *f)
{
    for (int i = 0; i != f->times; i++) {
        if (u->at + f->size <= u->len) {
            take(u, f, i);
        } else if (f->times == ALL) {
            return true;
        } else {
            lua_pushfstring(u->L, "Type %c: not enough input, need %d, have %d", f->code, f->size,
                            (int)(u->len - u->at));
            return false;
        }
    }
    return true;
}

static bool unpack_field(struct unpacker *u, const char **at, const char *end)
{
    struct field f;
    if (!read_field(u, at, end, &f) || !size_field(u, &f))
        return false;
    if (!is_one_of(f.code, "X@"))
        return take_all(u, &f);
    move(u, &f);
    return true;
}

static int php_unpack(lua_State *L)
{
    size_t format_len, len;
    const char *at = luaL_checklstring(L, 1, &format_len), *end = at + format_len;
    const char *data = luaL_checklstring(L, 2, &len);
    lua_newtable(L);
    struct unpacker u = {.L = L, .table = lua_gettop(L), .data = data, .len = (int64_t)len};
    while (at < end) {
        if (!unpack_field(&u, &at, end))
            return lua_fail(L, lua_tostring(L, -1));
    }
    return 1;
}

static const luaL_Reg functions[] = {
    {"php_pack", php_pack},
    {"php_unpack", php_unpack},
    {NULL, NULL},
};

void lua_php_open(lua_State *L)
{
    luaL_setfuncs(L, functions, 0);
}
