#include "print.h"
#include "base/check.h"
#include "base/log.h"
#include <stdio.h>

static ssize_t on_print(void *unused, const char *text, size_t len)
{
    (void)unused;
    log_print(text, len);
    return (ssize_t)len;
}

void print_to_log(void)
{
    /* No worker's: libc guards it with a lock that ThreadSanitizer does not see, and would let the
     * worker that prints first allocate it. */
    static char buffer[BUFSIZ];
    FILE *file = fopencookie(NULL, "w", (cookie_io_functions_t){.write = on_print});
    CHECK(file && setvbuf(file, buffer, _IOLBF, sizeof buffer) == 0);
    stdout = file;
}
