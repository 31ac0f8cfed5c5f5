#include "metrics.h"
#include "base/address.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory_use.h"
#include "proto/exposition.h"
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

/* -- the process: names that Prometheus' own client libraries use -- */

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count > 3 ? count - 3 : 0; /* ".", ".." and the folder itself */
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

static double resident_bytes(void)
{
    int descriptor = memory_use_open();
    if (descriptor < 0)
        return 0;
    uint64_t bytes = memory_resident(descriptor);
    close(descriptor);
    return (double)bytes;
}

static double most_descriptors(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    return (double)limit.rlim_cur;
}

static void append_process(struct buf *out)
{
    static const struct metric cpu = {"process_cpu_seconds_total", "counter",
                                      "Processor time of the process, user and system."};
    static const struct metric memory = {"process_resident_memory_bytes", "gauge",
                                         "Resident memory of the process."};
    static const struct metric fds = {"process_open_fds", "gauge", "Open file descriptors."};
    static const struct metric most = {"process_max_fds", "gauge",
                                       "File descriptors that the process may open."};
    exposition_single(out, &cpu, cpu_seconds());
    exposition_single(out, &memory, resident_bytes());
    exposition_single(out, &fds, open_descriptors());
    exposition_single(out, &most, most_descriptors());
}

static void append_log(struct buf *out)
{
    static const struct metric lost = {"mixengine_log_lines_lost_total", "counter",
                                       "Lines of the log, or printed by scripts, that nobody has: "
                                       "they came too fast, or writing failed."};
    static const struct metric held = {"mixengine_log_lines_held_total", "counter",
                                       "Lines of the log that were repeats, told as a count."};
    struct log_counts counts = log_counts();
    exposition_single(out, &lost, (double)counts.lost);
    exposition_single(out, &held, (double)counts.held);
}

/* -- workers -- */

struct family {
    struct metric metric;
    size_t offset; /* of the counter */
    double unit;   /* what one of it is worth */
};

#define WORKER(member) offsetof(struct worker_stats, member), 1
#define SERVER(member) offsetof(struct server_stats, member), 1

static const struct family of_workers[] = {
    {{"mixengine_subscriptions", "gauge", "Subscriptions of clients to channels."},
     WORKER(subscriptions)},
    {{"mixengine_channels", "gauge",
      "Channels with a subscriber; one that has some on two workers is counted by both."},
     WORKER(channels)},
    {{"mixengine_contexts", "gauge", "Context tables of clients."}, WORKER(contexts)},
    {{"mixengine_tasks_suspended", "gauge", "Handlers that wait for something."},
     WORKER(tasks_suspended)},
    {{"mixengine_http_requests", "gauge", "Requests of scripts under way or waiting."},
     WORKER(http_requests)},
    {{"mixengine_http_requests_total", "counter", "Requests that scripts made."},
     WORKER(http_requests_total)},
    {{"mixengine_http_errors_total", "counter", "Requests of scripts without an answer."},
     WORKER(http_errors)},
    {{"mixengine_lua_memory_bytes", "gauge", "Memory of the scripts, each second."},
     WORKER(lua_bytes)},
    {{"mixengine_loop_lag_seconds", "gauge",
      "How late the worker's last timer of each second came."},
     offsetof(struct worker_stats, loop_lag_ns),
     1e-9},
};

static const struct family of_servers[] = {
    {{"mixengine_read_messages_total", "counter", "Messages decoded from clients."},
     SERVER(read_messages)},
    {{"mixengine_send_messages_total", "counter", "Frames queued to clients."},
     SERVER(send_messages)},
    {{"mixengine_send_errors_total", "counter", "Sends that failed."}, SERVER(send_errors)},
    {{"mixengine_read_bytes_total", "counter", "Bytes read from clients."},
     SERVER(bytes.read_bytes)},
    {{"mixengine_written_bytes_total", "counter", "Bytes written to clients."},
     SERVER(bytes.written_bytes)},
    {{"mixengine_dropped_messages_total", "counter", "Messages left out for slow clients."},
     SERVER(bytes.dropped_messages)},
    {{"mixengine_tls_handshakes_total", "counter", "TLS handshakes with clients that succeeded."},
     SERVER(tls.handshakes)},
    {{"mixengine_tls_failures_total", "counter", "TLS handshakes with clients that failed."},
     SERVER(tls.failures)},
};

