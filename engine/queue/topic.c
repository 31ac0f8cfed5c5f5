/* Model. Every entry gets a sequence number on arrival and lies on exactly one lane: that of the
 * consumer it is meant for, or the topic's own when there is no consumer or whoever asks first may
 * have it. A lane holds entries of one topic for one consumer. Entries that wait for room lie on
 * their lane among the others and, besides, in their topic's line; where the line says who is let
 * in next, the lane says who is handed over next, and the two do not disturb each other: a consumer
 * takes the lowest number over the heads of its lanes, and one who has not been let in by then is
 * passed straight on.
 *
 * Invariants: lanes and lines are in the order of the numbers, and so of due times, as all wait
 * equally long; an entry is in a line exactly while it waits; a line's head finds its topic full.
 */
#include "queue/topic.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include <stdlib.h>
#include <uthash.h>

struct topic {
    struct queue *queue;
    struct gate *gate;
    struct list own;   /* entries */
    struct list line;  /* entries that wait */
    struct list lanes; /* one for each consumer */
    uint64_t pushed, delivered, timed_out;
    UT_hash_handle hh;
};

struct lane {
    struct topic *topic;
    struct queue_consumer *consumer;
    struct list entries;
    struct list in_topic, in_consumer;
};

struct queue_consumer {
    struct queue *queue;
    uint64_t number;
    bool told; /* on_ready was called, and queue_take has not said NULL since */
    void (*on_ready)(void *data);
    void *data;
    struct list lanes;
};

struct queue {
    struct gates *gates;
    struct queue_options options;
    struct topic *topics; /* by gate */
    uint64_t last_seq, last_consumer;
    uint32_t consumers;
    uint64_t hurry_ms;
    uv_timer_t timer; /* for the earliest due time, or earlier */
};

struct queue *queue_new(uv_loop_t *loop, struct gates *gates, const struct queue_options *options)
{
    struct queue *queue = xcalloc(1, sizeof *queue);
    queue->gates = gates;
    queue->options = *options;
    queue->hurry_ms = UINT64_MAX;
    uv_timer_init(loop, &queue->timer);
    queue->timer.data = queue;
    return queue;
}

static struct topic *topic_of(struct queue *queue, struct gate *gate)
{
    struct topic *topic;
    HASH_FIND_PTR(queue->topics, &gate, topic);
    if (topic != NULL)
        return topic;
    topic = xcalloc(1, sizeof *topic);
    topic->queue = queue;
    topic->gate = gate;
    list_init(&topic->own);
    list_init(&topic->line);
    list_init(&topic->lanes);
    HASH_ADD_PTR(queue->topics, gate, topic);
    return topic;
}

/* Who gets what. */

static void tell(struct queue_consumer *consumer)
{
    if (consumer->told)
        return;
    consumer->told = true;
    consumer->on_ready(consumer->data);
}

/* Spreads close numbers over all 64 bits; each number has its own result. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    return x ^ x >> 32;
}

/* Rendezvous hashing: each consumer bids for the client, and bids do not depend on who else is
 * there. */
static struct lane *lane_of(const struct topic *topic, uint64_t client)
{
    struct lane *best = NULL;
    uint64_t best_bid = 0;
    list_for_each(node, &topic->lanes)
    {
        struct lane *lane = list_entry(node, struct lane, in_topic);
        uint64_t bid = mix(mix(client) + lane->consumer->number);
        if (best == NULL || bid > best_bid) {
            best = lane;
            best_bid = bid;
        }
    }
    return best;
}

static void tell_all(const struct topic *topic)
{
    list_for_each(node, &topic->lanes) tell(list_entry(node, struct lane, in_topic)->consumer);
}

/* Puts an entry at the end of its lane. */
static void assign(struct topic *topic, struct entry *entry)
{
    struct lane *lane = topic->queue->options.affinity_any ? NULL : lane_of(topic, entry->client);
    if (lane == NULL) {
        list_push_back(&topic->own, &entry->in_lane);
        tell_all(topic);
    } else {
        list_push_back(&lane->entries, &entry->in_lane);
        tell(lane->consumer);
    }
}

static struct entry *first_on(const struct list *lane)
{
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): drop unlinks what it frees */
    return list_empty(lane) ? NULL : list_entry(lane->next, struct entry, in_lane);
}

/* Moves the entries of `from` to where their numbers belong in `to`. */
static void merge(struct list *to, struct list *from)
{
    struct list *at = to->next, *node;
    while ((node = list_pop_front(from)) != NULL) {
        uint64_t seq = list_entry(node, struct entry, in_lane)->seq;
        while (at != to && list_entry(at, struct entry, in_lane)->seq < seq)
            at = at->next;
        list_insert_before(at, node);
    }
}

/* The topic's consumers have changed: deals out anew what has not been handed over. */
static void deal(struct topic *topic)
{
    struct list all, *node;
    list_init(&all);
    list_splice_back(&all, &topic->own);
    list_for_each(lane, &topic->lanes)
        merge(&all, &list_entry(lane, struct lane, in_topic)->entries);
    while ((node = list_pop_front(&all)) != NULL)
        assign(topic, list_entry(node, struct entry, in_lane));
}

