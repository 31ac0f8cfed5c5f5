/* How far a consumer has read. TCP tells only what the peer's kernel has taken, which can be
 * megabytes more than its program has seen. So a ping follows every WINDOW_STEP bytes of events and
 * carries the count of bytes sent before it, in digits (libwebsockets takes a pong's data for text
 * and checks it); its pong (RFC 6455 section 5.5.3: the same data) says that they were read. A
 * consumer that answers pings is sent at most WINDOW_MAX bytes ahead, or one event that is larger:
 * that is the most it can lose when it dies. One that has never answered is held by its socket's
 * buffers alone. Api loop's thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WINDOW_MAX = 256 << 10, WINDOW_STEP = 8 << 10, WINDOW_PING = 20 };

/* Bytes of events since the connection was opened; zero-initialised is the start. */
struct window {
    uint64_t sent, pinged, heard;
    bool answers; /* a pong has come */
};

static inline bool window_is_full(const struct window *window)
{
    return window->answers && window->sent - window->heard >= WINDOW_MAX;
}

static inline bool window_wants_ping(const struct window *window)
{
    return window->sent - window->pinged >= WINDOW_STEP;
}

/* The data of the ping that goes out now; returns its length. */
size_t window_ping(struct window *window, char data[WINDOW_PING + 1]);

/* A pong has come; one that answers no ping of ours is passed over. */
void window_pong(struct window *window, const char *data, size_t len);
