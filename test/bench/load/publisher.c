#include "publisher.h"

#include "base/clock.h"
#include "base/mem.h"
#include "options.h"
#include "run.h"
#include "stamp.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { BURST = 64, POLL_NS = 200 * 1000 };

struct publisher {
    struct client client;
    struct buf payload, text;
    bool waits; /* HTTP: for an answer */
};

static struct publisher *publisher_of(struct client *client)
{
    return container_of(client, struct publisher, client);
}

static struct tally *tally_of(struct publisher *publisher)
{
    return &publisher->client.loop->tally;
}

/* ---- what is published ---- */

/* The stamp, and bytes that fill it up to --size. */
static struct slice payload(struct publisher *publisher, const struct stamp *stamp)
{
    size_t size = publisher->client.loop->run->options->size;
    struct buf *out = &publisher->payload;
    if (out->len == 0) {
        memset(buf_reserve(out, size), 'x', size);
        out->len = size;
    }
    stamp_write(out->data, stamp);
    return (struct slice){out->data, out->len};
}

static void expand(struct publisher *publisher, const struct stamp *stamp)
{
    const struct run *run = publisher->client.loop->run;
    struct template_values values = {
        .round = stamp->sequence,
        .channel = stamp->sequence % run->deliveries.channels,
        .has_channel = true,
        .message = payload(publisher, stamp),
    };
    publisher->text.len = 0;
    template_expand(&publisher->text, run->options->publish, &values);
}

static void publish_ws(struct publisher *publisher)
{
    struct loop *loop = publisher->client.loop;
    loop->scratch.len = 0;
    frame_write(&loop->scratch, loop->run->options->binary ? WS_OP_BINARY : WS_OP_TEXT,
                publisher->text.data, publisher->text.len, loop_mask(loop));
}

static void publish_http(struct publisher *publisher)
{
    struct loop *loop = publisher->client.loop;
    const struct group *group = publisher->client.group;
    loop->scratch.len = 0;
    buf_printf(&loop->scratch, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %zu\r\n",
               group->target->path, group->target->host, publisher->text.len);
    buf_append(&loop->scratch, group->headers.data, group->headers.len);
    buf_append_str(&loop->scratch, "\r\n");
    buf_append(&loop->scratch, publisher->text.data, publisher->text.len);
    publisher->waits = true;
}

static void publish(struct publisher *publisher, uint64_t due)
{
    struct loop *loop = publisher->client.loop;
    uint64_t sequence = tally_get(&loop->tally, COUNT_PUBLISHED);
    expand(publisher, &(struct stamp){due, (uint32_t)sequence});
    if (publisher->client.group->role == &publisher_http_role)
        publish_http(publisher);
    else
        publish_ws(publisher);
    tally_add(&loop->tally, COUNT_PUBLISHED, 1);
    client_write(&publisher->client, loop->scratch.data, loop->scratch.len);
}

/* ---- when ---- */

/* 0: now, with the time from which its latency is counted; else nanoseconds, or -1. */
static int64_t next_due(const struct run *run, uint64_t published, uint64_t now, uint64_t *due)
{
    const struct options *options = run->options;
    *due = now;
    if (options->rate > 0) {
        *due = run->started_ns + (uint64_t)((double)published * 1e9 / options->rate);
        return *due > now ? (int64_t)(*due - now) : 0;
    }
    uint64_t whole = run_count(run, COUNT_DELIVERED) / run->deliveries.expected;
    if (published < whole + options->window)
        return 0;
    return run->main_loops > 1 ? POLL_NS : -1; /* other loops do not wake this one */
}

static int64_t on_turn(struct loop *loop, uint64_t now)
{
    struct publisher *publisher = publisher_of(loop->publisher);
    const struct run *run = loop->run;
    if (loop->phase != PHASE_RUN)
        return -1;
    if (now < run->started_ns)
        return (int64_t)(run->started_ns - now);
    for (int i = 0; i < BURST; i++, now = clock_ns()) {
        uint64_t published = tally_get(&loop->tally, COUNT_PUBLISHED), due;
        if (publisher->client.state != CLIENT_OPEN || client_is_full(&publisher->client) ||
            publisher->waits || published == run->options->messages)
            return -1;
        int64_t wait = next_due(run, published, now, &due);
        if (wait)
            return wait;
        publish(publisher, due);
    }
    return 0;
}

/* ---- answers ---- */

static void on_message(struct client *client, const char *data, size_t len, uint64_t now)
{
    (void)data;
    (void)len;
    (void)now;
    tally_add(tally_of(publisher_of(client)), COUNT_PUBLISH_ANSWERED, 1);
}

/* The number behind a header's name in a head that ends with a NUL; -1: there is none. */
static long header_number(const char *head, const char *name)
{
    const char *found = strcasestr(head, name);
    return found ? atol(found + strlen(name)) : -1;
}

/* How long the body is; -1: it is not whole. Chunks are not read, only where they end. */
static long body_length(const char *head, const char *rest, size_t len)
{
    long length = header_number(head, "\r\nContent-Length:");
    if (length >= 0)
        return (size_t)length <= len ? length : -1;
    if (!strcasestr(head, "\r\nTransfer-Encoding: chunked"))
        return 0;
    const char *end = memmem(rest, len, "0\r\n\r\n", 5);
    return end ? end + 5 - rest : -1;
}

static void count_answer(struct publisher *publisher, int status)
{
    bool good = status >= 200 && status < 300;
    tally_add(tally_of(publisher), good ? COUNT_PUBLISH_ANSWERED : COUNT_PUBLISH_REFUSED, 1);
    if (!good)
        loop_error(publisher->client.loop, "a publish was answered with %d", status);
    publisher->waits = false;
}

static size_t on_bytes(struct client *client, const char *data, size_t len)
{
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head_len = (size_t)(end - data) + 4;
    char *head = xstrndup(data, head_len);
    long body = body_length(head, data + head_len, len - head_len);
    int status = strlen(head) > 9 ? atoi(head + 9) : 0;
    free(head);
    if (body < 0)
        return 0;
    count_answer(publisher_of(client), status);
    return head_len + (size_t)body;
}

static void fini(struct client *client)
{
    buf_free(&publisher_of(client)->payload);
    buf_free(&publisher_of(client)->text);
}

const struct role publisher_ws_role = {
    .size = sizeof(struct publisher),
    .on_message = on_message,
    .on_turn = on_turn,
    .fini = fini,
};

const struct role publisher_http_role = {
    .size = sizeof(struct publisher),
    .on_bytes = on_bytes,
    .on_turn = on_turn,
    .fini = fini,
};
