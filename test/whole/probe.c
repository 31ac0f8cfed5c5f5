/* A consumer for the tests: a line of JSON on standard output for each callback, a line of JSON on
 * standard input for each thing to do. Standard input that ends closes the consumer, and the end of
 * that ends the program with status 0.
 *
 * Out: {"on":"event","node":ADDRESS,"client":"ID","topic":TOPIC,"data":…}
 *      {"on":"notice","node":ADDRESS or
 * null,"kind":"connected"|"lost"|"center"|"protocol","text":…}
 *      {"on":"reply","node":ADDRESS,"tag":…,"status":…,"code":…,"message":…,"delivered":…,
 *       "failed":…}
 *      {"on":"refused","tag":…,"status":…}, a command that failed at once
 *      {"on":"drain","node":ADDRESS}, {"on":"retired"}, {"on":"closed"}
 * In:  {"do":"send"|"send_binary","client":"ID","text":… or "hex":…}
 *      {"do":"publish"|"publish_binary","channel":…,"text":… or "hex":…}
 *      {"do":"subscribe"|"unsubscribe","client":"ID","channels":[…]}
 *      {"do":"set_context_value","client":"ID","key":…,"value":…}
 *      {"do":"set_context","client":"ID","object":{…}}
 *      {"do":"flood","count":N,"channel":…,"size":BYTES} publishes N texts of 32 bytes, or of
 * `size`, with tags 0 to N-1; a refused one is told and tried again after the next drain
 *      {"do":"pause"}, {"do":"resume"}, {"do":"retire"}, {"do":"close"}
 * Commands take a "tag", any JSON value, which their reply repeats; and a "node", an ADDRESS that
 * has been connected once. Without it they go to any connected node; status -107 when there is
 * none. */
#include <errno.h>
#include <getopt.h>
#include <mix_consumer.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOPICS_MAX = 16, NODES_MAX = 64, CHANNELS_MAX = 1024, LINE_MAX_BYTES = 16 << 20 };

struct flood {
    struct mix_node *node;
    char *channel, *text;
    size_t size;
    long long next, count;
};

struct probe {
    struct mix_consumer *consumer;
    uv_pipe_t input;
    char *line;
    size_t len;
    struct mix_node *nodes[NODES_MAX]; /* each that was connected once */
    size_t node_count;
    struct flood flood;
    bool echo, closed;
};

static struct probe probe;

/* ---- out ---- */

static void print(json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_ENCODE_ANY);
    puts(text ? text : "{\"on\":\"error\"}");
    fflush(stdout);
    free(text);
    json_decref(object);
}

/* Takes the reference to the tag. */
static void print_refused(json_t *tag, int status)
{
    print(json_pack("{s:s, s:o, s:i}", "on", "refused", "tag", tag, "status", status));
}

static void on_reply(struct mix_node *node, const struct mix_reply *reply, void *data)
{
    json_t *tag = data;
    print(json_pack("{s:s, s:s, s:o, s:i, s:i, s:s, s:I, s:I}", "on", "reply", "node",
                    mix_node_address(node), "tag", tag, "status", reply->status, "code",
                    reply->code, "message", reply->message, "delivered",
                    (json_int_t)reply->delivered, "failed", (json_int_t)reply->failed));
}

static void echo(struct mix_node *node, const struct mix_event *event)
{
    json_t *frame = json_object_get(json_object_get(event->data, "frame"), "data");
    char *text = json_is_string(frame) ? strdup(json_string_value(frame))
                                       : json_dumps(event->data, JSON_COMPACT | JSON_ENCODE_ANY);
    int status = mix_node_send(node, event->client, text, strlen(text), on_reply, json_null());
    if (status)
        print_refused(json_null(), status);
    free(text);
}

static void on_event(struct mix_node *node, const struct mix_event *event, void *data)
{
    (void)data;
    char client[24];
    snprintf(client, sizeof client, "%llu", (unsigned long long)event->client);
    print(json_pack("{s:s, s:s, s:s, s:s, s:O}", "on", "event", "node", mix_node_address(node),
                    "client", client, "topic", event->topic, "data", event->data));
    if (probe.echo)
        echo(node, event);
}

static void remember(struct mix_node *node)
{
    for (size_t i = 0; i < probe.node_count; i++)
        if (probe.nodes[i] == node)
            return;
    if (probe.node_count < NODES_MAX)
        probe.nodes[probe.node_count++] = mix_node_ref(node);
}

static void on_notice(struct mix_node *node, const struct mix_notice *notice, void *data)
{
    static const char *const kinds[] = {"connected", "lost", "center", "protocol"};
    (void)data;
    if (notice->kind == MIX_CONNECTED)
        remember(node);
    print(json_pack("{s:s, s:s?, s:s, s:s}", "on", "notice", "node",
                    node ? mix_node_address(node) : NULL, "kind", kinds[notice->kind], "text",
                    notice->text));
}

