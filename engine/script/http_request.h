/* One HTTP request with the redirects that follow from it: what is asked for, within which limits,
 * and what came back. HTTP/1.1 over http and https; the server's certificate is verified.
 *
 * Made, described, started once, freed. A function that returns text returns NULL when all is well,
 * else what is wrong, which lives as long as the request. All that is given is copied. Worker's
 * thread. */
#pragma once

#include "script/http_client.h"

enum {
    HTTP_URL_MAX = 64 << 10,
    HTTP_HEAD_MAX = 256 << 10, /* all headers, those sent and those received */
    HTTP_HEAD_LINES_MAX = 500,
    HTTP_TIMEOUT_MS = 30000,
    HTTP_BODY_MAX = 16 << 20,
    HTTP_REDIRECTS = 10,
};

struct http_request;

struct http_limits {
    uint64_t timeout_ms; /* from the start to the whole answer, redirects included */
    size_t body;         /* received */
    unsigned redirects;
};

typedef void http_request_done(void *owner);

struct http_request *http_request_new(struct http_client *client, struct wheel *wheel);

/* Any time; `done` is not called any more. NULL does nothing. */
void http_request_free(struct http_request *request);

/* The first to be called. Methods are made upper case. */
const char *http_request_target(struct http_request *request, const char *method, size_t method_len,
                                const char *url, size_t url_len);

/* Takes the place of the URL's own. */
const char *http_request_query(struct http_request *request, const char *query, size_t len);
const char *http_request_header(struct http_request *request, const char *name, size_t name_len,
                                const char *value, size_t value_len);
const char *http_request_cookie(struct http_request *request, const char *name, size_t name_len,
                                const char *value, size_t value_len);
const char *http_request_auth(struct http_request *request, const char *user, const char *password);

/* After the headers. `type` is the Content-Type where the headers name none; NULL: none is sent
 * then. */
const char *http_request_body(struct http_request *request, const char *data, size_t len,
                              const char *type);

const char *http_request_start(struct http_request *request, const struct http_limits *limits,
                               http_request_done *done, void *owner);

/* Ends it without an answer. `why` becomes its error. */
void http_request_abort(struct http_request *request, const char *why);

/* -- when it is done -- */

const char *http_request_error(const struct http_request *request);
int http_request_status(const struct http_request *request);
const char *http_request_url(const struct http_request *request); /* of the last redirect */
const char *http_request_answer(const struct http_request *request, size_t *len);

/* The header after `last`, the first one after NULL; NULL when there is none. */
struct curl_header *http_request_next_header(const struct http_request *request,
                                             struct curl_header *last);
