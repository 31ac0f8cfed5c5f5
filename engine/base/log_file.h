/* A log file and those that were rotated away from it: FILE.YYYY-MM-DD, FILE.YYYY-MM-DD.N. It is
 * cut at midnight by its lines' own time, and by size. The log's writer thread. */
#pragma once

#include "base/log.h"
#include <stddef.h>

struct log_file;

/* Makes the file's folder when it is missing. Returns 0 or a negative errno. */
int log_file_open(struct log_file **out, const struct log_options *options)
    __attribute__((warn_unused_result));

/* NULL may be closed. */
void log_file_close(struct log_file *file);

/* Opens the path anew. On failure the file that was open stays in use, and a negative errno is
 * returned. */
int log_file_reopen(struct log_file *file) __attribute__((warn_unused_result));

/* Writes records (log_record.h), each whole or not at all, and says on standard error, once a
 * minute at most, when that fails; the next call tries again. Returns how many were lost. */
size_t log_file_write(struct log_file *file, const char *data, size_t len);
