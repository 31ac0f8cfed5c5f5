/* Commands for a redis server as they go over the wire, and what each needs of its connection. Pure
 * functions. */
#pragma once

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A command begins with the count of its arguments, its name with them. */
void redis_command_begin(struct buf *out, size_t args);
void redis_command_add(struct buf *out, const char *data, size_t len);

#define REDIS_FOR_EVER UINT64_MAX

struct redis_need {
    const char *refused; /* text of why it cannot share a connection, NULL: it can */
    bool alone;          /* it may wait for data: nothing else can use its connection meanwhile */
    uint64_t wait_ms;    /* how long it may wait for data by its own arguments */
};

/* Of a command that the functions above have written. */
struct redis_need redis_command_need(const char *command, size_t len);
