/* The user of the configuration: whom the process becomes, and what it may not read then. Main
 * thread, before others exist. */
#pragma once

#include "config/config.h"
#include <stdbool.h>
#include <stddef.h>

/* Becomes it for good, with the ports bound before when it is to listen; without the key it stays
 * who it is. Returns 0, or the process's exit status with a line in `error`. */
int user_become(const struct config *config, bool listens, char *error, size_t error_size)
    __attribute__((warn_unused_result));

/* Logs what will be in the way later: rights that are missing at a reload, or too many. `dev`: root
 * is no matter. After user_become. */
void user_warn(const struct config *config, bool dev);
