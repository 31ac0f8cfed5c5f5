#include "db_url.h"
#include "mem.h"
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int hex(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Returns a new string; NULL for a bad escape, and for one that would end the string early. */
static char *decode(const char *text, size_t len)
{
    char *out = mem_new(len + 1);
    for (size_t i = 0, o = 0; i < len; i++, o++) {
        out[o] = text[i];
        if (text[i] != '%')
            continue;
        int high = i + 2 < len ? hex(text[i + 1]) : -1;
        int low = i + 2 < len ? hex(text[i + 2]) : -1;
        if (high < 0 || low < 0 || high + low == 0) {
            free(out);
            return NULL;
        }
        out[o] = (char)(high * 16 + low);
        i += 2;
    }
    return out;
}

/* The text up to `end`; an empty one counts as bad. */
static char *decode_some(const char *from, const char *end)
{
    return end > from ? decode(from, (size_t)(end - from)) : NULL;
}

static const char *parse_user(struct db_url *url, const char *from, const char *at)
{
    const char *colon = memchr(from, ':', (size_t)(at - from));
    url->user = decode_some(from, colon ? colon : at);
    url->password = colon ? decode(colon + 1, (size_t)(at - colon - 1)) : mem_copy("");
    return url->user && url->password ? NULL
                                      : "no valid user or password (encode @ : / ? % as %40 …)";
}

static bool parse_port(uint16_t *port, const char *from, const char *end)
{
    unsigned long value = 0;
    for (const char *c = from; c < end; c++) {
        if (!isdigit((unsigned char)*c) || value > UINT16_MAX)
            return false;
        value = value * 10 + (unsigned long)(*c - '0');
    }
    *port = (uint16_t)value;
    return value > 0 && value <= UINT16_MAX;
}

static const char *parse_host(struct db_url *url, const char *from, const char *end)
{
    const char *host_end = *from == '[' ? memchr(from, ']', (size_t)(end - from)) : from;
    if (!host_end)
        return "a '[' without its ']'";
    const char *colon = memchr(host_end, ':', (size_t)(end - host_end));
    host_end = *from == '[' ? host_end : colon ? colon : end;
    if (*from == '[' && host_end + 1 != (colon ? colon : end))
        return "no valid host";
    url->host = *from == '[' ? decode_some(from + 1, host_end) : decode_some(from, host_end);
    if (!url->host)
        return "no valid host";
    url->port = 3306;
    return !colon || parse_port(&url->port, colon + 1, end) ? NULL : "no valid port";
}

static const char *parse_query(struct db_url *url, const char *query)
{
    const char *key = "socket=";
    if (strncmp(query, key, strlen(key)) != 0)
        return "after '?' comes socket=PATH";
    query += strlen(key);
    url->socket = decode_some(query, query + strlen(query));
    return url->socket ? NULL : "no valid path after socket=";
}

static const char *parse_mysql(struct db_url *url, const char *text)
{
    url->kind = DB_MYSQL;
    const char *end = text + strlen(text);
    const char *query = strchr(text, '?');
    const char *path_end = query ? query : end;
    const char *slash = memchr(text, '/', (size_t)(path_end - text));
    const char *at = slash ? memchr(text, '@', (size_t)(slash - text)) : NULL;
    if (!at)
        return "not mysql://USER:PASSWORD@HOST/DATABASE";
    const char *problem = parse_user(url, text, at);
    if (!problem)
        problem = parse_host(url, at + 1, slash);
    if (problem)
        return problem;
    url->database = decode_some(slash + 1, path_end);
    if (!url->database)
        return "no database";
    return query ? parse_query(url, query + 1) : NULL;
}

static const char *parse_sqlite(struct db_url *url, const char *file)
{
    url->kind = DB_SQLITE;
    url->file = mem_copy(file);
    return *file ? NULL : "no file after sqlite:";
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

const char *db_url_parse(struct db_url *url, const char *text)
{
    *url = (struct db_url){0};
    const char *problem = "neither sqlite:FILE nor mysql://USER:PASSWORD@HOST/DATABASE";
    if (begins(text, "sqlite:"))
        problem = parse_sqlite(url, text + strlen("sqlite:"));
    else if (begins(text, "mysql://"))
        problem = parse_mysql(url, text + strlen("mysql://"));
    if (problem)
        db_url_fini(url);
    return problem;
}

void db_url_fini(struct db_url *url)
{
    free(url->file);
    free(url->user);
    mem_wipe(url->password);
    free(url->host);
    free(url->database);
    free(url->socket);
    *url = (struct db_url){0};
}
