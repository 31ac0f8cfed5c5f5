/* A coarse timeout wheel: one libuv timer for all timeouts of a loop, instead of one for each
 * connection. Setting and clearing cost a list operation. A timeout fires at its time or up to one
 * tick (50 ms) later, never earlier. The timer runs only while a timeout is set. Loop's thread. */
#pragma once

#include "base/list.h"
#include <stdint.h>
#include <uv.h>

enum { WHEEL_TICK_MS = 50, WHEEL_SLOTS = 1024 };

struct timeout;
typedef void timeout_cb(struct timeout *timeout);

/* In the caller's memory; zero-initialised is valid and not set. */
struct timeout {
    struct list link;
    uint64_t due; /* tick */
    timeout_cb *cb;
};

struct wheel {
    uv_timer_t timer;
    uint64_t start_ms;
    uint64_t tick; /* the last one that was handled */
    uint32_t set;  /* timeouts that are set */
    struct list slots[WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel, uv_loop_t *loop);

/* Closes the libuv timer; timeouts that are set never fire. The struct must live until the loop has
 * run once more. */
void wheel_fini(struct wheel *wheel);

/* Calls `cb` once, after `ms` from now; a timeout that is set already is moved. The callback may
 * set or clear any timeout, this one too, and free its memory. */
void wheel_set(struct wheel *wheel, struct timeout *timeout, uint64_t ms, timeout_cb *cb);
void wheel_clear(struct wheel *wheel, struct timeout *timeout);
bool timeout_is_set(const struct timeout *timeout);
