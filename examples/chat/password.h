/* Passwords as crypt(3) hashes. Any thread; each call that hashes takes some 6 ms of one CPU. */
#pragma once

#include <stdbool.h>

/* Room for a hash with its NUL. */
enum { PASSWORD_HASH = 384 };

/* A new hash with a random salt, by the system's preferred method. False, with an empty `hash`,
 * when the system offers none. */
bool password_hash(const char *password, char hash[PASSWORD_HASH]);

/* Whether `given` is the password that is stored as `stored`: a crypt hash (it begins with '$'), or
 * the password itself, which is accepted with one warning for the process. NULL for a user who does
 * not exist: false, after as long as a wrong password takes. */
bool password_verify(const char *stored, const char *given);
