/* What a server's block of the configuration says to a connection: those that begin under it keep
 * it when the file is read again. Counted references, one worker; holds the configuration. */
#pragma once

#include "config/config.h"
#include "net/conn.h"

struct terms {
    unsigned refs;
    const struct config *config;
    const struct config_server *server; /* in it */
    struct conn_limits limits;
};

/* With one reference. `index`: of the server, `counters`: of its connections. */
struct terms *terms_new(const struct config *config, int index, struct conn_counters *counters);
struct terms *terms_ref(struct terms *terms);
void terms_unref(struct terms *terms);
