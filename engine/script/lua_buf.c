#include "script/lua_buf.h"
#include <lauxlib.h>
#include <string.h>

static const char *const META = "mixengine.buf";

struct buf_view {
    struct session *session; /* NULL: not valid */
    size_t len, position;
};

static struct buf_view *check_view(lua_State *L, int arg)
{
    struct buf_view *view = luaL_checkudata(L, arg, META);
    luaL_argcheck(L, view->session, arg,
                  "buf is valid only during the protocol_input that it was given to");
    return view;
}

/* The input may have grown, or be gone, since protocol_input was suspended. */
static const char *bytes_of(const struct buf_view *view, size_t *len)
{
    size_t there;
    const char *data = session_input(view->session, &there);
    *len = view->len < there ? view->len : there;
    return data;
}

const char *lua_buf_check(lua_State *L, int arg, size_t *len)
{
    return bytes_of(check_view(L, arg), len);
}

static int buf_length(lua_State *L)
{
    size_t len;
    lua_buf_check(L, 1, &len);
    lua_pushinteger(L, (lua_Integer)len);
    return 1;
}

static int buf_position(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)check_view(L, 1)->position);
    return 1;
}

static int buf_tostring(lua_State *L)
{
    size_t len;
    const char *data = lua_buf_check(L, 1, &len);
    lua_pushlstring(L, data ? data : "", len);
    return 1;
}

static int buf_read(lua_State *L)
{
    struct buf_view *view = check_view(L, 1);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n >= 0, 2, "a count of bytes, 0 or more");
    size_t len;
    const char *data = bytes_of(view, &len);
    if (view->position > len || (size_t)n > len - view->position) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushlstring(L, data ? data + view->position : "", (size_t)n);
    view->position += (size_t)n;
    return 1;
}

static const luaL_Reg methods[] = {
    {"read", buf_read},
    {"position", buf_position},
    {"length", buf_length},
    {"tostring", buf_tostring},
    {"__tostring", buf_tostring},
    {"__len", buf_length},
    {NULL, NULL},
};

void lua_buf_open(lua_State *L)
{
    luaL_newmetatable(L, META);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void lua_buf_push_meta(lua_State *L)
{
    luaL_getmetatable(L, META);
}

struct buf_view *lua_buf_new(lua_State *L)
{
    struct buf_view *view = lua_newuserdata(L, sizeof *view);
    memset(view, 0, sizeof *view);
    luaL_getmetatable(L, META);
    lua_pushvalue(L, -1);
    lua_setfenv(L, -3); /* else it would keep the globals of the generation in which it is made */
    lua_setmetatable(L, -2);
    return view;
}

void lua_buf_point(struct buf_view *view, struct session *s)
{
    *view = (struct buf_view){.session = s};
    if (s)
        session_input(s, &view->len);
}

const char *lua_buf_bytes(const struct buf_view *view, size_t *len)
{
    return view->session ? bytes_of(view, len) : NULL;
}
