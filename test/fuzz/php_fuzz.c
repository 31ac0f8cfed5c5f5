/* php_unpack and php_pack with any format and any data: a result or an error's text, and what one
 * takes apart the other puts together again.
 *
 * Input: byte 0 holds in bits 0 to 5 the length of the format, which follows, and in bit 7 whether
 * to pack; then the data, for packing an argument to each line. */
#include "base/check.h"
#include "lua_state.h"
#include "script/lua_modules.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    ARGUMENTS_MAX = 100,
    SMALL_COUNT = 10000,
    TOO_LARGE_COUNT = 100000000 /* beyond what php_pack makes */
};

struct bytes {
    const char *data;
    size_t len;
};

/* Pushes one value, or nil and an error's text. Returns whether it was a value. */
static bool call(lua_State *L, int args)
{
    int function = lua_gettop(L) - args;
    CHECK(lua_pcall(L, args, LUA_MULTRET, 0) == 0);
    int results = lua_gettop(L) - function + 1;
    if (results == 1)
        return true;
    CHECK(results == 2 && lua_isnil(L, -2) && lua_objlen(L, -1) > 0);
    return false;
}

static bool push_unpacked(lua_State *L, struct bytes format, struct bytes data)
{
    lua_getglobal(L, "php_unpack");
    lua_pushlstring(L, format.data, format.len);
    lua_pushlstring(L, data.data, data.len);
    return call(L, 2);
}

static void check_unpack(lua_State *L, struct bytes format, struct bytes data)
{
    if (push_unpacked(L, format, data))
        CHECK(lua_istable(L, -1));
}

static int push_lines(lua_State *L, struct bytes lines)
{
    int count = 0;
    CHECK(lua_checkstack(L, ARGUMENTS_MAX + 2));
    while (lines.len > 0 && count < ARGUMENTS_MAX) {
        const char *end = memchr(lines.data, '\n', lines.len);
        size_t len = end ? (size_t)(end - lines.data) : lines.len;
        lua_pushlstring(L, lines.data, len);
        if (len % 3 == 0 && lua_isnumber(L, -1)) {
            lua_pushnumber(L, lua_tonumber(L, -1));
            lua_replace(L, -2);
        }
        lines.data += len + (end != NULL);
        lines.len -= len + (end != NULL);
        count++;
    }
    return count;
}

/* Counts in between only make it fill megabytes, which takes the time of a thousand inputs. */
static bool is_quick(struct bytes format)
{
    long count = 0;
    bool quick = true;
    for (size_t i = 0; i < format.len && quick; i++) {
        bool is_digit = format.data[i] >= '0' && format.data[i] <= '9';
        count = !is_digit ? 0 : count < TOO_LARGE_COUNT ? count * 10 + format.data[i] - '0' : count;
        bool ends = i + 1 == format.len || format.data[i + 1] < '0' || format.data[i + 1] > '9';
        quick = !ends || count < SMALL_COUNT || count >= TOO_LARGE_COUNT;
    }
    return quick;
}

static void check_pack(lua_State *L, struct bytes format, struct bytes data)
{
    if (!is_quick(format))
        return;
    lua_getglobal(L, "php_pack");
    lua_pushlstring(L, format.data, format.len);
    if (call(L, 1 + push_lines(L, data)))
        CHECK(lua_isstring(L, -1));
}

/* Of the integers, and of hex digits: reals change where they are no numbers. */
static void check_round_trip(lua_State *L, struct bytes data, uint8_t chosen)
{
    static const char codes[] = "cCsSnviIlLNVqQJPhH";
    static const uint8_t sizes[] = {1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 8, 8, 8, 8, 1, 1};
    size_t at = chosen % (sizeof codes - 1);
    const char format[] = {codes[at], '*'};
    size_t count = data.len / sizes[at], whole = count * sizes[at];
    if (count == 0 || count > ARGUMENTS_MAX || !push_unpacked(L, (struct bytes){format, 2}, data))
        return;
    int table = lua_gettop(L);
    lua_getglobal(L, "php_pack");
    lua_pushlstring(L, format, 2);
    size_t results = sizes[at] == 1 && strchr("hH", codes[at]) ? 1 : count;
    CHECK(lua_objlen(L, table) == results && lua_checkstack(L, ARGUMENTS_MAX + 2));
    for (size_t i = 1; i <= results; i++)
        lua_rawgeti(L, table, (int)i);
    CHECK(call(L, 1 + (int)results));
    CHECK(lua_objlen(L, -1) == whole && memcmp(lua_tostring(L, -1), data.data, whole) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *L;
    if (!L)
        L = lua_state_new(lua_php_open);
    if (size == 0 || size - 1 < data[0] % 64u)
        return 0;
    struct bytes format = {(const char *)data + 1, data[0] % 64};
    struct bytes rest = {format.data + format.len, size - 1 - format.len};
    if (data[0] & 0x80)
        check_pack(L, format, rest);
    else
        check_unpack(L, format, rest);
    lua_settop(L, 0);
    check_round_trip(L, rest, format.len > 0 ? (uint8_t)format.data[0] : 0);
    lua_settop(L, 0);
    return 0;
}
