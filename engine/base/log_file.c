/* A record begins with its date, or has it at a fixed place: that is how a file is cut at midnight
 * by the lines' own time, wherever in what is written at once midnight falls. */
#include "base/log_file.h"
#include "base/clock.h"
#include "base/log_record.h"
#include "base/log_stream.h"
#include "base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SAY_EACH_MS = 60000 };

struct log_file {
    char *path;
    int fd;
    bool rotates;             /* a regular file, no device or pipe */
    struct log_stream stream; /* what it is else */
    uint64_t size, max_size;
    char date[LOG_DATE_LEN + 1]; /* of its lines; "": it has none yet */
    size_t date_at;
    int max_files;
    bool stray;       /* what is open is no longer at the path: it could not be opened anew */
    bool failing;     /* as the last attempt told */
    uint64_t said_ms; /* on standard error; 0: never */
};

/* ---- opening ---- */

static int make_folders(const char *path)
{
    char *folder = xstrdup(path);
    int rc = 0;
    for (char *slash = strchr(folder + 1, '/'); slash && rc == 0; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, 0777) != 0 && errno != EEXIST)
            rc = -errno;
        *slash = '/';
    }
    free(folder);
    return rc;
}

static void adopt(struct log_file *file, int fd, const struct stat *info)
{
    struct tm local;
    if (file->fd >= 0)
        close(file->fd);
    file->fd = fd;
    file->stray = false;
    file->stream = (struct log_stream){.fd = fd};
    file->rotates = S_ISREG(info->st_mode);
    file->size = (uint64_t)info->st_size;
    file->date[0] = '\0';
    if (info->st_size > 0 && localtime_r(&info->st_mtime, &local) != NULL)
        strftime(file->date, sizeof file->date, "%Y-%m-%d", &local);
}

int log_file_reopen(struct log_file *file)
{
    /* A pipe that nobody reads is an error; it would be waited for without O_NONBLOCK. */
    int fd =
        open(file->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        int rc = -errno;
        if (fd >= 0)
            close(fd);
        file->stray = true;
        return rc;
    }
    adopt(file, fd, &info);
    return 0;
}

int log_file_open(struct log_file **out, const struct log_options *options)
{
    struct log_file *file = xcalloc(1, sizeof *file);
    file->path = xstrdup(options->filename);
    file->fd = -1;
    file->max_files = options->max_files;
    file->max_size = options->max_size;
    file->date_at = log_record_date_at(options->format);
    int rc = make_folders(file->path);
    if (rc == 0)
        rc = log_file_reopen(file);
    if (rc != 0) {
        log_file_close(file);
        return rc;
    }
    *out = file;
    return 0;
}

void log_file_close(struct log_file *file)
{
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    free(file->path);
    free(file);
}

/* ---- those that were rotated ---- */

struct rotated {
    char *path;
    char date[LOG_DATE_LEN + 1];
    unsigned number; /* of those of one date; 0: the first, which has no number in its name */
};

struct rotated_list {
    struct rotated *files;
    size_t count;
};

/* Reads "YYYY-MM-DD" or "YYYY-MM-DD.N"; false when it is something else. */
static bool parse_suffix(const char *suffix, struct rotated *rotated)
{
    int end = -1;
    if (sscanf(suffix, "%*4[0-9]-%*2[0-9]-%*2[0-9]%n", &end) != 0 || end != LOG_DATE_LEN)
        return false;
    memcpy(rotated->date, suffix, LOG_DATE_LEN);
    rotated->date[LOG_DATE_LEN] = '\0';
    rotated->number = 0;
    if (suffix[LOG_DATE_LEN] == '\0')
        return true;
    return sscanf(suffix + LOG_DATE_LEN, ".%9u%n", &rotated->number, &end) == 1 &&
           suffix[LOG_DATE_LEN + end] == '\0';
}

static int older_first(const void *a, const void *b)
{
    const struct rotated *x = a, *y = b;
    int order = strcmp(x->date, y->date);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

static struct rotated_list rotated_find(const char *path)
{
    struct rotated_list list = {0};
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    char *folder = slash ? xstrndup(path, (size_t)(name - path)) : xstrdup("./");
    size_t name_len = strlen(name);
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        struct rotated rotated;
        if (strncmp(e->d_name, name, name_len) != 0 || e->d_name[name_len] != '.' ||
            !parse_suffix(e->d_name + name_len + 1, &rotated))
            continue;
        rotated.path = xasprintf("%s%s", folder, e->d_name);
        list.files = xrealloc(list.files, (list.count + 1) * sizeof *list.files);
        list.files[list.count++] = rotated;
    }
    if (dir != NULL)
        closedir(dir);
    free(folder);
    if (list.count > 0)
        qsort(list.files, list.count, sizeof *list.files, older_first);
    return list;
}

