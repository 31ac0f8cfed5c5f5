#include "config/config.h"

#include "base/buf.h"
#include "base/mem.h"
#include "config/config_password.h"
#include "config/config_path.h"
#include "config/config_schema.h"
#include "config/config_value.h"
#include "config/edit_distance.h"
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/config_test.XXXXXX";
static char *config_file; /* in folder/conf; the tests that parse text do not write it */

static void write_file(const char *path, const char *text, size_t len)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void in_folder(const char *name, const char *text)
{
    char *path = xasprintf("%s/%s", folder, name);
    if (text)
        write_file(path, text, strlen(text));
    else
        assert_int_equal(mkdir(path, 0755), 0);
    free(path);
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    in_folder("conf", NULL);
    in_folder("lua", NULL);
    in_folder("lua/entry.websocket.lua", "-- nothing\n");
    in_folder("lua/e.lua", "-- nothing\n");
    config_file = xasprintf("%s/conf/t.yaml", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {
        "lua/e.lua", "lua/entry.websocket.lua", "lua", "conf/t.yaml", "conf", "",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = xasprintf("%s/%s", folder, names[i]);
        remove(path);
        free(path);
    }
    free(config_file);
    return 0;
}

#define TEN "aaaaaaaaaa"
#define LONG_PATH "/" TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "aaaaaaa"

/* ---- parsing, and what was reported ---- */

struct outcome {
    struct config *config;
    struct buf reports; /* a line each, without the file's name */
    int errors, warnings;
};

static void on_report(bool is_error, const char *text, void *data)
{
    struct outcome *outcome = data;
    outcome->errors += is_error;
    outcome->warnings += !is_error;
    assert_null(strchr(text, '\n'));
    assert_non_null(strstr(text, is_error ? " error: " : " warning: "));
    assert_int_equal(strncmp(text, config_file, strlen(config_file)), 0);
    buf_printf(&outcome->reports, "%s\n", text + strlen(config_file) + 1);
}

static struct outcome parse_bytes(const char *text, size_t len)
{
    struct outcome outcome = {0};
    outcome.config = config_parse(config_file, text, len, on_report, &outcome);
    assert_int_equal(outcome.config == NULL, outcome.errors > 0);
    buf_append_char(&outcome.reports, '\0');
    return outcome;
}

static struct outcome parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static void outcome_free(struct outcome *outcome)
{
    if (outcome->config)
        config_unref(outcome->config);
    buf_free(&outcome->reports);
}

static struct config *good(const char *text)
{
    struct outcome outcome = parse(text);
    if (outcome.reports.data[0])
        fail_msg("%s\nreports:\n%s", text, outcome.reports.data);
    buf_free(&outcome.reports);
    return outcome.config;
}

/* `expected`: the starts of all reports in order, a line each. */
static void expect(const char *text, const char *expected)
{
    struct outcome outcome = parse(text);
    const char *got = outcome.reports.data, *want = expected;
    while (*want) {
        size_t len = strcspn(want, "\n");
        if (strncmp(got, want, len) != 0)
            fail_msg("%s\nexpected:\n%s\nreported:\n%s", text, expected, outcome.reports.data);
        got += strcspn(got, "\n") + 1;
        want += len + (want[len] == '\n');
    }
    if (*got)
        fail_msg("%s\nexpected:\n%s\nreported:\n%s", text, expected, outcome.reports.data);
    outcome_free(&outcome);
}

/* ---- defaults ---- */

static void assert_listener(const struct config_listener *listener, int port)
{
    assert_int_equal(listener->port, port);
    assert_string_equal(listener->bind, "0.0.0.0");
}

static void assert_api_defaults(const struct config_api *api, int port)
{
    assert_listener(&api->listen, port);
    assert_string_equal(api->advertise, "");
    assert_null(api->origins[0]);
    assert_int_equal(api->read_buffer_size, 40096);
    assert_int_equal(api->write_buffer_size, 40096);
    assert_int_equal(api->read_timeout, 60);
    assert_int_equal(api->write_timeout, 60);
}

static void assert_engine_defaults(const struct config *config)
{
    assert_string_equal(config->engine_center_registry, "localhost:6786");
    assert_int_equal(config->stop_timeout, 10);
    assert_false(config->luavm.preempt);
    assert_int_equal(config->luavm.handler_budget, 100);
    assert_int_equal(config->luavm.memory_limit, 0);
    assert_int_equal(config->queue.topic_size, 2000);
    assert_int_equal(config->queue.max_topics, 100);
    assert_false(config->queue.full_error);
    assert_int_equal(config->queue.full_timeout, 10);
    assert_int_equal(config->queue.stall_timeout, 5);
    assert_false(config->queue.affinity_any);
}

static void assert_redis_defaults(const struct config_redis *redis)
{
    assert_string_equal(redis->name, "default");
    assert_string_equal(redis->addr, "localhost:6379");
    assert_string_equal(redis->password, "");
    assert_int_equal(redis->db, 0);
    assert_int_equal(redis->pool_size, 20);
    assert_int_equal(redis->min_idle_conns, 10);
    assert_int_equal(redis->max_conn_age, 0);
    assert_int_equal(redis->idle_timeout, 300);
}

static void assert_all_defaults(const struct config *config)
{
    char *log = xasprintf("%s/logs/connmix.log", folder);
    assert_string_equal(config->file, config_file);
    assert_string_equal(config->logging.filename, log);
    free(log);
    assert_int_equal(config->logging.max_files, 7);
    assert_int_equal(config->logging.max_size, 100 << 20);
    assert_int_equal(config->logging.level, LOG_LEVEL_DEBUG);
    assert_int_equal(config->logging.format, LOG_FORMAT_TEXT);
    assert_string_equal(config->user, "");
    assert_false(config->core_dumps);
    assert_int_equal(config->prometheus.max_age, 600);
    assert_int_equal(config->prometheus.age_buckets, 5);
    assert_int_equal(config->prometheus.buf_cap, 500);
    assert_int_equal(config->user_count, 0);
    assert_listener(&config->center_registry, 6786);
    assert_listener(&config->mesh_point, 6788);
    assert_api_defaults(&config->center_api, 6787);
    assert_api_defaults(&config->engine_api, 6789);
    assert_engine_defaults(config);
    assert_int_equal(config->redis_count, 1);
    assert_redis_defaults(&config->redis[0]);
}

static void test_nothing_gives_defaults(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "# only a comment\n",
        "---\n",
        "~",
        "{}",
        "\xef\xbb\xbf",
        "logging:\nprometheus:\naccess:\ncenter:\nengine:\n",
        "access: {users: }\nengine: {luavm: {redis: , queue: }, servers: }",
        "engine: {servers: []}",
        "licenses: {anything: [at, all]}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct config *config = good(texts[i]);
        assert_all_defaults(config);
        assert_int_equal(config->server_count, 0);
        config_unref(config);
    }
}

static void assert_server_limits(const struct config_server *server)
{
    assert_int_equal(server->max_message_size, 1 << 20);
    assert_int_equal(server->max_backlog, 1 << 20);
    assert_int_equal(server->read_ahead, 64 << 10);
    assert_int_equal(server->max_context, 64 << 10);
    assert_int_equal(server->max_connections, 0);
    assert_int_equal(server->max_subscriptions, 1000);
    assert_int_equal(server->max_channel_length, 255);
    assert_int_equal(server->limits.messages_per_second, 0);
    assert_int_equal(server->limits.bytes_per_second, 0);
    assert_int_equal(server->limits.connects_per_second, 0);
    assert_int_equal(server->limits.connections_per_address, 0);
    assert_int_equal(server->limits.burst, 10);
    assert_false(server->limits.wait);
    assert_null(server->limits.exempt[0]);
}

static void assert_compression(const struct config_server *server, bool on, uint64_t threshold,
                               bool context_takeover)
{
    assert_int_equal(server->compression.on, on);
    assert_int_equal(server->compression.threshold, threshold);
    assert_int_equal(server->compression.context_takeover, context_takeover);
}

static void test_server_defaults(void **state)
{
    (void)state;
    struct config *config = good("engine:\n  servers:\n    - {}\n");
    const struct config_server *server = &config->servers[0];
    assert_int_equal(config->server_count, 1);
    assert_listener(&server->listen, 6790);
    assert_int_equal(server->protocol, CONFIG_PROTOCOL_SCRIPT);
    assert_int_equal(server->option_count, 0);
    char *entry = xasprintf("%s/lua/entry.websocket.lua", folder);
    assert_string_equal(server->entry, entry);
    free(entry);
    assert_int_equal(server->line, 3);
    assert_int_equal(server->byte_code_expires, 10);
    assert_int_equal(server->read_buffer_size, 1024);
    assert_int_equal(server->write_buffer_size, 1024);
    assert_int_equal(server->read_timeout, 60);
    assert_int_equal(server->write_timeout, 10);
    assert_int_equal(server->handshake_timeout, 10);
    assert_int_equal(server->ping_interval, 30);
    assert_server_limits(server);
    assert_false(server->drop_oldest);
    assert_int_equal(config->memory_limit, 0);
    assert_true(server->shared_encode);
    assert_null(server->origins[0]);
    assert_compression(server, false, 256, false);
    config_unref(config);
}

/* ---- every key ---- */

