#include "user.h"
#include "base/log.h"
#include "loop/listener.h"
#include "privilege.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* -- becoming it -- */

static int reserve(const char *key, const struct config_listener *at, char *error,
                   size_t error_size)
{
    char why[512];
    int status = listener_reserve(at->bind, at->port, why, sizeof why);
    if (status != 0)
        snprintf(error, error_size, "%s %s", key, why);
    return status;
}

/* All ports, whatever their numbers: what is bound is then the same for root and for others. */
static int reserve_ports(const struct config *config, char *error, size_t error_size)
{
    int status = reserve("center.apiServer", &config->center_api.listen, error, error_size);
    if (status == 0)
        status = reserve("engine.apiServer", &config->engine_api.listen, error, error_size);
    for (size_t i = 0; i < config->server_count && status == 0; i++) {
        char key[32];
        snprintf(key, sizeof key, "servers[%zu]", i);
        status = reserve(key, &config->servers[i].listen, error, error_size);
    }
    return status;
}

/* What the user must be able to read, now and when it has changed. */
static int check_entries(const struct config *config, char *error, size_t error_size)
{
    for (size_t i = 0; i < config->server_count; i++) {
        const char *entry = config->servers[i].entry;
        if (access(entry, R_OK) == 0)
            continue;
        snprintf(error, error_size,
                 "servers[%zu].entry %s: %s: let user '%s' read it and enter its folders", i, entry,
                 strerror(errno), config->user);
        return EX_CONFIG;
    }
    return 0;
}

int user_become(const struct config *config, bool listens, char *error, size_t error_size)
{
    struct account account;
    if (!*config->user)
        return 0;
    if (account_find(&account, config->user, error, error_size) != 0)
        return EX_CONFIG;
    if (account_is_own(&account))
        return check_entries(config, error, error_size);
    if (geteuid() != 0) {
        snprintf(error, error_size,
                 "user: %s: this process is user number %d and cannot become another; start it as "
                 "root or as that user, or remove the key",
                 config->user, (int)geteuid());
        return listens ? EXIT_FAILURE : 0;
    }
    if ((listens && reserve_ports(config, error, error_size) != 0) ||
        account_become(&account, error, error_size) != 0)
        return EXIT_FAILURE;
    return check_entries(config, error, error_size);
}

/* -- what it may not do -- */

static void warn_of_secret(const char *file, const char *user)
{
    if (*file && access(file, R_OK) != 0)
        log_warn("config",
                 "%s: user '%s' cannot read it again: a reload is refused as long as that is so",
                 file, user);
}

static void warn_of_tls(const struct config_tls *tls, const char *user)
{
    warn_of_secret(tls->cert, user);
    warn_of_secret(tls->key, user);
    warn_of_secret(tls->client_ca, user);
}

/* What root has read, and the user is to read at a reload. */
static void warn_of_listeners(const struct config *config)
{
    warn_of_tls(&config->center_api.listen.tls, config->user);
    warn_of_tls(&config->engine_api.listen.tls, config->user);
    for (size_t i = 0; i < config->server_count; i++)
        warn_of_tls(&config->servers[i].listen.tls, config->user);
}

void user_warn(const struct config *config, bool dev)
{
    const char *user = config->user;
    if (geteuid() == 0 && !dev)
        log_warn("engine", "runs as root: scripts may do whatever root may; set the key 'user'");
    if (*user && access(config->file, R_OK) != 0)
        log_warn("config", "%s: user '%s' cannot read it: changes take effect after a restart only",
                 config->file, user);
    if (*user)
        warn_of_listeners(config);
}
