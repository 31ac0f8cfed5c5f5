#include "api/access.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Basic reader:secret, writer:pass:word, nobody:secret, and what is not base64 or has no colon. */
#define READER "Basic cmVhZGVyOnNlY3JldA=="
#define WRITER "Basic d3JpdGVyOnBhc3M6d29yZA=="
#define NOBODY "Basic bm9ib2R5OnNlY3JldA=="

/* bcrypt of `secret`, in two spellings. */
#define HASH "$2b$05$amR8Skc1Gv2DinyHGYkMSedJ/syezJYpQbBXo4S8syxamuFQMbJpe"
#define HASH_2A "$2a$05$IrGwYTMaMJXUWAkV7VtMh.SUmiLW6FpivEtNcfLXlWuc3MWbwiDgq"

static char reader[] = "reader", writer[] = "writer", nobody[] = "nobody", secret[] = "secret",
            password[] = "pass:word", all[] = "*", lan[] = "172.*.*.*", hash[] = HASH,
            hash_2a[] = HASH_2A;

static struct config_user users[] = {
    {.username = reader, .password = secret, .host = all, .read = true},
    {.username = writer, .password = password, .host = lan, .read = true, .write = true},
};
static const struct config with_users = {.users = users, .user_count = 2};
static const struct config without = {0};

/* ---- one access control and its loop ---- */

struct fixture {
    uv_loop_t loop;
    struct access *access;
    int checked;
};

static void on_checked(void *data)
{
    ((struct fixture *)data)->checked++;
}

static void open_fixture(struct fixture *f, const struct config *config)
{
    *f = (struct fixture){0};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->access = access_new(&f->loop, on_checked, f);
    access_configure(f->access, config);
}

static void close_fixture(struct fixture *f)
{
    access_stop(f->access);
    assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
    access_free(f->access);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

/* When it is settled. */
static int ask(struct fixture *f, const char *authorization, const char *peer,
               enum access_role role)
{
    access_check(f->access, authorization, peer, role);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_false(access_must_wait(f->access, authorization, peer));
    return access_check(f->access, authorization, peer, role);
}

static int check(const struct config *config, const char *authorization, const char *peer,
                 enum access_role role)
{
    struct fixture f;
    open_fixture(&f, config);
    int status = ask(&f, authorization, peer, role);
    close_fixture(&f);
    return status;
}

/* ---- what is compared ---- */

static _Atomic size_t
    compared; /* bytes, since it was last set to 0; hashes are looked at elsewhere */

/* Stands before the library's own. */
int CRYPTO_memcmp(const void *a, const void *b, size_t len)
{
    const unsigned char *x = a, *y = b;
    unsigned char differ = 0;
    for (size_t i = 0; i < len; i++)
        differ |= x[i] ^ y[i];
    compared += len;
    return differ;
}

/* ---- plain passwords ---- */

static void everybody_may_without_users(void **state)
{
    (void)state;
    assert_int_equal(check(&without, NULL, "10.0.0.1", ACCESS_WRITE), 0);
}

static void credentials_are_needed(void **state)
{
    (void)state;
    static const char *const bad[] = {NULL,
                                      "",
                                      "Basic",
                                      "Basic ",
                                      "Basic !!!!",
                                      "Basic c2VjcmV0",
                                      "Bearer cmVhZGVyOnNlY3JldA==",
                                      NOBODY,
                                      "Basic cmVhZGVyOnNlY3Jl",
                                      "Basic cmVhZGVyOnNlY3JldA"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(check(&with_users, bad[i], "10.0.0.1", ACCESS_READ), 401);
    assert_int_equal(check(&with_users, READER, "10.0.0.1", ACCESS_READ), 0);
    assert_int_equal(check(&with_users, "basic  cmVhZGVyOnNlY3JldA==", "::1", ACCESS_READ), 0);
}

static void roles_count(void **state)
{
    (void)state;
    assert_int_equal(check(&with_users, READER, "10.0.0.1", ACCESS_WRITE), 403);
    assert_int_equal(check(&with_users, WRITER, "172.16.0.9", ACCESS_WRITE), 0);
}

static void hosts_count(void **state)
{
    (void)state;
    assert_int_equal(check(&with_users, WRITER, "10.0.0.1", ACCESS_WRITE), 401);
    assert_int_equal(check(&with_users, WRITER, "1172.1.1.1", ACCESS_WRITE), 401);
}

/* The peer's text is the one of address_host. */
static void hosts_of_every_family(void **state)
{
    (void)state;
    static const struct {
        char *host;
        const char *in, *out;
    } rows[] = {
        {"*", "unix", NULL},
        {"*", "2001:db8::1", NULL},
        {"::1", "::1", "127.0.0.1"},
        {"0:0:0:0:0:0:0:1", "::1", "::2"},
        {"2001:DB8:0::A", "2001:db8::a", "2001:db8::b"},
        {"2001:db8:*", "2001:db8::1", "2001:db80::1"},
        {"2001:DB8:*", "2001:db8::1", "unix"},
        {"::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"},
        {"10.*", "10.0.0.1", "unix"},
        {"unix", "unix", "::1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config_user one = {
            .username = reader, .password = secret, .host = rows[i].host, .read = true};
        struct config config = {.users = &one, .user_count = 1};
        assert_int_equal(check(&config, READER, rows[i].in, ACCESS_READ), 0);
        if (rows[i].out)
            assert_int_equal(check(&config, READER, rows[i].out, ACCESS_READ), 401);
    }
}

/* One name may have a line for each of its hosts. */
static void lines_of_one_user_add_up(void **state)
{
    (void)state;
    struct config_user lines[] = {
        {.username = reader, .password = secret, .host = all, .write = true},
        {.username = reader, .password = secret, .host = all, .read = true}};
    struct config config = {.users = lines, .user_count = 2};
    assert_int_equal(check(&config, READER, "10.0.0.1", ACCESS_READ), 0);
    assert_int_equal(check(&config, READER, "10.0.0.1", ACCESS_WRITE), 0);
}

/* ---- hashes ---- */

static struct config_user hashed[] = {
    {.username = reader, .password = hash, .host = all, .read = true},
    {.username = writer, .password = secret, .host = all, .read = true, .write = true},
};
static const struct config with_hashes = {.users = hashed, .user_count = 2};

static void a_hash_is_waited_for(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, &with_hashes);
    assert_true(access_has_hashes(f.access));
    assert_true(access_must_wait(f.access, READER, "::1"));
    assert_int_equal(access_check(f.access, READER, "::1", ACCESS_READ), 503);
    assert_int_equal(f.checked, 0);
    assert_int_equal(ask(&f, READER, "::1", ACCESS_READ), 0);
    assert_int_equal(f.checked, 1);
    assert_int_equal(access_check(f.access, READER, "::1", ACCESS_WRITE), 403);
    assert_int_equal(ask(&f, "Basic cmVhZGVyOnNlY3Jl", "::1", ACCESS_READ), 401);
    assert_int_equal(f.checked, 2);
    close_fixture(&f);
}

/* `nobody` has the password of the hash that it is held against. */
static void an_unknown_name_is_waited_for_too(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, &with_hashes);
    assert_int_equal(access_check(f.access, NOBODY, "::1", ACCESS_READ), 503);
    assert_int_equal(ask(&f, NOBODY, "::1", ACCESS_READ), 401);
    assert_int_equal(f.checked, 1);
    close_fixture(&f);
}

