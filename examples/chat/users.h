/* The table `users`, behind a connection to its database. Each object is used by one thread at a
 * time; calls wait for the database, so the loop's thread makes none. */
#pragma once

#include "db_url.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct users;

enum users_status {
    USERS_OK,
    USERS_NONE,        /* there is no such user */
    USERS_UNAVAILABLE, /* users_error says why */
    USERS_NO_TABLE     /* there is no table `users`, or a column is missing */
};

struct user {
    int64_t id;
    char password[512]; /* a crypt hash, or the plain password */
};

struct users_ops {
    enum users_status (*prepare)(struct users *users, bool create);
    enum users_status (*find)(struct users *users, const char *name, struct user *user);
    enum users_status (*set_online)(struct users *users, int64_t id, bool online);
    void (*close)(struct users *users);
};

/* What every kind begins with. */
struct users {
    const struct users_ops *ops;
    char error[400];
};

/* Does not connect yet: each call does when it has to. The url must outlive the object. */
struct users *users_open(const struct db_url *url);

/* How many connections, each with a thread, such a database is worth. */
size_t users_connections(const struct db_url *url);

/* Connects, and looks whether the table is there. With `create` it makes one that is missing, with
 * user1 and user2, password 123456; SQLite always does. */
static inline enum users_status users_prepare(struct users *users, bool create)
{
    return users->ops->prepare(users, create);
}

static inline enum users_status users_find(struct users *users, const char *name, struct user *user)
{
    return users->ops->find(users, name, user);
}

/* USERS_OK also when there is no such user. */
static inline enum users_status users_set_online(struct users *users, int64_t id, bool online)
{
    return users->ops->set_online(users, id, online);
}

static inline const char *users_error(const struct users *users)
{
    return users->error;
}

static inline void users_close(struct users *users)
{
    users->ops->close(users);
}

/* Keeps the error's text; returns the status. For the kinds. */
enum users_status users_fail(struct users *users, enum users_status status, const char *what);

struct users *users_sqlite_open(const struct db_url *url);
struct users *users_mysql_open(const struct db_url *url);
