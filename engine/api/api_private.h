/* What the files of the API share; everything here belongs to its thread once that runs. */
#pragma once

#include "api/access.h"
#include "api/api.h"
#include "base/slots.h"
#include "loop/listener.h"
#include "loop/wheel.h"
#include "queue/topic.h"
#include <libwebsockets.h>

enum {
    API_HEAD_MAX = 16 << 10, /* of a request */
    API_ANSWER_MS = 3000,    /* until a command without an outcome is answered with an error */
};

enum api_state {
    API_RUNNING,
    API_DRAINING, /* no new connections; until all is handed over, or drain_due_ms */
    API_DRAINED,  /* the main thread knows; still the same */
    API_CLOSING,  /* close frames are on their way; until drain_due_ms */
};

struct post;
struct consumer;
struct intake;

struct api {
    struct api_options options;
    struct mesh *mesh;
    uv_loop_t loop;
    uv_thread_t thread;
    bool torn_down, stop_asked;
    struct mailbox box;
    struct wheel wheel;
    struct queue *queue;
    struct lws_context *lws;
    struct lws_vhost *vhost, *center_vhost, *engine_vhost; /* plain; with TLS */
    struct lws_protocols protocols[2];                     /* one, and the end of the list */
    char protocol_name[64]; /* as the last client called it (http.c) */
    struct listener center, engine;
    struct access *access;
    struct list visitors; /* connections that libwebsockets has not got yet (door.c) */
    uint32_t visitor_count;
    uint32_t read_timeout_s; /* of a request */
    uint32_t sockets;        /* all, plain HTTP included */
    uint64_t refused;        /* connections above sockets_max */
    uint64_t tls_handshakes, tls_failures;
    uint64_t answer_ms; /* API_ANSWER_MS, but for tests */
    enum api_state state;
    uint64_t drain_due_ms;
    struct timeout drain_tick;
    struct list connections; /* WebSocket: struct consumer */
    struct list posts;       /* HTTP requests that wait: struct post */
    size_t body_bytes;       /* of those */
    size_t context_bytes;    /* that answers of all callers may hold (caller.h) */
    struct slots *callers;   /* struct caller, for outcomes */
    uint64_t in_flight;      /* commands posted and not come back */
    struct intake *intakes;  /* by descriptor (intake.h) */
    size_t intake_count;
};

/* What libwebsockets keeps for us with a connection: a WebSocket's, or that of one HTTP request,
 * which is zeroed when the request has been answered. */
struct exchange {
    struct consumer *consumer;
    struct post *post; /* its answer takes more than its head */
    int refusal;       /* the status for who has not the role; 0: it is granted */
};

/* Gives a connection to libwebsockets. */
void api_adopt(struct api *api, struct listener *listener, int fd);
