/* mix.parse_url: splits and decodes a URL by the rules of Go's net/url. In the result `user` is
 * "name[:password]", still escaped; in `query` a name that is there once has a string, one that is
 * repeated a list of strings; a pair that cannot be decoded is left out, as Go does. */
#include "script/lua_modules.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

enum part { HOST, ZONE, PATH, USER, QUERY, FRAGMENT };

struct text {
    const char *data;
    size_t len;
};

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t find(struct text t, char c)
{
    const char *found = t.len > 0 ? memchr(t.data, c, t.len) : NULL;
    return found ? (size_t)(found - t.data) : t.len;
}

static size_t find_last(struct text t, char c)
{
    const char *found = t.len > 0 ? memrchr(t.data, c, t.len) : NULL;
    return found ? (size_t)(found - t.data) : t.len;
}

static struct text head(struct text t, size_t len)
{
    return (struct text){t.data, len};
}

static struct text tail(struct text t, size_t from)
{
    return (struct text){t.data + from, t.len - from};
}

static bool starts_with(struct text t, const char *prefix)
{
    return t.len >= strlen(prefix) && memcmp(t.data, prefix, strlen(prefix)) == 0;
}

/* Takes what stands before the first `c` from *rest, and `c` too; all of it when there is none. */
static struct text cut(struct text *rest, char c)
{
    size_t at = find(*rest, c);
    struct text before = head(*rest, at);
    *rest = tail(*rest, at < rest->len ? at + 1 : at);
    return before;
}

/* Escapes */

/* Control characters would make several lines of one in a log. */
static void push_quoted(lua_State *L, struct text t)
{
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    luaL_addchar(&out, '"');
    for (; t.len > 0; t = tail(t, 1)) {
        unsigned char c = (unsigned char)*t.data;
        if (c == '"' || c == '\\')
            luaL_addchar(&out, '\\');
        if (c >= 0x20 && c != 0x7f) {
            luaL_addchar(&out, *t.data);
            continue;
        }
        luaL_addstring(&out, "\\x");
        luaL_addchar(&out, "0123456789abcdef"[c >> 4]);
        luaL_addchar(&out, "0123456789abcdef"[c & 15]);
    }
    luaL_addchar(&out, '"');
    luaL_pushresult(&out);
}

static bool must_escape(char c, enum part part)
{
    if (is_alpha(c) || is_digit(c) || is_one_of(c, "-_.~"))
        return false;
    switch (part) {
    case HOST:
    case ZONE:
        return !is_one_of(c, "!$&'()*+,;=:[]<>\"");
    case PATH:
        return !is_one_of(c, "$&+,/:;=@");
    case USER:
        return !is_one_of(c, "$&+,;=");
    case FRAGMENT:
        return !is_one_of(c, "$&+,/:;=?@!()*");
    default:
        return true;
    }
}

static bool is_escape(struct text t)
{
    return t.len >= 3 && hex_value(t.data[1]) >= 0 && hex_value(t.data[2]) >= 0;
}

static char escape_value(struct text t)
{
    return (char)(hex_value(t.data[1]) * 16 + hex_value(t.data[2]));
}

/* In a host only bytes beyond ASCII may be escaped, in a zone also what a host cannot hold, and
 * "%25". */
static bool allowed_escape(struct text t, enum part part)
{
    if (!is_escape(t))
        return false;
    char c = escape_value(t);
    if (c == '%' || (part != HOST && part != ZONE))
        return true;
    return part == HOST ? (c & 0x80) != 0 : c == ' ' || !must_escape(c, HOST);
}

static bool escape_fault(lua_State *L, struct text t)
{
    lua_pushliteral(L, "invalid URL escape ");
    push_quoted(L, head(t, t.len < 3 ? t.len : 3));
    lua_concat(L, 2);
    return false;
}

static bool check_escapes(lua_State *L, struct text t, enum part part)
{
    for (; t.len > 0; t = tail(t, *t.data == '%' ? 3 : 1)) {
        char c = *t.data;
        if (c == '%' && !allowed_escape(t, part))
            return escape_fault(L, t);
        if (c == '%' || (part != HOST && part != ZONE) || (c & 0x80) || !must_escape(c, part))
            continue;
        lua_pushfstring(L, "invalid character \"%c\" in host name", c);
        return false;
    }
    return true;
}

/* Pushes the decoded text, or the fault. */
static bool unescape(lua_State *L, struct text t, enum part part)
{
    luaL_Buffer out;
    if (!check_escapes(L, t, part))
        return false;
    luaL_buffinit(L, &out);
    for (; t.len > 0; t = tail(t, *t.data == '%' ? 3 : 1)) {
        if (*t.data == '%')
            luaL_addchar(&out, escape_value(t));
        else
            luaL_addchar(&out, *t.data == '+' && part == QUERY ? ' ' : *t.data);
    }
    luaL_pushresult(&out);
    return true;
}

