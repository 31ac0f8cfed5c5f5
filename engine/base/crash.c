#include "base/crash.h"
#include "base/log.h"
#include <signal.h>
#include <stddef.h>

enum { SETTLE_MS = 500 };

/* SA_RESETHAND: the second time it is what it would have been. */
static void on_fault(int number)
{
    log_settle(SETTLE_MS);
    raise(number);
}

void crash_install(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_RESETHAND | SA_NODEFER};
    struct sigaction before;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            (void)sigaction(numbers[i], &action, NULL);
}
