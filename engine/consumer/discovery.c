#include "consumer/discovery.h"
#include "base/mem.h"
#include "consumer/dial.h"
#include "consumer/private.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEADLINE_MS = 5000, /* for the name, the version and the nodes together */
    AGAIN_MS = 60000,
    AGAIN_SPREAD_MS = 10000,
    LOST_MS = 1000,
    READ_CHUNK = 4096,
    ID_MAX = 64,
};

enum discovery_state {
    DISCOVERY_WAITING,   /* until due_ms */
    DISCOVERY_RESOLVING, /* the others until due_ms at most */
    DISCOVERY_VERSION,
    DISCOVERY_NODES,
};

struct discovery {
    struct mix_consumer *consumer;
    enum discovery_state state;
    struct dial dial;
    uint64_t due_ms, pause_ms;
    bool hurry;      /* a node was lost while the center was asked */
    uint64_t rounds; /* good lists */
    struct lws *wsi; /* NULL when the answer is there, or the connection is lost */
    unsigned status; /* HTTP; 0: no answer */
    struct buf body;
    char why[DIAL_WHY_MAX];
};

struct discovery *discovery_new(struct mix_consumer *consumer, const char *center)
{
    struct discovery *d = xcalloc(1, sizeof *d);
    d->consumer = consumer;
    d->dial.consumer = consumer;
    address_parse(&d->dial.address, center);
    return d;
}

/* ---- a request ---- */

static void close_request(struct discovery *d)
{
    struct lws *wsi = d->wsi;
    if (!wsi)
        return;
    d->wsi = NULL;
    lws_set_wsi_user(wsi, NULL);
    lws_set_timeout(wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
}

void discovery_free(struct discovery *d)
{
    close_request(d);
    dial_stop(&d->dial);
    buf_free(&d->body);
    free(d);
}

/* Nothing more comes from this connection. */
static void on_end(struct discovery *d, struct lws *wsi)
{
    lws_set_wsi_user(wsi, NULL);
    d->wsi = NULL;
    consumer_wake(d->consumer);
}

static int on_readable(struct lws *wsi)
{
    char chunk[LWS_PRE + READ_CHUNK];
    char *at = chunk + LWS_PRE;
    int len = READ_CHUNK;
    return lws_http_client_read(wsi, &at, &len) < 0 ? -1 : 0;
}

static int on_body(struct discovery *d, const void *data, size_t len)
{
    if (d->body.len + len > DISCOVERY_BODY_MAX) {
        snprintf(d->why, sizeof d->why, "an answer longer than %d bytes", DISCOVERY_BODY_MAX);
        d->status = 0;
        return -1;
    }
    buf_append(&d->body, data, len);
    return 0;
}

static void on_failed(struct discovery *d, struct lws *wsi, const void *why, size_t len)
{
    dial_explain(&d->dial, wsi, why, len, d->why);
    on_end(d, wsi);
}

int discovery_on_lws(struct discovery *d, struct lws *wsi, int reason, void *in, size_t len)
{
    switch (reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
        return dial_greet(&d->dial, wsi, in, len, d->why);
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        on_failed(d, wsi, in, len);
        break;
    case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
        d->status = lws_http_client_http_response(wsi);
        break;
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
        return on_readable(wsi);
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
        return on_body(d, in, len);
    case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
        on_end(d, wsi);
        return -1;
    case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
        on_end(d, wsi);
        break;
    }
    return 0;
}

static const char *path_of(const struct discovery *d)
{
    return d->state == DISCOVERY_VERSION ? "/version" : "/v1/nodes";
}

static void request(struct discovery *d, enum discovery_state state)
{
    d->state = state;
    d->status = 0;
    d->body.len = 0;
    snprintf(d->why, sizeof d->why, "no answer");
    d->wsi = dial_connect(&d->dial, CONSUMER_PROTOCOL_CENTER, "GET", path_of(d), d);
    if (!d->wsi) {
        snprintf(d->why, sizeof d->why, "cannot connect");
        consumer_wake(d->consumer);
    }
}

/* ---- answers ---- */

static bool good_version(struct discovery *d, const json_t *root)
{
    const json_t *apis = json_object_get(root, "apis");
    if (!apis)
        apis = json_object_get(root, "api");
    const char *first = json_string_value(json_array_get(apis, 0));
    if (first && strcmp(first, "v1") == 0)
        return true;
    snprintf(d->why, sizeof d->why, "the center does not offer version v1 of the API");
    return false;
}

static bool read_id(const json_t *node, char id[ID_MAX])
{
    const json_t *value = json_object_get(node, "id");
    if (json_is_integer(value))
        return snprintf(id, ID_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value)) > 0;
    const char *text = json_string_value(value);
    return text && *text && snprintf(id, ID_MAX, "%s", text) < ID_MAX;
}

static bool read_node(const json_t *node, char id[ID_MAX], struct address *address)
{
    const char *text = json_string_value(json_object_get(node, "api_server"));
    if (!text)
        text = json_string_value(json_object_get(node, "host"));
    return text && read_id(node, id) && address_parse(address, text);
}

