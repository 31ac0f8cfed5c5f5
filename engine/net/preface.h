/* What stands before a session: the PROXY header (proto/proxy_header.h), then the TLS handshake,
 * as far as the server asks for them. The header is taken from the socket exactly, and the
 * handshake reads record by record, so that who gets the connection reads what the client sent
 * after it and nothing else. Loop's thread. */
#pragma once

#include "base/counter.h"
#include "base/list.h"
#include "loop/wheel.h"
#include "msg/msg.h"
#include <uv.h>

/* A PROXY header has told who the peer is. False: it is not served, and no handshake is begun. */
typedef bool preface_peer(void *owner, struct msg_accepted *accepted);

/* The connection is the receiver's again. `why` NULL: its peer is the one that the proxy names, the
 * descriptor is open, and `tls` is set if a handshake was asked for; else what was wrong, valid
 * during the call, and it is closed; "": its peer was not to be served, and it was reset. */
typedef void preface_done(void *owner, struct msg_accepted *accepted, const char *why);

/* Handshakes of one server on one loop; written by its thread. */
struct preface_counters {
    counter handshakes, failures;
};

/* What a server asks for. */
struct preface_terms {
    bool proxy;
    struct ssl_ctx_st *tls; /* NULL: none; not kept */
    uint64_t timeout_ms;    /* for all of it */
    struct preface_counters *counters;
};

/* Those of one loop. In the owner's memory. */
struct prefaces {
    uv_loop_t *loop;
    struct wheel *wheel;
    preface_peer *on_peer;
    preface_done *on_done;
    void *owner;
    struct list all;
    uint64_t shaken_ns; /* spent on handshakes in this turn */
};

void prefaces_init(struct prefaces *prefaces, uv_loop_t *loop, struct wheel *wheel,
                   preface_peer *on_peer, preface_done *on_done, void *owner);

/* Takes the connection over; `on_done` follows, never within this call, and at the latest
 * after the timeout; a second later when what came is no TLS. */
void preface_open(struct prefaces *prefaces, struct msg_accepted *accepted,
                  const struct preface_terms *terms);

/* Closes a connection that nobody serves, and its TLS; `refused`: with a reset. */
void preface_give_up(struct msg_accepted *accepted, bool refused);

/* A turn of the loop is over: handshakes have a share of each, as their arithmetic takes up to
 * milliseconds, and whoever comes too late for it comes in the next. */
void prefaces_turn(struct prefaces *prefaces);

/* Closes all that still wait; `on_done` is called for each. */
void prefaces_drop(struct prefaces *prefaces, const char *why);
