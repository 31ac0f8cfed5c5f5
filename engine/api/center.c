#include "api/center.h"
#include "api/socket.h"
#include "base/address.h"
#include "base/json_string.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct address {
    char host[256];
    int port;
};

void center_version(struct api *api, struct lws *asker, struct buf *out)
{
    (void)api;
    (void)asker;
    buf_append_str(out,
                   "{\"apis\":[\"v1\"],\"api\":[\"v1\"],\"engine\":\"" MIXENGINE_VERSION "\"}");
}

static void address_of_text(const char *text, struct address *out)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : strlen(text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    snprintf(out->host, sizeof out->host, "%.*s", (int)len, text);
    if (colon)
        out->port = atoi(colon + 1);
}

static void address_of_node(const struct api *api, struct lws *asker, struct address *out)
{
    const char *advertise = api->options.config->engine_api.advertise;
    struct sockaddr_storage local = api->engine.address;
    out->port = address_port(&local);
    if (advertise && *advertise) {
        address_of_text(advertise, out);
        return;
    }
    if (address_is_any(&local))
        local = socket_local(lws_get_socket_fd(asker));
    if (local.ss_family == AF_UNIX)
        address_from_ip(&local, "127.0.0.1", 0);
    char host[ADDRESS_HOST];
    address_host(&local, host);
    snprintf(out->host, sizeof out->host, "%s", host);
}

void center_nodes(struct api *api, struct lws *asker, struct buf *out)
{
    struct address node = {0};
    address_of_node(api, asker, &node);
    char server[sizeof node.host + 16];
    bool v6 = strchr(node.host, ':') != NULL;
    int len = snprintf(server, sizeof server, v6 ? "[%s]:%d" : "%s:%d", node.host, node.port);
    buf_printf(out, "{\"nodes\":[{\"id\":\"%u\",\"api_server\":", mesh_node(api->mesh));
    json_string_append(out, server, (size_t)len);
    buf_append_str(out, ",\"host\":");
    json_string_append(out, server, (size_t)len);
    buf_append_str(out, ",\"ip\":");
    json_string_append(out, node.host, strlen(node.host));
    buf_printf(out, ",\"port\":%d}]}", node.port);
}
