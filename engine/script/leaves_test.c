/* The functions of `mix` that need nothing but a state, and the Lua modules over them. */
#include "script/lua_modules.h"

#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char prelude[] =
    "package.path = ROOT .. 'lua/?.lua'\n"
    "function same(a, b)\n"
    "  if type(a) ~= 'table' or type(b) ~= 'table' then\n"
    "    return a == b or (a ~= a and b ~= b)\n" /* two NaNs */
    "  end\n"
    "  for k, v in pairs(a) do if not same(v, b[k]) then return false end end\n"
    "  for k in pairs(b) do if a[k] == nil then return false end end\n"
    "  return true\n"
    "end\n"
    "function is(got, want, err)\n"
    "  if not same(got, want) then\n"
    "    error(tostring(got) .. ' is not ' .. tostring(want) .. ' ' .. tostring(err), 2)\n"
    "  end\n"
    "end\n"
    "function fails(want, value, err)\n"
    "  if value ~= nil or type(err) ~= 'string' or not err:find(want, 1, true) then\n"
    "    error(tostring(value) .. ' ' .. tostring(err), 2)\n"
    "  end\n"
    "end\n"
    "function raises(want, ...)\n"
    "  local done, err = pcall(...)\n"
    "  if done or not tostring(err):find(want, 1, true) then error(tostring(err), 2) end\n"
    "end\n"
    "function unhex(text)\n"
    "  return (text:gsub('..', function(h) return string.char(tonumber(h, 16)) end))\n"
    "end\n";

static void run(lua_State *L, const char *code)
{
    if (luaL_dostring(L, code))
        fail_msg("%s", lua_tostring(L, -1));
    lua_settop(L, 0);
}

/* The source tree as seen from this file. */
static void set_root(lua_State *L)
{
    static const char here[] = "engine/script/leaves_test.c";
    size_t len = strlen(__FILE__);
    assert_true(len >= sizeof here - 1);
    lua_pushlstring(L, __FILE__, len - (sizeof here - 1));
    lua_setglobal(L, "ROOT");
}

static int setup(void **state)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_newtable(L);
    lua_json_open(L);
    lua_text_open(L);
    lua_php_open(L);
    lua_url_open(L);
    assert_int_equal(lua_gettop(L), 1);
    lua_setglobal(L, "mix");
    set_root(L);
    run(L, prelude);
    *state = L;
    return 0;
}

static int teardown(void **state)
{
    lua_close(*state);
    return 0;
}

static void splits(void **state)
{
    run(*state,
        "local s = mix.str_split\n"
        "is(s('@user', '@'), {'', 'user'}) is(s('', '@'), {''})\n"
        "is(s('a,b,,c,', ','), {'a', 'b', '', 'c', ''}) is(s('abc', 'x'), {'abc'})\n"
        "is(s('a\\r\\n\\r\\nb', '\\r\\n\\r\\n'), {'a', 'b'}) is(s('aaa', 'aa'), {'', 'a'})\n"
        "is(s('a.b', '.'), {'a', 'b'}) is(s('a\\0b\\0', '\\0'), {'a', 'b', ''})\n"
        "is(s('abc', ''), {'abc'}) is(s(1.5, '.'), {'1', '5'})\n"
        "raises('string expected', s, {}, ',') raises('string expected', s, 'a')");
}

static void makes_bytes(void **state)
{
    run(*state, "local b = mix.bytes_tostring\n"
                "is(b({65, 66, 0, 255}), 'AB\\0\\255') is(b({}), '') is(b({'67'}), 'C')\n"
                "for _, bad in ipairs{256, -1, 1.5, 'x', true, 1e300, 0/0} do\n"
                "  raises('element 2 is not a byte', b, {1, bad})\n"
                "end\n"
                "raises('table expected', b, 'A')");
}

