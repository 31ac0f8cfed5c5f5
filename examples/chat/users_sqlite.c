#include "mem.h"
#include "password.h"
#include "users.h"
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BUSY_MS = 3000, /* how long a lock of somebody else's is waited for */
    WAL_TRIES = 100
};

struct users_sqlite {
    struct users users;
    const struct db_url *url;
    sqlite3 *db; /* NULL until it is needed, and after an open that failed */
    sqlite3_stmt *find, *set_online;
};

static const char CREATE[] = "CREATE TABLE users ("
                             " id INTEGER PRIMARY KEY AUTOINCREMENT,"
                             " name TEXT NOT NULL UNIQUE,"
                             " email TEXT NOT NULL,"
                             " password TEXT NOT NULL,"
                             " online INTEGER NOT NULL DEFAULT 0,"
                             " created_at TEXT DEFAULT CURRENT_TIMESTAMP,"
                             " updated_at TEXT)";
static const char INSERT[] = "INSERT INTO users (name, email, password) VALUES (?, ?, ?)";
static const char HAS_TABLE[] =
    "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'users'";
static const char FIND[] = "SELECT id, password FROM users WHERE name = ?";
static const char SET_ONLINE[] =
    "UPDATE users SET online = ?, updated_at = CURRENT_TIMESTAMP WHERE id = ?";

static struct users_sqlite *of(struct users *users)
{
    return (struct users_sqlite *)users;
}

static enum users_status fail(struct users_sqlite *my)
{
    return users_fail(&my->users, USERS_UNAVAILABLE, sqlite3_errmsg(my->db));
}

static void disconnect(struct users_sqlite *my)
{
    sqlite3_finalize(my->find);
    sqlite3_finalize(my->set_online);
    sqlite3_close(my->db);
    my->find = my->set_online = NULL;
    my->db = NULL;
}

/* The file holds passwords, so it is made for its owner alone; SQLite would follow the umask. Its
 * journal files take the mode of the database. */
