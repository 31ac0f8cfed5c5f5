#include "config/config_schema.h"

#include "base/check.h"
#include "base/mem.h"
#include "config/config_password.h"
#include "config/config_value.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */

#define FIELD(type, member) .offset = offsetof(type, member), .width = sizeof(((type *)NULL)->member)
#define ROOT(member) FIELD(struct config_draft, config.member)
#define SERVER(member) FIELD(struct config_server, member)
#define REDIS(member) FIELD(struct config_redis, member)
#define USER(member) FIELD(struct config_user, member)
#define OPTION(member) FIELD(struct config_option, member)

#define RANGE(least, most, dflt) .min = (least), .max = (most), .number = (dflt)
#define KEYS(table) .keys = (table), .count = sizeof(table) / sizeof *(table)
#define IP .text = "0.0.0.0", .valid = config_value_is_ip, .allowed = "an IP address"
#define BIND .text = "0.0.0.0", .valid = config_value_is_bind, .allowed = "an IP address or unix:PATH"
#define ADDRESS .valid = config_value_is_address, .allowed = "HOST:PORT"
#define ADDRESS_OR_EMPTY .valid = config_value_is_address_or_empty, .allowed = "HOST:PORT, or '' for none"
#define NETWORK .valid = config_value_is_network, .allowed = "an IP address, a network as 10.0.0.0/8, or unix"
#define NOT_EMPTY .valid = config_value_is_not_empty, .allowed = "a text that is not empty"

#define HASHES "a hash of crypt(5) ($y$, $2b$, $6$, $5$, $7$, $gy$, $1$), as mkpasswd makes it"
#define PASSWORD .fault = config_password_fault, .allowed = "a text that is not empty, or " HASHES
#define PASSWORD_OR_EMPTY .fault = password_or_empty_fault, .allowed = "a text, or " HASHES

/* In milliseconds 30 days still fit 32 bits. */
#define DAYS_30 (30 * 24 * 3600)
#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define WORKERS_MAX 64
#define CLIENTS_OF_WORKER (1 << 18)

#define NO_MESH "nodes do not form a cluster in this version"
#define NO_SUMMARY "durations are counted in buckets, none is kept by itself"
#define NO_BUFFER_SIZE "buffers are as large as they need to be"
#define NO_CENTER_USE "the center's API does not use it"

static const char *password_or_empty_fault(const char *text)
{
    return *text ? config_password_fault(text) : NULL;
}

static const struct config_choice levels[] = {
    {"debug", LOG_LEVEL_DEBUG, false},
    {"info", LOG_LEVEL_INFO, false},
    {"warn", LOG_LEVEL_WARN, false},
    {"warning", LOG_LEVEL_WARN, true},
    {"error", LOG_LEVEL_ERROR, false},
    {0},
};
static const struct config_choice yes_no[] = {
    {"true", true, false}, {"false", false, false}, {"yes", true, true},
    {"no", false, true}, {"on", true, true}, {"off", false, true}, {0},
};
static const struct config_choice full[] = {{"block", false, false}, {"error", true, false}, {0}};
static const struct config_choice affinity[] = {{"client", false, false}, {"any", true, false}, {0}};
static const struct config_choice over_limit[] = {{"close", false, false}, {"wait", true, false}, {0}};
static const struct config_choice slow_client[] = {
    {"close", false, false}, {"dropOldest", true, false}, {"drop_oldest", true, true}, {0},
};
static const struct config_choice shared_encode[] = {
    {"auto", true, false}, {"off", false, false}, {"false", false, true}, {"no", false, true}, {0},
};
static const struct config_choice protocols[] = {
    {"websocket", CONFIG_PROTOCOL_WEBSOCKET, false},
    {"socket", CONFIG_PROTOCOL_SOCKET, false},
    {"custom", CONFIG_PROTOCOL_SOCKET, false},
    {0},
};
static const struct config_choice roles[] = {
    {"read", offsetof(struct config_user, read), false},
    {"write", offsetof(struct config_user, write), false},
    {0},
};