static void codes_base64(void **state)
{
    run(*state, "local e, d = mix.base64_encode, mix.base64_decode\n"
                "for text, code in pairs{[''] = '', f = 'Zg==', fo = 'Zm8=', foo = 'Zm9v', foob = "
                "'Zm9vYg==',\n"
                "                        ['\\0\\255\\254'] = 'AP/+'} do\n"
                "  is(e(text), code) is(d(code), text)\n"
                "end\n"
                "local all = {} for i = 0, 255 do all[#all + 1] = string.char(i) end all = "
                "table.concat(all)\n"
                "for i = 0, 256 do is(d(e(all:sub(1, i))), all:sub(1, i)) end\n"
                "for _, bad in ipairs{'Z', 'Zg', 'Zg=', '====', 'Z===', 'Zm9v\\n', ' Zg=', "
                "'Zg==Zm9v', 'Zm9vZg=',\n"
                "                     'Z=8=', 'Zm-v', 'Zm9v    ', '\\nZg='} do\n"
                "  fails('base64: ', d(bad))\n"
                "end\n"
                "raises('string expected', e) raises('string expected', d, {})");
}

static void digests(void **state)
{
    run(*state, "is(mix.md5(''), 'd41d8cd98f00b204e9800998ecf8427e')\n"
                "is(mix.md5('abc'), '900150983cd24fb0d6963f7d28e17f72')\n"
                "is(mix.sha1(''), 'da39a3ee5e6b4b0d3255bfef95601890afd80709')\n"
                "is(mix.sha1('abc'), 'a9993e364706816aba3e25717850c26c9cd0d89d')\n"
                "is(mix.md5_bin('abc'), unhex(mix.md5('abc'))) is(mix.sha1_bin('abc'), "
                "unhex(mix.sha1('abc')))\n"
                "is(mix.base64_encode(mix.sha1_bin('dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-"
                "95CA-C5AB0DC85B11')),\n"
                "   's3pPLMBiTxaQ9kYGzzhZRbK+xOo=')\n"
                "for _, name in ipairs{'md5', 'md5_bin', 'sha1', 'sha1_bin'} do\n"
                "  raises('string expected', mix[name], {})\n"
                "end");
}

/* Rows are described in test/php_pack_table.php, which made them. */
static const char php_table[] =
    "local specials = {inf = math.huge, ['-inf'] = -math.huge, nan = 0/0}\n"
    "local function integer(text)\n"
    "  local n = tonumber(text)\n"
    "  return ('%.0f'):format(n) == text and math.abs(n) <= 2^53 and n or text\n"
    "end\n"
    "local function value(cell)\n"
    "  local kind, rest = cell:match('^(.):(.*)$')\n"
    "  if kind == 'i' then return integer(rest) end\n"
    "  if kind == 'd' then return specials[rest] or tonumber(rest) end\n"
    "  if kind == 's' then return unhex(rest) end\n"
    "  return kind == 'b' and rest == '1' or nil\n"
    "end\n"
    "local function arguments(cells)\n"
    "  local list, n = {}, 0\n"
    "  for cell in cells:gmatch('%S+') do\n"
    "    n = n + 1\n"
    "    list[n] = value(cell)\n"
    "    if cell == 'b:0' then list[n] = false end\n"
    "  end\n"
    "  return unpack(list, 1, n)\n"
    "end\n"
    "local function pairs_of(cells)\n"
    "  local list = {}\n"
    "  for key, cell in cells:gmatch('(%S+)=(%S+)') do list[value(key)] = value(cell) end\n"
    "  return list\n"
    "end\n"
    "local rows = 0\n"
    "for line in io.lines(ROOT .. 'test/php_pack_table.txt') do\n"
    "  local name, format, input, result = line:match('^(%w+)\\t(%x*)\\t([^\\t]*)\\t(.*)$')\n"
    "  local got, err, want\n"
    "  if name == 'pack' then\n"
    "    got, err = mix.php_pack(unhex(format), arguments(input))\n"
    "    want = value(result)\n"
    "  else\n"
    "    got, err = mix.php_unpack(unhex(format), unhex(input))\n"
    "    want = pairs_of(result)\n"
    "  end\n"
    "  local wrong = result:match('^e:(.*)$')\n"
    "  if wrong then got, want = err, wrong end\n"
    "  if not same(got, want) then error(line .. ' <- ' .. tostring(got) .. ' ' .. tostring(err)) "
    "end\n"
    "  rows = rows + 1\n"
    "end\n"
    "assert(rows > 1000, rows)";

static void packs_as_php_does(void **state)
{
    run(*state, php_table);
}

