/* Immutable bytes that several threads share: a publish's payload goes to every worker without a
 * copy. Reference counted atomically. Any thread. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>

struct blob {
    atomic_uint refs;
    size_t len;
    char data[]; /* followed by a NUL that len does not count */
};

/* A copy of the bytes with one reference, the caller's. `data` may be NULL: then the bytes are for
 * the caller to fill in before anybody else sees them. */
struct blob *blob_new(const void *data, size_t len);
struct blob *blob_ref(struct blob *blob);
void blob_unref(struct blob *blob); /* NULL is allowed */
