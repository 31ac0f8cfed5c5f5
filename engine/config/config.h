/* The configuration file as one struct, immutable once read, shared by all threads: each holds a
 * reference, and takes another struct when the file has changed. Every key may be written in both
 * spellings of connmix (camelCase and snake_case) and by its older names. Durations are in the
 * units of the file (seconds unless named otherwise), sizes in bytes.
 */
#pragma once

#include "base/file_stamp.h"
#include "base/log.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_protocol {
    CONFIG_PROTOCOL_SCRIPT,    /* no `protocol` key: a script of generation 1 */
    CONFIG_PROTOCOL_SOCKET,    /* socket, custom */
    CONFIG_PROTOCOL_WEBSOCKET, /* websocket */
};

enum config_tls_version { CONFIG_TLS_1_2, CONFIG_TLS_1_3 };

struct config_tls {
    char *cert, *key, *client_ca; /* files, resolved as `entry` is; "": none */
    enum config_tls_version min_version;
    struct ssl_ctx_st *context; /* what they hold, for new connections; NULL: no TLS */
};

struct config_listener {
    int port;
    char *bind; /* an IP address, or unix:PATH, which is resolved and has no port */
    struct config_tls tls;
};

struct config_option {
    char *name, *value; /* scalars as written in the file */
};

struct config_user {
    char *username;
    char *password; /* as it is, or a hash of it: config_password.h */
    char *host;
    bool read, write;
};

struct config_redis {
    char *name, *addr, *password;
    int db, pool_size, min_idle_conns, max_conn_age, idle_timeout;
};

/* An API port: the center's or the engine's. */
struct config_api {
    struct config_listener listen;
    char *advertise; /* HOST:PORT told to consumers; "": the address on which they asked */
    char **origins;  /* NULL-terminated; empty: all */
    uint32_t read_buffer_size, write_buffer_size;
    uint32_t read_timeout, write_timeout;
};

struct config_server {
    struct config_listener listen;
    enum config_protocol protocol;
    struct config_option *options;
    size_t option_count;
    char *entry; /* resolved: absolute, or relative to the working directory */
    int line;    /* of the server's block in the file */
    uint32_t byte_code_expires;
    uint32_t read_buffer_size, write_buffer_size;
    uint32_t read_timeout, write_timeout, handshake_timeout; /* 0: never, where it is allowed */
    uint32_t ping_interval;                                  /* 0: no pings */
    uint64_t max_message_size, max_backlog, read_ahead, max_context;
    uint32_t max_connections; /* 0: the descriptor limit */
    uint32_t max_subscriptions, max_channel_length;
    bool drop_oldest;   /* slowClient: dropOldest; else close */
    bool shared_encode; /* auto, or off */
    bool proxy_protocol;
    char **trusted_proxies; /* networks (address_in), NULL-terminated */
    char **origins;         /* NULL-terminated; empty: all */
    struct {
        bool on, context_takeover;
        uint64_t threshold; /* bytes; shorter messages go out as they are */
    } compression;
    struct {
        uint32_t messages_per_second, connects_per_second, connections_per_address; /* 0: any */
        uint32_t burst; /* what comes in so many seconds may come at once */
        uint64_t bytes_per_second;
        bool wait;     /* who sends more is read later; else closed */
        char **exempt; /* networks (address_in), NULL-terminated */
    } limits;
};

struct config {
    atomic_uint refs;
    char *file;
    struct file_stamp stamp; /* of the file, just before it was read */
    char *user;              /* whom to become: USER or USER:GROUP (privilege.h); "": nobody else */
    bool core_dumps;         /* may the process be dumped and traced by those who are it? */
    struct {
        char *filename; /* resolved; "": no file */
        int max_files;
        uint64_t max_size; /* at which a file is rotated */
        enum log_level level;
        enum log_format format;
    } logging;
    struct {
        uint32_t max_age, age_buckets, buf_cap;
    } prometheus;
    struct config_user *users;
    size_t user_count;
    struct config_listener center_registry, mesh_point;
    struct config_api center_api, engine_api;
    char *engine_center_registry; /* HOST:PORT */
    uint32_t stop_timeout;
    uint64_t memory_limit; /* bytes; 0: none */
    struct {
        bool preempt;            /* handlers past their budget are ended; the JIT is off */
        uint32_t handler_budget; /* ms of the processor's time */
        uint64_t memory_limit;   /* bytes of one Lua state; 0: none */
    } luavm;
    struct {
        uint32_t topic_size, max_topics;
        bool full_error; /* full: error; else block */
        uint32_t full_timeout, stall_timeout;
        bool affinity_any; /* affinity: any; else client */
    } queue;
    struct config_redis *redis;
    size_t redis_count;
    struct config_server *servers;
    size_t server_count;
};

/* Warnings and errors, each a whole line without a line break: "FILE:LINE:COLUMN: error: what", or
 * "FILE: error: what" of the file as a whole. `text` is valid during the call. */
typedef void config_report(bool is_error, const char *text, void *data);

/* Reads a file. Reports everything it finds wrong, not only the first. Returns the configuration
 * with one reference, or NULL after at least one error. */
struct config *config_load(const char *file, config_report *report, void *data);

/* The same of text in memory; `file` names it in reports and is where relative paths start. */
struct config *config_parse(const char *file, const char *text, size_t len, config_report *report,
                            void *data);

/* Reads the file of a running configuration again. What takes effect only after a restart has the
 * running value in what is returned, and where the file has another one a warning names the key.
 * Only a regular file: a pipe that was read once would be empty. */
struct config *config_reload(const struct config *running, config_report *report, void *data);

/* Any thread; the last reference frees. NULL may be let go. */
const struct config *config_ref(const struct config *config);
void config_unref(const struct config *config);

/* May a request with this Origin header be served? `origins`: of a server or an API; none, and
 * "*", are all. Case does not matter. */
bool config_allows_origin(char *const *origins, const char *origin, size_t len);

/* The value of a server's option, NULL when there is none. */
const char *config_option(const struct config_server *server, const char *name);
