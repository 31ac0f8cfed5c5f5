#include "proto/forwarded.h"
#include "script/session.h"

const char *session_remote(const struct session *s, char text[ADDRESS_TEXT])
{
    struct sockaddr_storage peer;
    address_unpack(&peer, &s->peer);
    address_text(&peer, text);
    return text;
}

void session_forwarded(struct session *s, const struct handshake *h)
{
    char *const *trusted = s->terms->server->trusted_proxies;
    struct sockaddr_storage peer;
    if (!*trusted)
        return;
    address_unpack(&peer, &s->peer);
    if (forwarded_client(h, trusted, &peer))
        address_pack(&s->peer, &peer);
}
