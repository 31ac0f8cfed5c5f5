/* The texts that clients get. Each function returns a new string; free() it. */
#pragma once

#include "args.h"
#include <stdint.h>

/* {"op":"auth","success":true} */
char *reply_success(const char *op);

/* {"op":"auth","error":"No access"}; with op NULL {"error":"…"}. An op that a user made up is cut
 * at 32 bytes. */
char *reply_error(const char *op, const char *error);

/* {"event":"subscribe","channel":"room_101","data":"uid:1,message:hello"} */
char *reply_event(int64_t uid, const struct args_message *message);
