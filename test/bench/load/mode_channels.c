#include "publishing.h"

static const char *check(struct options *options)
{
    options->bystanders = 0;
    if (options->join.count == 0)
        return "needs --join TEXT: what subscribes to channel {c}";
    if (options->subscribers > options->connections)
        return "needs at least as many --conns as --subscribers of a channel";
    return publishing_check(options);
}

static void plan(struct run *run)
{
    const struct options *options = run->options;
    run->main.join = &options->join;
    publishing_plan(run, options->channels, options->subscribers, 0);
}

static bool report(const struct run *run, struct report *report)
{
    const struct deliveries *deliveries = &run->deliveries;
    double subscriptions = (double)deliveries->channels * deliveries->subscribers;
    report_count(report, "channels", deliveries->channels);
    report_count(report, "subscribers", deliveries->subscribers);
    report_number(report, "subscriptions_per_s", subscriptions / run->connect_s, "/s");
    return publishing_report(run, report);
}

const struct mode mode_channels = {
    .name = "channels",
    .summary = "many channels of a few subscribers each; publishes go to one after another",
    .check = check,
    .plan = plan,
    .measure = publishing_measure,
    .report = report,
    .units = publishing_units,
};
