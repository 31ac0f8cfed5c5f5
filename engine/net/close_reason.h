/* Why a client's connection ended, in the few words that are counted. */
#pragma once

enum close_reason {
    CLOSE_CLIENT, /* in order */
    CLOSE_SCRIPT,
    CLOSE_CONSUMER,
    CLOSE_RESET,
    CLOSE_TIMEOUT,
    CLOSE_SLOW,
    CLOSE_PROTOCOL,
    CLOSE_LIMIT, /* it sends more than a rate allows */
    CLOSE_REFUSED,
    CLOSE_ERROR,
    CLOSE_STOP,
    CLOSE_MEMORY, /* the engine is at its memoryLimit */
    CLOSE_REASONS,
} __attribute__((packed));
