#include "consumer/replies.h"
#include "base/mem.h"
#include <stdlib.h>

enum { FIRST_CAP = 64, KEEP_CAP = 4096 };

static struct awaited *slot(const struct replies *replies, uint64_t id)
{
    return &replies->ring[id & (replies->cap - 1)];
}

size_t replies_span(const struct replies *replies)
{
    return (size_t)(replies->next - replies->first);
}

static void grow(struct replies *replies)
{
    struct replies wider = *replies;
    wider.cap = replies->cap ? replies->cap * 2 : FIRST_CAP;
    wider.ring = xcalloc(wider.cap, sizeof *wider.ring);
    for (uint64_t id = replies->first; id < replies->next; id++)
        *slot(&wider, id) = *slot(replies, id);
    free(replies->ring);
    *replies = wider;
}

uint64_t replies_add(struct replies *replies, mix_reply_fn on_reply, void *data, uint64_t due_ms)
{
    if (replies_span(replies) == replies->cap)
        grow(replies);
    *slot(replies, replies->next) = (struct awaited){on_reply, data, due_ms, true};
    return replies->next++;
}

static void pass_answered(struct replies *replies)
{
    while (replies->first < replies->next && !slot(replies, replies->first)->open)
        replies->first++;
    if (replies->first == replies->next && replies->cap > KEEP_CAP)
        replies_fini(replies);
}

bool replies_take(struct replies *replies, uint64_t id, struct awaited *taken)
{
    if (id < replies->first || id >= replies->next || !slot(replies, id)->open)
        return false;
    *taken = *slot(replies, id);
    slot(replies, id)->open = false;
    if (id == replies->first)
        pass_answered(replies);
    return true;
}

bool replies_take_first(struct replies *replies, struct awaited *taken)
{
    return replies_take(replies, replies->first, taken);
}

uint64_t replies_due(const struct replies *replies)
{
    return replies->first < replies->next ? slot(replies, replies->first)->due_ms : UINT64_MAX;
}

void replies_fini(struct replies *replies)
{
    free(replies->ring);
    replies->ring = NULL;
    replies->cap = 0;
    replies->first = replies->next;
}