static const struct config_choice tls_versions[] = {{"1.2", CONFIG_TLS_1_2, false}, {"1.3", CONFIG_TLS_1_3, false}, {0}};

/* With the files' names new connections get what is in them by then. */
#define TLS_KEYS(of, member)                                                                                              \
    {.name = "cert", .kind = CONFIG_TEXT, of(member.cert), .text = "", .live = true},                                     \
    {.name = "key", .kind = CONFIG_TEXT, of(member.key), .text = "", .live = true},                                       \
    {.name = "minVersion", .kind = CONFIG_CHOICE, of(member.min_version), .choices = tls_versions, .live = true},         \
    {.name = "clientCA", .kind = CONFIG_TEXT, of(member.client_ca), .text = "", .live = true}

static const struct config_key center_tls_keys[] = {TLS_KEYS(ROOT, center_api.listen.tls)};
static const struct config_section center_tls = {KEYS(center_tls_keys)};
static const struct config_key engine_tls_keys[] = {TLS_KEYS(ROOT, engine_api.listen.tls)};
static const struct config_section engine_tls = {KEYS(engine_tls_keys)};
static const struct config_key server_tls_keys[] = {TLS_KEYS(SERVER, listen.tls)};
static const struct config_section server_tls = {KEYS(server_tls_keys)};

static const struct config_choice log_formats[] = {{"text", LOG_FORMAT_TEXT, false}, {"json", LOG_FORMAT_JSON, false}, {0}};
static const struct config_key logging_keys[] = {
    {.name = "filename", .kind = CONFIG_TEXT, ROOT(logging.filename), .text = "logs/connmix.log"},
    {.name = "maxFiles", .kind = CONFIG_NUMBER, ROOT(logging.max_files), RANGE(0, 100000, 7)},
    {.name = "maxSize", .kind = CONFIG_SIZE, ROOT(logging.max_size), RANGE(KIB(64), GIB(1024), MIB(100))},
    {.name = "format", .kind = CONFIG_CHOICE, ROOT(logging.format), .choices = log_formats},
    {.name = "level", .kind = CONFIG_CHOICE, ROOT(logging.level), .choices = levels, .number = LOG_LEVEL_DEBUG, .live = true},
};
static const struct config_section logging = {KEYS(logging_keys)};

static const struct config_key summary_keys[] = {
    {.name = "maxAge", .kind = CONFIG_SECONDS, ROOT(prometheus.max_age), RANGE(1, DAYS_30, 600)},
    {.name = "ageBuckets", .kind = CONFIG_NUMBER, ROOT(prometheus.age_buckets), RANGE(1, 1000, 5)},
    {.name = "bufCap", .kind = CONFIG_NUMBER, ROOT(prometheus.buf_cap), RANGE(1, 1000000, 500), .unused = NO_SUMMARY},
};
static const struct config_section summary = {KEYS(summary_keys)};
static const struct config_key prometheus_keys[] = {
    {.name = "summary", .kind = CONFIG_SECTION, .section = &summary},
};
static const struct config_section prometheus = {KEYS(prometheus_keys)};

static const struct config_key user_keys[] = {
    {.name = "username", .kind = CONFIG_TEXT, USER(username), .text = "", .required = true,
     .secret = true, .valid = config_value_is_username, .allowed = "a text that is not empty and has no colon"},
    {.name = "password", .kind = CONFIG_TEXT, USER(password), .text = "", .required = true, PASSWORD},
    {.name = "roles", .kind = CONFIG_FLAGS, .choices = roles, .required = true, .secret = true},
    {.name = "host", .kind = CONFIG_TEXT, USER(host), .text = "*",
     .valid = config_value_is_host_pattern, .allowed = "an IP address, in which * stands for any part, or unix"},
};
static const struct config_section user = {KEYS(user_keys), .size = sizeof(struct config_user)};
static const struct config_key access_keys[] = {
    {.name = "users", .kind = CONFIG_LIST, ROOT(users), .section = &user,
     .count_offset = offsetof(struct config_draft, config.user_count), .live = true},
};
static const struct config_section access = {KEYS(access_keys)};

