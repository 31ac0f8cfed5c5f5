/* Small allocations: out of memory ends the process. Any thread. */
#pragma once

#include <stddef.h>

void *mem_new(size_t size); /* zeroed; free() it */
char *mem_copy(const char *text);
char *mem_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What malloc and its like have given, or the end. */
void *mem_given(void *memory);

/* Overwrites the text, then frees it; NULL is fine. For passwords. */
void mem_wipe(char *text);
