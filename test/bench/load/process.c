#include "process.h"
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TREE_MAX = 256, /* at least as many as may be named */ LINE_MAX_LEN = 512, KIB = 1024 };

struct tree {
    pid_t pids[TREE_MAX];
    size_t count;
};

struct process_stat {
    pid_t parent;
    uint64_t ticks;
};

static FILE *open_of(pid_t pid, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return fopen(path, "re");
}

/* The name of a program may hold anything, so what follows is counted from its last parenthesis. */
static bool read_stat(pid_t pid, struct process_stat *out)
{
    char line[LINE_MAX_LEN];
    FILE *file = open_of(pid, "stat");
    if (!file)
        return false;
    const char *rest = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    uint64_t user = 0, system = 0;
    bool good =
        rest && sscanf(rest + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
                       &out->parent, &user, &system) == 3;
    out->ticks = user + system;
    fclose(file);
    return good;
}

bool process_exists(pid_t pid)
{
    struct process_stat stat;
    return read_stat(pid, &stat);
}

static bool in_tree(const struct tree *tree, pid_t pid)
{
    for (size_t i = 0; i < tree->count; i++)
        if (tree->pids[i] == pid)
            return true;
    return false;
}

/* Adds the children of what is in the tree. Returns whether there were new ones. */
static bool add_children(struct tree *tree)
{
    size_t before = tree->count;
    DIR *proc = opendir("/proc");
    if (!proc)
        return false;
    for (struct dirent *entry; (entry = readdir(proc)) && tree->count < TREE_MAX;) {
        struct process_stat stat;
        pid_t pid = (pid_t)atoi(entry->d_name);
        if (pid > 0 && !in_tree(tree, pid) && read_stat(pid, &stat) && in_tree(tree, stat.parent))
            tree->pids[tree->count++] = pid;
    }
    closedir(proc);
    return tree->count > before;
}

static void add_memory(pid_t pid, struct process_figures *figures)
{
    char line[LINE_MAX_LEN];
    uint64_t kib;
    FILE *file = open_of(pid, "smaps_rollup");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "Rss: %" SCNu64, &kib) == 1)
            figures->rss += kib * KIB;
        else if (sscanf(line, "Pss: %" SCNu64, &kib) == 1)
            figures->pss += kib * KIB;
        else if (sscanf(line, "Private_Clean: %" SCNu64, &kib) == 1 ||
                 sscanf(line, "Private_Dirty: %" SCNu64, &kib) == 1)
            figures->private_bytes += kib * KIB;
    }
    if (file)
        fclose(file);
}

/* All but the time that was idle or waited for disks. */
static uint64_t machine_ticks(void)
{
    uint64_t user, nice, system, irq, softirq, steal;
    FILE *file = fopen("/proc/stat", "re");
    if (!file)
        return 0;
    int found = fscanf(
        file, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %*u %*u %" SCNu64 " %" SCNu64 " %" SCNu64,
        &user, &nice, &system, &irq, &softirq, &steal);
    fclose(file);
    return found == 6 ? user + nice + system + irq + softirq + steal : 0;
}

struct process_figures process_look(const pid_t *pids, size_t count, bool children)
{
    double hz = (double)sysconf(_SC_CLK_TCK);
    struct process_figures figures = {.machine_cpu_s = (double)machine_ticks() / hz};
    struct tree tree = {.count = count};
    memcpy(tree.pids, pids, count * sizeof *pids);
    while (children && add_children(&tree))
        ;
    for (size_t i = 0; i < tree.count; i++) {
        struct process_stat stat;
        if (!read_stat(tree.pids[i], &stat))
            continue;
        figures.processes++;
        figures.cpu_s += (double)stat.ticks / hz;
        add_memory(tree.pids[i], &figures);
    }
    return figures;
}

struct process_kernel process_look_at_kernel(void)
{
    struct process_kernel kernel = {0};
    char line[LINE_MAX_LEN];
    uint64_t value;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Slab: %" SCNu64, &value) == 1)
            kernel.slab = value * KIB;
    if (file)
        fclose(file);
    file = fopen("/proc/net/sockstat", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "TCP: inuse %*u orphan %*u tw %*u alloc %*u mem %" SCNu64, &value) == 1)
            kernel.tcp_memory = value * (uint64_t)sysconf(_SC_PAGESIZE);
    if (file)
        fclose(file);
    return kernel;
}
