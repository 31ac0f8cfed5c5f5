/* The consumer of the measurements: takes events as fast as they come, does what its mode says, and
 * prints one line of JSON when its time is over, or when SIGTERM or SIGINT ends it.
 *
 * The clock starts at the first event, once everything the topics held before has had `--warmup` to
 * go by. The text of an event is data.frame.data, as the starters push it, or data itself. */
#include <getopt.h>
#include <mix_consumer.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>

enum { TOPICS_MAX = 16 };

struct bench {
    struct mix_consumer *consumer;
    uv_timer_t timer;
    uv_signal_t sigterm, sigint;
    double warmup_s, time_s; /* of time 0: until a signal */
    bool started, measuring;
    uint64_t events, commands, failed; /* failed: commands that the library refused */
    uint64_t first_ns, last_ns;
    double cpu_s; /* used when the measured span began */
};

static struct bench bench;

/* ---- what is told ---- */

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void print_result(void)
{
    double seconds = (double)(bench.last_ns - bench.first_ns) / 1e9;
    double cpu = cpu_seconds() - bench.cpu_s;
    printf("{\"events\":%llu,\"seconds\":%.3f,\"events_per_s\":%.0f,\"commands\":%llu,"
           "\"failed\":%llu,\"cpu_seconds\":%.3f,\"events_per_cpu_s\":%.0f}\n",
           (unsigned long long)bench.events, seconds,
           seconds > 0 ? (double)bench.events / seconds : 0, (unsigned long long)bench.commands,
           (unsigned long long)bench.failed, cpu, cpu > 0 ? (double)bench.events / cpu : 0);
}

/* ---- the span ---- */

static void close_timer(void *data)
{
    (void)data;
    uv_close((uv_handle_t *)&bench.timer, NULL);
    uv_close((uv_handle_t *)&bench.sigterm, NULL);
    uv_close((uv_handle_t *)&bench.sigint, NULL);
}

static void end(void)
{
    if (!bench.consumer)
        return;
    print_result();
    mix_consumer_close(bench.consumer, close_timer, NULL);
    bench.consumer = NULL;
}

static void on_time_over(uv_timer_t *timer)
{
    (void)timer;
    end();
}

static void on_signal(uv_signal_t *signal, int number)
{
    (void)signal;
    (void)number;
    end();
}

static void measure(uv_timer_t *timer)
{
    bench.measuring = true;
    bench.events = bench.commands = bench.failed = 0;
    bench.first_ns = bench.last_ns = uv_hrtime();
    bench.cpu_s = cpu_seconds();
    if (bench.time_s > 0)
        uv_timer_start(timer, on_time_over, (uint64_t)(bench.time_s * 1000), 0);
}

static void count_event(void)
{
    if (!bench.started) {
        bench.started = true;
        uv_timer_start(&bench.timer, measure, (uint64_t)(bench.warmup_s * 1000), 0);
    }
    bench.events++;
    bench.last_ns = uv_hrtime();
}

/* ---- the modes ---- */

static void count_command(int result)
{
    bench.commands++;
    bench.failed += result != 0;
}

static const char *text_of(const struct mix_event *event)
{
    json_t *frame = json_object_get(event->data, "frame");
    return json_string_value(frame ? json_object_get(frame, "data") : event->data);
}

static void on_count(struct mix_node *node, const struct mix_event *event, void *data)
{
    (void)node;
    (void)event;
    (void)data;
    count_event();
}

static void on_echo(struct mix_node *node, const struct mix_event *event, void *data)
{
    (void)data;
    count_event();
    const char *text = text_of(event);
    if (text)
        count_command(mix_node_send(node, event->client, text, strlen(text), NULL, NULL));
}

/* Whoever says something is logged in: what is left of a login without a database. */
static void on_login(struct mix_node *node, const struct mix_event *event, void *data)
{
    (void)data;
    count_event();
    if (!text_of(event))
        return;
    count_command(
        mix_node_set_context_value(node, event->client, "uid", json_integer(1), NULL, NULL));
    count_command(mix_node_send(node, event->client, "ok", 2, NULL, NULL));
}

static const struct mode {
    const char *name, *help;
    mix_event_fn on_event;
} modes[] = {
    {"count", "takes events, and nothing else", on_count},
    {"echo", "sends the text of each event back to its client", on_echo},
    {"login", "sets the context value uid of the event's client, then sends it ok", on_login},
};

enum { MODES = sizeof modes / sizeof *modes };

static void on_notice(struct mix_node *node, const struct mix_notice *notice, void *data)
{
    (void)data;
    fprintf(stderr, "%s: %s\n", node ? mix_node_address(node) : "center", notice->text);
}

/* ---- the program ---- */

static int usage(void)
{
    puts("usage: bench-consumer MODE [options]");
    for (const struct mode *mode = modes; mode < modes + MODES; mode++)
        printf("  %-8s %s\n", mode->name, mode->help);
    puts("options\n"
         "  --center HOST:PORT  the center                                    [127.0.0.1:6787]\n"
         "  --topic NAME        a queue to consume, repeatable                [message]\n"
         "  --warmup S          from the first event until the clock starts   [0.5]\n"
         "  --time S            seconds to measure; 0: until SIGTERM          [0]");
    return EX_USAGE;
}

static const struct mode *find_mode(const char *name)
{
    for (const struct mode *mode = modes; mode < modes + MODES; mode++) {
        if (!strcmp(mode->name, name))
            return mode;
    }
    return NULL;
}

static bool read_options(int argc, char **argv, const char **center, const char **topics)
{
    static const struct option names[] = {{"center", required_argument, NULL, 'c'},
                                          {"topic", required_argument, NULL, 'q'},
                                          {"warmup", required_argument, NULL, 'w'},
                                          {"time", required_argument, NULL, 't'},
                                          {0}};
    size_t count = 0;
    for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        if (option == 'c')
            *center = optarg;
        else if (option == 'q' && count < TOPICS_MAX)
            topics[count++] = optarg;
        else if (option == 'w')
            bench.warmup_s = strtod(optarg, NULL);
        else if (option == 't')
            bench.time_s = strtod(optarg, NULL);
        else
            return false;
    }
    if (!count)
        topics[0] = "message";
    return optind == argc;
}

static int run(const struct mix_consumer_options *options)
{
    uv_loop_t *loop = uv_default_loop();
    uv_timer_init(loop, &bench.timer);
    uv_signal_init(loop, &bench.sigterm);
    uv_signal_init(loop, &bench.sigint);
    uv_signal_start(&bench.sigterm, on_signal, SIGTERM);
    uv_signal_start(&bench.sigint, on_signal, SIGINT);
    int result = mix_consumer_open(&bench.consumer, loop, options);
    if (result) {
        fprintf(stderr, "bench-consumer: %s\n", strerror(-result));
        return EX_USAGE;
    }
    uv_run(loop, UV_RUN_DEFAULT);
    return bench.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    const struct mode *mode = argc > 1 ? find_mode(argv[1]) : NULL;
    const char *center = "127.0.0.1:6787", *topics[TOPICS_MAX + 1] = {NULL};
    bench.warmup_s = 0.5;
    if (!mode || !read_options(argc - 1, argv + 1, &center, topics))
        return usage();
    struct mix_consumer_options options = {
        .center = center, .topics = topics, .on_event = mode->on_event, .on_notice = on_notice};
    return run(&options);
}
