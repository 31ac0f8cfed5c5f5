#include "proto/proxy_header.h"
#include "base/address.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

static enum proxy_header_result bad(struct proxy_header *out, const char *why)
{
    out->why = why;
    return PROXY_HEADER_BAD;
}

/* ---- version 1: PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 CR LF ---- */

enum { LINE_MAX = 107, FIELDS = 4, PORT_MAX = 65535 };

static const char *const words[] = {"PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN"};
static const int families[] = {AF_INET, AF_INET6, AF_UNSPEC};

enum { WORDS = sizeof words / sizeof *words };

/* Which of the words it begins with, as far as it goes; -1: none. */
static int word_of(const char *data, size_t len)
{
    for (int i = 0; i < WORDS; i++) {
        size_t whole = strlen(words[i]);
        if (memcmp(data, words[i], len < whole ? len : whole) == 0)
            return i;
    }
    return -1;
}

/* Decimal digits without a leading zero; -1: something else. */
static int parse_port(const char *text)
{
    int port = 0;
    if (!*text || (text[0] == '0' && text[1]))
        return -1;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || port > PORT_MAX)
            return -1;
        port = port * 10 + (*text - '0');
    }
    return port <= PORT_MAX ? port : -1;
}

static bool is_ip(int family, const char *text)
{
    struct in6_addr bytes;
    return inet_pton(family, text, &bytes) == 1;
}

/* `text`: four fields with one space between them; it is cut up. */
static bool parse_fields(struct proxy_header *out, int family, char *text)
{
    char *fields[FIELDS];
    for (int i = 0; i < FIELDS; i++) {
        fields[i] = text;
        text += strcspn(text, " ");
        if ((*text == ' ') != (i < FIELDS - 1))
            return false;
        *text++ = '\0';
    }
    int port = parse_port(fields[2]);
    return is_ip(family, fields[0]) && is_ip(family, fields[1]) && port >= 0 &&
           parse_port(fields[3]) >= 0 && address_from_ip(&out->source, fields[0], port);
}

static enum proxy_header_result parse_line(struct proxy_header *out, const char *data, size_t len)
{
    char line[LINE_MAX];
    int word = word_of(data, len);
    if (word < 0)
        return bad(out, "it does not begin with a PROXY header");
    const char *end = memchr(data, '\n', len < LINE_MAX ? len : LINE_MAX);
    if (!end)
        return len < LINE_MAX ? PROXY_HEADER_MORE
                              : bad(out, "its PROXY header has more than 107 bytes");
    size_t head = strlen(words[word]), whole = (size_t)(end - data);
    out->len = whole + 1;
    if (whole <= head || end[-1] != '\r' || memchr(data, '\0', whole))
        return bad(out, "its PROXY header is malformed");
    if (families[word] == AF_UNSPEC)
        return PROXY_HEADER_OK; /* the rest of the line is to be passed over */
    memcpy(line, data + head, whole - 1 - head);
    line[whole - 1 - head] = '\0';
    if (!parse_fields(out, families[word], line))
        return bad(out, "its PROXY header is malformed");
    return PROXY_HEADER_OK;
}

/* ---- version 2 ---- */

static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";

enum {
    SIGNATURE = sizeof signature - 1,
    HEAD = SIGNATURE + 4, /* version and command, family and protocol, length in 16 bits */
    VERSION_2 = 0x20,
    LOCAL = 0,
    PROXY = 1,
    UNSPEC = 0x00,
    IPV4_STREAM = 0x11,
    IPV6_STREAM = 0x21,
    UNIX_STREAM = 0x31,
    IPV4_LEN = 12,
    IPV6_LEN = 36,
    UNIX_LEN = 216,
};

static uint16_t number_at(const unsigned char *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void read_ipv4(struct proxy_header *out, const unsigned char *body)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(number_at(body + 8))};
    memcpy(&in.sin_addr, body, sizeof in.sin_addr);
    memcpy(&out->source, &in, sizeof in);
}

static void read_ipv6(struct proxy_header *out, const unsigned char *body)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(number_at(body + 32))};
    memcpy(&in6.sin6_addr, body, sizeof in6.sin6_addr);
    memcpy(&out->source, &in6, sizeof in6);
    address_of_peer(&out->source);
}

static bool read_addresses(struct proxy_header *out, int family, const unsigned char *body,
                           size_t len)
{
    if (family == IPV4_STREAM && len >= IPV4_LEN)
        read_ipv4(out, body);
    else if (family == IPV6_STREAM && len >= IPV6_LEN)
        read_ipv6(out, body);
    else if (family == UNIX_STREAM && len >= UNIX_LEN)
        out->source.ss_family = AF_UNIX;
    else
        return family == UNSPEC;
    return true;
}

static enum proxy_header_result parse_binary(struct proxy_header *out, const char *data, size_t len)
{
    const unsigned char *head = (const unsigned char *)data;
    if (memcmp(data, signature, len < SIGNATURE ? len : SIGNATURE) != 0)
        return bad(out, "it does not begin with a PROXY header");
    if (len > SIGNATURE && (head[SIGNATURE] & ~PROXY) != VERSION_2)
        return bad(out, "its PROXY header has an unknown version or command");
    if (len < HEAD)
        return PROXY_HEADER_MORE;
    size_t body = number_at(head + HEAD - 2);
    if (HEAD + body > PROXY_HEADER_MAX)
        return bad(out, "its PROXY header has more than 4096 bytes");
    if (len < HEAD + body)
        return PROXY_HEADER_MORE;
    out->len = HEAD + body;
    if ((head[SIGNATURE] & PROXY) == LOCAL ||
        read_addresses(out, head[SIGNATURE + 1], head + HEAD, body))
        return PROXY_HEADER_OK;
    return bad(out, "its PROXY header is of no stream, or too short");
}

enum proxy_header_result proxy_header_parse(struct proxy_header *out, const char *data, size_t len)
{
    *out = (struct proxy_header){0};
    if (len == 0)
        return PROXY_HEADER_MORE;
    return data[0] == signature[0] ? parse_binary(out, data, len) : parse_line(out, data, len);
}
