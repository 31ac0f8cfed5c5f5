/* A connection over a real loopback socket, its peer driven with plain system calls. */
#include "base/buf.h"
#include "base/memory_use.h"
#include "net/conn.h"
#include "net/pair_test.h"
#include <fcntl.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct wheel wheel;
static struct conns conns;
static struct conn_counters counters;
static struct conn_limits limits;
static struct conn *conn;
static void *memory; /* its */
static int peer;

/* What the owner was told. */
static struct buf got;
static size_t take_most;   /* of each on_input */
static uint64_t busy_ns;   /* that each on_input takes */
static size_t message_len; /* of those that it counts; 0: it counts none */
static bool hold_next, abort_next, ended, flooded, closed;
static char why[128];
static const char *last_word; /* that it sends when it is told of the end */

static size_t send_next; /* that an on_input sends */

static int send_filled(char c, size_t len, bool message);

static size_t on_input(void *owner, const char *data, size_t len)
{
    (void)owner;
    size_t take = len < take_most ? len : take_most;
    uint64_t end = busy_ns ? uv_hrtime() + busy_ns : 0;
    buf_append(&got, data, take);
    while (end && uv_hrtime() < end)
        continue;
    if (message_len > 0)
        assert_true(conn_count(conn, (uint32_t)(take / message_len)));
    if (hold_next)
        conn_hold(conn);
    hold_next = false;
    if (send_next > 0)
        assert_int_equal(send_filled('i', send_next, true), UV_ENOBUFS);
    send_next = 0;
    assert_memory_equal(got.data + got.len - take, data, take);
    if (abort_next)
        conn_abort(conn);
    return take;
}

static void on_end(void *owner, enum close_reason reason, const char *text)
{
    assert_true((reason == CLOSE_CLIENT) == !text);
    (void)owner;
    ended = true;
    snprintf(why, sizeof why, "%s", text ? text : "");
    if (last_word)
        assert_int_equal(conn_append(conn, last_word, strlen(last_word), "", 0, false), 0);
}

static void on_hang_up(void *owner)
{
    (void)owner;
    ended = true;
}

static void on_closed(void *owner)
{
    (void)owner;
    closed = true;
}

static void on_flood(void *owner, const char *text)
{
    (void)owner;
    flooded = true;
    snprintf(why, sizeof why, "%s", text);
    conn_close(conn);
}

static const struct conn_handlers handlers = {on_input, on_end, on_hang_up, on_flood, on_closed};

/* It takes as little at once as a socket can. */
static void narrow_pair(int *ours, int *theirs)
{
    int pair[2], least = 1;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
    *ours = pair[0];
    *theirs = pair[1];
}

enum { FRAME_COST = 48 }; /* of the backlog, besides its bytes */

static int set_up(void **state)
{
    (void)state;
    int ours;
    limits = (struct conn_limits){
        .max_backlog = 1 << 20, .max_input = 1 << 20, .read_ahead = 65536, .counters = &counters};
    take_most = SIZE_MAX;
    busy_ns = 0;
    message_len = 0;
    send_next = 0;
    hold_next = abort_next = ended = flooded = closed = false;
    why[0] = '\0';
    last_word = NULL;
    counter_set(&counters.written_bytes, 0);
    counter_set(&counters.dropped_messages, 0);
    uv_loop_init(&loop);
    wheel_init(&wheel, &loop);
    conns_init(&conns, &loop, &wheel);
    connect_pair(&ours, &peer);
    memory = malloc(conn_size(&limits));
    conn = conn_open(memory, &conns, ours, NULL, &limits, &handlers, NULL);
    return 0;
}

