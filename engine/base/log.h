/* The log: to a file that is rotated daily and by size, to the terminal, or both. Lines are handed
 * to a writer thread through a bounded buffer, so no caller waits for a disk; what does not fit is
 * counted and told in a line of its own. Any thread, between log_start and log_stop; before and
 * after, lines go straight to standard error. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

struct log_options {
    const char *filename; /* NULL or "": no file; its folder is made when missing */
    int max_files;        /* rotated files that are kept beside the one in use; 0 keeps all */
    enum log_level level;
    bool terminal; /* also to standard output; without a file it is where lines go in any case */
};

/* Returns 0, or a negative errno when the file cannot be opened (nothing runs then). */
int log_start(const struct log_options *options) __attribute__((warn_unused_result));

/* Writes what is buffered, ends the thread. Does nothing when none runs. */
void log_stop(void);

/* The size at which files of the next log_start are rotated, 100 MiB unless set: for tests. */
void log_set_file_size_max(uint64_t size);

void log_set_level(enum log_level level);
enum log_level log_level(void);

/* One line; line breaks within are kept and indented, other control characters become '?', what is
 * longer than 64 KiB is cut. `module` names the speaker: "net", "script". */
void log_write(enum log_level level, const char *module, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(...)                                                                             \
    (log_level() <= LOG_LEVEL_DEBUG ? log_write(LOG_LEVEL_DEBUG, __VA_ARGS__) : (void)0)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