static void push_escaped(lua_State *L, struct text t, enum part part)
{
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    for (; t.len > 0; t = tail(t, 1)) {
        unsigned char c = (unsigned char)*t.data;
        if (!must_escape(*t.data, part)) {
            luaL_addchar(&out, *t.data);
            continue;
        }
        luaL_addchar(&out, '%');
        luaL_addchar(&out, "0123456789ABCDEF"[c >> 4]);
        luaL_addchar(&out, "0123456789ABCDEF"[c & 15]);
    }
    luaL_pushresult(&out);
}

/* The parts of a URL. The result's table is at RESULT; a fault is pushed. */

enum { RESULT = 2 };

static bool fault(lua_State *L, const char *why)
{
    lua_pushstring(L, why);
    return false;
}

static void set_text(lua_State *L, const char *key, struct text t)
{
    lua_pushlstring(L, t.data, t.len);
    lua_setfield(L, RESULT, key);
}

/* Sets the decoded text under `key`; under `raw_key` what it was, unless encoding gives that again.
 */
static bool set_decoded(lua_State *L, const char *key, const char *raw_key, struct text t,
                        enum part part)
{
    struct text decoded;
    if (!unescape(L, t, part))
        return false;
    decoded.data = lua_tolstring(L, -1, &decoded.len);
    push_escaped(L, decoded, part);
    lua_pushlstring(L, t.data, t.len);
    if (!lua_rawequal(L, -1, -2))
        lua_setfield(L, RESULT, raw_key);
    else
        lua_pop(L, 1);
    lua_pop(L, 1);
    lua_setfield(L, RESULT, key);
    return true;
}

static bool is_user_info(struct text t)
{
    for (; t.len > 0; t = tail(t, 1)) {
        if (!is_alpha(*t.data) && !is_digit(*t.data) && !is_one_of(*t.data, "-._:~!$&'()*+,;=%@"))
            return false;
    }
    return true;
}

static bool push_user_part(lua_State *L, struct text t)
{
    struct text decoded;
    if (!unescape(L, t, USER))
        return false;
    decoded.data = lua_tolstring(L, -1, &decoded.len);
    push_escaped(L, decoded, USER);
    lua_remove(L, -2);
    return true;
}

static bool parse_user(lua_State *L, struct text user)
{
    if (!is_user_info(user))
        return fault(L, "net/url: invalid userinfo");
    bool has_password = find(user, ':') < user.len;
    if (!push_user_part(L, cut(&user, ':')))
        return false;
    if (has_password) {
        lua_pushliteral(L, ":");
        if (!push_user_part(L, user))
            return false;
        lua_concat(L, 3);
    }
    lua_setfield(L, RESULT, "user");
    return true;
}

static bool is_port(struct text t)
{
    if (t.len > 0 && *t.data != ':')
        return false;
    for (size_t i = 1; i < t.len; i++) {
        if (!is_digit(t.data[i]))
            return false;
    }
    return true;
}

static bool port_fault(lua_State *L, struct text port)
{
    lua_pushliteral(L, "invalid port \"");
    lua_pushlstring(L, port.data, port.len);
    lua_pushliteral(L, "\" after host");
    lua_concat(L, 3);
    return false;
}

static bool push_zoned_host(lua_State *L, struct text host, size_t zone, size_t bracket)
{
    struct text name = head(tail(host, zone), bracket - zone);
    if (!unescape(L, head(host, zone), HOST) || !unescape(L, name, ZONE) ||
        !unescape(L, tail(host, bracket), HOST))
        return false;
    lua_concat(L, 3);
    return true;
}

static bool push_address(lua_State *L, struct text host)
{
    size_t bracket = find_last(host, ']');
    if (bracket == host.len)
        return fault(L, "missing ']' in host");
    if (!is_port(tail(host, bracket + 1)))
        return port_fault(L, tail(host, bracket + 1));
    const char *zone = memmem(host.data, bracket, "%25", 3);
    if (zone)
        return push_zoned_host(L, host, (size_t)(zone - host.data), bracket);
    return unescape(L, host, HOST);
}

static bool parse_host(lua_State *L, struct text host)
{
    size_t colon = find_last(host, ':');
    bool bracketed = starts_with(host, "[");
    if (!bracketed && !is_port(tail(host, colon)))
        return port_fault(L, tail(host, colon));
    if (!(bracketed ? push_address(L, host) : unescape(L, host, HOST)))
        return false;
    lua_setfield(L, RESULT, "host");
    return true;
}

static bool parse_authority(lua_State *L, struct text authority)
{
    size_t at = find_last(authority, '@');
    if (at == authority.len)
        return parse_host(L, authority);
    return parse_host(L, tail(authority, at + 1)) && parse_user(L, head(authority, at));
}

