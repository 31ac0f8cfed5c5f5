/* A descriptor that the log is written to and that somebody reads, or does not: a terminal, a pipe.
 * One that takes too little is waited for, a second for all that is written at once; one that takes
 * nothing is not waited for again before it takes something. The log's writer thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { LOG_STREAM_WAIT_MS = 1000 };

struct log_stream {
    int fd;
    bool stalled; /* it took nothing, or failed, at the last attempt */
    bool torn;    /* within a record */
    int error;    /* why, as errno */
};

/* Writes records (log_record.h); returns how many were not written whole. */
size_t log_stream_write(struct log_stream *stream, const char *data, size_t len);

/* Writes any text; returns how many of its bytes were not written. */
size_t log_stream_print(struct log_stream *stream, const char *data, size_t len);
