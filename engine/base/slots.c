/* A slot is fresh (never used), taken, or in the line of the free ones, linked by index. The line
 * is first in, first out, so its head is the one that has been free longest; when even that was
 * taken in the current second, a fresh slot is used instead, so that generation alone tells two
 * uses apart. */
#include "base/slots.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include <stdlib.h>

enum { FIRST_CAP = 64, NONE = SLOTS_MAX };

struct slot {
    void *object; /* NULL: not taken */
    uint32_t generation;
    uint32_t next_free;
};

struct slots {
    struct slot *slots;
    uint32_t cap, fresh; /* those from `fresh` on were never used */
    uint32_t free_head, free_tail;
    uint32_t count, not_before;
};

struct slots *slots_new(uint32_t not_before)
{
    struct slots *slots = xcalloc(1, sizeof *slots);
    slots->free_head = slots->free_tail = NONE;
    slots->not_before = not_before;
    return slots;
}

void slots_free(struct slots *slots)
{
    free(slots->slots);
    free(slots);
}

static uint32_t take_free(struct slots *slots, uint32_t second)
{
    uint32_t index = slots->free_head;
    if (index == NONE || slots->slots[index].generation >= second)
        return NONE;
    slots->free_head = slots->slots[index].next_free;
    if (slots->free_head == NONE)
        slots->free_tail = NONE;
    return index;
}

static uint32_t take_fresh(struct slots *slots)
{
    if (slots->fresh == SLOTS_MAX)
        return NONE;
    if (slots->fresh == slots->cap) {
        slots->cap = slots->cap ? slots->cap * 2 : FIRST_CAP;
        slots->slots = xrealloc(slots->slots, slots->cap * sizeof *slots->slots);
    }
    return slots->fresh++;
}

uint64_t slots_put_at(struct slots *slots, void *object, uint32_t second)
{
    CHECK(object != NULL);
    /* Second 0 would make the number 0; a second beyond the generation's bits would repeat old
     * ones. */
    if (second == 0 || second < slots->not_before || second >> SLOT_GENERATION_BITS != 0)
        return 0;
    uint32_t index = take_free(slots, second);
    if (index == NONE)
        index = take_fresh(slots);
    if (index == NONE)
        return 0;
    slots->slots[index] = (struct slot){object, second, NONE};
    slots->count++;
    return (uint64_t)index << SLOT_GENERATION_BITS | second;
}

uint64_t slots_put(struct slots *slots, void *object)
{
    return slots_put_at(slots, object, clock_epoch_s());
}

static struct slot *find(const struct slots *slots, uint64_t number)
{
    uint64_t index = number >> SLOT_GENERATION_BITS;
    if (index >= slots->fresh)
        return NULL;
    struct slot *slot = &slots->slots[index];
    uint32_t generation = number & (((uint32_t)1 << SLOT_GENERATION_BITS) - 1);
    return slot->object != NULL && slot->generation == generation ? slot : NULL;
}

void *slots_get(const struct slots *slots, uint64_t number)
{
    const struct slot *slot = find(slots, number);
    return slot ? slot->object : NULL;
}

void slots_remove(struct slots *slots, uint64_t number)
{
    struct slot *slot = find(slots, number);
    if (slot == NULL)
        return;
    uint32_t index = (uint32_t)(slot - slots->slots);
    slot->object = NULL;
    slot->next_free = NONE;
    if (slots->free_tail == NONE)
        slots->free_head = index;
    else
        slots->slots[slots->free_tail].next_free = index;
    slots->free_tail = index;
    slots->count--;
}

uint32_t slots_count(const struct slots *slots)
{
    return slots->count;
}
