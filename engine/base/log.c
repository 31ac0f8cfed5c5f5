/* Callers append whole records to the buffer in use; the writer thread swaps it for the other one
 * and writes what it got, unlocked. The lock is held for a copy into memory or a swap of pointers,
 * never for a write. */
#include "base/log.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log_file.h"
#include "base/log_record.h"
#include "base/log_repeats.h"
#include "base/log_stream.h"
#include "base/mem.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_SIZE = 1 << 20, SETTLE_STEP_MS = 5 };

/* Of a pair of buffers of BUFFER_SIZE, one in use by callers and one by the writer. */
struct half {
    char *data;
    size_t len;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    bool running, stopping, ended, reopen;
    bool dozing;               /* the writer waits for lines, however long */
    struct half lines, prints; /* in use */
    size_t reopen_at;          /* what is before it is for the old file */
    uint64_t dropped;          /* since the last swap */
    struct log_repeats *repeats;
    enum log_format format;
    /* the writer's own */
    pthread_t thread;
    struct half batch, print_batch;
    uint64_t untold;       /* lost, not yet told */
    uint64_t unshown;      /* on the terminal */
    struct log_file *file; /* NULL: none */
    struct log_stream terminal;
    bool has_terminal;
} logger = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t seed; /* of the repeats' keys; set once, before the first thread logs */
static _Atomic int threshold = LOG_LEVEL_INFO;
static _Atomic bool settled = true; /* nothing is waiting to be written or being written */
static _Atomic uint64_t lost, held;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

enum log_level log_level(void)
{
    return (enum log_level)atomic_load_explicit(&threshold, memory_order_relaxed);
}

struct log_counts log_counts(void)
{
    return (struct log_counts){.lost = atomic_load(&lost), .held = atomic_load(&held)};
}

/* ---- callers: any thread ---- */

static void append_record(struct buf *out, enum log_format format, enum log_level level,
                          const char *module, const char *text, size_t len)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    log_record_append(out, format, &now, level, module, text, len);
}

/* Under the lock. False: there is no room. */
static bool append(struct half *half, const char *data, size_t len)
{
    if (BUFFER_SIZE - half->len < len)
        return false;
    memcpy(half->data + half->len, data, len);
    half->len += len;
    if (half->len == len) {
        atomic_store(&settled, false);
        pthread_cond_signal(&logger.filled);
    }
    return true;
}

static void write_to(int fd, const char *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, data + done, len - done);
        if (n < 0 && errno != EINTR)
            return;
        done += n > 0 ? (size_t)n : 0;
    }
}

/* `count`: lines that the text is. */
static void hand_over(struct half *half, const char *data, size_t len, size_t count, int fd)
{
    pthread_mutex_lock(&logger.lock);
    bool running = logger.running;
    if (running && !append(half, data, len)) {
        logger.dropped += count;
        atomic_fetch_add(&lost, count);
    }
    pthread_mutex_unlock(&logger.lock);
    if (!running)
        write_to(fd, data, len);
}

static size_t count_breaks(const char *data, size_t len)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += data[i] == '\n';
    return count;
}

void log_print(const char *text, size_t len)
{
    hand_over(&logger.prints, text, len, count_breaks(text, len), STDOUT_FILENO);
}

/* A flood of one line costs neither its formatting nor room in the buffer. */
static bool hold_back(enum log_level level, const char *module, const char *topic,
                      const struct buf *text)
{
    /* Each line that tells what has happened counts; those of trouble come in floods. */
    if (!topic && level < LOG_LEVEL_WARN)
        return false;
    const char *about = topic ? topic : text->data;
    uint64_t key = log_repeats_key(seed, level, module, about, topic ? strlen(topic) : text->len);
    uint64_t now = clock_ms();
    pthread_mutex_lock(&logger.lock);
    bool hold = logger.running &&
                log_repeats_hold(logger.repeats, key, level, module, text->data, text->len, now);
    if (hold) {
        atomic_fetch_add(&held, 1);
        if (logger.dozing)
            pthread_cond_signal(&logger.filled);
    }
    pthread_mutex_unlock(&logger.lock);
    return hold;
}

static void write_args(enum log_level level, const char *module, const char *topic,
                       const char *format, va_list args)
{
    struct buf text = {0}, record = {0};
    buf_vprintf(&text, format, args);
    while (text.len > 0 && text.data[text.len - 1] == '\n')
        text.len--;
    if (!hold_back(level, module, topic, &text)) {
        append_record(&record, logger.format, level, module, text.data, text.len);
        hand_over(&logger.lines, record.data, record.len, 1, STDERR_FILENO);
    }
    buf_free(&text);
    buf_free(&record);
}