static const char every_key[] =
    "user: www-data:adm\n"
    "core_dumps: yes\n"
    "logging: {filename: /var/log/x.log, max_files: 3, max_size: 64 KiB, level: warn, format: "
    "json}\n"
    "access:\n"
    "  users:\n"
    "    - {username: a, password: 1234, roles: [read], host: '172.*.*.*'}\n"
    "    - {username: b, password: p, roles: [write, read]}\n"
    "center:\n"
    "  api_server: {port: 1, bind: 127.0.0.1, advertise: 'center.example:80'}\n"
    "engine:\n"
    "  stop_timeout: 3\n"
    "  api_server: {port: 2, bind: '::1', advertise: '[::1]:99', origins: [a, b],\n"
    "    read_buffer_size: 1k, write_buffer_size: 2 KiB, read_timeout: 7s, write_timeout: 1m}\n"
    "  lua_vm:\n"
    "    queue: {topic_size: 11, max_topics: 12, full: error, full_timeout: 1, affinity: any, "
    "stall_timeout: 4}\n"
    "  servers:\n"
    "    - port: 3\n"
    "      bind: 127.0.0.2\n"
    "      protocol: websocket\n"
    "      options: [{name: path, value: /chat}, {name: n, value: 007}]\n"
    "      entry: lua/e.lua\n"
    "      byte_code_expires: 0\n"
    "      read_buffer_size: 21\n"
    "      write_buffer_size: 22\n"
    "      read_timeout: 23\n"
    "      write_timeout: 24\n"
    "      handshake_timeout: 25\n"
    "      ping_interval: 26\n"
    "      max_message_size: 16 MiB\n"
    "      max_backlog: 2 GiB\n"
    "      read_ahead: 27\n"
    "      max_context: 28\n"
    "      max_connections: 29\n"
    "      max_subscriptions: 30\n"
    "      max_channel_length: 31\n"
    "      shared_encode: off\n"
    "      origins: [https://a.example]\n"
    "      compression: {threshold: 1 KiB, context_takeover: yes}\n"
    "      limits: {messages_per_second: 32, bytes_per_second: 1 KiB, connects_per_second: 33,\n"
    "        connections_per_address: 34, over_limit: wait, burst: 35, exempt: [10.0.0.0/8, "
    "unix]}\n"
    "      tls: {cert: '', key: ''}\n"
    "    - {port: 4, protocol: socket}\n"
    "    - {port: 5, protocol: custom}\n";

/* What the file says is stored all the same; the other keys give no warning. */
static struct config *good_every_key(void)
{
    struct outcome outcome = parse(every_key);
    static const char *const without_effect[] = {
        "center.apiServer.advertise",        "engine.apiServer.readBufferSize",
        "engine.apiServer.writeBufferSize",  "engine.servers[0].readBufferSize",
        "engine.servers[0].writeBufferSize",
    };
    assert_int_equal(outcome.errors, 0);
    assert_int_equal(outcome.warnings, sizeof without_effect / sizeof *without_effect);
    const char *at = outcome.reports.data;
    for (int i = 0; i < outcome.warnings; i++) {
        at = strstr(at, without_effect[i]);
        assert_non_null(at);
    }
    buf_free(&outcome.reports);
    return outcome.config;
}

static void assert_every_server_number(const struct config_server *server)
{
    assert_int_equal(server->byte_code_expires, 0);
    assert_int_equal(server->read_buffer_size, 21);
    assert_int_equal(server->write_buffer_size, 22);
    assert_int_equal(server->read_timeout, 23);
    assert_int_equal(server->write_timeout, 24);
    assert_int_equal(server->handshake_timeout, 25);
    assert_int_equal(server->ping_interval, 26);
    assert_int_equal(server->max_message_size, 16 << 20);
    assert_int_equal(server->max_backlog, (uint64_t)2 << 30);
    assert_int_equal(server->read_ahead, 27);
    assert_int_equal(server->max_context, 28);
    assert_int_equal(server->max_connections, 29);
    assert_int_equal(server->max_subscriptions, 30);
    assert_int_equal(server->max_channel_length, 31);
    assert_int_equal(server->limits.messages_per_second, 32);
    assert_int_equal(server->limits.bytes_per_second, 1024);
    assert_int_equal(server->limits.connects_per_second, 33);
    assert_int_equal(server->limits.connections_per_address, 34);
    assert_int_equal(server->limits.burst, 35);
}

static void test_every_server_key(void **state)
{
    (void)state;
    struct config *config = good_every_key();
    assert_int_equal(config->server_count, 3);
    const struct config_server *server = &config->servers[0];
    assert_int_equal(server->listen.port, 3);
    assert_string_equal(server->listen.bind, "127.0.0.2");
    assert_int_equal(server->protocol, CONFIG_PROTOCOL_WEBSOCKET);
    assert_string_equal(config_option(server, "path"), "/chat");
    assert_string_equal(config_option(server, "n"), "007");
    assert_null(config_option(server, "other"));
    assert_int_equal(server->line, 17);
    assert_every_server_number(server);
    assert_false(server->shared_encode);
    assert_string_equal(server->origins[0], "https://a.example");
    assert_true(server->limits.wait);
    assert_string_equal(server->limits.exempt[0], "10.0.0.0/8");
    assert_string_equal(server->limits.exempt[1], "unix");
    assert_null(server->limits.exempt[2]);
    assert_compression(server, true, 1024, true);
    assert_int_equal(config->servers[1].protocol, CONFIG_PROTOCOL_SOCKET);
    assert_int_equal(config->servers[2].protocol, CONFIG_PROTOCOL_SOCKET);
    assert_int_equal(config->servers[2].line, 43);
    config_unref(config);
}

static void test_compression(void **state)
{
    static const struct {
        const char *value;
        bool on;
    } rows[] = {{"true", true},
                {"on", true},
                {"{}", true},
                {"{enabled: on}", true},
                {"false", false},
                {"no", false},
                {"{enabled: false}", false}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text =
            xasprintf("engine: {servers: [{protocol: websocket, compression: %s}]}", rows[i].value);
        struct config *config = good(text);
        assert_compression(&config->servers[0], rows[i].on, 256, false);
        config_unref(config);
        free(text);
    }
    struct config *config = good("engine: {servers: [{compression: false}, {protocol: socket, "
                                 "port: 1, compression: off}]}");
    assert_false(config->servers[1].compression.on);
    config_unref(config);
}

static void test_every_other_key(void **state)
{
    (void)state;
    struct config *config = good_every_key();
    assert_string_equal(config->logging.filename, "/var/log/x.log");
    assert_int_equal(config->logging.max_files, 3);
    assert_int_equal(config->logging.max_size, 65536);
    assert_int_equal(config->logging.level, LOG_LEVEL_WARN);
    assert_int_equal(config->logging.format, LOG_FORMAT_JSON);
    assert_string_equal(config->user, "www-data:adm");
    assert_true(config->core_dumps);
    assert_int_equal(config->center_api.listen.port, 1);
    assert_string_equal(config->center_api.listen.bind, "127.0.0.1");
    assert_string_equal(config->center_api.advertise, "center.example:80");
    const struct config_api *api = &config->engine_api;
    assert_int_equal(api->listen.port, 2);
    assert_string_equal(api->listen.bind, "::1");
    assert_string_equal(api->advertise, "[::1]:99");
    assert_string_equal(api->origins[1], "b");
    assert_int_equal(api->read_buffer_size, 1024);
    assert_int_equal(api->write_buffer_size, 2048);
    assert_int_equal(api->read_timeout, 7);
    assert_int_equal(api->write_timeout, 60);
    assert_int_equal(config->stop_timeout, 3);
    assert_int_equal(config->queue.topic_size, 11);
    assert_int_equal(config->queue.max_topics, 12);
    assert_true(config->queue.full_error);
    assert_int_equal(config->queue.full_timeout, 1);
    assert_true(config->queue.affinity_any);
    assert_int_equal(config->queue.stall_timeout, 4);
    config_unref(config);
}

static void assert_user(const struct config_user *user, const char *name, const char *password,
                        const char *host)
{
    assert_string_equal(user->username, name);
    assert_string_equal(user->password, password);
    assert_string_equal(user->host, host);
    assert_true(user->read);
}

static void test_users(void **state)
{
    (void)state;
    struct config *config = good_every_key();
    assert_int_equal(config->user_count, 2);
    assert_user(&config->users[0], "a", "1234", "172.*.*.*");
    assert_false(config->users[0].write);
    assert_user(&config->users[1], "b", "p", "*");
    assert_true(config->users[1].write);
    config_unref(config);
}

/* What is read but has no effect yet is told, and only where it is not the default. */
static void test_keys_without_effect(void **state)
{
    (void)state;
    expect("prometheus: {summary: {max_age: 600, ageBuckets: 5, bufCap: 500}}\n"
           "center: {registry: {port: 6786, bind: 0.0.0.0}}\n"
           "engine:\n"
           "  center_registry: localhost:6786\n"
           "  mesh_point: {port: 6788}\n",
           "");
    expect("prometheus: {summary: {bufCap: 1, maxAge: 1}}\n"
           "engine: {centerRegistry: 'c:1'}\n"
           "center: {registry: {port: 5}}\n",
           "1:32: warning: prometheus.summary.bufCap: has no effect: \n"
           "2:26: warning: engine.centerRegistry: has no effect: \n"
           "3:27: warning: center.registry.port: has no effect: ");
}

static void test_redis(void **state)
{
    (void)state;
    struct outcome outcome =
        parse("engine: {luavm: {redis: [{addr: 'r:1', password: s, db: 2, min_idle_conns: 0,\n"
              "  max_conn_age: 9, idle_timeout: 8}, {name: b, poolSize: 3}]}}");
    assert_int_equal(outcome.warnings, 0);
    const struct config_redis *redis = outcome.config->redis;
    assert_int_equal(outcome.config->redis_count, 2);
    assert_string_equal(redis[0].name, "default");
    assert_string_equal(redis[0].addr, "r:1");
    assert_string_equal(redis[0].password, "s");
    assert_int_equal(redis[0].db, 2);
    assert_int_equal(redis[0].min_idle_conns, 0);
    assert_int_equal(redis[0].max_conn_age, 9);
    assert_int_equal(redis[0].idle_timeout, 8);
    assert_string_equal(redis[1].name, "b");
    assert_int_equal(redis[1].pool_size, 3);
    outcome_free(&outcome);
}

/* ---- older names and both spellings ---- */