/* Where PHP's integers end: the upper half of 64 bits, and text for what a double cannot hold. */
static void packs_beyond_php(void **state)
{
    run(*state,
        "for _, code in ipairs{'Q', 'J', 'P', 'q'} do\n"
        "  is(mix.php_pack(code, '18446744073709551615'), ('\\255'):rep(8))\n"
        "  is(mix.php_pack(code, '18446744073709551616'), mix.php_pack(code, "
        "'9223372036854775807'))\n"
        "  for _, n in ipairs{'9007199254740993', '-9007199254740993', '9223372036854775807', "
        "2^53, -2^53} do\n"
        "    is(mix.php_unpack(code, mix.php_pack(code, n))[1], n)\n"
        "  end\n"
        "end\n"
        "is(mix.php_pack('N', '258'), '\\0\\0\\1\\2')\n"
        "fails('Type N: a number or a string is expected, got table', mix.php_pack('N', {}))\n"
        "fails('Type a: a number or a string is expected, got function', mix.php_pack('a', "
        "print))\n"
        "fails('integer overflow', mix.php_pack('x2147483647'))\n"
        "fails('integer overflow', mix.php_pack('x99999999999'))\n"
        "fails('integer overflow', mix.php_pack(('x60000000'):rep(3)))\n"
        "raises('string expected', mix.php_pack) raises('string expected', mix.php_unpack, 'N')\n"
        "local body = mix.php_unpack('Nlen/a*body', '\\0\\0\\0\\5hello')\n"
        "is(body, {len = 5, body = 'hello'})\n"
        "is(mix.php_unpack('C2chars', 'AB'), {chars1 = 65, chars2 = 66})\n"
        "is(mix.php_unpack('C2', 'AB'), {65, 66})");
}

/* What Go's net/url gives: url, then the parts that are not empty. */
static const char go_urls[] =
    "local cases = {\n"
    "  {'', {}},\n"
    "  {'*', {path = '*'}},\n"
    "  {'http://u:p@host:80/a/b?x=1&y=2&x=3#frag',\n"
    "   {scheme = 'http', user = 'u:p', host = 'host:80', path = '/a/b', raw_query = "
    "'x=1&y=2&x=3',\n"
    "    fragment = 'frag', query = {x = {'1', '3'}, y = '2'}}},\n"
    "  {'HTTP://Host/X', {scheme = 'http', host = 'Host', path = '/X'}},\n"
    "  {'/chat?x=1', {path = '/chat', raw_query = 'x=1', query = {x = '1'}}},\n"
    "  {'a=1&b=2', {path = 'a=1&b=2'}},\n"
    "  {'a?', {path = 'a', force_query = true}},\n"
    "  {'a\\63?', {path = 'a', raw_query = '?', query = {['?'] = ''}}},\n"
    "  {'mailto:a@b.c?x=y', {scheme = 'mailto', opaque = 'a@b.c', raw_query = 'x=y', query = {x = "
    "'y'}}},\n"
    "  {'//host/p', {host = 'host', path = '/p'}}, {'///p', {path = '///p'}},\n"
    "  {'file:///etc/x', {scheme = 'file', path = '/etc/x'}},\n"
    "  {'/a%20b%2Fc', {path = '/a b/c', raw_path = '/a%20b%2Fc'}},\n"
    "  {'/a%20b', {path = '/a b'}}, {'/a!b', {path = '/a!b', raw_path = '/a!b'}},\n"
    "  {'ws://[::1]:80/p', {scheme = 'ws', host = '[::1]:80', path = '/p'}},\n"
    "  {'ws://[fe80::1%25en0]:8', {scheme = 'ws', host = '[fe80::1%en0]:8'}},\n"
    "  {'http://u%40:p%3a@h', {scheme = 'http', user = 'u%40:p%3A', host = 'h'}},\n"
    "  {'http://u:@h', {scheme = 'http', user = 'u:', host = 'h'}},\n"
    "  {'http://h%e4', {scheme = 'http', host = 'h\\228'}},\n"
    "  {'/?a+b=c+d&=e&f', {path = '/', raw_query = 'a+b=c+d&=e&f', query = {['a b'] = 'c d', [''] "
    "= 'e', f = ''}}},\n"
    "  {'/?a=%zz&b=1&c;d=2', {path = '/', raw_query = 'a=%zz&b=1&c;d=2', query = {b = '1'}}},\n"
    "  {'/?a=1&a=2&a=3', {path = '/', raw_query = 'a=1&a=2&a=3', query = {a = {'1', '2', '3'}}}},\n"
    "  {'/x#a!b%20c', {path = '/x', fragment = 'a!b c'}},\n"
    "  {'/x#a%21', {path = '/x', fragment = 'a!', raw_fragment = 'a%21'}},\n"
    "}\n"
    "for _, case in ipairs(cases) do\n"
    "  local want = {force_query = false, query = {}}\n"
    "  for _, key in ipairs{'scheme', 'opaque', 'user', 'host', 'path', 'raw_path', 'raw_query', "
    "'fragment',\n"
    "                       'raw_fragment'} do want[key] = '' end\n"
    "  for key, value in pairs(case[2]) do want[key] = value end\n"
    "  local got = assert(mix.parse_url(case[1]))\n"
    "  for key, value in pairs(want) do\n"
    "    if not same(got[key], value) then error(case[1] .. ': ' .. key .. ' ' .. "
    "tostring(got[key])) end\n"
    "  end\n"
    "  assert(same(got, want), case[1])\n"
    "end\n";

