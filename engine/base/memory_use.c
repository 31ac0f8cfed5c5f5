#include "base/memory_use.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

int memory_use_open(void)
{
    int descriptor = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

/* "SIZE RESIDENT SHARED …", in pages. */
uint64_t memory_resident(int descriptor)
{
    char text[128], *resident;
    ssize_t len = pread(descriptor, text, sizeof text - 1, 0);
    if (len <= 0)
        return 0;
    text[len] = '\0';
    strtoull(text, &resident, 10);
    return strtoull(resident, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Sanitizers' allocators are others, and glibc's own, unused, does not bear it. */
void memory_give_back(void)
{
#ifndef MIXENGINE_SYSTEM_ALLOCATOR
    malloc_trim(0);
#endif
}

/* A look may end after the limit did, and is not believed then. */
bool memory_is_short(const struct memory_guard *guard)
{
    return guard && atomic_load_explicit(&guard->is_short, memory_order_relaxed) &&
           atomic_load_explicit(&guard->most, memory_order_relaxed) > 0;
}

void memory_guard_look(struct memory_guard *guard)
{
    uint64_t most = atomic_load(&guard->most);
    if (most > 0 && memory_resident(guard->descriptor) >= most)
        atomic_store(&guard->is_short, true);
}
