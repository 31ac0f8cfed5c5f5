/* Time is cut into ticks since wheel_init; tick n lies in slot n % WHEEL_SLOTS. A timeout further
 * away than the wheel's round is met in its slot, found not due, and stays for another round.
 * Invariant: whatever is set is due after `tick`, so its slot is still to come. */
#include "loop/wheel.h"
#include "base/check.h"

static uint64_t now_tick(const struct wheel *wheel)
{
    return (uv_now(wheel->timer.loop) - wheel->start_ms) / WHEEL_TICK_MS;
}

static void on_timer(uv_timer_t *timer);

static void arm(struct wheel *wheel)
{
    uint64_t next = wheel->start_ms + (wheel->tick + 1) * WHEEL_TICK_MS;
    uint64_t now = uv_now(wheel->timer.loop);
    uv_timer_start(&wheel->timer, on_timer, next > now ? next - now : 0, 0);
}

static void fire_slot(struct wheel *wheel)
{
    struct list *slot = &wheel->slots[wheel->tick % WHEEL_SLOTS];
    struct list met, *node;
    list_init(&met);
    list_splice_back(&met, slot);
    uint64_t tick = wheel->tick;
    while ((node = list_pop_front(&met)) != NULL) {
        struct timeout *timeout = list_entry(node, struct timeout, link);
        if (timeout->due > tick) {
            list_push_back(slot, node);
            continue;
        }
        wheel->set--;
        timeout->cb(timeout);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct wheel *wheel = timer->data;
    uint64_t now = now_tick(wheel);
    /* After a long stop one round meets everything that is due. */
    if (now > wheel->tick + WHEEL_SLOTS)
        wheel->tick = now - WHEEL_SLOTS;
    while (wheel->set > 0 && wheel->tick < now) {
        wheel->tick++;
        fire_slot(wheel);
    }
    if (wheel->set > 0)
        arm(wheel);
}

void wheel_init(struct wheel *wheel, uv_loop_t *loop)
{
    uv_timer_init(loop, &wheel->timer);
    wheel->timer.data = wheel;
    wheel->start_ms = uv_now(loop);
    wheel->tick = 0;
    wheel->set = 0;
    for (int i = 0; i < WHEEL_SLOTS; i++)
        list_init(&wheel->slots[i]);
}

void wheel_fini(struct wheel *wheel)
{
    uv_close((uv_handle_t *)&wheel->timer, NULL);
}

static void unlink_timeout(struct wheel *wheel, struct timeout *timeout)
{
    list_remove(&timeout->link);
    wheel->set--;
}

void wheel_set(struct wheel *wheel, struct timeout *timeout, uint64_t ms, timeout_cb *cb)
{
    if (timeout_is_set(timeout))
        unlink_timeout(wheel, timeout);
    bool was_idle = wheel->set == 0;
    if (was_idle)
        wheel->tick = now_tick(wheel);
    uint64_t at = uv_now(wheel->timer.loop) - wheel->start_ms + ms;
    timeout->due = (at + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
    if (timeout->due <= wheel->tick)
        timeout->due = wheel->tick + 1;
    timeout->cb = cb;
    list_push_back(&wheel->slots[timeout->due % WHEEL_SLOTS], &timeout->link);
    wheel->set++;
    if (was_idle)
        arm(wheel);
}

void wheel_clear(struct wheel *wheel, struct timeout *timeout)
{
    if (!timeout_is_set(timeout))
        return;
    unlink_timeout(wheel, timeout);
    if (wheel->set == 0)
        uv_timer_stop(&wheel->timer);
}

bool timeout_is_set(const struct timeout *timeout)
{
    return timeout->link.next != NULL && timeout->link.next != &timeout->link;
}
