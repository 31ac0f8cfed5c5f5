/* libcurl carries out one exchange; redirects are followed here, so that what may go to another
 * host, and what may not, is decided in one place. */
#include "script/http_request.h"
#include "base/buf.h"
#include "base/check.h"
#include "script/http_text.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct http_request {
    struct http_transfer transfer;
    http_request_done *done;
    void *owner;
    struct wheel *wheel;
    struct timeout timeout;
    struct http_limits limits;
    unsigned redirects; /* that were followed */

    char *method;
    CURLU *target;
    char *url; /* the target as text */
    struct curl_slist *headers;
    struct buf cookies;
    char *user, *password;
    struct buf body;
    bool has_body;
    size_t head_sent; /* bytes of headers and cookies */

    struct buf answer;
    size_t head_received;
    unsigned head_lines;
    bool head_ended;
    bool is_refused; /* by one of our callbacks; `error` says why */
    char detail[CURL_ERROR_SIZE];
    char error[CURL_ERROR_SIZE + 128];
};

static const char *fail(struct http_request *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static const char *fail(struct http_request *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->error, sizeof r->error, format, args);
    va_end(args);
    return r->error;
}

/* -- the target -- */

static char *part(CURLU *url, CURLUPart which, unsigned flags)
{
    char *text = NULL;
    CURLUcode code = curl_url_get(url, which, &text, flags);
    CHECK(code != CURLUE_OUT_OF_MEMORY);
    return code == CURLUE_OK ? text : NULL;
}

static bool is_part(CURLU *url, CURLUPart which, const char *expected)
{
    char *text = part(url, which, CURLU_DEFAULT_PORT);
    bool same = text && strcasecmp(text, expected) == 0;
    curl_free(text);
    return same;
}

static bool have_same(CURLU *a, CURLU *b, CURLUPart which)
{
    char *text = part(b, which, CURLU_DEFAULT_PORT);
    bool same = text && is_part(a, which, text);
    curl_free(text);
    return same;
}

static bool have_same_origin(CURLU *a, CURLU *b)
{
    return have_same(a, b, CURLUPART_SCHEME) && have_same(a, b, CURLUPART_HOST) &&
           have_same(a, b, CURLUPART_PORT);
}

static bool is_by_name(CURLU *url)
{
    struct in_addr address;
    char *host = part(url, CURLUPART_HOST, 0);
    bool by_name = host && host[0] != '[' && inet_pton(AF_INET, host, &address) != 1;
    curl_free(host);
    return by_name;
}

/* Credentials in a URL are sent, but stand in no URL that a script sees afterwards. */
static const char *take_credentials(struct http_request *r)
{
    char *user = part(r->target, CURLUPART_USER, CURLU_URLDECODE);
    char *password = part(r->target, CURLUPART_PASSWORD, CURLU_URLDECODE);
    const char *why = user ? http_request_auth(r, user, password ? password : "") : NULL;
    curl_free(user);
    curl_free(password);
    CHECK(curl_url_set(r->target, CURLUPART_USER, NULL, 0) == CURLUE_OK);
    CHECK(curl_url_set(r->target, CURLUPART_PASSWORD, NULL, 0) == CURLUE_OK);
    return why;
}

static void remember_url(struct http_request *r)
{
    curl_free(r->url);
    r->url = part(r->target, CURLUPART_URL, 0);
    CHECK(r->url);
}

static bool is_supported(CURLU *url)
{
    return is_part(url, CURLUPART_SCHEME, "http") || is_part(url, CURLUPART_SCHEME, "https");
}

static void forget_secrets(struct http_request *r);

static const char *set_url(struct http_request *r, const char *text)
{
    const char *whose = r->redirects > 0 ? " in a redirect" : "";
    CURLU *url = curl_url();
    CHECK(url);
    CURLUcode code =
        curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME | CURLU_URLENCODE);
    if (code != CURLUE_OK || !is_supported(url)) {
        curl_url_cleanup(url);
        return code != CURLUE_OK ? fail(r, "bad URL%s: %s", whose, curl_url_strerror(code))
                                 : fail(r, "unsupported scheme%s: it must be http or https", whose);
    }
    if (r->target && !have_same_origin(r->target, url))
        forget_secrets(r);
    curl_url_cleanup(r->target);
    r->target = url;
    r->transfer.by_name = is_by_name(url);
    const char *why = take_credentials(r);
    remember_url(r);
    return why;
}

