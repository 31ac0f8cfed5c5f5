#include "net/transport_tls.h"
#include "base/check.h"
#include "base/mem.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    RECORD_BYTES = 16 * 1024, /* the most that TLS has */
    /* of records; then they are written. One more may come on top. */
    STEP_BYTES = TRANSPORT_BEGUN_MAX - RECORD_BYTES,
    SMALL_BYTES = 2 * 1024,    /* a frame from here on is no other's neighbour in a record */
    ANSWERS_BYTES = 16 * 1024, /* of TLS' own, that wait: a peer that asks and does not listen */
};

/* Bytes that are to be encrypted. */
struct plain {
    const uv_buf_t *bufs;
    unsigned count;
    size_t offset; /* in the first */
};

/* What waits for the socket; there while something does. */
struct stuck {
    struct buf sending; /* the TCP transport has it; empty: it has nothing */
    struct buf answers; /* TLS' own records behind it */
    struct plain plain; /* and then this */
    bool asked;         /* on_written is due */
    uv_buf_t bufs[];    /* plain's */
};

struct transport_tls {
    struct transport transport;
    struct transport *below;
    struct tls_io *io;
    SSL *ssl;
    const char *in; /* read and not decrypted: during on_bytes only */
    size_t in_len;
    size_t begun; /* bytes of the write to come that are encrypted already */
    struct stuck *stuck;
    bool ended;    /* the peer sends no more */
    bool failed;   /* nothing more can be encrypted */
    bool shutting; /* when nothing is stuck any more */
    bool closed;
};

static struct transport_tls *self(const struct transport *t)
{
    return container_of((struct transport *)t, struct transport_tls, transport);
}

/* -- what libssl reads from and writes to -- */

static int on_bio_read(BIO *bio, char *out, int size)
{
    struct transport_tls *tls = BIO_get_data(bio);
    size_t len = tls->in_len < (size_t)size ? tls->in_len : (size_t)size;
    BIO_clear_retry_flags(bio);
    if (len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(out, tls->in, len);
    tls->in += len;
    tls->in_len -= len;
    return (int)len;
}

static int on_bio_write(BIO *bio, const char *data, int len)
{
    struct transport_tls *tls = BIO_get_data(bio);
    buf_append(&tls->io->out, data, (size_t)len);
    return len;
}

static long on_bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "transport");
    CHECK(method && BIO_meth_set_read(method, on_bio_read) &&
          BIO_meth_set_write(method, on_bio_write) && BIO_meth_set_ctrl(method, on_bio_control));
}

static BIO *new_bio(struct transport_tls *tls)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_method);
    BIO *bio = BIO_new(method);
    CHECK(bio);
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    return bio;
}

/* -- encrypting -- */

static void plain_skip(struct plain *plain, size_t len)
{
    plain->offset += len;
    while (plain->count > 0 && plain->offset >= plain->bufs->len) {
        plain->offset -= plain->bufs->len;
        plain->bufs++;
        plain->count--;
    }
}

static size_t plain_left(const struct plain *plain)
{
    size_t left = 0;
    for (unsigned i = 0; i < plain->count; i++)
        left += plain->bufs[i].len;
    return left - plain->offset;
}

/* Of the first frame. */
static size_t plain_first(const struct plain *plain, const char **data)
{
    *data = plain->bufs->base + plain->offset;
    return plain->bufs->len - plain->offset;
}

/* What goes into the next record: of one frame, or small ones together. */
static size_t take_record(struct tls_io *io, struct plain *plain, const char **data)
{
    size_t len = plain_first(plain, data);
    if (len >= SMALL_BYTES || plain->count == 1) {
        len = len < RECORD_BYTES ? len : RECORD_BYTES;
        plain_skip(plain, len);
        return len;
    }
    const char *next;
    size_t gathered = 0;
    while (plain->count > 0) {
        len = plain_first(plain, &next);
        if (len >= SMALL_BYTES || gathered + len > RECORD_BYTES)
            break;
        memcpy(io->gathered + gathered, next, len);
        gathered += len;
        plain_skip(plain, len);
    }
    *data = io->gathered;
    return gathered;
}

/* The loop's buffer is for the next connection as if nothing had been. */
static int fail(struct transport_tls *tls)
{
    tls->failed = true;
    tls->io->out.len = 0;
    return UV_EPROTO;
}

/* The next step; how much of `plain` it is, or a negative code. */
static ssize_t encrypt(struct transport_tls *tls, struct plain *plain)
{
    ssize_t total = 0;
    CHECK(tls->io->out.len == 0);
    ERR_clear_error();
    while (plain->count > 0 && tls->io->out.len < STEP_BYTES) {
        const char *data;
        size_t len = take_record(tls->io, plain, &data);
        if (tls->failed || SSL_write(tls->ssl, data, (int)len) != (int)len)
            return fail(tls);
        total += (ssize_t)len;
    }
    return total;
}

