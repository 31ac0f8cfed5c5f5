#include "base/clock.h"
#include "base/mem.h"
#include "dialogue.h"
#include "mode.h"

struct scripted {
    struct client client;
    unsigned at;       /* the step */
    uint64_t began_ns; /* this round */
};

static struct scripted *scripted_of(struct client *client)
{
    return container_of(client, struct scripted, client);
}

static struct template_values values_of(const struct client *client)
{
    return (struct template_values){.connection = client->index, .round = client->round};
}

static void end_round(struct scripted *scripted)
{
    struct client *client = &scripted->client;
    struct tally *tally = &client->loop->tally;
    uint64_t now = clock_ns();
    tally_add(tally, COUNT_HEARD, 1);
    if (run_counts(client->loop->run, now)) {
        tally_add(tally, COUNT_MEASURED, 1);
        histogram_add(&tally->latency, now - scripted->began_ns);
    }
    client->round++;
    scripted->at = 0;
}

/* A round has a step that waits, so this ends. */
static void go_on(struct scripted *scripted)
{
    struct client *client = &scripted->client;
    while (client->state == CLIENT_OPEN) {
        struct template_values values = values_of(client);
        if (scripted->at == 0)
            scripted->began_ns = clock_ns();
        if (!dialogue_go(client, &client->loop->run->options->script, &scripted->at, &values))
            return;
        end_round(scripted);
        if (run_phase(client->loop->run) != PHASE_RUN)
            return;
    }
}

static void on_run(struct client *client)
{
    go_on(scripted_of(client));
}

static void on_message(struct client *client, const char *data, size_t len, uint64_t now)
{
    struct scripted *scripted = scripted_of(client);
    struct template_values values = values_of(client);
    (void)now;
    if (dialogue_hears(client, &client->loop->run->options->script, scripted->at, &values,
                       (struct slice){data, len})) {
        scripted->at++;
        go_on(scripted);
    } else
        tally_add(&client->loop->tally, COUNT_UNEXPECTED, 1);
}

static const struct role scripted_role = {
    .size = sizeof(struct scripted),
    .on_run = on_run,
    .on_message = on_message,
};

static const char *check(struct options *options)
{
    if (options->time == 0)
        options->time = 5;
    for (unsigned i = 0; i < options->script.count; i++)
        if (options->script.list[i].waits)
            return NULL;
    return "needs a --step that waits";
}

static void plan(struct run *run)
{
    run->main.role = &scripted_role;
}

static void measure(struct run *run)
{
    run_begin(run);
    run_sleep(run->options->warmup);
    run_measure(run);
    run_sleep(run->options->time);
    run_done(run);
}

static uint64_t rounds(const struct run *run)
{
    return tally_get(run->total, COUNT_MEASURED);
}

static bool report(const struct run *run, struct report *report)
{
    double seconds = (double)(run->end.ns - run->begin.ns) / 1e9;
    report_number(report, "seconds", seconds, "s");
    report_count(report, "rounds", rounds(run));
    report_number(report, "rounds_per_s", (double)rounds(run) / seconds, "/s");
    report_histogram(report, "lat", &run->total->latency);
    report_count(report, "unexpected", tally_get(run->total, COUNT_UNEXPECTED));
    return rounds(run) > 0;
}

const struct mode mode_script = {
    .name = "script",
    .summary = "rounds of steps that are said and heard",
    .check = check,
    .plan = plan,
    .measure = measure,
    .report = report,
    .units = rounds,
};
