/* Where connections go: ws://HOST[:PORT][/PATH], http:// where the publisher speaks HTTP; wss://
 * and https:// over TLS. */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

struct target {
    struct sockaddr_storage address;
    char *host; /* for the Host header, with the port */
    char *path; /* a template: {i} is the connection's number, and so is %d */
    bool loopback, tls;
};

/* Returns NULL, or what is wrong with it (static text). An address that is not this machine's own
 * is refused, but with `remote`; only then are names looked up, but for localhost. */
const char *target_parse(struct target *target, const char *url, bool remote);
void target_free(struct target *target); /* one that was never parsed is allowed */
