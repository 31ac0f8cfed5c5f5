#include "base/buf.h"
#include "base/log.h"
#include "base/log_stream.h"
#include "base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], file[128];
static uint64_t max_size; /* of the logs that are started next */

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/log_test.XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(file, sizeof file, "%s/engine.log", folder);
    max_size = 100 << 20;
    return 0;
}

static void remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *inner = xasprintf("%s/%s", path, e->d_name);
        remove_tree(inner);
        free(inner);
    }
    if (dir != NULL)
        closedir(dir);
    remove(path);
}

static int remove_folder(void **state)
{
    (void)state;
    remove_tree(folder);
    return 0;
}

static char *contents(const char *path)
{
    struct buf buf = {0};
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    for (int c; (c = getc(in)) != EOF;)
        buf_append_char(&buf, (char)c);
    buf_append_char(&buf, '\0');
    fclose(in);
    return buf.data;
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, text, 0, NULL, 0) != 0)
        fail_msg("\"%s\" does not match %s", text, pattern);
    regfree(&regex);
}

static struct log_options options_of_file(void)
{
    return (struct log_options){.filename = file, .max_size = max_size, .level = LOG_LEVEL_INFO};
}

static void start_with(const struct log_options *options)
{
    assert_int_equal(log_start(options), 0);
}

static void start(int max_files)
{
    struct log_options options = options_of_file();
    options.max_files = max_files;
    start_with(&options);
}

static void start_shown(void)
{
    struct log_options options = options_of_file();
    options.terminal = true;
    start_with(&options);
}

static bool exists(const char *suffix)
{
    char *path = xasprintf("%s%s", file, suffix);
    bool is_there = access(path, F_OK) == 0;
    free(path);
    return is_there;
}

static void test_a_line(void **state)
{
    (void)state;
    start(0);
    log_info("net", "port %d", 6790);
    log_error("script", "in\r\nthree\nlines\x1b[0m\n");
    log_stop();
    char *text = contents(file);
    assert_matches(text,
                   "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3} "
                   "INFO  net: port 6790\n"
                   "[-0-9]{10} [:.0-9]{12} ERROR script: in\n    three\n    lines\\\\x1b\\[0m\n$");
    free(text);
}

static void test_only_from_its_level_on(void **state)
{
    (void)state;
    start(0);
    log_debug("a", "unheard");
    log_set_level(LOG_LEVEL_WARN);
    assert_int_equal(log_level(), LOG_LEVEL_WARN);
    log_info("a", "unheard");
    log_warn("a", "heard");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("a", "heard too");
    log_stop();
    char *text = contents(file);
    assert_matches(text, "^[^\n]* WARN  a: heard\n[^\n]* DEBUG a: heard too\n$");
    free(text);
}

static void test_long_lines_are_cut(void **state)
{
    (void)state;
    char *text = xmalloc(1 << 20);
    memset(text, 'x', (1 << 20) - 1);
    text[(1 << 20) - 1] = '\0';
    start(0);
    log_info("a", "%s", text);
    log_stop();
    free(text);
    text = contents(file);
    assert_int_equal(strlen(text), 1 << 16);
    assert_matches(text, "x \\[cut\\]\n$");
    free(text);
}

static void test_makes_the_folders_of_its_file(void **state)
{
    (void)state;
    char *path = xasprintf("%s/a/b/engine.log", folder);
    const struct log_options options = {.filename = path, .level = LOG_LEVEL_INFO};
    assert_int_equal(log_start(&options), 0);
    log_stop();
    assert_int_equal(access(path, W_OK), 0);
    free(path);
}

static void test_a_file_that_cannot_be_opened(void **state)
{
    (void)state;
    const struct log_options options = {.filename = folder, .level = LOG_LEVEL_INFO};
    assert_true(log_start(&options) < 0);
    log_stop();
    char *path = xasprintf("%s/no-folder/engine.log", file);
    fclose(fopen(file, "w"));
    const struct log_options below_a_file = {.filename = path, .level = LOG_LEVEL_INFO};
    assert_true(log_start(&below_a_file) < 0);
    free(path);
}

/* Puts `fd` in the place of `std` and returns a copy of what stood there. */
static int replace(int std, int fd)
{
    int old = dup(std);
    dup2(fd, std);
    return old;
}

static void restore(int std, int old)
{
    dup2(old, std);
    close(old);
}

