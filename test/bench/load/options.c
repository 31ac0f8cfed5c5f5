#include "options.h"

#include "base/mem.h"
#include "config/edit_distance.h"
#include "fatal.h"
#include "mode.h"
#include "process.h"
#include "text_template.h"
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a value goes, by its type. */
enum kind { HEADING, FLAG, COUNT, NUMBER, TEXT, TAKE };

struct spec {
    enum kind kind;
    const char *name, *argument, *help;
    size_t offset;
    double min, max;
    bool (*take)(struct options *options, const char *text); /* false: too many, or malformed */
};

static bool take_header(struct options *options, const char *text)
{
    buf_printf(&options->headers, "%s\r\n", text);
    return true;
}

static bool take_publish_header(struct options *options, const char *text)
{
    buf_printf(&options->publish_headers, "%s\r\n", text);
    return true;
}

static bool take_publish_ws(struct options *options, const char *text)
{
    options->publish_url_text = text;
    options->publish_http = false;
    return true;
}

static bool take_publish_http(struct options *options, const char *text)
{
    options->publish_url_text = text;
    options->publish_http = true;
    return true;
}

static bool take_publish(struct options *options, const char *text)
{
    free((char *)options->publish.data);
    options->publish = template_unescape(text);
    return true;
}

static bool take_pid(struct options *options, const char *text)
{
    char *end;
    long pid = strtol(text, &end, 10);
    if (*end || pid <= 0 || pid > INT32_MAX || options->pid_count == OPTIONS_PIDS_MAX)
        return false;
    if (!process_exists((pid_t)pid))
        fatal("--pid %s: there is no such process", text);
    options->pids[options->pid_count++] = (pid_t)pid;
    return true;
}

static bool take_auto(struct options *options, const char *text)
{
    const char *equals = strchr(text, '=');
    if (!equals || options->auto_count == OPTIONS_AUTO_MAX)
        return false;
    char *when = xstrndup(text, (size_t)(equals - text));
    options->autos[options->auto_count++] =
        (struct options_auto){template_unescape(when), template_unescape(equals + 1)};
    free(when);
    return true;
}

#define STEP_OPTIONS(name, steps)                                                                  \
    static bool take_##name(struct options *options, const char *text)                             \
    {                                                                                              \
        return steps_send(&options->steps, text, true);                                            \
    }                                                                                              \
    static bool take_##name##_nowait(struct options *options, const char *text)                    \
    {                                                                                              \
        return steps_send(&options->steps, text, false);                                           \
    }                                                                                              \
    static bool take_##name##_expect(struct options *options, const char *text)                    \
    {                                                                                              \
        return steps_expect(&options->steps, text);                                                \
    }

STEP_OPTIONS(pre, preamble)
STEP_OPTIONS(join, join)
STEP_OPTIONS(step, script)
STEP_OPTIONS(pub_pre, publish_preamble)

#define AT(member) offsetof(struct options, member)
#define HEAD(text)                                                                                 \
    {                                                                                              \
        .kind = HEADING, .help = text                                                              \
    }
#define IS(name_, member, help_)                                                                   \
    {                                                                                              \
        .kind = FLAG, .name = name_, .help = help_, .offset = AT(member)                           \
    }
#define N(name_, member, min_, max_, help_)                                                        \
    {                                                                                              \
        .kind = COUNT, .name = name_, .argument = "N", .help = help_, .offset = AT(member),        \
        .min = min_, .max = max_                                                                   \
    }
#define F(name_, argument_, member, max_, help_)                                                   \
    {                                                                                              \
        .kind = NUMBER, .name = name_, .argument = argument_, .help = help_, .offset = AT(member), \
        .max = max_                                                                                \
    }
#define S(name_, argument_, member, help_)                                                         \
    {                                                                                              \
        .kind = TEXT, .name = name_, .argument = argument_, .help = help_, .offset = AT(member)    \
    }
