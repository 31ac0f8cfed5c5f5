/* mix.http.request. Arguments are checked first, as that may raise an error; then the request is
 * made, which raises none. */
#include "script/http_request.h"
#include "script/http_text.h"
#include "script/lua_headers.h"
#include "script/lua_helpers.h"
#include "script/lua_modules.h"
#include "script/session.h"
#include <lauxlib.h>
#include <math.h>
#include <string.h>

enum {
    OPTIONS = 3, /* which argument they are */
    TIMEOUT_S_MAX = 24 * 3600,
    REDIRECTS_MAX = 50,
};

/* -- checking what was given: the option's value is on top of the stack -- */

static void refuse(lua_State *L, const char *option, const char *expected)
{
    luaL_argerror(L, OPTIONS, lua_pushfstring(L, "%s: %s expected", option, expected));
}

static bool is_text(lua_State *L, int index)
{
    return lua_isstring(L, index); /* numbers too */
}

static void check_text(lua_State *L, const char *option, struct http_limits *limits)
{
    (void)limits;
    if (!is_text(L, -1))
        refuse(L, option, "a string");
}

static bool is_list_of_texts(lua_State *L)
{
    int count = lua_istable(L, -1) ? (int)lua_objlen(L, -1) : 0;
    bool all = count > 0;
    for (int i = 1; all && i <= count; i++) {
        lua_rawgeti(L, -1, i);
        all = is_text(L, -1);
        lua_pop(L, 1);
    }
    return all;
}

static void check_fields(lua_State *L, const char *option, bool lists, const char *expected)
{
    if (!lua_istable(L, -1))
        refuse(L, option, expected);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        bool is_value = is_text(L, -1) || (lists && is_list_of_texts(L));
        if (lua_type(L, -2) != LUA_TSTRING || !is_value)
            refuse(L, option, expected);
    }
}

static void check_headers(lua_State *L, const char *option, struct http_limits *limits)
{
    (void)limits;
    check_fields(L, option, true, "a table from names to strings, or to lists of strings,");
}

static void check_cookies(lua_State *L, const char *option, struct http_limits *limits)
{
    (void)limits;
    check_fields(L, option, false, "a table from names to strings");
}

static void push_raw(lua_State *L, int table, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, table);
}

/* Pushes the first field of the table on top that is there; nil when none is. */
static void push_any_of(lua_State *L, const char *name, const char *other, int index)
{
    int table = lua_gettop(L);
    push_raw(L, table, name);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        push_raw(L, table, other);
    }
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_rawgeti(L, table, index);
    }
}

static void push_user(lua_State *L)
{
    push_any_of(L, "username", "user", 1);
}

static void push_password(lua_State *L)
{
    push_any_of(L, "password", "pass", 2);
}

static bool is_c_text(lua_State *L)
{
    return is_text(L, -1) && strlen(lua_tostring(L, -1)) == lua_objlen(L, -1);
}

static void check_auth(lua_State *L, const char *option, struct http_limits *limits)
{
    (void)limits;
    bool right = lua_istable(L, -1);
    if (right) {
        push_user(L);
        right = is_c_text(L);
        lua_pop(L, 1);
    }
    if (right) {
        push_password(L);
        right = is_c_text(L);
        lua_pop(L, 1);
    }
    if (!right)
        refuse(L, option, "a table with username and password");
}

static bool read_timeout(lua_State *L, uint64_t *ms)
{
    if (lua_type(L, -1) == LUA_TSTRING) {
        size_t len;
        const char *text = lua_tolstring(L, -1, &len);
        return http_text_duration(text, len, TIMEOUT_S_MAX * 1000, ms) && *ms > 0;
    }
    lua_Number seconds = lua_tonumber(L, -1);
    bool right = lua_isnumber(L, -1) && seconds > 0 && seconds <= TIMEOUT_S_MAX;
    *ms = right ? (uint64_t)ceil(seconds * 1000) : 0;
    return right;
}

static void check_timeout(lua_State *L, const char *option, struct http_limits *limits)
{
    if (!read_timeout(L, &limits->timeout_ms))
        refuse(L, option, "seconds, or a duration (\"300ms\", \"1h30m\"), above 0 to 24 hours,");
}

static bool read_count(lua_State *L, lua_Number max, lua_Number *count)
{
    *count = lua_tonumber(L, -1);
    return lua_type(L, -1) == LUA_TNUMBER && *count >= 0 && *count <= max &&
           *count == floor(*count);
}

static void check_max_body(lua_State *L, const char *option, struct http_limits *limits)
{
    lua_Number count;
    if (!read_count(L, HTTP_HELD_MAX, &count))
        refuse(L, option, "a number of bytes, 0 to 268435456,");
    limits->body = (size_t)count;
}

