/* Connections whose PROXY header (proto/proxy_header.h) is awaited: what stands before a session.
 * It is taken from the socket exactly, so that who gets the socket reads what the client sent and
 * nothing else. Loop's thread. */
#pragma once

#include "base/list.h"
#include "loop/wheel.h"
#include "msg/msg.h"
#include <uv.h>

/* The connection is the receiver's again. `why` NULL: its peer is the one that the proxy names, and
 * the descriptor is open; else static text of what was wrong, and it is closed. */
typedef void preface_done(void *owner, struct msg_accepted *accepted, const char *why);

/* Those of one loop. In the owner's memory. */
struct prefaces {
    uv_loop_t *loop;
    struct wheel *wheel;
    preface_done *on_done;
    void *owner;
    struct list all;
};

void prefaces_init(struct prefaces *prefaces, uv_loop_t *loop, struct wheel *wheel,
                   preface_done *on_done, void *owner);

/* Takes the connection over; `on_done` follows, at the latest after `timeout_ms`, never within this
 * call. */
void preface_open(struct prefaces *prefaces, struct msg_accepted *accepted, uint64_t timeout_ms);

/* Closes all that still wait; `on_done` is called for each. */
void prefaces_drop(struct prefaces *prefaces, const char *why);