#define T(name_, argument_, take_, help_)                                                          \
    {                                                                                              \
        .kind = TAKE, .name = name_, .argument = argument_, .help = help_, .take = take_           \
    }

enum { DAY = 86400, RATE_MAX = 100000000 };

static const struct spec specs[] = {
    HEAD("Any mode"),
    S("url", "URL", url_text,
      "ws://HOST[:PORT][/PATH], or wss:; {i} or %d in it is the connection's number"),
    IS("remote", remote, "allow a host that is not this machine; only put load on what is yours"),
    N("conns", connections, 1, 1000000, "connections; those of subscribers"),
    N("threads", threads, 1, OPTIONS_THREADS_MAX, "threads that share them"),
    T("header", "'K: V'", take_header, "a header for the handshake; may be repeated"),
    T("pre", "TEXT", take_pre, "preamble: send TEXT, wait for a message; may be repeated"),
    T("pre-expect", "TEXT", take_pre_expect,
      "which holds this; before any --pre, or a second time: wait without sending"),
    T("pre-nowait", "TEXT", take_pre_nowait, "preamble: send TEXT, do not wait"),
    T("auto", "IN=OUT", take_auto, "answer OUT to each message that is IN; may be repeated"),
    IS("binary", binary, "send binary frames, not text"),
    N("inflight", in_flight, 1, 100000, "handshakes under way at once"),
    F("connect-timeout", "SECONDS", connect_timeout, DAY, "until all must be connected"),
    T("pid", "PID", take_pid, "the server: tell its memory and CPU time; may be repeated"),
    IS("children", children, "count the descendants of each --pid too"),
    IS("json", json, "one line of JSON"),
    S("label", "TEXT", label, "put into the report"),
    HEAD("echo"),
    N("size", size, 1, 16 << 20, "bytes of a payload"),
    N("depth", depth, 1, 60000, "messages under way on each connection"),
    F("rate", "R", rate, RATE_MAX,
      "messages a second over all, whether answered or not; latency from when each\n"
      "was due. 0: each answer is followed by the next message"),
    F("time", "SECONDS", time, DAY,
      "to measure (5); with a publisher the most that it may take (60)"),
    F("warmup", "SECONDS", warmup, DAY, "before that"),
    F("drain", "SECONDS", drain, DAY, "at the end, for what is late, while nothing comes any more"),
    IS("no-verify", unverified, "do not compare what comes back"),
    HEAD("fanout, channels, mixed: a publisher and subscribers"),
    T("pub-ws", "URL", take_publish_ws, "where the publisher connects"),
    T("pub-frame", "TEXT", take_publish, "what it sends; {msg} in it is the payload"),
    T("pub-http", "URL", take_publish_http, "publish by HTTP POST instead, one at a time"),
    T("pub-body", "TEXT", take_publish, "its body"),
    T("pub-header", "'K: V'", take_publish_header, "a header for the publisher; may be repeated"),
    T("pub-pre", "TEXT", take_pub_pre, "the publisher's preamble"),
    T("pub-pre-expect", "TEXT", take_pub_pre_expect, "as --pre-expect"),
    T("pub-pre-nowait", "TEXT", take_pub_pre_nowait, "as --pre-nowait"),
    N("messages", messages, 1, 100000000, "to publish"),
    N("window", window, 1, 1000000, "published and not yet delivered to all, with --rate 0"),
    IS("stream", stream, "payloads are a stream of bytes: look across the borders of frames"),
    HEAD("fanout, mixed"),
    N("bystanders", bystanders, 0, 100000,
      "connections that echo meanwhile, on a thread of their own"),
    F("bystander-rate", "R", bystander_rate, RATE_MAX,
      "their messages a second together; 0: closed loop of --depth"),
    HEAD("channels"),
    N("channels", channels, 1, 1000000, "{c} counts them from 0"),
    N("subscribers", subscribers, 1, 1000000, "of each channel; at most --conns"),
    T("join", "TEXT", take_join, "sent for each channel that a connection subscribes to"),
    T("join-expect", "TEXT", take_join_expect, "as --pre-expect"),
    T("join-nowait", "TEXT", take_join_nowait, "as --pre-nowait"),
    HEAD("mixed"),
    N("slow", slow, 0, 1000000, "of the subscribers, read slowly (a tenth)"),
    F("slow-rate", "BYTES", slow_rate, 1e9, "that each of them reads in a second; 0: none"),
    HEAD("idle"),
    F("hold", "SECONDS", hold, DAY, "with open connections, then the server's memory is told"),
    F("settle", "SECONDS", settle, DAY, "more, after which it is told again"),
    HEAD("script"),
    T("step", "TEXT", take_step, "of a round: send TEXT, wait for a message; may be repeated"),
    T("step-expect", "TEXT", take_step_expect, "as --pre-expect"),
    T("step-nowait", "TEXT", take_step_nowait, "as --pre-nowait"),
};

