/* What one line of the log looks like. A record is a line that begins at its margin, and, as text,
 * the indented lines that belong to it. Nothing in a message can look like a record of ours or
 * steer a terminal, as messages hold what peers have sent. Pure functions. */
#pragma once

#include "base/buf.h"
#include "base/log.h"
#include <sys/time.h>

enum {
    LOG_RECORD_MAX = 1 << 16, /* longer ones are cut */
    LOG_DATE_LEN = 10,        /* YYYY-MM-DD */
};

/* Appends a record with its line break. Times are local. */
void log_record_append(struct buf *out, enum log_format format, const struct timeval *when,
                       enum log_level level, const char *module, const char *text, size_t len);

/* Where a record's date stands. */
size_t log_record_date_at(enum log_format format);

/* `data` is whole records, of either format; `len` is not 0. */
size_t log_record_len(const char *data, size_t len);
size_t log_record_count(const char *data, size_t len);
