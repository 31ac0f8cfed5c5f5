#include "config/config_tls.h"

#include "base/mem.h"
#include "config/config_path.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

enum {
    TICKETS = 1, /* for each handshake: it keeps nothing here, the client may come back */
    TICKET_LIFE_S = 60 * 60,
};

static const yaml_mark_t *place_of(const struct config_reader *reader, char *const *field)
{
    return config_reader_place(reader, field);
}

/* ---- paths ---- */

static void resolve(struct config_reader *reader, const char *base, const char *name, char **field)
{
    if (!**field)
        return;
    struct buf tried = {0};
    char *found = config_path_find(base, *field, &tried);
    if (found) {
        free(*field);
        *field = found;
    } else {
        config_reader_error(reader, place_of(reader, field),
                            "%s cannot be read; looked for %s; correct the path", name, tried.data);
    }
    buf_free(&tried);
}

static void check_pair(struct config_reader *reader, const struct config_tls *tls)
{
    if (*tls->cert && !*tls->key)
        config_reader_error(reader, place_of(reader, &tls->cert),
                            "cert without key: name the file with its private key");
    else if (*tls->key && !*tls->cert)
        config_reader_error(reader, place_of(reader, &tls->key),
                            "key without cert: name the file with the certificate");
    else if (*tls->client_ca && !*tls->cert)
        config_reader_error(
            reader, place_of(reader, &tls->client_ca),
            "clientCA without cert: no client is asked for a certificate where there "
            "is no TLS; add cert and key");
}

void config_tls_resolve(struct config_reader *reader, const char *base, struct config_tls *tls)
{
    check_pair(reader, tls);
    resolve(reader, base, "cert", &tls->cert);
    resolve(reader, base, "key", &tls->key);
    resolve(reader, base, "clientCA", &tls->client_ca);
}

/* ---- files ---- */

static void refuse(struct config_reader *reader, char *const *field, const char *what)
{
    unsigned long code = ERR_peek_error();
    const char *why = code ? ERR_reason_error_string(code) : NULL;
    config_reader_error(reader, place_of(reader, field), "%s %s: %s", *field, what,
                        why ? why : "no more is known");
    ERR_clear_error();
}

/* Nobody is there to be asked. */
static int on_passphrase(char *out, int size, int for_writing, void *asked)
{
    (void)out;
    (void)size;
    (void)for_writing;
    if (asked)
        *(bool *)asked = true;
    return 0;
}

static bool load_certificate(struct config_reader *reader, SSL_CTX *ctx, struct config_tls *tls)
{
    if (SSL_CTX_use_certificate_chain_file(ctx, tls->cert) == 1)
        return true;
    refuse(reader, &tls->cert, "is no usable certificate (PEM, the server's first)");
    return false;
}

static bool load_key(struct config_reader *reader, SSL_CTX *ctx, struct config_tls *tls)
{
    bool asked = false;
    SSL_CTX_set_default_passwd_cb_userdata(ctx, &asked);
    bool loaded = SSL_CTX_use_PrivateKey_file(ctx, tls->key, SSL_FILETYPE_PEM) == 1;
    int reason = ERR_GET_REASON(ERR_peek_last_error());
    bool other = loaded
                     ? SSL_CTX_check_private_key(ctx) != 1
                     : reason == X509_R_KEY_VALUES_MISMATCH || reason == X509_R_KEY_TYPE_MISMATCH;
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    if (loaded && !other)
        return true;
    if (other)
        config_reader_error(reader, place_of(reader, &tls->key),
                            "the key in %s does not fit the certificate in %s", tls->key,
                            tls->cert);
    else if (asked)
        config_reader_error(reader, place_of(reader, &tls->key),
                            "the key in %s is encrypted; store it without a passphrase, readable "
                            "for this user alone",
                            tls->key);
    else
        refuse(reader, &tls->key, "is no usable private key (PEM)");
    ERR_clear_error();
    return false;
}

/* Whom the certificates of clients must come from. Such a client shows its certificate each time:
 * a ticket would outlive it. */
static bool load_client_ca(struct config_reader *reader, SSL_CTX *ctx, struct config_tls *tls)
{
    if (!*tls->client_ca)
        return true;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(tls->client_ca);
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, 0);
    /* What is named there is believed, be it a root or not. */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    if (names && SSL_CTX_load_verify_file(ctx, tls->client_ca) == 1)
        return true;
    refuse(reader, &tls->client_ca, "holds no usable certificates (PEM)");
    return false;
}

static void print_time(const ASN1_TIME *time, char *out, size_t size)
{
    struct tm at;
    if (ASN1_TIME_to_tm(time, &at) != 1 || strftime(out, size, "%Y-%m-%d %H:%M:%S UTC", &at) == 0)
        snprintf(out, size, "an unknown time");
}

static void warn_of_time(struct config_reader *reader, const SSL_CTX *ctx,
                         const struct config_tls *tls)
{
    const X509 *cert = SSL_CTX_get0_certificate(ctx);
    char at[64];
    if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0) {
        print_time(X509_get0_notAfter(cert), at, sizeof at);
        config_reader_warn(reader, place_of(reader, &tls->cert),
                           "the certificate in %s has expired on %s; clients will refuse it",
                           tls->cert, at);
    } else if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0) {
        print_time(X509_get0_notBefore(cert), at, sizeof at);
        config_reader_warn(reader, place_of(reader, &tls->cert),
                           "the certificate in %s is not valid before %s; clients will refuse it",
                           tls->cert, at);
    }
}

/* ---- the context ---- */

/* All that is spoken here is HTTP/1.1 and what it is upgraded to, or a script's own protocol: a
 * client that names protocols of which none is http/1.1 goes without. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *data)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    (void)ssl;
    (void)data;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *new_context(enum config_tls_version least)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        return NULL;
    SSL_CTX_set_min_proto_version(ctx, least == CONFIG_TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ctx, TICKET_LIFE_S);
    SSL_CTX_set_num_tickets(ctx, TICKETS);
    SSL_CTX_set_default_passwd_cb(ctx, on_passphrase);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    return ctx;
}

void config_tls_load(struct config_reader *reader, struct config_tls *tls)
{
    if (!*tls->cert)
        return;
    ERR_clear_error();
    SSL_CTX *ctx = new_context(tls->min_version);
    if (!ctx) {
        refuse(reader, &tls->cert, "cannot be used, as OpenSSL does not start");
    } else if (load_certificate(reader, ctx, tls) && load_key(reader, ctx, tls) &&
               load_client_ca(reader, ctx, tls)) {
        warn_of_time(reader, ctx, tls);
        tls->context = ctx;
    } else {
        SSL_CTX_free(ctx);
    }
}

void config_tls_fini(struct config_tls *tls)
{
    SSL_CTX_free(tls->context);
    tls->context = NULL;
}