static void flood_on(void);

static void on_drain(struct mix_node *node, void *data)
{
    (void)data;
    print(json_pack("{s:s, s:s}", "on", "drain", "node", mix_node_address(node)));
    flood_on();
}

static void on_retired(void *data)
{
    (void)data;
    print(json_pack("{s:s}", "on", "retired"));
}

static void on_closed(void *data)
{
    (void)data;
    print(json_pack("{s:s}", "on", "closed"));
    probe.closed = true;
    uv_close((uv_handle_t *)&probe.input, NULL);
}

/* ---- in ---- */

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static uint64_t client_of(json_t *object)
{
    return strtoull(text_of(object, "client"), NULL, 10);
}

/* The newest of an address, as a node that comes back under another id is another one. */
static struct mix_node *node_of(json_t *object)
{
    const char *address = json_string_value(json_object_get(object, "node"));
    if (!address)
        return mix_consumer_node(probe.consumer);
    for (size_t i = probe.node_count; i > 0; i--)
        if (strcmp(mix_node_address(probe.nodes[i - 1]), address) == 0)
            return probe.nodes[i - 1];
    return NULL;
}

/* The bytes of "hex", or of "text", in memory that the caller frees. */
static char *bytes_of(json_t *object, size_t *len)
{
    const char *hex = json_string_value(json_object_get(object, "hex"));
    json_t *text = json_object_get(object, "text");
    *len = hex ? strlen(hex) / 2 : json_string_length(text);
    char *bytes = malloc(*len + 1);
    if (!hex)
        memcpy(bytes, json_is_string(text) ? json_string_value(text) : "", *len);
    for (size_t i = 0; hex && i < *len; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (char)strtoul(pair, NULL, 16);
    }
    return bytes;
}

static int do_message(struct mix_node *node, const char *what, json_t *object, json_t *tag)
{
    size_t len;
    char *bytes = bytes_of(object, &len);
    const char *channel = text_of(object, "channel");
    int status;
    if (strcmp(what, "send") == 0)
        status = mix_node_send(node, client_of(object), bytes, len, on_reply, tag);
    else if (strcmp(what, "send_binary") == 0)
        status = mix_node_send_binary(node, client_of(object), bytes, len, on_reply, tag);
    else if (strcmp(what, "publish") == 0)
        status = mix_node_publish(node, channel, bytes, len, on_reply, tag);
    else
        status = mix_node_publish_binary(node, channel, bytes, len, on_reply, tag);
    free(bytes);
    return status;
}

static int do_channels(struct mix_node *node, const char *what, json_t *object, json_t *tag)
{
    const char *channels[CHANNELS_MAX];
    json_t *list = json_object_get(object, "channels");
    size_t count = json_array_size(list);
    if (count > CHANNELS_MAX)
        return -E2BIG;
    for (size_t i = 0; i < count; i++)
        channels[i] = json_string_value(json_array_get(list, i));
    if (strcmp(what, "subscribe") == 0)
        return mix_node_subscribe(node, client_of(object), channels, count, on_reply, tag);
    return mix_node_unsubscribe(node, client_of(object), channels, count, on_reply, tag);
}

static int do_context(struct mix_node *node, const char *what, json_t *object, json_t *tag)
{
    uint64_t client = client_of(object);
    if (strcmp(what, "set_context") == 0)
        return mix_node_set_context(node, client, json_incref(json_object_get(object, "object")),
                                    on_reply, tag);
    return mix_node_set_context_value(node, client, text_of(object, "key"),
                                      json_incref(json_object_get(object, "value")), on_reply, tag);
}

static void flood_on(void)
{
    struct flood *flood = &probe.flood;
    while (flood->next < flood->count) {
        json_t *tag = json_integer(flood->next);
        int status =
            mix_node_publish(flood->node, flood->channel, flood->text, flood->size, on_reply, tag);
        if (status) {
            print_refused(tag, status);
            return;
        }
        flood->next++;
    }
}

static void end_flood(void)
{
    if (probe.flood.node)
        mix_node_unref(probe.flood.node);
    free(probe.flood.channel);
    free(probe.flood.text);
    probe.flood = (struct flood){0};
}

static void do_flood(struct mix_node *node, json_t *object)
{
    json_int_t size = json_integer_value(json_object_get(object, "size"));
    end_flood();
    probe.flood = (struct flood){
        .node = mix_node_ref(node),
        .channel = strdup(text_of(object, "channel")),
        .size = size > 0 ? (size_t)size : 32,
        .count = json_integer_value(json_object_get(object, "count")),
    };
    probe.flood.text = malloc(probe.flood.size);
    memset(probe.flood.text, 'x', probe.flood.size);
    flood_on();
}

