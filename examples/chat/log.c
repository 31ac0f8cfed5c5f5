#include "log.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { QUIET_S = 10 };

static time_t now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec;
}

static void print_new(const char *line)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static char last[1001];
    static time_t printed;
    pthread_mutex_lock(&mutex);
    if (strcmp(line, last) != 0 || now() - printed >= QUIET_S) {
        strcpy(last, line);
        printed = now();
        fprintf(stderr, "chat: %s\n", line);
    }
    pthread_mutex_unlock(&mutex);
}

void log_line(const char *format, ...)
{
    char line[1001];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *c = line; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    }
    print_new(line);
}