static uint64_t level(const struct config *config)
{
    return config->logging.level;
}
static uint64_t byte_code_expires(const struct config *config)
{
    return config->servers[0].byte_code_expires;
}
static uint64_t center_port(const struct config *config)
{
    return (uint64_t)config->center_api.listen.port;
}
static uint64_t api_port(const struct config *config)
{
    return (uint64_t)config->engine_api.listen.port;
}
static uint64_t preempt(const struct config *config)
{
    return config->luavm.preempt;
}
static uint64_t handler_budget(const struct config *config)
{
    return config->luavm.handler_budget;
}
static uint64_t vm_memory_limit(const struct config *config)
{
    return config->luavm.memory_limit;
}
static uint64_t topic_size(const struct config *config)
{
    return config->queue.topic_size;
}
static uint64_t max_topics(const struct config *config)
{
    return config->queue.max_topics;
}
static uint64_t memory_limit(const struct config *config)
{
    return config->memory_limit;
}
static uint64_t drop_oldest(const struct config *config)
{
    return config->servers[0].drop_oldest;
}

static uint64_t shared_encode(const struct config *config)
{
    return config->servers[0].shared_encode;
}
static uint64_t ping_interval(const struct config *config)
{
    return config->servers[0].ping_interval;
}
static uint64_t redis_is_default(const struct config *config)
{
    return config->redis_count == 1 && strcmp(config->redis[0].name, "default") == 0;
}

static const struct {
    const char *text;
    uint64_t (*get)(const struct config *config);
    uint64_t value;
} spellings[] = {
    {"logging: {level: error}", level, LOG_LEVEL_ERROR},
    {"log: {level: error}", level, LOG_LEVEL_ERROR},
    {"log: {level: INFO}", level, LOG_LEVEL_INFO},
    {"log: {level: warning}", level, LOG_LEVEL_WARN},
    {"engine: {servers: [{byteCodeExpires: 10}]}", byte_code_expires, 10},
    {"engine: {servers: [{bytecodeExpires: 10}]}", byte_code_expires, 10},
    {"engine: {servers: [{bytecode_expires: 10}]}", byte_code_expires, 10},
    {"engine: {servers: [{byte_code_expires: 10}]}", byte_code_expires, 10},
    {"center: {apiServer: {port: 9}}", center_port, 9},
    {"center: {api_server: {port: 9}}", center_port, 9},
    {"center: {server: {port: 9}}", center_port, 9},
    {"center: {server: {port: '9'}}", center_port, 9},
    {"center: {server: {port: 0}}\nengine: {apiServer: {port: 0}}", center_port, 0},
    {"engine: {apiServer: {port: 9}}", api_port, 9},
    {"engine: {api_server: {port: 9}}", api_port, 9},
    {"engine: {control: {port: 9, protocol: http}}", api_port, 9},
    {"engine: {luavm: {preempt: true}}", preempt, 1},
    {"engine: {luavm: {handlerBudget: 10}}", handler_budget, 10},
    {"engine: {luavm: {handler_budget: 60000}}", handler_budget, 60000},
    {"engine: {luavm: {memoryLimit: 16 MiB}}", vm_memory_limit, 16 << 20},
    {"engine: {luavm: {queue: {topicSize: 9}}}", topic_size, 9},
    {"engine: {luavm: {queue: {topic_size: 9}}}", topic_size, 9},
    {"engine: {luavm: {queue: {size: 9}}}", topic_size, 9},
    {"engine: {luavm: {queue: {max: 9}}}", max_topics, 9},
    {"engine: {luavm: {queue: {max_topics: 9}}}", max_topics, 9},
    {"engine: {luavm: {redis: {addr: 'localhost:6379'}}}", redis_is_default, 1},
    {"engine: {memoryLimit: 0}", memory_limit, 0},
    {"engine: {memory_limit: 2 GiB}", memory_limit, (uint64_t)2 << 30},
    {"engine: {servers: [{slowClient: close}]}", drop_oldest, 0},
    {"engine: {servers: [{slowClient: dropOldest}]}", drop_oldest, 1},
    {"engine: {servers: [{slow_client: drop_oldest}]}", drop_oldest, 1},
    {"engine: {servers: [{sharedEncode: auto}]}", shared_encode, 1},
    {"engine: {servers: [{sharedEncode: false}]}", shared_encode, 0},
    {"engine: {servers: [{readTimeout: 0}]}", ping_interval, 0},
    {"engine: {servers: [{readTimeout: 1}]}", ping_interval, 1},
    {"engine: {servers: [{read_timeout: 10}]}", ping_interval, 5},
    {"engine: {servers: [{readTimeout: 10, pingInterval: 0}]}", ping_interval, 0},
    /* anchors, aliases, merge keys: a mapping's own keys win, then the first that is merged */
    {"log: &a {level: &l error}\nengine: {apiServer: {origins: [*l]}}", level, LOG_LEVEL_ERROR},
    {"engine:\n  servers:\n  - &a {port: 1, readTimeout: 8}\n  - {<<: *a, port: 2}\n",
     ping_interval, 4},
    {"center: &c {api_server: &s {port: 9}}\nengine: {apiServer: {<<: *s, port: 8}}", api_port, 8},
    {"center: {api_server: &s {port: 9, bind: 127.0.0.1}}\n"
     "engine: {apiServer: {<<: [{port: 7}, *s]}}",
     api_port, 7},
};

static void test_spellings(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        struct config *config = good(spellings[i].text);
        if (spellings[i].get(config) != spellings[i].value)
            fail_msg("%s: %llu", spellings[i].text, (unsigned long long)spellings[i].get(config));
        config_unref(config);
    }
}

static void test_merge_into_second_server(void **state)
{
    (void)state;
    struct config *config = good("engine:\n"
                                 "  servers:\n"
                                 "    - &first\n"
                                 "      port: 1\n"
                                 "      entry: lua/e.lua\n"
                                 "      readTimeout: 8\n"
                                 "    - <<: *first\n"
                                 "      port: 2\n");
    assert_int_equal(config->server_count, 2);
    assert_int_equal(config->servers[1].listen.port, 2);
    assert_int_equal(config->servers[1].read_timeout, 8);
    assert_string_equal(config->servers[1].entry, config->servers[0].entry);
    assert_int_equal(config->servers[1].line, 7);
    config_unref(config);
}

static void test_older_user(void **state)
{
    (void)state;
    struct config *config = good("access: {users: [{username: a, password: b, roles: [read]}]}\n"
                                 "engine: {control: {username: root, password: 7}}");
    assert_int_equal(config->user_count, 2);
    assert_user(&config->users[1], "root", "7", "*");
    assert_true(config->users[1].write);
    config_unref(config);
    config = good("engine: {apiServer: {username: '', password: }}");
    assert_int_equal(config->user_count, 0);
    config_unref(config);
}

static void test_no_log_file(void **state)
{
    (void)state;
    struct config *config = good("logging: {filename: ''}");
    assert_string_equal(config->logging.filename, "");
    config_unref(config);
}

/* ---- errors ---- */