/* -- sending -- */

static void stuck_free(struct stuck *stuck)
{
    buf_free(&stuck->sending);
    buf_free(&stuck->answers);
    free(stuck);
}

/* `rest` is what the socket has not taken. */
static int send_later(struct transport_tls *tls, const char *rest, size_t len)
{
    if (!tls->stuck)
        tls->stuck = xcalloc(1, sizeof *tls->stuck);
    struct buf *sending = &tls->stuck->sending;
    buf_append(sending, rest, len);
    uv_buf_t buf = uv_buf_init(sending->data, (unsigned)sending->len);
    return transport_write(tls->below, &buf, 1);
}

static int send_behind(struct transport_tls *tls)
{
    struct buf *answers = &tls->stuck->answers, *out = &tls->io->out;
    if (answers->len + out->len > ANSWERS_BYTES)
        return UV_ENOBUFS;
    buf_append(answers, out->data, out->len);
    return 0;
}

static bool is_sending(const struct transport_tls *tls)
{
    return tls->stuck && tls->stuck->sending.len > 0;
}

static int send_out(struct transport_tls *tls)
{
    struct buf *out = &tls->io->out;
    int status = 0;
    if (out->len == 0)
        return 0;
    if (is_sending(tls)) {
        status = send_behind(tls);
    } else {
        uv_buf_t buf = uv_buf_init(out->data, (unsigned)out->len);
        ssize_t n = transport_try_write(tls->below, &buf, 1);
        size_t sent = n > 0 ? (size_t)n : 0;
        if (n < 0 && n != UV_EAGAIN)
            status = (int)n;
        else if (sent < out->len)
            status = send_later(tls, out->data + sent, out->len - sent);
    }
    out->len = 0;
    return status;
}

static void finish_shutdown(struct transport_tls *tls)
{
    if (transport_shutdown(tls->below) != 0)
        tls->transport.events->on_shutdown(tls->transport.owner);
}

/* Nothing waits any more, or what waits cannot go out. */
static void unstick(struct transport_tls *tls, int status)
{
    bool asked = tls->stuck->asked;
    stuck_free(tls->stuck);
    tls->stuck = NULL;
    if (asked)
        tls->transport.events->on_written(tls->transport.owner, status);
    else if (tls->shutting)
        finish_shutdown(tls);
}

/* Sends on until the socket is full again. */
static void send_on(struct transport_tls *tls)
{
    struct stuck *stuck = tls->stuck;
    if (stuck->answers.len > 0)
        buf_append(&tls->io->out, stuck->answers.data, stuck->answers.len);
    buf_free(&stuck->answers);
    int status = send_out(tls);
    while (status == 0 && !is_sending(tls) && stuck->plain.count > 0) {
        ssize_t n = encrypt(tls, &stuck->plain);
        status = n < 0 ? (int)n : send_out(tls);
    }
    if (status != 0 || !is_sending(tls))
        unstick(tls, status);
}

static void on_written(void *owner, int status)
{
    struct transport_tls *tls = owner;
    if (tls->closed)
        return;
    buf_free(&tls->stuck->sending);
    if (status == 0)
        send_on(tls);
    else
        unstick(tls, status);
}

/* -- the transport's writes -- */

static ssize_t try_write(struct transport *t, const uv_buf_t *bufs, unsigned count)
{
    struct transport_tls *tls = self(t);
    struct plain plain = {bufs, count, 0};
    size_t written = 0;
    if (tls->stuck)
        return UV_EAGAIN;
    while (plain.count > 0) {
        ssize_t n = encrypt(tls, &plain);
        int status = n < 0 ? (int)n : send_out(tls);
        if (status != 0)
            return status;
        if (tls->stuck) {
            tls->begun = (size_t)n;
            break;
        }
        written += (size_t)n;
    }
    return (ssize_t)written;
}

static int write_all(struct transport *t, const uv_buf_t *bufs, unsigned count)
{
    struct transport_tls *tls = self(t);
    CHECK(tls->stuck && !tls->stuck->asked);
    struct stuck *stuck = tls->stuck =
        xrealloc(tls->stuck, sizeof *stuck + count * sizeof *stuck->bufs);
    memcpy(stuck->bufs, bufs, count * sizeof *bufs);
    stuck->plain = (struct plain){stuck->bufs, count, 0};
    CHECK(tls->begun <= plain_left(&stuck->plain));
    plain_skip(&stuck->plain, tls->begun);
    stuck->asked = true;
    tls->begun = 0;
    return 0;
}

static size_t unwritten(const struct transport *t)
{
    const struct transport_tls *tls = self(t);
    const struct stuck *stuck = tls->stuck;
    return transport_unwritten(tls->below) +
           (stuck ? stuck->answers.len + plain_left(&stuck->plain) : 0);
}

