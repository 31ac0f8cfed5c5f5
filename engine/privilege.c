#include "privilege.h"
#include "base/check.h"
#include "base/mem.h"
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* ---- looking up ---- */

/* False, and *out as it was, when it is no number that an account may have. */
static bool read_number(const char *text, unsigned *out)
{
    char *end;
    if (text[strspn(text, "0123456789")] != '\0')
        return false;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (errno != 0 || number >= UINT_MAX)
        return false;
    *out = (unsigned)number;
    return true;
}

static const struct passwd *find_user(const char *text, unsigned *uid)
{
    return read_number(text, uid) ? getpwuid(*uid) : getpwnam(text);
}

static int find_group(gid_t *gid, const char *text, char *error, size_t error_size)
{
    const struct group *group = NULL;
    unsigned number;
    if (read_number(text, &number))
        *gid = number;
    else if ((group = getgrnam(text)) != NULL)
        *gid = group->gr_gid;
    else
        snprintf(error, error_size,
                 "user: there is no group '%s'; make it (groupadd --system %s), or name another",
                 text, text);
    return group || read_number(text, &number) ? 0 : -1;
}

static int find_parts(struct account *account, const char *user, const char *group, char *error,
                      size_t error_size)
{
    unsigned uid = UINT_MAX;
    const struct passwd *known = find_user(user, &uid);
    if (!known && uid == UINT_MAX) {
        snprintf(error, error_size,
                 "user: there is no user '%s'; make it (useradd --system %s), or name another",
                 user, user);
        return -1;
    }
    if (!known && !group) {
        snprintf(error, error_size,
                 "user: the system does not know the number %s; add a group, as %s:%s", user, user,
                 user);
        return -1;
    }
    account->uid = known ? known->pw_uid : uid;
    account->gid = known ? known->pw_gid : 0;
    snprintf(account->name, sizeof account->name, "%s", known ? known->pw_name : "");
    return group ? find_group(&account->gid, group, error, error_size) : 0;
}

int account_find(struct account *account, const char *text, char *error, size_t error_size)
{
    char *user = xstrdup(text), *colon = strchr(user, ':');
    if (colon)
        *colon = '\0';
    int rc = find_parts(account, user, colon ? colon + 1 : NULL, error, error_size);
    free(user);
    if (rc == 0 && account->uid == 0) {
        snprintf(error, error_size, "user: %s is the superuser; name another, or remove the key",
                 text);
        return -1;
    }
    return rc;
}

/* ---- becoming ---- */

bool account_is_own(const struct account *account)
{
    uid_t real, effective, saved;
    CHECK(getresuid(&real, &effective, &saved) == 0);
    return real == account->uid && effective == account->uid && saved == account->uid &&
           getegid() == account->gid;
}

static int set_groups(const struct account *account)
{
    return account->name[0] ? initgroups(account->name, account->gid) : setgroups(1, &account->gid);
}

static bool can_come_back(void)
{
    return setresuid(0, 0, 0) == 0 || setuid(0) == 0 || seteuid(0) == 0;
}

int account_become(const struct account *account, char *error, size_t error_size)
{
    const char *failed = NULL;
    if (set_groups(account) != 0)
        failed = "its groups cannot be taken";
    else if (setresgid(account->gid, account->gid, account->gid) != 0)
        failed = "its group cannot be taken";
    else if (setresuid(account->uid, account->uid, account->uid) != 0)
        failed = "it cannot be become";
    else if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        failed = "new privileges cannot be given up";
    if (failed) {
        snprintf(error, error_size, "user: %s: %s", failed, strerror(errno));
        return -1;
    }
    CHECK(account_is_own(account));
    CHECK(!can_come_back());
    return 0;
}

void privilege_set_dumpable(bool dumpable)
{
    CHECK(prctl(PR_SET_DUMPABLE, dumpable ? 1 : 0, 0, 0, 0) == 0);
}
