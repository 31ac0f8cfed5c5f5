#include "script/fast_functions.h"
#include "script/heap.h"

#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LIMIT = 4 << 20 };

/* What the heap stands before: fails once, `fail_in` allocations from now. */
struct below {
    size_t used;
    int fail_in; /* 0: never */
};

static void *allocate(void *data, void *old, size_t old_size, size_t size)
{
    struct below *below = data;
    if (size > old_size && below->fail_in > 0 && --below->fail_in == 0)
        return NULL;
    below->used += size - old_size;
    if (size == 0) {
        free(old);
        return NULL;
    }
    return realloc(old, size);
}

struct lab {
    struct below below;
    struct heap heap;
    lua_State *L;
};

static int setup(void **state)
{
    struct lab *lab = calloc(1, sizeof *lab);
    assert_non_null(lab);
    lab->L = lua_newstate(allocate, &lab->below);
    assert_non_null(lab->L);
    luaL_openlibs(lab->L);
    luaJIT_setmode(lab->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    fast_functions_open(lab->L);
    heap_open(&lab->heap, lab->L, LIMIT);
    *state = lab;
    return 0;
}

static int teardown(void **state)
{
    struct lab *lab = *state;
    heap_close(&lab->heap);
    lua_close(lab->L);
    assert_int_equal(lab->below.used, 0);
    free(lab);
    return 0;
}

static int run(struct lab *lab, const char *code)
{
    assert_int_equal(luaL_loadstring(lab->L, code), 0);
    lab->heap.strict = true;
    int status = lua_pcall(lab->L, 0, 0, 0);
    lab->heap.strict = false;
    assert_true(lab->heap.used == lab->below.used);
    return status;
}

static void expect_refusal(struct lab *lab, const char *code)
{
    assert_int_equal(run(lab, code), LUA_ERRMEM);
    assert_string_equal(lua_tostring(lab->L, -1), "not enough memory");
    lua_pop(lab->L, 1);
    assert_true(lab->heap.used <= LIMIT);
    assert_true(lab->heap.full);
}

static void collect(void *data)
{
    struct lab *lab = data;
    lua_gc(lab->L, LUA_GCCOLLECT, 0);
}

static void test_a_script_is_refused_what_goes_beyond(void **state)
{
    struct lab *lab = *state;
    expect_refusal(lab, "local t = {} while true do t = {t} end");
    heap_recover(&lab->heap, collect, lab);
    assert_false(lab->heap.full);
    assert_true(lab->heap.used < LIMIT / 4);
    assert_int_equal(run(lab, "local s = ('x'):rep(1000000)"), 0);
}

static void test_the_engine_is_not(void **state)
{
    struct lab *lab = *state;
    expect_refusal(lab, "while true do hoard = {hoard} end");
    char *big = lua_newuserdata(lab->L, LIMIT);
    memset(big, 1, LIMIT);
    assert_true(lab->heap.used > LIMIT);
    assert_int_equal(run(lab, "local t = {}"), LUA_ERRMEM);
}

static void test_a_replacing_script_has_a_quarter_more(void **state)
{
    struct lab *lab = *state;
    expect_refusal(lab, "while true do hoard = {hoard} end");
    heap_lend(&lab->heap, true);
    assert_int_equal(run(lab, "local t for i = 1, 1000 do t = {t} end"), 0);
    heap_lend(&lab->heap, false);
    assert_int_equal(run(lab, "hoard = nil collectgarbage()"), 0);
}

static void test_what_was_lent_is_collected(void **state)
{
    struct lab *lab = *state;
    heap_lend(&lab->heap, true);
    assert_int_equal(run(lab, "while collectgarbage('count') < 4500 do hoard = {hoard} end"), 0);
    assert_true(lab->heap.used > LIMIT && lab->heap.hurried);
    lua_pushnil(lab->L);
    lua_setglobal(lab->L, "hoard");
    lab->heap.not_before_ms = UINT64_MAX;
    heap_lend(&lab->heap, false);
    heap_recover(&lab->heap, collect, lab);
    assert_true(lab->heap.used < LIMIT / 4);
    assert_false(lab->heap.hurried);
}

/* Whatever share of the heap is in use, garbage of many times its size does not fill it. */
static void test_collection_is_hurried(void **state)
{
    struct lab *lab = *state;
    for (int share = 10; share <= 90; share += 20) {
        lua_pushinteger(lab->L, LIMIT / 100 * share / 1024);
        lua_setglobal(lab->L, "kept");
        assert_int_equal(run(lab,
                             "hoard = nil collectgarbage()\n"
                             "local used = collectgarbage('count')\n"
                             "hoard = {}\n"
                             "for i = 1, (kept - used) / 2 do hoard[i] = ('x'):rep(2000) .. i end\n"
                             "for i = 1, 20000 do local s = ('y'):rep(2000) .. i end"),
                         0);
    }
    assert_false(lab->heap.full);
}

static void test_a_script_that_has_stopped_the_collector_is_left_alone(void **state)
{
    struct lab *lab = *state;
    expect_refusal(lab, "collectgarbage('stop') while true do local t = {} end");
    assert_int_equal(lua_gc(lab->L, LUA_GCISRUNNING, 0), 0);
}

/* At most a tenth of the time: right after a collection there is no other. */
static void test_recovery_takes_its_rest(void **state)
{
    struct lab *lab = *state;
    expect_refusal(lab, "while true do hoard = {hoard} end");
    lab->heap.not_before_ms = UINT64_MAX;
    heap_recover(&lab->heap, collect, lab);
    assert_true(lab->heap.full);
    lab->heap.not_before_ms = 0;
    heap_recover(&lab->heap, collect, lab);
    assert_false(lab->heap.full);
}

static void collect_and_meet_the_limit(void *data)
{
    struct lab *lab = data;
    collect(data);
    lab->heap.full = true;
    heap_recover(&lab->heap, collect_and_meet_the_limit, lab);
}

static void test_recovery_does_not_nest(void **state)
{
    struct lab *lab = *state;
    expect_refusal(lab, "local t = {} while true do t = {t} end");
    heap_recover(&lab->heap, collect_and_meet_the_limit, lab);
    assert_true(lab->heap.full);
    assert_true(lab->heap.not_before_ms < UINT64_MAX);
}

/* Of the system's, not of the limit: each allocation of a small script is once the one that fails.
 */
static void test_each_allocation_that_fails(void **state)
{
    struct lab *lab = *state;
    static const char code[] =
        "local t = {}\n"
        "for i = 1, 40 do t[i] = {('x'):rep(i), i = function() return t end} end\n"
        "local f = coroutine.wrap(function(...) coroutine.yield(...) end)\n"
        "f(unpack(t))\n"
        "t = table.concat({'a', 'b'}) .. tostring(t)\n"
        "t = t:gsub('.', function(c) return c:upper() .. c end)\n"
        "assert(loadstring('return {...}'))(t, t)\n"
        "local ok, err = pcall(error, {t})\n"
        "newproxy(true)";
    int failed = 0;
    do {
        assert_int_equal(luaL_dostring(lab->L, "collectgarbage()"), 0);
        assert_true(failed < 10000);
        assert_int_equal(luaL_loadstring(lab->L, code), 0);
        lab->below.fail_in = ++failed;
        int status = lua_pcall(lab->L, 0, 0, 0);
        assert_true(status == 0 || lab->below.fail_in == 0);
        lua_settop(lab->L, 0);
        assert_true(lab->heap.used == lab->below.used);
    } while (lab->below.fail_in == 0);
    lab->below.fail_in = 0;
    assert_true(failed > 100);
}

/* No closures with upvalues: those that are refused memory half-way, LuaJIT frees as smaller ones.
 * What is called where the frames of seven callers, the coroutine's own included, lie below. */
static const char *const makers[] = {
    "s:sub(2, 30)",
    "s:upper()",
    "s:lower()",
    "s:reverse()",
    "string.char(65, 66, N % 99)",
    "tostring(N + 0.25)",
    "for i = 1, 300 do tostring(i + 0.5) end",
    "local x = s .. N",
    "local x = {s, N, a = {s}}",
    "s:rep(10)",
    "s:format(N)",
    "s:gsub('.', string.upper)",
    "s:gsub('.', function(c) return c .. c:upper() end)",
    "table.concat({s, N, s})",
    "table.sort({3, 1, 2}, function(a, b) return tostring(a + 0.5) < tostring(b + 0.5) end)",
    "coroutine.wrap(function(s, ...) return s:sub(3) .. select('#', ...) end)(s, N)",
    "function F(n, s) return n > 0 and 1 + F(n - 1, s) or s:sub(n) end pcall(F, 200, s)",
    "setmetatable({}, {__index = function(_, k) return k:upper() end}):x()",
    "xpcall(error, function(e) return e:upper() .. e:sub(2, 3) end, 'failed')",
    "loadstring('return ' .. N, s:upper())()",
    "local x = 1ULL + N x = tostring(x)",
    "collectgarbage('step', 10)",
};

static int arm(lua_State *L)
{
    struct below *below = lua_touserdata(L, lua_upvalueindex(1));
    below->fail_in = (int)lua_tointeger(L, 1);
    return 0;
}

static const char seven_deep[] = "local code, s = ..., ('z'):rep(50)\n"
                                 "local f = assert(loadstring('local s, N = ... ' .. code))\n"
                                 "local function deep(n, N)\n"
                                 "    local a, b, c, d, e, g\n"
                                 "    if n > 0 then return (deep(n - 1, N)) .. 'x' end\n"
                                 "    f(s, N)\n"
                                 "    arm(0)\n"
                                 "    return ''\n"
                                 "end\n"
                                 "return function(N) arm(N) return 'kept' .. deep(6, N) end";

static int count(const char *text, const char *of)
{
    int found = 0;
    while ((text = strstr(text, of))) {
        found++;
        text++;
    }
    return found;
}

/* The error, if there is one, and what lies below it are whole. */
static void expect_whole(lua_State *L, lua_State *co, int status)
{
    if (status == 0) {
        assert_string_equal(lua_tostring(co, -1), "keptxxxxxx");
        return;
    }
    assert_non_null(lua_tostring(co, -1));
    lua_gc(L, LUA_GCCOLLECT, 0);
    luaL_traceback(L, co, NULL, 0);
    assert_int_equal(count(lua_tostring(L, -1), "in function 'deep'"), 7);
    lua_pop(L, 1);
}

/* The first `most` allocations of a call, one after another. */
static void starve(struct lab *lab, const char *code, int most)
{
    lua_State *L = lab->L;
    assert_int_equal(luaL_loadstring(L, seven_deep), 0);
    lua_pushstring(L, code);
    assert_int_equal(lua_pcall(L, 1, 1, 0), 0);
    for (int n = 1; n < most; n++) {
        lua_State *co = lua_newthread(L);
        assert_true(lua_checkstack(co, 400)); /* the seven shall be there */
        lua_pushvalue(L, -2);
        lua_xmove(L, co, 1);
        lua_pushinteger(co, n);
        int status = lua_resume(co, 1);
        lab->below.fail_in = 0;
        expect_whole(L, co, status);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void test_what_lies_below_a_refusal_is_whole(void **state)
{
    struct lab *lab = *state;
    lua_pushlightuserdata(lab->L, &lab->below);
    lua_pushcclosure(lab->L, arm, 1);
    lua_setglobal(lab->L, "arm");
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)
        starve(lab, makers[i], 100);
}

/* "done value", with the line and the name in the text of an error. */
static const char *outcome(lua_State *L, const char *call)
{
    lua_pushfstring(L,
                    "local done, value = pcall(function()\n local x = %s\n return x end)\n"
                    "return string.format('%%s %%q', done, value)",
                    call);
    assert_int_equal(luaL_loadbuffer(L, lua_tostring(L, -1), lua_strlen(L, -1), "=test"), 0);
    assert_int_equal(lua_pcall(L, 0, 1, 0), 0);
    return lua_tostring(L, -1);
}

static void test_fast_functions_are_as_they_were(void **state)
{
    static const char *const calls[] = {
        "('abc'):sub(2)",
        "('abc'):sub(-2, -2)",
        "string.sub(12, 2)",
        "string.sub('abc', '2', '3')",
        "('abc'):sub(2, nil)",
        "('abc'):sub()",
        "('abc'):sub(1, {})",
        "string.sub()",
        "('a\\0B'):upper()",
        "string.upper(nil)",
        "('aB'):lower()",
        "string.lower({})",
        "('ab'):reverse()",
        "string.reverse()",
        "string.char()",
        "string.char(0, 255, '65', 66.5)",
        "string.char(1, 256)",
        "string.char('x')",
        "tostring(nil)",
        "tostring(0.5)",
        "tostring('x', 1)",
        "tostring(setmetatable({}, {__tostring = function() return 'x' end}))",
        "tostring(setmetatable({}, {__tostring = function() error('y') end}))",
        "tostring()",
    };
    struct lab *lab = *state;
    lua_State *plain = luaL_newstate();
    assert_non_null(plain);
    luaL_openlibs(plain);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        assert_string_equal(outcome(lab->L, calls[i]), outcome(plain, calls[i]));
    lua_close(plain);
}

int main(void)
{
#define IN_LAB(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        IN_LAB(test_a_script_is_refused_what_goes_beyond),
        IN_LAB(test_the_engine_is_not),
        IN_LAB(test_a_replacing_script_has_a_quarter_more),
        IN_LAB(test_what_was_lent_is_collected),
        IN_LAB(test_collection_is_hurried),
        IN_LAB(test_a_script_that_has_stopped_the_collector_is_left_alone),
        IN_LAB(test_recovery_takes_its_rest),
        IN_LAB(test_recovery_does_not_nest),
        IN_LAB(test_each_allocation_that_fails),
        IN_LAB(test_what_lies_below_a_refusal_is_whole),
        IN_LAB(test_fast_functions_are_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