const char *http_request_query(struct http_request *r, const char *query, size_t len)
{
    if (len > HTTP_URL_MAX)
        return fail(r, "the query is longer than %d bytes", HTTP_URL_MAX);
    if (len > 0 && (!http_text_is_url(query, len) || memchr(query, '#', len)))
        return fail(r, "bad query: a space, a control character or # in it is not encoded");
    char *copy = xstrndup(query, len);
    CURLUcode code = curl_url_set(r->target, CURLUPART_QUERY, len > 0 ? copy : NULL, 0);
    free(copy);
    if (code != CURLUE_OK)
        return fail(r, "bad query: %s", curl_url_strerror(code));
    remember_url(r);
    return NULL;
}

/* CONNECT and what it opens is no exchange of messages. */
static const char *set_method(struct http_request *r, const char *method, size_t len)
{
    if (!http_text_is_token(method, len) || len > 64)
        return fail(r, "bad method: letters are expected, as in GET");
    r->method = xstrndup(method, len);
    for (char *c = r->method; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return strcmp(r->method, "CONNECT") == 0 ? fail(r, "bad method: CONNECT is for proxies") : NULL;
}

const char *http_request_target(struct http_request *r, const char *method, size_t method_len,
                                const char *url, size_t url_len)
{
    const char *why = set_method(r, method, method_len);
    if (why)
        return why;
    if (url_len > HTTP_URL_MAX)
        return fail(r, "the URL is longer than %d bytes", HTTP_URL_MAX);
    if (!http_text_is_url(url, url_len))
        return fail(r, "bad URL: it is empty, or a space or a control character in it is not "
                       "encoded");
    return set_url(r, url);
}

/* -- headers and body -- */

static bool is_any_of(const char *name, size_t len, const char *const *names)
{
    for (; *names; names++)
        if (strlen(*names) == len && strncasecmp(*names, name, len) == 0)
            return true;
    return false;
}

static bool is_header(const char *line, const char *name)
{
    size_t len = strlen(name);
    return strncasecmp(line, name, len) == 0 && strchr(":;", line[len]);
}

static bool has_header(const struct http_request *r, const char *name)
{
    const struct curl_slist *header = r->headers;
    while (header && !is_header(header->data, name))
        header = header->next;
    return header;
}

/* libcurl takes "Name;" for a header without a value, and "Name:" for one that is not sent. */
static void add_line(struct http_request *r, char *line)
{
    struct curl_slist *headers = curl_slist_append(r->headers, line);
    CHECK(headers);
    r->headers = headers;
    free(line);
}

static bool has_room(struct http_request *r, size_t bytes)
{
    if (bytes > HTTP_HEAD_MAX - r->head_sent)
        return false;
    r->head_sent += bytes;
    return true;
}

static void append_cookies(struct http_request *r, const char *text, size_t len)
{
    if (r->cookies.len > 0)
        buf_append(&r->cookies, "; ", 2);
    buf_append(&r->cookies, text, len);
}

const char *http_request_header(struct http_request *r, const char *name, size_t name_len,
                                const char *value, size_t value_len)
{
    /* These follow from the body. */
    static const char *const own[] = {"Content-Length", "Transfer-Encoding", "Trailer", NULL};
    static const char *const cookie[] = {"Cookie", NULL};
    if (!http_text_is_token(name, name_len))
        return fail(r, "bad header name: letters, digits and - are expected");
    if (!http_text_is_value(value, value_len))
        return fail(r, "bad header %.100s: its value has a line break or a control character",
                    name);
    if (!has_room(r, name_len + value_len + 4))
        return fail(r, "the headers are longer than %d bytes", HTTP_HEAD_MAX);
    if (is_any_of(name, name_len, own))
        return NULL;
    if (is_any_of(name, name_len, cookie))
        append_cookies(r, value, value_len);
    else if (value_len == 0)
        add_line(r, xasprintf("%s;", name));
    else
        add_line(r, xasprintf("%s: %s", name, value));
    return NULL;
}

const char *http_request_cookie(struct http_request *r, const char *name, size_t name_len,
                                const char *value, size_t value_len)
{
    if (!http_text_is_token(name, name_len))
        return fail(r, "bad cookie name: letters, digits and - are expected");
    if (!http_text_is_cookie_value(value, value_len))
        return fail(r, "bad cookie %.100s: its value has a line break, a control character or ;",
                    name);
    if (!has_room(r, name_len + value_len + 3))
        return fail(r, "the headers are longer than %d bytes", HTTP_HEAD_MAX);
    append_cookies(r, name, name_len);
    buf_append_char(&r->cookies, '=');
    buf_append(&r->cookies, value, value_len);
    return NULL;
}

static void forget_auth(struct http_request *r)
{
    free(r->user);
    free(r->password);
    r->user = r->password = NULL;
}

const char *http_request_auth(struct http_request *r, const char *user, const char *password)
{
    if (strlen(user) > 4096 || strlen(password) > 4096)
        return fail(r, "the user's name or password is longer than 4096 bytes");
    forget_auth(r);
    r->user = xstrdup(user);
    r->password = xstrdup(password);
    return NULL;
}

const char *http_request_body(struct http_request *r, const char *data, size_t len,
                              const char *type)
{
    if (strcmp(r->method, "HEAD") == 0)
        return fail(r, "a HEAD request has no body");
    if (!http_client_hold(r->transfer.client, len))
        return fail(r, "the bodies of all requests of this worker are larger than %d bytes",
                    HTTP_HELD_MAX);
    buf_append(&r->body, data, len);
    r->has_body = true;
    if (type && !has_header(r, "Content-Type"))
        add_line(r, xasprintf("Content-Type: %s", type));
    return NULL;
}

/* -- the answer -- */

static void free_body(struct http_request *r, struct buf *body)
{
    http_client_let_go(r->transfer.client, body->len);
    buf_free(body);
}

static void forget_answer(struct http_request *r)
{
    free_body(r, &r->answer);
    r->head_received = 0;
    r->head_lines = 0;
}

/* Others need the room now: libcurl may call them before it says that this one has failed. */
static size_t refuse(struct http_request *r)
{
    r->is_refused = true;
    forget_answer(r);
    return 0;
}

/* An interim answer's head comes before that of the answer, a trailer after the body. */
static size_t on_head(char *line, size_t one, size_t len, void *data)
{
    (void)one;
    struct http_request *r = data;
    if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
        r->head_ended = false;
    else if (line[0] == '\r' || line[0] == '\n')
        r->head_ended = true;
    r->head_received += len;
    r->head_lines++;
    if (r->head_received <= HTTP_HEAD_MAX && r->head_lines <= HTTP_HEAD_LINES_MAX)
        return len;
    fail(r, "the answer's headers are longer than %d bytes or %d lines", HTTP_HEAD_MAX,
         HTTP_HEAD_LINES_MAX);
    return refuse(r);
}

static const char *body_too_large(struct http_request *r)
{
    return fail(r, "the answer's body is larger than %zu bytes", r->limits.body);
}

static size_t on_body(char *bytes, size_t one, size_t len, void *data)
{
    (void)one;
    struct http_request *r = data;
    if (len > r->limits.body - r->answer.len) {
        body_too_large(r);
        return refuse(r);
    }
    if (!http_client_hold(r->transfer.client, len)) {
        fail(r, "the bodies of all requests of this worker are larger than %d bytes",
             HTTP_HELD_MAX);
        return refuse(r);
    }
    buf_append(&r->answer, bytes, len);
    return len;
}

/* -- an exchange -- */

static bool is_method(const struct http_request *r, const char *method)
{
    return strcmp(r->method, method) == 0;
}

/* Servers expect a length with these, though it is zero. */
static bool sends_body(const struct http_request *r)
{
    return r->has_body || is_method(r, "POST") || is_method(r, "PUT") || is_method(r, "PATCH");
}

static void set_request(struct http_request *r, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_URL, r->url);
    if (sends_body(r)) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, r->body.len > 0 ? r->body.data : "");
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len);
    } else if (is_method(r, "HEAD")) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "mixengine/" MIXENGINE_VERSION);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, r->headers);
    curl_easy_setopt(easy, CURLOPT_COOKIE, r->cookies.data);
    curl_easy_setopt(easy, CURLOPT_USERNAME, r->user);
    curl_easy_setopt(easy, CURLOPT_PASSWORD, r->password);
}

