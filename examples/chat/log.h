/* Lines for people on standard error. */
#pragma once

/* One line, cut at 1,000 bytes, control characters as '?'. The line of a moment ago is not repeated
 * for ten seconds: what fails tends to fail for everybody. Any thread. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
