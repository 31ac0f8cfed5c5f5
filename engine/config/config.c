#include "config/config.h"

#include "base/address.h"
#include "base/check.h"
#include "base/mem.h"
#include "config/config_bounds.h"
#include "config/config_merge.h"
#include "config/config_path.h"
#include "config/config_tls.h"
#include "config/config_walk.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { FILE_MAX = 1024 * 1024, MEMORY_LIMIT_MIN = 64 << 20 };

/* ---- what the tables cannot say ---- */

static void resolve_entry(struct config_reader *reader, const char *base,
                          struct config_server *server)
{
    if (config_reader_is_bad(reader, &server->entry))
        return;
    struct buf tried = {0};
    char *found = config_path_find(base, server->entry, &tried);
    if (found) {
        free(server->entry);
        server->entry = found;
    } else {
        const yaml_mark_t *place = config_reader_place(reader, &server->entry);
        config_reader_error(reader, place ? place : config_reader_place(reader, &server->line),
                            "the entry script%s cannot be read; looked for %s; correct the path",
                            place ? "" : " (there is no key 'entry')", tried.data);
    }
    buf_free(&tried);
}

/* Elsewhere it is the script that makes the frames. */
static void check_compression(struct config_reader *reader, const struct config_server *server)
{
    if (server->compression.on && server->protocol != CONFIG_PROTOCOL_WEBSOCKET &&
        !config_reader_is_bad(reader, &server->protocol))
        config_reader_error(reader, config_reader_place(reader, &server->compression.on),
                            "compression: only the built-in `protocol: websocket` compresses, a "
                            "script with a protocol of its own does its own framing; use that "
                            "protocol, or remove the key");
}

/* Whoever sends the largest message would be closed for it. */
static void check_limits(struct config_reader *reader, const struct config_server *server)
{
    uint64_t most = server->limits.bytes_per_second * server->limits.burst;
    if (most > 0 && !server->limits.wait && most < server->max_message_size)
        config_reader_warn(reader, config_reader_place(reader, &server->limits.bytes_per_second),
                           "limits: a message of maxMessageSize (%" PRIu64
                           " bytes) is more than bytesPerSecond allows in a burst (%" PRIu64
                           " bytes): who sends one is closed",
                           server->max_message_size, most);
}

static void finish_server(struct config_reader *reader, const char *base,
                          struct config_server *server)
{
    resolve_entry(reader, base, server);
    check_compression(reader, server);
    check_limits(reader, server);
    if (server->ping_interval == CONFIG_PING_INTERVAL_AUTO)
        server->ping_interval = (server->read_timeout + 1) / 2;
}

/* A header from anybody may name anybody. */
static void check_proxies(struct config_reader *reader, const struct config_server *server)
{
    static char loopback[] = "127.0.0.0/8", loopback6[] = "::1", local[] = "unix";
    static char *const near[] = {loopback, loopback6, local, NULL};
    struct sockaddr_storage at;
    if (server->proxy_protocol && !*server->trusted_proxies &&
        address_from_bind(&at, server->listen.bind, 0) && !address_in(&at, near))
        config_reader_warn(
            reader, config_reader_place(reader, &server->proxy_protocol),
            "proxyProtocol without trustedProxies: whoever can connect may claim any "
            "address; list the proxies, or bind to an address that only they reach");
}

static void resolve_log(const char *base, struct config *config)
{
    char *given = config->logging.filename;
    if (!*given)
        return;
    config->logging.filename = config_path_join(base, given);
    free(given);
}

/* The one user of older files, who may do everything from anywhere. */
static void add_api_user(struct config_reader *reader, struct config_draft *draft)
{
    struct config *config = &draft->config;
    if ((!*draft->api_username && !*draft->api_password) ||
        config_reader_is_bad(reader, &draft->api_username) ||
        config_reader_is_bad(reader, &draft->api_password))
        return;
    if (!*draft->api_username || !*draft->api_password || strchr(draft->api_username, ':')) {
        const yaml_mark_t *place = config_reader_place(reader, &draft->api_username);
        config_reader_error(
            reader, place ? place : config_reader_place(reader, &draft->api_password),
            "engine.apiServer: username (without a colon) and password must both be "
            "given, or neither");
        return;
    }
    config->users = xrealloc(config->users, (config->user_count + 1) * sizeof *config->users);
    config->users[config->user_count++] = (struct config_user){
        .username = xstrdup(draft->api_username),
        .password = xstrdup(draft->api_password),
        .host = xstrdup("*"),
        .read = true,
        .write = true,
    };
}

