/* Commands as the engine reads them: each function appends the text of one frame. They return 0,
 * -EINVAL (text that is not UTF-8, a value that JSON cannot hold) or -EMSGSIZE (the frame is longer
 * than COMMAND_MAX); then part of a frame may have been appended. */
#pragma once

#include "base/buf.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { COMMAND_MAX = 4 << 20 };

int command_consume(struct buf *out, uint64_t id, const char *const *topics);
int command_unconsume(struct buf *out, uint64_t id);

/* Binary data may be any bytes; it travels as base64. */
int command_send(struct buf *out, uint64_t id, uint64_t client, const void *data, size_t len,
                 bool binary);
int command_publish(struct buf *out, uint64_t id, const char *channel, const void *data, size_t len,
                    bool binary);

/* `function` is "subscribe" or "unsubscribe". */
int command_channels(struct buf *out, uint64_t id, uint64_t client, const char *function,
                     const char *const *channels, size_t count);

/* The values stay the caller's. NULL is -EINVAL, and so is an `object` that is none. */
int command_context_value(struct buf *out, uint64_t id, uint64_t client, const char *key,
                          json_t *value);
int command_context(struct buf *out, uint64_t id, uint64_t client, json_t *object);