/* The line. */

static void answer(struct topic *topic, struct entry *entry, bool granted, uint32_t depth)
{
    struct push_answer *push_answer = entry->answer;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): who is in the line has no answer yet */
    push_answer->msg.type = MSG_PUSH_ANSWER;
    push_answer->granted = granted;
    push_answer->depth = depth;
    topic->pushed += granted;
    topic->timed_out += !granted;
    list_remove(&entry->in_line);
    entry->waiting = false;
    entry->answer = NULL;
    mailbox_post(entry->reply_to, &push_answer->msg);
}

static struct entry *first_in_line(const struct topic *topic)
{
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): drop unlinks what it frees */
    return list_empty(&topic->line) ? NULL : list_entry(topic->line.next, struct entry, in_line);
}

static void let_in(struct topic *topic)
{
    struct entry *entry;
    uint32_t count;
    while ((entry = first_in_line(topic)) != NULL && gate_admit(topic->gate, &count))
        answer(topic, entry, true, count);
}

static void drop(struct entry *entry)
{
    list_remove(&entry->in_lane);
    free(entry);
}

static void give_up(struct topic *topic, struct entry *entry)
{
    gate_give_up(entry->gate);
    answer(topic, entry, false, 0);
    drop(entry);
}

static void on_due(uv_timer_t *timer);

static void arm(struct queue *queue, uint64_t due_ms)
{
    uint64_t now = clock_ms();
    uv_timer_start(&queue->timer, on_due, due_ms > now ? due_ms - now : 0, 0);
}

static void arm_for_earliest(struct queue *queue)
{
    uint64_t earliest = UINT64_MAX;
    for (struct topic *topic = queue->topics; topic != NULL; topic = topic->hh.next) {
        const struct entry *entry = first_in_line(topic);
        if (entry != NULL && entry->due_ms < earliest)
            earliest = entry->due_ms;
    }
    if (earliest != UINT64_MAX)
        arm(queue, earliest);
}

