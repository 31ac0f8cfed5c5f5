<?php
// Writes what PHP's own pack() and unpack() give, for leaves_test to compare with:
//   php test/php_pack_table.php > test/php_pack_table.txt
// A row is "pack", format, arguments, result or "unpack", format, data, result, with tabs between. A
// value is n: (null), b:0 or b:1, i:decimal, d:decimal, s:hex; a result of unpack lists key=value. An
// error is e: and PHP's message.

$warning = null;
set_error_handler(function ($number, $text) use (&$warning) {
    $warning = preg_replace('/^(un)?pack\(\): /', '', $text);
    return true;
});

function value($v): string
{
    return match (true) {
        $v === null => 'n:',
        is_bool($v) => 'b:' . (int)$v,
        is_int($v) => "i:$v",
        is_float($v) => 'd:' . (is_finite($v) ? sprintf('%.17g', $v) : strtolower("$v")),
        default => 's:' . bin2hex($v),
    };
}

function attempt(callable $call): string
{
    global $warning;
    $warning = null;
    try {
        $result = $call();
        return $result === false ? "e:$warning" : $result;
    } catch (ValueError $e) {
        return 'e:' . preg_replace('/^(un)?pack\(\): /', '', $e->getMessage());
    }
}

function row(string ...$cells): void
{
    echo implode("\t", $cells), "\n";
}

function packed(string $format, ...$args): void
{
    $result = attempt(fn() => value(pack($format, ...$args)));
    row('pack', bin2hex($format), implode(' ', array_map('value', $args)), $result);
}

function unpacked(string $format, string $data): void
{
    $result = attempt(function () use ($format, $data) {
        $values = unpack($format, $data);
        if ($values === false)
            return false;
        $pairs = [];
        foreach ($values as $key => $v)
            $pairs[] = value($key) . '=' . value($v);
        return implode(' ', $pairs);
    });
    row('unpack', bin2hex($format), bin2hex($data), $result);
}

$integers = str_split('cCsSnviIlLNVqQJP');
$reals = str_split('fgGdeE');

foreach ($integers as $code) {
    foreach ([0, 1, -1, 127, 128, 255, 256, 65535, 65536, -32769, 2147483647, 2147483648, 4294967295,
              -2147483649, 9007199254740991, 9007199254740992, 9007199254740993, -9007199254740993,
              PHP_INT_MAX, PHP_INT_MIN] as $v)
        packed($code, $v);
    foreach ([1.9, -1.9, 1e10, 1e19, -1e19, 1e300, INF, NAN, true, false, null, '12', '12abc', 'abc', '',
              ' 7', '+5', '-3', '1.5e3', '.5', '5.', '1e2x', '0x1A', '9223372036854775807',
              '-9223372036854775808', '-99999999999999999999'] as $v)
        packed($code, $v);
    packed("{$code}2", 1, 2);
    packed("{$code}*", 1, 2, 3);
    packed("{$code}*");
    packed("{$code}0", 1);
    packed("{$code}3", 1, 2);
}
foreach ($reals as $code) {
    foreach ([0, 1, -1, 1.5, -2.25, 0.1, 3.4e38, 1e300, 1e-300, INF, -INF, '1.5', '2.5x', 'x', '', true,
              null, '.5', '1e2', 16777217] as $v)
        packed($code, $v);
    packed("{$code}2", 1, 2);
    packed("{$code}*", 1.5, 2.5);
    packed($code);
}
foreach (str_split('aAZ') as $code) {
    foreach (['', '0', '1', '2', '3', '5', '*'] as $count) {
        foreach (['', 'a', 'abc', "a\0b", 'a b ', 12, true, null] as $v)
            packed("$code$count", $v);
    }
    packed($code);
}
foreach (str_split('hH') as $code) {
    foreach (['', '0', '1', '2', '3', '4', '5', '9', '*'] as $count) {
        foreach (['', '1', '1f', '1F2', 'abcd', 'deadbeef', 'xyz', 'g1', 42] as $v)
            packed("$code$count", $v);
    }
    packed("{$code}*{$code}2", 'abc', '12');
}
foreach (['x', 'x3', 'x0', 'x*', 'X', 'X2', 'X*', '@', '@5', '@0', '@*', 'Cx2C', 'NX2n', 'a5@2a', 'a3@8C',
          'C@1C', 'CX3C', 'nvC*', 'Na*', 'A5a5Z5', 'NnC@0', 'C2x2N', 'y', 'C y', '?', 'C-1', '*', '5'] as $format) {
    packed($format);
    packed($format, 1);
    packed($format, 65, 66, 67);
    packed($format, 258, '77', '88', 4);
}

$data = ["", "\x00", "\xff", "\x80\x01", "abc", "\x01\x02\x03\x04", "\xff\xfe\xfd\xfc\xfb",
         "\x80\x00\x00\x00\x00\x00\x00\x01", "\x01\x00\x00\x00\x00\x00\x00\x80", str_repeat("\xff", 8),
         "\x00\x20\x00\x00\x00\x00\x00\x00", "\x00\x20\x00\x00\x00\x00\x00\x01", "\x00\xe0\xff\xff\xff\xff\xff\xff",
         "\x01\x00\x00\x00\x00\x00\x20\x00", "\x00\x00\xc0\x3f\x00\x00\xc0\x3f\x3f\xc0"];
foreach (array_merge($integers, $reals) as $code) {
    foreach ($data as $bytes) {
        if (in_array($code, $reals) && str_contains($bytes, "\xff\xff\xff\xff"))
            continue;
        unpacked($code, $bytes);
        unpacked("{$code}*", $bytes);
        unpacked("{$code}2n", $bytes);
    }
}
$data = ["", "a", "abc", "a b ", "ab\0cd", "ab \t\r\n\0", "\x12\x34\xab\xcd", "  x"];
foreach (str_split('aAZhH') as $code) {
    foreach (['', '0', '1', '2', '3', '4', '5', '*', '*name', '3name'] as $count) {
        foreach ($data as $bytes)
            unpacked("$code$count", $bytes);
    }
}
foreach (['Nlen/a*body', 'C2chars', 'C2', 'C*', 'C2chars/nint', 'Ca/Cb', 'Ca/Ca', 'C/C', 'x2/Cv', 'Cv/x/Cw',
          'Cv/X/Cw', 'Cv/X5/Cw', 'C3v/X*/Cw', 'Cv/@0/Cw', 'Cv/@2/Cw', 'Cv/@99/Cw', 'Cv/@*/Cw', '@3/Cv',
          'x*/Cv', 'x9', 'H2a/H*b', 'H*a/H*b', 'h*a/Cb', 'a*a/Cb', 'C-5', 'C-0', 'C*5', 'C0a/Cb', 'C1a', 'C2',
          'Clong name', 'C/', '/C', '//', 'Ca//Cb', 'y', 'Ca/yb', '', 'C99999999999', 'C2147483648',
          'C' . str_repeat('n', 250), 'C2' . str_repeat('n', 250), 'nsize/A3text/Nnumber', 'a2a/a2b/a2c',
          'C01', 'C007x', 'C-', 'C-01', 'C*-', 'C+5', 'C 5', 'X', 'X*', 'Ca/X2', '@', '@*', '@5/C',
          'Z*a/Cb', 'Z2a/Cb', 'A*a/Cb'] as $format) {
    foreach (["", "\x05", "\x01\x02\x03\x04", "\0\0\0\5hello", "ab\0cdefgh"] as $bytes)
        unpacked($format, $bytes);
}
