#include "password.h"
#include "log.h"
#include "mem.h"
#include <crypt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* yescrypt at cost 3: 6 ms and 4 MiB a password on the machine where it was measured, where the
 * method's default, cost 5, takes 24 ms. One CPU so manages some 160 logins a second. */
enum { COST = 3 };

_Static_assert(PASSWORD_HASH >= CRYPT_OUTPUT_SIZE, "a hash does not fit");

/* The text's hash with the salt of `setting`; false when the setting is not one crypt knows. */
static bool hash_with(const char *text, const char *setting, char hash[PASSWORD_HASH])
{
    struct crypt_data *data = mem_new(sizeof *data);
    const char *made = crypt_rn(text, setting, data, sizeof *data);
    strcpy(hash, made ? made : "");
    explicit_bzero(data, sizeof *data);
    free(data);
    return *hash != '\0';
}

bool password_hash(const char *password, char hash[PASSWORD_HASH])
{
    char salt[CRYPT_GENSALT_OUTPUT_SIZE];
    *hash = '\0';
    return crypt_gensalt_rn(NULL, COST, NULL, 0, salt, sizeof salt) &&
           hash_with(password, salt, hash);
}

/* Takes as long for any `given` of one length: nothing tells how far two texts agree. */
static bool same(const char *stored, const char *given)
{
    size_t stored_len = strlen(stored), given_len = strlen(given);
    unsigned differs = stored_len != given_len;
    for (size_t i = 0; i < given_len; i++)
        differs |= (unsigned char)given[i] ^ (unsigned char)stored[stored_len ? i % stored_len : 0];
    return differs == 0;
}

static char decoy[PASSWORD_HASH];

static void make_decoy(void)
{
    password_hash("nobody's", decoy);
}

/* Who asks must not learn from the time whether there is such a user, or how the password is kept.
 */
static void take_time(const char *given)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_decoy);
    char hash[PASSWORD_HASH];
    hash_with(given, decoy, hash);
}

static void warn_of_plain(void)
{
    static atomic_flag warned = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&warned))
        log_line("warning: the table users holds plain passwords; store crypt(3) hashes instead");
}

bool password_verify(const char *stored, const char *given)
{
    if (stored && *stored == '$') {
        char hash[PASSWORD_HASH];
        return hash_with(given, stored, hash) && same(stored, hash);
    }
    take_time(given);
    if (!stored)
        return false;
    warn_of_plain();
    return same(stored, given);
}
