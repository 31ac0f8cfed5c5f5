/* The two clocks. Any thread. */
#pragma once

#include <stdint.h>

/* Monotonic, for durations and deadlines. */
uint64_t clock_ms(void);
uint64_t clock_ns(void);

/* Seconds since 2025-01-01 UTC. Follows the wall clock forward, never back: when that is set back
 * the seconds go on at their pace. 0 while the wall clock has shown no time from 2025 to 2041 yet.
 */
uint32_t clock_epoch_s(void);

/* Wall clock in seconds since 1970, with their fraction; it may be set back. */
double clock_unix(void);
