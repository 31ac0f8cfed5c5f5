#include "script/heap.h"
#include "base/clock.h"

enum {
    HURRIED_PACE = 2000, /* a round of collection in a twentieth of the heap's growth */
    MARGIN = 65536,      /* of what is left: hurrying for less would never end */
    REST = 10,           /* a collection is followed by so many times its duration without one */
};

static size_t first_mark(const struct heap *heap)
{
    return heap->limit / 4 * 3;
}

static size_t ceiling(const struct heap *heap)
{
    return heap->limit + heap->lent;
}

static size_t room(const struct heap *heap)
{
    return heap->used < ceiling(heap) ? ceiling(heap) - heap->used : 0;
}

static size_t max(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Half of what is left lies below it. */
static size_t next_mark(const struct heap *heap)
{
    return room(heap) > MARGIN ? max(first_mark(heap), heap->used + room(heap) / 2) : ceiling(heap);
}

/* Below it, collection has gained as much as lies between the mark and the limit. */
static size_t lower_mark(const struct heap *heap)
{
    size_t gain = 2 * max(ceiling(heap) - heap->mark, MARGIN);
    return heap->mark > gain ? heap->mark - gain : 0;
}

/* A script that has stopped its collector is left alone. These calls store numbers, no more: they
 * may be made while the state allocates. */
static void hurry(struct heap *heap)
{
    heap->mark = next_mark(heap);
    if (!lua_gc(heap->L, LUA_GCISRUNNING, 0))
        return;
    heap->hurried = true;
    lua_gc(heap->L, LUA_GCSETSTEPMUL, HURRIED_PACE);
    lua_gc(heap->L, LUA_GCRESTART, 0);
}

static void calm_down(struct heap *heap)
{
    heap->hurried = false;
    heap->mark = next_mark(heap);
    lua_gc(heap->L, LUA_GCSETSTEPMUL, heap->pace);
}

static bool may_grow(struct heap *heap, size_t more)
{
    if (more <= room(heap))
        return true;
    heap->full = true;
    hurry(heap);
    return !heap->strict;
}

static void *allocate(void *data, void *old, size_t old_size, size_t size)
{
    struct heap *heap = data;
    if (size > old_size && !may_grow(heap, size - old_size))
        return NULL;
    void *block = heap->allocate(heap->data, old, old_size, size);
    if (!block && size > 0)
        return NULL;
    heap->used += size - old_size;
    if (heap->used > heap->mark && heap->mark < ceiling(heap))
        hurry(heap);
    else if (heap->hurried && heap->used < lower_mark(heap))
        calm_down(heap);
    return block;
}

void heap_open(struct heap *heap, lua_State *L, size_t limit)
{
    *heap = (struct heap){.L = L, .limit = limit};
    heap->allocate = lua_getallocf(L, &heap->data);
    heap->used = (size_t)lua_gc(L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB, 0);
    heap->mark = first_mark(heap);
    heap->pace = lua_gc(L, LUA_GCSETSTEPMUL, HURRIED_PACE);
    lua_gc(L, LUA_GCSETSTEPMUL, heap->pace);
    lua_setallocf(L, allocate, heap);
}

void heap_close(struct heap *heap)
{
    if (heap->L)
        lua_setallocf(heap->L, heap->allocate, heap->data);
}

void heap_lend(struct heap *heap, bool lend)
{
    heap->lent = lend ? heap->limit / 4 : 0;
    heap->mark = next_mark(heap);
    if (heap->used <= ceiling(heap))
        return;
    heap->full = true;
    heap->not_before_ms = 0;
}

void heap_recover(struct heap *heap, void (*collect)(void *), void *data)
{
    if (!heap->full)
        return;
    uint64_t began = clock_ms();
    if (began < heap->not_before_ms)
        return;
    heap->full = false;
    heap->not_before_ms = UINT64_MAX; /* the collection itself may meet the limit */
    collect(data);
    uint64_t now = clock_ms();
    heap->not_before_ms = now + REST * (now - began);
}