static const struct {
    const char *text, *reports;
} bad[] = {
    /* types, values, ranges */
    {"engine: []", "1:9: error: engine: found a list; allowed is a mapping"},
    {"engine: 5", "1:9: error: engine: found '5'; allowed is a mapping"},
    {"engine:\n  servers: {}",
     "2:12: error: engine.servers: found a mapping; allowed is a list of"},
    {"engine:\n  servers: [x]", "2:13: error: engine.servers[0]: found 'x'; allowed is a mapping"},
    {"engine:\n  servers:\n    -\n",
     "3:6: error: engine.servers[0]: found nothing; allowed is a mapping"},
    {"engine:\n  servers:\n  - port: abc\n",
     "3:11: error: engine.servers[0].port: found 'abc'; allowed is a whole number from 0 to 65535"},
    {"engine: {servers: [{port: 65536}]}",
     "1:27: error: engine.servers[0].port: found '65536'; allowed is a whole number from 0 to"},
    {"engine: {servers: [{port: -1}]}", "1:27: error: engine.servers[0].port: found '-1'"},
    {"engine: {servers: [{port: 6.5}]}", "1:27: error: engine.servers[0].port: found '6.5'"},
    {"engine: {servers: [{port: 0x10}]}", "1:27: error: engine.servers[0].port: found '0x10'"},
    {"engine: {servers: [{port: 010}]}", "1:27: error: engine.servers[0].port: found '010'"},
    {"engine: {servers: [{port: }]}", "1:27: error: engine.servers[0].port: found nothing"},
    {"engine: {servers: [{port: ~}]}", "1:27: error: engine.servers[0].port: found nothing"},
    {"engine: {servers: [{port: [1]}]}", "1:27: error: engine.servers[0].port: found a list"},
    {"engine: {servers: [{port: 99999999999999999999999}]}",
     "1:27: error: engine.servers[0].port: found '99999999999999999999999'"},
    {"engine: {meshPoint: {port: 0}}",
     "1:28: error: engine.meshPoint.port: found '0'; allowed is a whole number from 1 to 65535"},
    {"engine: {servers: [{readTimeout: 300ms}]}",
     "1:34: error: engine.servers[0].readTimeout: found '300ms'; allowed is whole seconds from 0 "},
    {"engine: {servers: [{handshake_timeout: 0}]}",
     "1:40: error: engine.servers[0].handshakeTimeout: found '0'; allowed is whole seconds from 1"},
    {"engine: {servers: [{readTimeout: 1 week}]}", "1:34: error: "},
    {"engine: {servers: [{maxBacklog: 1 PiB}]}",
     "1:33: error: engine.servers[0].maxBacklog: found '1 PiB'; allowed is a size from 1 to "},
    {"engine: {servers: [{maxMessageSize: 0}]}", "1:37: error: "},
    {"engine: {servers: [{maxMessageSize: 1.5m}]}", "1:37: error: "},
    {"engine: {servers: [{maxMessageSize: 99999999999 GiB}]}", "1:37: error: "},
    {"log: {level: loud}",
     "1:14: error: logging.level: found 'loud'; allowed is debug or info or warn or error"},
    {"log: {maxSize: 1}", "1:16: error: logging.maxSize: found '1'; allowed is a size from 65536 "},
    {"log: {format: xml}", "1:15: error: logging.format: found 'xml'; allowed is text or json"},
    {"user: a b", "1:7: error: user: found 'a b'; allowed is USER, USER:GROUP or "},
    {"user: 'a:'", "1:7: error: user: found 'a:'; allowed is USER, USER:GROUP or "},
    {"user: ':a'", "1:7: error: user: found ':a'; allowed is USER, USER:GROUP or "},
    {"user: 'a:b:c'", "1:7: error: user: found 'a:b:c'; allowed is USER, USER:GROUP or "},
    {"log: {level: }", "1:14: error: logging.level: found nothing"},
    {"log: {maxFiles: \"a\\0b\"}", "1:17: error: logging.maxFiles: found a text with a NUL"},
    {"log: {filename: \"a\\0b\"}", "1:17: error: logging.filename: found a text with a NUL"},
    {"log: {filename: {}}", "1:17: error: logging.filename: found a mapping; allowed is a text"},
    {"engine: {luavm: {preempt: 2}}",
     "1:27: error: engine.luavm.preempt: found '2'; allowed is true or false"},
    {"engine: {luavm: {handlerBudget: 9}}", "1:33: error: engine.luavm.handlerBudget: "},
    {"engine: {luavm: {handlerBudget: 60001}}", "1:33: error: engine.luavm.handlerBudget: "},
    {"engine: {luavm: {memoryLimit: 65 GiB}}", "1:31: error: engine.luavm.memoryLimit: "},
    {"engine: {luavm: {queue: {full: wait}}}",
     "1:32: error: engine.luavm.queue.full: found 'wait'; allowed is block or error"},
    {"engine: {luavm: {queue: {affinity: 1}}}",
     "1:36: error: engine.luavm.queue.affinity: found '1'; allowed is client or any"},
    {"engine: {servers: [{protocol: http}]}",
     "1:31: error: engine.servers[0].protocol: found 'http'; allowed is websocket or socket or "},
    {"engine: {servers: [{bind: host}]}",
     "1:27: error: engine.servers[0].bind: found 'host'; allowed is an IP address or unix:PATH"},
    {"engine: {servers: [{bind: 'unix:'}]}",
     "1:27: error: engine.servers[0].bind: found 'unix:'; allowed is an IP address or unix:PATH"},
    {"center: {apiServer: {bind: '[127.0.0.1]'}}",
     "1:28: error: center.apiServer.bind: found '[127.0.0.1]'; allowed is an IP address or "},
    {"center: {registry: {bind: 'unix:/a'}}",
     "1:27: error: center.registry.bind: found 'unix:/a'; allowed is an IP address"},
    {"access: {users: [{username: u, password: p, roles: [read], host: 'unix:'}]}",
     "1:66: error: access.users[0].host: found 'unix:'; allowed is an IP address, in which * "
     "stands for any part, or unix"},
    {"engine: {apiServer: {advertise: 'x'}}",
     "1:33: error: engine.apiServer.advertise: found 'x'; allowed is HOST:PORT"},
    {"engine: {centerRegistry: 'x:0'}", "1:26: error: engine.centerRegistry: found 'x:0'"},
    {"engine: {servers: [{proxyProtocol: v2}]}",
     "1:36: error: engine.servers[0].proxyProtocol: found 'v2'; allowed is true or false"},
    {"engine: {servers: [{trustedProxies: [10.0.0.1, 10.0.0.0/33]}]}",
     "1:48: error: engine.servers[0].trustedProxies[1]: found '10.0.0.0/33'; allowed is an IP "
     "address, a network as 10.0.0.0/8, or unix"},
    {"engine: {servers: [{trustedProxies: 10.0.0.1}]}",
     "1:37: error: engine.servers[0].trustedProxies: found '10.0.0.1'; allowed is a list of texts"},
    {"engine: {servers: [{proxyProtocol: yes}, {port: 1, proxyProtocol: maybe, trustedProxies: "
     "[a]}]}",
     "1:67: error: engine.servers[1].proxyProtocol: found 'maybe'\n"
     "1:91: error: engine.servers[1].trustedProxies[0]: found 'a'\n"
     "1:36: warning: proxyProtocol without trustedProxies: whoever can connect may claim any"},
    {"engine: {servers: [{origins: x}]}",
     "1:30: error: engine.servers[0].origins: found 'x'; allowed is a list of texts"},
    {"engine: {apiServer: {origins: [a, {}]}}",
     "1:35: error: engine.apiServer.origins[1]: found a mapping"},
    {"engine: {servers: [{options: [{name: a, value: 1}, {name: a, value: 2}]}]}",
     "1:59: error: engine.servers[0].options[1]: another item before it has the same name: 'a'"},
    {"engine: {servers: [{options: [{value: 1}]}]}",
     "1:31: error: engine.servers[0].options[0]: the key 'name' is missing"},
    {"engine: {luavm: {redis: [{}, {}]}}",
     "1:30: error: engine.luavm.redis[1]: another item before it has the same name: 'default'"},
    /* access */
    {"access: {users: [{username: a}]}", "1:18: error: access.users[0]: the key 'password' is \n"
                                         "1:18: error: access.users[0]: the key 'roles' is "},
    {"access: {users: [{username: 'a:b', password: '', roles: [admin], host: 'a-z'}]}",
     "1:29: error: access.users[0].username: found another text\n"
     "1:46: error: access.users[0].password: found an empty password; allowed is a text\n"
     "1:58: error: access.users[0].roles[0]: found another text; allowed is read or write\n"
     "1:72: error: access.users[0].host: found 'a-z'"},
    {"access: {users: [{username: a, password: b, roles: read}]}",
     "1:52: error: access.users[0].roles: found 'read'; allowed is a list"},
    {"engine: {apiServer: {username: a}}",
     "1:32: error: engine.apiServer: username (without a colon) and password must both"},
    {"engine: {apiServer: {password: a}}", "1:32: error: engine.apiServer: username "},
    /* TLS */
    {"engine: {servers: [{tls: {cert: a.pem}}]}",
     "1:33: error: engine.servers[0].tls: cert without key: name the file with its private key\n"
     "1:33: error: engine.servers[0].tls: cert cannot be read; looked for "},
    {"engine: {apiServer: {tls: {key: k, minVersion: 1.1}}}",
     "1:48: error: engine.apiServer.tls.minVersion: found '1.1'; allowed is 1.2 or 1.3\n"
     "1:33: error: engine.apiServer.tls: key without cert: name the file with the certificate\n"
     "1:33: error: engine.apiServer.tls: key cannot be read; looked for "},
    {"center: {apiServer: {tls: {clientCA: c}}}",
     "1:38: error: center.apiServer.tls: clientCA without cert: no client is asked for a "
     "certificate "
     "where there is no TLS; add cert and key\n"
     "1:38: error: center.apiServer.tls: clientCA cannot be read; looked for "},
    /* twice, in one spelling or two */
    {"log:\n  level: info\n  level: warn\n",
     "3:3: error: logging.level: 'level' is set already, as 'level' in line 2, column 3"},
    {"log: {}\nlogging: {}\n",
     "2:1: error: logging: 'logging' is set already, as 'log' in line 1, column 1"},
    {"engine:\n  api_server: {}\n  control: {}\n",
     "3:3: error: engine.apiServer: 'control' is set already, as 'api_server' in line 2, column 3"},
    {"engine: {luavm: {queue: {size: 1, topicSize: 2}}}",
     "1:35: error: engine.luavm.queue.topicSize: 'topicSize' is set already, as 'size' in line 1"},
    {"engine: {servers: [{compression: maybe}]}",
     "1:34: error: engine.servers[0].compression: found 'maybe'; allowed is true or false"},
    {"engine: {servers: [{protocol: websocket, compression: [1]}]}",
     "1:55: error: engine.servers[0].compression: found a list; allowed is true or false"},
    {"engine: {servers: [{protocol: websocket, compression: {threshold: -1}}]}",
     "1:67: error: engine.servers[0].compression.threshold: found '-1'; allowed is a size"},
    {"engine: {servers: [{protocol: websocket, compression: {contextTakeover: 1}}]}",
     "1:73: error: engine.servers[0].compression.contextTakeover: found '1'; allowed is true or "
     "false"},
    {"engine: {servers: [{limits: {messagesPerSecond: -1}}]}",
     "1:49: error: engine.servers[0].limits.messagesPerSecond: found '-1'; allowed is a whole "},
    {"engine: {servers: [{limits: {burst: 0}}]}",
     "1:37: error: engine.servers[0].limits.burst: found '0'; allowed is whole seconds from 1 "},
    {"engine: {servers: [{limits: {overLimit: drop}}]}",
     "1:41: error: engine.servers[0].limits.overLimit: found 'drop'; allowed is close or wait"},
    {"engine: {servers: [{limits: {exempt: [10.0.0.0/33]}}]}",
     "1:39: error: engine.servers[0].limits.exempt[0]: found '10.0.0.0/33'; allowed is an IP "},
    /* what depends on several keys */
    {"engine: {servers: [{maxMessageSize: 10k, limits: {bytesPerSecond: 1000}}]}",
     "1:67: warning: limits: a message of maxMessageSize (10240 bytes) is more than bytesPerSecond "
     "allows in a burst (10000 bytes)"},
    {"engine: {servers: [{compression: true}]}",
     "1:34: error: compression: only the built-in `protocol: websocket` compresses"},
    {"engine:\n  servers:\n    - {protocol: socket, compression: {}}\n",
     "3:39: error: compression: only the built-in `protocol: websocket` compresses"},
    {"engine:\n  luavm:\n    queue:\n      stallTimeout: 10\n",
     "4:21: error: engine.luavm.queue: stallTimeout is 10 s and must be below fullTimeout"},
    {"engine: {memoryLimit: 10 MiB}",
     "1:23: error: engine.memoryLimit: allowed is 0, for none, or"},
    {"engine: {servers: [{slowClient: drop}]}", "1:33: error: engine.servers[0].slowClient: found"},
    {"engine: {luavm: {queue: {fullTimeout: 5}}}", "1:39: error: engine.luavm.queue: stallTimeout"},
    {"engine:\n  servers:\n    - port: 7000\n    - port: 7000\n",
     "4:13: error: engine.servers[1] (0.0.0.0 port 7000, line 4) and engine.servers[0] (0.0.0.0 "
     "port 7000, line 3) want the same port"},
    {"engine:\n  servers:\n    - {port: 7000, bind: '::'}\n    - {port: 7000, bind: '::1'}\n",
     "4:14: error: engine.servers[1] (::1 port 7000, line 4) and engine.servers[0] (:: port 7000, "
     "line 3)"},
    {"engine: {servers: [{port: 7000, bind: 127.0.0.1}, {port: 7000}]}",
     "1:58: error: engine.servers[1] (0.0.0.0 port 7000, line 1) and engine.servers[0]"},
    {"engine: {servers: [{port: 7000, bind: '[::1]'}, {port: 7000, bind: '0:0::1'}]}",
     "1:56: error: engine.servers[1] (0:0::1 port 7000, line 1) and engine.servers[0] ([::1] port "
     "7000, line 1) want the same port"},
    {"engine: {servers: [{port: 7000, bind: '::'}, {port: 7000, bind: 127.0.0.1}]}",
     "1:53: error: engine.servers[1] (127.0.0.1 port 7000, line 1) and engine.servers[0] (:: port "
     "7000, line 1) want the same port"},
    {"engine: {servers: [{bind: 'unix:/run/a'}, {port: 1, bind: 'unix:/run/a'}]}",
     "1:50: error: engine.servers[1] (unix:/run/a, line 1) and engine.servers[0] (unix:/run/a, "
     "line 1) want the same socket; change one of them"},
    {"engine: {servers: [{bind: \"unix:/a\\nb\"}, {bind: \"unix:/a\\nb\"}]}",
     "1:49: error: engine.servers[1] (unix:/a?b, line 1) and engine.servers[0] (unix:/a?b, "
     "line 1) want the same socket; change one of them"},
    {"engine: {servers: [{bind: unix:" LONG_PATH "}]}",
     "1:27: error: the socket's path has 108 bytes, and the system takes 107: " LONG_PATH
     "; choose a shorter one"},
    {"engine:\n  apiServer: {bind: 'unix:/run/api'}\n",
     "2:21: error: engine.apiServer: consumers cannot be told of a Unix socket; set advertise to "
     "the HOST:PORT at which they reach it"},
    {"engine: {servers: [{port: 6789, bind: 127.0.0.1}]}",
     "1:27: error: engine.servers[0] (127.0.0.1 port 6789, line 1) and engine.apiServer (0.0.0.0 "
     "port 6789, the default)"},
    {"center: {apiServer: {port: 6789}}",
     "1:28: error: engine.apiServer (0.0.0.0 port 6789, the default) and center.apiServer "},
    {"engine: {servers: [{entry: lua/none.lua}]}",
     "1:28: error: the entry script cannot be read; looked for /tmp/config_test."},
    {"engine: {servers: [{entry: lua}]}", "1:28: error: the entry script cannot be read"},
    {"engine: {servers: [{entry: ''}]}", "1:28: error: engine.servers[0].entry: found ''"},
    /* a value that was an error already is not judged a second time */
    {"engine: {servers: [{port: 6790}, {port: x}]}", "1:41: error: engine.servers[1].port: found"},
    {"engine: {servers: [{}, {bind: x}]}", "1:31: error: engine.servers[1].bind: found 'x'"},
    {"engine: {servers: [{entry: []}]}", "1:28: error: engine.servers[0].entry: found a list"},
    {"engine: {luavm: {queue: {fullTimeout: x, stallTimeout: 20}}}",
     "1:39: error: engine.luavm.queue.fullTimeout: found 'x'"},
    /* documents */
    {"- a\n", "1:1: error: the file holds a list; allowed is a mapping"},
    {"text", "1:1: error: the file holds 'text'"},
    {"{}\n---\n{}\n", "2:1: error: a second document begins here"},
    {"a: b: c\n", "1:5: error: not valid YAML: mapping values are not allowed in this context"},
    {"log:\n  level: [a\nengine: {}\n",
     "3:7: error: not valid YAML: did not find expected ',' or "},
    {"log:\n\tlevel: a\n", "2:1: error: not valid YAML: found character that cannot start any "},
    {"a: *b\n", "1:4: error: not valid YAML: found undefined alias"},
    {"log:\n  \xc3\xbc: \xff\n", "2:6: error: not valid YAML: "},
    {"? [a]\n: b\n", "1:3: error: found a list as a key"},
    {"log:\r\n  level: x\r\n", "2:10: error: logging.level: found 'x'"},
    {"log:\r  level: x\r", "2:10: error: logging.level: found 'x'"},
    {"log: {level: x}\n\x01", "2:1: error: not valid YAML: control characters are not allowed"},
    {"log:\n  level: a\n   maxFiles: 1\n", "3:12: error: not valid YAML: "},
    {"log: {level: 'a\n", "2:1: error: not valid YAML: "},
    {"log: &a\nengine: *b\n", "2:9: error: not valid YAML: found undefined alias"},
    {"log: !!binary x\n", "1:6: error: logging: found 'x'; allowed is a mapping"},
    {"%YAML 9.9\n---\nlog: {}\n", "1:1: error: not valid YAML: "},
    {"log: {level: @}\n", "1:14: error: not valid YAML: found character that cannot start"},
    {"\xff\xfel", "1:3: error: not valid YAML: incomplete UTF-16"},
    {"log: &a {<<: *a}", "1:6: error: logging: merge keys (<<) that lead through more than 8"},
    {"log: {<<: 5}", "1:11: error: logging: <<: found '5'; allowed is a mapping"},
    {"engine: &a {servers: *a}", "1:9: error: engine.servers: found a mapping"},
    {"engine: {servers: &a [*a]}", "1:19: error: engine.servers[0]: found a list"},
    /* several at once, warnings among them */
    {"loging: {}\nlog: {level: x, maxFiles: y, Files: z}\nengine: {servers: [{prot: 1, port: q}]}",
     "1:1: warning: unknown key 'loging' is ignored; the nearest known one is 'logging'\n"
     "2:14: error: logging.level: \n"
     "2:27: error: logging.maxFiles: \n"
     "2:30: warning: logging: unknown key 'Files' is ignored; the nearest known one is 'maxFiles'\n"
     "3:21: warning: engine.servers[0]: unknown key 'prot' is ignored; the nearest known one is "
     "'port'\n"
     "3:36: error: engine.servers[0].port: found 'q'"},
};

