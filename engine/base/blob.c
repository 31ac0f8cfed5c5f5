#include "base/blob.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

struct blob *blob_new(const void *data, size_t len)
{
    struct blob *blob = xmalloc(sizeof *blob + len + 1);
    atomic_init(&blob->refs, 1);
    blob->len = len;
    if (data != NULL)
        memcpy(blob->data, data, len);
    blob->data[len] = '\0';
    return blob;
}

struct blob *blob_ref(struct blob *blob)
{
    atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
    return blob;
}

void blob_unref(struct blob *blob)
{
    /* acq_rel: whoever frees must see what the others did with the bytes before they let go. */
    if (blob != NULL && atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel) == 1)
        free(blob);
}
