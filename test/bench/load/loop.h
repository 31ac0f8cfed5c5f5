/* A thread with its epoll instance, its share of one group's connections, and what it counts. */
#pragma once

#include "client.h"
#include "pacer.h"
#include "tally.h"
#include <pthread.h>

struct run;

enum phase {
    PHASE_CONNECT, /* until every loop has done so */
    PHASE_RUN,
    PHASE_DRAIN, /* nothing new is sent; what is late may come */
    PHASE_STOP,
};

/* Written by its thread, but what stands above `thread`. */
struct loop {
    struct run *run;
    unsigned id;
    const struct group *group;
    uint32_t first, count;    /* its share of the group */
    struct client *publisher; /* NULL: it has none */
    bool own_descriptors;     /* a table of its own, where one process's limit is too low */
    pthread_t thread;
    int epoll;
    enum phase phase;
    bool settled;                /* all its connections are open or have failed */
    uint32_t started, under_way; /* connections; handshakes */
    uint32_t next_port;
    uint64_t random;
    struct pacer pacer;    /* for the group's role */
    uint32_t turn_of;      /* the same */
    char *input;           /* LOOP_INPUT bytes that all its connections read into */
    struct buf scratch;    /* for what is being written */
    struct buf text;       /* for what is being expanded */
    uint64_t settled_ns;   /* when it was settled */
    char first_error[256]; /* "": none */
    struct tally tally;
};

enum { LOOP_INPUT = 256 * 1024, LOOP_WAIT_MAX_NS = 20 * 1000 * 1000 };

/* The `nth` of its share. */
struct client *loop_client(const struct loop *loop, uint32_t nth);

/* Keeps the first that is told. */
void loop_error(struct loop *loop, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For the mask of a frame. */
static inline uint32_t loop_mask(struct loop *loop)
{
    loop->random ^= loop->random << 13;
    loop->random ^= loop->random >> 7;
    loop->random ^= loop->random << 17;
    return (uint32_t)(loop->random >> 16);
}

void loop_start(struct loop *loop);

/* Waits for its end, which PHASE_STOP brings. */
void loop_join(struct loop *loop);
