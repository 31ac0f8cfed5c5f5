#include "base/siphash.h"
#include "base/check.h"
#include <endian.h>
#include <string.h>
#include <sys/random.h>

struct state {
    uint64_t v0, v1, v2, v3;
};

struct siphash_key siphash_key(void)
{
    struct siphash_key key;
    CHECK(getrandom(&key, sizeof key, 0) == sizeof key);
    return key;
}

static uint64_t turn(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void mix(struct state *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = turn(s->v1, 13) ^ s->v0;
    s->v3 = turn(s->v3, 16) ^ s->v2;
    s->v0 = turn(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = turn(s->v1, 17) ^ s->v2;
    s->v3 = turn(s->v3, 21) ^ s->v0;
    s->v2 = turn(s->v2, 32);
}

static void feed(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    mix(s);
    mix(s);
    s->v0 ^= word;
}

/* Up to eight bytes as a little-endian number. */
static uint64_t word_at(const char *data, size_t len)
{
    uint64_t word = 0;
    memcpy(&word, data, len);
    return le64toh(word);
}

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len)
{
    struct state s = {key->a ^ 0x736f6d6570736575, key->b ^ 0x646f72616e646f6d,
                      key->a ^ 0x6c7967656e657261, key->b ^ 0x7465646279746573};
    const char *at = data;
    size_t left = len;
    for (; left >= 8; at += 8, left -= 8)
        feed(&s, word_at(at, 8));
    feed(&s, word_at(at, left) | (uint64_t)len << 56);
    s.v2 ^= 0xff;
    for (int i = 0; i < 4; i++)
        mix(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
