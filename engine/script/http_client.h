/* libcurl on a worker's loop: which transfers run, and which wait for their turn. At most
 * HTTP_RUNNING_MAX run; of those, few wait for their host's address, as libcurl has a thread look
 * up each. A look-up that nobody waits for any more cannot be stopped: its place stays taken for
 * as long as the system may go on with it.
 *
 * One for each worker; its thread alone, but for what is global. */
#pragma once

#include "base/counter.h"
#include "base/list.h"
#include "loop/wheel.h"
#include <curl/curl.h>

enum {
    HTTP_RUNNING_MAX = 1024,
    HTTP_WAITING_MAX = 4096,
    HTTP_LOOKUPS_MAX = 32,
    HTTP_HELD_MAX = 256 << 20, /* bytes of all bodies, those sent and those received */
};

struct http_client;
struct http_transfer;

enum http_transfer_state {
    HTTP_IDLE,
    HTTP_WAITING,
    HTTP_LOOKING_UP, /* runs; libcurl does not have the address yet */
    HTTP_RUNNING,
};

/* In the memory of whoever wants it, who sets what stands first. */
struct http_transfer {
    struct http_client *client;
    /* It runs now: sets the options of `easy`, all but those that are the client's. */
    void (*on_turn)(struct http_transfer *transfer);
    /* It has ended and is idle; it may go on, or be released. */
    void (*on_done)(struct http_transfer *transfer, CURLcode code);
    bool by_name; /* its host is a name */

    CURL *easy; /* while it runs, and from then on until it is released */
    enum http_transfer_state state;
    struct list in_line, watched;
};

/* Once for the process: before there are threads, and when there are none. */
void http_client_global_init(void);
void http_client_global_fini(void);

/* `loop` and `wheel` outlive it. */
struct http_client *http_client_new(uv_loop_t *loop, struct wheel *wheel);

/* No transfer is left. Its memory goes with the loop's next run. */
void http_client_free(struct http_client *client);

/* Puts it in line, or starts it. False when too many wait; nothing happened then. */
bool http_client_start(struct http_transfer *transfer);

/* From on_done, for what follows from it: ahead of all others, never refused. */
void http_client_go_on(struct http_transfer *transfer);

/* Ends it, wherever it is; on_done is not called. Not from on_done or on_turn. */
void http_client_stop(struct http_transfer *transfer);

/* Gives back the handle of an idle transfer. */
void http_client_release(struct http_transfer *transfer);

/* Counts bytes of bodies; false, with nothing counted, when they would be too many. */
bool http_client_hold(struct http_client *client, size_t bytes);
void http_client_let_go(struct http_client *client, size_t bytes);