#define API_KEYS(member, tls, dflt_port)                                                                                  \
    {.name = "port", .kind = CONFIG_NUMBER, ROOT(member.listen.port), RANGE(0, 65535, dflt_port)},                        \
    {.name = "bind", .kind = CONFIG_TEXT, ROOT(member.listen.bind), BIND},                                                \
    {.name = "tls", .kind = CONFIG_SECTION, .section = &(tls)},                                                           \
    {.name = "readBufferSize", .kind = CONFIG_SIZE, ROOT(member.read_buffer_size), RANGE(1, GIB(1), 40096),               \
     .unused = NO_BUFFER_SIZE},                                                                                           \
    {.name = "writeBufferSize", .kind = CONFIG_SIZE, ROOT(member.write_buffer_size), RANGE(1, GIB(1), 40096),             \
     .unused = NO_BUFFER_SIZE},                                                                                           \
    {.name = "readTimeout", .kind = CONFIG_SECONDS, ROOT(member.read_timeout), RANGE(0, DAYS_30, 60)}

#define PEER_KEYS(member, dflt_port)                                                                                      \
    {.name = "port", .kind = CONFIG_NUMBER, ROOT(member.port), RANGE(1, 65535, dflt_port), .unused = NO_MESH},            \
    {.name = "bind", .kind = CONFIG_TEXT, ROOT(member.bind), IP, .unused = NO_MESH}

static const struct config_key registry_keys[] = {PEER_KEYS(center_registry, 6786)};
static const struct config_section registry = {KEYS(registry_keys)};
static const struct config_key center_api_keys[] = {
    API_KEYS(center_api, center_tls, 6787),
    {.name = "writeTimeout", .kind = CONFIG_SECONDS, ROOT(center_api.write_timeout), RANGE(0, DAYS_30, 60), .unused = NO_CENTER_USE},
    {.name = "advertise", .kind = CONFIG_TEXT, ROOT(center_api.advertise), .text = "", ADDRESS_OR_EMPTY, .unused = NO_CENTER_USE},
    {.name = "origins", .kind = CONFIG_TEXTS, ROOT(center_api.origins), NOT_EMPTY, .live = true},
};
static const struct config_section center_api = {KEYS(center_api_keys)};
static const struct config_key center_keys[] = {
    {.name = "registry", .kind = CONFIG_SECTION, .section = &registry},
    {.name = "apiServer", .old = {"server"}, .kind = CONFIG_SECTION, .section = &center_api},
};
static const struct config_section center = {KEYS(center_keys)};

static const struct config_key queue_keys[] = {
    {.name = "topicSize", .old = {"size"}, .kind = CONFIG_NUMBER, ROOT(queue.topic_size), RANGE(1, 10000000, 2000)},
    {.name = "maxTopics", .old = {"max"}, .kind = CONFIG_NUMBER, ROOT(queue.max_topics), RANGE(1, 1000000, 100)},
    {.name = "full", .kind = CONFIG_CHOICE, ROOT(queue.full_error), .choices = full, .live = true},
    {.name = "fullTimeout", .kind = CONFIG_SECONDS, ROOT(queue.full_timeout), RANGE(1, DAYS_30, 10), .live = true},
    {.name = "affinity", .kind = CONFIG_CHOICE, ROOT(queue.affinity_any), .choices = affinity},
    {.name = "stallTimeout", .kind = CONFIG_SECONDS, ROOT(queue.stall_timeout), RANGE(1, DAYS_30, 5), .live = true},
};
static const struct config_section queue = {KEYS(queue_keys)};

