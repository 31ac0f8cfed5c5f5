/* Texts that are sent and expected, with what stands for something else in them:
 *   {i} the connection's number   {n} the round's   {c} the channel's   {msg} the stamped payload
 * Other braces are text, and so is what has no value here. Pure. */
#pragma once

#include "base/buf.h"
#include "proto/handshake.h"
#include <stdbool.h>
#include <stdint.h>

struct template_values {
    uint32_t connection, round;
    uint32_t channel;
    bool has_channel;
    struct slice message; /* data NULL: there is none */
};

/* Appends the text with its values. */
void template_expand(struct buf *out, struct slice text, const struct template_values *values);

/* Does it hold {msg}? */
bool template_has_message(struct slice text);

/* A new text from what stands on a command line: \n \r \t \0 \\ \xHH; other backslashes are text.
 * The caller frees its data. */
struct slice template_unescape(const char *text);