static void test_errors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect(bad[i].text, bad[i].reports);
}

static void test_long_values_are_cut_in_reports(void **state)
{
    (void)state;
    /* 59 bytes, then a character of two of which only the first would fit */
    expect("log: {level: aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeefffffffff\xc3\xbcggg}",
           "1:14: error: logging.level: found "
           "'aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeefffffffff...'");
    expect("log: {level: \"a\\nb\\e\"}", "1:14: error: logging.level: found 'a?b?'");
}

static void test_same_port_elsewhere_is_fine(void **state)
{
    (void)state;
    config_unref(good("engine: {servers: [{port: 7000, bind: 127.0.0.1}, {port: 7000, bind: "
                      "127.0.0.2}, {port: 7000, bind: '::1'}, {port: 0}, {port: 0}, {port: 7001, "
                      "bind: 0.0.0.0}, {port: 7001, bind: '::1'}, {port: 7000, bind: 'unix:/a'}, "
                      "{port: 7000, bind: 'unix:/b'}]}"));
}

static void test_proxies(void **state)
{
    (void)state;
    struct config *config = good(
        "engine: {servers: [{proxy_protocol: true, trusted_proxies: [10.0.0.0/8, '::1', unix]}, "
        "{port: 1, proxyProtocol: true, bind: 127.0.0.2}, {port: 2, proxyProtocol: true, bind: "
        "'unix:/a'}, {port: 3, trustedProxies: [], proxyProtocol: off}]}");
    char **trusted = config->servers[0].trusted_proxies;
    assert_true(config->servers[0].proxy_protocol);
    assert_string_equal(trusted[0], "10.0.0.0/8");
    assert_string_equal(trusted[2], "unix");
    assert_null(trusted[3]);
    assert_false(config->servers[3].proxy_protocol);
    config_unref(config);
}

/* A relative path starts where those of scripts and logs do. */
static void test_unix_sockets(void **state)
{
    (void)state;
    struct config *config =
        good("center: {apiServer: {bind: unix:run/center.sock}}\n"
             "engine: {apiServer: {bind: unix:/run/api.sock, advertise: 'example.org:80'},\n"
             "         servers: [{bind: unix:/run/chat.sock}]}\n");
    char *center = xasprintf("unix:%s/run/center.sock", folder);
    assert_string_equal(config->center_api.listen.bind, center);
    assert_string_equal(config->engine_api.listen.bind, "unix:/run/api.sock");
    assert_string_equal(config->servers[0].listen.bind, "unix:/run/chat.sock");
    free(center);
    config_unref(config);
}

static void test_utf8_bom(void **state)
{
    (void)state;
    struct config *config = good("\xef\xbb\xbflog: {level: error}\n");
    assert_int_equal(config->logging.level, LOG_LEVEL_ERROR);
    config_unref(config);
    expect("\xef\xbb\xbflog: {level: x}\n", "1:14: error: logging.level: ");
}

/* ---- every key of the tables, with what it does not allow ---- */

/* A key in a document in block style: `head`, then `indent` spaces, the name, and a value. */
struct spot {
    const struct config_key *key;
    const char *head, *path;
    int indent;
};

static unsigned spots; /* that were visited */

