/* What tells that a file has changed: its identity, size and times. Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct file_stamp {
    uint64_t device, inode, size; /* all zero: there is no regular file */
    int64_t modified_ns, changed_ns;
};

struct file_stamp file_stamp_of(const char *path);

/* Of a file of any kind. */
struct file_stamp file_stamp_of_stat(const struct stat *file);
bool file_stamp_is_of_file(const struct file_stamp *stamp);
bool file_stamp_same(const struct file_stamp *a, const struct file_stamp *b);