static size_t held(const struct transport *t)
{
    const struct stuck *stuck = self(t)->stuck;
    return stuck ? stuck->sending.cap + stuck->answers.cap : 0;
}

static int shut_down(struct transport *t)
{
    struct transport_tls *tls = self(t);
    ERR_clear_error();
    if (!tls->failed)
        SSL_shutdown(tls->ssl);
    int status = send_out(tls);
    tls->shutting = true;
    return status != 0 || tls->stuck ? status : transport_shutdown(tls->below);
}

/* -- reading -- */

static uv_buf_t on_room(void *owner)
{
    struct transport_tls *tls = owner;
    struct transport *t = &tls->transport;
    return uv_buf_init(tls->io->read, (unsigned)t->events->on_room(t->owner).len);
}

static void end(struct transport_tls *tls, int status)
{
    if (tls->ended || tls->closed)
        return;
    tls->ended = true;
    tls->transport.events->on_end(tls->transport.owner, status);
}

/* False when there is no more for now. */
static bool decrypt(struct transport_tls *tls)
{
    struct transport *t = &tls->transport;
    char *room = t->events->on_room(t->owner).base; /* a record has to go in */
    ERR_clear_error();
    int n = SSL_read(tls->ssl, room, TRANSPORT_READ_MAX);
    int error = n > 0 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, n);
    tls->failed |= error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL;
    int status = send_out(tls); /* an alert, or a new key's announcement */
    if (n > 0)
        t->events->on_bytes(t->owner, room, (size_t)n);
    else if (error == SSL_ERROR_ZERO_RETURN)
        end(tls, UV_EOF);
    else if (tls->failed)
        end(tls, UV_EPROTO);
    if (status != 0)
        end(tls, status);
    return n > 0 && tls->in_len > 0 && !tls->ended && !tls->closed;
}

static void on_bytes(void *owner, const char *data, size_t len)
{
    struct transport_tls *tls = owner;
    tls->in = data;
    tls->in_len = tls->ended ? 0 : len;
    while (tls->in_len > 0 && decrypt(tls))
        continue;
    tls->in_len = 0;
}

static void on_full(void *owner, uint64_t took_ns)
{
    struct transport_tls *tls = owner;
    tls->transport.events->on_full(tls->transport.owner, took_ns);
}

/* An end without TLS' own is an end all the same: whatever came before it is the peer's. */
static void on_end(void *owner, int status)
{
    end(owner, status);
}

static int read_start(struct transport *t)
{
    return transport_read_start(self(t)->below);
}

static void read_stop(struct transport *t)
{
    transport_read_stop(self(t)->below);
}

static bool hung_up(struct transport *t, bool *reset)
{
    return transport_hung_up(self(t)->below, reset);
}

/* -- the end -- */

static void on_shutdown(void *owner)
{
    struct transport_tls *tls = owner;
    tls->transport.events->on_shutdown(tls->transport.owner);
}

static void close_now(struct transport *t)
{
    self(t)->closed = true;
    transport_close(self(t)->below);
}

static void on_closed(void *owner)
{
    struct transport_tls *tls = owner;
    const struct transport t = tls->transport;
    SSL_free(tls->ssl);
    if (tls->stuck)
        stuck_free(tls->stuck);
    free(tls);
    t.events->on_closed(t.owner);
}

static const struct transport_ops tls_ops = {
    .read_start = read_start,
    .read_stop = read_stop,
    .try_write = try_write,
    .write = write_all,
    .unwritten = unwritten,
    .held = held,
    .shutdown = shut_down,
    .hung_up = hung_up,
    .close = close_now,
};

static const struct transport_events tcp_events = {
    .on_room = on_room,
    .on_bytes = on_bytes,
    .on_full = on_full,
    .on_end = on_end,
    .on_written = on_written,
    .on_shutdown = on_shutdown,
    .on_closed = on_closed,
};

struct transport *transport_tls_open(struct tls_io *io, struct ssl_st *ssl,
                                     struct transport_tcp *tcp, uv_loop_t *loop, int fd,
                                     const struct transport_events *events, void *owner)
{
    struct transport_tls *tls = xcalloc(1, sizeof *tls);
    tls->transport = (struct transport){&tls_ops, events, owner};
    tls->below = &tcp->transport;
    tls->io = io;
    tls->ssl = ssl;
    BIO *bio = new_bio(tls);
    SSL_set_bio(ssl, bio, bio);
    if (!io->read) {
        io->read = xmalloc(TRANSPORT_READ_MAX);
        io->gathered = xmalloc(RECORD_BYTES);
    }
    transport_tcp_open(tcp, loop, fd, &tcp_events, tls);
    return &tls->transport;
}

void tls_io_fini(struct tls_io *io)
{
    free(io->read);
    free(io->gathered);
    buf_free(&io->out);
}
