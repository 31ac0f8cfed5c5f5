/* What a consumer's text frame asks for, in either spelling of the envelope. Pure functions: no
 * socket, no clock, no thread. */
#pragma once

#include "api/envelope.h"
#include "msg/msg.h"

enum request_kind {
    REQUEST_BAD,         /* code, why */
    REQUEST_CONSUME,     /* topics, event */
    REQUEST_UNCONSUME,   /* from all topics */
    REQUEST_COMMAND,     /* command: of one client, or a publish */
    REQUEST_SERVER_PING, /* the method server.ping */
    REQUEST_PING,        /* the frame "ping", which is not JSON */
};

enum {
    REQUEST_ID_MAX = 4096,
    REQUEST_WHY_MAX = 160,
    REQUEST_TOPIC_MAX = 255,
    REQUEST_CHANNEL_MAX = 64 << 10,
    REQUEST_BATCH_MAX = 1000, /* requests of an HTTP body */
};

struct request {
    enum request_kind kind;
    enum envelope_spelling spelling;
    char *id;            /* JSON text; NULL where there is none */
    const char *event;   /* static: the method, which names the events */
    struct blob *topics; /* packed (strings_next), at least one, none empty */
    struct command
        *command; /* without tag, reply_to and since; client 0: text that is no client's id */
    enum envelope_error code;
    char why[REQUEST_WHY_MAX];
};

/* Fills in *out, whatever the text. `last`: the spelling of the connection's last well-formed
 * request, in which a frame without any is answered; out->spelling is the next one's. */
void request_parse(struct request *out, const char *text, size_t len, enum envelope_spelling last);

typedef void (*request_fn)(struct request *request, void *data);

/* What the body of an HTTP request asks for: it is the params of `method`, or, without a method, a
 * list of whole requests, of which those that only a WebSocket can make are bad ones. Gives each
 * to `on_request`, in order, spelled ENVELOPE_HTTP and to be freed by this function. Returns 0, or
 * the HTTP status of a body that is neither, with `why`; then there was no call. */
int request_parse_body(const char *method, const char *text, size_t len, request_fn on_request,
                       void *data, char why[REQUEST_WHY_MAX]) __attribute__((warn_unused_result));

/* Fills in *out for what cannot be a request; `why` is shortened when it is long. */
void request_refuse(struct request *out, enum envelope_spelling last, const char *why);

/* Frees what the request owns; who takes the command or the id out sets it to NULL. */
void request_fini(struct request *request);