static void test_without_a_writer_lines_go_to_standard_error(void **state)
{
    (void)state;
    int fd = open(file, O_CREAT | O_RDWR, 0600);
    log_set_level(LOG_LEVEL_INFO);
    int old = replace(STDERR_FILENO, fd);
    log_info("main", "before");
    restore(STDERR_FILENO, old);
    close(fd);
    char *text = contents(file);
    assert_matches(text, "^[^\n]* INFO  main: before\n$");
    free(text);
}

static void test_to_the_terminal_and_the_file(void **state)
{
    (void)state;
    char *shown = xasprintf("%s/shown", folder);
    int fd = open(shown, O_CREAT | O_RDWR, 0600);
    int old = replace(STDOUT_FILENO, fd);
    start_shown();
    log_info("main", "ready");
    log_stop();
    restore(STDOUT_FILENO, old);
    close(fd);
    char *on_terminal = contents(shown), *in_file = contents(file);
    assert_matches(on_terminal, "^[^\n]* INFO  main: ready\n$");
    assert_string_equal(on_terminal, in_file);
    free(on_terminal);
    free(in_file);
    free(shown);
}

static void write_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

static void set_last_written(const char *path, time_t when)
{
    const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void test_rotated_when_the_day_has_changed(void **state)
{
    (void)state;
    time_t noon = 1735732800; /* 2025-01-01 12:00 UTC: the same day within 11 hours of it */
    write_file(file, "an old line\n");
    set_last_written(file, noon);
    char *taken = xasprintf("%s.2025-01-01", file);
    write_file(taken, "an older one\n");
    start(0);
    log_info("a", "new");
    log_info("a", "newer");
    log_stop();
    char *text = contents(file);
    assert_matches(text, "^[^\n]* a: new\n[^\n]* a: newer\n$");
    free(text);
    text = contents(taken);
    assert_string_equal(text, "an older one\n");
    free(text);
    free(taken);
    taken = xasprintf("%s.2025-01-01.1", file);
    text = contents(taken);
    assert_string_equal(text, "an old line\n");
    free(text);
    free(taken);
}

static void test_goes_on_in_the_file_of_the_same_day(void **state)
{
    (void)state;
    start(0);
    log_info("a", "first");
    log_stop();
    start(0);
    log_info("a", "second");
    log_stop();
    char *text = contents(file);
    assert_matches(text, "^[^\n]* a: first\n[^\n]* a: second\n$");
    free(text);
}

static int count_files(void)
{
    int count = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        count += e->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void test_rotated_by_size_and_the_oldest_removed(void **state)
{
    (void)state;
    char *ancient = xasprintf("%s.2025-01-01.12", file),
         *other = xasprintf("%s.2025-01-01.x", file);
    write_file(ancient, "");
    write_file(other, "not a file of ours\n");
    max_size = 1000;
    start(3);
    for (int i = 0; i < 60; i++)
        log_info("a", "%0100d", i);
    log_stop();
    /* 141 bytes a line, 7 in each file: 56 were rotated in 8 files, of which 3 are left. */
    assert_int_equal(count_files(), 1 + 3 + 1);
    assert_int_not_equal(access(ancient, F_OK), 0);
    assert_int_equal(access(other, F_OK), 0);
    char *text = contents(file);
    assert_matches(text, "^[^\n]*0056\n.*0059\n$");
    free(text);
    free(ancient);
    free(other);
}

static void test_names_of_one_day_stay_in_the_order_of_age(void **state)
{
    (void)state;
    char today[32];
    time_t now = time(NULL);
    strftime(today, sizeof today, ".%Y-%m-%d", localtime(&now));
    char *oldest = xasprintf("%s.9", today), *newer = xasprintf("%s.10", today);
    char *paths[] = {xasprintf("%s%s", file, oldest), xasprintf("%s%s", file, newer)};
    write_file(paths[0], "");
    write_file(paths[1], "");
    max_size = 100;
    start(2);
    log_info("a", "%080d", 1);
    log_info("a", "%080d", 2);
    log_stop();
    assert_false(exists(oldest));
    assert_true(exists(newer));
    assert_int_equal(count_files(), 3);
    free(oldest);
    free(newer);
    free(paths[0]);
    free(paths[1]);
}

static void *speak(void *data)
{
    for (int i = 0; i < 500; i++)
        log_info("a", "%s %d of a line that spans\ntwo", (const char *)data, i);
    return NULL;
}

static int count_of(const char *text, const char *what)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        count++;
    return count;
}

static void test_lines_of_several_threads_stay_whole(void **state)
{
    (void)state;
    static char *const names[] = {"one", "two", "three"};
    pthread_t threads[3];
    start(0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, speak, names[i]), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    log_stop();
    char *text = contents(file);
    assert_int_equal(count_of(text, " of a line that spans\n    two\n"), 1500);
    assert_int_equal(count_of(text, "\n"), 3000);
    assert_int_equal(count_of(text, "a: three "), 500);
    free(text);
}

static void *read_to_the_end(void *data)
{
    int fd = *(int *)data;
    struct buf *buf = xcalloc(1, sizeof *buf);
    ssize_t n;
    while ((n = read(fd, buf_reserve(buf, 1 << 16), 1 << 16)) > 0)
        buf->len += (size_t)n;
    buf_append_char(buf, '\0');
    return buf;
}

/* The terminal takes nothing, so the writer stands still, and both buffers and the pipe fill up. */
static void test_what_does_not_fit_is_counted(void **state)
{
    (void)state;
    enum { LINES = 30000 };
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    int old = replace(STDOUT_FILENO, ends[1]);
    close(ends[1]);
    const struct log_options options = {.level = LOG_LEVEL_INFO, .terminal = true};
    int rc = log_start(&options);
    for (int i = 0; i < LINES; i++)
        log_info("a", "%0100d", i);
    pthread_t reader;
    void *result;
    pthread_create(&reader, NULL, read_to_the_end, &ends[0]);
    log_stop();
    restore(STDOUT_FILENO, old);
    pthread_join(reader, &result);
    close(ends[0]);
    struct buf *text = result;
    assert_int_equal(rc, 0);
    int lost = 0;
    const char *told = strstr(text->data, "WARN  log: ");
    assert_non_null(told);
    assert_int_equal(sscanf(told, "WARN  log: %d lines were lost", &lost), 1);
    assert_true(lost > 0);
    assert_int_equal(count_of(text->data, "INFO  a: 0") + lost, LINES);
    buf_free(text);
    free(text);
}

static void test_json_lines(void **state)
{
    (void)state;
    struct log_options options = options_of_file();
    options.format = LOG_FORMAT_JSON;
    start_with(&options);
    log_warn("net", "a \"quote\", a \\ and\ntwo lines\x01\xff\n");
    log_stop();
    char *text = contents(file);
    assert_matches(text, "^\\{\"time\":\"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
                         "\\.[0-9]{3}[-+][0-9]{2}:[0-9]{2}\",\"level\":\"warn\",\"module\":\"net\","
                         "\"message\":\"a \\\\\"quote\\\\\", a \\\\\\\\ and\\\\ntwo "
                         "lines\\\\u0001\\\\\\\\xff\"\\}\n$");
    free(text);
}

static void test_json_lines_are_rotated_by_their_date(void **state)
{
    (void)state;
    write_file(file, "an old line\n");
    set_last_written(file, 1735732800);
    struct log_options options = options_of_file();
    options.format = LOG_FORMAT_JSON;
    start_with(&options);
    log_info("a", "new");
    log_stop();
    assert_true(exists(".2025-01-01"));
    assert_int_equal(count_files(), 2);
}

static void test_repeats_are_counted(void **state)
{
    (void)state;
    struct log_counts before = log_counts();
    start(0);
    for (int i = 0; i < 417; i++) {
        log_warn("a", "again\nwith a traceback");
        log_info("a", "number %d", i);
    }
    for (int i = 0; i < 7; i++)
        log_write_alike(LOG_LEVEL_ERROR, "b", "topic", "client %d", i);
    log_stop();
    char *text = contents(file);
    assert_int_equal(count_of(text, "a: again\n    with a traceback\n"), 5);
    assert_int_equal(count_of(text, "WARN  a: again (repeated 412 more times in "), 1);
    assert_int_equal(count_of(text, "a: number "), 417);
    assert_int_equal(count_of(text, "ERROR b: client 4\n"), 1);
    assert_int_equal(count_of(text, "ERROR b: client 5 (repeated 2 more times in "), 1);
    assert_int_equal(log_counts().held - before.held, 414);
    assert_int_equal(log_counts().lost - before.lost, 0);
    free(text);
}

static void test_opened_anew(void **state)
{
    (void)state;
    char *moved = xasprintf("%s.moved", file);
    start(0);
    log_info("a", "before");
    log_settle(10000);
    assert_int_equal(rename(file, moved), 0);
    log_info("a", "still the old one");
    log_reopen();
    log_settle(10000);
    log_info("a", "after");
    log_stop();
    char *text = contents(moved);
    assert_matches(text, "^[^\n]* a: before\n[^\n]* a: still the old one\n$");
    free(text);
    text = contents(file);
    assert_matches(text, "^[^\n]* a: after\n$");
    free(text);
    free(moved);
}

/* A folder stands in its way. */
static void test_cannot_be_opened_anew(void **state)
{
    (void)state;
    char *moved = xasprintf("%s.moved", file);
    start(0);
    assert_int_equal(rename(file, moved), 0);
    assert_int_equal(mkdir(file, 0700), 0);
    log_reopen();
    log_settle(10000);
    log_info("a", "to the old one");
    log_settle(10000);
    assert_int_equal(rmdir(file), 0);
    log_info("a", "to the new one");
    log_stop();
    char *text = contents(moved);
    assert_matches(text, "^[^\n]* ERROR log: the log file cannot be opened anew: Is a directory; "
                         "[^\n]*\n[^\n]* a: to the old one\n$");
    free(text);
    text = contents(file);
    assert_matches(text, "^[^\n]* a: to the new one\n$");
    free(text);
    free(moved);
}

static void test_a_pipe_that_nobody_reads_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(file, 0600), 0);
    const struct log_options options = options_of_file();
    assert_int_equal(log_start(&options), -ENXIO);
}