static int lines_of(const char *text)
{
    int lines = 0;
    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

static char *document(const struct spot *spot, const char *name, const char *value)
{
    return xasprintf("%s%*s%s: %s\n", spot->head, spot->indent, "", name, value);
}

/* One of the reports begins with "LINE:COLUMN: KIND: PATH: " and has `part` after that. */
static void expect_at(const struct spot *spot, const char *value, const char *kind,
                      const char *suffix, const char *part)
{
    char *text = document(spot, spot->key->name, value);
    int column = spot->indent + (int)strlen(spot->key->name) + 3;
    if (*suffix)
        column++; /* an item of a list in flow style */
    char *start =
        xasprintf("%d:%d: %s: %s%s: ", lines_of(spot->head) + 1, column, kind, spot->path, suffix);
    struct outcome outcome = parse(text);
    const char *at = strstr(outcome.reports.data, start);
    size_t len = at ? strcspn(at, "\n") : 0;
    if (!at || !memmem(at + strlen(start), len - strlen(start), part, strlen(part)))
        fail_msg("%s\nexpected: %s%s\nreported:\n%s", text, start, part, outcome.reports.data);
    outcome_free(&outcome);
    free(start);
    free(text);
}

static void expect_wrong(const struct spot *spot, const char *value, const char *allowed)
{
    char *part = xasprintf("; allowed is %s", allowed);
    expect_at(spot, value, "error", "", part);
    free(part);
}

static void check_numbers(const struct spot *spot)
{
    static const char *const wrong[] = {"[]", "{}", "", "abc", "-1", "1.5", "0x1", "010", "1 x"};
    const struct config_key *key = spot->key;
    const char *allowed = key->kind == CONFIG_NUMBER    ? "a whole number from "
                          : key->kind == CONFIG_SECONDS ? "whole seconds from "
                                                        : "a size from ";
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (*wrong[i] || spot->indent > 0)
            expect_wrong(spot, *wrong[i] ? wrong[i] : "~", allowed);
    char *beyond[] = {xasprintf("%llu", (unsigned long long)key->max + 1),
                      xasprintf("%llu", (unsigned long long)key->min - 1)};
    expect_wrong(spot, beyond[0], allowed);
    if (key->min > 0)
        expect_wrong(spot, beyond[1], allowed);
    free(beyond[0]);
    free(beyond[1]);
}

static bool is_wrong_text(const struct config_key *key, const char *text)
{
    return (key->valid && !key->valid(text)) || (key->fault && key->fault(text));
}

static void check_text(const struct spot *spot)
{
    static const char *const values[] = {"", "a:b", " ", "$6$half"};
    const struct config_key *key = spot->key;
    const char *allowed = key->allowed ? key->allowed : "a text";
    bool found = !key->valid && !key->fault;
    expect_wrong(spot, "[]", allowed);
    expect_wrong(spot, "{}", allowed);
    expect_wrong(spot, "\"a\\0b\"", allowed);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char *quoted = xasprintf("'%s'", values[i]);
        if (is_wrong_text(key, values[i])) {
            expect_wrong(spot, quoted, allowed);
            found = true;
        }
        free(quoted);
    }
    assert_true(found);
}

static void check_texts(const struct spot *spot)
{
    expect_wrong(spot, "x", "a list of texts");
    expect_wrong(spot, "{}", "a list of texts");
    expect_at(spot, "[{}]", "error", "[0]", "found a mapping; allowed is ");
}

static void check_choice(const struct spot *spot)
{
    expect_wrong(spot, "none-of-them", spot->key->choices[0].name);
    expect_wrong(spot, "[]", spot->key->choices[0].name);
    expect_wrong(spot, "{}", spot->key->choices[0].name);
}

static void check_flags(const struct spot *spot)
{
    expect_wrong(spot, "x", "a list");
    expect_at(spot, "[x]", "error", "[0]", spot->key->secret ? "found another text" : "found 'x'");
    expect_at(spot, "[[]]", "error", "[0]", "found a list; allowed is ");
}

static void check_section(const struct spot *spot)
{
    bool has_switch = spot->key->has_switch;
    expect_wrong(spot, "x", has_switch ? "true or false" : "a mapping");
    expect_wrong(spot, "[]", has_switch ? "true or false" : "a mapping");
}

static void check_list(const struct spot *spot)
{
    expect_wrong(spot, "x", "a list of mappings");
    if (!spot->key->one_is_list)
        expect_wrong(spot, "{}", "a list of mappings");
    expect_at(spot, "[x]", "error", "[0]", "found 'x'; allowed is a mapping");
    expect_at(spot, "[~]", "error", "[0]", "found nothing; allowed is a mapping");
}

static void snake_case(const char *name, char out[64])
{
    for (; *name; name++) {
        if (isupper((unsigned char)*name))
            *out++ = '_';
        *out++ = (char)tolower((unsigned char)*name);
    }
    *out = '\0';
}

/* In both spellings and by its older names it is the key: a second time is too much. */
static void check_names(const struct spot *spot)
{
    const struct config_key *key = spot->key;
    char snake[64];
    snake_case(key->name, snake);
    const char *const names[] = {key->name, snake, key->old[0], key->old[1]};
    for (size_t i = 0; i < 4; i++) {
        if (!names[i])
            continue;
        char *head = document(spot, key->name, "");
        char *text = xasprintf("%s%*s%s:\n", head, spot->indent, "", names[i]);
        char *start = xasprintf("%d:%d: error: %s: '%s' is set already, as '%s' in line %d, column",
                                lines_of(head) + 1, spot->indent + 1, spot->path, names[i],
                                key->name, lines_of(head));
        struct outcome outcome = parse(text);
        if (!strstr(outcome.reports.data, start))
            fail_msg("%s\nexpected: %s\nreported:\n%s", text, start, outcome.reports.data);
        outcome_free(&outcome);
        free(start);
        free(text);
        free(head);
    }
}

static void check_nearest(const struct spot *spot)
{
    char *misspelt = xasprintf("%sQ", spot->key->name);
    char *text = document(spot, misspelt, "1");
    char *start = xasprintf("%d:%d: warning: ", lines_of(spot->head) + 1, spot->indent + 1);
    char *end = xasprintf("unknown key '%s' is ignored; the nearest known one is '%s'", misspelt,
                          spot->key->name);
    struct outcome outcome = parse(text);
    const char *at = strstr(outcome.reports.data, start);
    if (!at || !strstr(at, end))
        fail_msg("%s\nexpected: %s…%s\nreported:\n%s", text, start, end, outcome.reports.data);
    outcome_free(&outcome);
    free(end);
    free(start);
    free(text);
    free(misspelt);
}

static void check_values(const struct spot *spot)
{
    switch (spot->key->kind) {
    case CONFIG_NUMBER:
    case CONFIG_SECONDS:
    case CONFIG_SIZE:
        check_numbers(spot);
        break;
    case CONFIG_CHOICE:
        check_choice(spot);
        break;
    case CONFIG_TEXT:
        check_text(spot);
        break;
    case CONFIG_TEXTS:
        check_texts(spot);
        break;
    case CONFIG_FLAGS:
        check_flags(spot);
        break;
    case CONFIG_SECTION:
        check_section(spot);
        break;
    case CONFIG_LIST:
        check_list(spot);
        break;
    case CONFIG_IGNORED:
        break;
    }
}

static void check_section_keys(const struct config_section *section, const char *head,
                               const char *path, int indent);

static void check_below(const struct spot *spot)
{
    bool list = spot->key->kind == CONFIG_LIST;
    char *head = list ? xasprintf("%s%*s%s:\n%*s-\n", spot->head, spot->indent, "", spot->key->name,
                                  spot->indent + 2, "")
                      : xasprintf("%s%*s%s:\n", spot->head, spot->indent, "", spot->key->name);
    char *path = xasprintf("%s%s", spot->path, list ? "[0]" : "");
    check_section_keys(spot->key->section, head, path, spot->indent + (list ? 4 : 2));
    free(path);
    free(head);
}

static void check_section_keys(const struct config_section *section, const char *head,
                               const char *path, int indent)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct config_key *key = &section->keys[i];
        char *own = xasprintf("%s%s%s", path, *path ? "." : "", key->name);
        struct spot spot = {.key = key, .head = head, .path = own, .indent = indent};
        check_values(&spot);
        check_names(&spot);
        check_nearest(&spot);
        if (key->section)
            check_below(&spot);
        free(own);
        spots++;
    }
}

static void test_every_key_refuses_what_is_wrong(void **state)
{
    (void)state;
    check_section_keys(&config_root, "", "", 0);
    assert_in_range(spots, 90, 1000);
}

/* ---- passwords ---- */

