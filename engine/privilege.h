/* Who the process is: it may begin as root, to bind its ports, and becomes somebody else for good
 * before it runs a script or opens a log. Main thread, before others exist. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { ACCOUNT_NAME = 64 };

struct account {
    char name[ACCOUNT_NAME]; /* as the system knows it; "": it knows only the number */
    uid_t uid;
    gid_t gid;
};

/* Looks up USER or USER:GROUP, names or numbers; without a group it is the user's own. Returns 0,
 * or -1 with a line in `error`. */
int account_find(struct account *account, const char *text, char *error, size_t error_size)
    __attribute__((warn_unused_result));

/* Is the process that account already? */
bool account_is_own(const struct account *account);

/* Becomes the account: its groups, and no capability; the process cannot come back, and neither can
 * what it executes (no new privileges). Returns 0, or -1 with a line in `error`; then the process
 * must not go on. */
int account_become(const struct account *account, char *error, size_t error_size)
    __attribute__((warn_unused_result));

/* Whether the process may be dumped, and traced and read by others of its account. After
 * account_become, which forbids it. */
void privilege_set_dumpable(bool dumpable);
