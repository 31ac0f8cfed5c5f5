/* What the load generator itself cannot go on from: a line on standard error, and status 2. */
#pragma once

enum { STATUS_GOOD = 0, STATUS_BAD = 1, STATUS_CANNOT = 2 };

/* Any thread. */
_Noreturn void fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));