static double value_of(const struct family *family, const void *stats)
{
    const counter *c = (const counter *)((const char *)stats + family->offset);
    return (double)counter_get(c) * family->unit;
}

static struct metric_label label_of(const char *name, const char *text)
{
    return (struct metric_label){name, text, strlen(text)};
}

enum { NUMBER_TEXT = 16 };

static struct metric_label worker_label(int worker, char text[NUMBER_TEXT])
{
    snprintf(text, NUMBER_TEXT, "%d", worker);
    return label_of("worker", text);
}

static void append_worker_family(struct buf *out, const struct metrics_source *source,
                                 const struct family *family)
{
    char text[NUMBER_TEXT];
    exposition_family(out, &family->metric);
    for (int i = 0; i < source->worker_count; i++) {
        struct metric_label label = worker_label(i, text);
        exposition_sample(out, &family->metric, "", &label, 1,
                          value_of(family, worker_stats(source->workers[i])));
    }
}

static void append_stalls(struct buf *out, const struct metrics_source *source)
{
    static const struct metric stalls = {"mixengine_stalls_total", "counter",
                                         "Calls of scripts that did not return in time."};
    char text[NUMBER_TEXT];
    exposition_family(out, &stalls);
    for (int i = 0; i < source->worker_count; i++) {
        struct metric_label label = worker_label(i, text);
        exposition_sample(out, &stalls, "", &label, 1,
                          (double)watchdog_stalls(source->watchdog, i));
    }
}

static void append_workers(struct buf *out, const struct metrics_source *source)
{
    for (size_t i = 0; i < sizeof of_workers / sizeof *of_workers; i++)
        append_worker_family(out, source, &of_workers[i]);
    append_stalls(out, source);
}

static void append_reloads(struct buf *out, const struct metrics_source *source)
{
    static const struct metric done = {"mixengine_reloads_total", "counter",
                                       "Scripts of a server that were loaded again."};
    static const struct metric failed = {"mixengine_reload_failures_total", "counter",
                                         "Scripts of a server that could not be loaded again."};
    exposition_single(out, &done, (double)counter_get(&source->reloads->done));
    exposition_single(out, &failed, (double)counter_get(&source->reloads->failed));
}

static void append_overload(struct buf *out, const struct metrics_source *source)
{
    static const struct metric limit = {"mixengine_memory_limit_bytes", "gauge",
                                        "engine.memoryLimit; 0: none."};
    static const struct metric over = {
        "mixengine_memory_short", "gauge",
        "1 while memory is short: new clients wait, and pushes fail."};
    static const struct metric shed = {"mixengine_memory_dropped_consumers_total", "counter",
                                       "Consumers that were dropped as memory was short."};
    exposition_single(out, &limit, (double)counter_get(&source->overload->limit));
    exposition_single(out, &over, (double)counter_get(&source->overload->over));
    exposition_single(out, &shed, (double)counter_get(&source->overload->shed_consumers));
}

/* -- servers, summed over the workers but for what shows how they share the load -- */

static struct metric_label server_label(const struct config_server *server, char text[ADDRESS_TEXT])
{
    struct sockaddr_storage address;
    CHECK(address_from_bind(&address, server->listen.bind, server->listen.port));
    address_text(&address, text);
    return label_of("server", text);
}

static double sum_of(const struct metrics_source *source, size_t server,
                     const struct family *family)
{
    double sum = 0;
    for (int i = 0; i < source->worker_count; i++)
        sum += value_of(family, worker_server_stats(source->workers[i], (int)server));
    return sum;
}

static void append_server_family(struct buf *out, const struct metrics_source *source,
                                 const struct family *family)
{
    char text[ADDRESS_TEXT];
    exposition_family(out, &family->metric);
    for (size_t i = 0; i < source->config->server_count; i++) {
        struct metric_label label = server_label(&source->config->servers[i], text);
        exposition_sample(out, &family->metric, "", &label, 1, sum_of(source, i, family));
    }
}

static void append_connections(struct buf *out, const struct metrics_source *source)
{
    static const struct family connections = {
        {"mixengine_connections", "gauge", "Client connections."}, SERVER(connections)};
    char server[ADDRESS_TEXT], worker[NUMBER_TEXT];
    exposition_family(out, &connections.metric);
    for (size_t i = 0; i < source->config->server_count; i++)
        for (int j = 0; j < source->worker_count; j++) {
            struct metric_label labels[] = {server_label(&source->config->servers[i], server),
                                            worker_label(j, worker)};
            exposition_sample(
                out, &connections.metric, "", labels, 2,
                value_of(&connections, worker_server_stats(source->workers[j], (int)i)));
        }
}

