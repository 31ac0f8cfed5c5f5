/* The memory of one Lua state under a ceiling (engine.luavm.memoryLimit). It stands before the
 * state's own allocator and refuses what would go beyond, which LuaJIT raises as "not enough
 * memory" in the script. The engine's own code, which nothing protects from a Lua error, is never
 * refused (`strict`, which vm_enter sets): it goes beyond by what it needs.
 *
 * LuaJIT collects no garbage when an allocation fails, so collection is hurried before: at three
 * quarters of the ceiling, and again each time that half of what is left is gone. An allocation
 * that is larger than what is left is refused even if garbage would make room. Worker's thread.
 */
#pragma once

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap {
    lua_State *L; /* NULL: there is no ceiling, and none of the others is set */
    lua_Alloc allocate;
    void *data;
    size_t used, limit, lent;
    size_t mark;            /* where collection is hurried next */
    bool hurried;           /* collection is */
    int pace;               /* the collector's, when it is not */
    bool strict;            /* a script runs */
    bool full;              /* the limit was met since the last heap_recover */
    uint64_t not_before_ms; /* of the next whole collection */
};

/* From here on the state, which has little in it yet, has at most `limit` bytes. */
void heap_open(struct heap *heap, lua_State *L, size_t limit);

/* Before lua_close, which knows its own allocator alone. */
void heap_close(struct heap *heap);

/* A quarter of the ceiling more, from when a script is loaded that is to replace one until it has:
 * that may be the way out of a full heap. What is then too much is collected by the next
 * heap_recover. */
void heap_lend(struct heap *heap, bool lend);

/* After a script's call, or work for one, that has met the limit: collects the garbage, but spends
 * at most a tenth of the time in that. `collect` does it on the state. */
void heap_recover(struct heap *heap, void (*collect)(void *), void *data);
