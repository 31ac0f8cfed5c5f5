#include "report.h"

#include "base/buf.h"
#include "base/json_string.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void begin(struct report *report, const char *key)
{
    if (report->json)
        printf("%s\"%s\":", report->begun ? "," : "{", key);
    else
        printf("  %-26s ", key);
    report->begun = true;
}

static void end_line(const struct report *report, const char *unit)
{
    if (!report->json)
        printf("%s%s\n", *unit ? " " : "", unit);
}

void report_number(struct report *report, const char *key, double value, const char *unit)
{
    begin(report, key);
    printf("%.6g", value);
    end_line(report, unit);
}

void report_count(struct report *report, const char *key, uint64_t value)
{
    begin(report, key);
    printf("%" PRIu64, value);
    end_line(report, "");
}

void report_text(struct report *report, const char *key, const char *value)
{
    struct buf text = {0};
    begin(report, key);
    if (report->json)
        json_string_append(&text, value, strlen(value));
    else
        buf_append_str(&text, value);
    printf("%.*s", (int)text.len, text.data);
    end_line(report, "");
    buf_free(&text);
}

static void report_us(struct report *report, const char *prefix, const char *name, double ns)
{
    char key[64];
    snprintf(key, sizeof key, "%s_%s_us", prefix, name);
    report_number(report, key, ns / 1000, "us");
}

void report_histogram(struct report *report, const char *prefix, const struct histogram *histogram)
{
    static const struct {
        const char *name;
        double percent;
    } quantiles[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99_9", 99.9}};
    for (unsigned i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
        report_us(report, prefix, quantiles[i].name,
                  (double)histogram_percentile(histogram, quantiles[i].percent));
    report_us(report, prefix, "max", (double)histogram->max);
    report_us(report, prefix, "mean", histogram_mean(histogram));
}

void report_histogram_ends(struct report *report, const char *prefix,
                           const struct histogram *histogram)
{
    report_us(report, prefix, "p50", (double)histogram_percentile(histogram, 50));
    report_us(report, prefix, "p99", (double)histogram_percentile(histogram, 99));
}

void report_end(struct report *report)
{
    if (report->json)
        puts("}");
}
