/* Who may use the API: HTTP Basic credentials (RFC 7617), held against the configured users. Pure
 * functions. */
#pragma once

#include "config/config.h"

enum access_role {
    ACCESS_READ,  /* nodes, version, metrics */
    ACCESS_WRITE, /* consuming and commands */
};

/* `authorization`: the header's value, NULL when there was none; `peer`: the address it came from
 * (address_host).
 * Without users everybody may do everything. Returns 0, or the HTTP status: 401 when no user has
 * these credentials and a host pattern for the peer, 403 when one has, but not the role. */
int access_check(const struct config *config, const char *authorization, const char *peer,
                 enum access_role role);
