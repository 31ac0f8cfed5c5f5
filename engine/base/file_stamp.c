#include "base/file_stamp.h"
#include <string.h>
#include <sys/stat.h>

static int64_t nanoseconds(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

struct file_stamp file_stamp_of(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return (struct file_stamp){0};
    return (struct file_stamp){.device = st.st_dev,
                               .inode = st.st_ino,
                               .size = (uint64_t)st.st_size,
                               .modified_ns = nanoseconds(st.st_mtim),
                               .changed_ns = nanoseconds(st.st_ctim)};
}

bool file_stamp_is_of_file(const struct file_stamp *stamp)
{
    return stamp->inode != 0;
}

bool file_stamp_same(const struct file_stamp *a, const struct file_stamp *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}
