#include "fatal.h"
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

/* Other threads are still running: nothing of theirs may be torn down under them. */
void fatal(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("engine-bench: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\n", stderr);
    va_end(args);
    _exit(STATUS_CANNOT);
}
