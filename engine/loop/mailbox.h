/* The only door between threads: many producers, one consumer. A post never waits and never
 * allocates; the consumer's loop is woken only when the box was empty, and takes all there is as
 * one batch. Messages of one producer arrive in the order posted.
 *
 * Boxes are not bounded by themselves: whoever posts holds a credit (an unanswered command of an
 * API connection, a suspended handler, a connection that counts against maxConnections). */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* First member of whatever is sent; the receiver finds the rest by `type` (msg/msg.h). */
struct msg {
    struct msg *next;
    int type;
};

/* Takes ownership of the message. Called on the loop's thread. */
typedef void mailbox_handler(struct msg *msg, void *data);

struct mailbox {
    _Atomic(struct msg *) head; /* newest first */
    _Atomic uint64_t wakes;     /* that producers have finished */
    uint64_t batches;           /* taken: each had one producer that wakes */
    struct msg *batch;          /* what is left of the one being handed over, oldest first */
    uv_async_t wake;
    mailbox_handler *handler;
    void *data;
};

/* Loop's thread, or before the loop runs. */
void mailbox_open(struct mailbox *box, uv_loop_t *loop, mailbox_handler *handler, void *data);

/* Any thread, while the box is open. Takes ownership. */
void mailbox_post(struct mailbox *box, struct msg *msg);

/* Loop's thread: hands over what is there now, without waiting for the wake. What a handler posts
 * to its own box comes with the next batch. */
void mailbox_drain(struct mailbox *box);

/* Loop's thread: is there something to hand over? A look costs next to nothing. */
bool mailbox_has_mail(const struct mailbox *box);

/* Loop's thread, also from the handler, when nobody posts any more (whoever posted last may still
 * be inside mailbox_post). Drains, then closes the handle; the struct must live until the loop has
 * run once more. */
void mailbox_close(struct mailbox *box);
