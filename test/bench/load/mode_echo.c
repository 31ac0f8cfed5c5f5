#include "echoer.h"
#include "mode.h"

enum { LATE_ANSWERS_MS = 50 };

static const char *check(struct options *options)
{
    if (options->time == 0)
        options->time = 5;
    return NULL;
}

static void plan(struct run *run)
{
    run->main.role = &echoer_role;
    run->main.rate = run->options->rate;
}

static void measure(struct run *run)
{
    run_begin(run);
    run_sleep(run->options->warmup);
    run_measure(run);
    run_sleep(run->options->time);
    run_done(run);
    run_drain(run);
    run_sleep(LATE_ANSWERS_MS / 1e3); /* those that were never asked for */
}

static uint64_t measured(const struct run *run)
{
    return tally_get(run->total, COUNT_MEASURED);
}

static bool report(const struct run *run, struct report *report)
{
    const struct options *options = run->options;
    const struct tally *total = run->total;
    double seconds = (double)(run->end.ns - run->begin.ns) / 1e9;
    uint64_t unanswered = tally_get(total, COUNT_SENT) - tally_get(total, COUNT_HEARD);
    report_count(report, "size", options->size);
    report_count(report, "depth", options->depth);
    if (options->rate > 0) {
        report_number(report, "rate", options->rate, "/s");
        report_count(report, "not_sent_in_time", tally_get(total, COUNT_LATE));
    }
    report_number(report, "seconds", seconds, "s");
    report_count(report, "messages", measured(run));
    report_number(report, "msgs_per_s", (double)measured(run) / seconds, "/s");
    report_histogram(report, "lat", &total->latency);
    report_count(report, "payload_mismatch", tally_get(total, COUNT_MISMATCHED));
    report_count(report, "unanswered", unanswered);
    report_count(report, "unexpected", tally_get(total, COUNT_UNEXPECTED));
    return measured(run) && !unanswered && !tally_get(total, COUNT_MISMATCHED) &&
           !tally_get(total, COUNT_UNEXPECTED);
}

const struct mode mode_echo = {
    .name = "echo",
    .summary = "messages that the server sends back: closed loop, or --rate",
    .check = check,
    .plan = plan,
    .measure = measure,
    .report = report,
    .units = measured,
};