static void test_the_file_goes_on_when_nobody_reads_the_terminal(void **state)
{
    (void)state;
    enum { LINES = 3000 };
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    int old = replace(STDOUT_FILENO, ends[1]);
    close(ends[1]);
    struct log_counts before = log_counts();
    start_shown();
    for (int i = 0; i < LINES; i++)
        log_info("a", "%0100d", i);
    log_settle(30000);
    struct buf *shown;
    pthread_t reader;
    pthread_create(&reader, NULL, read_to_the_end, &ends[0]);
    log_info("a", "the end");
    log_stop();
    restore(STDOUT_FILENO, old);
    pthread_join(reader, (void **)&shown);
    close(ends[0]);
    char *text = contents(file);
    assert_int_equal(count_of(text, " a: 0"), LINES);
    assert_int_equal(log_counts().lost - before.lost, 0);
    int unshown = 0;
    const char *told = strstr(text, "WARN  log: ");
    assert_non_null(told);
    assert_int_equal(sscanf(told, "WARN  log: %d lines were not shown", &unshown), 1);
    /* One may be shown in part. */
    assert_in_range(count_of(shown->data, " a: 0") + unshown, LINES, LINES + 1);
    free(text);
    buf_free(shown);
    free(shown);
}

static void *read_slowly(void *data)
{
    char block[4096];
    while (read(*(int *)data, block, sizeof block) > 0)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    return NULL;
}

