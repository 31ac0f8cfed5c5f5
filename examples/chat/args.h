/* What users give as `args`: anything at all. */
#pragma once

#include <jansson.h>
#include <stddef.h>

enum {
    ARGS_NAME_MAX = 255,      /* bytes of a name, a password, a channel */
    ARGS_MESSAGE_MAX = 65536, /* bytes of a message */
    ARGS_CHANNELS_MAX = 100
};

/* Each function takes the values out of the list and returns NULL, or says what is allowed. An
 * integer counts as its digits; values behind the last one are passed over. Results live as long as
 * the args. */

struct args_login {
    const char *name, *password;
};

struct args_channels {
    const char *names[ARGS_CHANNELS_MAX];
    size_t count;
};

struct args_message {
    const char *channel;
    const char *text; /* may hold NUL */
    size_t len;
};

/* [name, password] */
const char *args_login(json_t *args, struct args_login *login);

/* [channel, …] */
const char *args_channels(json_t *args, struct args_channels *channels);

/* [channel, message] */
const char *args_message(json_t *args, struct args_message *message);

/* [message]; the channel is not touched. */
const char *args_broadcast(json_t *args, struct args_message *message);
