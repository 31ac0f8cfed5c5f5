/* Commands that wait for their answers, in a ring indexed by id. Ids count up without end; answers
 * come in any order, deadlines pass in the order of the commands. In the owner's memory;
 * zero-initialised is empty and valid. Who takes an entry calls it back: the ring may then grow
 * meanwhile. */
#pragma once

#include "consumer/mix_consumer.h"
#include <stdbool.h>

struct awaited {
    mix_reply_fn on_reply;
    void *data;
    uint64_t due_ms;
    bool open; /* not answered and not taken */
};

struct replies {
    struct awaited *ring;
    size_t cap;           /* 0 or a power of two */
    uint64_t first, next; /* ids: the oldest open one (or next), and that of the next command */
};

/* Returns the id, replies->next as it was before. `due_ms` never goes back. */
uint64_t replies_add(struct replies *replies, mix_reply_fn on_reply, void *data, uint64_t due_ms);

/* Ids from the oldest open one on: what the ring has to hold. */
size_t replies_span(const struct replies *replies);

/* False when nothing waits under that id: no such command was sent, or it was answered. */
bool replies_take(struct replies *replies, uint64_t id, struct awaited *taken);

/* The oldest one; false when there is none. */
bool replies_take_first(struct replies *replies, struct awaited *taken);

/* When the oldest one is due; UINT64_MAX when there is none. */
uint64_t replies_due(const struct replies *replies);

/* Forgets what is open and frees the memory; ids go on counting, and it may be used again. */
void replies_fini(struct replies *replies);
