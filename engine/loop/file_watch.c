#include "loop/file_watch.h"
#include "base/check.h"

enum { LOOK_MS = 1000, SETTLE_MS = 100 };

static void on_look(uv_timer_t *timer);

static void look_in(struct file_watch *watch, uint64_t ms)
{
    CHECK(uv_timer_start(&watch->timer, on_look, ms, 0) == 0);
}

static void on_look(uv_timer_t *timer)
{
    struct file_watch *watch = timer->data;
    struct file_stamp now = file_stamp_of(watch->path);
    bool changed = !file_stamp_same(&now, &watch->known);
    bool settled = file_stamp_same(&now, &watch->seen);
    watch->seen = now;
    look_in(watch, changed && !settled ? SETTLE_MS : LOOK_MS);
    if (!changed || !settled)
        return;
    watch->known = now;
    watch->on_change(watch);
}

void file_watch_start(struct file_watch *watch, uv_loop_t *loop, const char *path,
                      struct file_stamp known, void (*on_change)(struct file_watch *watch))
{
    CHECK(uv_timer_init(loop, &watch->timer) == 0);
    watch->timer.data = watch;
    watch->path = path;
    watch->known = watch->seen = known;
    watch->on_change = on_change;
    look_in(watch, LOOK_MS);
}

void file_watch_take(struct file_watch *watch)
{
    watch->known = watch->seen = file_stamp_of(watch->path);
}

void file_watch_stop(struct file_watch *watch)
{
    if (!uv_is_closing((uv_handle_t *)&watch->timer))
        uv_close((uv_handle_t *)&watch->timer, NULL);
}
