#include "base/address.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

_Static_assert(sizeof((struct sockaddr_un *)NULL)->sun_path == ADDRESS_PATH_MAX + 1, "and a NUL");
_Static_assert(ADDRESS_HOST >= INET6_ADDRSTRLEN, "any host fits");

enum { MAPPED_BITS = 96, MAPPED_BYTES = MAPPED_BITS / 8 };

static const struct sockaddr_in *as_in(const struct sockaddr_storage *address)
{
    return (const struct sockaddr_in *)address;
}

static const struct sockaddr_in6 *as_in6(const struct sockaddr_storage *address)
{
    return (const struct sockaddr_in6 *)address;
}

static const char *path_of(const struct sockaddr_storage *address)
{
    return ((const struct sockaddr_un *)address)->sun_path;
}

/* The bytes of an IP address, and how many they are; none of a Unix one. */
static const unsigned char *bytes_of(const struct sockaddr_storage *address, size_t *len)
{
    if (address->ss_family == AF_INET) {
        *len = sizeof(struct in_addr);
        return (const unsigned char *)&as_in(address)->sin_addr;
    }
    *len = address->ss_family == AF_INET6 ? sizeof(struct in6_addr) : 0;
    return (const unsigned char *)&as_in6(address)->sin6_addr;
}

/* ---- from text ---- */

static struct sockaddr_storage unix_address(const char *path)
{
    struct sockaddr_storage address = {.ss_family = AF_UNIX};
    snprintf(((struct sockaddr_un *)&address)->sun_path, ADDRESS_PATH_MAX + 1, "%s", path);
    return address;
}

static struct sockaddr_storage ipv4_address(const void *bytes, in_port_t port)
{
    struct sockaddr_storage address = {.ss_family = AF_INET};
    struct sockaddr_in *in = (struct sockaddr_in *)&address;
    in->sin_port = port;
    memcpy(&in->sin_addr, bytes, sizeof in->sin_addr);
    return address;
}

void address_of_peer(struct sockaddr_storage *address)
{
    const struct sockaddr_in6 *in6 = as_in6(address);
    if (address->ss_family == AF_UNIX)
        *address = unix_address("");
    else if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        *address = ipv4_address(in6->sin6_addr.s6_addr + MAPPED_BYTES, in6->sin6_port);
}

static struct sockaddr_storage ipv6_address(const void *bytes, in_port_t port)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = port};
    struct sockaddr_storage address = {0};
    memcpy(&in6.sin6_addr, bytes, sizeof in6.sin6_addr);
    memcpy(&address, &in6, sizeof in6);
    return address;
}

static bool from_ipv6(struct sockaddr_storage *out, const char *ip, int port)
{
    struct in6_addr bytes;
    if (inet_pton(AF_INET6, ip, &bytes) != 1)
        return false;
    *out = ipv6_address(&bytes, htons((in_port_t)port));
    address_of_peer(out);
    return true;
}

/* Without its brackets. False when it has none, or is too long to be an address. */
static bool strip_brackets(const char *text, char ip[ADDRESS_HOST])
{
    size_t len = strlen(text);
    if (len < 2 || len - 2 >= ADDRESS_HOST || text[0] != '[' || text[len - 1] != ']')
        return false;
    snprintf(ip, ADDRESS_HOST, "%.*s", (int)len - 2, text + 1);
    return true;
}

bool address_from_ip(struct sockaddr_storage *out, const char *ip, int port)
{
    struct in_addr bytes;
    char inner[ADDRESS_HOST];
    if (inet_pton(AF_INET, ip, &bytes) == 1) {
        *out = ipv4_address(&bytes, htons((in_port_t)port));
        return true;
    }
    return from_ipv6(out, strip_brackets(ip, inner) ? inner : ip, port);
}

const char *address_path(const char *bind)
{
    static const char scheme[] = "unix:";
    return strncmp(bind, scheme, sizeof scheme - 1) == 0 ? bind + sizeof scheme - 1 : NULL;
}

bool address_from_bind(struct sockaddr_storage *out, const char *bind, int port)
{
    const char *path = address_path(bind);
    if (!path)
        return address_from_ip(out, bind, port);
    if (!*path || strlen(path) > ADDRESS_PATH_MAX)
        return false;
    *out = unix_address(path);
    return true;
}

/* Decimal digits up to `max`; -1: something else. */
static int small_number(const char *text, int max)
{
    size_t len = strspn(text, "0123456789");
    if (len == 0 || len > 5 || text[len] || (text[0] == '0' && len > 1) || atoi(text) > max)
        return -1;
    return atoi(text);
}

/* Cuts the port off ADDRESS:PORT and [ADDRESS]:PORT; returns it, 0 when there is none, -1 when it
 * is wrong. */
static int cut_port(char *text)
{
    char *colon = strrchr(text, ':');
    if (!colon || (text[0] == '[' ? colon[-1] != ']' : strchr(text, ':') != colon))
        return 0;
    *colon = '\0';
    return small_number(colon + 1, 65535);
}

