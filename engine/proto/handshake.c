/* The head is read byte by byte in one pass that stops at the first byte that is wrong; only a head
 * that has come whole and well-formed is asked what it wants. So an answer never changes with the
 * bytes that follow. */
#include "proto/handshake.h"
#include "base/check.h"
#include "proto/base64.h"
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

struct parser {
    const char *at, *end;
    struct handshake *out;
};

static enum handshake_result bad(struct handshake *out, int status, const char *why)
{
    out->status = status;
    out->why = why;
    return HANDSHAKE_BAD;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool handshake_is_token(char c)
{
    return is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

/* Bytes above ASCII are let through: clients do send paths that they should have escaped. */
static bool is_visible(char c)
{
    unsigned char byte = (unsigned char)c;
    return byte > ' ' && byte != 0x7F;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_value(char c)
{
    return is_visible(c) || is_blank(c);
}

/* The longest run of such bytes; HANDSHAKE_MORE when it reaches the end of what has come. */
static enum handshake_result run(struct parser *p, bool (*allowed)(char), struct slice *out)
{
    const char *start = p->at;
    while (p->at < p->end && allowed(*p->at))
        p->at++;
    *out = (struct slice){start, (size_t)(p->at - start)};
    return p->at < p->end ? HANDSHAKE_OK : HANDSHAKE_MORE;
}

/* A run of at least one byte and, behind it, `after`. */
static enum handshake_result field(struct parser *p, bool (*allowed)(char), char after,
                                   struct slice *out, const char *why)
{
    enum handshake_result result = run(p, allowed, out);
    if (result != HANDSHAKE_OK)
        return result;
    if (out->len == 0 || *p->at != after)
        return bad(p->out, 400, why);
    p->at++;
    return HANDSHAKE_OK;
}

static enum handshake_result literal(struct parser *p, const char *text, const char *why)
{
    for (; *text; text++, p->at++) {
        if (p->at == p->end)
            return HANDSHAKE_MORE;
        if (*p->at != *text)
            return bad(p->out, 400, why);
    }
    return HANDSHAKE_OK;
}

static enum handshake_result digit(struct parser *p, const char *why)
{
    if (p->at == p->end)
        return HANDSHAKE_MORE;
    if (*p->at < '0' || *p->at > '9')
        return bad(p->out, 400, why);
    p->at++;
    return HANDSHAKE_OK;
}

static enum handshake_result version(struct parser *p)
{
    static const char why[] = "malformed HTTP version";
    const char *start = p->at;
    enum handshake_result result = literal(p, "HTTP/", why);
    if (result == HANDSHAKE_OK)
        result = digit(p, why);
    if (result == HANDSHAKE_OK)
        result = literal(p, ".", why);
    if (result == HANDSHAKE_OK)
        result = digit(p, why);
    p->out->version = (struct slice){start, (size_t)(p->at - start)};
    return result;
}

static enum handshake_result request_line(struct parser *p)
{
    struct handshake *out = p->out;
    enum handshake_result result =
        field(p, handshake_is_token, ' ', &out->method, "malformed method");
    if (result == HANDSHAKE_OK)
        result = field(p, is_visible, ' ', &out->uri, "malformed request target");
    if (result == HANDSHAKE_OK)
        result = version(p);
    if (result == HANDSHAKE_OK)
        result = literal(p, "\r\n", "malformed request line");
    return result;
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && is_blank(s.data[0])) {
        s.data++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

static enum handshake_result header_line(struct parser *p)
{
    struct handshake *out = p->out;
    if (out->header_count == HANDSHAKE_HEADERS_MAX)
        return bad(out, 431, "too many header fields");
    struct handshake_header *header = &out->headers[out->header_count];
    enum handshake_result result =
        field(p, handshake_is_token, ':', &header->name, "malformed header name");
    if (result == HANDSHAKE_OK)
        result = run(p, is_value, &header->value);
    if (result == HANDSHAKE_OK)
        result = literal(p, "\r\n", "malformed header value");
    header->value = trim(header->value);
    out->header_count += result == HANDSHAKE_OK;
    return result;
}

static enum handshake_result head(struct parser *p)
{
    enum handshake_result result = request_line(p);
    while (result == HANDSHAKE_OK) {
        if (p->at == p->end)
            return HANDSHAKE_MORE;
        if (*p->at == '\r')
            return literal(p, "\r\n", "malformed end of the head");
        result = header_line(p);
    }
    return result;
}

static bool slice_is(struct slice s, const char *text)
{
    return s.len == strlen(text) && strncasecmp(s.data, text, s.len) == 0;
}

/* Takes the text before the next comma off `rest`. */
static struct slice next_item(struct slice *rest)
{
    const char *comma = memchr(rest->data, ',', rest->len);
    struct slice item = {rest->data, comma ? (size_t)(comma - rest->data) : rest->len};
    size_t taken = item.len + (comma != NULL);
    rest->data += taken;
    rest->len -= taken;
    return trim(item);
}

/* Is the token in the comma list that all headers of that name make together? */
static bool lists(const struct handshake *h, const char *name, const char *token)
{
    for (size_t i = 0; i < h->header_count; i++) {
        struct slice rest = h->headers[i].value;
        if (!slice_is(h->headers[i].name, name))
            continue;
        while (rest.len > 0)
            if (slice_is(next_item(&rest), token))
                return true;
    }
    return false;
}

static struct slice first_value(const struct handshake *h, const char *name)
{
    const struct handshake_header *header = handshake_find(h, name);
    return header ? header->value : (struct slice){"", 0};
}

static size_t count(const struct handshake *h, const char *name)
{
    size_t found = 0;
    for (size_t i = 0; i < h->header_count; i++)
        found += slice_is(h->headers[i].name, name);
    return found;
}

static enum handshake_result check_version(struct handshake *h)
{
    if (h->version.data[5] != '1' || h->version.data[7] != '1')
        return bad(h, 505, "only HTTP/1.1 is spoken here");
    return HANDSHAKE_OK;
}

/* A message body has no place before an upgrade, and two views of its length are how requests are
 * smuggled past a proxy. */
static enum handshake_result check_no_body(struct handshake *h)
{
    if (count(h, "Transfer-Encoding") > 0)
        return bad(h, 400, "Transfer-Encoding is not allowed");
    for (size_t i = 0; i < h->header_count; i++)
        if (slice_is(h->headers[i].name, "Content-Length") && !slice_is(h->headers[i].value, "0"))
            return bad(h, 400, "a body is not allowed");
    return HANDSHAKE_OK;
}

static bool is_host(char c)
{
    return is_visible(c) && !strchr(",/\\?#@", c);
}

static enum handshake_result check_host(struct handshake *h)
{
    if (count(h, "Host") != 1)
        return bad(h, 400, "exactly one Host is needed");
    h->host = first_value(h, "Host");
    for (size_t i = 0; i < h->host.len; i++)
        if (!is_host(h->host.data[i]))
            return bad(h, 400, "malformed Host");
    return h->host.len > 0 ? HANDSHAKE_OK : bad(h, 400, "empty Host");
}

static enum handshake_result check_method(struct handshake *h)
{
    bool get = h->method.len == 3 && memcmp(h->method.data, "GET", 3) == 0;
    return get ? HANDSHAKE_OK : bad(h, 405, "only GET is allowed");
}

/* The scheme's length with its "://"; 0 when the target has none that is ours. */
static size_t scheme_len(struct slice uri)
{
    static const char *const schemes[] = {"http://", "https://", "ws://", "wss://"};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
        size_t len = strlen(schemes[i]);
        if (uri.len > len && strncasecmp(uri.data, schemes[i], len) == 0)
            return len;
    }
    return 0;
}

/* An absolute form without a path asks for "/": a slash of its scheme serves as that. */
static enum handshake_result check_target(struct handshake *h)
{
    struct slice *uri = &h->uri;
    if (uri->data[0] == '/')
        return HANDSHAKE_OK;
    size_t scheme = scheme_len(*uri);
    struct slice rest = {uri->data + scheme, uri->len - scheme};
    size_t authority = 0;
    while (authority < rest.len && is_host(rest.data[authority]))
        authority++;
    if (scheme == 0 || authority == 0 || (authority < rest.len && rest.data[authority] != '/'))
        return bad(h, 400, "malformed request target");
    *uri = authority < rest.len ? (struct slice){rest.data + authority, rest.len - authority}
                                : (struct slice){rest.data - 1, 1};
    return HANDSHAKE_OK;
}

/* Base64 of 16 bytes: 22 digits and "==". */
static bool is_key(struct slice s)
{
    if (s.len != HANDSHAKE_KEY_LEN || memcmp(s.data + s.len - 2, "==", 2) != 0)
        return false;
    for (size_t i = 0; i < s.len - 2; i++)
        if (!base64_has(s.data[i]))
            return false;
    return true;
}

static enum handshake_result check_upgrade(struct handshake *h)
{
    if (!lists(h, "Upgrade", "websocket"))
        return bad(h, 426, "an upgrade to websocket is needed");
    if (!lists(h, "Connection", "Upgrade"))
        return bad(h, 400, "Connection does not name Upgrade");
    if (count(h, "Sec-WebSocket-Version") > 1 || count(h, "Sec-WebSocket-Key") > 1)
        return bad(h, 400, "repeated Sec-WebSocket header");
    if (!slice_is(first_value(h, "Sec-WebSocket-Version"), "13"))
        return bad(h, 426, "only version 13 is spoken here");
    h->key = first_value(h, "Sec-WebSocket-Key");
    return is_key(h->key) ? HANDSHAKE_OK : bad(h, 400, "malformed Sec-WebSocket-Key");
}

static enum handshake_result check_request(struct handshake *h)
{
    enum handshake_result (*const checks[])(struct handshake *) = {
        check_version, check_no_body, check_host, check_method, check_target, check_upgrade};
    for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++) {
        enum handshake_result result = checks[i](h);
        if (result != HANDSHAKE_OK)
            return result;
    }
    h->protocols = first_value(h, "Sec-WebSocket-Protocol");
    h->origin = first_value(h, "Origin");
    return HANDSHAKE_OK;
}

enum handshake_result handshake_parse(struct handshake *out, const char *data, size_t len)
{
    *out = (struct handshake){0};
    if (len == 0)
        return HANDSHAKE_MORE;
    bool full = len >= HANDSHAKE_HEAD_MAX;
    struct parser parser = {data, data + (full ? HANDSHAKE_HEAD_MAX : len), out};
    enum handshake_result result = head(&parser);
    if (result == HANDSHAKE_MORE && full)
        return bad(out, 431, "head too large");
    if (result != HANDSHAKE_OK)
        return result;
    out->head_len = (size_t)(parser.at - data);
    return check_request(out);
}

const struct handshake_header *handshake_find(const struct handshake *h, const char *name)
{
    return handshake_next(h, name, NULL);
}

const struct handshake_header *handshake_next(const struct handshake *h, const char *name,
                                              const struct handshake_header *last)
{
    size_t first = last ? (size_t)(last - h->headers) + 1 : 0;
    for (size_t i = first; i < h->header_count; i++)
        if (slice_is(h->headers[i].name, name))
            return &h->headers[i];
    return NULL;
}

void handshake_accept(struct slice key, char out[HANDSHAKE_ACCEPT_LEN + 1])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[HANDSHAKE_KEY_LEN + sizeof(guid)];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_len;
    CHECK(key.len == HANDSHAKE_KEY_LEN);
    memcpy(text, key.data, HANDSHAKE_KEY_LEN);
    memcpy(text + HANDSHAKE_KEY_LEN, guid, sizeof(guid));
    CHECK(EVP_Digest(text, sizeof(text) - 1, digest, &digest_len, EVP_sha1(), NULL) == 1);
    CHECK(EVP_EncodeBlock((unsigned char *)out, digest, (int)digest_len) == HANDSHAKE_ACCEPT_LEN);
}

void handshake_answer(struct buf *out, const struct handshake *h, const char *extensions)
{
    static const char start[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                "Upgrade: websocket\r\n"
                                "Connection: Upgrade\r\n"
                                "Sec-WebSocket-Accept: ";
    char accept[HANDSHAKE_ACCEPT_LEN + 1];
    handshake_accept(h->key, accept);
    buf_append(out, start, sizeof start - 1);
    buf_append(out, accept, HANDSHAKE_ACCEPT_LEN);
    if (extensions) {
        buf_append_str(out, "\r\nSec-WebSocket-Extensions: ");
        buf_append_str(out, extensions);
    }
    buf_append_str(out, "\r\n\r\n");
}

static const char *phrase(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } phrases[] = {
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(phrases) / sizeof(*phrases); i++)
        if (phrases[i].status == status)
            return phrases[i].phrase;
    return "Refused";
}

static const char *extra_headers(int status)
{
    if (status == 405)
        return "Connection: close\r\nAllow: GET\r\n";
    if (status == 429)
        return "Connection: close\r\nRetry-After: 1\r\n";
    if (status == 426)
        return "Connection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    return "Connection: close\r\n";
}

void handshake_refuse(struct buf *out, int status, const char *why)
{
    buf_printf(out,
               "HTTP/1.1 %d %s\r\n"
               "%s"
               "Content-Type: text/plain\r\n"
               "Content-Length: %zu\r\n"
               "\r\n"
               "%s\n",
               status, phrase(status), extra_headers(status), strlen(why) + 1, why);
}
