/* One pass each way. The decoder walks the text and pushes values as it meets them; without a state
 * it only checks. What it allocates belongs to Lua, as a push may raise a memory error at any
 * point. */
#include "script/json.h"

#include "base/check.h"
#include "base/mem.h"
#include "proto/utf8.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STACK_PER_LEVEL = 6, /* table, key, value, and what a string needs meanwhile */
    EXACT_DIGITS = 16,   /* no longer integer is within 2^53 */
    SCRATCH = 1024,
};

static const uint64_t EXACT_MAX = UINT64_C(1) << 53;

static locale_t c_locale;

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", NULL);
    CHECK(c_locale != NULL);
}

/* JSON's decimal point is a point, whatever a script says to os.setlocale. */
static locale_t plain_locale(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_c_locale);
    return c_locale;
}

static bool is_plain(char c)
{
    return c >= 0x20 && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

/* In one of eight bytes: a quote, a backslash, a control character, or what is not ASCII. */
static bool has_special(const char *text)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t word;
    memcpy(&word, text, sizeof word);
    uint64_t quote = (word ^ (ones * '"')) - ones, slash = (word ^ (ones * '\\')) - ones;
    return ((quote | slash | (word - ones * 0x20) | word) & (ones * 0x80)) != 0;
}

/* How many bytes from here stand for themselves inside a JSON string. */
static size_t plain_run(const char *text, size_t len)
{
    size_t n = 0;
    while (n + 8 <= len && !has_special(text + n))
        n += 8;
    while (n < len && is_plain(text[n]))
        n++;
    return n;
}

static size_t high_run(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && (unsigned char)text[n] >= 0x80)
        n++;
    return n;
}

/* Decoder */

struct decoder {
    lua_State *L; /* NULL: only checks, and is stricter about what other decoders refuse */
    const char *start, *at, *end;
    const char *why; /* the fault, which stands at `at` */
    int depth;
};

struct token {
    const char *data;
    size_t len;
    bool escaped, high;
};

static bool decode_value(struct decoder *d);

static bool fault(struct decoder *d, const char *at, const char *why)
{
    d->at = at;
    d->why = why;
    return false;
}

static void skip_space(struct decoder *d)
{
    while (d->at < d->end && (*d->at == ' ' || *d->at == '\n' || *d->at == '\r' || *d->at == '\t'))
        d->at++;
}

static bool take(struct decoder *d, char c)
{
    if (d->at == d->end || *d->at != c)
        return false;
    d->at++;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex4(const char *at, const char *end, uint32_t *code)
{
    if (end - at < 4)
        return false;
    *code = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return false;
        *code = *code << 4 | (uint32_t)digit;
    }
    return true;
}

static bool is_surrogate(uint32_t code)
{
    return code >= 0xd800 && code <= 0xdfff;
}

static uint32_t short_escape(char c)
{
    static const char letters[] = "\"\\/bfnrt", codes[] = "\"\\/\b\f\n\r\t";
    const char *found = c ? strchr(letters, c) : NULL;
    return found ? (uint32_t)codes[found - letters] : 0;
}

/* Reads the escape at `at`; how long it is, 0 when it is none. A lone surrogate is given as it is.
 */
static size_t read_escape(const char *at, const char *end, uint32_t *code)
{
    if (end - at < 2)
        return 0;
    if (at[1] != 'u') {
        *code = short_escape(at[1]);
        return *code ? 2 : 0;
    }
    if (!hex4(at + 2, end, code))
        return 0;
    uint32_t low;
    if (*code < 0xd800 || *code > 0xdbff || end - at < 12 || at[6] != '\\' || at[7] != 'u' ||
        !hex4(at + 8, end, &low) || low < 0xdc00 || low > 0xdfff)
        return 6;
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return 12;
}

