/* The two clocks. Any thread. */
#pragma once

#include <stdint.h>

/* Monotonic, for durations and deadlines. */
uint64_t clock_ms(void);
uint64_t clock_ns(void);

/* Wall clock in whole seconds since 2025-01-01 UTC, never running backwards within a process. */
uint32_t clock_epoch_s(void);

/* Wall clock in seconds since 1970, with their fraction; it may be set back. */
double clock_unix(void);