/* A consumer that takes nothing must be dropped before the pushes that wait for it give up. */
static void check_queue(struct config_reader *reader, const struct config *config)
{
    if (config->queue.full_error || config->queue.stall_timeout < config->queue.full_timeout ||
        config_reader_is_bad(reader, &config->queue.stall_timeout) ||
        config_reader_is_bad(reader, &config->queue.full_timeout) ||
        config_reader_is_bad(reader, &config->queue.full_error))
        return;
    const yaml_mark_t *place = config_reader_place(reader, &config->queue.stall_timeout);
    config_reader_error(reader,
                        place ? place : config_reader_place(reader, &config->queue.full_timeout),
                        "engine.luavm.queue: stallTimeout is %u s and must be below fullTimeout, "
                        "which is %u s",
                        config->queue.stall_timeout, config->queue.full_timeout);
}

/* Below that the engine itself, with its scripts, would be above it at once. */
static void check_memory_limit(struct config_reader *reader, const struct config *config)
{
    const yaml_mark_t *place = config_reader_place(reader, &config->memory_limit);
    if (config->memory_limit > 0 && config->memory_limit < MEMORY_LIMIT_MIN && place &&
        !config_reader_is_bad(reader, &config->memory_limit))
        config_reader_error(reader, place,
                            "engine.memoryLimit: allowed is 0, for none, or 64 MiB and more");
}

/* 0.0.0.0 takes a port from every IPv4 address, :: from every one. */
static bool covers(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    return address_is_any(a) && (a->ss_family == AF_INET6 || b->ss_family == AF_INET);
}

static bool collide(const struct config_listener *a, const struct config_listener *b)
{
    struct sockaddr_storage aa, ab;
    if (!address_from_bind(&aa, a->bind, a->port) || !address_from_bind(&ab, b->bind, b->port))
        return false;
    if (aa.ss_family == AF_UNIX || ab.ss_family == AF_UNIX)
        return address_same_host(&aa, &ab);
    return a->port == b->port && a->port != 0 &&
           (address_same_host(&aa, &ab) || covers(&aa, &ab) || covers(&ab, &aa));
}

enum { FIXED_LISTENERS = 2 };

static const char *const listener_names[FIXED_LISTENERS] = {"center.apiServer", "engine.apiServer"};

static struct config_listener *listener_at(struct config *config, size_t index)
{
    if (index == 0)
        return &config->center_api.listen;
    if (index == 1)
        return &config->engine_api.listen;
    return &config->servers[index - FIXED_LISTENERS].listen;
}

/* Where the file says so: the port, else the address, else the server's block. NULL: a default. */
static const yaml_mark_t *listener_place(const struct config_reader *reader, struct config *config,
                                         size_t index)
{
    const struct config_listener *listener = listener_at(config, index);
    const yaml_mark_t *place = config_reader_place(reader, &listener->port);
    if (!place)
        place = config_reader_place(reader, &listener->bind);
    if (!place && index >= FIXED_LISTENERS)
        place = config_reader_place(reader, &config->servers[index - FIXED_LISTENERS].line);
    return place;
}

static void describe_listener(struct buf *out, const struct config_reader *reader,
                              struct config *config, size_t index)
{
    const struct config_listener *listener = listener_at(config, index);
    const yaml_mark_t *place = listener_place(reader, config, index);
    if (index < FIXED_LISTENERS)
        buf_append_str(out, listener_names[index]);
    else
        buf_printf(out, "engine.servers[%zu]", index - FIXED_LISTENERS);
    buf_printf(out, " (%s", listener->bind);
    if (!address_path(listener->bind))
        buf_printf(out, " port %d", listener->port);
    buf_append_str(out, ", ");
    if (place)
        buf_printf(out, "line %zu)", place->line + 1);
    else
        buf_append_str(out, "the default)");
}

static void report_collision(struct config_reader *reader, struct config *config, size_t index,
                             size_t earlier)
{
    struct buf text = {0};
    describe_listener(&text, reader, config, index);
    buf_append_str(&text, " and ");
    describe_listener(&text, reader, config, earlier);
    const yaml_mark_t *place = listener_place(reader, config, index);
    if (!place)
        place = listener_place(reader, config, earlier);
    config_reader_error(reader, place, "%.*s want the same %s; change one of them", (int)text.len,
                        text.data,
                        address_path(listener_at(config, index)->bind) ? "socket" : "port");
    buf_free(&text);
}

/* A listener with an error collides with none; the configuration is not used then. */
static void forget_bad(const struct config_reader *reader, struct config_listener *listener)
{
    if (config_reader_is_bad(reader, &listener->port) ||
        config_reader_is_bad(reader, &listener->bind))
        listener->port = 0;
}

