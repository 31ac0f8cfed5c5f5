#include "api/metrics.h"
#include "api/consumer.h"
#include <inttypes.h>

static void gauge(struct buf *out, const char *name, const char *help, uint64_t value)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n%s %" PRIu64 "\n", name, help, name, name,
               value);
}

static void label(struct buf *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n')
            buf_append_str(out, "\\n");
        else if (text[i] == '"' || text[i] == '\\')
            buf_printf(out, "\\%c", text[i]);
        else
            buf_append_char(out, text[i]);
    }
}

static void topics(struct api *api, struct buf *out, const char *name, const char *help,
                   uint32_t (*value)(const struct gate *gate))
{
    struct gates *gates = api->options.gates;
    buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
    for (struct gate *gate = gates_next(gates, NULL); gate; gate = gates_next(gates, gate)) {
        size_t len;
        const char *topic = gate_name(gate, &len);
        buf_printf(out, "%s{topic=\"", name);
        label(out, topic, len);
        buf_printf(out, "\"} %" PRIu32 "\n", value(gate));
    }
}

void metrics_write(struct api *api, struct lws *asker, struct buf *out)
{
    (void)asker;
    if (api->options.metrics)
        api->options.metrics(out, api->options.metrics_data);
    uint32_t connections = consumers_count(api);
    gauge(out, "mixengine_api_sockets", "Open sockets of the API.", api->sockets);
    gauge(out, "mixengine_api_connections", "WebSocket connections of the API.", connections);
    gauge(out, "mixengine_api_consumers", "Connections that consume.", consumers_consuming(api));
    gauge(out, "mixengine_api_commands_in_flight", "Commands without an outcome.", api->in_flight);
    topics(api, out, "mixengine_topic_depth", "Entries not yet handed to a consumer.", gate_count);
    topics(api, out, "mixengine_topic_waiting", "Pushes that wait for room.", gate_waiting);
    topics(api, out, "mixengine_topic_size", "The bound of the topic.", gate_size);
}
