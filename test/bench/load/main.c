/* engine-bench: puts load on a WebSocket server and tells what came of it. */
#include "fatal.h"
#include "mode.h"
#include <stdio.h>

static void report_connecting(const struct run *run, struct report *report)
{
    const struct tally *total = run->total;
    const struct options *options = run->options;
    uint64_t failed = tally_get(total, COUNT_FAILED);
    double open = (double)run->connected;
    report_count(report, "conns", options->connections);
    report_count(report, "connected", run->connected);
    if (failed)
        report_count(report, "connect_failed", failed);
    report_number(report, "connect_s", run->connect_s, "s");
    report_number(report, "connects_per_s", open / run->connect_s, "/s");
    report_histogram_ends(report, "connect", &total->connect);
    if (options->preamble.count == 0)
        return;
    report_number(report, "logins_per_s", open / run->connect_s, "/s");
    report_histogram_ends(report, "login", &total->login);
}

/* CPU time is counted in ticks of 10 ms: what is much shorter has no figure. */
#define PROCESSES_SPAN 0.1

static void report_processes(const struct run *run, struct report *report)
{
    const struct mode *mode = run->options->mode;
    const struct run_mark *begin = &run->begin, *end = &run->end;
    double span = (double)(end->ns - begin->ns) / 1e9;
    if (span < PROCESSES_SPAN)
        return;
    double server = end->server.cpu_s - begin->server.cpu_s;
    double client = end->client_cpu_s - begin->client_cpu_s;
    double machine = end->server.machine_cpu_s - begin->server.machine_cpu_s;
    bool known = run->options->pid_count > 0;
    if (known && mode->units)
        report_count(report, "server_rss", end->server.rss);
    if (known)
        report_number(report, "server_cpu_cores", server / span, "cores");
    if (known && mode->units && server > 0)
        report_number(report, "per_server_cpu_s", (double)mode->units(run) / server,
                      "for each second of the server's CPU");
    report_number(report, "client_cpu_cores", client / span, "cores");
    if (known)
        report_number(report, "other_cpu_cores", (machine - server - client) / span,
                      "cores (neither server nor engine-bench: noise, softirq)");
}

/* False: the server did something wrong. */
static bool report_errors(const struct run *run, struct report *report)
{
    static const struct {
        const char *key;
        enum count count;
        bool always; /* told when it is 0, too */
        bool bad;
    } errors[] = {
        {"protocol_errors", COUNT_PROTOCOL_ERRORS, true, true},
        {"handshake_errors", COUNT_HANDSHAKE_ERRORS, false, true},
        {"connect_errors", COUNT_CONNECT_ERRORS, false, true},
        {"pings_answered", COUNT_PINGS, false, false},
        {"close_frames", COUNT_CLOSE_FRAMES, false, false},
        {"dropped_during_run", COUNT_DROPPED, true, true},
    };
    bool good = true;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        uint64_t count = tally_get(run->total, errors[i].count);
        if (count || errors[i].always)
            report_count(report, errors[i].key, count);
        good &= !(errors[i].bad && count);
    }
    if (*run_error(run))
        report_text(report, "first_error", run_error(run));
    return good;
}

static bool tell(const struct run *run)
{
    const struct options *options = run->options;
    struct report report = {.json = options->json};
    if (!options->json)
        printf("engine-bench %s  %s\n", options->mode->name, options->url_text);
    if (options->label)
        report_text(&report, "label", options->label);
    if (options->json)
        report_text(&report, "mode", options->mode->name);
    report_connecting(run, &report);
    bool good = options->mode->report(run, &report);
    report_processes(run, &report);
    good &= report_errors(run, &report);
    report_end(&report);
    return good && run->connected == options->connections && !run_interrupted();
}

int main(int argc, char **argv)
{
    struct options options;
    struct run run;
    options_parse(&options, argc, argv);
    bool good = run_all(&run, &options) && tell(&run);
    run_fini(&run);
    options_free(&options);
    return good ? STATUS_GOOD : STATUS_BAD;
}
