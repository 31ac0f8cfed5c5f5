#include "script/json.h"
#include "script/lua_modules.h"

#include <lauxlib.h>
#include <locale.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char prelude[] =
    "J, D = mix.json_encode, mix.json_decode\n"
    "function same(a, b)\n"
    "  if type(a) ~= 'table' or type(b) ~= 'table' then return a == b end\n"
    "  for k, v in pairs(a) do if not same(v, b[k]) then return false end end\n"
    "  for k in pairs(b) do if a[k] == nil then return false end end\n"
    "  return true\n"
    "end\n"
    "function gives(text, want)\n"
    "  local value, err = D(text)\n"
    "  assert(err == nil, err)\n"
    "  assert(same(value, want), text)\n"
    "end\n"
    "function fails(text, want)\n"
    "  local value, err = D(text)\n"
    "  assert(value == nil and err == 'JSON: ' .. want, tostring(err))\n"
    "end\n"
    "function writes(value, want)\n"
    "  local text, err = J(value)\n"
    "  assert(text == want, tostring(text or err))\n"
    "end\n"
    "function refuses(value, want)\n"
    "  local text, err = J(value)\n"
    "  assert(text == nil and err:find(want, 1, true), tostring(err))\n"
    "end\n";

static void run(lua_State *L, const char *code)
{
    if (luaL_dostring(L, code))
        fail_msg("%s", lua_tostring(L, -1));
    lua_settop(L, 0);
}

static int setup(void **state)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_newtable(L);
    lua_json_open(L);
    assert_int_equal(lua_gettop(L), 1);
    lua_setglobal(L, "mix");
    run(L, prelude);
    *state = L;
    return 0;
}

static int teardown(void **state)
{
    lua_close(*state);
    return 0;
}

static void decodes_values(void **state)
{
    run(*state,
        "gives('{\"op\":\"auth\",\"args\":[\"n\",\"p\"]}', {op = 'auth', args = {'n', 'p'}})\n"
        "gives(' \\t\\r\\n[ 1 , true , false , \"x\" ] ', {1, true, false, 'x'})\n"
        "gives('{}', {}) gives('[]', {}) gives('[ ]', {}) gives('{ }', {})\n"
        "gives('\"\"', '') gives('true', true) gives('false', false)\n"
        "gives('null', nil)\n"
        "gives('[[[]],{\"a\":{}}]', {{{}}, {a = {}}})");
}

static void nulls_and_repeated_keys(void **state)
{
    run(*state, "gives('[1,null,3]', {1, nil, 3})\n"
                "gives('{\"a\":null,\"b\":1}', {b = 1})\n"
                "gives('{\"a\":1,\"a\":2}', {a = 2})\n"
                "gives('{\"a\":1,\"a\":null}', {})");
}

static void decodes_numbers(void **state)
{
    run(*state,
        "gives('0', 0) gives('-0', 0) gives('-7', -7) gives('1.5', 1.5) gives('2E3', 2000)\n"
        "gives('1e-2', 0.01) gives('-1.25e+2', -125) gives('0.1', 0.1)\n"
        "gives('9007199254740992', 2^53) gives('-9007199254740992', -2^53)\n"
        "gives('9007199254740993', '9007199254740993')\n"
        "gives('-9007199254740993', '-9007199254740993')\n"
        "gives('1234567890123456789012345678901', '1234567890123456789012345678901')\n"
        "gives('0.' .. ('0'):rep(99) .. '1', 1e-100)\n"
        "gives('1e-999', 0)\n"
        "for _, text in ipairs{'1e309', '-1e999'} do\n"
        "  fails(text, 'the number is too large, at byte 1')\n"
        "end");
}

