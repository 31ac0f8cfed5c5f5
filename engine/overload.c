#include "overload.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/memory_use.h"
#include "net/conn.h"
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    /* Memory is taken to grow by no more than this in a millisecond. */
    GROWTH_BYTES = 1 << 20,
    LOOK_MS_MIN = 10,
    LOOK_MS_MAX = 500,
    OVER_MS = 50,    /* between looks while it is above, each of which gives memory back */
    ANSWER_MS = 200, /* whoever has not answered by then is not waited for */
    /* When nobody is to blame it is not looked for again until then, or until more is held. */
    IN_VAIN_MS = 500,
    /* Who holds less is closed only when nothing else helps. */
    LITTLE_BYTES = CONN_WAITING_BYTES,
};

struct candidate {
    struct weight weight;
    int place; /* whose */
};

struct overload {
    struct overload_options options;
    struct overload_stats stats;
    uint64_t limit;
    uv_timer_t timer;
    bool over, closed;
    /* a round: who holds how much? */
    uint32_t round;
    bool *asked;             /* by place: has not answered yet */
    int waiting;             /* for so many answers; 0: no round */
    uint64_t asked_ms, held; /* bytes that were held then */
    bool in_vain;            /* nobody was to blame */
    struct candidate *candidates;
    size_t candidate_count;
    uint64_t logged_ms, shed_clients, logged_clients, logged_consumers;
};

const struct overload_stats *overload_stats(const struct overload *o)
{
    return &o->stats;
}

/* -- what is done about it -- */

static int heavier_first(const void *a, const void *b)
{
    uint64_t x = ((const struct candidate *)a)->weight.bytes;
    uint64_t y = ((const struct candidate *)b)->weight.bytes;
    return (x < y) - (x > y);
}

static bool is_api(const struct overload *o, int place)
{
    return place == o->options.box_count - 1;
}

static void tell(struct overload *o)
{
    uint64_t consumers = counter_get(&o->stats.shed_consumers);
    if (!log_due(&o->logged_ms, uv_now(o->options.loop)))
        return;
    log_warn("engine",
             "memory is short: memoryLimit is %" PRIu64
             " bytes; new clients wait, pushes fail, and "
             "%" PRIu64 " clients and %" PRIu64 " consumers that held the most were closed",
             o->limit, o->shed_clients - o->logged_clients, consumers - o->logged_consumers);
    o->logged_clients = o->shed_clients;
    o->logged_consumers = consumers;
}

/* The first `count` candidates that are of one place. */
static void shed_of(struct overload *o, int place, size_t count)
{
    struct msg_shed *m = xcalloc(1, sizeof *m);
    m->msg.type = MSG_SHED;
    for (size_t i = 0; i < count; i++)
        if (o->candidates[i].place == place)
            m->ids[m->count++] = o->candidates[i].weight.id;
    if (m->count == 0) {
        free(m);
        return;
    }
    if (is_api(o, place))
        counter_add(&o->stats.shed_consumers, m->count);
    else
        o->shed_clients += m->count;
    mailbox_post(o->options.boxes[place], &m->msg);
}

/* Those who hold little are spared until memory is nearly over: as a rule queues or scripts hold it
 * then, and closing them would be of no use. */
static bool is_to_blame(const struct overload *o, const struct candidate *candidate)
{
    return candidate->weight.bytes >= LITTLE_BYTES || o->held >= o->limit / 16 * 15;
}

/* How many of the heaviest leave three quarters of the limit. */
static size_t choose(const struct overload *o)
{
    uint64_t sum = 0, most = o->limit / 4 * 3;
    uint64_t need = o->held > most ? o->held - most : 0; /* the limit may be another one by now */
    size_t count = 0;
    while (count < o->candidate_count && sum < need && is_to_blame(o, &o->candidates[count]))
        sum += o->candidates[count++].weight.bytes;
    return count;
}

static void end_round(struct overload *o)
{
    o->waiting = 0;
    o->candidate_count = 0;
}

/* By what is held now: while others were asked much may have been given back. */
static void shed(struct overload *o)
{
    o->held = memory_resident(o->options.memory->descriptor);
    qsort(o->candidates, o->candidate_count, sizeof *o->candidates, heavier_first);
    size_t count = choose(o);
    for (int place = 0; place < o->options.box_count; place++)
        shed_of(o, place, count);
    o->in_vain = count == 0;
    end_round(o);
    tell(o);
}