/* The whole list is good, or none of it is used: half a list would drop nodes that are there. */
static bool check_nodes(struct discovery *d, const json_t *nodes)
{
    size_t i;
    const json_t *node;
    char id[ID_MAX];
    struct address address;
    if (!json_is_array(nodes) || json_array_size(nodes) > DISCOVERY_NODES_MAX) {
        snprintf(d->why, sizeof d->why, "the answer has no list of at most %d nodes",
                 DISCOVERY_NODES_MAX);
        return false;
    }
    json_array_foreach((json_t *)nodes, i, node)
    {
        if (read_node(node, id, &address))
            continue;
        snprintf(d->why, sizeof d->why, "node %zu of the list has no id or no HOST:PORT", i);
        return false;
    }
    return true;
}

static bool good_nodes(struct discovery *d, const json_t *root)
{
    size_t i;
    const json_t *node;
    char id[ID_MAX];
    struct address address;
    const json_t *nodes = json_object_get(root, "nodes");
    if (!check_nodes(d, nodes))
        return false;
    if (json_array_size(nodes) == 0) { /* a center that has just begun; those that we have stay */
        snprintf(d->why, sizeof d->why, "no nodes yet");
        return false;
    }
    d->rounds++;
    json_array_foreach((json_t *)nodes, i, node) if (read_node(node, id, &address))
        consumer_have_node(d->consumer, id, address.text, d->rounds);
    consumer_drop_others(d->consumer, d->rounds);
    return true;
}

static bool good_answer(struct discovery *d)
{
    if (d->status == 0)
        return false;
    if (d->status != 200) {
        snprintf(d->why, sizeof d->why, "status %u", d->status);
        return false;
    }
    json_t *root = json_loadb(d->body.data ? d->body.data : "", d->body.len, 0, NULL);
    bool good = false;
    if (!json_is_object(root))
        snprintf(d->why, sizeof d->why, "the answer is not a JSON object");
    else
        good = d->state == DISCOVERY_VERSION ? good_version(d, root) : good_nodes(d, root);
    json_decref(root);
    return good;
}

/* ---- from one time to the next ---- */

static void rest(struct discovery *d, uint64_t ms)
{
    d->state = DISCOVERY_WAITING;
    d->due_ms = uv_now(d->consumer->loop) + ms;
    buf_free(&d->body);
    if (d->hurry)
        discovery_hurry(d);
}

void discovery_hurry(struct discovery *d)
{
    uint64_t due_ms = uv_now(d->consumer->loop) + LOST_MS;
    d->hurry = d->state != DISCOVERY_WAITING;
    if (d->hurry || due_ms >= d->due_ms)
        return;
    d->due_ms = due_ms;
    consumer_wake_at(d->consumer, due_ms);
}

static void fail(struct discovery *d)
{
    const char *path = d->state == DISCOVERY_RESOLVING ? "" : path_of(d);
    close_request(d);
    dial_stop(&d->dial);
    d->pause_ms = consumer_longer(d->pause_ms);
    rest(d, consumer_jitter(d->pause_ms));
    consumer_notify(d->consumer, NULL, MIX_CENTER, "%s%s: %s; again in %" PRIu64 " s",
                    d->dial.address.text, path, d->why, d->pause_ms / 1000);
}

static void begin(struct discovery *d, uint64_t now_ms)
{
    d->state = DISCOVERY_RESOLVING;
    d->due_ms = now_ms + DEADLINE_MS;
    snprintf(d->why, sizeof d->why, "the name is not resolved");
    dial_start(&d->dial);
}

static void after_resolving(struct discovery *d)
{
    if (dial_has_next(&d->dial)) {
        request(d, DISCOVERY_VERSION);
        return;
    }
    snprintf(d->why, sizeof d->why, "%s", uv_strerror(d->dial.error));
    fail(d);
}

static void after_answer(struct discovery *d)
{
    if (d->status == 0 && d->state == DISCOVERY_VERSION && dial_has_next(&d->dial)) {
        request(d, DISCOVERY_VERSION);
    } else if (!good_answer(d)) {
        fail(d);
    } else if (d->state == DISCOVERY_VERSION) {
        d->dial.next--; /* the address that has just answered */
        request(d, DISCOVERY_NODES);
    } else {
        d->pause_ms = 0;
        rest(d, AGAIN_MS + consumer_random(AGAIN_SPREAD_MS));
    }
}

uint64_t discovery_work(struct discovery *d, uint64_t now_ms)
{
    if (d->state == DISCOVERY_WAITING && now_ms >= d->due_ms)
        begin(d, now_ms);
    if (d->state == DISCOVERY_RESOLVING && !dial_busy(&d->dial))
        after_resolving(d);
    else if (d->state > DISCOVERY_RESOLVING && !d->wsi)
        after_answer(d);
    else if (d->state != DISCOVERY_WAITING && now_ms >= d->due_ms)
        fail(d);
    return d->due_ms;
}
