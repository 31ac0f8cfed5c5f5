/* Reads what an engine sends most, events and answers without an error, faster than message_parse
 * does. */
#pragma once

#include "consumer/message.h"
#include <stdbool.h>

/* Fills in *message as message_parse would, or returns false and leaves it alone: the text is
 * another message, or is not written as an engine of this project writes it. An event is one of
 * `topics` (up to a NULL), whose memory its topic then is in. */
bool message_scan(struct message *message, const char *text, size_t len, const char *const *topics)
    __attribute__((warn_unused_result));
