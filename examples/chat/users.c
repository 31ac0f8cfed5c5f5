#include "users.h"
#include <stdio.h>

struct users *users_open(const struct db_url *url)
{
    return url->kind == DB_SQLITE ? users_sqlite_open(url) : users_mysql_open(url);
}

size_t users_connections(const struct db_url *url)
{
    /* SQLite has one writer at a time, and its reads are far quicker than a password's hash. */
    return url->kind == DB_SQLITE ? 1 : 4;
}

enum users_status users_fail(struct users *users, enum users_status status, const char *what)
{
    snprintf(users->error, sizeof users->error, "%s", what);
    return status;
}