static void rotated_free(struct rotated_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->files[i].path);
    free(list->files);
}

/* One more than the highest number of that date, so that names stay in the order of their age when
 * older ones have been removed. */
static char *rotated_name(const struct log_file *file)
{
    struct rotated_list list = rotated_find(file->path);
    int number = -1;
    for (size_t i = 0; i < list.count; i++)
        if (strcmp(list.files[i].date, file->date) == 0)
            number = (int)list.files[i].number;
    rotated_free(&list);
    if (number < 0)
        return xasprintf("%s.%s", file->path, file->date);
    return xasprintf("%s.%s.%d", file->path, file->date, number + 1);
}

static void remove_old(const struct log_file *file)
{
    if (file->max_files == 0)
        return;
    struct rotated_list list = rotated_find(file->path);
    for (size_t i = 0; i + (size_t)file->max_files < list.count; i++)
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): it has as many as it counts */
        unlink(list.files[i].path);
    rotated_free(&list);
}

/* ---- writing ---- */

static void say_failure(struct log_file *file, int error)
{
    /* Short lines may still fit on a full disk, and nobody may read standard error. */
    struct pollfd err = {.fd = STDERR_FILENO, .events = POLLOUT};
    uint64_t now = clock_ms();
    bool again = file->said_ms == 0 || now - file->said_ms >= SAY_EACH_MS;
    if (!file->failing && again && poll(&err, 1, 0) == 1) {
        file->said_ms = now;
        fprintf(stderr, "log file %s: %s; lines are lost until that is mended\n", file->path,
                strerror(-error));
    }
    file->failing = true;
}

static void move_away(struct log_file *file)
{
    char *name = rotated_name(file);
    if (rename(file->path, name) == 0 || errno == ENOENT) {
        (void)!log_file_reopen(file); /* else lines go on into the old one, and it is tried again */
        remove_old(file);
    }
    free(name);
}

/* When the old file cannot be renamed, lines go on into it for another day or as much again. One
 * that nothing got into, as on a full disk, may not push out an old one that is full. */
static void rotate(struct log_file *file, const char *date)
{
    if (file->size > 0)
        move_away(file);
    file->size = 0;
    memcpy(file->date, date, LOG_DATE_LEN);
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static size_t write_records(struct log_file *file, const char *data, size_t len)
{
    if (len == 0)
        return 0;
    off_t end = lseek(file->fd, 0, SEEK_END);
    int rc = write_all(file->fd, data, len);
    if (rc == 0) {
        file->size += len;
        file->failing = false;
        return 0;
    }
    /* Half a line may have got in. */
    if (end >= 0)
        (void)!ftruncate(file->fd, end);
    say_failure(file, rc);
    return log_record_count(data, len);
}

/* A line of another thread may be a little older than the one before it: only a later date is a new
 * day, so that they do not rotate in turn. */
static bool needs_rotation(const struct log_file *file, const char *record, size_t pending)
{
    if (file->date[0] == '\0')
        return false;
    return memcmp(record + file->date_at, file->date, LOG_DATE_LEN) > 0 ||
           (file->max_size > 0 && file->size + pending > file->max_size);
}

static size_t write_stream(struct log_file *file, const char *data, size_t len)
{
    size_t lost = log_stream_write(&file->stream, data, len);
    if (lost > 0)
        say_failure(file, -file->stream.error);
    file->failing = lost > 0;
    return lost;
}

size_t log_file_write(struct log_file *file, const char *data, size_t len)
{
    if (file->stray)
        (void)!log_file_reopen(file);
    if (!file->rotates)
        return write_stream(file, data, len);
    size_t lost = 0, done = 0;
    for (size_t n, at = 0; at < len; at += n) {
        n = log_record_len(data + at, len - at);
        if (needs_rotation(file, data + at, at + n - done)) {
            lost += write_records(file, data + done, at - done);
            rotate(file, data + at + file->date_at);
            done = at;
        }
        if (file->date[0] == '\0')
            memcpy(file->date, data + at + file->date_at, LOG_DATE_LEN);
    }
    return lost + write_records(file, data + done, len - done);
}