/* A family whose counters lie in an array, one for each value of `label`. */
static void append_by(struct buf *out, const struct metrics_source *source,
                      const struct metric *metric, const char *label, const char *const *values,
                      int count, size_t offset)
{
    char server[ADDRESS_TEXT];
    exposition_family(out, metric);
    for (size_t i = 0; i < source->config->server_count; i++)
        for (int j = 0; j < count; j++) {
            struct family one = {*metric, offset + (size_t)j * sizeof(counter), 1};
            struct metric_label labels[] = {server_label(&source->config->servers[i], server),
                                            label_of(label, values[j])};
            exposition_sample(out, metric, "", labels, 2, sum_of(source, i, &one));
        }
}

static void append_script_errors(struct buf *out, const struct metrics_source *source)
{
    static const struct metric errors = {"mixengine_script_errors_total", "counter",
                                         "Errors raised by scripts."};
    append_by(out, source, &errors, "handler", script_handler_names, HANDLERS,
              offsetof(struct server_stats, script_errors));
}

static void append_closes(struct buf *out, const struct metrics_source *source)
{
    static const struct metric closes = {"mixengine_closes_total", "counter",
                                         "Client connections that ended."};
    static const char *const reasons[CLOSE_REASONS] = {
        [CLOSE_CLIENT] = "client",     [CLOSE_SCRIPT] = "script",   [CLOSE_CONSUMER] = "consumer",
        [CLOSE_RESET] = "reset",       [CLOSE_TIMEOUT] = "timeout", [CLOSE_SLOW] = "slow",
        [CLOSE_PROTOCOL] = "protocol", [CLOSE_REFUSED] = "refused", [CLOSE_ERROR] = "error",
        [CLOSE_STOP] = "stop",         [CLOSE_LIMIT] = "limit",     [CLOSE_MEMORY] = "memory",
    };
    append_by(out, source, &closes, "reason", reasons, CLOSE_REASONS,
              offsetof(struct server_stats, closes));
}

static void append_addresses(struct buf *out, const struct metrics_source *source)
{
    static const struct metric addresses = {"mixengine_addresses", "gauge",
                                            "Addresses that limits by address keep in mind."};
    char text[ADDRESS_TEXT];
    exposition_family(out, &addresses);
    for (size_t i = 0; i < source->config->server_count; i++) {
        struct metric_label label = server_label(&source->config->servers[i], text);
        exposition_sample(out, &addresses, "", &label, 1,
                          (double)counter_get(&tally_counters(source->tallies[i])->addresses));
    }
}

static void append_refused(struct buf *out, const struct metrics_source *source)
{
    static const struct metric refused = {"mixengine_refused_total", "counter",
                                          "Connections that a limit by address refused."};
    static const char *const limits[TALLY_LIMITS] = {
        [TALLY_CONNECTS] = "connectsPerSecond", [TALLY_CONNECTIONS] = "connectionsPerAddress"};
    char text[ADDRESS_TEXT];
    exposition_family(out, &refused);
    for (size_t i = 0; i < source->config->server_count; i++)
        for (int j = 0; j < TALLY_LIMITS; j++) {
            struct metric_label labels[] = {server_label(&source->config->servers[i], text),
                                            label_of("limit", limits[j])};
            exposition_sample(out, &refused, "", labels, 2,
                              (double)counter_get(&tally_counters(source->tallies[i])->refused[j]));
        }
}

static void append_servers(struct buf *out, const struct metrics_source *source)
{
    append_connections(out, source);
    for (size_t i = 0; i < sizeof of_servers / sizeof *of_servers; i++)
        append_server_family(out, source, &of_servers[i]);
    append_script_errors(out, source);
    append_closes(out, source);
    append_addresses(out, source);
    append_refused(out, source);
}

/* -- connmix's own names -- */

static const char *const protocols[] = {"socket", "websocket"};

static bool speaks(const struct config_server *server, const char *protocol)
{
    bool websocket = server->protocol == CONFIG_PROTOCOL_WEBSOCKET;
    return strcmp(protocol, websocket ? "websocket" : "socket") == 0;
}

