/* Above a socket pair, its other end with libssl and plain system calls. */
#include "base/buf.h"
#include "net/transport_tls.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { LARGE = 4 << 20 };

static uv_loop_t loop;
static struct tls_io io;
static struct transport_tcp tcp;
static struct transport *ours;
static SSL *peer;
static int peer_fd;

/* What the owner was told. */
static struct buf got;
static int written, end_status, busy;
static uint64_t busy_ns; /* that each on_bytes takes */
static bool ended, shut, closed;
static char room[TRANSPORT_READ_MAX];

static uv_buf_t on_room(void *owner)
{
    (void)owner;
    return uv_buf_init(room, sizeof room);
}

static void on_bytes(void *owner, const char *data, size_t len)
{
    (void)owner;
    uint64_t end = busy_ns ? uv_hrtime() + busy_ns : 0;
    buf_append(&got, data, len);
    while (end && uv_hrtime() < end)
        continue;
}

static void on_full(void *owner, uint64_t took_ns)
{
    (void)owner;
    busy += took_ns > 100000;
}

static void on_end(void *owner, int status)
{
    (void)owner;
    assert_false(ended);
    ended = true;
    end_status = status;
}

static void on_written(void *owner, int status)
{
    (void)owner;
    assert_int_equal(status, 0);
    written++;
}

static void on_shutdown(void *owner)
{
    (void)owner;
    shut = true;
}

static void on_closed(void *owner)
{
    (void)owner;
    closed = true;
}

static const struct transport_events events = {on_room,    on_bytes,    on_full,  on_end,
                                               on_written, on_shutdown, on_closed};

