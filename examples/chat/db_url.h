/* What --db names. */
#pragma once

#include <stdint.h>

/* Strings belong to the struct; db_url_fini frees them. */
struct db_url {
    enum { DB_SQLITE, DB_MYSQL } kind;
    char *file; /* of SQLite */
    char *user, *password, *host, *database;
    uint16_t port;
    char *socket; /* NULL: over TCP */
};

/* Takes apart `sqlite:FILE` or `mysql://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?socket=PATH]`, whose
 * parts may be percent-encoded; HOST may be an IPv6 address in brackets. Returns NULL, or what is
 * wrong with the text, and then there is nothing to free. */
const char *db_url_parse(struct db_url *url, const char *text);
void db_url_fini(struct db_url *url);
