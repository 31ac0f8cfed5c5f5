/* What scripts print: `stdout` becomes a stream that waits for nobody, and what is printed to it is
 * seen when it is printed (log_print). Main thread, once, before others exist. */
#pragma once

void print_to_log(void);
