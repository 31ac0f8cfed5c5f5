#include "queue/gate.h"
#include "base/check.h"
#include "base/mem.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uthash.h>

/* The two counts change together or not at all: that is what makes the bound exact. */
#define ONE_COUNT ((uint64_t)1)
#define ONE_WAITING ((uint64_t)1 << 32)

struct gate {
    _Atomic uint64_t state; /* count, and waiting in the upper half */
    _Atomic uint32_t size;
    _Atomic uint64_t refused;
    UT_hash_handle hh;
    size_t name_len;
    char name[];
};

struct gates {
    pthread_mutex_t lock;
    struct gate *by_name; /* in the order in which they were made */
    uint32_t topic_size, max_topics;
    atomic_bool held;
};

static uint32_t count_of(uint64_t state)
{
    return (uint32_t)state;
}

static uint32_t waiting_of(uint64_t state)
{
    return (uint32_t)(state >> 32);
}

struct gates *gates_new(uint32_t topic_size, uint32_t max_topics)
{
    struct gates *gates = xcalloc(1, sizeof *gates);
    pthread_mutex_init(&gates->lock, NULL);
    gates->topic_size = topic_size;
    gates->max_topics = max_topics;
    return gates;
}

void gates_free(struct gates *gates)
{
    struct gate *gate, *next;
    HASH_ITER(hh, gates->by_name, gate, next)
    {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): HASH_ITER has taken the next one before */
        HASH_DEL(gates->by_name, gate);
        free(gate);
    }
    pthread_mutex_destroy(&gates->lock);
    free(gates);
}

void gates_hold(struct gates *gates, bool hold)
{
    atomic_store_explicit(&gates->held, hold, memory_order_relaxed);
}

bool gates_are_held(const struct gates *gates)
{
    return atomic_load_explicit(&gates->held, memory_order_relaxed);
}

static struct gate *make_gate(struct gates *gates, const char *name, size_t len)
{
    if (HASH_COUNT(gates->by_name) >= gates->max_topics)
        return NULL;
    struct gate *gate = xcalloc(1, sizeof *gate + len + 1);
    atomic_init(&gate->size, gates->topic_size);
    gate->name_len = len;
    memcpy(gate->name, name, len);
    HASH_ADD_KEYPTR(hh, gates->by_name, gate->name, len, gate);
    return gate;
}

struct gate *gates_get(struct gates *gates, const char *name, size_t len)
{
    struct gate *gate;
    pthread_mutex_lock(&gates->lock);
    HASH_FIND(hh, gates->by_name, name, len, gate);
    if (gate == NULL)
        gate = make_gate(gates, name, len);
    pthread_mutex_unlock(&gates->lock);
    return gate;
}

struct gate *gates_find(struct gates *gates, const char *name, size_t len)
{
    struct gate *gate;
    pthread_mutex_lock(&gates->lock);
    HASH_FIND(hh, gates->by_name, name, len, gate);
    pthread_mutex_unlock(&gates->lock);
    return gate;
}

struct gate *gates_next(struct gates *gates, struct gate *after)
{
    pthread_mutex_lock(&gates->lock);
    struct gate *next = after ? after->hh.next : gates->by_name;
    pthread_mutex_unlock(&gates->lock);
    return next;
}

const char *gate_name(const struct gate *gate, size_t *len)
{
    *len = gate->name_len;
    return gate->name;
}

uint32_t gate_size(const struct gate *gate)
{
    return atomic_load_explicit(&gate->size, memory_order_relaxed);
}

uint32_t gate_count(const struct gate *gate)
{
    return count_of(atomic_load_explicit(&gate->state, memory_order_relaxed));
}

uint32_t gate_waiting(const struct gate *gate)
{
    return waiting_of(atomic_load_explicit(&gate->state, memory_order_relaxed));
}

uint64_t gate_refused(const struct gate *gate)
{
    return atomic_load_explicit(&gate->refused, memory_order_relaxed);
}

void gate_resize(struct gate *gate, uint32_t size)
{
    atomic_store_explicit(&gate->size, size, memory_order_relaxed);
}

/* What is counted travels through mailboxes, which order it: the counts need no ordering of their
 * own. Changes `state` from what the caller has looked at; else tells what it is now. */
static bool change(struct gate *gate, uint64_t *state, uint64_t to)
{
    return atomic_compare_exchange_weak_explicit(&gate->state, state, to, memory_order_relaxed,
                                                 memory_order_relaxed);
}

static bool is_open(const struct gate *gate, uint64_t state)
{
    return waiting_of(state) == 0 && count_of(state) < gate_size(gate);
}

bool gate_enter(struct gate *gate, uint32_t *count)
{
    uint64_t state = atomic_load_explicit(&gate->state, memory_order_relaxed);
    do
        if (!is_open(gate, state)) {
            atomic_fetch_add_explicit(&gate->refused, 1, memory_order_relaxed);
            return false;
        }
    while (!change(gate, &state, state + ONE_COUNT));
    *count = count_of(state) + 1;
    return true;
}

enum gate_result gate_enter_or_wait(struct gate *gate, uint32_t *count)
{
    uint64_t state = atomic_load_explicit(&gate->state, memory_order_relaxed);
    bool open;
    do
        open = is_open(gate, state);
    while (!change(gate, &state, state + (open ? ONE_COUNT : ONE_WAITING)));
    *count = count_of(state) + (open ? 1 : 0);
    return open ? GATE_ENTERED : GATE_WAITING;
}

void gate_leave(struct gate *gate)
{
    uint64_t before = atomic_fetch_sub_explicit(&gate->state, ONE_COUNT, memory_order_relaxed);
    CHECK(count_of(before) > 0);
}

bool gate_admit(struct gate *gate, uint32_t *count)
{
    uint64_t state = atomic_load_explicit(&gate->state, memory_order_relaxed);
    do {
        CHECK(waiting_of(state) > 0);
        if (count_of(state) >= gate_size(gate))
            return false;
    } while (!change(gate, &state, state - ONE_WAITING + ONE_COUNT));
    *count = count_of(state) + 1;
    return true;
}

static uint32_t wait_no_more(struct gate *gate)
{
    uint64_t before = atomic_fetch_sub_explicit(&gate->state, ONE_WAITING, memory_order_relaxed);
    CHECK(waiting_of(before) > 0);
    return count_of(before);
}

uint32_t gate_pass(struct gate *gate)
{
    return wait_no_more(gate);
}

void gate_give_up(struct gate *gate)
{
    wait_no_more(gate);
}
