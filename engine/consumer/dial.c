#include "consumer/dial.h"
#include "base/check.h"
#include "base/mem.h"
#include "consumer/private.h"
#include "consumer/trust.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOST_HEADER_MAX = 118 }; /* libwebsockets cuts a Host header that is longer */

struct lookup {
    uv_getaddrinfo_t request;
    struct dial *dial; /* NULL when it was given up */
};

static bool read_port(const char *text, int *port)
{
    char *end;
    long number = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || number < 1 || number > 65535)
        return false;
    *port = (int)number;
    return true;
}

static bool is_host(const char *text)
{
    return *text && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                 "-._:") == strlen(text);
}

bool address_parse(struct address *address, const char *text)
{
    const char *colon = strrchr(text, ':');
    size_t len = strlen(text);
    if (!colon || len > ADDRESS_MAX || !read_port(colon + 1, &address->port))
        return false;
    memcpy(address->text, text, len + 1);
    bool bracketed = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
    size_t host = (size_t)(colon - text) - (bracketed ? 2 : 0);
    memcpy(address->host, text + (bracketed ? 1 : 0), host);
    address->host[host] = '\0';
    return is_host(address->host);
}

static void add_host(struct dial *dial, const struct sockaddr *address)
{
    char *host = dial->hosts[dial->count];
    if (dial->count < DIAL_HOSTS_MAX && uv_ip_name(address, host, INET6_ADDRSTRLEN) == 0)
        dial->count++;
}

static void on_lookup(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct lookup *lookup = container_of(request, struct lookup, request);
    struct dial *dial = lookup->dial;
    if (dial) {
        dial->lookup = NULL;
        dial->error = status;
        for (struct addrinfo *each = found; each; each = each->ai_next)
            add_host(dial, each->ai_addr);
        consumer_wake(dial->consumer);
    }
    uv_freeaddrinfo(found);
    free(lookup);
}

static bool is_numeric(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

void dial_start(struct dial *dial)
{
    CHECK(!dial->lookup);
    dial->count = dial->next = 0;
    dial->error = 0;
    if (is_numeric(dial->address.host)) {
        strcpy(dial->hosts[dial->count++], dial->address.host);
        return;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct lookup *lookup = xcalloc(1, sizeof *lookup);
    lookup->dial = dial;
    dial->error = uv_getaddrinfo(dial->consumer->loop, &lookup->request, on_lookup,
                                 dial->address.host, NULL, &hints);
    if (dial->error)
        free(lookup);
    else
        dial->lookup = lookup;
}

bool dial_busy(const struct dial *dial)
{
    return dial->lookup != NULL;
}

/* A look-up that runs cannot be stopped: it is forgotten, and frees itself. */
void dial_stop(struct dial *dial)
{
    if (!dial->lookup)
        return;
    dial->lookup->dial = NULL;
    uv_cancel((uv_req_t *)&dial->lookup->request);
    dial->lookup = NULL;
}

bool dial_has_next(const struct dial *dial)
{
    return dial->next < dial->count;
}

static const char *host_header(const struct dial *dial, const char *numeric)
{
    return strlen(dial->address.text) <= HOST_HEADER_MAX ? dial->address.text : numeric;
}

/* Credentials go to nobody else: redirects are not followed, and dial_greet looks at the name. */
static int flags(const struct dial *dial)
{
    int tls = LCCSCF_USE_SSL | LCCSCF_SKIP_SERVER_CERT_HOSTNAME_CHECK;
    return LCCSCF_HTTP_NO_FOLLOW_REDIRECT | (dial->consumer->trust ? tls : 0);
}

struct lws *dial_connect(struct dial *dial, const char *protocol, const char *method,
                         const char *path, void *user)
{
    CHECK(dial_has_next(dial));
    const char *numeric = dial->hosts[dial->next++];
    dial->greeted = false;
    struct lws_client_connect_info info = {
        .context = dial->consumer->lws,
        .vhost = dial->consumer->vhost,
        .address = numeric,
        .port = dial->address.port,
        .ssl_connection = flags(dial),
        .path = path,
        .host = host_header(dial, numeric),
        .alpn = "http/1.1",
        .method = method,
        .local_protocol_name = protocol,
        .userdata = user,
        .ietf_version_or_minus_one = -1,
        .retry_and_idle_policy = &consumer_no_idle_policy,
    };
    return lws_client_connect_via_info(&info);
}

static bool is_trusted(const struct dial *dial, struct lws *wsi, char why[DIAL_WHY_MAX])
{
    const char *missing = trust_missing(wsi, dial->address.host);
    if (missing)
        snprintf(why, DIAL_WHY_MAX, "its certificate is not trusted: %s", missing);
    return !missing;
}

int dial_greet(struct dial *dial, struct lws *wsi, void *in, size_t len, char why[DIAL_WHY_MAX])
{
    dial->greeted = is_trusted(dial, wsi, why) && consumer_authorize(dial->consumer, in, len) == 0;
    return dial->greeted ? 0 : -1;
}

void dial_explain(const struct dial *dial, struct lws *wsi, const char *in, size_t len,
                  char why[DIAL_WHY_MAX])
{
    if (is_trusted(dial, wsi, why))
        snprintf(why, DIAL_WHY_MAX, "%s: %.*s", dial->greeted ? "no good answer" : "cannot connect",
                 (int)len, in ? in : "");
}
