/* The log: to a file that is rotated daily and by size, to the terminal, or both. Lines are handed
 * to a writer thread through a bounded buffer, so no caller waits for a disk; what does not fit is
 * counted and told in a line of its own. A warning or an error that comes again and again is held
 * back and counted (log_repeats.h). Any thread, between log_start and log_stop; before and after,
 * lines go straight to standard error. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

enum log_format {
    LOG_FORMAT_TEXT, /* 2025-01-31 12:00:00.000 INFO  net: text */
    LOG_FORMAT_JSON, /* an object a line: time, level, module, message */
};

struct log_options {
    const char *filename; /* NULL or "": no file; its folder is made when missing */
    int max_files;        /* rotated files that are kept beside the one in use; 0 keeps all */
    uint64_t max_size;    /* bytes at which a file is rotated; 0: it is not by size */
    enum log_level level;
    enum log_format format;
    bool terminal; /* also to standard output; without a file it is where lines go in any case */
};

/* Returns 0, or a negative errno when the file cannot be opened (nothing runs then). */
int log_start(const struct log_options *options) __attribute__((warn_unused_result));

/* Writes what is buffered, ends the thread. Does nothing when none runs. A disk that does not
 * answer is waited for LOG_STOP_MS; then the thread is left to the process's end. */
enum { LOG_STOP_MS = 5000 };
void log_stop(void);

/* The writer opens its file anew: something else has moved it away. What was logged before goes to
 * the old one; when the new one cannot be opened, all that comes does too. */
void log_reopen(void);

/* Waits up to `ms` until the writer has nothing left to write. For a process that is about to end
 * by a signal: takes no lock, may be called in a signal's handler. */
void log_settle(unsigned ms);

void log_set_level(enum log_level level);
enum log_level log_level(void);

/* Since the process began. */
struct log_counts {
    uint64_t lost; /* lines that nobody has: the buffer was full, or the file failed */
    uint64_t held; /* lines that were repeats, told as a count */
};
struct log_counts log_counts(void);

/* One line; line breaks within are kept and indented (JSON: escaped), other control characters and
 * what is no UTF-8 are escaped, what is longer than 64 KiB is cut. `module` names the speaker:
 * "net", "script". */
void log_write(enum log_level level, const char *module, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for lines that say one thing of many clients: those of one `topic` are repeats of each
 * other, whatever their texts and their level. */
void log_write_alike(enum log_level level, const char *module, const char *topic,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* For what is logged once in LOG_EACH_MS at most, however often it happens: true when it is time,
 * and *last_ms is now then. It is the caller's, before the first time 0; now_ms is of one clock. */
enum { LOG_EACH_MS = 10000 };
bool log_due(uint64_t *last_ms, uint64_t now_ms);

/* Text for standard output as it stands, not for the file: what scripts print. It keeps its own
 * order, not that among lines. What there is no room for is lost and counted by its line breaks. */
void log_print(const char *text, size_t len);

#define log_debug(...)                                                                             \
    (log_level() <= LOG_LEVEL_DEBUG ? log_write(LOG_LEVEL_DEBUG, __VA_ARGS__) : (void)0)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
