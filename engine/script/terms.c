#include "script/terms.h"
#include "base/mem.h"
#include <stdlib.h>

static struct conn_limits limits_of(const struct config_server *server,
                                    struct conn_counters *counters)
{
    uint64_t burst_ns = server->limits.burst * UINT64_C(1000000000);
    return (struct conn_limits){
        .read_timeout = (uint64_t)server->read_timeout * 1000,
        .write_timeout = (uint64_t)server->write_timeout * 1000,
        .max_backlog = server->max_backlog,
        .drop_oldest = server->drop_oldest,
        /* Besides the largest message there must be room for its framing, or for a request's head.
         */
        .max_input = server->max_message_size + TRANSPORT_READ_MAX,
        .read_ahead = server->read_ahead,
        .bytes = {server->limits.bytes_per_second, burst_ns},
        .wait = server->limits.wait,
        .messages = {server->limits.messages_per_second, burst_ns},
        .counters = counters,
    };
}

struct terms *terms_new(const struct config *config, int index, struct conn_counters *counters)
{
    struct terms *terms = xmalloc(sizeof *terms);
    *terms = (struct terms){.refs = 1,
                            .config = config_ref(config),
                            .server = &config->servers[index],
                            .limits = limits_of(&config->servers[index], counters)};
    return terms;
}

struct terms *terms_ref(struct terms *terms)
{
    terms->refs++;
    return terms;
}

void terms_unref(struct terms *terms)
{
    if (--terms->refs > 0)
        return;
    config_unref(terms->config);
    free(terms);
}
