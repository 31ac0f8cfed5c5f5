#include "script/vm.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "msg/client_id.h"
#include "script/lua_buf.h"
#include "script/lua_headers.h"
#include "script/lua_modules.h"
#include "script/lua_request.h"
#include "script/lua_timer.h"
#include "script/session_protocol.h"
#include <lauxlib.h>
#include <libgen.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char vm_key; /* its address is the registry's key */

struct vm *vm_of(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&vm_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    struct vm *vm = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return vm;
}

/* -- errors -- */

/* Message handler: the message with a traceback; what is no string is named by its type. */
static int add_traceback(lua_State *L)
{
    const char *text = lua_tostring(L, 1);
    if (!text)
        text = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    luaL_traceback(L, L, text, 1);
    return 1;
}

void vm_log_error(struct vm *vm, lua_State *L, const char *what, uint64_t client)
{
    const char *text = lua_tostring(L, -1);
    counter_add(&vm->env->stats->script_errors, 1);
    const struct session *s = client ? session_find(vm->env, client) : NULL;
    if (client)
        log_error("script", "%s of client %llu (%s): %s", what, (unsigned long long)client,
                  s ? s->remote : "gone", text ? text : "(no message)");
    else
        log_error("script", "%s: %s", what, text ? text : "(no message)");
    lua_pop(L, 1);
}

int vm_call(struct vm *vm, lua_State *L, int args, int results, const char *what, uint64_t client)
{
    struct pulse *pulse = vm->env->pulse;
    bool outer = pulse_is_in_call(pulse);
    int handler = lua_gettop(L) - args;
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, handler);
    if (!outer)
        pulse_begin(pulse, what, client);
    int status = lua_pcall(L, args, results, handler);
    if (!outer)
        pulse_end(pulse);
    lua_remove(L, handler);
    return status == 0 ? 0 : -1;
}

static int get_global(lua_State *L)
{
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    lua_pushvalue(L, 1);
    lua_gettable(L, -2);
    return 1;
}

void vm_push_global(struct vm *vm, lua_State *L, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, LUA_GLOBALSINDEX);
    if (!lua_isnil(L, -1) || !lua_getmetatable(L, LUA_GLOBALSINDEX))
        return;
    lua_pop(L, 2);
    lua_pushcfunction(L, get_global);
    lua_pushstring(L, name);
    if (vm_call(vm, L, 1, 1, name, 0) != 0) {
        lua_pop(L, 1);
        lua_pushnil(L);
    }
}

/* -- libraries and paths -- */

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

/* Scripts find what lies beside the entry file first, then the shipped files, then the system's. */
static void set_path(lua_State *L, const char *entry)
{
    char *copy = xstrdup(entry);
    const char *own = dirname(copy), *shipped = shipped_lua();
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "path");
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s/?.lua;%s", own, own, shipped,
                    lua_tostring(L, -1));
    lua_setfield(L, -3, "path");
    lua_pop(L, 2);
    free(copy);
}

static int open_all(lua_State *L)
{
    static void (*const parts[])(lua_State *) = {
        lua_json_open, lua_text_open,   lua_php_open,   lua_url_open,
        lua_log_open,  lua_server_open, lua_queue_open, lua_mesh_open,
        lua_conn_open, lua_timer_open,  lua_redis_open, lua_http_open,
    };
    luaL_openlibs(L);
    lua_buf_open(L);
    lua_headers_open(L);
    lua_request_open(L);
    lua_newtable(L);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        parts[i](L);
    lua_setglobal(L, "mix");
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_mixengine_websocket);
    lua_setfield(L, -2, "mixengine.websocket");
    lua_pop(L, 2);
    set_path(L, lua_tostring(L, 1));
    return 0;
}

#ifdef MIXENGINE_SYSTEM_ALLOCATOR
static void *allocate(void *data, void *old, size_t old_size, size_t size)
{
    (void)data;
    (void)old_size;
    if (size == 0) {
        free(old);
        return NULL;
    }
    return realloc(old, size);
}

static lua_State *new_state(void)
{
    return lua_newstate(allocate, NULL);
}
#else
static lua_State *new_state(void)
{
    return luaL_newstate();
}
#endif

/* -- life -- */

static struct conn_limits limits_of(const struct config_server *server)
{
    return (struct conn_limits){
        .read_timeout = (uint64_t)server->read_timeout * 1000,
        .write_timeout = (uint64_t)server->write_timeout * 1000,
        .max_backlog = server->max_backlog,
        /* Besides the largest message there must be room for its framing, or for a request's head.
         */
        .max_input = server->max_message_size + TRANSPORT_READ_MAX,
        .read_ahead = server->read_ahead,
    };
}

static struct vm *make(struct script_env *env, const struct config_server *server, int index)
{
    struct vm *vm = xcalloc(1, sizeof *vm);
    vm->env = env;
    vm->server = server;
    vm->protocol = session_protocol_of(server->protocol);
    vm->websocket = server->protocol == CONFIG_PROTOCOL_WEBSOCKET;
    vm->index = index;
    vm->limits = limits_of(server);
    vm->probe = LUA_NOREF;
    list_init(&vm->idle);
    list_init(&vm->timers);
    vm->L = new_state();
    CHECK(vm->L);
    lua_pushlightuserdata(vm->L, (void *)&vm_key);
    lua_pushlightuserdata(vm->L, vm);
    lua_rawset(vm->L, LUA_REGISTRYINDEX);
    return vm;
}

static int take_error(struct vm *vm, const char *what, char *error, size_t error_size)
{
    const char *text = lua_tostring(vm->L, -1);
    snprintf(error, error_size, "%s%s", what, text ? text : "(no message)");
    lua_pop(vm->L, 1);
    return -1;
}

static int load(struct vm *vm, char *error, size_t error_size)
{
    lua_State *L = vm->L;
    lua_pushcfunction(L, open_all);
    lua_pushstring(L, vm->server->entry);
    if (vm_call(vm, L, 1, 0, "opening the libraries", 0) != 0)
        return take_error(vm, "", error, error_size);
    if (luaL_loadfile(L, vm->server->entry) != 0)
        return take_error(vm, "", error, error_size);
    if (vm_call(vm, L, 0, 0, "entry script", 0) != 0)
        return take_error(vm, "", error, error_size);
    return 0;
}

struct vm *vm_new(struct script_env *env, const struct config_server *server, int index,
                  char *error, size_t error_size)
{
    struct vm *vm = make(env, server, index);
    if (load(vm, error, error_size) == 0)
        return vm;
    vm_free(vm);
    return NULL;
}

int vm_init(struct vm *vm, char *error, size_t error_size)
{
    vm_push_global(vm, vm->L, "init");
    if (!lua_isfunction(vm->L, -1)) {
        lua_pop(vm->L, 1);
        return 0;
    }
    if (vm_call(vm, vm->L, 0, 0, "init", 0) != 0)
        return take_error(vm, "init(): ", error, error_size);
    return 0;
}

void vm_free(struct vm *vm)
{
    lua_timers_drop(vm);
    lua_close(vm->L);
    free(vm);
}
