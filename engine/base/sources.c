#include "base/sources.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* FNV-1a: nobody who could gain from a collision writes these files. */
static uint64_t digest(uint64_t seed, const void *data, size_t len)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < len; i++)
        seed = (seed ^ bytes[i]) * 0x100000001b3;
    return seed;
}

static const uint64_t DIGEST_SEED = 0xcbf29ce484222325;

static struct file_stamp stamp_now(const char *path)
{
    struct stat file;
    return stat(path, &file) == 0 ? file_stamp_of_stat(&file) : (struct file_stamp){0};
}

static struct source *find(const struct sources *sources, const char *path)
{
    for (uint32_t i = 0; i < sources->count; i++)
        if (strcmp(sources->items[i].path, path) == 0)
            return &sources->items[i];
    return NULL;
}

static void add(struct sources *sources, const char *path, struct file_stamp stamp,
                uint64_t content)
{
    if (sources->count == SOURCES_MAX)
        return;
    if (sources->count == sources->cap) {
        sources->cap = sources->cap ? 2 * sources->cap : 8;
        sources->items = xrealloc(sources->items, sources->cap * sizeof(struct source));
    }
    sources->items[sources->count++] =
        (struct source){.path = xstrdup(path), .stamp = stamp, .content = content};
}

/* The first that was read counts: a change between two reads of one file is noticed as one. */
static void add_once(struct sources *sources, const char *path, struct file_stamp stamp,
                     uint64_t content)
{
    if (!find(sources, path))
        add(sources, path, stamp, content);
}

static int read_all(int fd, struct buf *out)
{
    for (;;) {
        ssize_t n = read(fd, buf_reserve(out, 64 * 1024), 64 * 1024);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return 0;
        if (n > 0)
            out->len += (size_t)n;
    }
}

/* The stamp is taken before the bytes: a change meanwhile is noticed later. */
static int read_file(const char *path, struct buf *out, struct file_stamp *stamp)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    struct stat file;
    int status = fstat(fd, &file) == 0 ? 0 : -errno;
    if (status == 0 && !S_ISREG(file.st_mode))
        status = -EINVAL;
    if (status == 0) {
        *stamp = file_stamp_of_stat(&file);
        status = read_all(fd, out);
    }
    close(fd);
    return status;
}

int sources_read(struct sources *sources, const char *path, struct buf *out)
{
    size_t begin = out->len;
    struct file_stamp stamp = {0};
    int status = read_file(path, out, &stamp);
    sources->starved |= status == -EMFILE || status == -ENFILE || status == -ENOMEM;
    if (status == 0)
        add_once(sources, path, stamp, digest(DIGEST_SEED, out->data + begin, out->len - begin));
    else
        add_once(sources, path, stamp_now(path), 0);
    return status;
}

void sources_watch(struct sources *sources, const char *path)
{
    add_once(sources, path, stamp_now(path), 0);
}

bool sources_merge(struct sources *sources, const struct sources *from)
{
    bool same = true;
    sources->starved |= from->starved;
    for (uint32_t i = 0; i < from->count; i++) {
        const struct source *source = &from->items[i], *there = find(sources, source->path);
        if (!there)
            add(sources, source->path, source->stamp, source->content);
        else if (there->content != source->content)
            same = false;
    }
    return same;
}

uint64_t sources_digest(const struct sources *sources)
{
    uint64_t sum = DIGEST_SEED;
    for (uint32_t i = 0; i < sources->count; i++)
        sum = digest(sum, &sources->items[i].stamp, sizeof(struct file_stamp));
    return sum | 1;
}

uint64_t sources_digest_now(const struct sources *sources)
{
    uint64_t sum = DIGEST_SEED;
    for (uint32_t i = 0; i < sources->count; i++) {
        struct file_stamp stamp = stamp_now(sources->items[i].path);
        sum = digest(sum, &stamp, sizeof stamp);
    }
    return sum | 1;
}

void sources_free(struct sources *sources)
{
    for (uint32_t i = 0; i < sources->count; i++)
        free(sources->items[i].path);
    free(sources->items);
    *sources = (struct sources){0};
}