static const char *const good_passwords[] = {
    "x",
    "$",
    "$x",
    "$ecret $6$",
    "1$y$x",
    "$A$x",
    "$$",
    "$2b$05$amR8Skc1Gv2DinyHGYkMSedJ/syezJYpQbBXo4S8syxamuFQMbJpe",
    "$y$j9T$nWOzkBln3X.5tasFCUDwz1$cEDSvcv.dYyZyUuNjjPOl/gTo8wef6acG31Gh2bQf46",
    "$gy$j9T$Tkab04y0ndLhfn.MOiaAw/$mjQReyQl7NkrbaO3.FvWALlkQzRXjREwihdrGJ18rD0",
    "$7$CU..../....u0XoQw9PIq9qhouRNRCyr/$xAOyHHmGRQf.7xwNGKWCTQca4RdQNOKe/BOchuxUrN4",
    ("$6$rounds=1000$qqYnpQ35RFSfH51j$"
     "29ywC70hvuLujK1mXhrsRO6BL1DskHzEzpt9AWcc5sGhiKGotuENpfrzdYh."
     "U/DSzX66CrAVoTTB7HzOVRriq."),
    "$5$nRODCRGDFY9oHi1m9$sq0J2fhBRrQ/s3e1xU45Jgg8FD3YZbOQH7j3W.Z4lJ5",
    "$1$.YlN5MSi$RYl3x/qt4QX7Ls1AcHLSP1",
};
static const struct {
    const char *text, *fault;
} bad_passwords[] = {
    {"", "an empty password"},
    {"$2b$", "a hash that is not whole"},
    {"$2b$05$amR8Skc1Gv2DinyHGYkMSedJ/syezJYpQbBXo4S8syxamuFQMbJp", "a hash that is not whole"},
    {"$2b$05$amR8Skc1Gv2DinyHGYkMSedJ/syezJYpQbBXo4S8syxamuFQMbJpeX", "a hash that is not whole"},
    {"$2b$05$amR8Skc1Gv2DinyHGYkMSedJ/syezJYpQbBXo4S8syxamuFQMb-pe", "a hash that is not whole"},
    {"$2b$31$amR8Skc1Gv2DinyHGYkMSedJ/syezJYpQbBXo4S8syxamuFQMbJpe", "a hash whose cost"},
    {"$2b$xx$amR8Skc1Gv2DinyHGYkMSedJ/syezJYpQbBXo4S8syxamuFQMbJpe", "a hash whose cost"},
    {"$6$rounds=999999999$qqYnpQ35RFSfH51j$"
     "29ywC70hvuLujK1mXhrsRO6BL1DskHzEzpt9AWcc5sGhiKGotuENpfrz"
     "dYh.U/DSzX66CrAVoTTB7HzOVRriq.",
     "a hash whose cost"},
    {"$y$jFT$nWOzkBln3X.5tasFCUDwz1$cEDSvcv.dYyZyUuNjjPOl/gTo8wef6acG31Gh2bQf46",
     "a hash whose cost"},
    {"$7$GU..../....u0XoQw9PIq9qhouRNRCyr/$xAOyHHmGRQf.7xwNGKWCTQca4RdQNOKe/BOchuxUrN4",
     "a hash whose cost"},
    {"$ecret$", "a hash of a method"},
    {"$md5,rounds=5$im2rn7z0$$5KG9tyJw83w.wL1tv.Ywt.", "a hash of a method"},
    {"$argon2id$v=19$m=1$x", "a hash of a method"},
    {"$3$$878d8014606cda29677a44efa1353fc7", "a hash of a method"},
    {"$6$", "a hash that is not whole"},
    {"$y$$", "a hash that is not whole"},
};

static void test_passwords(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good_passwords / sizeof *good_passwords; i++)
        if (config_password_fault(good_passwords[i]))
            fail_msg("%s: %s", good_passwords[i], config_password_fault(good_passwords[i]));
    for (size_t i = 0; i < sizeof bad_passwords / sizeof *bad_passwords; i++) {
        const char *fault = config_password_fault(bad_passwords[i].text);
        if (!fault || strncmp(fault, bad_passwords[i].fault, strlen(bad_passwords[i].fault)) != 0)
            fail_msg("%s: %s", bad_passwords[i].text, fault);
    }
}

/* What is wrong with a password is told, the password is not. */
static void test_passwords_are_not_told(void **state)
{
    (void)state;
    struct outcome outcome =
        parse("access: {users: [{username: a, password: $6$sesame, roles: []}]}\n"
              "engine: {apiServer: {username: a, password: $2b$sesame}}");
    assert_int_equal(outcome.errors, 2);
    assert_null(strstr(outcome.reports.data, "sesame"));
    outcome_free(&outcome);
    outcome = parse("access: {users: [{username: 'a:sesame', password: b, roles: [read]}]}\n"
                    "engine: {luavm: {redis: {addr: 'redis://a:sesame@b:1', password: [sesame]}}}");
    assert_int_equal(outcome.errors, 3);
    assert_null(strstr(outcome.reports.data, "sesame"));
    outcome_free(&outcome);
}

/* ---- read again ---- */

static struct outcome reload(const struct config *running, const char *text)
{
    struct outcome outcome = {0};
    write_file(config_file, text, strlen(text));
    outcome.config = config_reload(running, on_report, &outcome);
    buf_append_char(&outcome.reports, '\0');
    return outcome;
}

static void test_reload_merges(void **state)
{
    (void)state;
    struct config *running =
        good("logging: {level: info, maxFiles: 3}\n"
             "access: {users: [{username: a, password: b, roles: [read]}]}\n"
             "engine:\n"
             "  stopTimeout: 5\n"
             "  apiServer: {origins: [a], port: 1000}\n"
             "  luavm: {preempt: true, queue: {maxTopics: 7, fullTimeout: 20}}\n"
             "  servers: [{options: [{name: a, value: b}], readTimeout: 8, sharedEncode: off}]\n");
    struct outcome outcome =
        reload(running, "logging: {level: warn, maxFiles: 4}\n"
                        "access: {users: [{username: c, password: d, roles: [write]}]}\n"
                        "engine:\n"
                        "  apiServer: {origins: [b, c], port: 1001}\n"
                        "  luavm: {queue: {fullTimeout: 30}}\n"
                        "  servers: [{options: [{name: a, value: c}], readTimeout: 9}]\n");
    assert_int_equal(outcome.errors, 0);
    assert_string_equal(
        outcome.reports.data,
        "1:34: warning: logging.maxFiles: has changed; it takes effect after a restart\n"
        "4:38: warning: engine.apiServer.port: has changed; it takes effect after a restart\n"
        " warning: engine.luavm.preempt: is no longer set; it takes effect after a restart\n"
        " warning: engine.luavm.queue.maxTopics: is no longer set; it takes effect after a "
        "restart\n"
        "6:41: warning: engine.servers[0].options[0].value: has changed; it takes effect after a "
        "restart\n"
        " warning: engine.servers[0].sharedEncode: is no longer set; it takes effect after a "
        "restart\n");
    const struct config *config = outcome.config;
    assert_int_equal(config->logging.level, LOG_LEVEL_WARN);
    assert_int_equal(config->logging.max_files, 3);
    assert_string_equal(config->users[0].username, "c");
    assert_true(config->users[0].write && !config->users[0].read);
    assert_int_equal(config->stop_timeout, 10);
    assert_string_equal(config->engine_api.origins[1], "c");
    assert_int_equal(config->engine_api.listen.port, 1000);
    assert_int_equal(config->queue.max_topics, 7);
    assert_int_equal(config->queue.full_timeout, 30);
    assert_string_equal(config_option(&config->servers[0], "a"), "b");
    assert_int_equal(config->servers[0].read_timeout, 9);
    assert_int_equal(config->servers[0].ping_interval, 5);
    assert_false(config->servers[0].shared_encode);
    config_unref(running); /* the new one has nothing of the old one's */
    assert_string_equal(config->servers[0].options[0].value, "b");
    outcome_free(&outcome);
}

static void test_reload_of_another_list(void **state)
{
    (void)state;
    struct config *running = good("engine:\n  servers:\n    - {port: 5, readTimeout: 8}\n");
    struct outcome outcome =
        reload(running, "engine:\n  servers:\n    - {port: 5, readTimeout: 9}\n    - {port: 6}\n");
    assert_string_equal(
        outcome.reports.data,
        "3:5: warning: engine.servers: has changed; it takes effect after a restart\n");
    assert_int_equal(outcome.config->server_count, 1);
    assert_int_equal(outcome.config->servers[0].read_timeout, 8);
    outcome_free(&outcome);
    outcome = reload(running, "engine: {servers: }\n");
    assert_string_equal(
        outcome.reports.data,
        " warning: engine.servers: is no longer set; it takes effect after a restart\n");
    assert_string_equal(outcome.config->servers[0].entry, running->servers[0].entry);
    outcome_free(&outcome);
    config_unref(running);
}

static void test_reload_of_what_is_wrong(void **state)
{
    (void)state;
    struct config *running = good("logging: {level: info}");
    struct outcome outcome = reload(running, "logging: {level: x}");
    assert_null(outcome.config);
    assert_int_equal(outcome.errors, 1);
    outcome_free(&outcome);
    assert_int_equal(remove(config_file), 0);
    outcome = (struct outcome){0};
    assert_null(config_reload(running, on_report, &outcome));
    assert_int_equal(outcome.errors, 1);
    outcome_free(&outcome);
    assert_int_equal(mkfifo(config_file, 0600), 0); /* which nobody writes to: no waiting */
    outcome = (struct outcome){0};
    assert_null(config_reload(running, on_report, &outcome));
    assert_int_equal(outcome.errors, 1);
    outcome_free(&outcome);
    assert_int_equal(remove(config_file), 0);
    config_unref(running);
}

static void test_references(void **state)
{
    (void)state;
    struct config *config = good("logging: {level: warn}");
    const struct config *other = config_ref(config);
    config_unref(config);
    assert_int_equal(other->logging.level, LOG_LEVEL_WARN);
    config_unref(other);
    config_unref(NULL);
}

/* ---- what could take long, or deep ---- */

static void repeat(struct buf *out, const char *text, int count)
{
    for (int i = 0; i < count; i++)
        buf_append_str(out, text);
}

static void test_deep_nesting(void **state)
{
    (void)state;
    static const char *const parts[] = {"[", "{a: ", "- ", "? "};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        struct buf text = {0};
        repeat(&text, parts[i], 200000);
        struct outcome outcome = parse_bytes(text.data, text.len);
        assert_int_equal(outcome.errors, 1);
        assert_non_null(strstr(outcome.reports.data, "nested deeper than 64"));
        outcome_free(&outcome);
        buf_free(&text);
    }
}

static void test_many_anchors_and_aliases(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_append_str(&text, "licenses: [");
    for (int i = 0; i < 90000; i++)
        buf_printf(&text, "&a%d x,", i);
    buf_append_str(&text, "]\n");
    struct outcome outcome = parse_bytes(text.data, text.len);
    assert_non_null(strstr(outcome.reports.data, "error: more than 1024 anchors (&name)"));
    outcome_free(&outcome);
    text.len = 0;
    buf_append_str(&text, "licenses: [&a x,");
    repeat(&text, "*a,", 10001);
    buf_append_str(&text, "]\n");
    outcome = parse_bytes(text.data, text.len);
    assert_non_null(strstr(outcome.reports.data, "error: more than 10000 aliases (*name)"));
    outcome_free(&outcome);
    buf_free(&text);
}