static void decodes_strings(void **state)
{
    run(*state,
        "gives([[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]], '\"\\\\/\\b\\f\\n\\r\\t')\n"
        "gives([[\"\\u0041\\u00e9\\u4e2d\\ud83d\\ude00\"]], "
        "'A\\195\\169\\228\\184\\173\\240\\159\\152\\128')\n"
        "gives([[\"a\\u0000b\"]], 'a\\0b')\n"
        "gives([[{\"\\u0000\":1}]], {['\\0'] = 1})\n"
        "gives([[\"\\ud800\"]], '\\239\\191\\189')\n"
        "gives([[\"\\udc00x\"]], '\\239\\191\\189x')\n"
        "gives([[\"\\ud800\\u0041\"]], '\\239\\191\\189A')\n"
        "gives([[\"\\uD83D\\uDE00\"]], '\\240\\159\\152\\128')\n"
        "gives([[\"\\ud800\\udc00\\udbff\\udfff\"]], '\\240\\144\\128\\128\\244\\143\\191\\191')\n"
        "gives('\"\\127 \\228\\189\\160\\229\\165\\189, mixed\"', '\\127 "
        "\\228\\189\\160\\229\\165\\189, mixed')\n"
        "local long = ('x'):rep(5000)\n"
        "gives('\"' .. long .. '\"', long)\n"
        "gives('\"' .. long .. [[\\n\"]], long .. '\\n')");
}

/* Every place in an eight-byte step of the scanner. */
static void finds_specials_at_each_offset(void **state)
{
    run(*state,
        "for n = 0, 40 do\n"
        "  local run = ('a'):rep(n)\n"
        "  gives('\"' .. run .. [[\\n]] .. run .. '\"', run .. '\\n' .. run)\n"
        "  gives('\"' .. run .. '\\195\\169' .. run .. '\"', run .. '\\195\\169' .. run)\n"
        "  fails('\"' .. run .. '\\1\"', 'a control character in a string, at byte ' .. n + 2)\n"
        "  fails('\"' .. run .. '\\31xxxxxxxx\"', 'a control character in a string, at byte ' .. n "
        "+ 2)\n"
        "  fails('\"' .. run .. '\\255xxxxxxxx\"', 'not UTF-8, at byte ' .. n + 2)\n"
        "  fails('\"' .. run, 'the string does not end, at byte ' .. n + 2)\n"
        "  writes(run .. '\"' .. run, '\"' .. run .. [[\\\"]] .. run .. '\"')\n"
        "  writes(run .. '\\1' .. run, '\"' .. run .. [[\\u0001]] .. run .. '\"')\n"
        "end");
}

static void refuses_what_is_not_json(void **state)
{
    run(*state, "fails('', 'the text ends too soon, at byte 1')\n"
                "fails('  ', 'the text ends too soon, at byte 3')\n"
                "fails('[1,]', 'a value is expected, at byte 4')\n"
                "fails('[1 2]', 'a comma or ] is expected, at byte 4')\n"
                "fails('[1', 'a comma or ] is expected, at byte 3')\n"
                "fails('{\"a\":1,}', 'a key in quotes is expected, at byte 8')\n"
                "fails('{a:1}', 'a key in quotes is expected, at byte 2')\n"
                "fails('{\"a\" 1}', 'a colon is expected, at byte 6')\n"
                "fails('{\"a\":1 \"b\"}', 'a comma or } is expected, at byte 8')\n"
                "fails('1 2', 'something follows the value, at byte 3')\n"
                "fails('01', 'something follows the value, at byte 2')\n"
                "fails('1.', 'a digit is expected, at byte 3')\n"
                "fails('1e+', 'a digit is expected, at byte 4')\n"
                "fails([[\"\\x\"]], 'not an escape, at byte 2')\n"
                "fails([[\"\\u12g4\"]], 'not an escape, at byte 2')\n"
                "fails([[\"\\u123\"]], 'not an escape, at byte 2')\n"
                "fails('\"\\237\\160\\128\"', 'not UTF-8, at byte 2')\n"
                "fails('[\"\\192\\175\"]', 'not UTF-8, at byte 3')\n"
                "fails('1\\0', 'something follows the value, at byte 2')\n"
                "for _, text in ipairs{'tru', 'nul', 'TRUE', 'NaN', 'Infinity', '-', '+1', '.5', "
                "'0x1', \"'a'\",\n"
                "                      '/**/1', '-Infinity', '\\239\\187\\1911'} do\n"
                "  assert(select(2, D(text)), text)\n"
                "end");
}

static void bounds_depth(void **state)
{
    run(*state, "local function nest(n) return ('['):rep(n) .. (']'):rep(n) end\n"
                "assert(D(nest(128)))\n"
                "fails(nest(129), 'nested too deeply, at byte 129')\n"
                "fails(('{\"a\":'):rep(100000), 'nested too deeply, at byte 641')\n"
                "local text = nest(128)\n"
                "writes(D(text), text)\n"
                "refuses({D(text)}, 'nested too deeply')\n"
                "local t = {} t.t = t refuses(t, 'a table that holds itself')");
}