static const struct config_key redis_keys[] = {
    {.name = "name", .kind = CONFIG_TEXT, REDIS(name), .text = "default", NOT_EMPTY, .unique = true},
    {.name = "addr", .kind = CONFIG_TEXT, REDIS(addr), .text = "localhost:6379", .secret = true, ADDRESS},
    {.name = "password", .kind = CONFIG_TEXT, REDIS(password), .text = ""},
    {.name = "db", .kind = CONFIG_NUMBER, REDIS(db), RANGE(0, INT32_MAX, 0)},
    {.name = "poolSize", .kind = CONFIG_NUMBER, REDIS(pool_size), RANGE(1, 10000, 20)},
    {.name = "minIdleConns", .kind = CONFIG_NUMBER, REDIS(min_idle_conns), RANGE(0, 10000, 10)},
    {.name = "maxConnAge", .kind = CONFIG_SECONDS, REDIS(max_conn_age), RANGE(0, DAYS_30, 0)},
    {.name = "idleTimeout", .kind = CONFIG_SECONDS, REDIS(idle_timeout), RANGE(0, DAYS_30, 300)},
};
static const struct config_section redis = {KEYS(redis_keys), .size = sizeof(struct config_redis)};

static const struct config_key luavm_keys[] = {
    {.name = "preempt", .kind = CONFIG_CHOICE, ROOT(luavm.preempt), .choices = yes_no},
    {.name = "handlerBudget", .kind = CONFIG_NUMBER, ROOT(luavm.handler_budget), RANGE(10, 60000, 100)},
    {.name = "memoryLimit", .kind = CONFIG_SIZE, ROOT(luavm.memory_limit), RANGE(0, GIB(64), 0)},
    {.name = "queue", .kind = CONFIG_SECTION, .section = &queue},
    {.name = "redis", .kind = CONFIG_LIST, ROOT(redis), .section = &redis, .number = 1, .one_is_list = true,
     .count_offset = offsetof(struct config_draft, config.redis_count)},
};
static const struct config_section luavm = {KEYS(luavm_keys)};

static const struct config_key option_keys[] = {
    {.name = "name", .kind = CONFIG_TEXT, OPTION(name), .text = "", NOT_EMPTY, .unique = true, .required = true},
    {.name = "value", .kind = CONFIG_TEXT, OPTION(value), .text = "", .required = true},
};
static const struct config_section option = {KEYS(option_keys), .size = sizeof(struct config_option)};

/* 256 bytes: of what is shorter, deflate without a context saves too little for its time. */
static const struct config_key compression_keys[] = {
    {.name = "enabled", .kind = CONFIG_CHOICE, SERVER(compression.on), .choices = yes_no},
    {.name = "threshold", .kind = CONFIG_SIZE, SERVER(compression.threshold), RANGE(0, GIB(1), 256)},
    {.name = "contextTakeover", .kind = CONFIG_CHOICE, SERVER(compression.context_takeover), .choices = yes_no},
};
static const struct config_section compression = {KEYS(compression_keys)};

/* A push waits for 10 s at most by default: what a client has sent meanwhile comes at once. */
static const struct config_key limits_keys[] = {
    {.name = "messagesPerSecond", .kind = CONFIG_NUMBER, SERVER(limits.messages_per_second), RANGE(0, 1000000, 0), .live = true},
    {.name = "bytesPerSecond", .kind = CONFIG_SIZE, SERVER(limits.bytes_per_second), RANGE(0, GIB(1), 0), .live = true},
    {.name = "connectsPerSecond", .kind = CONFIG_NUMBER, SERVER(limits.connects_per_second), RANGE(0, 1000000, 0), .live = true},
    {.name = "connectionsPerAddress", .kind = CONFIG_NUMBER, SERVER(limits.connections_per_address),
     RANGE(0, WORKERS_MAX * CLIENTS_OF_WORKER, 0), .live = true},
    {.name = "overLimit", .kind = CONFIG_CHOICE, SERVER(limits.wait), .choices = over_limit, .live = true},
    {.name = "burst", .kind = CONFIG_SECONDS, SERVER(limits.burst), RANGE(1, 3600, 10), .live = true},
    {.name = "exempt", .kind = CONFIG_TEXTS, SERVER(limits.exempt), NETWORK, .live = true},
};
static const struct config_section limits = {KEYS(limits_keys)};

