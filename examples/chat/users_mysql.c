#include "mem.h"
#include "password.h"
#include "users.h"
#include <errmsg.h>
#include <mysql.h>
#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CONNECT_S = 5, READ_S = 10, WRITE_S = 10, PAUSE_S = 1 };

struct users_mysql {
    struct users users;
    const struct db_url *url;
    MYSQL *db; /* NULL until it is needed, and after it was lost */
    MYSQL_STMT *find, *set_online;
    time_t failed; /* when the last attempt to connect failed; 0: it did not */
};

/* Short waits for the locks of others: a login is answered with "Try again later" long before the
 * server's own limits, which are 50 s and a day. */
static const char INIT[] = "SET SESSION innodb_lock_wait_timeout = 3, lock_wait_timeout = 3";
static const char CREATE[] =
    "CREATE TABLE IF NOT EXISTS users ("
    " id int NOT NULL AUTO_INCREMENT,"
    " name varchar(255) NOT NULL,"
    " email varchar(255) NOT NULL,"
    " password varchar(255) NOT NULL,"
    " online tinyint NOT NULL DEFAULT 0,"
    " created_at timestamp NULL DEFAULT CURRENT_TIMESTAMP,"
    " updated_at timestamp NULL DEFAULT NULL,"
    " PRIMARY KEY (id),"
    " UNIQUE KEY idx_n (name)"
    ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci";
static const char INSERT[] = "INSERT INTO users (id, name, email, password) VALUES"
                             " (1, 'user1', 'user1@example.com', '%s'),"
                             " (2, 'user2', 'user2@example.com', '%s')";
static const char FIND[] = "SELECT id, password FROM users WHERE name = ?";
static const char SET_ONLINE[] =
    "UPDATE users SET online = ?, updated_at = CURRENT_TIMESTAMP WHERE id = ?";

static struct users_mysql *of(struct users *users)
{
    return (struct users_mysql *)users;
}

static time_t now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec;
}

static void disconnect(struct users_mysql *my)
{
    if (my->find)
        mysql_stmt_close(my->find);
    if (my->set_online)
        mysql_stmt_close(my->set_online);
    if (my->db)
        mysql_close(my->db);
    my->find = my->set_online = NULL;
    my->db = NULL;
}

static bool ends_connection(unsigned error)
{
    return (error >= CR_MIN_ERROR && error <= CR_MAX_ERROR) || error == ER_CONNECTION_KILLED ||
           error == ER_SERVER_SHUTDOWN || error == ER_UNKNOWN_STMT_HANDLER;
}

/* A connection that broke is closed, so that the next call makes a new one. */
static enum users_status fail(struct users_mysql *my, unsigned error, const char *what)
{
    bool no_table = error == ER_NO_SUCH_TABLE || error == ER_BAD_FIELD_ERROR;
    users_fail(&my->users, USERS_UNAVAILABLE, what);
    if (ends_connection(error))
        disconnect(my);
    return no_table ? USERS_NO_TABLE : USERS_UNAVAILABLE;
}

static enum users_status db_fail(struct users_mysql *my)
{
    return fail(my, mysql_errno(my->db), mysql_error(my->db));
}

static enum users_status statement_fail(struct users_mysql *my, MYSQL_STMT *statement)
{
    return fail(my, mysql_stmt_errno(statement), mysql_stmt_error(statement));
}

