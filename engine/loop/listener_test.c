/* Listeners on real sockets, driven with plain system calls. */
#include "base/address.h"
#include "loop/listener.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct listener listener, second;
static char folder[] = "/tmp/listener_test.XXXXXX", path[64], bind_to[80], seen[ADDRESS_TEXT];

static void on_accept(struct listener *self, int fd, const struct sockaddr_storage *peer)
{
    (void)self;
    address_text(peer, seen);
    close(fd);
}

static int open_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/listener_test.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/a.sock", folder);
    snprintf(bind_to, sizeof bind_to, "unix:%s", path);
    seen[0] = '\0';
    listener = second = (struct listener){.on_accept = on_accept};
    return uv_loop_init(&loop);
}

static int close_folder(void **state)
{
    (void)state;
    listener_close(&listener);
    listener_close(&second);
    uv_run(&loop, UV_RUN_DEFAULT);
    unlink(path);
    return uv_loop_close(&loop) || rmdir(folder);
}

static bool is_there(void)
{
    struct stat file;
    return lstat(path, &file) == 0;
}

static int dial(const struct sockaddr_storage *to)
{
    int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)to, address_len(to)), 0);
    return fd;
}

/* Whom the listener sees when somebody connects. */
static const char *accepted(const struct sockaddr_storage *to)
{
    int fd = dial(to);
    listener_accept(&listener, true);
    while (!seen[0])
        uv_run(&loop, UV_RUN_ONCE);
    close(fd);
    return seen;
}

static void assert_refused(int status, const char *message)
{
    char text[ADDRESS_TEXT + 256];
    assert_int_equal(listener_open(&second, &loop, bind_to, 0), status);
    listener_explain(&second, status, text, sizeof text);
    if (!strstr(text, message) || !strstr(text, path))
        fail_msg("\"%s\" is not in: %s", message, text);
}

static void a_unix_socket_is_there_while_it_is_open(void **state)
{
    (void)state;
    assert_int_equal(listener_open(&listener, &loop, bind_to, 80), 0);
    assert_int_equal(address_port(&listener.address), 0);
    assert_true(is_there());
    assert_string_equal(accepted(&listener.address), "unix:");
    listener_close(&listener);
    assert_false(is_there());
    listener_close(&listener);
}

/* A path that a client chose for itself is not told. */
static void unix_clients_have_no_path(void **state)
{
    (void)state;
    char own[80];
    struct sockaddr_un me = {.sun_family = AF_UNIX};
    assert_int_equal(listener_open(&listener, &loop, bind_to, 0), 0);
    snprintf(own, sizeof own, "%s/b.sock", folder);
    strcpy(me.sun_path, own);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&me, sizeof me), 0);
    assert_int_equal(
        connect(fd, (struct sockaddr *)&listener.address, address_len(&listener.address)), 0);
    listener_accept(&listener, true);
    while (!seen[0])
        uv_run(&loop, UV_RUN_ONCE);
    assert_string_equal(seen, "unix:");
    close(fd);
    unlink(own);
}

static void a_socket_that_nobody_listens_on_is_replaced(void **state)
{
    (void)state;
    struct sockaddr_storage at;
    address_from_bind(&at, bind_to, 0);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, address_len(&at)), 0);
    assert_int_equal(listen(fd, 1), 0);
    close(fd); /* as by SIGKILL: the file stays */
    assert_true(is_there());
    assert_int_equal(listener_open(&listener, &loop, bind_to, 0), 0);
    assert_string_equal(accepted(&at), "unix:");
}

static void a_socket_in_use_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(listener_open(&listener, &loop, bind_to, 0), 0);
    assert_refused(-EADDRINUSE, "address already in use: stop what listens there (ss -lxp)");
    assert_string_equal(accepted(&listener.address), "unix:"); /* the first one lives on */
}

/* Also when so many wait there that no more fit. */
static void a_socket_with_a_full_backlog_is_in_use(void **state)
{
    (void)state;
    struct sockaddr_storage at;
    address_from_bind(&at, bind_to, 0);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, address_len(&at)), 0);
    assert_int_equal(listen(fd, 0), 0);
    int waiting = dial(&at);
    assert_refused(-EADDRINUSE, "address already in use");
    close(waiting);
    close(fd);
}

static void another_file_is_left_alone(void **state)
{
    (void)state;
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
    assert_refused(-EEXIST, "it is no socket: remove it or choose another path");
    assert_true(is_there());
}

static void a_folder_that_is_missing_is_named(void **state)
{
    (void)state;
    char saved[sizeof bind_to];
    strcpy(saved, bind_to);
    snprintf(bind_to, sizeof bind_to, "unix:%s/none/a.sock", folder);
    snprintf(path, sizeof path, "%s/none/a.sock", folder);
    assert_refused(-ENOENT, "make its folder first");
    strcpy(bind_to, saved);
}

/* Who finds its file replaced must not take the other's away. */
static void only_its_own_file_is_removed(void **state)
{
    (void)state;
    assert_int_equal(listener_open(&listener, &loop, bind_to, 0), 0);
    char aside[80];
    snprintf(aside, sizeof aside, "%s/old.sock", folder);
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(listener_open(&second, &loop, bind_to, 0), 0);
    listener_close(&listener);
    assert_true(is_there());
    listener_close(&second);
    assert_false(is_there());
    unlink(aside);
}

static void has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_storage at;
    address_from_ip(&at, "::1", 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&at, address_len(&at)) == 0;
    if (fd >= 0)
        close(fd);
    if (!has) {
        print_message("SKIPPED: this kernel has no IPv6 loopback\n");
        skip();
    }
}

static void every_address_takes_both_families(void **state)
{
    (void)state;
    struct sockaddr_storage at;
    has_ipv6();
    assert_int_equal(listener_open(&listener, &loop, "::", 0), 0);
    address_from_ip(&at, "127.0.0.1", address_port(&listener.address));
    assert_int_equal(strncmp(accepted(&at), "127.0.0.1:", 10), 0);
    seen[0] = '\0';
    address_from_ip(&at, "::1", address_port(&listener.address));
    assert_int_equal(strncmp(accepted(&at), "[::1]:", 6), 0);
}

static void one_ipv6_address_takes_its_own(void **state)
{
    (void)state;
    char text[ADDRESS_TEXT + 256], want[64];
    has_ipv6();
    assert_int_equal(listener_open(&listener, &loop, "[::1]", 0), 0);
    assert_int_equal(strncmp(accepted(&listener.address), "[::1]:", 6), 0);
    int port = address_port(&listener.address);
    assert_int_equal(listener_open(&second, &loop, "::1", port), -EADDRINUSE);
    listener_explain(&second, -EADDRINUSE, text, sizeof text);
    snprintf(want, sizeof want, "[::1]:%d: address already in use: stop what listens there", port);
    assert_int_equal(strncmp(text, want, strlen(want)), 0);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, open_folder, close_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_unix_socket_is_there_while_it_is_open),
        IN_FOLDER(unix_clients_have_no_path),
        IN_FOLDER(a_socket_that_nobody_listens_on_is_replaced),
        IN_FOLDER(a_socket_in_use_is_an_error),
        IN_FOLDER(a_socket_with_a_full_backlog_is_in_use),
        IN_FOLDER(another_file_is_left_alone),
        IN_FOLDER(a_folder_that_is_missing_is_named),
        IN_FOLDER(only_its_own_file_is_removed),
        IN_FOLDER(every_address_takes_both_families),
        IN_FOLDER(one_ipv6_address_takes_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
