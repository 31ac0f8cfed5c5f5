#include "mem.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *mem_given(void *memory)
{
    if (!memory) {
        fputs("chat: out of memory\n", stderr);
        abort();
    }
    return memory;
}

void *mem_new(size_t size)
{
    return mem_given(calloc(1, size));
}

char *mem_copy(const char *text)
{
    return mem_given(strdup(text));
}

char *mem_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int len = vasprintf(&text, format, args);
    va_end(args);
    return mem_given(len < 0 ? NULL : text);
}

void mem_wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}
