#include "publishing.h"

enum { BYSTANDERS = 10, SLOW_SHARE = 10 };

static const char *check(struct options *options)
{
    if (options->bystanders == 0)
        options->bystanders = BYSTANDERS;
    if (options->slow == 0)
        options->slow = options->connections / SLOW_SHARE;
    if (options->slow >= options->connections)
        return "needs subscribers that are not --slow";
    return publishing_check(options);
}

static void plan(struct run *run)
{
    publishing_plan(run, 1, run->options->connections, run->options->slow);
}

static void report_slow(const struct run *run, struct report *report)
{
    const struct tally *total = run->total;
    uint64_t slow = run->options->slow, delivered = tally_get(total, COUNT_SLOW_DELIVERED);
    report_count(report, "slow_conns", slow);
    report_count(report, "slow_delivered", delivered);
    report_count(report, "slow_lost", tally_get(total, COUNT_PUBLISHED) * slow - delivered);
    report_count(report, "slow_disconnected", tally_get(total, COUNT_SLOW_DROPPED));
}

static bool report(const struct run *run, struct report *report)
{
    bool good = publishing_report(run, report);
    report_count(report, "fast_conns", run->deliveries.expected);
    report_count(report, "fast_disconnected", tally_get(run->total, COUNT_DROPPED));
    report_slow(run, report);
    return publishing_report_bystanders(run, report, "echo") && good;
}

const struct mode mode_mixed = {
    .name = "mixed",
    .summary = "fanout with readers that are --slow, and --bystanders (10) that echo",
    .check = check,
    .plan = plan,
    .measure = publishing_measure,
    .report = report,
    .units = publishing_units,
};