/* The environment says which certificates are trusted, as it does for other programs; it names no
 * proxy. */
static void set_connection(CURL *easy)
{
    const char *trusted = getenv("SSL_CERT_FILE");
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    if (trusted && trusted[0])
        curl_easy_setopt(easy, CURLOPT_CAINFO, trusted);
}

/* The deadline is ours: libcurl's own would not count redirects and the time in line. */
static void set_answer(struct http_request *r, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)r->limits.timeout_ms + 1000);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, r->detail);
    if (!is_method(r, "HEAD"))
        curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)r->limits.body);
}

static void on_turn(struct http_transfer *transfer)
{
    struct http_request *r = container_of(transfer, struct http_request, transfer);
    set_request(r, transfer->easy);
    set_connection(transfer->easy);
    set_answer(r, transfer->easy);
}

/* -- redirects -- */

static void keep_headers(struct http_request *r, bool keep(const char *line))
{
    struct curl_slist *old = r->headers;
    r->headers = NULL;
    for (struct curl_slist *header = old; header; header = header->next)
        if (keep(header->data))
            add_line(r, xstrdup(header->data));
    curl_slist_free_all(old);
}

static bool is_for_any_host(const char *line)
{
    static const char *const secret[] = {
        "Authorization", "Proxy-Authorization", "WWW-Authenticate", "Cookie2", "Host", NULL};
    return !is_any_of(line, strcspn(line, ":;"), secret);
}