static void parses_urls_as_go_does(void **state)
{
    run(*state, go_urls);
    run(*state, "for url, why in pairs{[':x'] = 'missing protocol scheme',\n"
                "  ['a_b:c'] = 'first path segment in URL cannot contain colon',\n"
                "  ['http://h:8x/'] = 'invalid port \":8x\" after host', ['http://[::1/'] = "
                "\"missing ']' in host\",\n"
                "  ['http://[::1]x/'] = 'invalid port \"x\" after host',\n"
                "  ['http://a b/'] = 'invalid character \" \" in host name',\n"
                "  ['http://h%41/'] = 'invalid URL escape \"%41\"', ['/%zz'] = 'invalid URL escape "
                "\"%zz\"',\n"
                "  ['/%'] = 'invalid URL escape \"%\"', ['/#%4'] = 'invalid URL escape \"%4\"',\n"
                "  ['/#%\\nz'] = 'invalid URL escape \"%\\\\x0az\"',\n"
                "  ['http://u|@h'] = 'net/url: invalid userinfo',\n"
                "  ['/a\\nb'] = 'invalid control character in URL', ['/\\127'] = 'invalid control "
                "character'} do\n"
                "  fails(why, mix.parse_url(url))\n"
                "end\n"
                "is(select(2, mix.parse_url('/\\n')), [[parse \"/\\x0a\": net/url: invalid control "
                "character in URL]])\n"
                "is(mix.url_parse('/a').path, '/a') is(mix.parse_str('/a').path, '/a')\n"
                "raises('string expected', mix.parse_url, {})");
}

/* A view of input as protocol_input gets it, which counts the bytes that are copied out of it. */
static const char fake_buf[] =
    "function view(data)\n"
    "  local at, self = 0, {copied = 0}\n"
    "  function self:read(n)\n"
    "    if at + n > #data then return nil end\n"
    "    at = at + n\n"
    "    self.copied = self.copied + n\n"
    "    return data:sub(at - n + 1, at)\n"
    "  end\n"
    "  function self:length() return #data end\n"
    "  function self:position() return at end\n"
    "  function self:tostring() self.copied = self.copied + #data return data end\n"
    "  return self\n"
    "end\n";

static void frames_text(void **state)
{
    run(*state, fake_buf);
    run(*state, "local text = require('protocols/text')\n"
                "local function input(data) return text.input(view(data)) end\n"
                "is(input(''), 0) is(input('abc'), 0) is(input('\\n'), 1) is(input('abc\\n'), 4)\n"
                "is(input('abc\\ndef\\n'), 4) is(input('\\0\\n'), 2)\n"
                "for n = 505, 520 do\n"
                "  is(input(('x'):rep(n) .. '\\n'), n + 1) is(input(('x'):rep(n)), 0)\n"
                "  is(input(('x'):rep(n) .. '\\ny\\n'), n + 1)\n"
                "end\n"
                "is(input(('x'):rep(65534) .. '\\n'), 65535) is(input(('x'):rep(65534)), 0)\n"
                "is(input(('x'):rep(65535)), -1) is(input(('x'):rep(65535) .. '\\n'), -1)\n"
                "is(input(('x'):rep(80000)), -1) is(input('a\\n' .. ('x'):rep(80000)), 2)\n"
                "local many = view(('x\\n'):rep(8000))\n"
                "is(text.input(many), 2) assert(many.copied < 1024)\n"
                "is(text.decode('abc\\n'), 'abc') is(text.decode('\\n'), '') "
                "is(text.decode('a\\r\\n'), 'a\\r')\n"
                "is(text.encode('abc'), 'abc\\n')");
}