enum { SPECS = sizeof specs / sizeof *specs };

static const struct options defaults = {
    .connections = 100,
    .threads = 1,
    .in_flight = 128,
    .size = 64,
    .depth = 1,
    .warmup = 1,
    .connect_timeout = 60,
    .drain = 10,
    .hold = 3,
    .messages = 1000,
    .window = 16,
    .channels = 1000,
    .subscribers = 10,
    .bystander_rate = 1000,
};

/* ---- help ---- */

static void print_default(const struct spec *spec)
{
    const char *at = (const char *)&defaults + spec->offset;
    double value;
    if (spec->kind == COUNT)
        value = *(const uint32_t *)at;
    else if (spec->kind == NUMBER)
        value = *(const double *)at;
    else
        return;
    if (spec->offset != AT(time) && spec->offset != AT(slow))
        printf(" [%g]", value);
}

static void print_option(const struct spec *spec)
{
    enum { WIDTH = 26 };
    char left[64];
    snprintf(left, sizeof left, "--%s%s%s", spec->name, spec->argument ? " " : "",
             spec->argument ? spec->argument : "");
    printf("  %-*s ", WIDTH, left);
    for (const char *at = spec->help, *line; *at; at = line) {
        size_t len = strcspn(at, "\n");
        line = at + len + (at[len] == '\n');
        printf("%.*s", (int)len, at);
        if (*line)
            printf("\n  %-*s ", WIDTH, "");
    }
    print_default(spec);
    puts("");
}

_Noreturn static void print_help(void)
{
    puts("Usage: engine-bench MODE --url ws://127.0.0.1:PORT/PATH [OPTIONS]\n\nModes:");
    for (const struct mode *const *mode = modes; *mode; mode++)
        printf("  %-10s %s\n", (*mode)->name, (*mode)->summary);
    for (const struct spec *spec = specs; spec < specs + SPECS; spec++) {
        if (spec->kind == HEADING)
            printf("\n%s:\n", spec->help);
        else
            print_option(spec);
    }
    puts(
        "\nIn TEXT: {i} connection, {n} round, {c} channel, {msg} the stamped payload; \\n \\r \\t "
        "\\0 \\\\ \\xHH.\n"
        "Status: 0 all is well; 1 the server broke a rule, or something was lost or refused; 2 it "
        "could\nnot be measured.");
    exit(STATUS_GOOD);
}

static bool asks_for_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

/* ---- reading ---- */

static const struct spec *find(const char *name)
{
    for (const struct spec *spec = specs; spec < specs + SPECS; spec++)
        if (spec->name && strcmp(spec->name, name) == 0)
            return spec;
    return NULL;
}

_Noreturn static void unknown_option(const char *word)
{
    const struct spec *nearest = &specs[1];
    const char *name = word + strspn(word, "-");
    for (const struct spec *spec = specs; spec < specs + SPECS; spec++)
        if (spec->name && edit_distance(name, spec->name) < edit_distance(name, nearest->name))
            nearest = spec;
    fatal("unknown option '%s'; the nearest known one is '--%s'. Try: engine-bench --help", word,
          nearest->name);
}

