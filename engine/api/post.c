#include "api/post.h"
#include "api/caller.h"
#include "base/mem.h"
#include <stdlib.h>

struct post {
    struct api *api;
    struct lws *wsi;
    struct list link;
    struct buf body, answer; /* the answer: those of the replies that are known, in order */
    size_t charged;          /* to api->body_bytes */
    size_t reserved;         /* of api->context_bytes, for the answer */
    bool wants_body, started, batch, probe;
    uint32_t silent; /* workers that have not answered a probe */
    struct caller caller;
};

struct post *post_new(struct api *api, struct lws *wsi, bool wants_body)
{
    struct post *post = xcalloc(1, sizeof *post);
    post->api = api;
    post->wsi = wsi;
    post->wants_body = wants_body;
    list_push_back(&api->posts, &post->link);
    return post;
}

void post_free(struct post *post)
{
    if (!post)
        return;
    if (post->started)
        caller_fini(&post->caller);
    post->api->body_bytes -= post->charged;
    post->api->context_bytes -= post->reserved;
    list_remove(&post->link);
    buf_free(&post->body);
    buf_free(&post->answer);
    free(post);
}

bool post_add(struct post *post, const void *data, size_t len)
{
    if (!post->wants_body)
        return true;
    if (post->api->body_bytes + len > POST_BODIES_MAX)
        return false;
    post->api->body_bytes += len;
    post->charged += len;
    buf_append(&post->body, data, len);
    return true;
}

/* ---- answers ---- */

bool post_is_known(const struct post *post)
{
    return post->started && post->caller.owed.count == 0;
}

static void take_reply(struct post *post, const struct reply *reply)
{
    if (post->probe) {
        post->silent += reply->failed;
        return;
    }
    if (post->batch)
        buf_append_char(&post->answer, post->answer.len == 0 ? '[' : ',');
    reply_write(reply, &post->answer);
}

/* While a connection is not read libwebsockets does not tell that it can be written to either. */
static void take_known(struct post *post)
{
    struct reply *reply;
    while ((reply = pending_front(&post->caller.owed)) && reply->outstanding == 0) {
        take_reply(post, reply);
        post->reserved += reply->reserved;
        reply->reserved = 0;
        caller_drop_front(&post->caller);
    }
    if (post_is_known(post)) {
        lws_rx_flow_control(post->wsi, 1);
        lws_callback_on_writable(post->wsi);
    }
}

static void on_known(struct caller *caller)
{
    take_known(container_of(caller, struct post, caller));
}

int post_take_answer(struct post *post, struct buf *out)
{
    if (post->batch)
        buf_append_str(&post->answer, post->answer.len == 0 ? "[]" : "]");
    if (post->probe)
        buf_append_str(&post->answer, post->silent ? "a worker does not answer\n" : "ok\n");
    *out = post->answer;
    post->answer = (struct buf){0};
    caller_fini(&post->caller);
    post->started = false;
    return post->silent ? 503 : 200;
}

/* ---- commands ---- */

static void on_request(struct request *request, void *data)
{
    caller_take(data, request, 0);
}

static int start(struct post *post)
{
    int status = caller_init(&post->caller, post->api, on_known);
    post->started = status == 0;
    return status;
}

int post_start(struct post *post, const char *method, char *why)
{
    if (start(post) != 0) {
        snprintf(why, REQUEST_WHY_MAX, "too many requests");
        return 503;
    }
    post->batch = !method;
    int status =
        request_parse_body(method, post->body.data, post->body.len, on_request, &post->caller, why);
    buf_free(&post->body);
    if (status == 0)
        take_known(post);
    return status;
}

/* Nobody subscribes to the channel without a name; that each worker counts is the answer. */
int post_probe(struct post *post)
{
    struct request request = {.kind = REQUEST_COMMAND, .command = command_new(COMMAND_COUNT)};
    request.command->name = blob_new("", 0);
    post->probe = true;
    int status = start(post);
    if (status == 0) {
        caller_take(&post->caller, &request, 0);
        take_known(post);
    }
    request_fini(&request);
    return status;
}

void posts_give_up(struct api *api)
{
    list_for_each(node, &api->posts)
    {
        struct post *post = list_entry(node, struct post, link);
        if (post->started)
            caller_give_up(&post->caller);
    }
}

bool posts_idle(const struct api *api)
{
    list_for_each(node, &api->posts)
    {
        if (list_entry(node, struct post, link)->started)
            return false;
    }
    return true;
}
