#include "api/secure.h"
#include "base/check.h"
#include <openssl/ssl.h>
#include <string.h>

/* What no host name is, so that nobody chooses the vhost by its name. */
static const char CENTER_NAME[] = "center api", ENGINE_NAME[] = "engine api";

/* Places with libssl: in a vhost's context, and in a connection whose hands are not shaken yet.
 * What is there is the api. */
static int place_in_context = -1, place_in_shaking = -1;

static const struct config_tls *center_tls(const struct api *api)
{
    return &api->options.config->center_api.listen.tls;
}

static const struct config_tls *engine_tls(const struct api *api)
{
    return &api->options.config->engine_api.listen.tls;
}

/* Before anything is decided. What SSL_set_SSL_CTX does not bring along is asked of the
 * configuration's context. */
static int use(SSL *ssl, int *alert, const struct config_tls *tls)
{
    SSL_CTX *context = tls->context;
    *alert = SSL_AD_INTERNAL_ERROR;
    if (!context || !SSL_set_SSL_CTX(ssl, context))
        return SSL_CLIENT_HELLO_ERROR;
    SSL_set_options(ssl, SSL_CTX_get_options(context));
    SSL_set_verify(ssl, SSL_CTX_get_verify_mode(context), NULL);
    X509_VERIFY_PARAM_set_flags(SSL_get0_param(ssl),
                                X509_VERIFY_PARAM_get_flags(SSL_CTX_get0_param(context)));
    SSL_set_min_proto_version(ssl, (int)SSL_CTX_get_min_proto_version(context));
    return SSL_CLIENT_HELLO_SUCCESS;
}

static int on_center_hello(SSL *ssl, int *alert, void *api)
{
    return use(ssl, alert, center_tls(api));
}

static int on_engine_hello(SSL *ssl, int *alert, void *api)
{
    return use(ssl, alert, engine_tls(api));
}

/* Also for those of others, of any thread, in which there is nothing. */
static void on_free(void *ssl, void *shaking, CRYPTO_EX_DATA *data, int place, long number,
                    void *pointer)
{
    struct api *api = shaking;
    (void)ssl, (void)data, (void)place, (void)number, (void)pointer;
    if (api)
        api->tls_failures++;
}

/* The context is the vhost's until the client's first message has come. */
static void on_progress(const SSL *ssl, int where, int status)
{
    SSL *mine = (SSL *)ssl;
    (void)status;
    if (where & SSL_CB_HANDSHAKE_START) {
        void *api = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), place_in_context);
        CHECK(SSL_set_ex_data(mine, place_in_shaking, api) == 1);
        SSL_set_info_callback(mine, on_progress);
    } else if (where & SSL_CB_HANDSHAKE_DONE) {
        struct api *api = SSL_get_ex_data(ssl, place_in_shaking);
        CHECK(SSL_set_ex_data(mine, place_in_shaking, NULL) == 1);
        if (api)
            api->tls_handshakes++;
    }
}

static void find_places(void)
{
    if (place_in_context >= 0)
        return;
    place_in_context = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    place_in_shaking = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_free);
    CHECK(place_in_context >= 0 && place_in_shaking >= 0);
}

void secure_on_context(struct api *api, struct ssl_ctx_st *context, const struct lws_vhost *vhost)
{
    bool center = strcmp(lws_get_vhost_name((struct lws_vhost *)vhost), CENTER_NAME) == 0;
    CHECK(SSL_CTX_set_ex_data(context, place_in_context, api) == 1);
    SSL_CTX_set_info_callback(context, on_progress);
    SSL_CTX_set_client_hello_cb(context, center ? on_center_hello : on_engine_hello, api);
    /* libwebsockets' own goes by the server's name to whichever vhost it finds first. */
    SSL_CTX_set_tlsext_servername_callback(context, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    /* Their keys would be the vhost's, which never change. */
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
}

static struct lws_vhost *open_vhost(struct api *api, const struct lws_context_creation_info *info,
                                    const char *name)
{
    struct lws_context_creation_info own = *info;
    own.vhost_name = name;
    own.options |= LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX;
    own.alpn = "http/1.1";
    struct lws_vhost *vhost = lws_create_vhost(api->lws, &own);
    CHECK(vhost != NULL);
    return vhost;
}

void secure_open(struct api *api, const struct lws_context_creation_info *info)
{
    find_places();
    api->center_vhost = open_vhost(api, info, CENTER_NAME);
    api->engine_vhost = open_vhost(api, info, ENGINE_NAME);
}

struct lws_vhost *secure_vhost(const struct api *api, const struct listener *listener)
{
    bool center = listener == &api->center;
    const struct config_tls *tls = center ? center_tls(api) : engine_tls(api);
    if (!tls->context)
        return NULL;
    return center ? api->center_vhost : api->engine_vhost;
}
