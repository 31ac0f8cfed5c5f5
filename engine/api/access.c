#include "api/access.h"
#include "base/address.h"
#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "config/config_password.h"
#include "proto/base64.h"
#include <crypt.h>
#include <fnmatch.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

enum { DIGEST = 32, RUNNING_MAX = 2 };

struct digest {
    unsigned char bytes[DIGEST];
};

/* A user, with what is compared to what is given. */
struct user {
    const struct config_user *config;
    struct digest name, password;
    struct digest line; /* of both */
    bool hashed;
};

/* What is known of a name and a password under a hash. */
struct result {
    struct list link; /* the one that was used last is the last */
    struct digest key, line;
    bool good;
};

/* A password that is held against one hash. */
struct job {
    uv_work_t work;
    struct access *access;
    struct list link; /* of what waits or runs */
    bool running;
    struct digest key, line;
    unsigned generation;
    char *password, *hash, *peer;
    bool good;
};

struct access {
    uv_loop_t *loop;
    void (*on_checked)(void *data);
    void *data;
    unsigned char secret[DIGEST]; /* of this process: digests mean nothing elsewhere */
    unsigned generation;          /* of the users */
    struct user *users;
    size_t user_count;
    struct list results, jobs;
    unsigned result_count, job_count, running;
    bool stopped;
};

/* What a request brings. */
struct credentials {
    struct blob *pair;
    const char *name, *password; /* in the pair; the password ends with a NUL */
    size_t name_len, password_len;
    struct digest name_digest, password_digest;
    const char *peer;
};

/* ---- digests ---- */

/* Of parts that are told apart by their lengths. */
static void add_part(EVP_MD_CTX *context, const void *data, size_t len)
{
    uint64_t length = len;
    CHECK(EVP_DigestUpdate(context, &length, sizeof length) == 1);
    CHECK(EVP_DigestUpdate(context, data, len) == 1);
}

static struct digest digest3(const struct access *access, const char *a, size_t a_len,
                             const char *b, size_t b_len, const char *c)
{
    struct digest out;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    CHECK(context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1);
    add_part(context, access->secret, sizeof access->secret);
    add_part(context, a, a_len);
    add_part(context, b, b_len);
    add_part(context, c, strlen(c));
    CHECK(EVP_DigestFinal_ex(context, out.bytes, NULL) == 1);
    EVP_MD_CTX_free(context);
    return out;
}

static struct digest digest(const struct access *access, const char *text, size_t len)
{
    return digest3(access, text, len, "", 0, "");
}

static bool same(const struct digest *a, const struct digest *b)
{
    return CRYPTO_memcmp(a->bytes, b->bytes, DIGEST) == 0;
}

/* Of a user's name and password as they stand in the file. */
static struct digest line_of(const struct access *access, const char *name, size_t name_len,
                             const char *password)
{
    return digest3(access, name, name_len, "", 0, password);
}

/* ---- what is known ---- */

static struct digest key_of(const struct access *access, const struct credentials *given,
                            const char *hash)
{
    return digest3(access, given->name, given->name_len, given->password, given->password_len,
                   hash);
}

static struct result *find_result(struct access *access, const struct digest *key)
{
    list_for_each(node, &access->results)
    {
        struct result *result = list_entry(node, struct result, link);
        if (!same(&result->key, key))
            continue;
        list_remove(&result->link);
        list_push_back(&access->results, &result->link);
        return result;
    }
    return NULL;
}

static void drop_result(struct access *access, struct result *result)
{
    list_remove(&result->link);
    free(result);
    access->result_count--;
}

static bool is_of_a_user(const struct access *access, const struct result *result)
{
    for (size_t i = 0; i < access->user_count; i++)
        if (same(&result->line, &access->users[i].line))
            return true;
    return false;
}

/* Connections that are kept alive must not be refused because some other user has changed. */
static void drop_stale_results(struct access *access)
{
    list_for_each(node, &access->results)
    {
        struct result *result = list_entry(node, struct result, link);
        if (!result->good || !is_of_a_user(access, result))
            drop_result(access, result);
    }
}

/* Those who guess must not push out those who know. */
static struct result *least_wanted(struct access *access)
{
    list_for_each(node, &access->results)
    {
        struct result *result = list_entry(node, struct result, link);
        if (!result->good)
            return result;
    }
    return list_entry(access->results.next, struct result, link);
}

static void keep_result(struct access *access, const struct job *job)
{
    if (access->result_count == ACCESS_KEPT_MAX)
        drop_result(access, least_wanted(access));
    struct result *result = xcalloc(1, sizeof *result);
    result->key = job->key;
    result->line = job->line;
    result->good = job->good;
    list_push_back(&access->results, &result->link);
    access->result_count++;
}