/* A certificate of its own, which the peer does not look at. */
static SSL_CTX *server_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    assert_int_equal(X509_set_pubkey(cert, key), 1);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    assert_int_equal(SSL_CTX_use_certificate(context, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    return context;
}

static SSL *end_of(SSL_CTX *context, int fd)
{
    SSL *ssl = SSL_new(context);
    SSL_CTX_free(context);
    SSL_set_fd(ssl, fd);
    return ssl;
}

static int set_up(void **state)
{
    int pair[2], n = 0;
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    SSL *server = end_of(server_context(), pair[0]);
    peer = end_of(SSL_CTX_new(TLS_client_method()), peer_fd = pair[1]);
    for (; n < 100 && (SSL_connect(peer) != 1) + (SSL_accept(server) != 1) > 0; n++)
        ERR_clear_error();
    assert_true(n < 100);
    written = end_status = busy = 0;
    busy_ns = 0;
    ended = shut = closed = false;
    uv_loop_init(&loop);
    ours = transport_tls_open(&io, server, &tcp, &loop, pair[0], &events, NULL);
    assert_int_equal(transport_read_start(ours), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    transport_close(ours);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(closed);
    assert_int_equal(uv_loop_close(&loop), 0);
    SSL_free(peer);
    close(peer_fd);
    tls_io_fini(&io);
    io = (struct tls_io){0};
    buf_free(&got);
    return 0;
}

static void turns(int n)
{
    while (n-- > 0)
        uv_run(&loop, UV_RUN_NOWAIT);
}

/* The next record's length, or what SSL_get_error says of it, negative. */
static int peer_reads(char *data, int size)
{
    ERR_clear_error();
    int n = SSL_read(peer, data, size);
    return n > 0 ? n : -SSL_get_error(peer, n);
}

static void expect_record(int len)
{
    static char data[1 << 15];
    assert_int_equal(peer_reads(data, sizeof data), len);
}

static void send_frames(const size_t *lengths, unsigned count)
{
    static char zeros[1 << 16];
    uv_buf_t bufs[16];
    ssize_t total = 0;
    for (unsigned i = 0; i < count; i++) {
        bufs[i] = uv_buf_init(zeros, (unsigned)lengths[i]);
        total += (ssize_t)lengths[i];
    }
    assert_int_equal(transport_try_write(ours, bufs, count), total);
}

static void small_frames_share_a_record(void **state)
{
    (void)state;
    send_frames((size_t[]){100, 1, 2000, 3}, 4);
    expect_record(2104);
    expect_record(-SSL_ERROR_WANT_READ);
}

static void large_frames_have_their_own(void **state)
{
    (void)state;
    send_frames((size_t[]){100, 3000, 5, 6, 40000, 7}, 6);
    expect_record(100);
    expect_record(3000);
    expect_record(11);
    expect_record(16384);
    expect_record(16384);
    expect_record(40000 - 2 * 16384);
    expect_record(7);
}

static void no_record_is_too_long(void **state)
{
    (void)state;
    size_t lengths[16];
    for (int i = 0; i < 16; i++)
        lengths[i] = 2000;
    send_frames(lengths, 16);
    expect_record(16000);
    expect_record(16000);
}

static char *numbers(void)
{
    char *data = malloc(LARGE);
    for (size_t i = 0; i + 4 <= LARGE; i += 4)
        memcpy(data + i, &(uint32_t){(uint32_t)i}, 4);
    return data;
}

/* Writes it as a connection does: what is taken at once, then the rest. */
static void fill(char *data)
{
    uv_buf_t buf = uv_buf_init(data, LARGE);
    ssize_t n = transport_try_write(ours, &buf, 1);
    assert_true(n >= 0 && n < LARGE);
    assert_int_equal(transport_try_write(ours, &buf, 1), UV_EAGAIN);
    buf = uv_buf_init(data + n, (unsigned)(LARGE - n));
    assert_int_equal(transport_write(ours, &buf, 1), 0);
}

/* Reads `len` bytes, with a turn of the loop whenever there is nothing. */
static void drain(char *into, size_t len)
{
    for (size_t at = 0; at < len;) {
        int n = peer_reads(into + at, (int)(len - at));
        assert_true(n > 0 || n == -SSL_ERROR_WANT_READ);
        if (n > 0)
            at += (size_t)n;
        else
            turns(1);
    }
}

static void what_the_socket_does_not_take_comes_later(void **state)
{
    (void)state;
    char *data = numbers(), *read = malloc(LARGE);
    fill(data);
    turns(3);
    size_t before = transport_unwritten(ours);
    assert_true(before > LARGE / 2);
    assert_true(transport_held(ours) > 0);
    drain(read, LARGE / 2);
    turns(3);
    assert_true(transport_unwritten(ours) < before);
    assert_int_equal(written, 0);
    drain(read + LARGE / 2, LARGE / 2);
    turns(3);
    assert_int_equal(written, 1);
    assert_int_equal(transport_unwritten(ours), 0);
    assert_int_equal(transport_held(ours), 0);
    assert_memory_equal(read, data, LARGE);
    free(data);
    free(read);
}

static void its_end_is_told(void **state)
{
    (void)state;
    send_frames((size_t[]){10}, 1);
    assert_int_equal(transport_shutdown(ours), 0);
    turns(3);
    assert_true(shut);
    expect_record(10);
    expect_record(-SSL_ERROR_ZERO_RETURN);
}

static void the_peer_tells_its_end(void **state)
{
    (void)state;
    SSL_write(peer, "last", 4);
    SSL_shutdown(peer);
    turns(3);
    assert_int_equal(got.len, 4);
    assert_true(ended);
    assert_int_equal(end_status, UV_EOF);
}

static void the_peer_just_ends(void **state)
{
    (void)state;
    SSL_write(peer, "last", 4);
    shutdown(peer_fd, SHUT_WR);
    turns(3);
    assert_int_equal(got.len, 4);
    assert_int_equal(end_status, UV_EOF);
}

static void a_broken_record_ends_it(void **state)
{
    (void)state;
    SSL_write(peer, "good", 4);
    assert_int_equal(send(peer_fd, "\x17\x03\x03\x00\x05wrong", 10, 0), 10);
    turns(3);
    assert_int_equal(got.len, 4);
    assert_true(ended);
    assert_int_equal(end_status, UV_EPROTO);
    uv_buf_t buf = uv_buf_init((char *)"x", 1);
    assert_true(transport_try_write(ours, &buf, 1) < 0);
    expect_record(-SSL_ERROR_SSL); /* the alert */
}

/* Announcements are answered; who never reads the answers may not pile them up. */
static void answers_to_a_deaf_peer_are_bounded(void **state)
{
    (void)state;
    char *data = numbers();
    fill(data);
    for (int i = 0; i < 2000 && !ended; i++) {
        ERR_clear_error();
        SSL_key_update(peer, SSL_KEY_UPDATE_REQUESTED);
        SSL_write(peer, "x", 1);
        turns(1);
    }
    assert_true(ended);
    assert_int_equal(end_status, UV_ENOBUFS);
    free(data);
}

/* What the peer writes from here on is kept, and sent in one piece. */
static BIO *collect(void)
{
    BIO *records = BIO_new(BIO_s_mem());
    SSL_set0_wbio(peer, records);
    return records;
}

static void send_collected(BIO *records)
{
    char *data;
    long len = BIO_get_mem_data(records, &data);
    assert_true(len > TRANSPORT_READ_MAX);
    assert_int_equal(send(peer_fd, data, (size_t)len, 0), len);
}

static void work_in_small_records_is_seen(void **state)
{
    (void)state;
    BIO *records = collect();
    for (int i = 0; i < 200; i++)
        assert_int_equal(
            SSL_write(
                peer,
                "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                80),
            80);
    busy_ns = 10000;
    send_collected(records);
    turns(1);
    assert_true(busy > 0);
}

static void work_without_data_is_seen(void **state)
{
    (void)state;
    BIO *records = collect();
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(SSL_key_update(peer, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(peer), 1);
    }
    send_collected(records);
    turns(1);
    assert_true(busy > 0);
    assert_int_equal(got.len, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(small_frames_share_a_record),
        TEST(large_frames_have_their_own),
        TEST(no_record_is_too_long),
        TEST(what_the_socket_does_not_take_comes_later),
        TEST(its_end_is_told),
        TEST(the_peer_tells_its_end),
        TEST(the_peer_just_ends),
        TEST(a_broken_record_ends_it),
        TEST(answers_to_a_deaf_peer_are_bounded),
        TEST(work_in_small_records_is_seen),
        TEST(work_without_data_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
