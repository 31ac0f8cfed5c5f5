#include "target.h"

#include "base/address.h"
#include "base/buf.h"
#include "base/mem.h"
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PORT_DEFAULT = 80, PORT_TLS = 443, PORT_MAX = 65535 };

static bool is_loopback(const struct sockaddr_storage *address)
{
    static char ipv4[] = "127.0.0.0/8", ipv6[] = "::1";
    static char *const networks[] = {ipv4, ipv6, NULL};
    return address_in(address, networks);
}

/* The first address of a name. */
static bool look_up(struct sockaddr_storage *out, const char *name, int port)
{
    struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    char service[8];
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(name, service, &hints, &found) != 0)
        return false;
    *out = (struct sockaddr_storage){0};
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return true;
}

static const char *find_address(struct target *target, const char *host, int port, bool remote)
{
    if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (!address_from_ip(&target->address, host, port) &&
        !(remote && look_up(&target->address, host, port)))
        return remote ? "its host has no address" : "its host is no address: names need --remote";
    target->loopback = is_loopback(&target->address);
    return target->loopback || remote
               ? NULL
               : "its host is not this machine (127.0.0.0/8, ::1): another one needs --remote";
}

/* -1: not a port. */
static int read_port(const char *text, size_t len, bool tls)
{
    if (len == 0)
        return tls ? PORT_TLS : PORT_DEFAULT;
    char *end;
    long port = strtol(text + 1, &end, 10);
    return end == text + len && len > 1 && port >= 1 && port <= PORT_MAX ? (int)port : -1;
}

static char *path_template(const char *path)
{
    struct buf out = {0};
    for (const char *found; (found = strstr(path, "%d")); path = found + 2) {
        buf_append(&out, path, (size_t)(found - path));
        buf_append_str(&out, "{i}");
    }
    buf_append(&out, path, strlen(path) + 1);
    return out.data;
}

/* How long the host is, with the brackets of an IPv6 address. */
static size_t host_length(const char *at)
{
    return at[0] == '[' ? strcspn(at, "]/") + 1 : strcspn(at, ":/");
}

static bool read_scheme(const char *url, bool *tls)
{
    static const char *const schemes[] = {"ws://", "http://", "wss://", "https://"};
    for (size_t i = 0; i < 4; i++)
        if (strncmp(url, schemes[i], strlen(schemes[i])) == 0) {
            *tls = i >= 2;
            return true;
        }
    return false;
}

const char *target_parse(struct target *target, const char *url, bool remote)
{
    if (!read_scheme(url, &target->tls))
        return "it must begin with ws://, wss://, http:// or https://";
    const char *at = strstr(url, "://") + 3;
    size_t authority = strcspn(at, "/"), host_len = host_length(at);
    if (host_len == 0 || host_len > authority)
        return "it has no host";
    int port = read_port(at + host_len, authority - host_len, target->tls);
    if (port < 0)
        return "its port must be a number from 1 to 65535";
    char *host = xstrndup(at, host_len);
    const char *why = find_address(target, host, port, remote);
    target->host = xasprintf("%s:%d", host, port);
    target->path = path_template(at[authority] ? at + authority : "/");
    free(host);
    return why;
}

void target_free(struct target *target)
{
    free(target->host);
    free(target->path);
}