/* ---- checking a hash ---- */

static void free_job(struct job *job)
{
    list_remove(&job->link);
    job->access->job_count--;
    OPENSSL_cleanse(job->password, strlen(job->password));
    free(job->password);
    free(job->hash);
    free(job->peer);
    free(job);
}

/* One of libuv's threads. */
static void on_work(uv_work_t *work)
{
    struct job *job = work->data;
    struct crypt_data *data = xcalloc(1, sizeof *data);
    const char *made = crypt_rn(job->password, job->hash, data, sizeof *data);
    size_t len = strlen(job->hash);
    job->good = made && strlen(made) == len && CRYPTO_memcmp(made, job->hash, len) == 0;
    OPENSSL_cleanse(data, sizeof *data);
    free(data);
}

static void start_jobs(struct access *access);

static void on_worked(uv_work_t *work, int status)
{
    struct job *job = work->data;
    struct access *access = job->access;
    CHECK(status == 0);
    access->running--;
    if (job->generation == access->generation)
        keep_result(access, job);
    free_job(job);
    start_jobs(access);
    if (!access->stopped)
        access->on_checked(access->data);
}

static void start_jobs(struct access *access)
{
    list_for_each(node, &access->jobs)
    {
        struct job *job = list_entry(node, struct job, link);
        if (access->running == RUNNING_MAX || access->stopped)
            break;
        if (job->running)
            continue;
        job->running = true;
        access->running++;
        job->work.data = job;
        CHECK(uv_queue_work(access->loop, &job->work, on_work, on_worked) == 0);
    }
}

/* Is it being checked, or will it be? False when there are too many. */
static bool check_later(struct access *access, const struct credentials *given, const char *hash,
                        const struct digest *key)
{
    unsigned of_peer = 0;
    list_for_each(node, &access->jobs)
    {
        const struct job *job = list_entry(node, struct job, link);
        if (same(&job->key, key) && job->generation == access->generation)
            return true;
        of_peer += strcmp(job->peer, given->peer) == 0;
    }
    if (access->job_count >= ACCESS_WAITING_MAX || of_peer >= ACCESS_PEER_MAX || access->stopped)
        return false;
    struct job *job = xcalloc(1, sizeof *job);
    job->access = access;
    job->key = *key;
    job->line = line_of(access, given->name, given->name_len, hash);
    job->generation = access->generation;
    job->password = xstrdup(given->password);
    job->hash = xstrdup(hash);
    job->peer = xstrdup(given->peer);
    list_push_back(&access->jobs, &job->link);
    access->job_count++;
    start_jobs(access);
    return true;
}

/* ---- the users ---- */

/* A whole address has many texts, and the peer's is the shortest; a pattern is text. */
static bool host_matches(const struct user *user, const char *peer)
{
    const char *pattern = user->config->host;
    struct sockaddr_storage address;
    char host[ADDRESS_HOST];
    if (!*pattern)
        return true;
    if (address_from_ip(&address, pattern, 0)) {
        address_host(&address, host);
        pattern = host;
    }
    return fnmatch(pattern, peer, FNM_NOESCAPE | FNM_CASEFOLD) == 0;
}

enum verdict { WRONG, RIGHT, UNKNOWN, REFUSED };

static enum verdict judge_hash(struct access *access, const struct credentials *given,
                               const char *hash)
{
    struct digest key = key_of(access, given, hash);
    const struct result *result = find_result(access, &key);
    if (result)
        return result->good ? RIGHT : WRONG;
    return check_later(access, given, hash, &key) ? UNKNOWN : REFUSED;
}

static int status_of(const struct user *user, enum access_role role)
{
    bool may = role == ACCESS_READ ? user->config->read : user->config->write;
    return may ? 0 : 403;
}

/* 0 is better than 403, which is better than 401. */
static int better(int a, int b)
{
    return a == 0 || b == 0 ? 0 : a > b ? a : b;
}

/* Looks at every user, so that the time taken does not tell which names exist. */
static int check_plain(const struct access *access, const struct credentials *given,
                       enum access_role role)
{
    int status = 401;
    for (size_t i = 0; i < access->user_count; i++) {
        const struct user *user = &access->users[i];
        bool known = same(&user->name, &given->name_digest);
        known &= same(&user->password, &given->password_digest);
        known &= !user->hashed;
        if (known && host_matches(user, given->peer))
            status = better(status, status_of(user, role));
    }
    return status;
}

/* As check_plain. *unsettled: what stands in the way of knowing. Unless it is `known`, a name that
 * no user has is checked against the first hash. */
