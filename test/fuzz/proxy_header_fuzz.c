/* An answer to a PROXY header must not change with the bytes that follow, and the address that it
 * gives is one. */
#include "proto/proxy_header.h"

#include "base/address.h"
#include "base/check.h"
#include "exact.h"
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum proxy_header_result parse(struct proxy_header *header, const uint8_t *data, size_t len)
{
    static struct exact exact;
    const char *block = exact_copy(&exact, data, len);
    enum proxy_header_result result = proxy_header_parse(header, block, len);
    CHECK(len == 0 || memcmp(block, data, len) == 0);
    return result;
}

static void check_source(const struct proxy_header *header)
{
    char text[ADDRESS_TEXT];
    struct sockaddr_storage again;
    if (header->source.ss_family == AF_UNSPEC)
        return;
    address_text(&header->source, text);
    CHECK(address_from_text(&again, text, strlen(text)));
    CHECK(address_same_host(&header->source, &again));
    CHECK(address_port(&header->source) == address_port(&again));
}

/* The prefix of that length says the same, or wants more. */
static void check_prefix(const uint8_t *data, size_t len, enum proxy_header_result whole,
                         const struct proxy_header *of_whole)
{
    struct proxy_header header;
    enum proxy_header_result result = parse(&header, data, len);
    CHECK(result == PROXY_HEADER_MORE || result == whole);
    if (result == PROXY_HEADER_BAD)
        CHECK(header.why == of_whole->why);
    if (result == PROXY_HEADER_OK)
        CHECK(header.len == of_whole->len &&
              memcmp(&header.source, &of_whole->source, sizeof header.source) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header header;
    enum proxy_header_result result = parse(&header, data, size);
    for (size_t len = 0; len < size && len < 256; len++)
        check_prefix(data, len, result, &header);
    CHECK(result != PROXY_HEADER_MORE || size < PROXY_HEADER_MAX);
    if (result == PROXY_HEADER_BAD)
        CHECK(header.why && header.why[0]);
    if (result == PROXY_HEADER_OK) {
        CHECK(header.len > 0 && header.len <= size && header.len <= PROXY_HEADER_MAX);
        check_source(&header);
        check_prefix(data, header.len, result, &header);
        check_prefix(data, header.len - 1, PROXY_HEADER_MORE, &header);
    }
    return 0;
}
