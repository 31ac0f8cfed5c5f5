/* What a worker counts: for itself, and for each of its servers. Written by its thread alone, read
 * by any; each in cache lines of its own. */
#pragma once

#include "base/counter.h"
#include "base/summary.h"
#include "net/conn.h"
#include "net/preface.h"
#include <stdalign.h>

struct worker_stats {
    alignas(64) counter connections;
    counter subscriptions, channels;
    counter contexts;        /* context tables that exist */
    counter tasks_suspended; /* coroutines that wait for something */
    counter http_requests;   /* under way or waiting */
    counter http_requests_total, http_errors;
    counter lua_bytes;   /* of all VMs, each second */
    counter loop_lag_ns; /* how late the timer of the last second came */
};

/* In which function of a script an error was raised. */
enum script_handler {
    HANDLER_CONNECT,
    HANDLER_HANDSHAKE,
    HANDLER_INPUT,
    HANDLER_DECODE,
    HANDLER_MESSAGE,
    HANDLER_ENCODE,
    HANDLER_CLOSE,
    HANDLER_TIMER,
    HANDLER_OTHER, /* the chunk, init */
    HANDLERS,
};

/* "on_message"; how the log and the metrics name it. */
extern const char *const script_handler_names[HANDLERS];
enum script_handler script_handler_named(const char *name);

struct server_stats {
    alignas(64) struct conn_counters bytes;
    struct preface_counters tls;
    counter connections;
    counter read_messages, send_messages, send_errors;
    counter script_errors[HANDLERS];
    counter closes[CLOSE_REASONS];
    struct summary *send_duration; /* of commands: from their post to the client's write queue */
};
