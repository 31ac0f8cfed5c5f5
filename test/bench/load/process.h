/* What processes cost, as /proc tells: the server's memory and CPU time, the whole machine's CPU
 * time and the kernel's memory for sockets. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct process_figures {
    uint64_t rss, pss, private_bytes;
    double cpu_s;         /* of these processes, since they began */
    double machine_cpu_s; /* of the whole machine */
    unsigned processes;
};

/* The sums over these processes; with `children` over their descendants too. One that has ended
 * counts as nothing. */
struct process_figures process_look(const pid_t *pids, size_t count, bool children);

bool process_exists(pid_t pid);

struct process_kernel {
    uint64_t slab, tcp_memory; /* bytes, of the whole machine */
};

struct process_kernel process_look_at_kernel(void);
