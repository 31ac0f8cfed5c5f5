/* The two spellings of what goes to a consumer: replies and events, as JSON text appended to a
 * buffer. Pure functions. An `id` is JSON text, NULL for null. */
#pragma once

#include "base/blob.h"
#include "base/buf.h"
#include <stdint.h>

enum envelope_spelling {
    ENVELOPE_A,    /* method, params, id */
    ENVELOPE_B,    /* m, p, i */
    ENVELOPE_HTTP, /* as B, without an id: bodies of HTTP answers */
};

enum envelope_error {
    ENVELOPE_INVALID = 101,      /* the request or an argument of it */
    ENVELOPE_NO_CONSUME = 201,   /* cannot consume */
    ENVELOPE_CONSUMED = 202,     /* a named topic is consumed already */
    ENVELOPE_NOT_CONSUMED = 203, /* nothing to cancel */
    ENVELOPE_CALL_FAILED = 301,
    ENVELOPE_NOT_DELIVERED = 401,
};

/* Something was done, for one: the result of everything but a publish. `data`: the JSON text that
 * was asked for, or NULL. */
void envelope_success(struct buf *out, enum envelope_spelling spelling, const char *id,
                      const struct blob *data);
void envelope_published(struct buf *out, enum envelope_spelling spelling, const char *id,
                        uint32_t delivered, uint32_t failed);
void envelope_server_pong(struct buf *out, enum envelope_spelling spelling, const char *id);
void envelope_error(struct buf *out, enum envelope_spelling spelling, const char *id, int code,
                    const char *message);

/* The parts of an event that are the same for all entries of a topic: `head`, the client's id,
 * `middle`, the entry's JSON, and then ENVELOPE_EVENT_TAIL. */
#define ENVELOPE_EVENT_TAIL "},\"id\":null}"
void envelope_event(struct buf *head, struct buf *middle, enum envelope_spelling spelling,
                    const char *method, unsigned node, const char *topic, size_t topic_len);