/* All of it would take five seconds. */
static void test_a_slow_terminal_is_not_waited_for_piece_by_piece(void **state)
{
    (void)state;
    enum { LEN = 1 << 20, LINE = 64 };
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct log_stream stream = {.fd = ends[1]};
    char *text = xmalloc(LEN);
    memset(text, 'x', LEN);
    for (size_t i = LINE - 1; i < LEN; i += LINE)
        text[i] = '\n';
    pthread_t reader;
    pthread_create(&reader, NULL, read_slowly, &ends[0]);
    assert_in_range(log_stream_write(&stream, text, LEN), 1, LEN / LINE - 1);
    assert_true(stream.stalled);
    close(ends[1]);
    pthread_join(reader, NULL);
    close(ends[0]);
    free(text);
}

static void limit_file_size(rlim_t size)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = size;
    setrlimit(RLIMIT_FSIZE, &limit);
}

/* Reads on until `what` has come. */
static void wait_until_shown(int fd, const char *what)
{
    struct buf text = {0};
    ssize_t n = 1;
    for (bool shown = false; !shown && n > 0;) {
        n = read(fd, buf_reserve(&text, 4096), 4096);
        text.len += n > 0 ? (size_t)n : 0;
        shown = memmem(text.data, text.len, what, strlen(what)) != NULL;
    }
    buf_free(&text);
}

/* A limit on the file's size stands in for a disk that is full. Lines go to the file
 * before they are shown: when one is shown, it has been lost. */
static void lose_lines(int shown)
{
    start(0);
    log_info("a", "fits, %0500d", 0);
    log_stop();
    struct stat info;
    assert_int_equal(stat(file, &info), 0);
    limit_file_size((rlim_t)info.st_size + 50); /* half a line fits */
    start_shown();
    for (int i = 1; i <= 3; i++) {
        log_info("a", "line %0100d\nand more of %d", i, i);
        char *last = xasprintf("more of %d\n", i);
        wait_until_shown(shown, last);
        free(last);
    }
    limit_file_size(RLIM_INFINITY);
    log_info("a", "mended");
    log_stop();
}

