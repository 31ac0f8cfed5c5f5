#include "upgrade.h"
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

/* Numbers in order become bits without any (the finalizer of SplitMix64). */
static uint64_t spread(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

void upgrade_key(uint64_t seed, char out[HANDSHAKE_KEY_LEN + 1])
{
    uint64_t nonce[2] = {spread(seed * 2), spread(seed * 2 + 1)};
    EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)nonce, sizeof nonce);
}

void upgrade_request(struct buf *out, const char *host, const char *path, struct slice headers,
                     uint64_t seed)
{
    char key[HANDSHAKE_KEY_LEN + 1];
    upgrade_key(seed, key);
    buf_printf(out,
               "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n",
               path, host, key);
    buf_append(out, headers.data, headers.len);
    buf_append_str(out, "\r\n");
}

size_t upgrade_head(const char *data, size_t len)
{
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    return end ? (size_t)(end - data) + 4 : 0;
}

/* The value of a header of that name, without the space around it; data NULL: there is none. */
static struct slice header_value(const char *head, size_t len, const char *name)
{
    const char *end = head + len, *line = head;
    size_t name_len = strlen(name);
    while ((line = memmem(line, (size_t)(end - line), "\r\n", 2))) {
        line += 2;
        if ((size_t)(end - line) <= name_len || strncasecmp(line, name, name_len) != 0 ||
            line[name_len] != ':')
            continue;
        const char *value = line + name_len + 1;
        const char *stop = memmem(value, (size_t)(end - value), "\r\n", 2);
        while (value < stop && *value == ' ')
            value++;
        while (value < stop && stop[-1] == ' ')
            stop--;
        return (struct slice){value, (size_t)(stop - value)};
    }
    return (struct slice){0};
}

static const char *say(struct buf *why, const char *text, struct slice found)
{
    why->len = 0;
    buf_printf(why, "%s%.*s", text, (int)found.len, found.data ? found.data : "");
    buf_append_char(why, '\0');
    return why->data;
}

const char *upgrade_refused(const char *head, size_t len, uint64_t seed, struct buf *why)
{
    static const char good[] = "HTTP/1.1 101";
    char key[HANDSHAKE_KEY_LEN + 1], accept[HANDSHAKE_ACCEPT_LEN + 1];
    struct slice first = {head, (size_t)((const char *)memchr(head, '\r', len) - head)};
    if (first.len < sizeof good - 1 || memcmp(head, good, sizeof good - 1) != 0)
        return say(why, "handshake refused: ", first);
    upgrade_key(seed, key);
    handshake_accept((struct slice){key, HANDSHAKE_KEY_LEN}, accept);
    struct slice found = header_value(head, len, "Sec-WebSocket-Accept");
    if (!found.data)
        return say(why, "handshake: no Sec-WebSocket-Accept", (struct slice){0});
    if (found.len != HANDSHAKE_ACCEPT_LEN || memcmp(found.data, accept, found.len) != 0)
        return say(why, "handshake: wrong Sec-WebSocket-Accept: ", found);
    found = header_value(head, len, "Sec-WebSocket-Extensions");
    return found.data ? say(why, "handshake: an extension that was not offered: ", found) : NULL;
}