static void a_hash_of_another_host_is_not_looked_at(void **state)
{
    (void)state;
    struct config_user line = {.username = reader, .password = hash, .host = lan, .read = true};
    struct config config = {.users = &line, .user_count = 1};
    struct fixture f;
    open_fixture(&f, &config);
    assert_int_equal(access_check(f.access, READER, "10.0.0.1", ACCESS_READ), 401);
    assert_int_equal(access_check(f.access, READER, "172.1.1.1", ACCESS_READ), 503);
    close_fixture(&f);
}

static void plain_and_hashed_lines_add_up(void **state)
{
    (void)state;
    struct config_user lines[] = {
        {.username = reader, .password = secret, .host = all, .write = true},
        {.username = reader, .password = hash, .host = all},
        {.username = reader, .password = hash_2a, .host = all, .read = true}};
    struct config config = {.users = lines, .user_count = 3};
    struct fixture f;
    open_fixture(&f, &config);
    assert_int_equal(access_check(f.access, READER, "::1", ACCESS_WRITE), 0);
    assert_true(access_must_wait(f.access, READER, "::1"));
    assert_int_equal(ask(&f, READER, "::1", ACCESS_READ), 0);
    close_fixture(&f);
}

/* What is known of a user who did not change is kept; what runs for others is not used. */
static void a_reload_forgets_who_changed(void **state)
{
    (void)state;
    struct config_user other = {.username = nobody, .password = hash, .host = all, .read = true};
    struct config_user changed = {
        .username = reader, .password = hash_2a, .host = all, .read = true};
    struct config config = {.users = &other, .user_count = 1};
    struct config config_changed = {.users = &changed, .user_count = 1};
    struct fixture f;
    open_fixture(&f, &with_hashes);
    assert_int_equal(ask(&f, READER, "::1", ACCESS_READ), 0);
    assert_int_equal(ask(&f, NOBODY, "::1", ACCESS_READ), 401);
    access_configure(f.access, &with_hashes);
    assert_int_equal(access_check(f.access, READER, "::1", ACCESS_READ), 0);
    access_configure(f.access, &config_changed);
    assert_int_equal(access_check(f.access, READER, "::1", ACCESS_READ), 503);
    access_configure(f.access, &config);
    assert_int_equal(ask(&f, NOBODY, "::1", ACCESS_READ), 0);
    assert_int_equal(ask(&f, READER, "::1", ACCESS_READ), 401);
    close_fixture(&f);
}

