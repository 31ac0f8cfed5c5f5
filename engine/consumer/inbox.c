#include "consumer/inbox.h"
#include "base/mem.h"
#include <stdlib.h>

struct held {
    struct list link;
    struct message message;
    size_t frame_len;
};

void inbox_init(struct inbox *inbox)
{
    list_init(&inbox->held);
    inbox->bytes = 0;
}

bool inbox_empty(const struct inbox *inbox)
{
    return list_empty(&inbox->held);
}

void inbox_push(struct inbox *inbox, struct message *message, size_t frame_len)
{
    struct held *held = xmalloc(sizeof *held);
    held->message = *message;
    held->frame_len = frame_len;
    list_init(&held->link);
    list_push_back(&inbox->held, &held->link);
    inbox->bytes += frame_len;
    *message = (struct message){0};
}

bool inbox_pop(struct inbox *inbox, struct message *message)
{
    struct list *first = list_pop_front(&inbox->held);
    if (!first)
        return false;
    struct held *held = list_entry(first, struct held, link);
    *message = held->message;
    inbox->bytes -= held->frame_len;
    free(held);
    return true;
}

void inbox_clear(struct inbox *inbox)
{
    struct message message;
    while (inbox_pop(inbox, &message))
        message_fini(&message);
}
