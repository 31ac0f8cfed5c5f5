/* What the chat answers to what its clients say. */
#pragma once

#include "login.h"
#include "online.h"
#include <mix_consumer.h>

/* Callbacks of the consumer; its `data` is this. */
struct chat {
    struct login *login;
    struct online *online;
};

/* The queues that the script fills, up to a NULL. */
extern const char *const chat_topics[];

void chat_on_event(struct mix_node *node, const struct mix_event *event, void *data);

/* For commands whose answer changes nothing: says what should not happen. */
void chat_on_reply(struct mix_node *node, const struct mix_reply *reply, void *data);
