#include "api/intake.h"
#include "api/socket.h"
#include "base/check.h"
#include "base/mem.h"
#include <stdlib.h>

struct intake {
    uint64_t seen; /* bytes, at the last look */
    bool blind, held;
};

void intake_open(struct api *api, int fd)
{
    size_t count = (size_t)fd + 1;
    if (count > api->intake_count) {
        api->intakes = xrealloc(api->intakes, count * sizeof *api->intakes);
        api->intake_count = count;
    }
    struct intake *intake = &api->intakes[fd];
    *intake = (struct intake){0};
    intake->blind = !socket_received(fd, &intake->seen);
}

static struct intake *intake_of(struct api *api, struct lws *wsi)
{
    size_t fd = (size_t)lws_get_socket_fd(wsi);
    CHECK(fd < api->intake_count);
    return &api->intakes[fd];
}

bool intake_look(struct api *api, struct lws *wsi)
{
    struct intake *intake = intake_of(api, wsi);
    uint64_t before = intake->seen;
    if (intake->blind)
        return true;
    return socket_received(lws_get_socket_fd(wsi), &intake->seen) && intake->seen != before;
}

bool intake_is_blind(struct api *api, struct lws *wsi)
{
    return intake_of(api, wsi)->blind;
}

void intake_hold(struct api *api, struct lws *wsi)
{
    intake_of(api, wsi)->held = true;
    lws_rx_flow_control(wsi, 0);
}

bool intake_is_held(struct api *api, struct lws *wsi)
{
    return intake_of(api, wsi)->held;
}

void intake_release(struct api *api, struct lws *wsi)
{
    struct intake *intake = intake_of(api, wsi);
    if (intake->held)
        lws_rx_flow_control(wsi, 1);
    intake->held = false;
}

void intake_free_all(struct api *api)
{
    free(api->intakes);
}