static const struct config_key server_keys[] = {
    {.name = "port", .kind = CONFIG_NUMBER, SERVER(listen.port), RANGE(0, 65535, 6790)},
    {.name = "bind", .kind = CONFIG_TEXT, SERVER(listen.bind), BIND},
    {.name = "protocol", .kind = CONFIG_CHOICE, SERVER(protocol), .choices = protocols},
    {.name = "options", .kind = CONFIG_LIST, SERVER(options), .section = &option,
     .count_offset = offsetof(struct config_server, option_count)},
    {.name = "entry", .kind = CONFIG_TEXT, SERVER(entry), .text = "lua/entry.websocket.lua", NOT_EMPTY},
    {.name = "byteCodeExpires", .kind = CONFIG_SECONDS, SERVER(byte_code_expires), RANGE(0, DAYS_30, 10)},
    {.name = "readBufferSize", .kind = CONFIG_SIZE, SERVER(read_buffer_size), RANGE(1, GIB(1), 1024), .unused = NO_BUFFER_SIZE},
    {.name = "writeBufferSize", .kind = CONFIG_SIZE, SERVER(write_buffer_size), RANGE(1, GIB(1), 1024), .unused = NO_BUFFER_SIZE},
    {.name = "readTimeout", .kind = CONFIG_SECONDS, SERVER(read_timeout), RANGE(0, DAYS_30, 60), .live = true},
    {.name = "writeTimeout", .kind = CONFIG_SECONDS, SERVER(write_timeout), RANGE(0, DAYS_30, 10), .live = true},
    {.name = "handshakeTimeout", .kind = CONFIG_SECONDS, SERVER(handshake_timeout), RANGE(1, DAYS_30, 10), .live = true},
    {.name = "pingInterval", .kind = CONFIG_SECONDS, SERVER(ping_interval), RANGE(0, DAYS_30, CONFIG_PING_INTERVAL_AUTO), .live = true},
    {.name = "maxMessageSize", .kind = CONFIG_SIZE, SERVER(max_message_size), RANGE(1, MIB(256), MIB(1)), .live = true},
    {.name = "maxBacklog", .kind = CONFIG_SIZE, SERVER(max_backlog), RANGE(1, GIB(16), MIB(1)), .live = true},
    {.name = "slowClient", .kind = CONFIG_CHOICE, SERVER(drop_oldest), .choices = slow_client, .live = true},
    {.name = "readAhead", .kind = CONFIG_SIZE, SERVER(read_ahead), RANGE(1, GIB(1), KIB(64)), .live = true},
    {.name = "maxContext", .kind = CONFIG_SIZE, SERVER(max_context), RANGE(1, GIB(1), KIB(64)), .live = true},
    {.name = "maxConnections", .kind = CONFIG_NUMBER, SERVER(max_connections), RANGE(0, WORKERS_MAX * CLIENTS_OF_WORKER, 0), .live = true},
    {.name = "maxSubscriptions", .kind = CONFIG_NUMBER, SERVER(max_subscriptions), RANGE(0, 1000000, 1000), .live = true},
    {.name = "maxChannelLength", .kind = CONFIG_NUMBER, SERVER(max_channel_length), RANGE(1, 65535, 255), .live = true},
    {.name = "sharedEncode", .kind = CONFIG_CHOICE, SERVER(shared_encode), .choices = shared_encode, .number = true},
    {.name = "proxyProtocol", .kind = CONFIG_CHOICE, SERVER(proxy_protocol), .choices = yes_no},
    {.name = "trustedProxies", .kind = CONFIG_TEXTS, SERVER(trusted_proxies), NETWORK},
    {.name = "tls", .kind = CONFIG_SECTION, .section = &server_tls},
    {.name = "origins", .kind = CONFIG_TEXTS, SERVER(origins), NOT_EMPTY, .live = true},
    {.name = "compression", .kind = CONFIG_SECTION, .section = &compression, .has_switch = true},
    {.name = "limits", .kind = CONFIG_SECTION, .section = &limits},
};
static const struct config_section server = {KEYS(server_keys), .size = sizeof(struct config_server)};