static double sum_of_protocol(const struct metrics_source *source, const char *protocol,
                              const struct family *family)
{
    double sum = 0;
    for (size_t i = 0; i < source->config->server_count; i++)
        if (speaks(&source->config->servers[i], protocol))
            sum += sum_of(source, i, family);
    return sum;
}

static void view_of_protocol(const struct metrics_source *source, const char *protocol,
                             struct summary_view *view)
{
    uint64_t now = clock_ns();
    for (size_t i = 0; i < source->config->server_count; i++)
        for (int j = 0; j < source->worker_count; j++)
            if (speaks(&source->config->servers[i], protocol))
                summary_add_to(worker_server_stats(source->workers[j], (int)i)->send_duration, now,
                               view);
}

static void append_quantiles(struct buf *out, const struct metric *metric, const char *protocol,
                             const char *scenario, const struct summary_view *view)
{
    static const struct {
        double value;
        const char *text;
    } quantiles[] = {{0, "0"}, {0.25, "0.25"}, {0.5, "0.5"}, {0.75, "0.75"}, {1, "1"}};
    struct metric_label labels[] = {
        label_of("protocol", protocol), label_of("scenario", scenario), {0}};
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        labels[2] = label_of("quantile", quantiles[i].text);
        exposition_sample(out, metric, "", labels, 3, summary_quantile(view, quantiles[i].value));
    }
    exposition_sample(out, metric, "_sum", labels, 2, view->sum);
    exposition_sample(out, metric, "_count", labels, 2, (double)view->count);
}

static void append_durations(struct buf *out, const struct metrics_source *source)
{
    static const struct metric duration = {
        "connmix_engine_servers_send_duration_seconds", "summary",
        "From a command's post to the write queues of its clients."};
    static const struct summary_view none;
    exposition_family(out, &duration);
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++) {
        struct summary_view view = {0};
        view_of_protocol(source, protocols[i], &view);
        append_quantiles(out, &duration, protocols[i], "local", &view);
        append_quantiles(out, &duration, protocols[i], "forward", &none);
    }
}

static double sum_of_workers(const struct metrics_source *source, size_t offset)
{
    struct family family = {.offset = offset, .unit = 1};
    double sum = 0;
    for (int i = 0; i < source->worker_count; i++)
        sum += value_of(&family, worker_stats(source->workers[i]));
    return sum;
}

/* A gauge whose name ends as a counter's: it has no type, so that nobody takes its rate. */
static void append_center(struct buf *out, const struct metrics_source *source)
{
    static const struct metric channels = {
        "connmix_center_registry_channels_total", "untyped",
        "Channels with a subscriber; one that has some on two workers is counted by both."};
    static const struct metric clients = {"connmix_center_registry_clients", "gauge",
                                          "Client connections."};
    static const struct metric nodes = {"connmix_center_registry_engine_nodes", "gauge",
                                        "Engines that the center knows."};
    exposition_single(out, &channels,
                      sum_of_workers(source, offsetof(struct worker_stats, channels)));
    exposition_single(out, &clients,
                      sum_of_workers(source, offsetof(struct worker_stats, connections)));
    exposition_single(out, &nodes, 1);
}

static void append_connmix(struct buf *out, const struct metrics_source *source)
{
    static const struct metric clients = {"connmix_engine_servers_clients", "gauge",
                                          "Client connections."};
    static const struct family families[] = {
        {{"connmix_engine_servers_read_messages_total", "counter",
          "Messages decoded from clients."},
         SERVER(read_messages)},
        {{"connmix_engine_servers_send_messages_total", "counter", "Frames queued to clients."},
         SERVER(send_messages)},
        {{"connmix_engine_servers_send_errors_total", "counter", "Sends that failed."},
         SERVER(send_errors)},
    };
    exposition_single(out, &clients,
                      sum_of_workers(source, offsetof(struct worker_stats, connections)));
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        exposition_family(out, &families[i].metric);
        for (size_t j = 0; j < sizeof protocols / sizeof *protocols; j++) {
            struct metric_label label = label_of("protocol", protocols[j]);
            exposition_sample(out, &families[i].metric, "", &label, 1,
                              sum_of_protocol(source, protocols[j], &families[i]));
        }
    }
    append_durations(out, source);
    append_center(out, source);
}

void metrics_append(struct buf *out, const struct metrics_source *source)
{
    append_process(out);
    append_log(out);
    append_workers(out, source);
    append_reloads(out, source);
    append_overload(out, source);
    append_servers(out, source);
    append_connmix(out, source);
}
