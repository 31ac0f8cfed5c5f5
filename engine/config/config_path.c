#include "config/config_path.h"

#include "base/mem.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Without the last part of the path: "." and "/" where nothing else is left. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return xstrdup(".");
    while (slash > path && slash[-1] == '/')
        slash--;
    return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

static bool named_conf(const char *folder)
{
    const char *slash = strrchr(folder, '/');
    return strcmp(slash ? slash + 1 : folder, "conf") == 0;
}

/* Also true for "." when that is a folder named conf. */
static bool really_named_conf(const char *folder)
{
    char *real = realpath(folder, NULL);
    bool named = real && named_conf(real);
    free(real);
    return named;
}

char *config_path_base(const char *file)
{
    char *folder = folder_of(file);
    char *base = folder;
    if (named_conf(folder))
        base = folder_of(folder);
    else if (really_named_conf(folder))
        base = config_path_join(folder, "..");
    if (base != folder)
        free(folder);
    return base;
}

char *config_path_join(const char *base, const char *path)
{
    if (path[0] == '/' || strcmp(base, ".") == 0)
        return xstrdup(path);
    const char *separator = base[strlen(base) - 1] == '/' ? "" : "/";
    return xasprintf("%s%s%s", base, separator, path);
}

static bool is_readable_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, R_OK) == 0;
}

char *config_path_find(const char *base, const char *path, struct buf *tried)
{
    char *found = config_path_join(base, path);
    if (is_readable_file(found))
        return found;
    bool same = strcmp(found, path) == 0;
    if (same)
        buf_printf(tried, "%s", found);
    else if (!is_readable_file(path))
        buf_printf(tried, "%s and ./%s", found, path);
    free(found);
    return tried->len ? NULL : xstrdup(path);
}