static void resolve_socket(struct config_reader *reader, const char *base,
                           struct config_listener *listener)
{
    const char *given = address_path(listener->bind);
    if (!given)
        return;
    char *path = config_path_join(base, given);
    if (strlen(path) > ADDRESS_PATH_MAX)
        config_reader_error(
            reader, config_reader_place(reader, &listener->bind),
            "the socket's path has %zu bytes, and the system takes %d: %s; choose a "
            "shorter one",
            strlen(path), ADDRESS_PATH_MAX, path);
    free(listener->bind);
    listener->bind = xasprintf("unix:%s", path);
    free(path);
}

/* Consumers find the engine by HOST:PORT. */
static void check_advertised(struct config_reader *reader, const struct config *config)
{
    const struct config_api *api = &config->engine_api;
    if (address_path(api->listen.bind) && !*api->advertise &&
        !config_reader_is_bad(reader, &api->advertise))
        config_reader_error(reader, config_reader_place(reader, &api->listen.bind),
                            "engine.apiServer: consumers cannot be told of a Unix socket; set "
                            "advertise to the HOST:PORT at which they reach it");
}

static void check_listeners(struct config_reader *reader, const char *base, struct config *config)
{
    size_t count = FIXED_LISTENERS + config->server_count;
    for (size_t i = 0; i < count; i++) {
        forget_bad(reader, listener_at(config, i));
        resolve_socket(reader, base, listener_at(config, i));
    }
    for (size_t i = 1; i < count; i++)
        for (size_t j = 0; j < i; j++)
            if (collide(listener_at(config, i), listener_at(config, j))) {
                report_collision(reader, config, i, j);
                break;
            }
}

static size_t push_tls_of(struct config_reader *reader, size_t index)
{
    bool server = index >= FIXED_LISTENERS;
    size_t before = config_reader_push(reader, server ? "engine.servers" : listener_names[index]);
    if (server)
        config_reader_push_index(reader, index - FIXED_LISTENERS);
    config_reader_push(reader, "tls");
    return before;
}

static void resolve_certificates(struct config_reader *reader, const char *base,
                                 struct config *config)
{
    for (size_t i = 0; i < FIXED_LISTENERS + config->server_count; i++) {
        size_t before = push_tls_of(reader, i);
        config_tls_resolve(reader, base, &listener_at(config, i)->tls);
        config_reader_pop(reader, before);
    }
}

static void load_certificates(struct config_reader *reader, struct config *config)
{
    for (size_t i = 0; i < FIXED_LISTENERS + config->server_count; i++) {
        size_t before = push_tls_of(reader, i);
        config_tls_load(reader, &listener_at(config, i)->tls);
        config_reader_pop(reader, before);
    }
}

static void finish(struct config_reader *reader, struct config_draft *draft)
{
    struct config *config = &draft->config;
    char *base = config_path_base(config->file);
    for (size_t i = 0; i < config->server_count; i++)
        finish_server(reader, base, &config->servers[i]);
    resolve_log(base, config);
    add_api_user(reader, draft);
    check_queue(reader, config);
    check_memory_limit(reader, config);
    check_advertised(reader, config);
    check_listeners(reader, base, config);
    resolve_certificates(reader, base, config);
    for (size_t i = 0; i < config->server_count; i++)
        check_proxies(reader, &config->servers[i]);
    free(base);
}

/* ---- documents ---- */

/* Line and column of a byte, for errors of the encoding, which libyaml finds before it counts
 * lines. */
static yaml_mark_t mark_of_offset(const char *text, size_t offset)
{
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            mark.column++;
        }
    }
    return mark;
}

static void report_syntax(struct config_reader *reader, const yaml_parser_t *parser,
                          const char *text, size_t len)
{
    yaml_mark_t mark = parser->problem_mark;
    if (parser->error == YAML_READER_ERROR)
        mark = mark_of_offset(text, parser->problem_offset < len ? parser->problem_offset : len);
    const char *problem = parser->problem ? parser->problem : "it is too deep or too large";
    if (parser->context)
        config_reader_error(reader, &mark, "not valid YAML: %s, %s that began in line %zu", problem,
                            parser->context, parser->context_mark.line + 1);
    else
        config_reader_error(reader, &mark, "not valid YAML: %s", problem);
}

static void check_no_more(struct config_reader *reader, yaml_parser_t *parser, const char *text,
                          size_t len)
{
    yaml_document_t more;
    if (!yaml_parser_load(parser, &more)) {
        report_syntax(reader, parser, text, len);
        return;
    }
    if (yaml_document_get_root_node(&more))
        config_reader_error(reader, &more.start_mark,
                            "a second document begins here; a file holds one");
    yaml_document_delete(&more);
}

static struct config_draft *draft_of(const struct config *config)
{
    return (struct config_draft *)((char *)config - offsetof(struct config_draft, config));
}