bool address_from_text(struct sockaddr_storage *out, const char *text, size_t len)
{
    char copy[ADDRESS_HOST + sizeof "[]:65535"];
    if (len >= sizeof copy || memchr(text, '\0', len))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (strcmp(copy, "unix:") == 0) {
        *out = unix_address("");
        return true;
    }
    int port = cut_port(copy);
    return port >= 0 && address_from_ip(out, copy, port);
}

/* ---- to text ---- */

void address_host(const struct sockaddr_storage *address, char out[ADDRESS_HOST])
{
    size_t len;
    const void *bytes = bytes_of(address, &len);
    if (len == 0)
        snprintf(out, ADDRESS_HOST, "%s", address->ss_family == AF_UNIX ? "unix" : "");
    else
        inet_ntop(address->ss_family, bytes, out, ADDRESS_HOST);
}

int address_port(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET6)
        return ntohs(as_in6(address)->sin6_port);
    return address->ss_family == AF_INET ? ntohs(as_in(address)->sin_port) : 0;
}

void address_text(const struct sockaddr_storage *address, char out[ADDRESS_TEXT])
{
    char host[ADDRESS_HOST];
    address_host(address, host);
    if (address->ss_family == AF_UNIX)
        snprintf(out, ADDRESS_TEXT, "unix:%s", path_of(address));
    else
        snprintf(out, ADDRESS_TEXT, address->ss_family == AF_INET6 ? "[%s]:%d" : "%s:%d", host,
                 address_port(address));
}

socklen_t address_len(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_UNIX)
        return sizeof(struct sockaddr_un);
    return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                          : sizeof(struct sockaddr_in);
}

/* ---- packed ---- */

void address_pack(struct address_packed *out, const struct sockaddr_storage *peer)
{
    size_t len;
    const void *bytes = bytes_of(peer, &len);
    *out = (struct address_packed){.family = peer->ss_family,
                                   .port = htons((in_port_t)address_port(peer))};
    memcpy(out->ip, bytes, len);
}

void address_unpack(struct sockaddr_storage *out, const struct address_packed *packed)
{
    if (packed->family == AF_INET)
        *out = ipv4_address(packed->ip, packed->port);
    else if (packed->family == AF_INET6)
        *out = ipv6_address(packed->ip, packed->port);
    else
        *out = (struct sockaddr_storage){.ss_family = packed->family};
}

/* ---- what it is ---- */

bool address_is_any(const struct sockaddr_storage *address)
{
    static const struct in6_addr any;
    size_t len;
    const void *bytes = bytes_of(address, &len);
    return len > 0 && memcmp(bytes, &any, len) == 0;
}

bool address_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    size_t a_len, b_len;
    const void *a_bytes = bytes_of(a, &a_len), *b_bytes = bytes_of(b, &b_len);
    if (a->ss_family != b->ss_family)
        return false;
    return a_len > 0 ? memcmp(a_bytes, b_bytes, a_len) == 0 : strcmp(path_of(a), path_of(b)) == 0;
}

struct network {
    struct sockaddr_storage base;
    int bits;
};

/* "unix" has no bits. */
static bool parse_network(const char *text, struct network *out)
{
    char ip[ADDRESS_HOST];
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    *out = (struct network){.base.ss_family = AF_UNIX};
    if (strcmp(text, "unix") == 0)
        return true;
    if (len >= sizeof ip)
        return false;
    snprintf(ip, sizeof ip, "%.*s", (int)len, text);
    if (!address_from_ip(&out->base, ip, 0))
        return false;
    bool mapped = out->base.ss_family == AF_INET && strchr(ip, ':');
    int most = out->base.ss_family == AF_INET6 || mapped ? ADDRESS_PREFIX_MAX : 32;
    out->bits = slash ? small_number(slash + 1, most) : most;
    out->bits -= mapped ? MAPPED_BITS : 0;
    return out->bits >= 0;
}

bool address_is_network(const char *text)
{
    struct network network;
    return parse_network(text, &network);
}

static bool holds(const struct network *network, const struct sockaddr_storage *address)
{
    size_t len, whole = (size_t)network->bits / 8;
    const unsigned char *bytes = bytes_of(address, &len);
    const unsigned char *base = bytes_of(&network->base, &len);
    unsigned char mask = (unsigned char)(0xff << (8 - network->bits % 8));
    return address->ss_family == network->base.ss_family && memcmp(bytes, base, whole) == 0 &&
           (network->bits % 8 == 0 || ((bytes[whole] ^ base[whole]) & mask) == 0);
}

bool address_in(const struct sockaddr_storage *address, char *const *networks)
{
    struct network network;
    for (; *networks; networks++)
        if (parse_network(*networks, &network) && holds(&network, address))
            return true;
    return false;
}