static void frames_jsonrpc(void **state)
{
    run(*state, fake_buf);
    run(*state, "local rpc = require('protocols.jsonrpc')\n"
                "is(rpc.input(view('{\"a\":1}\\nx')), 8)\n"
                "is(rpc.decode('{\"method\":\"sum\",\"params\":[1,2],\"id\":7}\\n'),\n"
                "   {method = 'sum', params = {1, 2}, id = 7})\n"
                "for _, bad in ipairs{'', '[]', '1', 'x', 'null', '{\"method\":\"a\"}', "
                "'{\"params\":[]}',\n"
                "                     '{\"method\":1,\"params\":[]}', "
                "'{\"method\":\"a\",\"params\":null}'} do\n"
                "  raises('jsonrpc: ', rpc.decode, bad .. '\\n')\n"
                "end\n"
                "is(rpc.encode('x'), 'x\\n') is(rpc.encode_table({1, 2}), '[1,2]\\n')\n"
                "raises('jsonrpc: json_encode', rpc.encode_table, {print})");
}

static void prints_tables_as_trees(void **state)
{
    run(*state,
        "local out = {}\n"
        "local real = io.stdout\n"
        "io.stdout = {write = function(_, ...) out[#out + 1] = table.concat({...}) end,\n"
        "             flush = function() out.flushed = #out end}\n"
        "require('utils.prettyprint')\n"
        "io.stdout = real\n"
        "local function printed(want, ...)\n"
        "  out = {} print(...)\n"
        "  assert(#out == 1 and out.flushed == 1, #out)\n"
        "  if out[1] ~= want then error(out[1], 2) end\n"
        "end\n"
        "printed('\\n') printed('a\\t1\\tnil\\ttrue\\n', 'a', 1, nil, true)\n"
        "printed('{\\n}\\n', {})\n"
        "printed('{\\n\\t\"1\" = 5\\n\\t\"a\" = \"x\"\\n}\\tend\\n', {5, a = 'x'}, 'end')\n"
        "local inner = {k = true}\n"
        "local tree = '{\\n\\t\"i\" = [' .. tostring(inner) .. ']\\n\\t{\\n\\t\\t\"k\" = "
        "true\\n\\t}\\n'\n"
        "printed(tree .. '}\\n', {i = inner})\n"
        "printed(tree .. '\\t\"j\" = [' .. tostring(inner) .. ']\\n}\\n', {i = inner, j = inner})\n"
        "local loop = {} loop.me = loop\n"
        "printed('{\\n\\t\"me\" = [' .. tostring(loop) .. ']\\n}\\n', loop)\n"
        "local named = setmetatable({}, {__tostring = function() return 'named' end})\n"
        "printed('named\\n', named) printed('{\\n\\t\"n\" = named\\n}\\n', {n = named})\n"
        "local deep = {} for i = 1, 1000 do deep = {deep} end\n"
        "out = {} print(deep) assert(#out[1] < 5000 and select(2, out[1]:gsub('{', '')) == 16)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(splits, setup, teardown),
        cmocka_unit_test_setup_teardown(makes_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(codes_base64, setup, teardown),
        cmocka_unit_test_setup_teardown(digests, setup, teardown),
        cmocka_unit_test_setup_teardown(packs_as_php_does, setup, teardown),
        cmocka_unit_test_setup_teardown(packs_beyond_php, setup, teardown),
        cmocka_unit_test_setup_teardown(parses_urls_as_go_does, setup, teardown),
        cmocka_unit_test_setup_teardown(frames_text, setup, teardown),
        cmocka_unit_test_setup_teardown(frames_jsonrpc, setup, teardown),
        cmocka_unit_test_setup_teardown(prints_tables_as_trees, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
