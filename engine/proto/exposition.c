#include "proto/exposition.h"
#include "proto/utf8.h"
#include <math.h>

static const char REPLACEMENT[] = "\xef\xbf\xbd";

void exposition_family(struct buf *out, const struct metric *metric)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
               metric->type);
}

static void append_valid(struct buf *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n')
            buf_append(out, "\\n", 2);
        else if (text[i] == '"' || text[i] == '\\')
            buf_printf(out, "\\%c", text[i]);
        else
            buf_append_char(out, text[i]);
    }
}

static void append_text(struct buf *out, const char *text, size_t len)
{
    for (;;) {
        size_t good = utf8_prefix(text, len);
        append_valid(out, text, good);
        if (good == len)
            return;
        buf_append_str(out, REPLACEMENT);
        size_t past = good + utf8_bad_len(text + good, len - good);
        text += past;
        len -= past;
    }
}

static void append_labels(struct buf *out, const struct metric_label *labels, size_t count)
{
    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        buf_append_char(out, i == 0 ? '{' : ',');
        buf_printf(out, "%s=\"", labels[i].name);
        append_text(out, labels[i].value, labels[i].len);
        buf_append_char(out, '"');
    }
    buf_append_char(out, '}');
}

/* Whole numbers in full: a counter that is rounded seems to stand still. */
static void append_value(struct buf *out, double value)
{
    if (isnan(value))
        buf_append_str(out, "NaN");
    else if (value == floor(value) && fabs(value) < 1e15)
        buf_printf(out, "%.0f", value);
    else
        buf_printf(out, "%.9g", value);
}

void exposition_sample(struct buf *out, const struct metric *metric, const char *suffix,
                       const struct metric_label *labels, size_t count, double value)
{
    buf_append_str(out, metric->name);
    buf_append_str(out, suffix);
    append_labels(out, labels, count);
    buf_append_char(out, ' ');
    append_value(out, value);
    buf_append_char(out, '\n');
}

void exposition_single(struct buf *out, const struct metric *metric, double value)
{
    exposition_family(out, metric);
    exposition_sample(out, metric, "", NULL, 0, value);
}