static void test_aliases_do_not_multiply(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_append_str(&text, "engine: {luavm: &a {queue: &q {<<: [");
    repeat(&text, "*q,", 1000);
    buf_append_str(&text, "]}}}\n");
    struct outcome outcome = parse_bytes(text.data, text.len);
    assert_in_range(outcome.errors, 1, 100000);
    outcome_free(&outcome);
    buf_free(&text);
}

static void test_long_lists(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_append_str(&text, "engine: {servers: [&a {options: [");
    repeat(&text, "{name: x, value: y},", 1025);
    buf_append_str(&text, "]}]}");
    struct outcome outcome = parse_bytes(text.data, text.len);
    assert_non_null(strstr(outcome.reports.data, "1:33: error: engine.servers[0].options: found a "
                                                 "list of 1025; allowed are 1024"));
    outcome_free(&outcome);
    buf_free(&text);
}

/* ---- files ---- */

static void test_load(void **state)
{
    (void)state;
    struct outcome outcome = {0};
    assert_null(config_load(config_file, on_report, &outcome));
    assert_int_equal(outcome.errors, 1);
    write_file(config_file, "log: {level: error}\n", 20);
    struct config *config = config_load(config_file, on_report, &outcome);
    assert_non_null(config);
    assert_int_equal(config->logging.level, LOG_LEVEL_ERROR);
    assert_int_equal(outcome.errors, 1);
    config_unref(config);
    buf_free(&outcome.reports);
}

static void load_of_size(size_t size, int errors)
{
    char *text = xmalloc(size);
    memset(text, '\n', size);
    write_file(config_file, text, size);
    free(text);
    struct outcome outcome = {0};
    struct config *config = config_load(config_file, on_report, &outcome);
    assert_int_equal(outcome.errors, errors);
    assert_int_equal(config == NULL, errors > 0);
    if (config)
        config_unref(config);
    buf_free(&outcome.reports);
}

static void test_load_size_is_bounded(void **state)
{
    (void)state;
    load_of_size(1024 * 1024, 0);
    load_of_size(1024 * 1024 + 1, 1);
}

static void test_load_of_a_folder(void **state)
{
    (void)state;
    char *file = config_file;
    config_file = folder;
    struct outcome outcome = {0};
    assert_null(config_load(folder, on_report, &outcome));
    assert_int_equal(outcome.errors, 1);
    buf_free(&outcome.reports);
    config_file = file;
}

static void check_base(const char *file, const char *base)
{
    char *got = config_path_base(file);
    assert_string_equal(got, base);
    free(got);
}

static void test_path_base(void **state)
{
    (void)state;
    check_base("conf/a.yaml", ".");
    check_base("./conf/a.yaml", ".");
    check_base("x/conf/a.yaml", "x");
    check_base("/conf/a.yaml", "/");
    check_base("/x/conf/a.yaml", "/x");
    check_base("/x/config/a.yaml", "/x/config");
    check_base("x//a.yaml", "x");
    check_base("/a.yaml", "/");
}

/* In the conf folder itself, its name is found out. */
static void test_path_base_of_working_directory(void **state)
{
    (void)state;
    char *before = getcwd(NULL, 0);
    char *conf = xasprintf("%s/conf", folder);
    assert_int_equal(chdir(conf), 0);
    check_base("a.yaml", "..");
    assert_int_equal(chdir(folder), 0);
    check_base("a.yaml", ".");
    assert_int_equal(chdir(before), 0);
    free(conf);
    free(before);
}

/* The folder above conf/ comes first, then the working directory. */
static void test_path_find(void **state)
{
    (void)state;
    struct buf tried = {0};
    char *before = getcwd(NULL, 0);
    assert_int_equal(chdir(folder), 0);
    char *found = config_path_find("/nowhere", "lua/e.lua", &tried);
    assert_string_equal(found, "lua/e.lua");
    free(found);
    found = config_path_find(folder, "lua/e.lua", &tried);
    assert_int_equal(found[0], '/');
    free(found);
    assert_int_equal(tried.len, 0);
    assert_null(config_path_find("/nowhere", "lua/x.lua", &tried));
    assert_string_equal(tried.data, "/nowhere/lua/x.lua and ./lua/x.lua");
    buf_free(&tried);
    assert_null(config_path_find("/nowhere", "/x.lua", &tried));
    assert_string_equal(tried.data, "/x.lua");
    buf_free(&tried);
    assert_int_equal(chdir(before), 0);
    free(before);
}

/* ---- values ---- */

static void test_sizes_and_seconds(void **state)
{
    (void)state;
    uint64_t value = 1;
    assert_true(config_value_size("64 KiB", &value) && value == 65536);
    assert_true(config_value_size("1m", &value) && value == 1 << 20);
    assert_true(config_value_size("3GB", &value) && value == (uint64_t)3 << 30);
    assert_true(config_value_size("7 B", &value) && value == 7);
    assert_true(config_value_size("0", &value) && value == 0);
    assert_false(config_value_size("18014398509481984 k", &value));
    assert_false(config_value_size("k", &value));
    assert_false(config_value_size("1 k ", &value));
    assert_true(config_value_seconds("2000ms", &value) && value == 2);
    assert_true(config_value_seconds("1h", &value) && value == 3600);
    assert_false(config_value_seconds("2500ms", &value));
    assert_false(config_value_seconds("18446744073709551615", &value));
    assert_true(config_value_number("18446744073709551615", &value) && value == UINT64_MAX);
    assert_false(config_value_number("18446744073709551616", &value));
    assert_false(config_value_number("+1", &value));
    assert_false(config_value_number("", &value));
    assert_int_equal(value, UINT64_MAX);
}

static void test_addresses(void **state)
{
    (void)state;
    assert_true(config_value_is_address("a-b.c:65535"));
    assert_true(config_value_is_address("[::]:1"));
    assert_false(config_value_is_address("::1:1"));
    assert_false(config_value_is_address("[::1:1"));
    assert_false(config_value_is_address("[x]:1"));
    assert_false(config_value_is_address(":1"));
    assert_false(config_value_is_address("a b:1"));
    assert_false(config_value_is_address("a:65536"));
    assert_false(config_value_is_address(""));
    assert_true(config_value_is_address_or_empty(""));
    assert_true(config_value_is_ip("::") && config_value_is_ip("127.0.0.1"));
    assert_false(config_value_is_ip("127.0.0.256") || config_value_is_ip(""));
    assert_true(config_value_is_host_pattern("172.*.*.*"));
    assert_false(config_value_is_host_pattern("") || config_value_is_host_pattern("host name"));
}

static void test_edit_distance(void **state)
{
    (void)state;
    assert_int_equal(edit_distance("port", "prot"), 2);
    assert_int_equal(edit_distance("port", "ports"), 1);
    assert_int_equal(edit_distance("read_timeout", "readTimeout"), 0);
    assert_int_equal(edit_distance("", "abc"), 3);
    assert_int_equal(edit_distance("kitten", "sitting"), 3);
    char longer[66];
    memset(longer, 'a', 65);
    longer[65] = '\0';
    assert_int_equal(edit_distance(longer, "a"), EDIT_DISTANCE_FAR);
    assert_int_equal(edit_distance(longer + 1, "a"), 63);
}

/* ---- damage ---- */

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static void damage(struct buf *text, uint32_t *seed)
{
    static const char bytes[] = "\n :-[]{}*&<>'\"#\t\\a0,?!|%@~\xc3\xff";
    size_t at = next_random(seed) % text->len;
    size_t len = next_random(seed) % 20;
    switch (next_random(seed) % 3) {
    case 0:
        text->data[at] = bytes[next_random(seed) % sizeof bytes];
        break;
    case 1: /* cut */
        text->len = at + 1;
        break;
    default: /* take a piece out */
        len = len < text->len - at - 1 ? len : text->len - at - 1;
        memmove(text->data + at, text->data + at + len, text->len - at - len);
        text->len -= len;
    }
}

static void test_random_damage(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 4000; round++) {
        uint32_t seed = round;
        struct buf text = {0};
        buf_append(&text, every_key, sizeof every_key - 1);
        for (uint32_t i = 0; i <= round % 4; i++)
            damage(&text, &seed);
        struct outcome outcome = parse_bytes(text.data, text.len);
        outcome_free(&outcome);
        buf_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_gives_defaults),
        cmocka_unit_test(test_server_defaults),
        cmocka_unit_test(test_every_server_key),
        cmocka_unit_test(test_compression),
        cmocka_unit_test(test_every_other_key),
        cmocka_unit_test(test_users),
        cmocka_unit_test(test_keys_without_effect),
        cmocka_unit_test(test_redis),
        cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_merge_into_second_server),
        cmocka_unit_test(test_older_user),
        cmocka_unit_test(test_no_log_file),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_long_values_are_cut_in_reports),
        cmocka_unit_test(test_same_port_elsewhere_is_fine),
        cmocka_unit_test(test_unix_sockets),
        cmocka_unit_test(test_proxies),
        cmocka_unit_test(test_utf8_bom),
        cmocka_unit_test(test_every_key_refuses_what_is_wrong),
        cmocka_unit_test(test_passwords),
        cmocka_unit_test(test_passwords_are_not_told),
        cmocka_unit_test(test_reload_merges),
        cmocka_unit_test(test_reload_of_another_list),
        cmocka_unit_test(test_reload_of_what_is_wrong),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_many_anchors_and_aliases),
        cmocka_unit_test(test_aliases_do_not_multiply),
        cmocka_unit_test(test_long_lists),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_load_size_is_bounded),
        cmocka_unit_test(test_load_of_a_folder),
        cmocka_unit_test(test_path_base),
        cmocka_unit_test(test_path_base_of_working_directory),
        cmocka_unit_test(test_path_find),
        cmocka_unit_test(test_sizes_and_seconds),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_edit_distance),
        cmocka_unit_test(test_random_damage),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
