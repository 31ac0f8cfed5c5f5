#include "password.h"
#include "users.h"
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], file[128];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/chat_users_test.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(file, sizeof file, "%s/chat.db", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s%s", file, suffixes[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static struct users *open_file(void)
{
    static struct db_url url;
    url = (struct db_url){.kind = DB_SQLITE, .file = file};
    return users_open(&url);
}

static sqlite3 *open_raw(void)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    return db;
}

static void run(sqlite3 *db, const char *sql)
{
    char *error = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", sql, error);
}

static int64_t number(const char *sql)
{
    sqlite3 *db = open_raw();
    sqlite3_stmt *query;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &query, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(query), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(query, 0);
    sqlite3_finalize(query);
    sqlite3_close(db);
    return value;
}

static void test_a_new_file(void **state)
{
    (void)state;
    umask(0);
    struct users *users = open_file();
    assert_int_equal(users_prepare(users, false), USERS_OK);
    struct stat info;
    assert_int_equal(stat(file, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    struct user user;
    assert_int_equal(users_find(users, "user1", &user), USERS_OK);
    assert_int_equal(user.id, 1);
    assert_true(password_verify(user.password, "123456"));
    assert_int_equal(user.password[0], '$');
    assert_int_equal(users_find(users, "user2", &user), USERS_OK);
    assert_int_equal(user.id, 2);
    assert_int_equal(users_find(users, "user3", &user), USERS_NONE);
    assert_int_equal(users_find(users, "' OR 1 --", &user), USERS_NONE);
    users_close(users);
}

static void test_online(void **state)
{
    (void)state;
    struct users *users = open_file();
    assert_int_equal(users_prepare(users, false), USERS_OK);
    assert_int_equal(users_set_online(users, 2, true), USERS_OK);
    assert_int_equal(number("SELECT sum(id) FROM users WHERE online"), 2);
    assert_int_equal(number("SELECT count(*) FROM users WHERE updated_at IS NOT NULL"), 1);
    assert_int_equal(users_set_online(users, 2, false), USERS_OK);
    assert_int_equal(number("SELECT sum(online) FROM users"), 0);
    assert_int_equal(users_set_online(users, 12345, true), USERS_OK);
    users_close(users);
}

static void test_a_table_that_is_there_is_kept(void **state)
{
    (void)state;
    sqlite3 *db = open_raw();
    run(db, "CREATE TABLE users (id INTEGER PRIMARY KEY, name, password, online, updated_at);"
            "INSERT INTO users VALUES (7, 'zoë', 'plain', 0, NULL), (8, 'none', NULL, 0, NULL),"
            " (9, 'long', hex(zeroblob(300)), 0, NULL)");
    sqlite3_close(db);
    struct users *users = open_file();
    assert_int_equal(users_prepare(users, true), USERS_OK);
    struct user user;
    assert_int_equal(users_find(users, "user1", &user), USERS_NONE);
    assert_int_equal(users_find(users, "zoë", &user), USERS_OK);
    assert_int_equal(user.id, 7);
    assert_string_equal(user.password, "plain");
    assert_int_equal(users_find(users, "none", &user), USERS_OK);
    assert_string_equal(user.password, "$");
    assert_int_equal(users_find(users, "long", &user), USERS_OK);
    assert_string_equal(user.password, "$");
    users_close(users);
}

static void test_what_cannot_be_used(void **state)
{
    (void)state;
    sqlite3 *db = open_raw();
    run(db, "CREATE TABLE users (id INTEGER PRIMARY KEY, name)");
    sqlite3_close(db);
    struct users *users = open_file();
    assert_int_equal(users_prepare(users, true), USERS_NO_TABLE);
    assert_non_null(strstr(users_error(users), "password"));
    users_close(users);

    int fd = open(file, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "This is a text of some length.", 30), 30);
    close(fd);
    users = open_file();
    assert_int_equal(users_prepare(users, true), USERS_UNAVAILABLE);
    assert_non_null(strstr(users_error(users), "not a database"));
    users_close(users);

    struct db_url nowhere = {.kind = DB_SQLITE, .file = "/nonexistent/chat.db"};
    users = users_open(&nowhere);
    assert_int_equal(users_prepare(users, true), USERS_UNAVAILABLE);
    assert_non_null(strstr(users_error(users), "No such file"));
    users_close(users);
}

static void test_a_lock_and_a_lost_table(void **state)
{
    (void)state;
    struct users *users = open_file();
    struct user user;
    assert_int_equal(users_prepare(users, false), USERS_OK);
    sqlite3 *db = open_raw();
    run(db, "BEGIN IMMEDIATE");
    assert_int_equal(users_set_online(users, 1, true), USERS_UNAVAILABLE);
    assert_non_null(strstr(users_error(users), "locked"));
    assert_int_equal(users_find(users, "user1", &user), USERS_OK);
    run(db, "COMMIT");
    assert_int_equal(users_set_online(users, 1, true), USERS_OK);
    run(db, "ALTER TABLE users RENAME TO away");
    assert_int_equal(users_find(users, "user1", &user), USERS_UNAVAILABLE);
    assert_int_equal(users_set_online(users, 1, true), USERS_UNAVAILABLE);
    run(db, "ALTER TABLE away RENAME TO users");
    assert_int_equal(users_find(users, "user1", &user), USERS_OK);
    sqlite3_close(db);
    users_close(users);
}

static int prepare_in_child(int gate)
{
    char byte;
    struct users *users = open_file();
    if (read(gate, &byte, 1) != 0)
        return 2;
    int status = (int)users_prepare(users, false);
    if (status != USERS_OK)
        fprintf(stderr, "%s\n", users_error(users));
    users_close(users);
    return status;
}

static void test_several_start_at_once(void **state)
{
    (void)state;
    enum { COUNT = 8 };
    int gate[2];
    assert_int_equal(pipe(gate), 0);
    pid_t children[COUNT];
    for (int i = 0; i < COUNT; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            close(gate[1]);
            _exit(prepare_in_child(gate[0]));
        }
    }
    close(gate[0]);
    close(gate[1]);
    for (int i = 0; i < COUNT; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(number("SELECT count(*) FROM users"), 2);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_a_new_file),
        IN_FOLDER(test_online),
        IN_FOLDER(test_a_table_that_is_there_is_kept),
        IN_FOLDER(test_what_cannot_be_used),
        IN_FOLDER(test_a_lock_and_a_lost_table),
        IN_FOLDER(test_several_start_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