void log_write(enum log_level level, const char *module, const char *format, ...)
{
    if (level < log_level())
        return;
    va_list args;
    va_start(args, format);
    write_args(level, module, NULL, format, args);
    va_end(args);
}

void log_write_alike(enum log_level level, const char *module, const char *topic,
                     const char *format, ...)
{
    if (level < log_level())
        return;
    va_list args;
    va_start(args, format);
    write_args(level, module, topic, format, args);
    va_end(args);
}

/* ---- the writer's thread ---- */

/* Returns how many of the records nobody has. The file does not wait for the terminal. */
static size_t write_records(const char *data, size_t len)
{
    size_t failed = logger.file ? log_file_write(logger.file, data, len) : 0;
    size_t unshown = logger.has_terminal ? log_stream_write(&logger.terminal, data, len) : 0;
    if (!logger.file)
        return unshown;
    logger.unshown += unshown;
    return failed;
}

/* A line of the log about itself; false when it did not get through. */
__attribute__((format(printf, 2, 3))) static bool tell(enum log_level level, const char *format,
                                                       ...)
{
    struct buf text = {0}, record = {0};
    va_list args;
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    append_record(&record, logger.format, level, "log", text.data, text.len);
    bool written = write_records(record.data, record.len) == 0;
    buf_free(&text);
    buf_free(&record);
    return written;
}

static void tell_lost(void)
{
    if (logger.untold > 0 &&
        tell(LOG_LEVEL_WARN,
             "%llu lines were lost: they came faster than they could be written, or that failed",
             (unsigned long long)logger.untold))
        logger.untold = 0;
}

static void tell_unshown(void)
{
    uint64_t unshown = logger.unshown;
    logger.unshown = 0;
    tell(LOG_LEVEL_WARN, "%llu lines were not shown: nobody read standard output",
         (unsigned long long)unshown);
}

static void count_failed(size_t failed)
{
    atomic_fetch_add(&lost, failed);
    logger.untold += failed;
}

static void write_batch(const char *lines, size_t len, bool is_last)
{
    logger.terminal.stalled &= !is_last; /* one more chance */
    size_t failed = len > 0 ? write_records(lines, len) : 0;
    count_failed(failed);
    if (failed == 0)
        tell_lost();
    if (logger.unshown > 0 && (!logger.terminal.stalled || is_last))
        tell_unshown();
}

static void write_prints(const char *data, size_t len, bool is_last)
{
    if (len == 0)
        return;
    logger.terminal.stalled &= !is_last;
    size_t rest = log_stream_print(&logger.terminal, data, len);
    count_failed(count_breaks(data + len - rest, rest));
}

static void reopen(void)
{
    int rc = logger.file ? log_file_reopen(logger.file) : 0;
    if (rc != 0)
        tell(LOG_LEVEL_ERROR,
             "the log file cannot be opened anew: %s; lines go on into the old one", strerror(-rc));
}

static void write_repeats(const struct log_repeat *repeats, size_t count)
{
    struct buf text = {0}, records = {0};
    for (size_t i = 0; i < count; i++) {
        text.len = 0;
        buf_append(&text, repeats[i].text, repeats[i].len);
        buf_printf(&text, " (repeated %llu more times in %u s)",
                   (unsigned long long)repeats[i].held, repeats[i].seconds);
        append_record(&records, logger.format, repeats[i].level, repeats[i].module, text.data,
                      text.len);
    }
    if (count > 0)
        count_failed(write_records(records.data, records.len));
    buf_free(&text);
    buf_free(&records);
}

/* What there is to do at once. */
struct work {
    size_t reopen_at; /* of the batch */
    bool reopen, stop;
    struct log_repeat repeats[LOG_REPEATS_LINES];
    size_t repeat_count;
};

static bool is_work(void)
{
    return logger.lines.len > 0 || logger.prints.len > 0 || logger.reopen || logger.stopping;
}