static const struct config_key engine_api_keys[] = {
    API_KEYS(engine_api, engine_tls, 6789),
    {.name = "writeTimeout", .kind = CONFIG_SECONDS, ROOT(engine_api.write_timeout), RANGE(0, DAYS_30, 60), .live = true},
    {.name = "advertise", .kind = CONFIG_TEXT, ROOT(engine_api.advertise), .text = "", ADDRESS_OR_EMPTY, .live = true},
    {.name = "origins", .kind = CONFIG_TEXTS, ROOT(engine_api.origins), NOT_EMPTY, .live = true},
    {.name = "protocol", .kind = CONFIG_IGNORED},
    {.name = "username", .kind = CONFIG_TEXT, FIELD(struct config_draft, api_username), .text = "", .live = true},
    {.name = "password", .kind = CONFIG_TEXT, FIELD(struct config_draft, api_password), .text = "", PASSWORD_OR_EMPTY, .live = true},
};
static const struct config_section engine_api = {KEYS(engine_api_keys)};
static const struct config_key mesh_point_keys[] = {PEER_KEYS(mesh_point, 6788)};
static const struct config_section mesh_point = {KEYS(mesh_point_keys)};

static const struct config_key engine_keys[] = {
    {.name = "centerRegistry", .kind = CONFIG_TEXT, ROOT(engine_center_registry), .text = "localhost:6786", ADDRESS,
     .unused = NO_MESH},
    {.name = "meshPoint", .kind = CONFIG_SECTION, .section = &mesh_point},
    {.name = "apiServer", .old = {"control"}, .kind = CONFIG_SECTION, .section = &engine_api},
    {.name = "memoryLimit", .kind = CONFIG_SIZE, ROOT(memory_limit), RANGE(0, GIB(1 << 20), 0), .live = true},
    {.name = "stopTimeout", .kind = CONFIG_SECONDS, ROOT(stop_timeout), RANGE(0, DAYS_30, 10), .live = true},
    {.name = "luavm", .kind = CONFIG_SECTION, .section = &luavm},
    {.name = "servers", .kind = CONFIG_LIST, ROOT(servers), .section = &server, .has_line = true,
     .count_offset = offsetof(struct config_draft, config.server_count),
     .line_offset = offsetof(struct config_server, line)},
};
static const struct config_section engine = {KEYS(engine_keys)};

static const struct config_key root_keys[] = {
    {.name = "user", .kind = CONFIG_TEXT, ROOT(user), .text = "", .valid = config_value_is_account,
     .allowed = "USER, USER:GROUP or '' for none"},
    {.name = "coreDumps", .kind = CONFIG_CHOICE, ROOT(core_dumps), .choices = yes_no},
    {.name = "logging", .old = {"log"}, .kind = CONFIG_SECTION, .section = &logging},
    {.name = "prometheus", .kind = CONFIG_SECTION, .section = &prometheus},
    {.name = "licenses", .kind = CONFIG_IGNORED},
    {.name = "access", .kind = CONFIG_SECTION, .section = &access},
    {.name = "center", .kind = CONFIG_SECTION, .section = &center},
    {.name = "engine", .kind = CONFIG_SECTION, .section = &engine},
};
const struct config_section config_root = {KEYS(root_keys)};

/* clang-format on */

static bool same_name(const char *a, const char *b)
{
    for (;;) {
        a += strspn(a, "_");
        b += strspn(b, "_");
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
            return false;
        if (!*a)
            return true;
        a++;
        b++;
    }
}

