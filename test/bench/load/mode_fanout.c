#include "publishing.h"

static void plan(struct run *run)
{
    publishing_plan(run, 1, run->options->connections, 0);
}

static bool report(const struct run *run, struct report *report)
{
    bool good = publishing_report(run, report);
    return publishing_report_bystanders(run, report, "bystander") && good;
}

const struct mode mode_fanout = {
    .name = "fanout",
    .summary = "one channel that every connection subscribes to; --bystanders echo meanwhile",
    .check = publishing_check,
    .plan = plan,
    .measure = publishing_measure,
    .report = report,
    .units = publishing_units,
};
