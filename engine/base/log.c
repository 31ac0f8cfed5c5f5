/* Callers append whole lines to the buffer in use; the writer thread swaps it for the other one and
 * writes what it got, unlocked.
 *
 * A record is a line that begins with its date, and the indented lines that belong to it. The
 * writer reads the date back from there: that is how a file is cut at midnight by the lines' own
 * time, wherever in a batch midnight falls. */
#include "base/log.h"
#include "base/buf.h"
#include "base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
    BUFFER_SIZE = 1 << 20,
    LINE_MAX_LEN = 1 << 16, /* longer ones are cut */
    DATE_LEN = 10,          /* YYYY-MM-DD */
};

struct file {
    char *path; /* NULL: no file */
    int fd;
    bool rotates; /* a regular file, no device or pipe */
    uint64_t size;
    char date[DATE_LEN + 1]; /* of its lines; "": it has none yet */
    int max_files;
    bool failing; /* said on standard error already */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    bool running, stopping;
    char *lines; /* the buffer in use */
    size_t len;
    uint64_t dropped; /* since the last swap */
    /* the writer's own */
    pthread_t thread;
    char *batch;
    uint64_t lost; /* not yet told */
    struct file file;
    bool terminal;
} logger = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER};

static _Atomic int threshold = LOG_LEVEL_INFO;
static uint64_t file_size_max = 100u << 20;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

enum log_level log_level(void)
{
    return (enum log_level)atomic_load_explicit(&threshold, memory_order_relaxed);
}

void log_set_file_size_max(uint64_t size)
{
    file_size_max = size;
}

/* Formatting: any thread. */

static void append_head(struct buf *line, enum log_level level, const char *module)
{
    static const char *const names[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};
    struct timeval now;
    struct tm local;
    gettimeofday(&now, NULL);
    localtime_r(&now.tv_sec, &local);
    char date[32];
    strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &local);
    buf_printf(line, "%s.%03d %s %s: ", date, (int)(now.tv_usec / 1000), names[level], module);
}

/* Texts come from scripts and so from peers: nothing in them may look like a line of ours or steer
 * a terminal. */
static void append_text(struct buf *line, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n')
            buf_append_str(line, "\n    ");
        else if (c >= ' ' ? c != 0x7f : c == '\t')
            buf_append_char(line, text[i]);
        else if (c != '\r')
            buf_append_char(line, '?');
    }
}

static void cut_line(struct buf *line)
{
    if (line->len < LINE_MAX_LEN)
        return;
    line->len = LINE_MAX_LEN - strlen(" [cut]\n");
    while (((unsigned char)line->data[line->len] & 0xc0) == 0x80)
        line->len--; /* not within a character */
    buf_append_str(line, " [cut]");
}

