#include "password.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void test_a_hash_and_its_password(void **state)
{
    (void)state;
    char one[PASSWORD_HASH], two[PASSWORD_HASH];
    assert_true(password_hash("123456", one));
    assert_true(password_hash("123456", two));
    assert_int_equal(one[0], '$');
    assert_string_not_equal(one, two);
    assert_true(password_verify(one, "123456"));
    assert_true(password_verify(two, "123456"));
    assert_false(password_verify(one, "1234567"));
    assert_false(password_verify(one, "12345"));
    assert_false(password_verify(one, ""));
    assert_false(password_verify(one, one));
}

static void test_hashes_of_other_methods(void **state)
{
    (void)state;
    const char *sha512 = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/"
                         "O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
    assert_true(password_verify(sha512, "Hello world!"));
    assert_false(password_verify(sha512, "Hello world"));
}

static void test_what_is_no_hash(void **state)
{
    (void)state;
    assert_false(password_verify(NULL, "123456"));
    assert_false(password_verify("$", "$"));
    assert_false(password_verify("$y$", "x"));
    assert_false(password_verify("$unknown$salt$hash", "x"));
}

/* What a function writes to standard error. */
static void capture(void (*function)(void), char *out, size_t size)
{
    int saved = dup(STDERR_FILENO), ends[2];
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    function();
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t got = read(ends[0], out, size - 1);
    out[got > 0 ? got : 0] = '\0';
    close(ends[0]);
}

static void verify_plain(void)
{
    assert_true(password_verify("123456", "123456"));
    assert_false(password_verify("123456", "123457"));
    assert_false(password_verify("123456", "12345"));
    assert_false(password_verify("123456", "1234561"));
    assert_false(password_verify("123456", "123456123456"));
    assert_false(password_verify("", "x"));
}

static void test_plain_passwords_warn_once(void **state)
{
    (void)state;
    char said[4096];
    capture(verify_plain, said, sizeof said);
    const char *warning = strstr(said, "warning: ");
    assert_non_null(warning);
    assert_null(strstr(warning + 1, "warning: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_hash_and_its_password),
        cmocka_unit_test(test_hashes_of_other_methods),
        cmocka_unit_test(test_what_is_no_hash),
        cmocka_unit_test(test_plain_passwords_warn_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
