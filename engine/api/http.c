/* libwebsockets reads the requests; answers are written here whole, with a length, in one piece. It
 * takes a POST without a length for one of 100 MB, hands chunked bodies over undecoded and reads
 * the digits of a Content-Length leniently: such requests are refused and their connection closed,
 * so that what follows cannot be taken for a request. It closes without an answer what it cannot
 * parse. */
#include "api/http.h"
#include "api/access.h"
#include "api/center.h"
#include "api/envelope.h"
#include "api/intake.h"
#include "api/metrics.h"
#include "api/pages.h"
#include "api/post.h"
#include "api/request.h"
#include "api/socket.h"
#include "base/address.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEADER_MAX = 1024, UPGRADE_HEADER_MAX = 126, KEY_LEN = 24, ANSWER_BUFFER = 64 << 10 };

#define JSON_TYPE "application/json"
#define TEXT_TYPE "text/plain; charset=utf-8"
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct answer {
    int status;
    const char *type;
    const char *extra; /* whole header lines, or "" */
    struct buf body;
    bool close;
    bool whole; /* to be closed when the socket does not take all of it at once */
};

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {{200, "OK"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {411, "Length Required"},
                   {413, "Content Too Large"},
                   {417, "Expectation Failed"},
                   {426, "Upgrade Required"},
                   {431, "Request Header Fields Too Large"},
                   {503, "Service Unavailable"}};
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Error";
}

static bool has(struct lws *wsi, enum lws_token_indexes token)
{
    return lws_hdr_total_length(wsi, token) > 0;
}

static struct api *api_of(struct lws *wsi)
{
    return lws_context_user(lws_get_context(wsi));
}

static struct listener *listener_of(struct lws *wsi)
{
    return lws_get_opaque_user_data(wsi);
}

/* Frees the body. The return value is the callback's. */
static int send_answer(struct lws *wsi, struct answer *answer)
{
    struct buf out = {0};
    answer->close = answer->close || intake_is_blind(api_of(wsi), wsi);
    memset(buf_reserve(&out, LWS_PRE), 0, LWS_PRE);
    out.len = LWS_PRE;
    buf_printf(&out, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s%s\r\n",
               answer->status, reason(answer->status), answer->type, answer->body.len,
               answer->extra, answer->close ? "Connection: close\r\n" : "");
    if (!has(wsi, WSI_TOKEN_HEAD_URI))
        buf_append(&out, answer->body.data, answer->body.len);
    size_t len = out.len - LWS_PRE;
    int sent = lws_write(wsi, (unsigned char *)out.data + LWS_PRE, len, LWS_WRITE_HTTP_HEADERS);
    buf_free(&out);
    buf_free(&answer->body);
    if (sent < 0 || answer->close || (answer->whole && lws_partial_buffered(wsi)))
        return -1;
    return lws_http_transaction_completed(wsi) ? -1 : 0;
}

static int refuse(struct lws *wsi, int status, const char *extra, const char *why, bool hang_up)
{
    struct answer answer = {.status = status, .type = JSON_TYPE, .extra = extra, .close = hang_up};
    envelope_error(&answer.body, ENVELOPE_HTTP, NULL, status, why);
    return send_answer(wsi, &answer);
}

/* ---- who asks ---- */

/* 0, or the status that refuses. */
static int authorize(struct api *api, struct lws *wsi, enum access_role role)
{
    char authorization[HEADER_MAX] = "", peer[ADDRESS_HOST];
    struct sockaddr_storage address = socket_peer(lws_get_socket_fd(wsi));
    if (lws_hdr_copy(wsi, authorization, sizeof authorization, WSI_TOKEN_HTTP_AUTHORIZATION) < 0)
        return 401;
    address_host(&address, peer);
    return access_check(api->access, *authorization ? authorization : NULL, peer, role);
}

static int refuse_access(struct lws *wsi, int status, bool hang_up)
{
    if (status == 403)
        return refuse(wsi, 403, "", "this user does not have the role", hang_up);
    if (status == 503)
        return refuse(wsi, 503, "Retry-After: 1\r\n",
                      "the password is being checked, or too many are; try again", true);
    return refuse(wsi, 401, "WWW-Authenticate: Basic realm=\"mixengine\"\r\n",
                  "a user name and password are needed", hang_up);
}

/* ---- routes ---- */

static bool is_draining(const struct api *api)
{
    return !api->engine.open;
}

static void write_health(struct api *api, struct lws *asker, struct buf *out)
{
    (void)api;
    (void)asker;
    buf_append_str(out, "ok\n");
}