static void encodes_tables(void **state)
{
    run(*state, "writes({}, '[]') writes({{}}, '[[]]') writes({1, 2, 3}, '[1,2,3]')\n"
                "writes({a = {}}, '{\"a\":[]}')\n"
                "writes({a = {b = 'c'}}, '{\"a\":{\"b\":\"c\"}}')\n"
                "writes({1, nil, 3}, '[1,null,3]')\n"
                "writes({[10] = 'x'}, '[null,null,null,null,null,null,null,null,null,\"x\"]')\n"
                "writes({[11] = 'x'}, '{\"11\":\"x\"}')\n"
                "writes({[0] = 'x'}, '{\"0\":\"x\"}') writes({[-1] = 'x'}, '{\"-1\":\"x\"}')\n"
                "writes({[1.5] = 'x'}, '{\"1.5\":\"x\"}') writes({[2^53] = 1}, "
                "'{\"9007199254740992\":1}')\n"
                "local text = J({1, a = 2})\n"
                "assert(text == '{\"1\":1,\"a\":2}' or text == '{\"a\":2,\"1\":1}', text)\n"
                "local big = {} for i = 1, 1000 do big[i] = i end\n"
                "assert(same(D(J(big)), big))");
}

static void encodes_scalars(void **state)
{
    run(*state,
        "writes(nil, 'null') writes(true, 'true') writes(false, 'false')\n"
        "writes(0, '0') writes(-0.0, '0') writes(-5, '-5') writes(1e14, '100000000000000')\n"
        "writes(2^53, '9007199254740992') writes(-2^53, '-9007199254740992')\n"
        "writes(0.1, '0.1') writes(1/3, '0.3333333333333333') writes(1e300, '1e+300')\n"
        "writes(0.1 + 0.2, '0.30000000000000004') writes(5e-324, '4.94065645841247e-324')\n"
        "writes('a/\\127\\n\\0\\31', '\"a/\\127' .. [[\\n\\u0000\\u001f\"]])\n"
        "writes('\"\\\\\\b\\f\\r\\t', [[\"\\\"\\\\\\b\\f\\r\\t\"]])\n"
        "writes(require('cjson').null, 'null')");
}

static void encodes_bad_utf8_as_replacement(void **state)
{
    run(*state, "local r = '\\239\\191\\189'\n"
                "writes('a\\255b', '\"a' .. r .. 'b\"')\n"
                "writes('\\228\\189', '\"' .. r .. '\"')\n"
                "writes('\\228\\189\\160\\228\\189', '\"\\228\\189\\160' .. r .. '\"')\n"
                "writes('\\237\\160\\128', '\"' .. r .. r .. r .. '\"')\n"
                "writes('\\192\\175\\n', '\"' .. r .. r .. [[\\n\"]])\n"
                "writes({['\\255'] = 1}, '{\"' .. r .. '\":1}')");
}

static void refuses_to_encode(void **state)
{
    run(*state, "refuses(print, 'a function, coroutine or object is not JSON')\n"
                "refuses({coroutine.create(print)}, 'is not JSON')\n"
                "refuses(io.stdout, 'is not JSON')\n"
                "refuses(0/0, 'NaN and infinity') refuses({math.huge}, 'NaN and infinity')\n"
                "refuses({[math.huge] = 1}, 'NaN and infinity')\n"
                "refuses({[true] = 1}, 'a key is neither')\n"
                "refuses({a = 1, [{}] = 1}, 'a key is neither')\n"
                "assert(select(2, J()) == 'json_encode: a value is expected')\n"
                "for _, value in ipairs{5, true, {}, print} do\n"
                "  local v, err = D(value)\n"
                "  assert(v == nil and err:find('a string is expected', 1, true))\n"
                "end\n"
                "assert(select(2, D()) == 'json_decode: a string is expected, got no value')");
}

/* Thirty tables, each holding the one before it twice, are a text of gigabytes. */
static void bounds_size(void **state)
{
    run(*state, "local numbers = {} for i = 1, 4096 do numbers[i] = 2^53 end\n"
                "for _, t in ipairs{{('x'):rep(4096)}, numbers} do\n"
                "  for i = 1, 30 do t = {t, t} end\n"
                "  refuses(t, 'too long')\n"
                "end");
}