static void read_document(struct config_reader *reader, struct config_draft *draft,
                          const char *text, size_t len)
{
    yaml_parser_t parser;
    yaml_document_t document;
    CHECK(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    if (!yaml_parser_load(&parser, &document)) {
        report_syntax(reader, &parser, text, len);
    } else {
        if (yaml_document_get_root_node(&document))
            check_no_more(reader, &parser, text, len);
        config_walk(reader, &document, &config_root, draft);
        finish(reader, draft);
        yaml_document_delete(&document);
    }
    yaml_parser_delete(&parser);
}

static void free_draft(struct config_draft *draft)
{
    for (size_t i = 0; i < FIXED_LISTENERS + draft->config.server_count; i++)
        config_tls_fini(&listener_at(&draft->config, i)->tls);
    config_section_fini(&config_root, draft);
    free(draft->config.file);
    free(draft);
}

/* `running` may be NULL. */
static struct config *parse(const char *file, const char *text, size_t len,
                            const struct config *running, config_report *report, void *data)
{
    struct config_reader reader = {.file = file, .report = report, .report_data = data};
    struct config_draft *draft = xcalloc(1, sizeof *draft);
    config_section_init(&config_root, draft);
    draft->config.file = xstrdup(file);
    atomic_init(&draft->config.refs, 1);
    if (len > FILE_MAX)
        config_reader_error(&reader, NULL, "larger than %d bytes; is it a configuration?",
                            FILE_MAX);
    else if (config_bounds_check(&reader, text, len))
        read_document(&reader, draft, text, len);
    if (!reader.errors && running)
        config_merge(&reader, &config_root, draft, draft_of(running));
    if (!reader.errors)
        load_certificates(&reader, &draft->config);
    bool failed = reader.errors > 0;
    if (failed)
        free_draft(draft);
    config_reader_fini(&reader);
    return failed ? NULL : &draft->config;
}

struct config *config_parse(const char *file, const char *text, size_t len, config_report *report,
                            void *data)
{
    return parse(file, text, len, NULL, report, data);
}

/* The only field that changes. */
static atomic_uint *refs_of(const struct config *config)
{
    return &((struct config *)config)->refs;
}

const struct config *config_ref(const struct config *config)
{
    atomic_fetch_add_explicit(refs_of(config), 1, memory_order_relaxed);
    return config;
}

/* acq_rel: as in blob.c. */
void config_unref(const struct config *config)
{
    if (config && atomic_fetch_sub_explicit(refs_of(config), 1, memory_order_acq_rel) == 1)
        free_draft(draft_of(config));
}

/* ---- files ---- */

/* Reads until the end or until there is more than a file may hold. Returns 0 or a negative errno.
 */
static int read_all(const char *file, struct buf *out)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t got = 1;
    while (got > 0 && out->len <= FILE_MAX) {
        got = read(fd, buf_reserve(out, 64 * 1024), 64 * 1024);
        out->len += got > 0 ? (size_t)got : 0;
    }
    int error = got < 0 ? -errno : 0;
    close(fd);
    return error;
}

static void report_unreadable(const char *file, const char *why, config_report *report, void *data)
{
    struct config_reader reader = {.file = file, .report = report, .report_data = data};
    config_reader_error(&reader, NULL, "cannot be read: %s; check the path", why);
}

static struct config *load(const char *file, const struct config *running, config_report *report,
                           void *data)
{
    struct buf text = {0};
    struct config *config = NULL;
    struct file_stamp stamp = file_stamp_of(file);
    int error = read_all(file, &text);
    if (error)
        report_unreadable(file, strerror(-error), report, data);
    else
        config = parse(file, text.data, text.len, running, report, data);
    if (config)
        config->stamp = stamp;
    buf_free(&text);
    return config;
}

struct config *config_load(const char *file, config_report *report, void *data)
{
    return load(file, NULL, report, data);
}

struct config *config_reload(const struct config *running, config_report *report, void *data)
{
    struct file_stamp stamp = file_stamp_of(running->file);
    if (!file_stamp_is_of_file(&stamp)) {
        report_unreadable(running->file, "there is no regular file", report, data);
        return NULL;
    }
    return load(running->file, running, report, data);
}

const char *config_option(const struct config_server *server, const char *name)
{
    for (size_t i = 0; i < server->option_count; i++)
        if (strcmp(server->options[i].name, name) == 0)
            return server->options[i].value;
    return NULL;
}

bool config_allows_origin(char *const *origins, const char *origin, size_t len)
{
    if (!origins || !*origins)
        return true;
    for (; *origins; origins++)
        if (strcmp(*origins, "*") == 0 ||
            (strlen(*origins) == len && strncasecmp(*origins, origin, len) == 0))
            return true;
    return false;
}
