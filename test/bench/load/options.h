/* The command line: engine-bench MODE --url URL [OPTIONS]. */
#pragma once

#include "base/buf.h"
#include "steps.h"
#include "target.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { OPTIONS_THREADS_MAX = 64, OPTIONS_PIDS_MAX = 64, OPTIONS_AUTO_MAX = 8 };

struct mode;

/* Whenever a message equals `when`, `answer` is sent. */
struct options_auto {
    struct slice when, answer;
};

/* Times in seconds, rates in each second. */
struct options {
    const struct mode *mode;
    const char *url_text, *publish_url_text;
    struct target url, publish_url;
    bool publish_http, remote;
    struct buf headers, publish_headers; /* lines that end with \r\n */
    uint32_t connections, threads, in_flight, size, depth;
    double time, warmup, connect_timeout, drain, hold, settle;
    bool binary, json, stream, unverified, children;
    struct steps preamble, join, script, publish_preamble;
    struct slice publish; /* the template of what is published */
    uint32_t messages, window, channels, subscribers;
    double rate;
    uint32_t bystanders, slow;
    double bystander_rate, slow_rate;
    pid_t pids[OPTIONS_PIDS_MAX];
    size_t pid_count;
    struct options_auto autos[OPTIONS_AUTO_MAX];
    size_t auto_count;
    const char *label;
};

/* Reads it. When it is wrong, or asks for help, the process ends after telling why. */
void options_parse(struct options *options, int argc, char **argv);
void options_free(struct options *options);
