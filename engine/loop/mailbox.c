#include "loop/mailbox.h"
#include "base/check.h"
#include <sched.h>

static void on_wake(uv_async_t *wake)
{
    mailbox_drain(wake->data);
}

void mailbox_open(struct mailbox *box, uv_loop_t *loop, mailbox_handler *handler, void *data)
{
    atomic_init(&box->head, NULL);
    atomic_init(&box->wakes, 0);
    box->batches = 0;
    box->batch = NULL;
    box->handler = handler;
    box->data = data;
    CHECK(uv_async_init(loop, &box->wake, on_wake) == 0);
    box->wake.data = box;
}

void mailbox_post(struct mailbox *box, struct msg *msg)
{
    struct msg *newest = atomic_load_explicit(&box->head, memory_order_relaxed);
    do
        msg->next = newest;
    while (!atomic_compare_exchange_weak_explicit(&box->head, &newest, msg, memory_order_release,
                                                  memory_order_relaxed));
    /* The message is the consumer's by now: only our own copy of what was there may be looked at.
     */
    if (newest == NULL) {
        uv_async_send(&box->wake);
        atomic_fetch_add_explicit(&box->wakes, 1, memory_order_release);
    }
}

static struct msg *take_batch(struct mailbox *box)
{
    struct msg *newest = atomic_exchange_explicit(&box->head, NULL, memory_order_acquire);
    struct msg *oldest = NULL;
    if (newest != NULL)
        box->batches++;
    while (newest != NULL) {
        struct msg *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

void mailbox_drain(struct mailbox *box)
{
    /* The rest of the batch lies in the box, so that a drain from within a handler keeps the order.
     */
    if (box->batch == NULL)
        box->batch = take_batch(box);
    while (box->batch != NULL) {
        struct msg *msg = box->batch;
        box->batch = msg->next;
        box->handler(msg, box->data);
    }
}

bool mailbox_has_mail(const struct mailbox *box)
{
    return box->batch || atomic_load_explicit(&box->head, memory_order_relaxed);
}

void mailbox_close(struct mailbox *box)
{
    do
        mailbox_drain(box);
    while (atomic_load_explicit(&box->head, memory_order_relaxed) != NULL);
    /* A producer whose message has arrived may not have got to its wake: it needs the handle. */
    while (atomic_load_explicit(&box->wakes, memory_order_acquire) != box->batches)
        sched_yield();
    uv_close((uv_handle_t *)&box->wake, NULL);
}
