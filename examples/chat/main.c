/* The chat room: a consumer of the engine's queues `chat` and `conn`, over a table of users. */
#include "db_url.h"
#include "log.h"
#include "mem.h"
#include "service.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

static const char USAGE[] =
    "usage: chat [--center HOST:PORT] [--ca FILE] [--db URL] [--create]\n"
    "            [--user NAME --password TEXT]\n"
    "\n"
    "  --center HOST:PORT  the engine's center; 127.0.0.1:6787\n"
    "  --ca FILE           TLS, to engines whose certificates this one (PEM) has issued\n"
    "  --db URL            the table of users; $CHAT_DB, or sqlite:chat.db\n"
    "                        sqlite:FILE  made when it is missing, with user1 and user2,\n"
    "                                     password 123456\n"
    "                        mysql://USER:PASSWORD@HOST[:PORT]/DATABASE[?socket=PATH]\n"
    "                                     MariaDB or MySQL, with the table of users.sql\n"
    "  --create            makes a missing table in MariaDB or MySQL too\n"
    "  --user, --password  for engines with access control; $CHAT_USER, $CHAT_PASSWORD\n"
    "  --help              this text\n";

struct options {
    const char *center, *ca, *db, *user, *password;
    bool create, help;
};

static bool parse(struct options *options, int argc, char **argv)
{
    static const struct option table[] = {
        {"center", required_argument, NULL, 'c'}, {"ca", required_argument, NULL, 'a'},
        {"db", required_argument, NULL, 'd'},     {"create", no_argument, NULL, 'n'},
        {"user", required_argument, NULL, 'u'},   {"password", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        if (c == 'c')
            options->center = optarg;
        else if (c == 'a')
            options->ca = optarg;
        else if (c == 'd')
            options->db = optarg;
        else if (c == 'n')
            options->create = true;
        else if (c == 'u')
            options->user = optarg;
        else if (c == 'p')
            options->password = optarg;
        else if (c == 'h')
            options->help = true;
        else
            return false;
    }
    return optind == argc;
}

/* A status for the process: whoever started it learns whether waiting helps. */
static int prepare(struct users *users, bool create)
{
    enum users_status status = users_prepare(users, create);
    if (status == USERS_OK)
        return EX_OK;
    log_line("the database: %s", users_error(users));
    if (status != USERS_NO_TABLE)
        return EX_UNAVAILABLE;
    log_line(
        "it needs the table users with id, name, password, online, updated_at: load users.sql, "
        "start with --create, or name an SQLite file that is not there yet");
    return EX_CONFIG;
}

static int run(const struct options *options, const struct db_url *url)
{
    size_t count = users_connections(url);
    struct users **users = mem_new(count * sizeof(struct users *));
    for (size_t i = 0; i < count; i++)
        users[i] = users_open(url);
    int status = prepare(users[0], options->create);
    if (status == EX_OK) {
        status = service_run(&(struct service_options){
            .center = options->center,
            .ca = options->ca,
            .user = options->user,
            .password = options->password,
            .users = users,
            .users_count = count,
        });
    } else {
        for (size_t i = 0; i < count; i++)
            users_close(users[i]);
    }
    free(users);
    return status;
}

int main(int argc, char **argv)
{
    struct options options = {
        .center = "127.0.0.1:6787",
        .db = getenv("CHAT_DB"), /* so that its password need not stand in the list of processes */
        .user = getenv("CHAT_USER"),
        .password = getenv("CHAT_PASSWORD"),
    };
    if (!parse(&options, argc, argv)) {
        fputs(USAGE, stderr);
        return EX_USAGE;
    }
    if (options.help) {
        fputs(USAGE, stdout);
        return EX_OK;
    }
    struct db_url url;
    const char *problem = db_url_parse(&url, options.db ? options.db : "sqlite:chat.db");
    if (problem) {
        log_line("--db: %s", problem);
        return EX_USAGE;
    }
    int status = run(&options, &url);
    db_url_fini(&url);
    return status;
}
