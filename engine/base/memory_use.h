/* How much of the machine's memory the process holds. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A descriptor for memory_resident; negative errno when there is none. */
int memory_use_open(void);

/* Bytes of resident memory; 0 when it cannot be told. Takes some microseconds. */
uint64_t memory_resident(int descriptor);

/* Gives what is free, but still the process's, back to the system: afterwards what is resident is
 * in use. It goes over the memory of all threads, and holds up those that allocate meanwhile. Any
 * thread. */
void memory_give_back(void);

/* What holds the process under a limit, for threads that make it grow. One writes but for the
 * look; any thread reads. */
struct memory_guard {
    atomic_bool is_short;  /* little may wait for anybody, while there is a limit */
    _Atomic uint64_t most; /* resident bytes from which it is short at once; 0: none */
    int descriptor;        /* memory_use_open's; set once, before `most` */
};

/* NULL: never. */
bool memory_is_short(const struct memory_guard *guard);

/* For a thread that has taken much in a short time: it may be short already. */
void memory_guard_look(struct memory_guard *guard);
