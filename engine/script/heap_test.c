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

int main(void)
{
#define IN_LAB(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        IN_LAB(test_a_script_is_refused_what_goes_beyond),
        IN_LAB(test_the_engine_is_not),
        IN_LAB(test_a_replacing_script_has_a_quarter_more),
        IN_LAB(test_collection_is_hurried),
        IN_LAB(test_a_script_that_has_stopped_the_collector_is_left_alone),
        IN_LAB(test_recovery_takes_its_rest),
        IN_LAB(test_recovery_does_not_nest),
        IN_LAB(test_each_allocation_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