static void on_due(uv_timer_t *timer)
{
    struct queue *queue = timer->data;
    uint64_t now = clock_ms();
    for (struct topic *topic = queue->topics; topic != NULL; topic = topic->hh.next) {
        struct entry *entry;
        while ((entry = first_in_line(topic)) != NULL && entry->due_ms <= now)
            give_up(topic, entry);
    }
    arm_for_earliest(queue);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void stand_in_line(struct topic *topic, struct entry *entry)
{
    struct queue *queue = topic->queue;
    CHECK(entry->answer != NULL && entry->reply_to != NULL);
    entry->due_ms = earlier(clock_ms() + queue->options.full_timeout_ms, queue->hurry_ms);
    list_push_back(&topic->line, &entry->in_line);
    /* Room may have come since the push was refused, while the entry was on its way. */
    let_in(topic);
    /* Whoever stands in line already is due no later than this one, unless the time was made
     * shorter meanwhile: then this one is given up with those before it. */
    if (entry->waiting && !uv_is_active((uv_handle_t *)&queue->timer))
        arm(queue, entry->due_ms);
}

void queue_set_full_timeout(struct queue *queue, uint64_t ms)
{
    queue->options.full_timeout_ms = ms;
}

void queue_accept(struct queue *queue, struct entry *entry)
{
    struct topic *topic = topic_of(queue, entry->gate);
    entry->seq = ++queue->last_seq;
    entry->since_ms = uv_now(queue->timer.loop);
    list_init(&entry->in_lane);
    list_init(&entry->in_line);
    if (entry->waiting)
        stand_in_line(topic, entry);
    else
        topic->pushed++;
    assign(topic, entry);
}

void queue_resized(struct queue *queue, struct gate *gate)
{
    let_in(topic_of(queue, gate));
}

void queue_hurry(struct queue *queue, uint64_t at_ms)
{
    queue->hurry_ms = earlier(queue->hurry_ms, at_ms);
    for (struct topic *topic = queue->topics; topic != NULL; topic = topic->hh.next)
        list_for_each(node, &topic->line)
        {
            struct entry *entry = list_entry(node, struct entry, in_line);
            entry->due_ms = earlier(entry->due_ms, queue->hurry_ms);
        }
    arm_for_earliest(queue);
}

static uint64_t earliest_on(const struct list *lane, uint64_t earliest)
{
    const struct entry *entry = first_on(lane);
    return entry ? earlier(entry->since_ms, earliest) : earliest;
}

static uint64_t age_of_oldest(const struct topic *topic)
{
    uint64_t since = earliest_on(&topic->own, UINT64_MAX);
    list_for_each(node, &topic->lanes) since =
        earliest_on(&list_entry(node, struct lane, in_topic)->entries, since);
    return since == UINT64_MAX ? 0 : uv_now(topic->queue->timer.loop) - since;
}

void queue_topic_stats(const struct queue *queue, const struct gate *gate,
                       struct queue_topic_stats *out)
{
    struct topic *topic;
    HASH_FIND_PTR(queue->topics, &gate, topic);
    *out = (struct queue_topic_stats){.refused = gate_refused(gate)};
    if (topic == NULL)
        return;
    out->pushed = topic->pushed;
    out->delivered = topic->delivered;
    out->refused += topic->timed_out;
    out->oldest_ms = age_of_oldest(topic);
}

static uint32_t topic_free(struct topic *topic)
{
    struct queue *queue = topic->queue;
    struct entry *entry;
    uint32_t lost = 0;
    while ((entry = first_in_line(topic)) != NULL)
        give_up(topic, entry);
    while ((entry = first_on(&topic->own)) != NULL) {
        gate_leave(topic->gate);
        drop(entry);
        lost++;
    }
    HASH_DEL(queue->topics, topic);
    free(topic);
    return lost;
}

static void on_timer_closed(uv_handle_t *timer)
{
    free(timer->data);
}

uint32_t queue_free(struct queue *queue)
{
    /* With no consumer left, all there is lies on the topics' own lanes. */
    CHECK(queue->consumers == 0);
    uint32_t lost = 0;
    struct topic *topic, *next;
    HASH_ITER(hh, queue->topics, topic, next)
    {
        lost += topic_free(topic);
    }
    uv_close((uv_handle_t *)&queue->timer, on_timer_closed);
    return lost;
}

/* Consumers. */

struct queue_consumer *queue_consumer_new(struct queue *queue, void (*on_ready)(void *data),
                                          void *data)
{
    struct queue_consumer *consumer = xcalloc(1, sizeof *consumer);
    consumer->queue = queue;
    consumer->number = ++queue->last_consumer;
    consumer->on_ready = on_ready;
    consumer->data = data;
    list_init(&consumer->lanes);
    queue->consumers++;
    return consumer;
}

void queue_consumer_free(struct queue_consumer *consumer)
{
    queue_unconsume(consumer);
    consumer->queue->consumers--;
    free(consumer);
}

static void lane_new(struct queue_consumer *consumer, struct topic *topic)
{
    struct lane *lane = xcalloc(1, sizeof *lane);
    lane->topic = topic;
    lane->consumer = consumer;
    list_init(&lane->entries);
    list_push_back(&topic->lanes, &lane->in_topic);
    list_push_back(&consumer->lanes, &lane->in_consumer);
}

static void lane_free(struct lane *lane)
{
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the one before has been unlinked */
    struct topic *topic = lane->topic;
    list_remove(&lane->in_topic);
    list_remove(&lane->in_consumer);
    /* The topic's own lane may hold entries only when others' lanes hold none, and is dealt first.
     */
    list_splice_back(&topic->own, &lane->entries);
    free(lane);
    deal(topic);
}

bool queue_consumes(const struct queue_consumer *consumer, const char *name, size_t len)
{
    list_for_each(node, &consumer->lanes)
    {
        size_t known_len;
        const struct lane *lane = list_entry(node, struct lane, in_consumer);
        const char *known = gate_name(lane->topic->gate, &known_len);
        if (known_len == len && memcmp(known, name, len) == 0)
            return true;
    }
    return false;
}

int queue_consume(struct queue_consumer *consumer, const char *name, size_t len)
{
    if (queue_consumes(consumer, name, len))
        return UV_EEXIST;
    struct gate *gate = gates_get(consumer->queue->gates, name, len);
    if (gate == NULL)
        return UV_ENOSPC;
    struct topic *topic = topic_of(consumer->queue, gate);
    lane_new(consumer, topic);
    deal(topic);
    return 0;
}

uint32_t queue_unconsume(struct queue_consumer *consumer)
{
    uint32_t count = 0;
    for (struct list *node = consumer->lanes.next; node != &consumer->lanes;
         node = consumer->lanes.next, count++)
        lane_free(list_entry(node, struct lane, in_consumer));
    return count;
}

static struct list *source_of(struct lane *lane)
{
    struct topic *topic = lane->topic;
    return topic->queue->options.affinity_any ? &topic->own : &lane->entries;
}

/* The lane whose turn it is; NULL when there is nothing on any. */
static struct lane *next_lane(const struct queue_consumer *consumer)
{
    struct lane *next = NULL;
    uint64_t lowest = UINT64_MAX;
    list_for_each(node, &consumer->lanes)
    {
        struct lane *lane = list_entry(node, struct lane, in_consumer);
        const struct entry *entry = first_on(source_of(lane));
        if (entry != NULL && entry->seq < lowest) {
            next = lane;
            lowest = entry->seq;
        }
    }
    return next;
}

struct entry *queue_take(struct queue_consumer *consumer)
{
    struct lane *lane = next_lane(consumer);
    if (lane == NULL) {
        consumer->told = false;
        return NULL;
    }
    struct entry *entry = first_on(source_of(lane));
    list_remove(&entry->in_lane);
    lane->topic->delivered++;
    if (entry->waiting) {
        answer(lane->topic, entry, true, gate_pass(entry->gate));
    } else {
        gate_leave(entry->gate);
        let_in(lane->topic);
    }
    return entry;
}