/* Turns the loop as a worker does until `*what`; fails after five seconds. */
static void turn_until(const bool *what)
{
    uint64_t end = uv_hrtime() + 5000000000u;
    while (!*what) {
        assert_true(uv_hrtime() < end);
        conns_read_on(&conns);
        conns_flush(&conns, 100);
        conns_flush_fan_out(&conns, 100);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
}

static void turn_until_got(size_t len)
{
    uint64_t end = uv_hrtime() + 5000000000u;
    while (got.len < len) {
        assert_true(uv_hrtime() < end);
        conns_read_on(&conns);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
}

static void turns(int n)
{
    while (n-- > 0) {
        conns_read_on(&conns);
        conns_flush(&conns, 100);
        conns_flush_fan_out(&conns, 100);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
}

static int tear_down(void **state)
{
    (void)state;
    if (!closed)
        conn_abort(conn);
    close(peer);
    wheel_fini(&wheel);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(closed);
    assert_int_equal(conns.open, 0);
    free(memory);
    conns_fini(&conns);
    assert_int_equal(uv_loop_close(&loop), 0);
    buf_free(&got);
    return 0;
}

/* The same with limits that are looked at when it is opened. */
static void reopen(void (*make_pair)(int *ours, int *theirs))
{
    int ours;
    conn_abort(conn);
    turn_until(&closed);
    closed = false;
    close(peer);
    free(memory);
    memory = malloc(conn_size(&limits));
    make_pair(&ours, &peer);
    conn = conn_open(memory, &conns, ours, NULL, &limits, &handlers, NULL);
}

static void peer_sends(const char *text)
{
    assert_int_equal(write(peer, text, strlen(text)), (ssize_t)strlen(text));
}

static void send_text(const char *text)
{
    struct frame *frame = frame_new(text, strlen(text));
    assert_int_equal(conn_send(conn, frame), 0);
    frame_unref(frame);
}

static void assert_got(const char *text)
{
    assert_int_equal(got.len, strlen(text));
    assert_memory_equal(got.data, text, got.len);
}

static void what_is_not_taken_comes_again(void **state)
{
    (void)state;
    conn_start(conn);
    take_most = 2;
    peer_sends("abcde");
    turn_until_got(2);
    assert_got("ab");
    take_most = SIZE_MAX;
    peer_sends("f");
    turn_until_got(6);
    assert_got("abcdef");
}

static void held_input_waits(void **state)
{
    (void)state;
    conn_start(conn);
    hold_next = true;
    take_most = 1;
    peer_sends("abc");
    turn_until_got(1);
    peer_sends("def");
    turns(50);
    assert_got("a");
    size_t len;
    assert_memory_equal(conn_held(conn, &len), "bc", 2);
    conn_take(conn, 1);
    take_most = SIZE_MAX;
    conn_let_go(conn);
    turn_until_got(5);
    assert_got("acdef");
}

static void a_held_connection_reads_only_so_far(void **state)
{
    (void)state;
    limits.read_ahead = 4096;
    conn_start(conn);
    conn_hold(conn);
    static char block[1 << 16];
    fcntl(peer, F_SETFL, O_NONBLOCK);
    size_t sent = 0, held;
    for (int i = 0; i < 400; i++) {
        ssize_t n = write(peer, block, sizeof block);
        sent += n > 0 ? (size_t)n : 0;
        turns(1);
    }
    conn_held(conn, &held);
    assert_in_range(held, 4096, 4096 + TRANSPORT_READ_MAX);
    conn_let_go(conn);
    turn_until_got(sent);
}

static void a_hang_up_is_seen_though_nothing_is_read(void **state)
{
    (void)state;
    limits.read_ahead = 1;
    conn_start(conn);
    conn_hold(conn);
    peer_sends("abc");
    turns(20);
    shutdown(peer, SHUT_WR);
    turn_until(&ended);
    assert_string_equal(why, "");
    assert_false(closed);
}

static void a_close_flushes_first(void **state)
{
    (void)state;
    conn_start(conn);
    for (int i = 0; i < 100; i++)
        send_text("0123456789");
    conn_close(conn);
    struct frame *late = frame_new("late", 4);
    assert_int_equal(conn_send(conn, late), UV_ENOTCONN);
    frame_unref(late);
    turns(10);
    char all[2000];
    size_t len = 0;
    for (ssize_t n; (n = read(peer, all + len, sizeof all - len)) > 0;)
        len += (size_t)n;
    assert_int_equal(len, 1000);
    assert_memory_equal(all + 990, "0123456789", 10);
    assert_false(closed); /* lingers until the peer has closed too */
    peer_sends("ignored");
    shutdown(peer, SHUT_WR);
    turn_until(&closed);
    assert_int_equal(got.len, 0);
    assert_false(ended);
}

static void a_close_does_not_wait_for_ever(void **state)
{
    (void)state;
    conn_start(conn);
    conn_close(conn);
    turn_until(&closed);
}

static void a_slow_client_is_cut_off(void **state)
{
    (void)state;
    limits.max_backlog = 1 << 20;
    conn_start(conn);
    struct frame *frame = frame_new(NULL, 1 << 16);
    memset(frame->data, 'x', frame->len);
    int status = 0;
    for (int i = 0; i < 1000 && status == 0; i++) {
        status = conn_send(conn, frame);
        turns(1);
    }
    frame_unref(frame);
    assert_int_equal(status, UV_ENOBUFS);
    assert_true(ended);
    assert_non_null(strstr(why, "slow client"));
    turn_until(&closed);
}

static void one_large_message_makes_nobody_slow(void **state)
{
    (void)state;
    limits.max_backlog = 1000;
    conn_start(conn);
    struct frame *frame = frame_new(NULL, 1 << 16), *second = frame_new(NULL, 1 << 24);
    memset(frame->data, 'x', frame->len);
    memset(second->data, 'x', second->len);
    assert_int_equal(conn_send(conn, frame), 0);
    assert_int_equal(conn_send(conn, second), 0); /* the socket took the first */
    assert_int_equal(conn_send(conn, frame), UV_ENOBUFS);
    frame_unref(frame);
    frame_unref(second);
    turn_until(&closed);
}

/* What watches such a peer is the write timeout. */
static void pings_wait_behind_a_large_message(void **state)
{
    (void)state;
    limits.max_backlog = 1000;
    for (int i = 0; i < 2; i++) {
        limits.drop_oldest = i > 0;
        ended = false;
        reopen(connect_pair);
        conn_start(conn);
        assert_int_equal(send_filled('a', 1 << 25, true), 0);
        turns(3);
        conn_mark(conn);
        assert_true(conn_heard(conn));
        for (int waiting = 2 * FRAME_COST; waiting < 1000; waiting += 4) /* in one frame */
            assert_int_equal(conn_append(conn, "pi", 2, "ng", 2, false), 0);
        assert_false(ended);
        assert_int_equal(conn_append(conn, "pi", 2, "ng", 2, false), UV_ENOBUFS);
    }
}

static int send_filled(char c, size_t len, bool message)
{
    struct frame *frame = frame_new(NULL, len);
    memset(frame->data, c, len);
    frame->messages = message;
    int status = conn_send(conn, frame);
    frame_unref(frame);
    return status;
}

/* Until the socket takes no more, and some of it waits. */
static void fill_the_socket(char c)
{
    limits.max_backlog = UINT64_MAX;
    for (uint64_t before = 1; before != counter_get(&counters.written_bytes);) {
        before = counter_get(&counters.written_bytes);
        assert_int_equal(send_filled(c, 1 << 16, false), 0);
        turns(20);
    }
}

/* All that comes, and then the end; each byte once for each run of equal ones. */
static void peer_reads_runs(struct buf *runs)
{
    char block[1 << 16];
    uint64_t end = uv_hrtime() + 5000000000u;
    fcntl(peer, F_SETFL, O_NONBLOCK);
    for (ssize_t n = 1; n != 0;) {
        assert_true(uv_hrtime() < end);
        turns(1);
        n = read(peer, block, sizeof block);
        for (ssize_t i = 0; i < n; i++)
            if (runs->len == 0 || runs->data[runs->len - 1] != block[i])
                buf_append_char(runs, block[i]);
    }
    buf_append_char(runs, '\0');
}

static void a_slow_client_gets_what_was_begun_and_the_last_word(void **state)
{
    (void)state;
    struct buf runs = {0};
    conn_start(conn);
    fill_the_socket('a');
    limits.max_backlog = 1 << 20;
    last_word = "!";
    assert_int_equal(send_filled('b', 1 << 19, true), 0);
    assert_int_equal(send_filled('c', 1 << 20, true), UV_ENOBUFS);
    assert_true(ended);
    assert_false(conn_is_open(conn));
    peer_reads_runs(&runs);
    assert_string_equal(runs.data, "a!");
    buf_free(&runs);
    shutdown(peer, SHUT_WR);
    turn_until(&closed);
}

static void a_slow_client_that_never_reads_is_cut_off_soon(void **state)
{
    (void)state;
    conn_start(conn);
    fill_the_socket('a');
    limits.max_backlog = 1;
    assert_int_equal(send_filled('b', 1, true), UV_ENOBUFS);
    turn_until(&closed);
}

static void the_oldest_messages_are_left_out(void **state)
{
    (void)state;
    struct buf runs = {0};
    limits.drop_oldest = true;
    conn_start(conn);
    fill_the_socket('a');
    limits.max_backlog = 1 << 18;
    for (char c = 'b'; c <= 'z'; c++)
        assert_int_equal(send_filled(c, 1 << 16, true), 0);
    assert_false(ended);
    /* What waited before them takes at least one place. */
    assert_in_range(counter_get(&counters.dropped_messages), 22, 24);
    conn_close(conn);
    peer_reads_runs(&runs);
    assert_int_equal(runs.data[0], 'a');
    assert_int_equal(runs.data[runs.len - 2], 'z');
    assert_int_equal(runs.len - 2, 25 - counter_get(&counters.dropped_messages));
    for (size_t i = 2; i < runs.len - 1; i++)
        assert_int_equal(runs.data[i], runs.data[1] + (int)i - 1);
    buf_free(&runs);
}

static void collected_messages_are_left_out_together(void **state)
{
    (void)state;
    enum { MESSAGES = 4000, LEN = 100 };
    char message[LEN] = {0};
    limits.drop_oldest = true;
    conn_start(conn);
    fill_the_socket('a');
    limits.max_backlog = 1 << 18;
    for (int i = 0; i < MESSAGES; i++) {
        assert_int_equal(conn_append(conn, message, LEN, "", 0, true), 0);
        turns(i % 10 == 0);
    }
    uint64_t dropped = counter_get(&counters.dropped_messages);
    assert_in_range(dropped, MESSAGES - (1 << 18) / LEN, MESSAGES);
    assert_true(conn_is_open(conn));
}

/* One that may be left out, one that may not, by turns: each is a frame of its own. */
static void append_in_turns(int times)
{
    for (int i = 0; i < times; i++) {
        assert_int_equal(conn_append(conn, "p", 1, "o", 1, false), 0);
        assert_int_equal(conn_append(conn, "m", 1, "es", 2, true), 0);
    }
}

static void small_frames_take_little_memory(void **state)
{
    (void)state;
    enum { TIMES = 10000, BOUND = 12 << 20 };
    int descriptor = memory_use_open();
    limits.drop_oldest = true;
    conn_start(conn);
    uint64_t before = memory_resident(descriptor);
    append_in_turns(TIMES); /* within a turn */
    uint64_t held = memory_resident(descriptor);
    assert_in_range(held, 1, before + BOUND);
    assert_in_range(conn_weight(conn), 2 * TIMES * sizeof(struct frame), BOUND);
    fill_the_socket('a');
    before = memory_resident(descriptor);
    append_in_turns(TIMES); /* behind what waits */
    held = memory_resident(descriptor);
    assert_in_range(held, 1, before + BOUND);
    close(descriptor);
}

static void what_a_frame_takes_counts(void **state)
{
    (void)state;
    enum { BACKLOG = 4 << 20, ROOM = 4 * BACKLOG }; /* for a sanitizer's own, too */
    int descriptor = memory_use_open(), sent = 0;
    conn_start(conn);
    fill_the_socket('a');
    limits.max_backlog = BACKLOG;
    uint64_t before = memory_resident(descriptor);
    while (memory_resident(descriptor) < before + ROOM && send_filled('b', 1, true) == 0)
        sent++;
    assert_true(ended);
    assert_in_range(sent, 1, BACKLOG / (1 + FRAME_COST));
    close(descriptor);
}

/* Pongs, bytes of a script's own, what is compressed in a context. */
static void what_is_no_message_is_never_left_out(void **state)
{
    (void)state;
    struct buf runs = {0};
    limits.drop_oldest = true;
    conn_start(conn);
    fill_the_socket('a');
    limits.max_backlog = 1 << 18;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(conn_append(conn, "1", 1, "", 0, false), 0);
        assert_int_equal(send_filled('m', 1 << 16, true), 0);
        assert_int_equal(conn_append(conn, "2", 1, "", 0, false), 0);
        assert_int_equal(conn_append(conn, "n", 1, "", 0, true), 0);
        assert_int_equal(conn_append(conn, "3", 1, "", 0, false), 0);
    }
    assert_int_equal(send_filled('x', 1 << 18, true),
                     0); /* behind others there is no room for it */
    conn_close(conn);
    peer_reads_runs(&runs);
    int digits = 0;
    for (size_t i = 0; i < runs.len - 1; i++)
        if (runs.data[i] < 'a')
            assert_int_equal(runs.data[i], '1' + digits++ % 3);
    assert_int_equal(digits, 30);
    assert_null(memchr(runs.data, 'x', runs.len));
    buf_free(&runs);
}

static void with_nothing_to_leave_out_a_slow_client_is_closed(void **state)
{
    (void)state;
    limits.drop_oldest = true;
    conn_start(conn);
    fill_the_socket('a');
    limits.max_backlog = 1 << 18;
    int status = 0;
    for (int i = 0; i < 10 && status == 0; i++)
        status = send_filled('b', 1 << 16, false);
    assert_int_equal(status, UV_ENOBUFS);
    assert_true(ended);
}

/* Of a write that waits the socket may take most before its end is told. */
static void what_the_socket_has_taken_does_not_wait(void **state)
{
    (void)state;
    enum { LARGE = 32 << 20 };
    limits.drop_oldest = true;
    conn_start(conn);
    limits.max_backlog = 1 << 20;
    assert_int_equal(send_filled('a', LARGE, true), 0);
    turns(3);
    fcntl(peer, F_SETFL, O_NONBLOCK);
    static char block[1 << 16];
    size_t read_len = 0;
    uint64_t end = uv_hrtime() + 5000000000u;
    while (read_len < LARGE - (1 << 19)) {
        assert_true(uv_hrtime() < end);
        ssize_t n = read(peer, block, sizeof block);
        read_len += n > 0 ? (size_t)n : 0;
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(send_filled('b', (1 << 19) - FRAME_COST, true), 0);
    assert_int_equal(counter_get(&counters.dropped_messages), 0);
}

static void who_makes_much_work_waits_for_its_turn(void **state)
{
    (void)state;
    enum { READS = 4 };
    static char block[READS * TRANSPORT_READ_MAX];
    conn_start(conn);
    busy_ns = 2000000;
    assert_int_equal(write(peer, block, sizeof block), sizeof block);
    for (size_t i = 1; i <= READS; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        uv_run(&loop, UV_RUN_NOWAIT); /* nothing more before conns_read_on */
        assert_int_equal(got.len, i * TRANSPORT_READ_MAX);
        conns_read_on(&conns);
    }
}

/* Reads until there is nothing more in this turn; how much in all. */
static size_t read_for_a_turn(void)
{
    size_t before;
    conns_read_on(&conns);
    do {
        before = got.len;
        uv_run(&loop, UV_RUN_NOWAIT);
    } while (got.len > before);
    return got.len;
}

static void who_sends_small_messages_is_read_in_small_parts(void **state)
{
    (void)state;
    static char block[4 * TRANSPORT_READ_MAX];
    enum { SMALL = 2048 };
    size_t first = TRANSPORT_READ_MAX;
    conn_start(conn);
    assert_int_equal(write(peer, block, sizeof block), sizeof block);
    message_len = 31;
    assert_int_equal(read_for_a_turn(), first);
    assert_int_equal(read_for_a_turn(), first + SMALL);
    assert_int_equal(read_for_a_turn(), first + 2 * SMALL);
    message_len = 33;
    int turns = 0;
    while (read_for_a_turn() < sizeof block)
        turns++; /* a read that takes long is its turn's last one */
    assert_true(turns < 4);
}

static void who_makes_much_work_may_end_with_it(void **state)
{
    (void)state;
    static char block[2 * TRANSPORT_READ_MAX];
    conn_start(conn);
    busy_ns = 2000000;
    abort_next = true;
    assert_int_equal(write(peer, block, sizeof block), sizeof block);
    turn_until(&closed);
    assert_true(list_empty(&conns.waiting));
    assert_int_equal(got.len, TRANSPORT_READ_MAX);
}

static void who_waits_for_its_turn_may_end(void **state)
{
    (void)state;
    static char block[2 * TRANSPORT_READ_MAX];
    conn_start(conn);
    busy_ns = 2000000;
    assert_int_equal(write(peer, block, sizeof block), sizeof block);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(got.len, TRANSPORT_READ_MAX);
    conn_abort(conn);
    turn_until(&closed);
    assert_int_equal(got.len, TRANSPORT_READ_MAX);
}

/* A script fills memory faster than the main thread looks: the worker looks for itself. */
/* Without a certificate. */
static SSL *tls_end(const SSL_METHOD *method, int fd)
{
    SSL_CTX *context = SSL_CTX_new(method);
    assert_int_equal(SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION), 1);
    assert_int_equal(SSL_CTX_set_cipher_list(context, "AECDH-AES256-SHA:@SECLEVEL=0"), 1);
    SSL *tls = SSL_new(context);
    SSL_CTX_free(context);
    SSL_set_fd(tls, fd);
    return tls;
}

static SSL *shake_hands(int ours, int theirs)
{
    SSL *server = tls_end(TLS_server_method(), ours),
        *client = tls_end(TLS_client_method(), theirs);
    int tries = 0;
    for (; (SSL_connect(client) != 1) + (SSL_accept(server) != 1) > 0; tries++)
        assert_true(tries < 100);
    SSL_free(client);
    return server;
}

static void what_is_encrypted_and_waits_weighs(void **state)
{
    (void)state;
    int ours;
    enum { LEN = 1 << 20 };
    conn_abort(conn);
    turn_until(&closed);
    closed = false;
    close(peer);
    narrow_pair(&ours, &peer);
    conn = conn_open(memory, &conns, ours, shake_hands(ours, peer), &limits, &handlers, NULL);
    conn_start(conn);
    assert_int_equal(send_filled('a', LEN, true), 0);
    assert_in_range(conn_weight(conn), LEN, LEN + 1024);
    turns(3);
    uint64_t plain = LEN - counter_get(&counters.written_bytes);
    assert_in_range(conn_weight(conn), plain + 4096, plain + 2 * TRANSPORT_BEGUN_MAX);
}

static void when_memory_is_short_little_may_wait(void **state)
{
    (void)state;
    struct memory_guard guard = {.descriptor = memory_use_open()};
    conns.memory = &guard;
    conn_start(conn);
    fill_the_socket('a');
    limits.max_backlog = 1 << 30;
    assert_int_equal(send_filled('b', 8 << 20, true), 0);
    assert_false(guard.is_short);
    guard.is_short = true; /* without a limit that is an old look's */
    assert_int_equal(send_filled('b', 8 << 20, true), 0);
    guard.is_short = false;
    guard.most = UINT64_MAX;
    assert_int_equal(send_filled('c', 8 << 20, true), 0);
    guard.most = 1;
    assert_int_equal(send_filled('d', 8 << 20, true), UV_ENOBUFS);
    assert_true(guard.is_short);
    assert_string_equal(why, "the engine is at its memoryLimit");
    close(guard.descriptor);
}

/* The owner reads what was held while it is closed for what it sends meanwhile. */
static void when_memory_is_short_held_input_is_still_read(void **state)
{
    (void)state;
    struct memory_guard guard = {.descriptor = memory_use_open(), .most = 1, .is_short = true};
    conn_start(conn);
    fill_the_socket('a');
    limits.max_backlog = 1 << 30;
    assert_int_equal(send_filled('b', 8 << 20, true), 0);
    hold_next = true;
    take_most = 1;
    peer_sends("abc");
    turn_until_got(1);
    conns.memory = &guard;
    send_next = 8 << 20;
    conn_let_go(conn);
    assert_true(ended);
    assert_string_equal(why, "the engine is at its memoryLimit");
    assert_got("ab");
    size_t len;
    conn_held(conn, &len);
    assert_int_equal(len, 0);
    close(guard.descriptor);
}

/* More than the socket takes at once: the rest follows in order. */
static void a_full_socket_is_waited_for(void **state)
{
    (void)state;
    enum { FRAMES = 2000, SIZE = 4096 };
    limits.max_backlog = FRAMES * (SIZE + FRAME_COST);
    conn_start(conn);
    for (uint32_t i = 0; i < FRAMES; i++) {
        struct frame *frame = frame_new(NULL, SIZE);
        for (uint32_t j = 0; j < SIZE / 4; j++)
            memcpy(frame->data + 4 * j, &i, 4);
        assert_int_equal(conn_send(conn, frame), 0);
        frame_unref(frame);
    }
    fcntl(peer, F_SETFL, O_NONBLOCK);
    char *all = malloc(FRAMES * SIZE);
    size_t len = 0;
    for (int i = 0; i < 1000000 && len < FRAMES * SIZE; i++) {
        turns(1);
        ssize_t n = read(peer, all + len, FRAMES * SIZE - len);
        len += n > 0 ? (size_t)n : 0;
    }
    assert_int_equal(len, FRAMES * SIZE);
    for (uint32_t i = 0; i < FRAMES * SIZE / 4; i++)
        assert_int_equal(((uint32_t *)(void *)all)[i], i / (SIZE / 4));
    free(all);
}

/* Message number i: what it says, how long it is, and whether it is shared. */
static size_t make_message(unsigned i, char *out)
{
    size_t len = i % 7 == 0 ? 3000 : 1 + i * 13 % 300;
    for (size_t j = 0; j < len; j++)
        out[j] = (char)(i * 31 + j);
    return len;
}

static int send_message(unsigned i, const char *data, size_t len)
{
    if (i % 3 > 0)
        return conn_append(conn, data, len / 2, data + len / 2, len - len / 2, false);
    struct frame *frame = frame_new(data, len);
    int status = conn_send(conn, frame);
    frame_unref(frame);
    return status;
}

static void own_and_shared_messages_keep_their_order(void **state)
{
    (void)state;
    enum { MESSAGES = 3000, STEPS = 97 };
    struct buf sent = {0};
    reopen(narrow_pair);
    conn_start(conn);
    limits.max_backlog = UINT64_MAX;
    char message[3000], block[STEPS * 16];
    size_t read_len = 0;
    uint64_t end = uv_hrtime() + 20000000000u;
    for (unsigned i = 0; i < MESSAGES || read_len < sent.len; i++) {
        assert_true(uv_hrtime() < end);
        if (i < MESSAGES) {
            size_t len = make_message(i, message);
            buf_append(&sent, message, len);
            assert_int_equal(send_message(i, message, len), 0);
        }
        if (i % 5 != 0)
            continue;
        turns(1);
        ssize_t n = read(peer, block, 1 + i % STEPS * 16);
        if (n <= 0)
            continue;
        assert_memory_equal(block, sent.data + read_len, n);
        read_len += (size_t)n;
    }
    buf_free(&sent);
}

static void the_backlog_is_exact(void **state)
{
    (void)state;
    char block[4096] = {0};
    size_t sent = 0, waiting = 0;
    conn_start(conn);
    limits.max_backlog = UINT64_MAX;
    for (uint64_t before = 1; before != counter_get(&counters.written_bytes) || waiting == 0;) {
        before = counter_get(&counters.written_bytes);
        for (int i = 0; i < 100; i++, sent += sizeof block)
            assert_int_equal(conn_append(conn, block, sizeof block, "", 0, false), 0);
        turns(3);
        waiting = sent - counter_get(&counters.written_bytes);
    }
    size_t frames = (waiting + sizeof block - 1) / sizeof block + 3;
    limits.max_backlog = waiting + 1000 + frames * FRAME_COST;
    assert_int_equal(conn_append(conn, block, 300, block, 300, false), 0);
    struct frame *frame = frame_new(block, 300);
    assert_int_equal(conn_send(conn, frame), 0);
    frame_unref(frame);
    assert_int_equal(conn_append(conn, block, 50, block, 50, false), 0);
    assert_int_equal(conn_append(conn, "", 0, "", 0, false), 0);
    assert_int_equal(conn_append(conn, "x", 1, "", 0, false), UV_ENOBUFS);
    assert_true(ended);
    assert_int_equal(conn_append(conn, "x", 1, "", 0, false), UV_ENOTCONN);
}

static void chunks_are_used_again(void **state)
{
    (void)state;
    char half[200] = {0};
    conn_start(conn);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++)
            assert_int_equal(conn_append(conn, half, 200, half, 200, false), 0);
        assert_int_equal(conns.spare.count, 0);
        turns(1);
        assert_int_equal(conns.spare.count, 1);
    }
}

