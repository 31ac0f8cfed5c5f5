#include "base/address.h"
#include "script/session.h"
#include <stdio.h>

void session_set_remote(struct session *s, const struct sockaddr_storage *peer)
{
    char text[ADDRESS_TEXT];
    address_text(peer, text);
    snprintf(s->remote, sizeof s->remote, "%.*s", (int)sizeof s->remote - 1, text);
}
