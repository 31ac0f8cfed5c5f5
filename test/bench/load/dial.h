/* Opens sockets towards a target. */
#pragma once

#include "target.h"
#include <stdint.h>

/* Begins to connect; returns the socket, or a negative errno. On the loopback the source is
 * 127.77.x.y with a port below the ephemeral ones, so that neither their number nor what others use
 * of them is a limit: *next_port counts on through these. `lane` below 128 tells callers apart.
 * `receive_buffer` 0: the kernel's default. */
int dial(const struct target *target, unsigned lane, uint32_t *next_port, int receive_buffer);
