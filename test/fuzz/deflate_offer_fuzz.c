/* Whatever is offered, what is answered must be an offer that is accepted on the same terms.
 *
 * Input: byte 0 is odd where a context may be kept; then the values of the headers, each in a line.
 */
#include "proto/deflate_offer.h"

#include "base/check.h"
#include "exact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct handshake request(const char *values, size_t len)
{
    struct handshake h = {0};
    const char *end = values + len;
    while (values < end && h.header_count < HANDSHAKE_HEADERS_MAX) {
        const char *line_end = memchr(values, '\n', (size_t)(end - values));
        line_end = line_end ? line_end : end;
        h.headers[h.header_count++] = (struct handshake_header){
            {"Sec-WebSocket-Extensions", 24}, {values, (size_t)(line_end - values)}};
        values = line_end + (line_end < end);
    }
    return h;
}

static void check_terms(const struct deflate_terms *terms, bool takeover)
{
    CHECK(terms->server_bits >= 9 && terms->server_bits <= 15);
    CHECK(terms->client_bits >= 8 && terms->client_bits <= 15);
    CHECK(takeover || (!terms->server_keeps && !terms->client_keeps));
    CHECK(!terms->server_keeps || terms->server_bits <= DEFLATE_KEPT_BITS);
}

static void check_again(const struct deflate_answer *answer, const struct deflate_terms *terms,
                        bool takeover)
{
    struct deflate_terms again;
    struct deflate_answer said;
    struct handshake h = request(answer->text, strlen(answer->text));
    CHECK(deflate_offer_read(&h, takeover, &again, &said) == DEFLATE_OFFER_ACCEPTED);
    CHECK(again.server_keeps == terms->server_keeps && again.client_keeps == terms->client_keeps);
    CHECK(again.server_bits == terms->server_bits && again.client_bits == terms->client_bits);
    CHECK(strcmp(said.text, answer->text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct deflate_terms terms;
    struct deflate_answer answer;
    if (size == 0)
        return 0;
    bool takeover = data[0] & 1;
    static struct exact exact;
    struct handshake h = request(exact_copy(&exact, data + 1, size - 1), size - 1);
    if (deflate_offer_read(&h, takeover, &terms, &answer) == DEFLATE_OFFER_ACCEPTED) {
        check_terms(&terms, takeover);
        check_again(&answer, &terms, takeover);
    }
    return 0;
}