static void set_options(MYSQL *db)
{
    unsigned connect_s = CONNECT_S, read_s = READ_S, write_s = WRITE_S;
    mysql_options(db, MYSQL_OPT_CONNECT_TIMEOUT, &connect_s);
    mysql_options(db, MYSQL_OPT_READ_TIMEOUT, &read_s);
    mysql_options(db, MYSQL_OPT_WRITE_TIMEOUT, &write_s);
    mysql_options(db, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    mysql_options(db, MYSQL_INIT_COMMAND, INIT);
}

/* After a failure others fail at once for a moment: where a connection takes its full time to fail,
 * logins would otherwise wait for one another. */
static enum users_status connect_server(struct users_mysql *my)
{
    if (my->db)
        return USERS_OK;
    if (my->failed && now() - my->failed <= PAUSE_S)
        return USERS_UNAVAILABLE;
    const struct db_url *url = my->url;
    my->db = mem_given(mysql_init(NULL));
    set_options(my->db);
    const char *host = url->socket ? "localhost" : url->host;
    if (mysql_real_connect(my->db, host, url->user, url->password, url->database, url->port,
                           url->socket, 0)) {
        my->failed = 0;
        return USERS_OK;
    }
    my->failed = now();
    users_fail(&my->users, USERS_UNAVAILABLE, mysql_error(my->db));
    disconnect(my);
    return USERS_UNAVAILABLE;
}

static enum users_status prepare_statement(struct users_mysql *my, MYSQL_STMT **statement,
                                           const char *sql)
{
    enum users_status status = connect_server(my);
    if (status != USERS_OK || *statement)
        return status;
    MYSQL_STMT *new = mem_given(mysql_stmt_init(my->db));
    if (mysql_stmt_prepare(new, sql, strlen(sql)) == 0) {
        *statement = new;
        return USERS_OK;
    }
    unsigned error = mysql_stmt_errno(new);
    char what[sizeof my->users.error];
    snprintf(what, sizeof what, "%s", mysql_stmt_error(new));
    mysql_stmt_close(new);
    return fail(my, error, what);
}

/* Whoever makes the table fills it; for the others it exists, and MariaDB notes that as a warning.
 */
static enum users_status create_if_missing(struct users_mysql *my)
{
    char one[PASSWORD_HASH], two[PASSWORD_HASH];
    if (!password_hash("123456", one) || !password_hash("123456", two))
        return users_fail(&my->users, USERS_UNAVAILABLE, "crypt(3) offers no method");
    if (mysql_query(my->db, CREATE) != 0)
        return db_fail(my);
    if (mysql_warning_count(my->db) > 0)
        return USERS_OK;
    char *insert = mem_format(INSERT, one, two);
    int failed = mysql_query(my->db, insert);
    free(insert);
    return failed ? db_fail(my) : USERS_OK;
}

static enum users_status prepare(struct users *users, bool create)
{
    struct users_mysql *my = of(users);
    enum users_status status = connect_server(my);
    if (status == USERS_OK && create)
        status = create_if_missing(my);
    if (status == USERS_OK)
        status = prepare_statement(my, &my->find, FIND);
    if (status == USERS_OK)
        status = prepare_statement(my, &my->set_online, SET_ONLINE);
    return status;
}

static enum users_status fetch_user(struct users_mysql *my, struct user *user)
{
    long long id = 0;
    unsigned long len = 0;
    MYSQL_BIND row[2] = {
        {.buffer_type = MYSQL_TYPE_LONGLONG, .buffer = &id},
        {.buffer_type = MYSQL_TYPE_STRING,
         .buffer = user->password,
         .buffer_length = sizeof user->password - 1,
         .length = &len},
    };
    if (mysql_stmt_bind_result(my->find, row) || mysql_stmt_store_result(my->find))
        return statement_fail(my, my->find);
    int code = mysql_stmt_fetch(my->find);
    if (code == 1)
        return statement_fail(my, my->find);
    if (code == MYSQL_NO_DATA)
        return USERS_NONE;
    user->id = id;
    user->password[len < sizeof user->password ? len : 0] = '\0';
    /* What does not fit is no hash, and no password of ours: nothing is equal to it. */
    if (code == MYSQL_DATA_TRUNCATED)
        strcpy(user->password, "$");
    return USERS_OK;
}

static enum users_status find_once(struct users_mysql *my, const char *name, struct user *user)
{
    MYSQL_BIND args[1] = {
        {.buffer_type = MYSQL_TYPE_STRING, .buffer = (char *)name, .buffer_length = strlen(name)}};
    enum users_status status = prepare_statement(my, &my->find, FIND);
    if (status != USERS_OK)
        return status;
    if (mysql_stmt_bind_param(my->find, args) || mysql_stmt_execute(my->find))
        return statement_fail(my, my->find);
    status = fetch_user(my, user);
    if (my->find)
        mysql_stmt_free_result(my->find);
    return status;
}

static enum users_status set_online_once(struct users_mysql *my, int64_t id, bool online)
{
    long long user = id;
    signed char flag = online;
    MYSQL_BIND args[2] = {{.buffer_type = MYSQL_TYPE_TINY, .buffer = &flag},
                          {.buffer_type = MYSQL_TYPE_LONGLONG, .buffer = &user}};
    enum users_status status = prepare_statement(my, &my->set_online, SET_ONLINE);
    if (status != USERS_OK)
        return status;
    if (mysql_stmt_bind_param(my->set_online, args) || mysql_stmt_execute(my->set_online))
        return statement_fail(my, my->set_online);
    return USERS_OK;
}

/* The server drops connections that were idle for long, or it was started anew: that shows only in
 * the next statement, which is worth a second attempt. Both statements may be done twice. */
static bool was_stale(const struct users_mysql *my, bool connected, enum users_status status)
{
    return connected && status == USERS_UNAVAILABLE && !my->db;
}

static enum users_status find(struct users *users, const char *name, struct user *user)
{
    struct users_mysql *my = of(users);
    bool connected = my->db != NULL;
    enum users_status status = find_once(my, name, user);
    return was_stale(my, connected, status) ? find_once(my, name, user) : status;
}

static enum users_status set_online(struct users *users, int64_t id, bool online)
{
    struct users_mysql *my = of(users);
    bool connected = my->db != NULL;
    enum users_status status = set_online_once(my, id, online);
    return was_stale(my, connected, status) ? set_online_once(my, id, online) : status;
}

static void close_server(struct users *users)
{
    struct users_mysql *my = of(users);
    disconnect(my);
    free(my);
}

struct users *users_mysql_open(const struct db_url *url)
{
    static const struct users_ops ops = {
        .prepare = prepare, .find = find, .set_online = set_online, .close = close_server};
    mysql_library_init(0, NULL, NULL); /* not safe once there are threads */
    struct users_mysql *my = mem_new(sizeof *my);
    my->users.ops = &ops;
    my->url = url;
    return &my->users;
}
