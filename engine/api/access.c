#include "api/access.h"
#include "base/address.h"
#include "base/check.h"
#include "proto/base64.h"
#include <fnmatch.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

enum { DIGEST = 32 };

static void digest(const char *text, size_t len, unsigned char out[DIGEST])
{
    CHECK(EVP_Digest(text, len, out, NULL, EVP_sha256(), NULL) == 1);
}

/* Takes as long for any two texts, whatever their lengths: digests are compared. */
static bool same(const char *given, size_t len, const char *expected)
{
    unsigned char a[DIGEST], b[DIGEST];
    digest(given, len, a);
    digest(expected, strlen(expected), b);
    return CRYPTO_memcmp(a, b, DIGEST) == 0;
}

/* A whole address has many texts, and the peer's is the shortest; a pattern is text. */
static bool host_matches(const char *pattern, const char *peer)
{
    struct sockaddr_storage address;
    char host[ADDRESS_HOST];
    if (!pattern || !*pattern)
        return true;
    if (address_from_ip(&address, pattern, 0)) {
        address_host(&address, host);
        pattern = host;
    }
    return fnmatch(pattern, peer, FNM_NOESCAPE | FNM_CASEFOLD) == 0;
}

/* Looks at every user, so that the time taken does not tell which names exist. */
static int check_all(const struct config *config, const char *name, size_t name_len,
                     const char *password, size_t password_len, const char *peer,
                     enum access_role role)
{
    int status = 401;
    for (size_t i = 0; i < config->user_count; i++) {
        const struct config_user *user = &config->users[i];
        bool known = same(name, name_len, user->username);
        known &= same(password, password_len, user->password);
        if (!known || !host_matches(user->host, peer))
            continue;
        bool may = role == ACCESS_READ ? user->read : user->write;
        status = may || status == 0 ? 0 : 403;
    }
    return status;
}

int access_check(const struct config *config, const char *authorization, const char *peer,
                 enum access_role role)
{
    if (config->user_count == 0)
        return 0;
    if (!authorization || strncasecmp(authorization, "Basic ", 6) != 0)
        return 401;
    const char *token = authorization + 6 + strspn(authorization + 6, " ");
    struct blob *pair = base64_decode(token, strlen(token));
    const char *colon = pair ? memchr(pair->data, ':', pair->len) : NULL;
    int status = 401;
    if (colon) {
        size_t name_len = (size_t)(colon - pair->data);
        status = check_all(config, pair->data, name_len, colon + 1, pair->len - name_len - 1, peer,
                           role);
    }
    blob_unref(pair);
    return status;
}