static void format_line(struct buf *line, enum log_level level, const char *module,
                        const char *format, va_list args)
{
    struct buf text = {0};
    buf_vprintf(&text, format, args);
    while (text.len > 0 && text.data[text.len - 1] == '\n')
        text.len--;
    append_head(line, level, module);
    append_text(line, text.data, text.len);
    cut_line(line);
    buf_append_char(line, '\n');
    buf_free(&text);
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

/* False when no writer runs. */
static bool hand_over(const struct buf *line)
{
    pthread_mutex_lock(&logger.lock);
    bool running = logger.running;
    if (running && BUFFER_SIZE - logger.len >= line->len) {
        memcpy(logger.lines + logger.len, line->data, line->len);
        logger.len += line->len;
        if (logger.len == line->len)
            pthread_cond_signal(&logger.filled);
    } else if (running) {
        logger.dropped++;
    }
    pthread_mutex_unlock(&logger.lock);
    return running;
}

void log_write(enum log_level level, const char *module, const char *format, ...)
{
    if (level < log_level())
        return;
    struct buf line = {0};
    va_list args;
    va_start(args, format);
    format_line(&line, level, module, format, args);
    va_end(args);
    if (!hand_over(&line))
        (void)write_all(STDERR_FILENO, line.data, line.len);
    buf_free(&line);
}

/* The file and those that were rotated: the writer's thread, from here on. */

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

static int file_open(struct file *file)
{
    file->fd = open(file->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    struct stat info;
    if (file->fd < 0 || fstat(file->fd, &info) != 0)
        return -errno;
    file->rotates = S_ISREG(info.st_mode);
    file->size = (uint64_t)info.st_size;
    file->date[0] = '\0';
    struct tm local;
    if (info.st_size > 0 && localtime_r(&info.st_mtime, &local) != NULL)
        strftime(file->date, sizeof file->date, "%Y-%m-%d", &local);
    return 0;
}

struct rotated {
    char *path;
    char date[DATE_LEN + 1];
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
    if (sscanf(suffix, "%*4[0-9]-%*2[0-9]-%*2[0-9]%n", &end) != 0 || end != DATE_LEN)
        return false;
    memcpy(rotated->date, suffix, DATE_LEN);
    rotated->date[DATE_LEN] = '\0';
    rotated->number = 0;
    if (suffix[DATE_LEN] == '\0')
        return true;
    return sscanf(suffix + DATE_LEN, ".%9u%n", &rotated->number, &end) == 1 &&
           suffix[DATE_LEN + end] == '\0';
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
static char *rotated_name(const struct file *file)
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

static void remove_old(const struct file *file)
{
    if (file->max_files == 0)
        return;
    struct rotated_list list = rotated_find(file->path);
    for (size_t i = 0; i + (size_t)file->max_files < list.count; i++)
        unlink(list.files[i].path);
    rotated_free(&list);
}

static void file_failed(struct file *file, int error)
{
    if (!file->failing)
        fprintf(stderr, "log file %s: %s; lines are lost until that is mended\n", file->path,
                strerror(-error));
    file->failing = true;
}

/* When the old file cannot be renamed, lines go on into it for another day or as much again. */
static void rotate(struct file *file, const char *date)
{
    char *name = rotated_name(file);
    if (rename(file->path, name) == 0 || errno == ENOENT) {
        close(file->fd);
        int rc = file_open(file);
        if (rc != 0)
            file_failed(file, rc);
        remove_old(file);
    }
    free(name);
    file->size = 0;
    memcpy(file->date, date, DATE_LEN);
}

static size_t count_records(const char *data, size_t len)
{
    size_t count = 0;
    for (const char *line = data; line < data + len;) {
        count += *line != ' ';
        line = (const char *)memchr(line, '\n', (size_t)(data + len - line)) + 1;
    }
    return count;
}

static void file_write(struct file *file, const char *data, size_t len)
{
    if (len == 0)
        return;
    int rc = file->fd < 0 ? file_open(file) : 0;
    off_t end = rc == 0 ? lseek(file->fd, 0, SEEK_END) : -1;
    if (rc == 0)
        rc = write_all(file->fd, data, len);
    if (rc == 0) {
        file->size += len;
        file->failing = false;
        return;
    }
    /* Half a line may have got in. */
    if (end >= 0)
        (void)!ftruncate(file->fd, end);
    file_failed(file, rc);
    logger.lost += count_records(data, len);
}

static size_t record_len(const char *data, size_t len)
{
    size_t n = 0;
    do
        n = (size_t)((const char *)memchr(data + n, '\n', len - n) - data) + 1;
    while (n < len && data[n] == ' ');
    return n;
}

/* A line of another thread may be a little older than the one before it: only a later date is a new
 * day, so that they do not rotate in turn. */
static bool needs_rotation(const struct file *file, const char *record, size_t pending)
{
    if (!file->rotates || file->date[0] == '\0' || file->fd < 0)
        return false;
    return memcmp(record, file->date, DATE_LEN) > 0 || file->size + pending > file_size_max;
}

static void file_write_records(struct file *file, const char *data, size_t len)
{
    size_t done = 0;
    for (size_t n, at = 0; at < len; at += n) {
        n = record_len(data + at, len - at);
        if (needs_rotation(file, data + at, at + n - done)) {
            file_write(file, data + done, at - done);
            rotate(file, data + at);
            done = at;
        }
        if (file->date[0] == '\0')
            memcpy(file->date, data + at, DATE_LEN);
    }
    file_write(file, data + done, len - done);
}

static void write_lines(const char *data, size_t len)
{
    if (logger.terminal)
        (void)write_all(STDOUT_FILENO, data, len);
    if (logger.file.path != NULL)
        file_write_records(&logger.file, data, len);
}

static void tell_lost(void)
{
    if (logger.lost == 0)
        return;
    struct buf line = {0};
    uint64_t lost = logger.lost;
    append_head(&line, LOG_LEVEL_WARN, "log");
    buf_printf(
        &line,
        "%llu lines were lost: they came faster than they could be written, or the file failed\n",
        (unsigned long long)lost);
    logger.lost = 0;
    write_lines(line.data, line.len);
    /* Not told when this line was lost too. */
    if (logger.lost != 0)
        logger.lost = lost;
    buf_free(&line);
}

/* Waits for lines and takes them; false when there are none and none will come. */
static bool take_batch(size_t *len)
{
    pthread_mutex_lock(&logger.lock);
    while (logger.len == 0 && !logger.stopping)
        pthread_cond_wait(&logger.filled, &logger.lock);
    char *lines = logger.lines;
    logger.lines = logger.batch;
    logger.batch = lines;
    *len = logger.len;
    logger.lost += logger.dropped;
    logger.len = 0;
    logger.dropped = 0;
    pthread_mutex_unlock(&logger.lock);
    return *len > 0;
}

static void *run_writer(void *unused)
{
    size_t len;
    while (take_batch(&len)) {
        write_lines(logger.batch, len);
        tell_lost();
    }
    return unused;
}

static int start_thread(void)
{
    /* Signals are the main thread's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&logger.thread, NULL, run_writer, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        pthread_setname_np(logger.thread, "log");
    return -rc;
}

static void release(void)
{
    if (logger.file.path != NULL && logger.file.fd >= 0)
        close(logger.file.fd);
    free(logger.file.path);
    free(logger.lines);
    free(logger.batch);
    logger.lines = logger.batch = NULL;
    logger.file = (struct file){0};
}

static int open_sinks(const struct log_options *options)
{
    bool has_file = options->filename != NULL && options->filename[0] != '\0';
    logger.terminal = options->terminal || !has_file;
    logger.file = (struct file){.fd = -1, .max_files = options->max_files};
    if (!has_file)
        return 0;
    logger.file.path = xstrdup(options->filename);
    int rc = make_folders(options->filename);
    return rc != 0 ? rc : file_open(&logger.file);
}

int log_start(const struct log_options *options)
{
    int rc = open_sinks(options);
    if (rc != 0)
        goto fail;
    logger.lines = xmalloc(BUFFER_SIZE);
    logger.batch = xmalloc(BUFFER_SIZE);
    logger.len = 0;
    logger.dropped = logger.lost = 0;
    logger.stopping = false;
    rc = start_thread();
    if (rc != 0)
        goto fail;
    log_set_level(options->level);
    pthread_mutex_lock(&logger.lock);
    logger.running = true;
    pthread_mutex_unlock(&logger.lock);
    return 0;
fail:
    release();
    return rc;
}

void log_stop(void)
{
    pthread_mutex_lock(&logger.lock);
    bool running = logger.running;
    logger.running = false;
    logger.stopping = true;
    pthread_cond_signal(&logger.filled);
    pthread_mutex_unlock(&logger.lock);
    if (!running)
        return;
    pthread_join(logger.thread, NULL);
    release();
}
