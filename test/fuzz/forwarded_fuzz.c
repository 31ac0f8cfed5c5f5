/* Any values of X-Forwarded-For: whom they name is an address, and nobody names anybody unless it
 * is trusted. Input: byte 0 chooses who is trusted; then the values, each in a line. */
#include "proto/forwarded.h"

#include "base/address.h"
#include "base/check.h"
#include "exact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char any4[] = "0.0.0.0/0", any6[] = "::/0", local[] = "unix", ten[] = "10.0.0.0/8",
            loopback[] = "127.0.0.1";

static char *const trusted[][4] = {
    {any4, any6, local, NULL}, {local, NULL}, {local, ten, NULL}, {local, ten, loopback, NULL}};

static void add_lines(struct handshake *h, const char *at, size_t len)
{
    const char *end = at + len;
    while (at < end && h->header_count < HANDSHAKE_HEADERS_MAX) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        h->headers[h->header_count++] =
            (struct handshake_header){{"x-Forwarded-For", 15}, {at, (size_t)(stop - at)}};
        at = stop + (stop < end);
    }
}

static void check_address(const struct sockaddr_storage *address)
{
    char text[ADDRESS_TEXT];
    struct sockaddr_storage again;
    address_text(address, text);
    CHECK(address_from_text(&again, text, strlen(text)));
    CHECK(address_same_host(address, &again) && address_port(address) == address_port(&again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct exact exact;
    static struct handshake h;
    struct sockaddr_storage peer = {.ss_family = AF_UNIX}, stranger;
    if (size == 0)
        return 0;
    h.header_count = 0;
    add_lines(&h, exact_copy(&exact, data + 1, size - 1), size - 1);
    forwarded_client(&h, trusted[data[0] % 4], &peer);
    check_address(&peer);
    CHECK(address_from_ip(&stranger, "192.0.2.1", 1));
    CHECK(!forwarded_client(&h, trusted[1], &stranger) && address_port(&stranger) == 1);
    return 0;
}
