#include "config/config_password.h"

#include <crypt.h>
#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CRYPT64 "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

enum { BCRYPT_COST_MAX = 15, SHA_ROUNDS_MAX = 5000000, LOG2_N_MAX = 16 };

/* The value of a character of the hashes' base 64. */
static int value_of(char c)
{
    const char *at = c ? strchr(CRYPT64, c) : NULL;
    return at ? (int)(at - CRYPT64) : INT16_MAX;
}

/* ---- costs: `text` begins after the method ---- */

static bool bcrypt_is_bearable(const char *text)
{
    return isdigit((unsigned char)text[0]) && isdigit((unsigned char)text[1]) && text[2] == '$' &&
           atoi(text) <= BCRYPT_COST_MAX;
}

static bool sha_is_bearable(const char *text)
{
    return strncmp(text, "rounds=", 7) != 0 || strtoul(text + 7, NULL, 10) <= SHA_ROUNDS_MAX;
}

/* Flavour, log2(N) - 1, and r up to 32 as one character each, and nothing more: what mkpasswd and
 * passwd write. */
static bool yescrypt_is_bearable(const char *text)
{
    return text[0] == 'j' && value_of(text[1]) < LOG2_N_MAX && value_of(text[2]) <= value_of('T') &&
           text[3] == '$';
}

/* log2(N), then r (32) and p (1) as five characters each. */
static bool scrypt_is_bearable(const char *text)
{
    return value_of(text[0]) <= LOG2_N_MAX && strncmp(text + 1, "U..../....", 10) == 0;
}

static bool any_is_bearable(const char *text)
{
    (void)text;
    return true;
}

static const struct method {
    const char *prefix;
    size_t tail; /* characters after the last $ */
    bool (*is_bearable)(const char *text);
} methods[] = {
    {"$2a$", 53, bcrypt_is_bearable},   {"$2b$", 53, bcrypt_is_bearable},
    {"$2y$", 53, bcrypt_is_bearable},   {"$y$", 43, yescrypt_is_bearable},
    {"$gy$", 43, yescrypt_is_bearable}, {"$7$", 43, scrypt_is_bearable},
    {"$6$", 86, sha_is_bearable},       {"$5$", 43, sha_is_bearable},
    {"$1$", 22, any_is_bearable},
};

static const struct method *method_of(const char *text)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strncmp(text, methods[i].prefix, strlen(methods[i].prefix)) == 0)
            return &methods[i];
    return NULL;
}

bool config_password_is_hash(const char *text)
{
    if (text[0] != '$')
        return false;
    size_t len = strspn(text + 1, "0123456789abcdefghijklmnopqrstuvwxyz-,=");
    return len > 0 && text[1 + len] == '$';
}

static bool is_whole(const struct method *method, const char *text)
{
    const char *tail = strrchr(text, '$') + 1;
    return strlen(text) < CRYPT_OUTPUT_SIZE && strlen(tail) == method->tail &&
           tail[strspn(tail, CRYPT64)] == '\0' && tail > text + strlen(method->prefix) &&
           text[strcspn(text, ":;*!\\ \t")] == '\0';
}

const char *config_password_fault(const char *text)
{
    if (!*text)
        return "an empty password";
    if (!config_password_is_hash(text))
        return NULL;
    const struct method *method = method_of(text);
    int known = method ? crypt_checksalt(text) : CRYPT_SALT_INVALID;
    if (known == CRYPT_SALT_INVALID || known == CRYPT_SALT_METHOD_DISABLED)
        return "a hash of a method that is not supported";
    if (!is_whole(method, text))
        return "a hash that is not whole";
    if (!method->is_bearable(text + strlen(method->prefix)))
        return "a hash whose cost is too high or cannot be read";
    return NULL;
}