static int check_hashed(struct access *access, const struct credentials *given,
                        enum access_role role, bool known, enum verdict *unsettled)
{
    int status = 401;
    const struct user *first = NULL;
    bool named = known;
    *unsettled = WRONG;
    for (size_t i = 0; i < access->user_count; i++) {
        const struct user *user = &access->users[i];
        bool mine = same(&user->name, &given->name_digest);
        if (!user->hashed || !host_matches(user, given->peer))
            continue;
        first = first ? first : user;
        named |= mine;
        enum verdict verdict = mine ? judge_hash(access, given, user->config->password) : WRONG;
        if (verdict == RIGHT)
            status = better(status, status_of(user, role));
        else if (verdict > *unsettled)
            *unsettled = verdict;
    }
    if (first && !named)
        *unsettled = judge_hash(access, given, first->config->password);
    return status;
}

/* ---- credentials ---- */

/* False when the header has none. */
static bool read_credentials(const struct access *access, struct credentials *given,
                             const char *authorization, const char *peer)
{
    if (!authorization || strncasecmp(authorization, "Basic ", 6) != 0)
        return false;
    const char *token = authorization + 6 + strspn(authorization + 6, " ");
    struct blob *pair = base64_decode(token, strlen(token));
    const char *colon = pair ? memchr(pair->data, ':', pair->len) : NULL;
    if (!colon || memchr(pair->data, '\0', pair->len)) {
        blob_unref(pair);
        return false;
    }
    *given = (struct credentials){.pair = pair, .name = pair->data, .password = colon + 1};
    given->name_len = (size_t)(colon - pair->data);
    given->password_len = pair->len - given->name_len - 1;
    given->name_digest = digest(access, given->name, given->name_len);
    given->password_digest = digest(access, given->password, given->password_len);
    given->peer = peer;
    return true;
}

static void forget(struct credentials *given)
{
    OPENSSL_cleanse(given->pair->data, given->pair->len);
    blob_unref(given->pair);
}

static int check(struct access *access, const char *authorization, const char *peer,
                 enum access_role role, enum verdict *unsettled)
{
    struct credentials given;
    *unsettled = WRONG;
    if (access->user_count == 0)
        return 0;
    if (!read_credentials(access, &given, authorization, peer))
        return 401;
    int status = check_plain(access, &given, role);
    if (status != 0)
        status = better(status, check_hashed(access, &given, role, status == 403, unsettled));
    forget(&given);
    return status;
}

int access_check(struct access *access, const char *authorization, const char *peer,
                 enum access_role role)
{
    enum verdict unsettled;
    int status = check(access, authorization, peer, role, &unsettled);
    return status != 0 && unsettled > RIGHT ? 503 : status;
}

bool access_must_wait(struct access *access, const char *authorization, const char *peer)
{
    enum verdict unsettled = WRONG;
    for (enum access_role role = ACCESS_READ; role <= ACCESS_WRITE && unsettled != UNKNOWN; role++)
        if (check(access, authorization, peer, role, &unsettled) == 0)
            unsettled = WRONG;
    return unsettled == UNKNOWN;
}

bool access_has_hashes(const struct access *access)
{
    for (size_t i = 0; i < access->user_count; i++)
        if (access->users[i].hashed)
            return true;
    return false;
}

/* ---- life ---- */

struct access *access_new(uv_loop_t *loop, void (*on_checked)(void *data), void *data)
{
    struct access *access = xcalloc(1, sizeof *access);
    access->loop = loop;
    access->on_checked = on_checked;
    access->data = data;
    list_init(&access->results);
    list_init(&access->jobs);
    CHECK(RAND_bytes(access->secret, sizeof access->secret) == 1);
    return access;
}

static void configure_user(const struct access *access, struct user *user,
                           const struct config_user *config)
{
    user->config = config;
    user->name = digest(access, config->username, strlen(config->username));
    user->password = digest(access, config->password, strlen(config->password));
    user->line = line_of(access, config->username, strlen(config->username), config->password);
    user->hashed = config_password_is_hash(config->password);
}

void access_configure(struct access *access, const struct config *config)
{
    access->generation++;
    free(access->users);
    access->user_count = config->user_count;
    access->users = xcalloc(config->user_count + 1, sizeof *access->users);
    for (size_t i = 0; i < config->user_count; i++)
        configure_user(access, &access->users[i], &config->users[i]);
    drop_stale_results(access);
}

void access_stop(struct access *access)
{
    access->stopped = true;
    list_for_each(node, &access->jobs)
    {
        struct job *job = list_entry(node, struct job, link);
        if (!job->running)
            free_job(job);
    }
}

void access_free(struct access *access)
{
    CHECK(list_empty(&access->jobs));
    access->user_count = 0;
    drop_stale_results(access);
    free(access->users);
    free(access);
}