bool config_key_is(const struct config_key *key, const char *name)
{
    for (size_t i = 0; i < sizeof key->old / sizeof *key->old; i++)
        if (key->old[i] && same_name(key->old[i], name))
            return true;
    return same_name(key->name, name);
}

char **config_text_field(const struct config_key *key, void *base)
{
    return (char **)((char *)base + key->offset);
}

char ***config_texts_field(const struct config_key *key, void *base)
{
    return (char ***)((char *)base + key->offset);
}

/* Pointers to different structs: copied, because no one type may name them all. */
static char *list_items(const struct config_key *key, const void *base)
{
    char *items;
    memcpy(&items, (const char *)base + key->offset, sizeof items);
    return items;
}

size_t config_list_count(const struct config_key *key, const void *base)
{
    return *(const size_t *)((const char *)base + key->count_offset);
}

void *config_list_item(const struct config_key *key, const void *base, size_t index)
{
    return list_items(key, base) + index * key->section->size;
}

/* Numbers, enumerations and bools: what they are is told by how wide they are. */
void config_store(const struct config_key *key, void *base, uint64_t value)
{
    void *field = (char *)base + key->offset;
    uint32_t narrow = (uint32_t)value;
    if (key->width == sizeof(bool))
        *(bool *)field = value != 0;
    else if (key->width == sizeof narrow)
        memcpy(field, &narrow, sizeof narrow);
    else if (key->width == sizeof value)
        memcpy(field, &value, sizeof value);
    else
        CHECK(key->width == 0);
}

static void free_list(const struct config_key *key, void *base)
{
    for (size_t i = 0; i < config_list_count(key, base); i++)
        config_section_fini(key->section, config_list_item(key, base, i));
    free(list_items(key, base));
}

void config_list_make(const struct config_key *key, void *base, size_t count)
{
    free_list(key, base);
    void *items = count ? xcalloc(count, key->section->size) : NULL;
    memcpy((char *)base + key->offset, &items, sizeof items);
    *(size_t *)((char *)base + key->count_offset) = count;
    for (size_t i = 0; i < count; i++)
        config_section_init(key->section, config_list_item(key, base, i));
}

static void init_key(const struct config_key *key, void *base)
{
    switch (key->kind) {
    case CONFIG_NUMBER:
    case CONFIG_SECONDS:
    case CONFIG_SIZE:
    case CONFIG_CHOICE:
        config_store(key, base, key->number);
        break;
    case CONFIG_TEXT:
        if (key->width)
            *config_text_field(key, base) = xstrdup(key->text);
        break;
    case CONFIG_TEXTS:
        *config_texts_field(key, base) = xcalloc(1, sizeof(char *));
        break;
    case CONFIG_SECTION:
        config_section_init(key->section, base);
        break;
    case CONFIG_LIST:
        config_list_make(key, base, key->number);
        break;
    case CONFIG_FLAGS:
    case CONFIG_IGNORED:
        break;
    }
}

void config_texts_free(const struct config_key *key, void *base)
{
    char **texts = *config_texts_field(key, base);
    for (char **text = texts; *text; text++)
        free(*text);
    free(texts);
}

static void fini_key(const struct config_key *key, void *base)
{
    if (key->kind == CONFIG_TEXT && key->width)
        free(*config_text_field(key, base));
    else if (key->kind == CONFIG_TEXTS)
        config_texts_free(key, base);
    else if (key->kind == CONFIG_SECTION)
        config_section_fini(key->section, base);
    else if (key->kind == CONFIG_LIST)
        free_list(key, base);
}

void config_section_init(const struct config_section *section, void *base)
{
    for (size_t i = 0; i < section->count; i++)
        init_key(&section->keys[i], base);
}

void config_section_fini(const struct config_section *section, void *base)
{
    for (size_t i = 0; i < section->count; i++)
        fini_key(&section->keys[i], base);
}