static bool is_not_about_body(const char *line)
{
    return strncasecmp(line, "Content-", 8) != 0;
}

static void forget_secrets(struct http_request *r)
{
    forget_auth(r);
    buf_free(&r->cookies);
    keep_headers(r, is_for_any_host);
}

static void forget_body(struct http_request *r)
{
    free_body(r, &r->body);
    r->has_body = false;
    keep_headers(r, is_not_about_body);
}

/* As browsers do, 301 and 302 too. */
static void change_method(struct http_request *r, int status)
{
    if (status == 307 || status == 308 || is_method(r, "GET") || is_method(r, "HEAD"))
        return;
    free(r->method);
    r->method = xstrdup("GET");
    forget_body(r);
}

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* NULL: the answer is the last one. */
static const char *find_redirect(const struct http_request *r)
{
    char *url = NULL;
    if (is_redirect(http_request_status(r)) && r->limits.redirects > 0)
        curl_easy_getinfo(r->transfer.easy, CURLINFO_REDIRECT_URL, &url);
    return url;
}

static const char *redirect(struct http_request *r, const char *url)
{
    if (r->redirects == r->limits.redirects)
        return fail(r, "too many redirects: more than %u", r->limits.redirects);
    r->redirects++;
    const char *why = set_url(r, url);
    if (why)
        return why;
    change_method(r, http_request_status(r));
    forget_answer(r);
    http_client_go_on(&r->transfer);
    return NULL;
}

/* -- the end -- */

static void finish(struct http_request *r)
{
    wheel_clear(r->wheel, &r->timeout);
    if (r->error[0])
        forget_answer(r);
    r->done(r->owner);
}

static void explain_no_connection(struct http_request *r)
{
    long number = 0;
    char *host = part(r->target, CURLUPART_HOST, 0);
    char *port = part(r->target, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    curl_easy_getinfo(r->transfer.easy, CURLINFO_OS_ERRNO, &number);
    fail(r, "could not connect to %.100s:%s: %s", host, port,
         number > 0 ? uv_strerror(-(int)number) : r->detail);
    curl_free(host);
    curl_free(port);
}

static const char *kind_of(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return "could not resolve the host's name";
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
        return "the server's certificate is not accepted";
    case CURLE_SSL_CONNECT_ERROR:
        return "TLS failed";
    case CURLE_GOT_NOTHING:
        return "the server closed the connection without an answer";
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
        return "the answer broke off";
    case CURLE_SEND_ERROR:
        return "the request could not be sent";
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
        return "the answer is not HTTP";
    default:
        return "the request failed";
    }
}

static void explain(struct http_request *r, CURLcode code)
{
    if (r->is_refused)
        return;
    if (code == CURLE_FILESIZE_EXCEEDED)
        body_too_large(r);
    else if (code == CURLE_OUT_OF_MEMORY) /* it has a limit for a line, of 100 KiB */
        fail(r, "the answer's headers have a line longer than 102400 bytes");
    else if (code == CURLE_COULDNT_CONNECT)
        explain_no_connection(r);
    else
        fail(r, "%s: %s", kind_of(code), r->detail[0] ? r->detail : curl_easy_strerror(code));
}

