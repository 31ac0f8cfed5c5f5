#include "api/pending.h"
#include "base/mem.h"
#include <stdlib.h>

enum { CAP_MIN = 16 };

static struct reply *at(const struct pending *pending, uint32_t index)
{
    return &pending->ring[(pending->head + index) & (pending->cap - 1)];
}

static void grow(struct pending *pending)
{
    uint32_t cap = pending->cap ? pending->cap * 2 : CAP_MIN;
    struct reply *ring = xmalloc(cap * sizeof *ring);
    for (uint32_t i = 0; i < pending->count; i++)
        ring[i] = *at(pending, i);
    free(pending->ring);
    pending->ring = ring;
    pending->cap = cap;
    pending->head = 0;
}

struct reply *pending_add(struct pending *pending, size_t size, uint64_t *number)
{
    if (pending->count == pending->cap)
        grow(pending);
    *number = pending->first + pending->count;
    struct reply *reply = at(pending, pending->count++);
    *reply = (struct reply){.size = size};
    pending->size += size;
    return reply;
}

struct reply *pending_find(const struct pending *pending, uint64_t number)
{
    /* A number below the first wraps around. */
    if (number - pending->first >= pending->count)
        return NULL;
    return at(pending, (uint32_t)(number - pending->first));
}

struct reply *pending_front(const struct pending *pending)
{
    return pending->count > 0 ? at(pending, 0) : NULL;
}

void pending_drop_front(struct pending *pending)
{
    struct reply *reply = at(pending, 0);
    pending->size -= reply->size;
    free(reply->id);
    free(reply->why);
    blob_unref(reply->data);
    pending->head = (pending->head + 1) & (pending->cap - 1);
    pending->count--;
    pending->first++;
}

void reply_fail(struct reply *reply, enum envelope_error code, const char *why)
{
    free(reply->why);
    reply->kind = PENDING_ERROR;
    reply->code = code;
    reply->why = xstrdup(why);
}

void reply_write(const struct reply *reply, struct buf *out)
{
    switch (reply->kind) {
    case PENDING_SUCCESS:
        envelope_success(out, reply->spelling, reply->id, reply->data);
        break;
    case PENDING_PUBLISHED:
        envelope_published(out, reply->spelling, reply->id, reply->delivered, reply->failed);
        break;
    case PENDING_SERVER_PONG:
        envelope_server_pong(out, reply->spelling, reply->id);
        break;
    case PENDING_PONG:
        buf_append_str(out, "pong");
        break;
    case PENDING_ERROR:
        envelope_error(out, reply->spelling, reply->id, (int)reply->code, reply->why);
        break;
    }
}

void pending_fini(struct pending *pending)
{
    while (pending->count > 0)
        pending_drop_front(pending);
    free(pending->ring);
    *pending = (struct pending){0};
}
