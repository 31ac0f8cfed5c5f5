/* Three things must hold for any text: json_decode takes what jansson takes and nothing else,
 * except where their rules differ on purpose; what was decoded survives encoding and decoding
 * again; and json_is_container agrees with json_decode. */
#include "script/json.h"

#include "base/check.h"
#include <jansson.h>
#include <lauxlib.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool equal(lua_State *L, int a, int b);

/* Every key of `a` has an equal value in `b`. */
static bool holds(lua_State *L, int a, int b)
{
    lua_pushnil(L);
    while (lua_next(L, a)) {
        lua_pushvalue(L, -2);
        lua_rawget(L, b);
        if (!equal(L, lua_gettop(L) - 1, lua_gettop(L)))
            return false;
        lua_pop(L, 2);
    }
    return true;
}

/* A double beyond 2^53 may be written as an integer, which comes back as its digits. */
static bool same_scalar(lua_State *L, int a, int b)
{
    if (lua_rawequal(L, a, b))
        return true;
    double value = lua_tonumber(L, a);
    bool digits = lua_type(L, a) == LUA_TNUMBER && lua_type(L, b) == LUA_TSTRING;
    return digits && fabs(value) > 0x1p53 && lua_tonumber(L, b) == value;
}

static size_t counts(lua_State *L, int table)
{
    size_t count = 0;
    lua_pushnil(L);
    for (; lua_next(L, table); lua_pop(L, 1))
        count++;
    return count;
}

static bool equal(lua_State *L, int a, int b)
{
    CHECK(lua_checkstack(L, 8));
    int top = lua_gettop(L);
    bool same = lua_istable(L, a) && lua_istable(L, b)
                    ? holds(L, a, b) && counts(L, a) == counts(L, b)
                    : same_scalar(L, a, b);
    lua_settop(L, top);
    return same;
}

/* jansson refuses integers beyond 64 bits, NUL in keys and lone surrogates, which we take; we
 * refuse depths that it takes. */
static bool rules_differ(const json_error_t *error, const char *ours)
{
    enum json_error_code code = json_error_code(error);
    return strncmp(ours, "JSON: nested too deeply", 23) == 0 ||
           code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
           code == json_error_stack_overflow || strstr(error->text, "invalid Unicode") != NULL;
}

static bool same_as_jansson(lua_State *L, bool taken, const char *data, size_t size)
{
    if (memchr(data, '\0', size)) /* jansson reads one behind the value as the end of the text */
        return !taken;
    json_error_t error = {.text = ""};
    json_t *value = json_loadb(data, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    bool theirs = value != NULL;
    json_decref(value);
    return taken == theirs || rules_differ(&error, taken ? "" : lua_tostring(L, -1));
}

/* Pushes what the encoded text of the value on top decodes to. */
static void push_again(lua_State *L)
{
    struct buf out = {0};
    const char *why = NULL;
    CHECK(json_encode(L, -1, &out, &why));
    CHECK(json_decode(L, out.data, out.len));
    buf_free(&out);
}

/* Nulls leave holes, and a list of few values far apart is written as an object: such a value
 * changes once, and never again. */
static void check_round_trip(lua_State *L, const char *data, size_t size)
{
    int first = lua_gettop(L);
    push_again(L);
    if (!memmem(data, size, "null", 4))
        CHECK(equal(L, first, first + 1));
    push_again(L);
    CHECK(equal(L, first + 1, first + 2));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *L;
    if (!L)
        L = luaL_newstate();
    const char *text = (const char *)data;
    bool taken = json_decode(L, text, size);
    CHECK(lua_gettop(L) == 1);
    CHECK(same_as_jansson(L, taken, text, size));
    bool container = json_is_container(text, size);
    CHECK(!container || (taken && lua_istable(L, 1)));
    if (taken && lua_istable(L, 1) && !memmem(text, size, "\\u", 2))
        CHECK(container);
    if (taken)
        check_round_trip(L, text, size);
    lua_settop(L, 0);
    return 0;
}
