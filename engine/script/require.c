#include "script/require.h"
#include "base/mem.h"
#include <errno.h>
#include <lauxlib.h>
#include <libgen.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char OUR_PRELOAD[] = "mixengine.";

/* -- the folder of shipped files -- */

static bool has_codec(const char *folder)
{
    char *path = xasprintf("%s/protocols/websocket.lua", folder);
    bool found = access(path, R_OK) == 0;
    free(path);
    return found;
}

static void find_shipped_lua(char *out, size_t size)
{
    static const char *const beside[] = {"../share/mixengine/lua", "../../lua", "lua"};
    char exe[2048];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    const char *folder = dirname(exe);
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        snprintf(out, size, "%s/%s", folder, beside[i]);
        if (has_codec(out))
            return;
    }
    snprintf(out, size, "%s", MIXENGINE_SOURCE_LUA);
}

static const char *shipped_lua(void)
{
    static _Thread_local char folder[4096];
    if (!folder[0])
        find_shipped_lua(folder, sizeof folder);
    return folder;
}

/* -- reading -- */

/* While they are loaded, the files are told all at once. */
static void tell(const struct vm *vm, const struct generation *g, uint32_t known)
{
    if (!vm->loading && !g->over && g->sources.count > known)
        vm->env->on_source(vm->env, vm->index, &g->sources.items[known]);
}

static int load(lua_State *L, struct vm *vm, const char *path)
{
    struct generation *g = vm->running;
    uint32_t known = g->sources.count;
    struct buf text = {0};
    lua_pushfstring(L, "@%s", path);
    int status = sources_read(&g->sources, path, &text);
    tell(vm, g, known);
    if (status == 0)
        status = luaL_loadbuffer(L, text.data, text.len, lua_tostring(L, -1));
    else
        lua_pushfstring(L, "cannot open %s: %s", path,
                        status == -EINVAL ? "not a regular file" : strerror(-status));
    buf_free(&text);
    lua_remove(L, -2);
    return status < 0 ? LUA_ERRFILE : status;
}

int require_load(lua_State *L, const char *path)
{
    struct vm *vm = vm_of(L), *outside = vm_enter(vm->env, NULL);
    int status = load(L, vm, path);
    vm_enter(vm->env, outside);
    return status;
}

/* -- searching -- */

static bool is_system(const char *system_path, const char *template)
{
    size_t len = strlen(template);
    for (const char *at = system_path; (at = strstr(at, template)); at++)
        if ((at == system_path || at[-1] == ';') && (at[len] == ';' || at[len] == '\0'))
            return true;
    return false;
}

enum { NAME = 1, PATH, FILE_NAME, MISSING, TEMPLATE, CANDIDATE };

/* Tries one file of the path: 1 with its function on the stack, 0 when it is a system module, -1
 * when there is none. */
static int try_file(lua_State *L, const char *system_path)
{
    const char *file = luaL_gsub(L, lua_tostring(L, TEMPLATE), "?", lua_tostring(L, FILE_NAME));
    if (is_system(system_path, lua_tostring(L, TEMPLATE)))
        return access(file, R_OK) == 0 ? 0 : -1;
    int status = require_load(L, file);
    if (status != 0 && status != LUA_ERRFILE)
        luaL_error(L, "error loading module '%s' from file '%s':\n\t%s", lua_tostring(L, NAME),
                   file, lua_tostring(L, -1));
    return status == 0 ? 1 : -1;
}

/* A searcher as package.loaders has them: a loader, or text of where nothing was found. Upvalues:
 * the generation's library `package`, the base's path. */
static int search_own(lua_State *L)
{
    luaL_checkstring(L, NAME);
    lua_settop(L, NAME);
    lua_getfield(L, lua_upvalueindex(1), "path");
    const char *path = lua_tostring(L, PATH);
    if (!path)
        return luaL_error(L, "package.path must be a string");
    luaL_gsub(L, lua_tostring(L, NAME), ".", LUA_DIRSEP);
    lua_pushliteral(L, "");
    for (path += strspn(path, ";"); *path; path += strspn(path, ";")) {
        size_t len = strcspn(path, ";");
        lua_pushlstring(L, path, len);
        path += len;
        int found = try_file(L, lua_tostring(L, lua_upvalueindex(2)));
        if (found >= 0)
            return found;
        lua_pushfstring(L, "%s\n\tno file '%s'", lua_tostring(L, MISSING),
                        lua_tostring(L, CANDIDATE));
        lua_replace(L, MISSING);
        lua_settop(L, MISSING);
    }
    return 1;
}

