/* Before libwebsockets gets a connection: the credentials of its first request, looked at without
 * taking them from the socket. libwebsockets wants to be told at once whether a WebSocket may open,
 * so a connection whose credentials take time to be checked is held until that is done. Only
 * while users with hashed passwords exist; what is let through is judged by http.c all the same.
 * Under TLS nothing can be looked at: who comes while the password is being checked is answered
 * 503, and is let in when it comes again. Api loop's thread. */
#pragma once

#include "api/api_private.h"

/* Takes the descriptor: hands it to api_adopt at once or later, or closes it. */
void door_knock(struct api *api, struct listener *listener, int fd);

/* Credentials have been checked (access.h). `data`: the api. */
void door_on_checked(void *data);

/* Closes the connections that are held. */
void door_close(struct api *api);