static ssize_t peer_has(int fd)
{
    char all[100];
    return recv(fd, all, sizeof all, MSG_DONTWAIT);
}

static void a_fan_out_lets_others_go_first(void **state)
{
    (void)state;
    int ours, second_peer;
    connect_pair(&ours, &second_peer);
    void *more = malloc(conn_size(&limits));
    struct conn *second = conn_open(more, &conns, ours, NULL, &limits, &handlers, NULL);
    conns_fan_out(&conns, true);
    send_text("for many");
    conns_fan_out(&conns, false);
    assert_int_equal(conn_append(second, "own", 3, "", 0, false), 0);
    assert_false(conns_flush(&conns, 1));
    assert_int_equal(peer_has(second_peer), 3);
    assert_int_equal(peer_has(peer), -1);
    assert_int_equal(conn_append(conn, "too", 3, "", 0, false), 0); /* behind what was for many */
    assert_false(conns_flush(&conns, 1));
    assert_int_equal(peer_has(peer), 11);
    assert_false(conns_flush_fan_out(&conns, 1));
    conn_abort(second);
    turn_until(&closed);
    closed = false;
    close(second_peer);
    free(more);
}

static void an_orderly_end_is_told(void **state)
{
    (void)state;
    conn_start(conn);
    peer_sends("last words");
    shutdown(peer, SHUT_WR);
    turn_until(&ended);
    assert_got("last words");
    assert_string_equal(why, "");
    send_text("answer");
    conn_close(conn);
    turn_until(&closed);
    char answer[16];
    assert_int_equal(read(peer, answer, sizeof answer), 6);
}

