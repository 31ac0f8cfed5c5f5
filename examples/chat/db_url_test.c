#include "db_url.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_sqlite(void **state)
{
    (void)state;
    struct db_url url;
    assert_null(db_url_parse(&url, "sqlite:/var/lib/a%20b?c.db"));
    assert_int_equal(url.kind, DB_SQLITE);
    assert_string_equal(url.file, "/var/lib/a%20b?c.db"); /* a path is taken as it is */
    db_url_fini(&url);
}

static void test_mysql(void **state)
{
    (void)state;
    struct db_url url;
    assert_null(db_url_parse(&url, "mysql://chat:secret@db.example:3307/room"));
    assert_int_equal(url.kind, DB_MYSQL);
    assert_string_equal(url.user, "chat");
    assert_string_equal(url.password, "secret");
    assert_string_equal(url.host, "db.example");
    assert_int_equal(url.port, 3307);
    assert_string_equal(url.database, "room");
    assert_null(url.socket);
    db_url_fini(&url);
}

static void test_mysql_encoded(void **state)
{
    (void)state;
    struct db_url url;
    assert_null(db_url_parse(
        &url, "mysql://a%40b:%3a%2F%3f%C3%A4:@[::1]/my%2Ddb?socket=/run/my%20sql/d.sock"));
    assert_string_equal(url.user, "a@b");
    assert_string_equal(url.password, ":/?\xc3\xa4:");
    assert_string_equal(url.host, "::1");
    assert_int_equal(url.port, 3306);
    assert_string_equal(url.database, "my-db");
    assert_string_equal(url.socket, "/run/my sql/d.sock");
    db_url_fini(&url);
}

static void test_mysql_without_password(void **state)
{
    (void)state;
    struct db_url url;
    assert_null(db_url_parse(&url, "mysql://root@127.0.0.1/chat"));
    assert_string_equal(url.password, "");
    db_url_fini(&url);
    assert_null(db_url_parse(&url, "mysql://root:@[::1]:1/chat"));
    assert_string_equal(url.host, "::1");
    assert_int_equal(url.port, 1);
    db_url_fini(&url);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "chat.db",
        "sqlite:",
        "postgres://a@b/c",
        "mysql:",
        "mysql://",
        "mysql://host/db",
        "mysql://:pass@host/db",
        "mysql://user@/db",
        "mysql://user@:3306/db",
        "mysql://user@host",
        "mysql://user@host/",
        "mysql://user@host/?socket=/a",
        "mysql://user@host:/db",
        "mysql://user@host:0/db",
        "mysql://user@host:65536/db",
        "mysql://user@host:99999999999999999999/db",
        "mysql://user@host:33a/db",
        "mysql://user@[::1/db",
        "mysql://user@[::1]x/db",
        "mysql://user@[]/db",
        "mysql://us%er@host/db",
        "mysql://us%0@host/db",
        "mysql://us%00er@host/db",
        "mysql://user:a%zz@host/db",
        "mysql://user@host/db?socket=",
        "mysql://user@host/db?charset=utf8",
        "mysql://user?x@host/db",
    };
    struct db_url url;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *problem = db_url_parse(&url, bad[i]);
        if (!problem)
            fail_msg("accepted: %s", bad[i]);
        else
            assert_true(*problem);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sqlite),        cmocka_unit_test(test_mysql),
        cmocka_unit_test(test_mysql_encoded), cmocka_unit_test(test_mysql_without_password),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
