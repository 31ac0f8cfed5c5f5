/* The API thread: one libuv loop with libwebsockets on it, for the center API, the engine API and
 * its consumers; it owns the queues. Commands go out through the mesh and their outcomes come back
 * through the mailbox, so nothing here waits for a worker. */
#pragma once

#include "base/buf.h"
#include "config/config.h"
#include "loop/mailbox.h"
#include "mesh/mesh.h"
#include "queue/gate.h"

struct api;

struct api_options {
    const struct config *config; /* the first one; MSG_CONFIG brings others */
    struct gates *gates;         /* outlive the api, as do the others */
    struct mailbox *main_box;    /* gets MSG_DRAINED */
    uint32_t sockets_max;        /* open at once, on both ports */
    /* The engine's part of /metrics; called on the api's thread, with the configuration of then. */
    void (*metrics)(struct buf *out, const struct config *config, void *data);
    void *metrics_data;
    const char *pages; /* a folder whose files the engine API serves (pages.h); NULL: none */
};

/* Makes the loop and the mailbox; nothing listens or runs yet. */
struct api *api_new(const struct api_options *options);

/* Where entries, outcomes, MSG_CONFIG, MSG_HURRY, MSG_DRAIN and MSG_STOP go. Any thread, until
 * api_free. */
struct mailbox *api_box(struct api *api);

/* Binds both ports, the center's first. Returns 0, or a negative errno with a line in `error` that
 * names the listener. Before api_run. */
int api_listen(struct api *api, char *error, size_t error_size) __attribute__((warn_unused_result));

/* Starts the thread. */
void api_run(struct api *api, struct mesh *mesh);

/* Waits for the thread, which ends on MSG_STOP.
 * MSG_HURRY: a drain has begun; no new connection is taken, pushes that wait for room are given up
 * within half of stopTimeout. MSG_DRAIN: posts MSG_DRAINED to the main thread when the consumers
 * have been handed all that they take, or stopTimeout is over; they stay, get what is pushed
 * meanwhile, and their commands are carried out. MSG_STOP closes them (1001) once that has been
 * handed over too, within the same stopTimeout; without MSG_HURRY before it, or with MSG_NOW, at
 * once. Whoever posts entries to the box has ended by now; outcomes may come until the thread has
 * ended. */
void api_join(struct api *api);
void api_free(struct api *api);