static void calls_no_metamethod(void **state)
{
    run(*state, "local no = function() error('called') end\n"
                "local t = setmetatable({a = 1}, {__index = no, __newindex = no, __len = no, "
                "__pairs = no,\n"
                "                                 __tostring = no, __eq = no})\n"
                "writes(t, '{\"a\":1}')");
}

static void ignores_the_locale(void **state)
{
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8"))
        skip();
    run(*state, "gives('1.5', 1.5) writes(1.5, '1.5')");
    setlocale(LC_NUMERIC, "C");
}

static void encode_appends_and_leaves_the_stack(void **state)
{
    lua_State *L = *state;
    struct buf out = {0};
    const char *why = NULL;
    buf_append_str(&out, "x:");
    run(L, "value = {1, {a = 'b'}} bad = {1, {a = print}}");
    lua_getglobal(L, "value");
    lua_getglobal(L, "bad");
    assert_true(json_encode(L, -2, &out, &why));
    assert_int_equal(lua_gettop(L), 2);
    assert_int_equal(out.len, 15);
    assert_memory_equal(out.data, "x:[1,{\"a\":\"b\"}]", 15);
    assert_false(json_encode(L, 2, &out, &why));
    assert_non_null(why);
    assert_int_equal(out.len, 15);
    assert_int_equal(lua_gettop(L), 2);
    buf_free(&out);
}

/* The end is where the length says, in the middle of anything. */
static void decode_reads_no_further_than_len(void **state)
{
    lua_State *L = *state;
    static const char text[] = "[1,\"a\\u0041\",true,2.5e3]999";
    lua_pushnumber(L, 7);
    for (size_t len = 0; len < 24; len++) {
        assert_false(json_decode(L, text, len));
        assert_int_equal(lua_gettop(L), 2);
        assert_int_equal(lua_type(L, 2), LUA_TSTRING);
        lua_pop(L, 1);
    }
    assert_true(json_decode(L, text, 24));
    assert_int_equal(lua_gettop(L), 2);
    assert_true(json_decode(L, "12345", 3));
    assert_true(lua_tonumber(L, -1) == 123);
}

static void tells_containers(void **state)
{
    static const struct {
        const char *text;
        bool is;
    } cases[] = {
        {"{}", true},
        {"[]", true},
        {" \n{\"a\":[1,2.5,null]} ", true},
        {"", false},
        {"1", false},
        {"\"{}\"", false},
        {"null", false},
        {"{", false},
        {"{}x", false},
        {"[1,]", false},
        {"[1e999]", false},
        {"[\"\\ud83d\\ude00\"]", true},
        {"[\"\\ud83d\"]", false},
        {"[\"\\udc00\"]", false},
        {"[\"\xff\"]", false},
        {"[\"\\q\"]", false},
        {"[99999999999999999999]", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (json_is_container(cases[i].text, strlen(cases[i].text)) != cases[i].is)
            fail_msg("%s", cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(decodes_values, setup, teardown),
        cmocka_unit_test_setup_teardown(nulls_and_repeated_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(decodes_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(decodes_strings, setup, teardown),
        cmocka_unit_test_setup_teardown(finds_specials_at_each_offset, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_what_is_not_json, setup, teardown),
        cmocka_unit_test_setup_teardown(bounds_depth, setup, teardown),
        cmocka_unit_test_setup_teardown(encodes_tables, setup, teardown),
        cmocka_unit_test_setup_teardown(encodes_scalars, setup, teardown),
        cmocka_unit_test_setup_teardown(encodes_bad_utf8_as_replacement, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_to_encode, setup, teardown),
        cmocka_unit_test_setup_teardown(bounds_size, setup, teardown),
        cmocka_unit_test_setup_teardown(calls_no_metamethod, setup, teardown),
        cmocka_unit_test_setup_teardown(ignores_the_locale, setup, teardown),
        cmocka_unit_test_setup_teardown(encode_appends_and_leaves_the_stack, setup, teardown),
        cmocka_unit_test_setup_teardown(decode_reads_no_further_than_len, setup, teardown),
        cmocka_unit_test(tells_containers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
