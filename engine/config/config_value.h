/* Scalars of the configuration file from their text. Pure. Each returns false, and leaves *out
 * alone, when the text is not of its form or does not fit. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Decimal digits, without a leading zero: YAML 1.1 would read 010 as 8, YAML 1.2 as 10. */
bool config_value_number(const char *text, uint64_t *out);

/* Bytes: a number, or one with a unit of powers of 1024: `64 KiB`, `64k`, `1 MiB`, `1m`, `1 GiB`.
 */
bool config_value_size(const char *text, uint64_t *out);

/* Whole seconds: a number, or one with a unit: `10s`, `2000ms`, `5m`, `1h`. */
bool config_value_seconds(const char *text, uint64_t *out);

/* An IPv4 or IPv6 address. */
bool config_value_is_ip(const char *text);

/* Where a server may listen: an address, IPv6 also in brackets, or unix:PATH. */
bool config_value_is_bind(const char *text);

/* An address, one with the bits of its network's prefix (10.0.0.0/8), or unix. */
bool config_value_is_network(const char *text);

/* HOST:PORT, [IPV6]:PORT; the port from 1 to 65535. */
bool config_value_is_address(const char *text);
bool config_value_is_address_or_empty(const char *text);

/* `*`, an address, one with `*` in place of parts, or `unix`. */
bool config_value_is_host_pattern(const char *text);

/* What HTTP Basic can carry as a user's name: not empty, no colon. */
bool config_value_is_username(const char *text);
bool config_value_is_account(const char *text); /* USER, USER:GROUP or "" */
bool config_value_is_not_empty(const char *text);