static void authorization_of(int number, char out[64])
{
    char pair[32];
    int len = snprintf(pair, sizeof pair, "reader:%05d", number);
    memcpy(out, "Basic ", 6);
    EVP_EncodeBlock((unsigned char *)out + 6, (const unsigned char *)pair, len);
}

static void what_waits_is_bounded(void **state)
{
    (void)state;
    struct fixture f;
    char authorization[64];
    open_fixture(&f, &with_hashes);
    for (int i = 0; i < ACCESS_WAITING_MAX + 10; i++) {
        char peer[24];
        snprintf(peer, sizeof peer, "10.0.0.%d", i / ACCESS_PEER_MAX);
        authorization_of(i, authorization);
        assert_int_equal(access_must_wait(f.access, authorization, peer), i < ACCESS_WAITING_MAX);
    }
    access_stop(f.access);
    assert_false(access_must_wait(f.access, READER, "::1"));
    close_fixture(&f);
    open_fixture(&f, &with_hashes);
    for (int i = 0; i < ACCESS_PEER_MAX + 10; i++) {
        authorization_of(i, authorization);
        assert_int_equal(access_must_wait(f.access, authorization, "::1"), i < ACCESS_PEER_MAX);
    }
    assert_true(access_must_wait(f.access, READER, "10.0.0.1"));
    close_fixture(&f);
}

/* Guesses do not push out what is right. */
static void what_is_kept_is_bounded(void **state)
{
    (void)state;
    struct fixture f;
    char authorization[64];
    open_fixture(&f, &with_hashes);
    assert_int_equal(ask(&f, READER, "::1", ACCESS_READ), 0);
    for (int i = 0; i < ACCESS_KEPT_MAX + 1; i++) {
        authorization_of(i, authorization);
        assert_int_equal(ask(&f, authorization, "::1", ACCESS_READ), 401);
    }
    int checked = f.checked;
    assert_int_equal(ask(&f, READER, "::1", ACCESS_READ), 0);
    assert_int_equal(ask(&f, authorization, "::1", ACCESS_READ), 401);
    assert_int_equal(f.checked, checked);
    authorization_of(0, authorization);
    assert_int_equal(access_check(f.access, authorization, "::1", ACCESS_READ), 503);
    close_fixture(&f);
}

/* ---- constant time ---- */

static size_t bytes_compared_for(struct fixture *f, const char *pair)
{
    unsigned char token[128];
    char authorization[160];
    EVP_EncodeBlock(token, (const unsigned char *)pair, (int)strlen(pair));
    snprintf(authorization, sizeof authorization, "Basic %s", (const char *)token);
    compared = 0;
    assert_int_equal(access_check(f->access, authorization, "172.16.0.9", ACCESS_READ), 401);
    return compared;
}

/* How much is compared does not tell how much of a guess was right, nor whether a name exists. */
static void wrong_guesses_cost_the_same(void **state)
{
    (void)state;
    static const char *const pairs[] = {
        "reader:xecret", "reader:secrex", "reader:secre", "reader:", "reader:secretsecret",
        "writer:secret", "nobody:secret", "readex:x",     ":",       "reader:pass:word",
    };
    struct fixture f;
    open_fixture(&f, &with_users);
    size_t first = bytes_compared_for(&f, pairs[0]);
    assert_int_not_equal(first, 0);
    for (size_t i = 1; i < sizeof pairs / sizeof *pairs; i++)
        if (bytes_compared_for(&f, pairs[i]) != first)
            fail_msg("%s: %zu bytes, and %zu for %s", pairs[i], compared, first, pairs[0]);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_may_without_users),
        cmocka_unit_test(wrong_guesses_cost_the_same),
        cmocka_unit_test(credentials_are_needed),
        cmocka_unit_test(roles_count),
        cmocka_unit_test(hosts_count),
        cmocka_unit_test(hosts_of_every_family),
        cmocka_unit_test(lines_of_one_user_add_up),
        cmocka_unit_test(a_hash_is_waited_for),
        cmocka_unit_test(an_unknown_name_is_waited_for_too),
        cmocka_unit_test(a_hash_of_another_host_is_not_looked_at),
        cmocka_unit_test(plain_and_hashed_lines_add_up),
        cmocka_unit_test(a_reload_forgets_who_changed),
        cmocka_unit_test(what_waits_is_bounded),
        cmocka_unit_test(what_is_kept_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
