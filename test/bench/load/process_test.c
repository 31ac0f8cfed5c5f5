#include "process.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MIB = 1 << 20, SIZE = 32 * MIB }; /* more with what sanitizers keep of it */

static void test_memory_that_is_used_is_seen(void **state)
{
    (void)state;
    pid_t self = getpid();
    struct process_figures before = process_look(&self, 1, false);
    char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    memset(memory, 1, SIZE);
    struct process_figures after = process_look(&self, 1, false);
    assert_int_equal(after.processes, 1);
    assert_in_range(after.rss - before.rss, SIZE - MIB, 8 * SIZE);
    assert_in_range(after.pss - before.pss, SIZE - MIB, 8 * SIZE);
    assert_in_range(after.private_bytes - before.private_bytes, SIZE - MIB, 8 * SIZE);
    munmap(memory, SIZE);
}

static void test_cpu_time_that_is_used_is_seen(void **state)
{
    (void)state;
    pid_t self = getpid();
    struct process_figures before = process_look(&self, 1, false), now;
    do
        now = process_look(&self, 1, false);
    while (now.cpu_s < before.cpu_s + 0.05);
    assert_true(now.machine_cpu_s > before.machine_cpu_s);
}

static void test_children_count_when_they_are_asked_for(void **state)
{
    (void)state;
    int ends[2];
    pid_t self = getpid();
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        close(ends[1]);
        _exit((int)read(ends[0], &byte, 1));
    }
    assert_true(process_exists(child));
    assert_int_equal(process_look(&self, 1, false).processes, 1);
    assert_int_equal(process_look(&self, 1, true).processes, 2);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_false(process_exists(child));
    assert_int_equal(process_look(&child, 1, false).processes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_that_is_used_is_seen),
        cmocka_unit_test(test_cpu_time_that_is_used_is_seen),
        cmocka_unit_test(test_children_count_when_they_are_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