static int make_file(const char *file)
{
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

/* Changing the journal's mode needs the file for oneself, and SQLite does not wait for that where
 * two processes might wait for each other. */
static int use_wal(sqlite3 *db)
{
    int code = SQLITE_BUSY;
    for (int i = 0; i < WAL_TRIES && code == SQLITE_BUSY; i++) {
        if (i > 0)
            sqlite3_sleep(20);
        code = sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
    }
    return code;
}

static enum users_status connect_file(struct users_sqlite *my)
{
    if (my->db)
        return USERS_OK;
    const char *file = my->url->file;
    int made = strcmp(file, ":memory:") == 0 ? 0 : make_file(file);
    if (made != 0)
        return users_fail(&my->users, USERS_UNAVAILABLE, strerror(-made));
    if (sqlite3_open_v2(file, &my->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
        sqlite3_busy_timeout(my->db, BUSY_MS) != SQLITE_OK || use_wal(my->db) != SQLITE_OK ||
        /* A flag that a power cut takes back is no loss; a database that it breaks would be. */
        sqlite3_exec(my->db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL) != SQLITE_OK) {
        enum users_status status = fail(my);
        disconnect(my);
        return status;
    }
    return USERS_OK;
}

static int run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static bool has_table(sqlite3 *db)
{
    sqlite3_stmt *query = NULL;
    bool found = sqlite3_prepare_v2(db, HAS_TABLE, -1, &query, NULL) == SQLITE_OK &&
                 sqlite3_step(query) == SQLITE_ROW;
    sqlite3_finalize(query);
    return found;
}

static int add_user(sqlite3_stmt *insert, const char *name, const char *email)
{
    char hash[PASSWORD_HASH];
    if (!password_hash("123456", hash))
        return SQLITE_ERROR;
    sqlite3_bind_text(insert, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 2, email, -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 3, hash, -1, SQLITE_STATIC);
    int code = sqlite3_step(insert);
    sqlite3_reset(insert);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int create_table(sqlite3 *db)
{
    sqlite3_stmt *insert = NULL;
    int code = run(db, CREATE);
    if (code == SQLITE_OK)
        code = sqlite3_prepare_v2(db, INSERT, -1, &insert, NULL);
    if (code == SQLITE_OK)
        code = add_user(insert, "user1", "user1@example.com");
    if (code == SQLITE_OK)
        code = add_user(insert, "user2", "user2@example.com");
    sqlite3_finalize(insert);
    return code;
}

/* Several processes may start at once: whoever has the write lock looks first. */
static enum users_status create_if_missing(struct users_sqlite *my)
{
    if (has_table(my->db))
        return USERS_OK;
    if (run(my->db, "BEGIN IMMEDIATE") != SQLITE_OK)
        return fail(my);
    int code = has_table(my->db) ? SQLITE_OK : create_table(my->db);
    if (code == SQLITE_OK && run(my->db, "COMMIT") == SQLITE_OK)
        return USERS_OK;
    enum users_status status = fail(my);
    run(my->db, "ROLLBACK");
    return status;
}

static enum users_status prepare_statement(struct users_sqlite *my, sqlite3_stmt **statement,
                                           const char *sql)
{
    enum users_status status = connect_file(my);
    if (status != USERS_OK || *statement)
        return status;
    int code = sqlite3_prepare_v3(my->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    if (code == SQLITE_OK)
        return USERS_OK;
    /* SQLite has one code for all that a statement can name wrongly. */
    fail(my);
    return code == SQLITE_ERROR ? USERS_NO_TABLE : USERS_UNAVAILABLE;
}

static enum users_status prepare(struct users *users, bool create)
{
    (void)create;
    struct users_sqlite *my = of(users);
    enum users_status status = connect_file(my);
    if (status == USERS_OK)
        status = create_if_missing(my);
    if (status == USERS_OK)
        status = prepare_statement(my, &my->find, FIND);
    if (status == USERS_OK)
        status = prepare_statement(my, &my->set_online, SET_ONLINE);
    return status;
}

static void copy_user(sqlite3_stmt *row, struct user *user)
{
    const char *password = (const char *)sqlite3_column_text(row, 1);
    size_t len = password ? strlen(password) : 0;
    user->id = sqlite3_column_int64(row, 0);
    /* What does not fit is no hash, and no password of ours: nothing is equal to it. */
    strcpy(user->password, len < sizeof user->password && password ? password : "$");
}

static enum users_status find(struct users *users, const char *name, struct user *user)
{
    struct users_sqlite *my = of(users);
    enum users_status status = prepare_statement(my, &my->find, FIND);
    if (status != USERS_OK)
        return status;
    sqlite3_bind_text(my->find, 1, name, -1, SQLITE_STATIC);
    int code = sqlite3_step(my->find);
    if (code == SQLITE_ROW)
        copy_user(my->find, user);
    else
        status = code == SQLITE_DONE ? USERS_NONE : fail(my);
    sqlite3_reset(my->find);
    return status;
}

static enum users_status set_online(struct users *users, int64_t id, bool online)
{
    struct users_sqlite *my = of(users);
    enum users_status status = prepare_statement(my, &my->set_online, SET_ONLINE);
    if (status != USERS_OK)
        return status;
    sqlite3_bind_int(my->set_online, 1, online);
    sqlite3_bind_int64(my->set_online, 2, id);
    if (sqlite3_step(my->set_online) != SQLITE_DONE)
        status = fail(my);
    sqlite3_reset(my->set_online);
    return status;
}

static void close_file(struct users *users)
{
    struct users_sqlite *my = of(users);
    disconnect(my);
    free(my);
}

struct users *users_sqlite_open(const struct db_url *url)
{
    static const struct users_ops ops = {
        .prepare = prepare, .find = find, .set_online = set_online, .close = close_file};
    struct users_sqlite *my = mem_new(sizeof *my);
    my->users.ops = &ops;
    my->url = url;
    return &my->users;
}