static void a_reset_is_told(void **state)
{
    (void)state;
    conn_start(conn);
    struct linger now = {1, 0};
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(peer);
    peer = -1;
    turn_until(&ended);
    assert_string_equal(why, "connection reset by peer");
    turn_until(&closed);
}

static void silence_ends_it(void **state)
{
    (void)state;
    limits.read_timeout = 100;
    reopen(connect_pair);
    conn_start(conn);
    turn_until(&ended);
    assert_string_equal(why, "read timeout");
    turn_until(&closed);
}

static void what_was_heard_is_marked(void **state)
{
    (void)state;
    conn_start(conn);
    conn_mark(conn);
    turns(3);
    assert_false(conn_heard(conn));
    peer_sends("a");
    turn_until_got(1);
    assert_true(conn_heard(conn));
    conn_mark(conn);
    assert_false(conn_heard(conn));
}

static void a_refused_socket_ends_when_it_is_read(void **state)
{
    (void)state;
    conn_abort(conn);
    turn_until(&closed);
    closed = false;
    int gone = dup(peer);
    close(gone);
    conn = conn_open(memory, &conns, gone, NULL, &limits, &handlers, NULL);
    send_text("nobody hears this");
    assert_false(ended);
    conn_start(conn);
    turn_until(&closed);
    assert_true(ended);
    assert_string_equal(why, "cannot read");
}

