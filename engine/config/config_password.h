/* Passwords of the configuration: a text is a hash of crypt(5) when it begins as one does, with
 * `$method$`; any other is the password itself. Pure. */
#pragma once

#include <stdbool.h>

bool config_password_is_hash(const char *text);

/* NULL, or what is wrong with a password or a hash: static text. A hash must be whole, of a method
 * that this system's libcrypt has, and cost no more than some seconds and 256 MiB. */
const char *config_password_fault(const char *text);
