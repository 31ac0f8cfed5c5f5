#include "api/metrics.h"
#include "api/consumer.h"
#include "proto/exposition.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* -- topics -- */

struct topic_family {
    struct metric metric;
    double (*value)(const struct queue *queue, const struct gate *gate);
};

static struct queue_topic_stats stats_of(const struct queue *queue, const struct gate *gate)
{
    struct queue_topic_stats stats;
    queue_topic_stats(queue, gate, &stats);
    return stats;
}

static double depth(const struct queue *queue, const struct gate *gate)
{
    (void)queue;
    return gate_count(gate);
}

static double waiting(const struct queue *queue, const struct gate *gate)
{
    (void)queue;
    return gate_waiting(gate);
}

static double size(const struct queue *queue, const struct gate *gate)
{
    (void)queue;
    return gate_size(gate);
}

static double oldest(const struct queue *queue, const struct gate *gate)
{
    return (double)stats_of(queue, gate).oldest_ms / 1000;
}

static double pushed(const struct queue *queue, const struct gate *gate)
{
    return (double)stats_of(queue, gate).pushed;
}

static double delivered(const struct queue *queue, const struct gate *gate)
{
    return (double)stats_of(queue, gate).delivered;
}

static double refused(const struct queue *queue, const struct gate *gate)
{
    return (double)stats_of(queue, gate).refused;
}

static const struct topic_family of_topics[] = {
    {{"mixengine_topic_depth", "gauge", "Entries not yet handed to a consumer."}, depth},
    {{"mixengine_topic_waiting", "gauge", "Pushes that wait for room."}, waiting},
    {{"mixengine_topic_size", "gauge", "The bound of the topic."}, size},
    {{"mixengine_topic_oldest_seconds", "gauge", "How long the oldest entry has been there."},
     oldest},
    {{"mixengine_topic_pushed_total", "counter", "Entries that were let in."}, pushed},
    {{"mixengine_topic_delivered_total", "counter", "Entries handed to a consumer."}, delivered},
    {{"mixengine_topic_refused_total", "counter", "Pushes for which there was no room in time."},
     refused},
};

static void append_topics(struct api *api, struct buf *out, const struct topic_family *family)
{
    struct gates *gates = api->options.gates;
    exposition_family(out, &family->metric);
    for (struct gate *gate = gates_next(gates, NULL); gate; gate = gates_next(gates, gate)) {
        struct metric_label topic = {.name = "topic"};
        topic.value = gate_name(gate, &topic.len);
        exposition_sample(out, &family->metric, "", &topic, 1, family->value(api->queue, gate));
    }
}

/* -- consumers, by the address that their logs show too -- */

enum { NUMBER_TEXT = 24 };

struct consumer_family {
    struct metric metric;
    double (*value)(const struct consumer_stats *stats);
    struct buf *out;
};

static double commands_in_flight(const struct consumer_stats *stats)
{
    return stats->owed;
}

static double unread_bytes(const struct consumer_stats *stats)
{
    return (double)stats->unread_bytes;
}

static double events(const struct consumer_stats *stats)
{
    return (double)stats->events;
}

static void append_consumer(const struct consumer_stats *stats, void *data)
{
    const struct consumer_family *family = data;
    char number[NUMBER_TEXT];
    int len = snprintf(number, sizeof number, "%" PRIu64, stats->number);
    struct metric_label labels[] = {{"consumer", number, (size_t)len},
                                    {"peer", stats->peer, strlen(stats->peer)}};
    exposition_sample(family->out, &family->metric, "", labels, 2, family->value(stats));
}

static void append_consumers(struct api *api, struct buf *out)
{
    struct consumer_family families[] = {
        {{"mixengine_consumer_events_total", "counter", "Events sent to the consumer."},
         events,
         out},
        {{"mixengine_consumer_unread_bytes", "gauge",
          "Bytes of events that it was sent and has not been seen to read."},
         unread_bytes,
         out},
        {{"mixengine_consumer_commands_in_flight", "gauge", "Answers that it is owed."},
         commands_in_flight,
         out},
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        exposition_family(out, &families[i].metric);
        consumers_each(api, append_consumer, &families[i]);
    }
}

static void append_api(struct api *api, struct buf *out)
{
    static const struct metric sockets = {"mixengine_api_sockets", "gauge",
                                          "Open sockets of the API."};
    static const struct metric connections = {"mixengine_api_connections", "gauge",
                                              "WebSocket connections of the API."};
    static const struct metric consumers = {"mixengine_api_consumers", "gauge",
                                            "Connections that consume."};
    static const struct metric in_flight = {"mixengine_api_commands_in_flight", "gauge",
                                            "Commands without an outcome."};
    static const struct metric handshakes = {"mixengine_api_tls_handshakes_total", "counter",
                                             "TLS handshakes of the API that succeeded."};
    static const struct metric failures = {"mixengine_api_tls_failures_total", "counter",
                                           "TLS handshakes of the API that failed."};
    exposition_single(out, &sockets, api->sockets);
    exposition_single(out, &connections, consumers_count(api));
    exposition_single(out, &consumers, consumers_consuming(api));
    exposition_single(out, &in_flight, (double)api->in_flight);
    exposition_single(out, &handshakes, (double)api->tls_handshakes);
    exposition_single(out, &failures, (double)api->tls_failures);
}

void metrics_write(struct api *api, struct lws *asker, struct buf *out)
{
    (void)asker;
    if (api->options.metrics)
        api->options.metrics(out, api->options.config, api->options.metrics_data);
    append_api(api, out);
    append_consumers(api, out);
    for (size_t i = 0; i < sizeof of_topics / sizeof *of_topics; i++)
        append_topics(api, out, &of_topics[i]);
}
