/* A growing array of bytes. Zero-initialised is empty and valid; the owner of the struct owns the
 * bytes. Callers hold what peers send against a limit before they append it. */
#pragma once

#include <stdarg.h>
#include <stddef.h>

struct buf {
    char *data;
    size_t len, cap;
};

/* Room for `extra` more bytes after `len`; returns where they go. */
char *buf_reserve(struct buf *buf, size_t extra);
void buf_append(struct buf *buf, const void *data, size_t len);
void buf_append_str(struct buf *buf, const char *text);
void buf_append_char(struct buf *buf, char c);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *buf, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* Drops the first `len` bytes and moves the rest to the front. */
void buf_consume(struct buf *buf, size_t len);

/* Frees the memory; the buffer is empty and may be used again. */
void buf_free(struct buf *buf);
