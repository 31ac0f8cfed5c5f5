#include "api/pages.h"
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20 };

const char pages_headers[] =
    "Cache-Control: no-store\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; font-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'\r\n";

static const char *type_of(const char *path)
{
    static const struct {
        const char *ending, *type;
    } types[] = {{".html", "text/html; charset=utf-8"},
                 {".css", "text/css; charset=utf-8"},
                 {".js", "text/javascript; charset=utf-8"},
                 {".svg", "image/svg+xml"},
                 {".png", "image/png"},
                 {".ico", "image/x-icon"},
                 {".json", "application/json"},
                 {".txt", "text/plain; charset=utf-8"}};
    const char *ending = strrchr(path, '.');
    for (size_t i = 0; ending && i < sizeof types / sizeof *types; i++)
        if (strcasecmp(ending, types[i].ending) == 0)
            return types[i].type;
    return "application/octet-stream";
}

/* Also "." and "..". */
static bool is_hidden(const char *path)
{
    return strstr(path, "/.") != NULL;
}

/* Links are followed first: what counts is where the file really is. */
static bool resolve(const char *folder, const char *path, char out[PATH_MAX])
{
    char root[PATH_MAX], wanted[PATH_MAX];
    int len = snprintf(wanted, sizeof wanted, "%s%s%s", folder, path,
                       strcmp(path, "/") == 0 ? "index.html" : "");
    if (path[0] != '/' || is_hidden(path) || len >= (int)sizeof wanted || !realpath(folder, root) ||
        !realpath(wanted, out))
        return false;
    size_t root_len = strlen(root);
    return strncmp(out, root, root_len) == 0 && out[root_len] == '/' && !is_hidden(out + root_len);
}

static bool append(int fd, struct buf *out)
{
    struct stat file;
    if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode) || file.st_size > FILE_MAX)
        return false;
    ssize_t len = read(fd, buf_reserve(out, (size_t)file.st_size), (size_t)file.st_size);
    if (len != file.st_size) /* it is being written */
        return false;
    out->len += (size_t)len;
    return true;
}

const char *pages_read(const char *folder, const char *path, struct buf *out)
{
    char file[PATH_MAX];
    if (!resolve(folder, path, file))
        return NULL;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    bool good = append(fd, out);
    close(fd);
    return good ? type_of(file) : NULL;
}
