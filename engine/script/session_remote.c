#include "base/clock.h"
#include "net/tally.h"
#include "proto/forwarded.h"
#include "script/session.h"

const char *session_remote(const struct session *s, char text[ADDRESS_TEXT])
{
    struct sockaddr_storage peer;
    address_unpack(&peer, &s->peer);
    address_text(&peer, text);
    return text;
}

void session_meter(struct session *s)
{
    char *const *exempt = s->terms->server->limits.exempt;
    struct sockaddr_storage peer;
    if (!*exempt)
        return;
    address_unpack(&peer, &s->peer);
    conn_meter(s->conn, !address_in(&peer, exempt));
}

bool session_forwarded(struct session *s, const struct handshake *h)
{
    const struct config_server *server = s->terms->server;
    char *const *trusted = server->trusted_proxies;
    struct sockaddr_storage peer;
    if (!*trusted || s->counted) /* a script may look at one request twice */
        return true;
    address_unpack(&peer, &s->peer);
    if (!forwarded_client(h, trusted, &peer))
        return true;
    address_pack(&s->peer, &peer);
    session_meter(s);
    return tally_enter(s->vm->env->tallies[s->vm->index], server, &peer, clock_ns(), &s->counted);
}
