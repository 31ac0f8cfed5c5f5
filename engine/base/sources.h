/* The files that a script was made of, as they were when they were read, so that a change of any of
 * them is noticed. A file that was looked for and not found is one of them too. Zero-initialised is
 * empty and valid; the owner of the struct owns the paths. One thread at a time. */
#pragma once

#include "base/buf.h"
#include "base/file_stamp.h"
#include <stdbool.h>
#include <stdint.h>

enum { SOURCES_MAX = 4096 }; /* files beyond are read, but not kept in mind */

struct source {
    char *path;
    struct file_stamp stamp;
    uint64_t content; /* a digest; 0: it was not read */
};

struct sources {
    struct source *items;
    uint32_t count, cap;
    bool starved; /* one could not be opened for want of descriptors or memory: it may be later */
};

/* Appends the bytes of a file to `out` and adds it. Returns 0 or a negative errno, with which the
 * file is added as one that is not there; -EINVAL: it is no regular file. */
int sources_read(struct sources *sources, const char *path, struct buf *out)
    __attribute__((warn_unused_result));

/* Adds a file as it is on disk now, unless it is there already. */
void sources_watch(struct sources *sources, const char *path);

/* Adds what `from` has. False when a file is in both with different content. */
bool sources_merge(struct sources *sources, const struct sources *from)
    __attribute__((warn_unused_result));

/* One number for all stamps as they were read, and for how they are on disk now: equal while no
 * file has changed. Never 0. */
uint64_t sources_digest(const struct sources *sources);
uint64_t sources_digest_now(const struct sources *sources);

/* Frees the memory; the list is empty and may be used again. */
void sources_free(struct sources *sources);