/* Until there is work or a count is due. Under the lock. */
static void wait_for_work(void)
{
    unsigned due;
    while (!is_work() && (due = log_repeats_due(logger.repeats, clock_ms())) > 0) {
        atomic_store(&settled, true);
        logger.dozing = due == LOG_REPEATS_NEVER;
        if (logger.dozing) {
            pthread_cond_wait(&logger.filled, &logger.lock);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += due / 1000 + 1;
        pthread_cond_clockwait(&logger.filled, &logger.lock, CLOCK_MONOTONIC, &until);
    }
    logger.dozing = false;
}

/* The writer has done with what it had. */
static void swap(struct half *used, struct half *batch)
{
    struct half taken = *used;
    *used = (struct half){.data = batch->data};
    *batch = taken;
}

static void take_work(struct work *work)
{
    pthread_mutex_lock(&logger.lock);
    wait_for_work();
    atomic_store(&settled, false);
    swap(&logger.lines, &logger.batch);
    swap(&logger.prints, &logger.print_batch);
    work->reopen = logger.reopen;
    work->reopen_at = logger.reopen ? logger.reopen_at : 0;
    work->stop = logger.stopping;
    work->repeat_count = log_repeats_take(logger.repeats, clock_ms(), work->stop, work->repeats);
    logger.untold += logger.dropped;
    logger.dropped = 0;
    logger.reopen = false;
    pthread_mutex_unlock(&logger.lock);
}

static void *run_writer(void *unused)
{
    struct work work;
    do {
        take_work(&work);
        if (work.reopen) {
            write_batch(logger.batch.data, work.reopen_at, work.stop);
            reopen();
        }
        write_batch(logger.batch.data + work.reopen_at, logger.batch.len - work.reopen_at,
                    work.stop);
        write_repeats(work.repeats, work.repeat_count);
        write_prints(logger.print_batch.data, logger.print_batch.len, work.stop);
    } while (!work.stop);
    atomic_store(&settled, true);
    pthread_mutex_lock(&logger.lock);
    logger.ended = true;
    pthread_cond_signal(&logger.filled);
    pthread_mutex_unlock(&logger.lock);
    return unused;
}

/* ---- its life ---- */

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

#define HALVES                                                                                     \
    {                                                                                              \
        &logger.lines, &logger.batch, &logger.prints, &logger.print_batch                          \
    }

static void release(void)
{
    log_file_close(logger.file);
    log_repeats_free(logger.repeats);
    struct half *halves[] = HALVES;
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++) {
        free(halves[i]->data);
        *halves[i] = (struct half){0};
    }
    logger.file = NULL;
    logger.repeats = NULL;
}

static int prepare(const struct log_options *options)
{
    bool has_file = options->filename != NULL && options->filename[0] != '\0';
    logger.has_terminal = options->terminal || !has_file;
    logger.terminal = (struct log_stream){.fd = STDOUT_FILENO};
    logger.format = options->format;
    struct half *halves[] = HALVES;
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++)
        *halves[i] = (struct half){.data = xmalloc(BUFFER_SIZE)};
    logger.repeats = log_repeats_new();
    logger.dropped = logger.untold = logger.unshown = 0;
    logger.stopping = logger.ended = logger.reopen = false;
    /* Without randomness lines are told apart all the same. */
    if (seed == 0)
        (void)!getrandom(&seed, sizeof seed, GRND_NONBLOCK);
    return has_file ? log_file_open(&logger.file, options) : 0;
}

int log_start(const struct log_options *options)
{
    int rc = prepare(options);
    if (rc == 0)
        rc = start_thread();
    if (rc != 0) {
        release();
        return rc;
    }
    log_set_level(options->level);
    pthread_mutex_lock(&logger.lock);
    logger.running = true;
    pthread_mutex_unlock(&logger.lock);
    return 0;
}

void log_reopen(void)
{
    pthread_mutex_lock(&logger.lock);
    logger.reopen = true;
    logger.reopen_at = logger.lines.len;
    atomic_store(&settled, false);
    pthread_cond_signal(&logger.filled);
    pthread_mutex_unlock(&logger.lock);
}

bool log_due(uint64_t *last_ms, uint64_t now_ms)
{
    if (*last_ms && now_ms - *last_ms < LOG_EACH_MS)
        return false;
    *last_ms = now_ms;
    return true;
}

void log_settle(unsigned ms)
{
    const struct timespec step = {.tv_nsec = SETTLE_STEP_MS * 1000000L};
    for (unsigned waited = 0; waited < ms && !atomic_load(&settled); waited += SETTLE_STEP_MS)
        nanosleep(&step, NULL);
}

/* Under the lock. */
static bool wait_for_end(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOG_STOP_MS / 1000;
    int rc = 0;
    while (!logger.ended && rc == 0)
        rc = pthread_cond_clockwait(&logger.filled, &logger.lock, CLOCK_MONOTONIC, &until);
    return logger.ended;
}

void log_stop(void)
{
    pthread_mutex_lock(&logger.lock);
    bool running = logger.running;
    logger.running = false;
    logger.stopping = true;
    pthread_cond_signal(&logger.filled);
    bool ended = running && wait_for_end();
    pthread_mutex_unlock(&logger.lock);
    if (!ended)
        return;
    pthread_join(logger.thread, NULL);
    release();
}
