/* A table that hands out numbers for objects: 18 bits of slot, 29 bits of generation, so that a
 * number is never handed out twice, also across restarts of the process.
 *
 * A generation is the second in which its slot was taken, counted from 2025. A slot is taken again
 * only in a later second, slots that were given back first go first, and clock_epoch_s never runs
 * backwards. Owned and used by one thread. */
#pragma once

#include <stdint.h>

enum { SLOTS_MAX = 1 << 18, SLOT_GENERATION_BITS = 29 };

struct slots;

/* `not_before`: the first second whose generations may be used; a process passes the second after
 * the one in which it bound its ports, so that no id of a process before it can come again. */
struct slots *slots_new(uint32_t not_before);
void slots_free(struct slots *slots);

/* Puts `object` in a slot: slot << 29 | generation, or 0 when all slots are taken or `not_before`
 * has not come yet. No number is 0. */
uint64_t slots_put(struct slots *slots, void *object);

/* The same in a given second instead of the current one: for tests, which never mix the two. */
uint64_t slots_put_at(struct slots *slots, void *object, uint32_t second);

/* The object of a number, NULL when it has been removed or never was. */
void *slots_get(const struct slots *slots, uint64_t number);
void slots_remove(struct slots *slots, uint64_t number);

uint32_t slots_count(const struct slots *slots);
