/* What the engine sends, in either spelling: events and answers. Pure functions. */
#pragma once

#include "consumer/mix_consumer.h"
#include <stdbool.h>

enum message_kind {
    MESSAGE_BAD, /* why */
    MESSAGE_EVENT,
    MESSAGE_REPLY,
};

struct message {
    enum message_kind kind;
    json_t *root; /* what event and reply point into; NULL when the text is no JSON object */
    struct mix_event event;
    uint64_t id; /* of the command that is answered */
    struct mix_reply reply;
    const char *why; /* static text */
};

/* Digits below 2^63. */
bool message_client(const char *text, size_t len, uint64_t *client);

void message_parse(struct message *message, const char *text, size_t len);
void message_fini(struct message *message);
