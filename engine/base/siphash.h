/* SipHash-2-4: where others choose what is hashed, a secret key keeps them from choosing what falls
 * together. Pure but for the key. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t a, b;
};

/* A new one, random. */
struct siphash_key siphash_key(void);

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len);