static void input_without_a_packet_is_bounded(void **state)
{
    (void)state;
    limits.max_input = 10;
    take_most = 0;
    conn_start(conn);
    peer_sends("12345678901");
    turn_until(&ended);
    assert_non_null(strstr(why, "too large"));
}

static void who_goes_on_sending_is_cut_off(void **state)
{
    static char much[65536];
    size_t sent = 0;
    (void)state;
    conn_start(conn);
    conn_close(conn);
    assert_int_equal(fcntl(peer, F_SETFL, O_NONBLOCK), 0);
    while (!closed) {
        ssize_t n = send(peer, much, sizeof much, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        turns(1);
    }
    assert_true(sent > 4 << 20 && sent < 64 << 20);
}

static const uint64_t SECOND_NS = 1000000000;

static void more_bytes_than_the_rate(void **state)
{
    (void)state;
    limits.bytes = (struct rate){1, 10 * SECOND_NS};
    reopen(connect_pair);
    conn_start(conn);
    peer_sends("0123456789");
    turn_until_got(10);
    assert_false(flooded);
    peer_sends("!");
    turn_until(&flooded);
    assert_got("0123456789"); /* what is too much is not handed on */
    assert_string_equal(why, "too many bytes");
}

static void bytes_count_while_the_input_is_held(void **state)
{
    (void)state;
    limits.bytes = (struct rate){1, 10 * SECOND_NS};
    reopen(connect_pair);
    conn_start(conn);
    hold_next = true;
    peer_sends("a");
    turn_until_got(1);
    peer_sends("0123456789");
    turn_until(&flooded);
}

static void more_messages_than_the_rate(void **state)
{
    (void)state;
    limits.messages = (struct rate){1, 5 * SECOND_NS};
    reopen(connect_pair);
    conn_start(conn);
    assert_true(conn_count(conn, 2));
    assert_true(conn_count(conn, 3));
    assert_false(flooded);
    assert_false(conn_count(conn, 1));
    assert_true(flooded);
    assert_string_equal(why, "too many messages");
}

static void whom_the_rates_do_not_hold_for(void **state)
{
    (void)state;
    assert_true(conn_count(conn, 1000)); /* there are none */
    limits.messages = limits.bytes = (struct rate){1, SECOND_NS};
    reopen(connect_pair);
    conn_meter(conn, false);
    conn_start(conn);
    peer_sends("0123456789");
    turn_until_got(10);
    assert_true(conn_count(conn, 1000));
    assert_false(flooded);
}

static void who_sends_more_is_read_later(void **state)
{
    (void)state;
    limits.bytes = (struct rate){100, SECOND_NS};
    limits.wait = true;
    reopen(connect_pair);
    conn_start(conn);
    char text[131] = {0};
    memset(text, 'x', 130);
    peer_sends(text);
    turn_until_got(130); /* 300 ms ahead */
    uint64_t since = uv_now(&loop);
    peer_sends("later");
    turn_until_got(135);
    assert_true(uv_now(&loop) - since >= 250);
    assert_false(flooded);
}

static void who_rests_and_owes_nothing_is_read_on(void **state)
{
    (void)state;
    limits.messages = (struct rate){1, SECOND_NS};
    limits.wait = true;
    reopen(connect_pair);
    conn_start(conn);
    assert_true(conn_count(conn, 3600)); /* an hour ahead */
    turns(3);
    conn_meter(conn, false);
    peer_sends("later");
    turn_until_got(5);
}

static void who_rests_is_not_silent(void **state)
{
    (void)state;
    limits.messages = (struct rate){1, SECOND_NS};
    limits.wait = true;
    limits.read_timeout = 100;
    reopen(connect_pair);
    conn_start(conn);
    conn_mark(conn);
    assert_true(conn_count(conn, 2)); /* a second ahead */
    assert_true(conn_heard(conn));
    uint64_t since = uv_now(&loop);
    peer_sends("later");
    turn_until_got(5);
    assert_true(uv_now(&loop) - since >= 900);
    assert_false(ended);
    turn_until(&ended);
    assert_string_equal(why, "read timeout");
}

static void who_rests_may_be_closed(void **state)
{
    (void)state;
    limits.messages = (struct rate){1, SECOND_NS};
    limits.wait = true;
    reopen(connect_pair);
    conn_start(conn);
    assert_true(conn_count(conn, 3600));
    conn_close(conn);
    shutdown(peer, SHUT_RDWR);
    turn_until(&closed);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_not_taken_comes_again),
        TEST(held_input_waits),
        TEST(a_held_connection_reads_only_so_far),
        TEST(a_hang_up_is_seen_though_nothing_is_read),
        TEST(a_close_flushes_first),
        TEST(a_close_does_not_wait_for_ever),
        TEST(a_slow_client_is_cut_off),
        TEST(one_large_message_makes_nobody_slow),
        TEST(pings_wait_behind_a_large_message),
        TEST(a_slow_client_gets_what_was_begun_and_the_last_word),
        TEST(a_slow_client_that_never_reads_is_cut_off_soon),
        TEST(the_oldest_messages_are_left_out),
        TEST(collected_messages_are_left_out_together),
        TEST(small_frames_take_little_memory),
        TEST(what_a_frame_takes_counts),
        TEST(what_is_no_message_is_never_left_out),
        TEST(with_nothing_to_leave_out_a_slow_client_is_closed),
        TEST(what_the_socket_has_taken_does_not_wait),
        TEST(who_makes_much_work_waits_for_its_turn),
        TEST(who_sends_small_messages_is_read_in_small_parts),
        TEST(who_makes_much_work_may_end_with_it),
        TEST(who_waits_for_its_turn_may_end),
        TEST(what_is_encrypted_and_waits_weighs),
        TEST(when_memory_is_short_little_may_wait),
        TEST(when_memory_is_short_held_input_is_still_read),
        TEST(a_full_socket_is_waited_for),
        TEST(own_and_shared_messages_keep_their_order),
        TEST(the_backlog_is_exact),
        TEST(chunks_are_used_again),
        TEST(a_fan_out_lets_others_go_first),
        TEST(an_orderly_end_is_told),
        TEST(a_reset_is_told),
        TEST(silence_ends_it),
        TEST(input_without_a_packet_is_bounded),
        TEST(what_was_heard_is_marked),
        TEST(a_refused_socket_ends_when_it_is_read),
        TEST(who_goes_on_sending_is_cut_off),
        TEST(more_bytes_than_the_rate),
        TEST(bytes_count_while_the_input_is_held),
        TEST(more_messages_than_the_rate),
        TEST(whom_the_rates_do_not_hold_for),
        TEST(who_sends_more_is_read_later),
        TEST(who_rests_and_owes_nothing_is_read_on),
        TEST(who_rests_is_not_silent),
        TEST(who_rests_may_be_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
