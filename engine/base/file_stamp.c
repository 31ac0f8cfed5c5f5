#include "base/file_stamp.h"
#include <string.h>

static int64_t nanoseconds(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

struct file_stamp file_stamp_of_stat(const struct stat *file)
{
    return (struct file_stamp){.device = file->st_dev,
                               .inode = file->st_ino,
                               .size = (uint64_t)file->st_size,
                               .modified_ns = nanoseconds(file->st_mtim),
                               .changed_ns = nanoseconds(file->st_ctim)};
}

struct file_stamp file_stamp_of(const char *path)
{
    struct stat file;
    bool regular = stat(path, &file) == 0 && S_ISREG(file.st_mode);
    return regular ? file_stamp_of_stat(&file) : (struct file_stamp){0};
}

bool file_stamp_is_of_file(const struct file_stamp *stamp)
{
    return stamp->inode != 0;
}

bool file_stamp_same(const struct file_stamp *a, const struct file_stamp *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}
