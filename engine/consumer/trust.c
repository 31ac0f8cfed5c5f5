#include "consumer/trust.h"
#include <libwebsockets.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

/* An encrypted key is refused: nobody is there to be asked. */
static int on_passphrase(char *out, int size, int for_writing, void *unused)
{
    (void)out;
    (void)size;
    (void)for_writing;
    (void)unused;
    return 0;
}

static bool show(SSL_CTX *ctx, const char *cert, const char *key)
{
    return SSL_CTX_use_certificate_chain_file(ctx, cert) == 1 &&
           SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1;
}

static bool set_up(SSL_CTX *ctx, const struct mix_consumer_options *options)
{
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_default_passwd_cb(ctx, on_passphrase);
    /* What `ca` names is believed, be it a root or not. */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    return options->ca && SSL_CTX_load_verify_file(ctx, options->ca) == 1 &&
           !options->cert == !options->key &&
           (!options->cert || show(ctx, options->cert, options->key));
}

bool trust_is_asked(const struct mix_consumer_options *options)
{
    return options->ca || options->cert || options->key;
}

struct ssl_ctx_st *trust_new(const struct mix_consumer_options *options)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx && set_up(ctx, options))
        return ctx;
    ERR_clear_error();
    SSL_CTX_free(ctx);
    return NULL;
}

void trust_free(struct ssl_ctx_st *trust)
{
    SSL_CTX_free(trust);
}

/* libwebsockets' own look does not know IPv6 addresses. */
static bool names(X509 *cert, const char *host)
{
    int found = X509_check_ip_asc(cert, host, 0);
    if (found == -2) /* it is no address */
        found = X509_check_host(cert, host, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL);
    return found == 1;
}

const char *trust_missing(struct lws *wsi, const char *host)
{
    SSL *ssl = lws_get_ssl(wsi);
    X509 *cert = ssl ? SSL_get0_peer_certificate(ssl) : NULL;
    long result = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
    if (result != X509_V_OK)
        return X509_verify_cert_error_string(result);
    return cert && !names(cert, host) ? "it is for another host" : NULL;
}