/* Takes "scheme:" from *rest when it is there. */
static bool parse_scheme(lua_State *L, struct text *rest)
{
    size_t len = 0;
    while (len < rest->len &&
           (is_alpha(rest->data[len]) ||
            (len > 0 && (is_digit(rest->data[len]) || is_one_of(rest->data[len], "+-.")))))
        len++;
    if (len == rest->len || rest->data[len] != ':')
        return true;
    if (len == 0)
        return fault(L, "missing protocol scheme");
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    for (size_t i = 0; i < len; i++)
        luaL_addchar(&out, is_alpha(rest->data[i]) ? (char)(rest->data[i] | 0x20) : rest->data[i]);
    luaL_pushresult(&out);
    lua_setfield(L, RESULT, "scheme");
    *rest = tail(*rest, len + 1);
    return true;
}

/* The value on top goes to the table below it: a string, or the next of a list. */
static void add_pair(lua_State *L, int query)
{
    lua_pushvalue(L, -2);
    lua_rawget(L, query);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_rawset(L, query);
        return;
    }
    if (lua_isstring(L, -1)) {
        lua_createtable(L, 2, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
        lua_pushvalue(L, -3);
        lua_pushvalue(L, -2);
        lua_rawset(L, query);
    }
    lua_insert(L, -2);
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
    lua_pop(L, 2);
}

static void parse_query(lua_State *L, struct text rest)
{
    lua_newtable(L);
    int query = lua_gettop(L);
    while (rest.len > 0) {
        struct text value = cut(&rest, '&');
        if (value.len == 0 || find(value, ';') < value.len)
            continue;
        struct text name = cut(&value, '=');
        if (unescape(L, name, QUERY) && unescape(L, value, QUERY))
            add_pair(L, query);
        lua_settop(L, query);
    }
    lua_setfield(L, RESULT, "query");
}

/* Takes the query from the end of *rest. A lone "?" at the very end forces an empty one. */
static void split_query(lua_State *L, struct text *rest)
{
    struct text query = *rest;
    *rest = cut(&query, '?');
    lua_pushboolean(L, query.len == 0 && query.data > rest->data + rest->len);
    lua_setfield(L, RESULT, "force_query");
    set_text(L, "raw_query", query);
    parse_query(L, query);
}

static bool has_scheme(lua_State *L)
{
    lua_getfield(L, RESULT, "scheme");
    bool has = lua_objlen(L, -1) > 0;
    lua_pop(L, 1);
    return has;
}

/* What is left once scheme, query and fragment are off. */
static bool parse_hierarchy(lua_State *L, struct text rest)
{
    bool scheme = has_scheme(L);
    if (!starts_with(rest, "/")) {
        if (scheme) {
            set_text(L, "opaque", rest);
            return true;
        }
        struct text segment = head(rest, find(rest, '/'));
        if (find(segment, ':') < segment.len)
            return fault(L, "first path segment in URL cannot contain colon");
    }
    if (starts_with(rest, "//") && (scheme || !starts_with(rest, "///"))) {
        rest = tail(rest, 2);
        size_t slash = find(rest, '/');
        if (!parse_authority(L, head(rest, slash)))
            return false;
        rest = tail(rest, slash);
    }
    return set_decoded(L, "path", "raw_path", rest, PATH);
}

static bool has_control(struct text t)
{
    for (size_t i = 0; i < t.len; i++) {
        if ((unsigned char)t.data[i] < 0x20 || t.data[i] == 0x7f)
            return true;
    }
    return false;
}

static bool parse(lua_State *L, struct text url)
{
    struct text fragment = url, rest = cut(&fragment, '#');
    if (has_control(rest))
        return fault(L, "net/url: invalid control character in URL");
    if (rest.len == 1 && *rest.data == '*') {
        set_text(L, "path", rest);
    } else {
        if (!parse_scheme(L, &rest))
            return false;
        split_query(L, &rest);
        if (!parse_hierarchy(L, rest))
            return false;
    }
    return set_decoded(L, "fragment", "raw_fragment", fragment, FRAGMENT);
}

/* Every key is there, so that a script may take any part's length. */
static void push_empty_result(lua_State *L)
{
    static const char *const keys[] = {"scheme",   "opaque",    "user",     "host",        "path",
                                       "raw_path", "raw_query", "fragment", "raw_fragment"};
    lua_createtable(L, 0, 12);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        lua_pushliteral(L, "");
        lua_setfield(L, -2, keys[i]);
    }
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "force_query");
    lua_newtable(L);
    lua_setfield(L, -2, "query");
}

static int parse_url(lua_State *L)
{
    struct text url;
    url.data = luaL_checklstring(L, 1, &url.len);
    lua_settop(L, 1);
    push_empty_result(L);
    if (parse(L, url)) {
        lua_settop(L, RESULT);
        return 1;
    }
    lua_pushnil(L);
    lua_pushliteral(L, "parse ");
    push_quoted(L, url);
    lua_pushliteral(L, ": ");
    lua_pushvalue(L, -5);
    lua_concat(L, 4);
    return 2;
}

static const luaL_Reg functions[] = {
    {"parse_url", parse_url},
    {"url_parse", parse_url},
    {"parse_str", parse_url},
    {NULL, NULL},
};

void lua_url_open(lua_State *L)
{
    luaL_setfuncs(L, functions, 0);
}