static void check_max_redirects(lua_State *L, const char *option, struct http_limits *limits)
{
    lua_Number count;
    if (!read_count(L, REDIRECTS_MAX, &count))
        refuse(L, option, "a number from 0 to 50");
    limits->redirects = (unsigned)count;
}

/* -- describing the request: the option's value is on top of the stack -- */

static const char *fill_query(lua_State *L, struct http_request *r)
{
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    return http_request_query(r, text, len);
}

typedef const char *field_adder(struct http_request *r, const char *name, size_t name_len,
                                const char *value, size_t value_len);

/* The value is on top of the stack, the name below it. */
static const char *fill_field(lua_State *L, struct http_request *r, int name, field_adder *add)
{
    size_t name_len, value_len;
    const char *key = lua_tolstring(L, name, &name_len);
    const char *value = lua_tolstring(L, -1, &value_len);
    return add(r, key, name_len, value, value_len);
}

static const char *fill_list(lua_State *L, struct http_request *r, int name, field_adder *add)
{
    const char *why = NULL;
    int count = (int)lua_objlen(L, -1);
    for (int i = 1; !why && i <= count; i++) {
        lua_rawgeti(L, -1, i);
        why = fill_field(L, r, name, add);
        lua_pop(L, 1);
    }
    return why;
}

static const char *fill_fields(lua_State *L, struct http_request *r, field_adder *add)
{
    const char *why = NULL;
    for (lua_pushnil(L); !why && lua_next(L, -2); lua_pop(L, 1)) {
        int name = lua_gettop(L) - 1;
        why = lua_istable(L, -1) ? fill_list(L, r, name, add) : fill_field(L, r, name, add);
    }
    return why;
}

static const char *fill_headers(lua_State *L, struct http_request *r)
{
    return fill_fields(L, r, http_request_header);
}

static const char *fill_cookies(lua_State *L, struct http_request *r)
{
    return fill_fields(L, r, http_request_cookie);
}

static const char *fill_auth(lua_State *L, struct http_request *r)
{
    push_user(L);
    lua_insert(L, -2);
    push_password(L);
    lua_insert(L, -2);
    return http_request_auth(r, lua_tostring(L, -3), lua_tostring(L, -2));
}

static const char *fill_body(lua_State *L, struct http_request *r)
{
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    return http_request_body(r, text, len, NULL);
}

static const char *fill_form(lua_State *L, struct http_request *r)
{
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    return http_request_body(r, text, len, "application/x-www-form-urlencoded");
}

/* -- options -- */

/* In the order in which they are filled in: the body looks at the headers. */
static const struct option {
    const char *name;
    void (*check)(lua_State *L, const char *option, struct http_limits *limits);
    const char *(*fill)(lua_State *L, struct http_request *r);
} options[] = {
    {"query", check_text, fill_query},
    {"headers", check_headers, fill_headers},
    {"cookies", check_cookies, fill_cookies},
    {"auth", check_auth, fill_auth},
    {"body", check_text, fill_body},
    {"form", check_text, fill_form},
    {"timeout", check_timeout, NULL},
    {"max_body", check_max_body, NULL},
    {"max_redirects", check_max_redirects, NULL},
};

enum { OPTION_COUNT = sizeof options / sizeof *options };

static const struct option *find_option(lua_State *L, int name)
{
    if (lua_type(L, name) == LUA_TSTRING)
        for (int i = 0; i < OPTION_COUNT; i++)
            if (strcmp(options[i].name, lua_tostring(L, name)) == 0)
                return &options[i];
    luaL_argerror(L, OPTIONS,
                  lua_pushfstring(L, "unknown option %s",
                                  lua_type(L, name) == LUA_TSTRING ? lua_tostring(L, name)
                                                                   : luaL_typename(L, name)));
    return NULL;
}

static bool has_option(lua_State *L, const char *name)
{
    push_raw(L, OPTIONS, name);
    bool has = !lua_isnil(L, -1);
    lua_pop(L, 1);
    return has;
}

static void check_options(lua_State *L, struct http_limits *limits)
{
    if (lua_isnil(L, OPTIONS))
        return;
    luaL_checktype(L, OPTIONS, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, OPTIONS); lua_pop(L, 1)) {
        const struct option *option = find_option(L, -2);
        option->check(L, option->name, limits);
    }
    if (has_option(L, "body") && has_option(L, "form"))
        luaL_argerror(L, OPTIONS, "body and form: only one of them expected");
}

static const char *fill_options(lua_State *L, struct http_request *r)
{
    const char *why = NULL;
    for (int i = 0; !why && lua_istable(L, OPTIONS) && i < OPTION_COUNT; i++) {
        push_raw(L, OPTIONS, options[i].name);
        if (options[i].fill && !lua_isnil(L, -1))
            why = options[i].fill(L, r);
        lua_settop(L, OPTIONS);
    }
    return why;
}

