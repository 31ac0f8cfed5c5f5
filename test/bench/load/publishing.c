#include "publishing.h"

#include "base/clock.h"
#include "stamp.h"
#include "subscriber.h"
#include "text_template.h"
#include <stdio.h>

enum { SETTLE_MS = 200, LATE_MS = 100, POLL_MS = 2, TIME_MAX = 60 };

const char *publishing_check(struct options *options)
{
    if (!options->publish_url_text || !options->publish.data)
        return "needs --pub-ws URL and --pub-frame TEXT, or --pub-http URL and --pub-body TEXT";
    if (!template_has_message(options->publish))
        return "needs {msg} in what is published";
    if (options->size < STAMP_LEN)
        options->size = STAMP_LEN;
    if (options->time == 0)
        options->time = TIME_MAX;
    return NULL;
}

void publishing_plan(struct run *run, uint32_t channels, uint32_t subscribers, uint32_t slow)
{
    const struct options *options = run->options;
    run->main.role = &subscriber_role;
    run->main.slow = slow;
    run->publisher.count = 1;
    run->bystanders.count = options->bystanders;
    run->bystanders.rate = options->bystander_rate;
    deliveries_init(&run->deliveries, channels, subscribers, options->connections,
                    options->messages, slow);
}

/* ---- measuring ---- */

static uint64_t wanted(const struct run *run)
{
    return (uint64_t)run->options->messages * run->deliveries.expected;
}

static double seconds_between(uint64_t from, uint64_t to)
{
    return (double)(int64_t)(to - from) / 1e9;
}

/* What is owed comes, or nothing does for --drain seconds after something was due. */
static void wait_for_deliveries(const struct run *run)
{
    const struct options *options = run->options;
    uint64_t seen = 0, moved = clock_ns();
    while (!run_interrupted()) {
        uint64_t now = clock_ns();
        uint64_t done = run_count(run, COUNT_DELIVERED) + run_count(run, COUNT_PUBLISHED);
        if (done != seen)
            moved = now;
        seen = done;
        if (run_count(run, COUNT_DELIVERED) >= wanted(run) ||
            seconds_between(moved, now) > options->drain ||
            seconds_between(run->started_ns, now) > options->time)
            break;
        run_sleep(POLL_MS / 1e3);
    }
}

/* Slow readers read on at full speed while the run drains. */
static void wait_for_slow(const struct run *run)
{
    uint64_t slow = run->deliveries.subscribers - run->deliveries.expected;
    uint64_t all = run_count(run, COUNT_PUBLISHED) * slow, seen = 0, moved = clock_ns();
    double patience = run->options->drain < 1 ? run->options->drain : 1;
    while (!run_interrupted() && run_count(run, COUNT_SLOW_DELIVERED) < all &&
           run_count(run, COUNT_SLOW_DROPPED) < slow &&
           seconds_between(moved, clock_ns()) < patience) {
        uint64_t now = run_count(run, COUNT_SLOW_DELIVERED);
        if (now != seen)
            moved = clock_ns();
        seen = now;
        run_sleep(POLL_MS / 1e3);
    }
}

void publishing_measure(struct run *run)
{
    run_sleep(SETTLE_MS / 1e3);
    run_begin(run);
    run_measure(run);
    wait_for_deliveries(run);
    run_done(run);
    run_drain(run);
    wait_for_slow(run);
    run_sleep(LATE_MS / 1e3); /* for what comes twice */
}

/* ---- the report ---- */

uint64_t publishing_units(const struct run *run)
{
    return tally_get(run->total, COUNT_DELIVERED);
}

/* From the first publish to the last delivery. */
static double span(const struct run *run)
{
    uint64_t last = tally_get(run->total, COUNT_LAST_DELIVERY);
    return seconds_between(run->started_ns, last > run->started_ns ? last : run->end.ns);
}

static void report_publisher(const struct run *run, struct report *report)
{
    const struct options *options = run->options;
    uint64_t refused = tally_get(run->total, COUNT_PUBLISH_REFUSED);
    report_count(report, "size", options->size);
    report_count(report, "published", tally_get(run->total, COUNT_PUBLISHED));
    report_count(report, "publisher_replies", tally_get(run->total, COUNT_PUBLISH_ANSWERED));
    if (refused)
        report_count(report, "publish_refused", refused);
    if (options->rate > 0)
        report_number(report, "rate", options->rate, "/s");
    else
        report_count(report, "window", options->window);
}

bool publishing_report(const struct run *run, struct report *report)
{
    const struct tally *total = run->total;
    uint64_t delivered = tally_get(total, COUNT_DELIVERED), stray = tally_get(total, COUNT_STRAY);
    uint64_t repeated = tally_get(total, COUNT_REPEATED);
    uint64_t published = tally_get(total, COUNT_PUBLISHED);
    uint64_t want = published * run->deliveries.expected;
    report_publisher(run, report);
    report_number(report, "seconds", span(run), "s");
    report_count(report, "delivered", delivered);
    report_number(report, "deliveries_per_s", (double)delivered / span(run), "/s");
    report_number(report, "published_per_s", (double)published / span(run), "/s");
    report_histogram(report, "lat", &total->latency);
    report_histogram(report, "complete", &total->complete);
    report_count(report, "complete_messages", tally_get(total, COUNT_COMPLETE));
    report_count(report, "lost", want > delivered ? want - delivered : 0);
    report_count(report, "gaps", tally_get(total, COUNT_GAPS));
    report_count(report, "duplicated_or_reordered", repeated);
    if (stray)
        report_count(report, "stray", stray);
    return published && delivered == want && !repeated && !stray &&
           !tally_get(total, COUNT_PUBLISH_REFUSED);
}

bool publishing_report_bystanders(const struct run *run, struct report *report, const char *prefix)
{
    if (run->bystanders.count == 0)
        return true;
    const struct tally *total = run->total;
    uint64_t unanswered = tally_get(total, COUNT_SENT) - tally_get(total, COUNT_HEARD);
    uint64_t wrong = tally_get(total, COUNT_MISMATCHED) + tally_get(total, COUNT_UNEXPECTED);
    char key[64];
    snprintf(key, sizeof key, "%s_conns", prefix);
    report_count(report, key, run->bystanders.count);
    snprintf(key, sizeof key, "%s_messages", prefix);
    report_count(report, key, tally_get(total, COUNT_MEASURED));
    report_histogram(report, prefix, &run->bystander_total->latency);
    snprintf(key, sizeof key, "%s_unanswered", prefix);
    report_count(report, key, unanswered);
    snprintf(key, sizeof key, "%s_wrong", prefix);
    report_count(report, key, wrong);
    return !unanswered && !wrong;
}
