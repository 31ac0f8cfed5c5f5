#include "proto/deflate_offer.h"

#include "base/check.h"
#include <stdio.h>
#include <string.h>

enum { SERVER_NO_CONTEXT, CLIENT_NO_CONTEXT, SERVER_BITS, CLIENT_BITS, PARAMS };

static const struct {
    const char *name;
    bool bits, may_lack_value;
    uint8_t least;
} params[PARAMS] = {
    [SERVER_NO_CONTEXT] = {.name = "server_no_context_takeover"},
    [CLIENT_NO_CONTEXT] = {.name = "client_no_context_takeover"},
    /* zlib refuses a raw window of 8, or makes it 9 without a word, as its version has it. */
    [SERVER_BITS] = {.name = "server_max_window_bits", .bits = true, .least = 9},
    [CLIENT_BITS] = {"client_max_window_bits", .bits = true, .may_lack_value = true, .least = 8},
};

struct cursor {
    const char *at, *end;
};

/* No value that is allowed is longer than two characters; of a longer one the start is kept. */
struct value {
    char text[4];
    size_t len;
};

struct offer {
    bool acceptable;
    uint8_t given[PARAMS]; /* 0: not named; 1 or the window's bits */
};

/* -- the header's grammar -- */

static void skip_blanks(struct cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t'))
        c->at++;
}

/* Eats the character if it comes next, and the blanks around it. */
static bool take(struct cursor *c, char what)
{
    skip_blanks(c);
    if (c->at == c->end || *c->at != what)
        return false;
    c->at++;
    skip_blanks(c);
    return true;
}

static struct slice take_token(struct cursor *c)
{
    const char *start = c->at;
    while (c->at < c->end && handshake_is_token(*c->at))
        c->at++;
    return (struct slice){start, (size_t)(c->at - start)};
}

static void add(struct value *value, char c)
{
    if (value->len < sizeof value->text)
        value->text[value->len] = c;
    value->len++;
}

/* Behind the opening quote. What it holds must be a token without its backslashes. */
static bool take_quoted(struct cursor *c, struct value *value)
{
    for (; c->at < c->end && *c->at != '"'; c->at++) {
        if (*c->at == '\\' && ++c->at == c->end)
            return false;
        if (!handshake_is_token(*c->at))
            return false;
        add(value, *c->at);
    }
    return value->len > 0 && c->at++ < c->end;
}

static bool take_value(struct cursor *c, struct value *value)
{
    if (c->at < c->end && *c->at == '"') {
        c->at++;
        return take_quoted(c, value);
    }
    struct slice token = take_token(c);
    for (size_t i = 0; i < token.len; i++)
        add(value, token.data[i]);
    return token.len > 0;
}

/* -- what it says -- */

static bool slice_is(struct slice s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

/* Decimal without a leading zero; 0: not in the range. */
static uint8_t read_bits(const struct value *value, uint8_t least)
{
    for (uint8_t bits = least; bits <= DEFLATE_BITS_MAX; bits++) {
        char text[4];
        size_t len = (size_t)snprintf(text, sizeof text, "%u", bits);
        if (value->len == len && memcmp(value->text, text, len) == 0)
            return bits;
    }
    return 0;
}

/* What the parameter gives; 0: it must not be like that. */
static uint8_t judge(size_t param, const struct value *value)
{
    if (!params[param].bits)
        return value->len == 0;
    if (value->len == 0)
        return params[param].may_lack_value ? DEFLATE_BITS_MAX : 0;
    return read_bits(value, params[param].least);
}

static void add_param(struct offer *offer, struct slice name, const struct value *value)
{
    size_t i = 0;
    while (i < PARAMS && !slice_is(name, params[i].name))
        i++;
    uint8_t given = i < PARAMS && !offer->given[i] ? judge(i, value) : 0;
    if (given)
        offer->given[i] = given;
    else
        offer->acceptable = false;
}

/* False: malformed. */
static bool read_offer(struct cursor *c, struct offer *offer)
{
    struct slice name = take_token(c);
    *offer = (struct offer){.acceptable = slice_is(name, "permessage-deflate")};
    if (name.len == 0)
        return false;
    while (take(c, ';')) {
        struct value value = {0};
        struct slice param = take_token(c);
        if (param.len == 0 || (take(c, '=') && !take_value(c, &value)))
            return false;
        add_param(offer, param, &value);
    }
    return c->at == c->end || *c->at == ',';
}

/* -- what we make of it -- */

static uint8_t least_of(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

static struct deflate_terms agree(const struct offer *offer, bool takeover)
{
    struct deflate_terms terms = {
        .server_keeps = takeover && !offer->given[SERVER_NO_CONTEXT],
        .client_keeps = takeover && !offer->given[CLIENT_NO_CONTEXT],
        .server_bits = DEFLATE_BITS_MAX,
        .client_bits = DEFLATE_BITS_MAX,
    };
    if (terms.server_keeps)
        terms.server_bits = DEFLATE_KEPT_BITS;
    if (offer->given[SERVER_BITS])
        terms.server_bits = least_of(terms.server_bits, offer->given[SERVER_BITS]);
    /* A client that does not name it need not understand it. */
    if (offer->given[CLIENT_BITS])
        terms.client_bits = least_of(terms.client_keeps ? DEFLATE_KEPT_BITS : DEFLATE_BITS_MAX,
                                     offer->given[CLIENT_BITS]);
    return terms;
}

static void say_bits(struct deflate_answer *answer, size_t param, uint8_t bits)
{
    size_t len = strlen(answer->text);
    snprintf(answer->text + len, sizeof answer->text - len, "; %s=%u", params[param].name, bits);
}

static struct deflate_answer say(const struct offer *offer, const struct deflate_terms *terms)
{
    struct deflate_answer answer;
    snprintf(answer.text, sizeof answer.text, "permessage-deflate%s%s",
             terms->server_keeps ? "" : "; server_no_context_takeover",
             terms->client_keeps ? "" : "; client_no_context_takeover");
    if (offer->given[SERVER_BITS])
        say_bits(&answer, SERVER_BITS, terms->server_bits);
    if (terms->client_bits < DEFLATE_BITS_MAX)
        say_bits(&answer, CLIENT_BITS, terms->client_bits);
    CHECK(strlen(answer.text) < sizeof answer.text - 1);
    return answer;
}

/* One header's list, where empty elements are allowed (RFC 9110 section 5.6.1). False: malformed.
 */
static bool find_offer(struct slice header, struct offer *found)
{
    struct cursor c = {header.data, header.data + header.len};
    struct offer offer;
    for (;;) {
        while (take(&c, ','))
            continue;
        if (c.at == c.end)
            return true;
        if (!read_offer(&c, &offer))
            return false;
        if (offer.acceptable && !found->acceptable)
            *found = offer;
    }
}

enum deflate_offer_result deflate_offer_read(const struct handshake *h, bool takeover,
                                             struct deflate_terms *terms,
                                             struct deflate_answer *answer)
{
    struct offer found = {0};
    const struct handshake_header *header = NULL;
    while ((header = handshake_next(h, "Sec-WebSocket-Extensions", header)))
        if (!find_offer(header->value, &found))
            return DEFLATE_OFFER_MALFORMED;
    if (!found.acceptable)
        return DEFLATE_OFFER_NONE;
    *terms = agree(&found, takeover);
    *answer = say(&found, terms);
    return DEFLATE_OFFER_ACCEPTED;
}
