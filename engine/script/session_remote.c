#include "base/address.h"
#include "proto/forwarded.h"
#include "script/session.h"
#include <stdio.h>
#include <string.h>

void session_set_remote(struct session *s, const struct sockaddr_storage *peer)
{
    char text[ADDRESS_TEXT];
    address_text(peer, text);
    snprintf(s->remote, sizeof s->remote, "%.*s", (int)sizeof s->remote - 1, text);
}

void session_forwarded(struct session *s, const struct handshake *h)
{
    char *const *trusted = s->terms->server->trusted_proxies;
    struct sockaddr_storage peer;
    if (*trusted && address_from_text(&peer, s->remote, strlen(s->remote)) &&
        forwarded_client(h, trusted, &peer))
        session_set_remote(s, &peer);
}