static double number_of(const struct spec *spec, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    bool whole = spec->kind != COUNT || value == floor(value);
    if (end == text || *end || !whole || !(value >= spec->min && value <= spec->max))
        fatal("--%s: found '%s'; allowed is a %snumber from %.10g to %.10g", spec->name, text,
              spec->kind == COUNT ? "whole " : "", spec->min, spec->max);
    return value;
}

static void take_value(struct options *options, const struct spec *spec, const char *text)
{
    char *at = (char *)options + spec->offset;
    if (spec->kind == COUNT)
        *(uint32_t *)at = (uint32_t)number_of(spec, text);
    else if (spec->kind == NUMBER)
        *(double *)at = number_of(spec, text);
    else if (spec->kind == TEXT)
        *(const char **)at = text;
    else if (!spec->take(options, text))
        fatal("--%s: '%s' is not %s, or one too many", spec->name, text, spec->argument);
}

/* `--name value` and `--name=value`. */
static void take_options(struct options *options, char **words)
{
    for (; *words; words++) {
        char name[64];
        const char *value = strchr(*words, '=');
        int len = value ? (int)(value - *words) : (int)strlen(*words);
        snprintf(name, sizeof name, "%.*s", len, *words);
        if (asks_for_help(name))
            print_help();
        const struct spec *spec = strncmp(name, "--", 2) == 0 ? find(name + 2) : NULL;
        if (!spec)
            unknown_option(name);
        if (spec->kind == FLAG) {
            if (value)
                fatal("--%s takes no value", spec->name);
            *(bool *)((char *)options + spec->offset) = true;
            continue;
        }
        if (!value && !*++words)
            fatal("--%s needs a value: %s", spec->name, spec->argument);
        take_value(options, spec, value ? value + 1 : *words);
    }
}

static void find_mode(struct options *options, const char *name)
{
    for (const struct mode *const *mode = modes; *mode; mode++)
        if (strcmp((*mode)->name, name) == 0)
            options->mode = *mode;
    if (!options->mode)
        fatal("unknown mode '%s'. Try: engine-bench --help", name);
}

static void find_target(struct target *target, const char *option, const char *url, bool remote)
{
    const char *why = target_parse(target, url, remote);
    if (why)
        fatal("%s: '%s': %s", option, url, why);
}

static void find_targets(struct options *options)
{
    if (!options->url_text)
        fatal("--url is missing: engine-bench %s --url ws://127.0.0.1:PORT/PATH",
              options->mode->name);
    find_target(&options->url, "--url", options->url_text, options->remote);
    if (options->publish_url_text)
        find_target(&options->publish_url, options->publish_http ? "--pub-http" : "--pub-ws",
                    options->publish_url_text, options->remote);
}

void options_parse(struct options *options, int argc, char **argv)
{
    *options = defaults;
    if (argc < 2)
        fatal("a mode is missing. Try: engine-bench --help");
    if (asks_for_help(argv[1]))
        print_help();
    find_mode(options, argv[1]);
    take_options(options, argv + 2);
    find_targets(options);
    if (options->threads > options->connections)
        options->threads = options->connections;
    const char *why = options->mode->check ? options->mode->check(options) : NULL;
    if (why)
        fatal("%s %s", options->mode->name, why);
}

void options_free(struct options *options)
{
    target_free(&options->url);
    target_free(&options->publish_url);
    buf_free(&options->headers);
    buf_free(&options->publish_headers);
    steps_free(&options->preamble);
    steps_free(&options->join);
    steps_free(&options->script);
    steps_free(&options->publish_preamble);
    free((char *)options->publish.data);
    for (size_t i = 0; i < options->auto_count; i++) {
        free((char *)options->autos[i].when.data);
        free((char *)options->autos[i].answer.data);
    }
}