static const char *describe(lua_State *L, struct http_request *r)
{
    size_t method_len, url_len;
    const char *method = lua_tolstring(L, 1, &method_len), *url = lua_tolstring(L, 2, &url_len);
    const char *why = http_request_target(r, method, method_len, url, url_len);
    return why ? why : fill_options(L, r);
}

/* -- the response -- */

static struct slice slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static void push_headers(lua_State *L, const struct http_request *r)
{
    lua_headers_new(L, 16);
    for (struct curl_header *h = NULL; (h = http_request_next_header(r, h));)
        lua_headers_add(L, slice_of(h->name), slice_of(h->value), HEADER_NAMES_CANONICAL);
}

static void push_cookies(lua_State *L, const struct http_request *r)
{
    lua_newtable(L);
    for (struct curl_header *h = NULL; (h = http_request_next_header(r, h));) {
        struct http_cookie cookie;
        if (strcasecmp(h->name, "Set-Cookie") != 0 || !http_text_cookie(h->value, &cookie))
            continue;
        lua_pushlstring(L, cookie.name, cookie.name_len);
        lua_pushlstring(L, cookie.value, cookie.value_len);
        lua_rawset(L, -3);
    }
}

static void push_response(lua_State *L, const struct http_request *r)
{
    size_t len;
    const char *body = http_request_answer(r, &len);
    lua_createtable(L, 0, 6);
    lua_pushlstring(L, body, len);
    lua_setfield(L, -2, "body");
    lua_pushinteger(L, (lua_Integer)len);
    lua_setfield(L, -2, "body_size");
    lua_pushinteger(L, http_request_status(r));
    lua_setfield(L, -2, "status_code");
    lua_pushstring(L, http_request_url(r));
    lua_setfield(L, -2, "url");
    push_headers(L, r);
    lua_setfield(L, -2, "headers");
    push_cookies(L, r);
    lua_setfield(L, -2, "cookies");
}

/* -- waiting for it -- */

static int http_results(struct task *task)
{
    const struct http_request *r = task->pending;
    const char *why = http_request_error(r);
    if (why)
        return lua_fail(task->L, why);
    push_response(task->L, r);
    return 1;
}

static void http_cut(struct task *task)
{
    http_request_abort(task->pending, SESSION_CLOSED);
}

static void http_fini(struct task *task)
{
    struct worker_stats *stats = task->vm->env->stats;
    counter_add(&stats->http_requests, -1);
    if (http_request_error(task->pending))
        counter_add(&stats->http_errors, 1);
    http_request_free(task->pending);
    task->pending = NULL;
}

static const struct task_wait http_wait = {
    .what = "http.request",
    .cut_by_end = true,
    .cut = http_cut,
    .results = http_results,
    .fini = http_fini,
};

static void on_done(void *owner)
{
    task_wake(owner);
}

static struct http_client *client_of(struct script_env *env)
{
    if (!env->http)
        env->http = http_client_new(env->loop, env->wheel);
    return env->http;
}

static int start(lua_State *L, struct task *task, const struct http_limits *limits)
{
    struct script_env *env = task->vm->env;
    struct vm *outside = vm_enter(env, NULL); /* the request is nobody's yet */
    struct http_request *r = http_request_new(client_of(env), env->wheel);
    const char *why = describe(L, r);
    uv_update_time(env->loop); /* it stood still while the handler ran */
    if (!why)
        why = http_request_start(r, limits, on_done, task);
    if (why) {
        lua_fail(L, why);
        http_request_free(r);
        vm_enter(env, outside);
        return 2;
    }
    vm_enter(env, outside);
    task->pending = r;
    counter_add(&env->stats->http_requests, 1);
    counter_add(&env->stats->http_requests_total, 1);
    return task_suspend(task, &http_wait);
}

/* resp, err = http.request(method, url[, options]) */
static int http_request(lua_State *L)
{
    struct vm *vm = vm_of(L);
    struct http_limits limits = {HTTP_TIMEOUT_MS, HTTP_BODY_MAX, HTTP_REDIRECTS};
    const char *why;
    luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    lua_settop(L, OPTIONS);
    check_options(L, &limits);
    if (!task_may_suspend(vm, L, &why))
        return lua_fail(L, why);
    if (session_is_ending(vm->env->running->session))
        return lua_fail(L, SESSION_CLOSED);
    return start(L, vm->env->running, &limits);
}

void lua_http_open(lua_State *L)
{
    lua_newtable(L);
    lua_pushcfunction(L, http_request);
    lua_setfield(L, -2, "request");
    lua_setfield(L, -2, "http");
}