static int give(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    return 1;
}

static bool is_not_found(const char *error, const char *name)
{
    char *begin = xasprintf("module '%s' not found:", name);
    bool found = error && strstr(error, begin) == error;
    free(begin);
    return found;
}

/* A module that failed is tried again next time. */
static void forget(lua_State *L, const struct generation *base, const char *name)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, base->loaded);
    lua_pushnil(L);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

/* Calls the base's require in the base's environment, whatever the outcome. */
static int require_in_base(lua_State *L, struct generation *base, const char *name)
{
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    int globals = lua_gettop(L);
    struct generation *outer = generation_enter(base);
    lua_rawgeti(L, LUA_REGISTRYINDEX, base->globals);
    lua_getfield(L, -1, "require");
    lua_insert(L, -2);
    lua_replace(L, LUA_GLOBALSINDEX);
    lua_pushstring(L, name);
    int status = lua_pcall(L, 1, 1, 0);
    if (status != 0)
        forget(L, base, name);
    generation_enter(outer);
    lua_pushvalue(L, globals);
    lua_replace(L, LUA_GLOBALSINDEX);
    return status;
}

/* The searcher of system modules. */
static int search_base(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    struct vm *vm = vm_of(L), *outside = vm_enter(vm->env, NULL);
    int status = require_in_base(L, vm->base, name);
    vm_enter(vm->env, outside);
    if (status == 0) {
        lua_pushcclosure(L, give, 1);
        return 1;
    }
    return is_not_found(lua_tostring(L, -1), name) ? 0 : lua_error(L);
}

/* -- the library -- */

/* Scripts find what lies beside the entry file first, then the shipped files, then what the system
 * has. */
static void set_path(lua_State *L, const char *entry)
{
    char *copy = xstrdup(entry);
    const char *own = dirname(copy), *shipped = shipped_lua();
    lua_getfield(L, -1, "path");
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s/?.lua;%s", own, own, shipped,
                    lua_tostring(L, -1));
    lua_setfield(L, -3, "path");
    lua_pop(L, 1);
    free(copy);
}

/* Which of the modules that C makes are made for each generation: the engine's own. */
static void set_preload(lua_State *L, int base_package)
{
    lua_newtable(L);
    lua_getfield(L, base_package, "preload");
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (strncmp(lua_tostring(L, -2), OUR_PRELOAD, strlen(OUR_PRELOAD)) != 0)
            continue;
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, -6);
    }
    lua_pop(L, 1);
    lua_setfield(L, -2, "preload");
}

static void set_loaders(lua_State *L, int base_package)
{
    lua_getfield(L, -1, "loaders");
    int loaders = lua_gettop(L);
    for (int i = (int)lua_objlen(L, loaders); i > 2; i--) {
        lua_rawgeti(L, loaders, i);
        lua_rawseti(L, loaders, i + 1);
    }
    lua_pushvalue(L, -2);
    lua_getfield(L, base_package, "path");
    lua_pushcclosure(L, search_own, 2);
    lua_rawseti(L, loaders, 2);
    lua_pushcfunction(L, search_base);
    lua_rawseti(L, loaders, 3);
    lua_pop(L, 1);
}

static void push_package(lua_State *L, const struct generation *g)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, g->globals);
    lua_getfield(L, -1, LUA_LOADLIBNAME);
    lua_remove(L, -2);
}

void require_open(lua_State *L, const struct generation *base)
{
    struct vm *vm = vm_of(L);
    push_package(L, base);
    int base_package = lua_gettop(L);
    lua_pushcfunction(L, luaopen_package);
    lua_call(L, 0, 0);
    push_package(L, vm->running);
    set_path(L, vm->server->entry);
    set_preload(L, base_package);
    set_loaders(L, base_package);
    lua_pop(L, 2);
}