static void test_a_full_disk_ends_nothing(void **state)
{
    (void)state;
    char *said = xasprintf("%s/said", folder);
    int ends[2], err = open(said, O_CREAT | O_RDWR, 0600);
    assert_int_equal(pipe(ends), 0);
    int old_out = replace(STDOUT_FILENO, ends[1]), old_err = replace(STDERR_FILENO, err);
    lose_lines(ends[0]);
    restore(STDOUT_FILENO, old_out);
    restore(STDERR_FILENO, old_err);
    close(ends[0]);
    close(ends[1]);
    close(err);
    char *text = contents(said);
    assert_matches(text, "^log file [^\n]*/engine.log: File too large; [^\n]*\n$");
    free(text);
    text = contents(file);
    assert_matches(text, "^[^\n]* a: fits, 0+\n[-0-9]{10} [:.0-9]{12} (INFO  a: |WARN  log: )");
    int lost = 0;
    const char *told = strstr(text, "WARN  log: ");
    assert_non_null(told);
    assert_int_equal(sscanf(told, "WARN  log: %d lines were lost", &lost), 1);
    assert_in_range(lost, 2, 3);
    assert_int_equal(count_of(text, " a: line ") + lost, 3);
    free(text);
    free(said);
}

static void test_a_full_disk_pushes_no_old_file_out(void **state)
{
    (void)state;
    max_size = 1000;
    start(1);
    log_info("a", "the first");
    log_settle(30000);
    limit_file_size(1);
    for (int i = 0; i < 60; i++)
        log_info("a", "%0100d", i);
    log_settle(30000);
    limit_file_size(RLIM_INFINITY);
    log_stop();
    glob_t rotated;
    char *pattern = xasprintf("%s.*", file);
    assert_int_equal(glob(pattern, 0, NULL, &rotated), 0);
    assert_int_equal(rotated.gl_pathc, 1);
    char *text = contents(rotated.gl_pathv[0]);
    assert_matches(text, "INFO  a: the first");
    globfree(&rotated);
    free(pattern);
    free(text);
}

static void test_due_once_in_a_while(void **state)
{
    (void)state;
    uint64_t last = 0, another = 0;
    assert_true(log_due(&last, 500));
    assert_false(log_due(&last, 500));
    assert_false(log_due(&last, 500 + LOG_EACH_MS - 1));
    assert_true(log_due(&another, 600));
    assert_true(log_due(&last, 500 + LOG_EACH_MS));
    assert_false(log_due(&last, 500 + LOG_EACH_MS + 1));
    assert_true(log_due(&last, 500 + 3 * LOG_EACH_MS));
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_a_line),
        WITH_FOLDER(test_only_from_its_level_on),
        WITH_FOLDER(test_long_lines_are_cut),
        WITH_FOLDER(test_makes_the_folders_of_its_file),
        WITH_FOLDER(test_a_file_that_cannot_be_opened),
        WITH_FOLDER(test_without_a_writer_lines_go_to_standard_error),
        WITH_FOLDER(test_to_the_terminal_and_the_file),
        WITH_FOLDER(test_rotated_when_the_day_has_changed),
        WITH_FOLDER(test_goes_on_in_the_file_of_the_same_day),
        WITH_FOLDER(test_rotated_by_size_and_the_oldest_removed),
        WITH_FOLDER(test_names_of_one_day_stay_in_the_order_of_age),
        WITH_FOLDER(test_lines_of_several_threads_stay_whole),
        WITH_FOLDER(test_what_does_not_fit_is_counted),
        WITH_FOLDER(test_a_full_disk_ends_nothing),
        WITH_FOLDER(test_json_lines),
        WITH_FOLDER(test_json_lines_are_rotated_by_their_date),
        WITH_FOLDER(test_repeats_are_counted),
        WITH_FOLDER(test_opened_anew),
        WITH_FOLDER(test_cannot_be_opened_anew),
        WITH_FOLDER(test_a_pipe_that_nobody_reads_is_an_error),
        WITH_FOLDER(test_the_file_goes_on_when_nobody_reads_the_terminal),
        WITH_FOLDER(test_a_full_disk_pushes_no_old_file_out),
        cmocka_unit_test(test_due_once_in_a_while),
        cmocka_unit_test(test_a_slow_terminal_is_not_waited_for_piece_by_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
