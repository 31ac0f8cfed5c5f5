#include "secure.h"

#include "base/check.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>

static SSL_CTX *context;

/* libssl writes without MSG_NOSIGNAL. */
static void make_context(void)
{
    signal(SIGPIPE, SIG_IGN);
    context = SSL_CTX_new(TLS_client_method());
    CHECK(context);
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, 1);
}

struct ssl_st *secure_new(int fd)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_context);
    SSL *tls = SSL_new(context);
    CHECK(tls && SSL_set_fd(tls, fd) == 1);
    SSL_set_connect_state(tls);
    return tls;
}

void secure_free(struct ssl_st *tls)
{
    SSL_free(tls);
}

int secure_shake(struct ssl_st *tls)
{
    ERR_clear_error();
    switch (SSL_get_error(tls, SSL_do_handshake(tls))) {
    case SSL_ERROR_NONE:
        return 0;
    case SSL_ERROR_WANT_READ:
        return EPOLLIN;
    case SSL_ERROR_WANT_WRITE:
        return EPOLLOUT;
    default:
        return -1;
    }
}

/* What recv(2) and send(2) return. */
static ssize_t explain(SSL *tls, int status)
{
    int error = SSL_get_error(tls, status);
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        errno = EAGAIN;
    else if (error != SSL_ERROR_SYSCALL || errno == 0)
        errno = EPROTO;
    return -1;
}

ssize_t secure_send(struct ssl_st *tls, const char *data, size_t len)
{
    size_t done;
    ERR_clear_error();
    errno = 0;
    int status = SSL_write_ex(tls, data, len, &done);
    return status == 1 ? (ssize_t)done : explain(tls, status);
}

/* A record at a time, as far as they are there. */
ssize_t secure_receive(struct ssl_st *tls, char *data, size_t len)
{
    size_t done = 0, n;
    int status = 1;
    ERR_clear_error();
    errno = 0;
    while (done < len && (status = SSL_read_ex(tls, data + done, len - done, &n)) == 1)
        done += n;
    return done > 0 ? (ssize_t)done : explain(tls, status);
}
