/* Looks at a file every second and tells when it has changed, vanished or come back. A file that is
 * being written is waited for until it has stood still for a tenth of a second. Loop's thread. */
#pragma once

#include "base/file_stamp.h"
#include <uv.h>

/* In the caller's memory. */
struct file_watch {
    uv_timer_t timer;
    const char *path;
    struct file_stamp known; /* as the owner has it */
    struct file_stamp seen;  /* at the last look */
    void (*on_change)(struct file_watch *watch);
    void *data; /* the owner's */
};

/* `path` outlives the watch; `known` is what the owner has read. `data` is left alone. */
void file_watch_start(struct file_watch *watch, uv_loop_t *loop, const char *path,
                      struct file_stamp known, void (*on_change)(struct file_watch *watch));

/* The owner is about to read the file, asked or not. */
void file_watch_take(struct file_watch *watch);

/* The struct must live until the loop has run once more. */
void file_watch_stop(struct file_watch *watch);
