/* A connection that published messages are delivered to: each is held against the run's deliveries.
 * A slow one reads at --slow-rate until the run drains, and may be left behind. */
#pragma once

#include "client.h"

extern const struct role subscriber_role;
