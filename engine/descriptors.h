/* How the process's descriptors are shared out, so that whatever clients do the API, scripts and
 * logs have theirs. */
#pragma once

#include "config/config.h"

/* Takes as many as the system lets us have; returns how many. Main thread, once. */
unsigned descriptors_raise(void);

/* Of that many, those for the sockets of the APIs. Pure, as is the next. */
unsigned descriptors_of_api(unsigned descriptors);

/* Of that many, those for clients: how many there may be. */
unsigned descriptors_of_clients(unsigned descriptors, const struct config *config,
                                unsigned workers);