static void on_done(struct http_transfer *transfer, CURLcode code)
{
    struct http_request *r = container_of(transfer, struct http_request, transfer);
    bool is_whole = code == CURLE_OK && r->head_ended; /* half a head is enough for libcurl */
    const char *url = is_whole ? find_redirect(r) : NULL;
    if (url && !redirect(r, url))
        return;
    if (code != CURLE_OK)
        explain(r, code);
    else if (!is_whole)
        fail(r, "the answer broke off: its headers have no end");
    finish(r);
}

static const char *phase_of(const struct http_request *r)
{
    curl_off_t ready = 0;
    if (r->transfer.state == HTTP_WAITING)
        return "waiting for other requests to end";
    if (r->transfer.state == HTTP_LOOKING_UP)
        return "looking up the host's name";
    curl_easy_getinfo(r->transfer.easy, CURLINFO_PRETRANSFER_TIME_T, &ready);
    if (ready == 0)
        return "connecting";
    return http_request_status(r) == 0 ? "waiting for the answer" : "reading the answer";
}

static void on_timeout(struct timeout *timeout)
{
    struct http_request *r = container_of(timeout, struct http_request, timeout);
    fail(r, "timeout (%g s) while %s", (double)r->limits.timeout_ms / 1000, phase_of(r));
    http_client_stop(&r->transfer);
    finish(r);
}

void http_request_abort(struct http_request *r, const char *why)
{
    wheel_clear(r->wheel, &r->timeout);
    http_client_stop(&r->transfer);
    fail(r, "%s", why);
}

/* -- life -- */

struct http_request *http_request_new(struct http_client *client, struct wheel *wheel)
{
    struct http_request *r = xcalloc(1, sizeof *r);
    r->transfer = (struct http_transfer){.client = client, .on_turn = on_turn, .on_done = on_done};
    r->wheel = wheel;
    return r;
}

void http_request_free(struct http_request *r)
{
    if (!r)
        return;
    wheel_clear(r->wheel, &r->timeout);
    http_client_stop(&r->transfer);
    http_client_release(&r->transfer);
    forget_auth(r);
    free_body(r, &r->body);
    free_body(r, &r->answer);
    buf_free(&r->cookies);
    curl_slist_free_all(r->headers);
    curl_url_cleanup(r->target);
    curl_free(r->url);
    free(r->method);
    free(r);
}

/* What libcurl would add to a body by itself. */
static void leave_out(struct http_request *r, const char *name)
{
    if (!has_header(r, name))
        add_line(r, xasprintf("%s:", name));
}

const char *http_request_start(struct http_request *r, const struct http_limits *limits,
                               http_request_done *done, void *owner)
{
    r->limits = *limits;
    r->done = done;
    r->owner = owner;
    if (r->cookies.len > 0)
        buf_append_char(&r->cookies, '\0');
    if (sends_body(r)) {
        leave_out(r, "Expect");
        leave_out(r, "Content-Type");
    }
    if (!http_client_start(&r->transfer))
        return fail(r, "too many requests: %d are under way and %d wait in this worker",
                    HTTP_RUNNING_MAX, HTTP_WAITING_MAX);
    wheel_set(r->wheel, &r->timeout, limits->timeout_ms, on_timeout);
    return NULL;
}

const char *http_request_error(const struct http_request *r)
{
    return r->error[0] ? r->error : NULL;
}

int http_request_status(const struct http_request *r)
{
    long status = 0;
    curl_easy_getinfo(r->transfer.easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

const char *http_request_url(const struct http_request *r)
{
    return r->url;
}

const char *http_request_answer(const struct http_request *r, size_t *len)
{
    *len = r->answer.len;
    return r->answer.data;
}

struct curl_header *http_request_next_header(const struct http_request *r, struct curl_header *last)
{
    struct curl_header *next = curl_easy_nextheader(r->transfer.easy, CURLH_HEADER, -1, last);
    if (next)
        next->value[strcspn(next->value, "\r\n")] = '\0'; /* of an empty one it leaves the CR */
    return next;
}
