/* JSON between Lua values and text (RFC 8259), as scripts and queues need it: null decodes to nil
 * (the key is absent, a list keeps its other elements' positions), integers beyond 2^53 decode to
 * their decimal text, an empty table encodes as [], whole numbers up to 2^53 as plain digits, bytes
 * that are not UTF-8 as U+FFFD. Depth is bounded both ways. VM's thread. */
#pragma once

#include "base/buf.h"
#include <lua.h>
#include <stdbool.h>

enum {
    JSON_DEPTH_MAX = 128,
    JSON_SIZE_MAX =
        256 << 20, /* of an encoded text: a small graph of shared tables can be a huge one */
};

/* Appends the value at `index`. False and static text in *why when it holds what JSON has not (a
 * function, a cycle, NaN); `out` then ends where it did before. Raises no Lua error but for memory,
 * and calls no metamethod. */
bool json_encode(lua_State *L, int index, struct buf *out, const char **why);

/* Appends the value at `index` as a message of a queue: a table; or a string, as it is where it is
 * a JSON object or array, else as a JSON string. NULL, or static text of what is wrong. */
const char *json_encode_message(lua_State *L, int index, struct buf *out);

/* Appends a finite number: the fewest digits that read back as it; whole ones up to 2^53 plain. */
void json_number_append(struct buf *out, double value);

/* Pushes the value of a whole text; surrounding white space is allowed. False, and a message pushed
 * instead ("JSON: what, at byte N"). */
bool json_decode(lua_State *L, const char *text, size_t len);

/* The whole text is one JSON object or array that any decoder takes: the rules of json_decode, and
 * no half of a surrogate pair. Any thread. */
bool json_is_container(const char *text, size_t len);
