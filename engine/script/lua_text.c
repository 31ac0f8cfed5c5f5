/* Splitting, bytes, base64 and digests. */
#include "proto/base64.h"
#include "script/lua_helpers.h"
#include "script/lua_modules.h"

#include <lauxlib.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

static int str_split(lua_State *L)
{
    size_t len, sep_len;
    const char *at = luaL_checklstring(L, 1, &len), *end = at + len;
    const char *sep = luaL_checklstring(L, 2, &sep_len), *found;
    int count = 0;
    lua_newtable(L);
    while (sep_len > 0 && (found = memmem(at, (size_t)(end - at), sep, sep_len))) {
        lua_pushlstring(L, at, (size_t)(found - at));
        lua_rawseti(L, -2, ++count);
        at = found + sep_len;
    }
    lua_pushlstring(L, at, (size_t)(end - at));
    lua_rawseti(L, -2, ++count);
    return 1;
}

static int bytes_tostring(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t len = lua_objlen(L, 1);
    unsigned char *bytes = lua_newuserdata(L, len);
    for (size_t i = 0; i < len; i++) {
        lua_rawgeti(L, 1, (int)i + 1);
        lua_Number byte = lua_tonumber(L, -1);
        if (!lua_isnumber(L, -1) || !(byte >= 0 && byte <= 255) || byte != (int)byte)
            return luaL_argerror(
                L, 1, lua_pushfstring(L, "element %d is not a byte (0 to 255)", (int)i + 1));
        bytes[i] = (unsigned char)byte;
        lua_pop(L, 1);
    }
    lua_pushlstring(L, (char *)bytes, len);
    return 1;
}

static int text_base64_encode(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    luaL_argcheck(L, len < INT_MAX / 2, 1, "too long");
    unsigned char *out = lua_newuserdata(L, len / 3 * 4 + 5);
    int written = EVP_EncodeBlock(out, (const unsigned char *)text, (int)len);
    lua_pushlstring(L, (char *)out, (size_t)written);
    return 1;
}

static int text_base64_decode(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    char *bytes = lua_newuserdata(L, len / 4 * 3);
    ssize_t size = base64_read(text, len, bytes);
    if (size < 0)
        return lua_fail(L, "base64: not valid");
    lua_pushlstring(L, bytes, (size_t)size);
    return 1;
}

static unsigned digest(lua_State *L, const EVP_MD *type, unsigned char out[EVP_MAX_MD_SIZE])
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    unsigned size = 0;
    if (!EVP_Digest(text, len, out, &size, type, NULL))
        luaL_error(L, "%s is not available", EVP_MD_get0_name(type));
    return size;
}

static int push_raw(lua_State *L, const EVP_MD *type)
{
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned size = digest(L, type, out);
    lua_pushlstring(L, (char *)out, size);
    return 1;
}

static int push_hex(lua_State *L, const EVP_MD *type)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char out[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE];
    unsigned size = digest(L, type, out);
    for (unsigned i = 0; i < size; i++) {
        hex[2 * i] = digits[out[i] >> 4];
        hex[2 * i + 1] = digits[out[i] & 15];
    }
    lua_pushlstring(L, hex, 2 * size);
    return 1;
}

static int md5(lua_State *L)
{
    return push_hex(L, EVP_md5());
}

static int md5_bin(lua_State *L)
{
    return push_raw(L, EVP_md5());
}

static int sha1(lua_State *L)
{
    return push_hex(L, EVP_sha1());
}

static int sha1_bin(lua_State *L)
{
    return push_raw(L, EVP_sha1());
}

static const luaL_Reg functions[] = {
    {"str_split", str_split},
    {"bytes_tostring", bytes_tostring},
    {"base64_encode", text_base64_encode},
    {"base64_decode", text_base64_decode},
    {"md5", md5},
    {"md5_bin", md5_bin},
    {"sha1", sha1},
    {"sha1_bin", sha1_bin},
    {NULL, NULL},
};

void lua_text_open(lua_State *L)
{
    luaL_setfuncs(L, functions, 0);
}
