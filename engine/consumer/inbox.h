/* Events that are kept back, in the order in which they came. In the owner's memory. */
#pragma once

#include "base/list.h"
#include "consumer/message.h"
#include <stdbool.h>

struct inbox {
    struct list held;
    size_t bytes; /* of the frames in which they came */
};

void inbox_init(struct inbox *inbox);
bool inbox_empty(const struct inbox *inbox);

/* Takes what the message holds; it is empty afterwards. */
void inbox_push(struct inbox *inbox, struct message *message, size_t frame_len);

/* The first one, which is then the caller's (message_fini); false when there is none. */
bool inbox_pop(struct inbox *inbox, struct message *message);

/* Drops all; the inbox may be used again. */
void inbox_clear(struct inbox *inbox);