static void ask(struct overload *o, uint64_t held)
{
    o->held = held;
    o->round++;
    o->asked_ms = uv_now(o->options.loop);
    for (int place = 0; place < o->options.box_count; place++) {
        if (o->asked[place])
            continue; /* it is in a script that does not return */
        struct weighing *m = xcalloc(1, sizeof *m);
        m->msg.type = MSG_WEIGH;
        m->place = place;
        m->round = o->round;
        o->asked[place] = true;
        o->waiting++;
        mailbox_post(o->options.boxes[place], &m->msg);
    }
}

void overload_weighed(struct overload *o, struct weighing *weighing)
{
    o->asked[weighing->place] = false;
    if (o->waiting > 0 && weighing->round == o->round && !o->closed) {
        for (uint32_t i = 0; i < weighing->count; i++)
            o->candidates[o->candidate_count++] =
                (struct candidate){weighing->heaviest[i], weighing->place};
        if (--o->waiting == 0)
            shed(o);
    }
    free(weighing);
}

/* -- how it is seen -- */

static void set_over(struct overload *o, bool over)
{
    atomic_store(&o->options.memory->is_short, over); /* a worker may have set it, too early */
    if (over == o->over)
        return;
    o->over = over;
    counter_set(&o->stats.over, over);
    acceptor_hold(o->options.acceptor, over);
    gates_hold(o->options.gates, over);
}

static bool is_in_vain(const struct overload *o, uint64_t held)
{
    return o->in_vain && held < o->held + o->limit / 64 &&
           uv_now(o->options.loop) - o->asked_ms < IN_VAIN_MS;
}

static void look(struct overload *o, uint64_t held)
{
    bool late = o->waiting > 0 && uv_now(o->options.loop) - o->asked_ms >= ANSWER_MS;
    if (late)
        shed(o);
    set_over(o, held >= (o->over ? o->limit / 16 * 13 : o->limit / 8 * 7));
    /* What was just shed is still in `held`. */
    if (o->over && !late && o->waiting == 0 && !is_in_vain(o, held))
        ask(o, held);
}

static uint64_t next_look_ms(const struct overload *o, uint64_t held)
{
    uint64_t above = o->limit / 8 * 7;
    if (o->over || held >= above)
        return OVER_MS;
    uint64_t ms = (above - held) / GROWTH_BYTES;
    return ms < LOOK_MS_MIN ? LOOK_MS_MIN : ms > LOOK_MS_MAX ? LOOK_MS_MAX : ms;
}

static void on_look(uv_timer_t *timer)
{
    struct overload *o = timer->data;
    int descriptor = o->options.memory->descriptor;
    uint64_t held = memory_resident(descriptor);
    if ((o->over || held >= o->limit / 8 * 7) && !is_in_vain(o, held)) {
        memory_give_back();
        held = memory_resident(descriptor);
    }
    look(o, held);
    CHECK(uv_timer_start(timer, on_look, next_look_ms(o, held), 0) == 0);
}

/* -- life -- */

struct overload *overload_new(const struct overload_options *options)
{
    struct overload *o = xcalloc(1, sizeof *o);
    size_t places = (size_t)options->box_count;
    o->options = *options;
    o->options.memory->descriptor = -1;
    o->asked = xcalloc(places, sizeof *o->asked);
    o->candidates = xcalloc(places * WEIGHTS_MAX, sizeof *o->candidates);
    CHECK(uv_timer_init(options->loop, &o->timer) == 0);
    o->timer.data = o;
    return o;
}

/* False: then there is no limit. */
static bool can_look(struct memory_guard *memory)
{
    if (memory->descriptor < 0)
        memory->descriptor = memory_use_open();
    if (memory->descriptor < 0)
        log_error("engine", "memoryLimit has no effect: /proc/self/statm: %s",
                  uv_strerror(memory->descriptor));
    return memory->descriptor >= 0;
}

void overload_limit(struct overload *o, uint64_t limit)
{
    o->limit = limit > 0 && can_look(o->options.memory) ? limit : 0;
    counter_set(&o->stats.limit, o->limit);
    set_over(o, o->over && o->limit > 0);
    atomic_store(&o->options.memory->most, o->limit / 16 * 15);
    if (o->limit > 0) {
        CHECK(uv_timer_start(&o->timer, on_look, 0, 0) == 0);
        return;
    }
    uv_timer_stop(&o->timer);
    end_round(o);
    o->in_vain = false;
}

void overload_close(struct overload *o)
{
    o->closed = true;
    uv_close((uv_handle_t *)&o->timer, NULL);
}

void overload_free(struct overload *o)
{
    if (o->options.memory->descriptor >= 0)
        close(o->options.memory->descriptor);
    free(o->asked);
    free(o->candidates);
    free(o);
}