static char *put_utf8(char *out, uint32_t code)
{
    if (is_surrogate(code))
        code = 0xfffd;
    if (code < 0x80) {
        *out++ = (char)code;
        return out;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    *out++ = (char)(lead[more] | code >> (6 * more));
    while (more--)
        *out++ = (char)(0x80 | (code >> (6 * more) & 0x3f));
    return out;
}

static bool scan_escape(struct decoder *d, const char **at)
{
    uint32_t code;
    size_t len = read_escape(*at, d->end, &code);
    if (len == 0)
        return fault(d, *at, "not an escape");
    if (d->L == NULL && is_surrogate(code))
        return fault(d, *at, "half of a surrogate pair");
    *at += len;
    return true;
}

/* From the opening quote to behind the closing one. */
static bool scan_string(struct decoder *d, struct token *token)
{
    const char *at = d->at + 1;
    *token = (struct token){.data = at};
    for (;;) {
        at += plain_run(at, (size_t)(d->end - at));
        if (at == d->end)
            return fault(d, at, "the string does not end");
        if (*at == '"')
            break;
        if ((unsigned char)*at >= 0x80) {
            token->high = true;
            at += high_run(at, (size_t)(d->end - at));
        } else if (*at != '\\') {
            return fault(d, at, "a control character in a string");
        } else if (token->escaped = true, !scan_escape(d, &at)) {
            return false;
        }
    }
    token->len = (size_t)(at - token->data);
    if (token->high && !utf8_valid(token->data, token->len))
        return fault(d, token->data + utf8_prefix(token->data, token->len), "not UTF-8");
    d->at = at + 1;
    return true;
}

/* An escape is never shorter than what it stands for, so the raw length is room enough. */
static void push_unescaped(lua_State *L, const struct token *token)
{
    char small[SCRATCH];
    bool large = token->len > sizeof small;
    char *out = large ? lua_newuserdata(L, token->len) : small, *to = out;
    const char *at = token->data, *end = at + token->len;
    do {
        uint32_t code = 0;
        size_t len = *at == '\\' ? read_escape(at, end, &code) : 0;
        if (len > 0)
            to = put_utf8(to, code);
        else
            *to++ = *at;
        at += len > 0 ? len : 1;
    } while (at < end);
    lua_pushlstring(L, out, (size_t)(to - out));
    if (large)
        lua_remove(L, -2);
}

static bool decode_string(struct decoder *d)
{
    struct token token;
    if (!scan_string(d, &token))
        return false;
    if (d->L == NULL)
        return true;
    if (token.escaped)
        push_unescaped(d->L, &token);
    else
        lua_pushlstring(d->L, token.data, token.len);
    return true;
}

static const char *skip_digits(const char *at, const char *end)
{
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at;
}

/* Moves over one digit or more; false when there is none. */
static bool some_digits(const char **at, const char *end)
{
    const char *from = *at;
    *at = skip_digits(from, end);
    return *at > from;
}

/* Finds the end of the number at d->at by JSON's grammar. */
static bool scan_number(struct decoder *d, const char **end, bool *whole)
{
    const char *at = d->at;
    if (*at == '-')
        at++;
    if (at < d->end && *at == '0')
        at++;
    else if (!some_digits(&at, d->end))
        return fault(d, d->at, "a value is expected");
    *whole = true;
    if (at < d->end && *at == '.') {
        *whole = false;
        at++;
        if (!some_digits(&at, d->end))
            return fault(d, at, "a digit is expected");
    }
    if (at < d->end && (*at | 0x20) == 'e') {
        *whole = false;
        at++;
        if (at < d->end && (*at == '+' || *at == '-'))
            at++;
        if (!some_digits(&at, d->end))
            return fault(d, at, "a digit is expected");
    }
    *end = at;
    return true;
}

/* False when it is beyond 2^53. */
static bool exact_integer(const char *at, const char *end, int64_t *value)
{
    bool negative = *at == '-';
    at += negative;
    if (end - at > EXACT_DIGITS)
        return false;
    uint64_t sum = 0;
    for (; at < end; at++)
        sum = sum * 10 + (uint64_t)(*at - '0');
    *value = negative ? -(int64_t)sum : (int64_t)sum;
    return sum <= EXACT_MAX;
}

/* The input need not end in NUL, which strtod wants. */
static double real_value(const char *at, size_t len)
{
    char small[64], *text = len < sizeof small ? small : xmalloc(len + 1);
    memcpy(text, at, len);
    text[len] = '\0';
    double value = strtod_l(text, NULL, plain_locale());
    if (text != small)
        free(text);
    return value;
}

static void push_integer(lua_State *L, const char *at, const char *end)
{
    int64_t value;
    if (exact_integer(at, end, &value))
        lua_pushnumber(L, (lua_Number)value);
    else
        lua_pushlstring(L, at, (size_t)(end - at));
}

static bool decode_real(struct decoder *d, const char *end)
{
    double value = real_value(d->at, (size_t)(end - d->at));
    if (isinf(value))
        return fault(d, d->at, "the number is too large");
    if (d->L)
        lua_pushnumber(d->L, value);
    return true;
}

static bool decode_number(struct decoder *d)
{
    const char *end;
    bool whole;
    if (!scan_number(d, &end, &whole))
        return false;
    if (!whole && !decode_real(d, end))
        return false;
    if (whole && d->L)
        push_integer(d->L, d->at, end);
    d->at = end;
    return true;
}

static bool enter(struct decoder *d)
{
    if (d->depth == JSON_DEPTH_MAX || (d->L && !lua_checkstack(d->L, STACK_PER_LEVEL)))
        return fault(d, d->at, "nested too deeply");
    d->depth++;
    d->at++;
    skip_space(d);
    return true;
}

static bool leave(struct decoder *d)
{
    d->depth--;
    return true;
}

static bool decode_array(struct decoder *d)
{
    if (!enter(d))
        return false;
    if (d->L)
        lua_newtable(d->L);
    if (take(d, ']'))
        return leave(d);
    for (int i = 1;; i++) {
        if (!decode_value(d))
            return false;
        if (d->L)
            lua_rawseti(d->L, -2, i);
        skip_space(d);
        if (take(d, ']'))
            return leave(d);
        if (!take(d, ','))
            return fault(d, d->at, "a comma or ] is expected");
    }
}

static bool decode_member(struct decoder *d)
{
    skip_space(d);
    if (d->at == d->end || *d->at != '"')
        return fault(d, d->at, "a key in quotes is expected");
    if (!decode_string(d))
        return false;
    skip_space(d);
    if (!take(d, ':'))
        return fault(d, d->at, "a colon is expected");
    if (!decode_value(d))
        return false;
    if (d->L)
        lua_rawset(d->L, -3);
    return true;
}

static bool decode_object(struct decoder *d)
{
    if (!enter(d))
        return false;
    if (d->L)
        lua_newtable(d->L);
    if (take(d, '}'))
        return leave(d);
    for (;;) {
        if (!decode_member(d))
            return false;
        skip_space(d);
        if (take(d, '}'))
            return leave(d);
        if (!take(d, ','))
            return fault(d, d->at, "a comma or } is expected");
    }
}

static bool is_word(const struct decoder *d, const char *word, size_t len)
{
    return (size_t)(d->end - d->at) >= len && memcmp(d->at, word, len) == 0;
}

static bool decode_word(struct decoder *d)
{
    bool yes = is_word(d, "true", 4), no = is_word(d, "false", 5);
    if (!yes && !no && !is_word(d, "null", 4))
        return fault(d, d->at, "a value is expected");
    d->at += no ? 5 : 4;
    if (d->L == NULL)
        return true;
    if (yes || no)
        lua_pushboolean(d->L, yes);
    else
        lua_pushnil(d->L);
    return true;
}

static bool decode_value(struct decoder *d)
{
    skip_space(d);
    if (d->at == d->end)
        return fault(d, d->at, "the text ends too soon");
    switch (*d->at) {
    case '{':
        return decode_object(d);
    case '[':
        return decode_array(d);
    case '"':
        return decode_string(d);
    case 't':
    case 'f':
    case 'n':
        return decode_word(d);
    default:
        return decode_number(d);
    }
}

static bool decode_text(struct decoder *d)
{
    if (!decode_value(d))
        return false;
    skip_space(d);
    return d->at == d->end || fault(d, d->at, "something follows the value");
}

bool json_decode(lua_State *L, const char *text, size_t len)
{
    struct decoder d = {.L = L, .start = text, .at = text, .end = text + len};
    int top = lua_gettop(L);
    if (!lua_checkstack(L, STACK_PER_LEVEL))
        fault(&d, text, "the Lua stack is full");
    else if (decode_text(&d))
        return true;
    lua_settop(L, top);
    lua_pushfstring(L, "JSON: %s, at byte %d", d.why, (int)(d.at - d.start) + 1);
    return false;
}

bool json_is_container(const char *text, size_t len)
{
    struct decoder d = {.start = text, .at = text, .end = text + len};
    skip_space(&d);
    return d.at < d.end && (*d.at == '{' || *d.at == '[') && decode_text(&d);
}

/* Encoder: nothing in it allocates Lua memory but lua_checkstack. */

struct encoder {
    lua_State *L;
    struct buf *out;
    size_t start;
    const char *why;
    int depth;
};

static bool encode_top(struct encoder *e);

static bool refuse(struct encoder *e, const char *why)
{
    e->why = why;
    return false;
}

static void put_escape(struct buf *out, char c)
{
    static const char codes[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = c ? strchr(codes, c) : NULL;
    if (!found) {
        buf_printf(out, "\\u%04x", (unsigned)c);
        return;
    }
    buf_append_char(out, '\\');
    buf_append_char(out, letters[found - codes]);
}

/* Bytes from 0x80 alone; ASCII ends every sequence, so that looking no further costs nothing. */
static void put_high(struct buf *out, const char *text, size_t len)
{
    while (len > 0) {
        size_t good = utf8_prefix(text, len);
        buf_append(out, text, good);
        text += good;
        len -= good;
        if (len > 0) {
            size_t bad = utf8_bad_len(text, len);
            buf_append(out, "\xef\xbf\xbd", 3);
            text += bad;
            len -= bad;
        }
    }
}

static void put_special(struct buf *out, const char *text, size_t len)
{
    while (len > 0) {
        size_t run = plain_run(text, len), high = high_run(text + run, len - run);
        buf_append(out, text, run);
        put_high(out, text + run, high);
        text += run + high;
        len -= run + high;
        if (len > 0 && !is_plain(*text) && (unsigned char)*text < 0x80) {
            put_escape(out, *text++);
            len--;
        }
    }
}

static void put_string(struct buf *out, const char *text, size_t len)
{
    size_t run = plain_run(text, len);
    char *to = buf_reserve(out, run + 2);
    *to = '"';
    memcpy(to + 1, text, run);
    out->len += run + 1;
    put_special(out, text + run, len - run);
    buf_append_char(out, '"');
}

static void put_integer(struct buf *out, int64_t value)
{
    char text[24], *at = text + sizeof text;
    uint64_t rest = value < 0 ? (uint64_t)-value : (uint64_t)value;
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        *--at = '-';
    buf_append(out, at, (size_t)(text + sizeof text - at));
}

/* The fewest digits that read back as the same number. */
static void put_real(struct buf *out, double value)
{
    char text[40];
    locale_t before = uselocale(plain_locale());
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    uselocale(before);
    buf_append_str(out, text);
}

void json_number_append(struct buf *out, double value)
{
    if (fabs(value) <= (double)EXACT_MAX && value == trunc(value))
        put_integer(out, (int64_t)value);
    else
        put_real(out, value);
}

static bool encode_number(struct encoder *e, double value)
{
    if (!isfinite(value))
        return refuse(e, "NaN and infinity are not JSON");
    json_number_append(e->out, value);
    return true;
}

static bool has_room(struct encoder *e, size_t more)
{
    return e->out->len - e->start + more <= JSON_SIZE_MAX || refuse(e, "the text is too long");
}

static bool encode_string(struct encoder *e, int index)
{
    size_t len;
    const char *text = lua_tolstring(e->L, index, &len);
    if (!has_room(e, len))
        return false;
    put_string(e->out, text, len);
    return true;
}

/* The last index when the table on top is a list, 0 when it is empty, -1 when it is an object. Some
 * holes are nulls; a few numbers far apart are the keys of an object. */
static int list_length(lua_State *L)
{
    double max = 0, count = 0;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pop(L, 1);
        double key = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
        if (key < 1 || key != floor(key)) {
            lua_pop(L, 1);
            return -1;
        }
        max = fmax(max, key);
        count++;
    }
    return max <= 2 * count + 8 ? (int)max : -1;
}

static bool encode_list(struct encoder *e, int length)
{
    buf_append_char(e->out, '[');
    for (int i = 1; i <= length; i++) {
        if (i > 1)
            buf_append_char(e->out, ',');
        lua_rawgeti(e->L, -1, i);
        if (!encode_top(e))
            return false;
        lua_pop(e->L, 1);
    }
    buf_append_char(e->out, ']');
    return true;
}

/* A number is written here: lua_tolstring would change the key under lua_next. */
static bool encode_key(struct encoder *e)
{
    int type = lua_type(e->L, -2);
    if (type == LUA_TSTRING)
        return encode_string(e, -2);
    if (type != LUA_TNUMBER)
        return refuse(e, "a key is neither a string nor a number");
    buf_append_char(e->out, '"');
    bool done = encode_number(e, lua_tonumber(e->L, -2));
    buf_append_char(e->out, '"');
    return done;
}

static bool encode_object(struct encoder *e)
{
    char before = '{';
    lua_pushnil(e->L);
    while (lua_next(e->L, -2)) {
        buf_append_char(e->out, before);
        before = ',';
        if (!encode_key(e))
            return false;
        buf_append_char(e->out, ':');
        if (!encode_top(e))
            return false;
        lua_pop(e->L, 1);
    }
    buf_append_char(e->out, '}');
    return true;
}

static bool encode_table(struct encoder *e)
{
    if (e->depth == JSON_DEPTH_MAX || !lua_checkstack(e->L, STACK_PER_LEVEL))
        return refuse(e, "nested too deeply, or a table that holds itself");
    if (!has_room(e, 0))
        return false;
    e->depth++;
    int length = list_length(e->L);
    bool done = length < 0 ? encode_object(e) : encode_list(e, length);
    e->depth--;
    return done;
}

/* The value on top of the stack; on failure the stack is left to json_encode. */
static bool encode_top(struct encoder *e)
{
    switch (lua_type(e->L, -1)) {
    case LUA_TTABLE:
        return encode_table(e);
    case LUA_TSTRING:
        return encode_string(e, -1);
    case LUA_TNUMBER:
        return encode_number(e, lua_tonumber(e->L, -1));
    case LUA_TBOOLEAN:
        buf_append_str(e->out, lua_toboolean(e->L, -1) ? "true" : "false");
        return true;
    case LUA_TLIGHTUSERDATA: /* what lua-cjson calls null */
        if (lua_touserdata(e->L, -1) != NULL)
            return refuse(e, "a pointer is not JSON");
        buf_append(e->out, "null", 4);
        return true;
    case LUA_TNIL:
        buf_append(e->out, "null", 4);
        return true;
    default:
        return refuse(e, "a function, coroutine or object is not JSON");
    }
}

bool json_encode(lua_State *L, int index, struct buf *out, const char **why)
{
    struct encoder e = {.L = L, .out = out, .start = out->len};
    int top = lua_gettop(L);
    bool done = lua_checkstack(L, STACK_PER_LEVEL) || refuse(&e, "the Lua stack is full");
    if (done) {
        lua_pushvalue(L, index);
        done = encode_top(&e);
        lua_settop(L, top);
    }
    if (!done) {
        out->len = e.start;
        *why = e.why;
    }
    return done;
}

const char *json_encode_message(lua_State *L, int index, struct buf *out)
{
    const char *why = NULL;
    if (lua_type(L, index) == LUA_TSTRING) {
        size_t len;
        const char *text = lua_tolstring(L, index, &len);
        if (json_is_container(text, len)) {
            buf_append(out, text, len);
            return NULL;
        }
    } else if (!lua_istable(L, index)) {
        return "a message is a table or a string";
    }
    return json_encode(L, index, out, &why) ? NULL : why;
}
