/* The flag `online` of users. It says what was last ordered here: whoever is logged in on two
 * connections is offline once the first of them closes.
 *
 * One user's writes are done one after another, whichever thread does them, and the newest value
 * wins: those in between may be left out. None is dropped. One that failed is tried again, after 1
 * s and then growing pauses, until it is done or the program ends. There is an entry for each user
 * whose flag is not yet as ordered, no more. Called on the loop's thread. */
#pragma once

#include "pool.h"
#include <stdbool.h>
#include <stdint.h>

struct online;

/* `written`: the database has the value, or a newer one. Otherwise it failed, and is tried again
 * until somebody orders another value. */
typedef void (*online_fn)(void *data, bool written);

struct online *online_open(uv_loop_t *loop, struct pool *pool);

void online_set(struct online *online, int64_t user, bool value);

/* The same, and reports how it went, later and once. */
void online_set_and_tell(struct online *online, int64_t user, bool value, online_fn on_told,
                         void *data);

/* Flags that are not yet as ordered. */
size_t online_unwritten(const struct online *online);

/* Frees everything, once the pool is closed. */
void online_close(struct online *online);
