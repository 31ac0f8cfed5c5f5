/* Who may use the API: HTTP Basic credentials (RFC 7617), held against the configured users.
 *
 * A password that is configured as a hash takes milliseconds to be checked, so that is done on
 * libuv's threads: at most two at a time, and what waits is bounded, in all and for each address.
 * What was found out is kept in memory, under a keyed digest of the credentials and the hash; no
 * password is. Comparisons take as long whatever is compared; who names a user that does not exist
 * is made to wait for a hash all the same. Api loop's thread. */
#pragma once

#include "config/config.h"
#include <uv.h>

enum access_role {
    ACCESS_READ,  /* nodes, version, metrics */
    ACCESS_WRITE, /* consuming and commands */
};

enum {
    ACCESS_KEPT_MAX = 1024,   /* results that are kept */
    ACCESS_WAITING_MAX = 256, /* credentials that wait to be checked */
    ACCESS_PEER_MAX = 32,     /* of these, from one address */
};

struct access;

/* `on_checked` is called whenever credentials have been checked. */
struct access *access_new(uv_loop_t *loop, void (*on_checked)(void *data), void *data);

/* From now on these users; the configuration lives until the next call. */
void access_configure(struct access *access, const struct config *config);

/* Nothing more is checked; on_checked is not called any more. What runs keeps the loop alive for so
 * long; access_free when the loop has ended. */
void access_stop(struct access *access);
void access_free(struct access *access);

/* `authorization`: the header's value, NULL when there was none; `peer`: the address it came from
 * (address_host). Without users everybody may do everything. Returns 0, or the HTTP status: 401
 * when no user has these credentials and a host pattern for the peer, 403 when one has, but not the
 * role, 503 while they are being checked, or when too many wait for that. */
int access_check(struct access *access, const char *authorization, const char *peer,
                 enum access_role role);

/* Must these credentials be waited for? If so, on_checked will be called. */
bool access_must_wait(struct access *access, const char *authorization, const char *peer);

/* Could it be that some must? */
bool access_has_hashes(const struct access *access);
