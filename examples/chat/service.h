/* The running program: the consumer, the threads for the database, and the order in which they end.
 */
#pragma once

#include "users.h"

struct service_options {
    const char *center, *user, *password; /* the latter two may be NULL */
    const char *ca;                       /* NULL: no TLS */
    struct users **users;                 /* connections, which are closed in the end */
    size_t users_count;
};

/* Runs until SIGINT or SIGTERM. Prints "ready" when the first node is connected. Returns the status
 * for the process. */
int service_run(const struct service_options *options);