/* A negative code when nothing will call back: the tag is then still the caller's. */
static int do_command(const char *what, json_t *object, json_t *tag)
{
    struct mix_node *node = node_of(object);
    if (!node)
        return -ENOTCONN;
    if (strncmp(what, "send", 4) == 0 || strncmp(what, "publish", 7) == 0)
        return do_message(node, what, object, tag);
    if (strncmp(what, "set_context", 11) == 0)
        return do_context(node, what, object, tag);
    if (strcmp(what, "subscribe") == 0 || strcmp(what, "unsubscribe") == 0)
        return do_channels(node, what, object, tag);
    if (strcmp(what, "flood") != 0)
        return -ENOSYS;
    do_flood(node, object);
    json_decref(tag);
    return 0;
}

static void do_line(const char *line)
{
    json_error_t error;
    json_t *object = json_loads(line, JSON_ALLOW_NUL, &error);
    const char *what = text_of(object, "do");
    if (strcmp(what, "close") == 0) {
        mix_consumer_close(probe.consumer, on_closed, NULL);
    } else if (strcmp(what, "retire") == 0) {
        mix_consumer_retire(probe.consumer, on_retired, NULL);
    } else if (strcmp(what, "pause") == 0) {
        mix_consumer_pause(probe.consumer);
    } else if (strcmp(what, "resume") == 0) {
        mix_consumer_resume(probe.consumer);
    } else {
        json_t *given = json_object_get(object, "tag");
        json_t *tag = given ? json_incref(given) : json_null();
        int status = do_command(what, object, tag);
        if (status)
            print_refused(tag, status);
    }
    json_decref(object);
}

/* What was asked for after the close has no consumer to be asked of. */
static void do_lines(void)
{
    char *end;
    while (!probe.closed && (end = memchr(probe.line, '\n', probe.len))) {
        *end = '\0';
        do_line(probe.line);
        probe.len -= (size_t)(end + 1 - probe.line);
        memmove(probe.line, end + 1, probe.len);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(probe.line + probe.len, (unsigned)(LINE_MAX_BYTES - probe.len));
}

static void on_input(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    (void)buf;
    if (got < 0) {
        uv_read_stop(stream);
        mix_consumer_close(probe.consumer, on_closed, NULL);
        return;
    }
    probe.len += (size_t)got;
    do_lines();
}

/* ---- main ---- */

static void split(char *text, const char **topics)
{
    size_t count = 0;
    for (char *topic = strtok(text, ","); topic && count < TOPICS_MAX; topic = strtok(NULL, ","))
        topics[count++] = topic;
}

static void read_arguments(int argc, char **argv, struct mix_consumer_options *options,
                           const char **topics)
{
    static const struct option known[] = {
        {"center", required_argument, NULL, 'c'},
        {"topics", required_argument, NULL, 't'},
        {"timeout-ms", required_argument, NULL, 'm'},
        {"backlog", required_argument, NULL, 'b'},
        {"user", required_argument, NULL, 'u'},
        {"password", required_argument, NULL, 'p'},
        {"ca", required_argument, NULL, 'a'},
        {"cert", required_argument, NULL, 's'},
        {"key", required_argument, NULL, 'k'},
        {"echo", no_argument, NULL, 'e'},
        {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (c == 'c')
            options->center = optarg;
        else if (c == 't')
            split(optarg, topics);
        else if (c == 'm')
            options->timeout_ms = (uint32_t)strtoul(optarg, NULL, 10);
        else if (c == 'b')
            options->backlog = strtoull(optarg, NULL, 10);
        else if (c == 'u')
            options->user = optarg;
        else if (c == 'p')
            options->password = optarg;
        else if (c == 'a')
            options->ca = optarg;
        else if (c == 's')
            options->cert = optarg;
        else if (c == 'k')
            options->key = optarg;
        else if (c == 'e')
            probe.echo = true;
        else
            exit(2);
    }
}

static void clean_up(uv_loop_t *loop)
{
    end_flood();
    for (size_t i = 0; i < probe.node_count; i++)
        mix_node_unref(probe.nodes[i]);
    free(probe.line);
    if (uv_loop_close(loop) != 0) {
        fputs("the loop has handles left\n", stderr);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    static const char *topics[TOPICS_MAX + 1];
    struct mix_consumer_options options = {
        .topics = topics,
        .on_event = on_event,
        .on_notice = on_notice,
        .on_drain = on_drain,
    };
    read_arguments(argc, argv, &options, topics);
    uv_loop_t loop;
    uv_loop_init(&loop);
    probe.line = malloc(LINE_MAX_BYTES);
    int status = mix_consumer_open(&probe.consumer, &loop, &options);
    if (status) {
        print_refused(json_null(), status);
        clean_up(&loop);
        return 2;
    }
    uv_pipe_init(&loop, &probe.input, 0);
    uv_pipe_open(&probe.input, 0);
    uv_read_start((uv_stream_t *)&probe.input, on_alloc, on_input);
    uv_run(&loop, UV_RUN_DEFAULT);
    clean_up(&loop);
    return 0;
}