/* Each belongs to one port or to both. */
static const struct route {
    bool center, engine;
    const char *path;
    /* What is written at once; NULL: /readyz, which asks the workers. */
    const char *type;
    void (*write)(struct api *api, struct lws *asker, struct buf *out);
    bool open; /* to anybody */
} routes[] = {
    {true, false, "/version", JSON_TYPE, center_version, false},
    {true, true, "/v1/nodes", JSON_TYPE, center_nodes, false},
    {true, true, "/metrics", METRICS_TYPE, metrics_write, false},
    {true, true, "/healthz", TEXT_TYPE, write_health, true},
    {true, true, "/readyz", TEXT_TYPE, NULL, true},
};

/* Of the engine's port. */
static const struct command_route {
    const char *path, *method; /* without a method: a batch */
} command_routes[] = {
    {"/v1/mesh/send", "mesh.send"},
    {"/v1/mesh/publish", "mesh.publish"},
    {"/v1/conn/call", "conn.call"},
    {"/v1/conn/close", "conn.close"},
    {"/v1/batch", NULL},
};

static const struct route *route_of(bool engine, const char *path)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if ((engine ? routes[i].engine : routes[i].center) && strcmp(path, routes[i].path) == 0)
            return &routes[i];
    return NULL;
}

static const struct command_route *command_route_of(bool engine, const char *path)
{
    for (size_t i = 0; engine && i < sizeof command_routes / sizeof *command_routes; i++)
        if (strcmp(path, command_routes[i].path) == 0)
            return &command_routes[i];
    return NULL;
}

/* ---- requests ---- */

static int do_command(struct api *api, struct lws *wsi, struct exchange *exchange,
                      const struct command_route *route)
{
    char why[REQUEST_WHY_MAX] = "";
    if (!has(wsi, WSI_TOKEN_POST_URI))
        return refuse(wsi, 405, "Allow: POST\r\n", "only POST", false);
    if (!exchange->post)
        return refuse(wsi, 400, "", "no body", false);
    if (api->state == API_CLOSING)
        return refuse(wsi, 503, "", "shutting down", true);
    int status = post_start(exchange->post, route->method, why);
    return status ? refuse(wsi, status, "", why, false) : 0;
}

static int ask_workers(struct api *api, struct lws *wsi, struct exchange *exchange)
{
    struct answer answer = {.status = 503, .type = TEXT_TYPE, .extra = ""};
    if (is_draining(api)) {
        buf_append_str(&answer.body, "shutting down\n");
        return send_answer(wsi, &answer);
    }
    intake_hold(api, wsi);
    if (!exchange->post)
        exchange->post = post_new(api, wsi, false);
    if (post_probe(exchange->post) == 0)
        return 0;
    buf_append_str(&answer.body, "too many requests\n");
    return send_answer(wsi, &answer);
}

static bool is_get(struct lws *wsi)
{
    return has(wsi, WSI_TOKEN_GET_URI) || has(wsi, WSI_TOKEN_HEAD_URI);
}

static int refuse_method(struct lws *wsi)
{
    return refuse(wsi, 405, "Allow: GET, HEAD\r\n", "only GET and HEAD", false);
}

static int answer_route(struct api *api, struct lws *wsi, struct exchange *exchange,
                        const struct route *route)
{
    if (!is_get(wsi))
        return refuse_method(wsi);
    if (!route->write)
        return ask_workers(api, wsi, exchange);
    struct answer answer = {.status = 200, .type = route->type, .extra = ""};
    route->write(api, wsi, &answer.body);
    return send_answer(wsi, &answer);
}

/* Files of the application's page; what is none of them is no path at all. */
static int serve_page(struct api *api, struct lws *wsi, const char *path)
{
    struct answer answer = {.status = 200, .extra = pages_headers};
    if (api->options.pages && listener_of(wsi) == &api->engine)
        answer.type = pages_read(api->options.pages, path, &answer.body);
    if (answer.type && is_get(wsi))
        return send_answer(wsi, &answer);
    buf_free(&answer.body);
    if (!answer.type)
        return refuse(wsi, 404, "", "no such path", false);
    return refuse_method(wsi);
}

/* Of a request that has come whole. Once it is answered the exchange is another one. */
static int answer_request(struct api *api, struct lws *wsi, struct exchange *exchange,
                          const char *path)
{
    bool engine = listener_of(wsi) == &api->engine;
    const struct command_route *command = command_route_of(engine, path);
    const struct route *route = route_of(engine, path);
    if (exchange->refusal)
        return refuse_access(wsi, exchange->refusal, false);
    if (command)
        return do_command(api, wsi, exchange, command);
    if (route)
        return answer_route(api, wsi, exchange, route);
    if (engine && strcmp(path, "/ws/v1") == 0)
        return refuse(wsi, 426, "Upgrade: websocket\r\n", "this is a WebSocket", false);
    return serve_page(api, wsi, path);
}

/* 0 when the body, if any, has an end that can be told and is near; else the status that refuses.
 */
static int check_body(struct lws *wsi, size_t *len)
{
    char length[24] = "";
    bool post = has(wsi, WSI_TOKEN_POST_URI) || has(wsi, WSI_TOKEN_PUT_URI) ||
                has(wsi, WSI_TOKEN_PATCH_URI);
    bool known = has(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH);
    *len = 0;
    if (has(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING))
        return known ? 400 : 411;
    if (!known)
        return post ? 411 : 0;
    /* Of two lengths there is a list with a comma. */
    if (lws_hdr_copy(wsi, length, sizeof length, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0 ||
        strspn(length, "0123456789") != strlen(length))
        return 400;
    if (has(wsi, WSI_TOKEN_HTTP_EXPECT))
        return 417;
    *len = strtoull(length, NULL, 10);
    return *len > POST_BODY_MAX ? 413 : 0;
}

static const char *body_fault(int status)
{
    return status == 417 ? "nothing can be expected here"
                         : "the body has no length that can be accepted";
}

/* Before the body: of who may not send it, nothing is kept. */
static int check_access(struct api *api, struct lws *wsi, const char *path)
{
    bool engine = listener_of(wsi) == &api->engine;
    const struct route *route = route_of(engine, path);
    if (route && route->open)
        return 0;
    return authorize(api, wsi, command_route_of(engine, path) ? ACCESS_WRITE : ACCESS_READ);
}

static bool wants_body(struct api *api, struct lws *wsi, const char *path)
{
    return command_route_of(listener_of(wsi) == &api->engine, path) && has(wsi, WSI_TOKEN_POST_URI);
}

/* Plain requests too: a browser sends a POST to another site without asking that site first. */
static bool origin_allowed(struct api *api, struct lws *wsi)
{
    const struct config *config = api->options.config;
    bool engine = listener_of(wsi) == &api->engine;
    char **origins = engine ? config->engine_api.origins : config->center_api.origins;
    char origin[HEADER_MAX];
    if (!has(wsi, WSI_TOKEN_ORIGIN))
        return true;
    int len = lws_hdr_copy(wsi, origin, sizeof origin, WSI_TOKEN_ORIGIN); /* too long: nobody's */
    return config_allows_origin(origins, origin, len > 0 ? (size_t)len : 0);
}

int http_on_request(struct api *api, struct lws *wsi, struct exchange *exchange)
{
    char *path;
    int path_len;
    size_t len;
    bool fresh = intake_look(api, wsi);
    int bad = check_body(wsi, &len);
    if (bad)
        return refuse(wsi, bad, "", body_fault(bad), true);
    if (len > 0 && !fresh)
        return refuse(wsi, 503, "", "a body was sent before the answer that was due", true);
    if (!origin_allowed(api, wsi))
        return refuse(wsi, 403, "", "this origin is not allowed", true);
    if (lws_http_get_uri_and_method(wsi, &path, &path_len) < 0)
        return -1;
    exchange->refusal = check_access(api, wsi, path);
    if (len == 0)
        return answer_request(api, wsi, exchange, path);
    exchange->post = post_new(api, wsi, !exchange->refusal && wants_body(api, wsi, path));
    return 0;
}

int http_on_body(struct api *api, struct lws *wsi, struct exchange *exchange, const void *data,
                 size_t len)
{
    intake_look(api, wsi);
    if (!exchange->post || post_add(exchange->post, data, len))
        return 0;
    return refuse(wsi, 503, "", "too many bodies at once", true);
}

int http_on_body_end(struct api *api, struct lws *wsi, struct exchange *exchange)
{
    char *path;
    int path_len;
    intake_look(api, wsi);
    if (!exchange->post || intake_is_held(api, wsi))
        return http_on_writable(wsi, exchange);
    if (lws_http_get_uri_and_method(wsi, &path, &path_len) < 0)
        return -1;
    intake_hold(api, wsi);
    return answer_request(api, wsi, exchange, path);
}

int http_on_writable(struct lws *wsi, struct exchange *exchange)
{
    if (!exchange->post || !post_is_known(exchange->post))
        return 0;
    struct answer answer = {
        .type = is_get(wsi) ? TEXT_TYPE : JSON_TYPE, .extra = "", .whole = true};
    struct post *post = exchange->post;
    exchange->post = NULL; /* the next request may begin before the answer is sent */
    answer.status = post_take_answer(post, &answer.body);
    socket_set_buffer(lws_get_socket_fd(wsi), (int)answer.body.len + ANSWER_BUFFER);
    int status = send_answer(wsi, &answer);
    if (status == 0)
        post_free(post);
    else
        exchange->post = post; /* counts until the connection has ended, and the answer with it */
    return status;
}

void http_on_end(struct exchange *exchange)
{
    if (!exchange)
        return;
    post_free(exchange->post);
    exchange->post = NULL;
}

/* ---- upgrades ---- */

static bool header_is(struct lws *wsi, enum lws_token_indexes token, const char *value)
{
    char text[HEADER_MAX];
    return lws_hdr_copy(wsi, text, sizeof text, token) > 0 && strcmp(text, value) == 0;
}

/* Subprotocols are not for the API to choose from, so an offer is passed over; libwebsockets closes
 * when it knows none of those that were offered. Its one protocol takes the name of the first, and
 * that line is taken out of the answer again. False when there is no name that it would understand.
 */
static bool accept_any_subprotocol(struct api *api, struct lws *wsi)
{
    char offered[UPGRADE_HEADER_MAX + 1];
    if (!has(wsi, WSI_TOKEN_PROTOCOL))
        return true;
    if (lws_hdr_copy(wsi, offered, sizeof offered, WSI_TOKEN_PROTOCOL) <= 0)
        return false;
    size_t len = strcspn(offered, ", \t");
    if (len == 0 || len >= sizeof api->protocol_name)
        return false;
    memcpy(api->protocol_name, offered, len);
    api->protocol_name[len] = '\0';
    return true;
}

/* NULL, or what is wrong with a handshake: libwebsockets would close without a word. */
static const char *handshake_fault(struct api *api, struct lws *wsi, const char *protocol)
{
    char connection[UPGRADE_HEADER_MAX + 1];
    if (strcasecmp(protocol, "websocket") != 0)
        return "the only upgrade is websocket";
    if (!has(wsi, WSI_TOKEN_HOST))
        return "no Host";
    if (lws_hdr_total_length(wsi, WSI_TOKEN_KEY) != KEY_LEN)
        return "Sec-WebSocket-Key is not 16 bytes in base64";
    if (lws_hdr_copy(wsi, connection, sizeof connection, WSI_TOKEN_CONNECTION) <= 0 ||
        !strcasestr(connection, "upgrade"))
        return "Connection does not say Upgrade";
    if (!accept_any_subprotocol(api, wsi))
        return "Sec-WebSocket-Protocol does not name a protocol";
    return NULL;
}

void http_on_upgraded(struct api *api, struct lws *wsi, struct lws_process_html_args *head)
{
    char line[sizeof api->protocol_name + 32];
    int len = snprintf(line, sizeof line, "Sec-WebSocket-Protocol: %s\r\n", api->protocol_name);
    if (has(wsi, WSI_TOKEN_PROTOCOL) && memcmp(head->p - len, line, (size_t)len) == 0)
        head->p -= len;
}

int http_on_upgrade(struct api *api, struct lws *wsi, const char *protocol)
{
    char *path;
    int path_len;
    if (lws_http_get_uri_and_method(wsi, &path, &path_len) < 0)
        return -1;
    int status = authorize(api, wsi, ACCESS_WRITE);
    const char *fault = handshake_fault(api, wsi, protocol);
    if (status)
        return refuse_access(wsi, status, true);
    if (listener_of(wsi) != &api->engine || strcmp(path, "/ws/v1") != 0)
        return refuse(wsi, 404, "", "no such path", true);
    if (!has(wsi, WSI_TOKEN_GET_URI))
        return refuse(wsi, 405, "Allow: GET\r\n", "only GET", true);
    if (fault)
        return refuse(wsi, 400, "", fault, true);
    if (!header_is(wsi, WSI_TOKEN_VERSION, "13"))
        return refuse(wsi, 426, "Sec-WebSocket-Version: 13\r\n", "only version 13", true);
    if (!origin_allowed(api, wsi))
        return refuse(wsi, 403, "", "this origin is not allowed", true);
    if (!api->engine.open)
        return refuse(wsi, 503, "", "shutting down", true);
    return 0;
}
