#include "net/conn.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "base/memory_use.h"
#include <stdlib.h>
#include <string.h>

enum {
    CONTROL_BYTES = 256, /* has a ping or a pong at most */
    /* Queued for clients that take less than they are sent, by a script as fast as it can. */
    GROWN_LOOK_BYTES = 1 << 20,
    /* Who fills a read with so much work, or with so small messages, is read again only when the
     * others had their turn; small messages then come in smaller reads. */
    BUSY_NS = 100000,
    SMALL_MESSAGE = 32,
    SMALL_READ = 2048,
    LINGER_MS = 1000,
    LINGER_BYTES = 4 << 20, /* discarded after a close: hardly ever so much was under way */
    SWEEP_MS = 1000,
    /* A loop that was held up meets its timers first: before a timeout is believed, the loop polls
     * once more. */
    LAST_LOOK_MS = 1,
};

enum state { OPEN, FLUSHING, LINGERING, CLOSED } __attribute__((packed));

/* What only a connection has that is slow or busy: made when it is, freed when that is over. */
struct trouble {
    struct conn *conn;
    struct buf in; /* input that was not taken yet */
    struct list in_paused;
    struct timeout write_timer; /* while a write waits */
    struct timeout rest;        /* until it is read again: it has sent more than a rate allows */
    size_t unwritten;           /* when the write timer was set */
    bool stall_seen;            /* the write timer is over, and a last look is being taken */
};

/* What the peer has sent, where there is a rate for it. */
struct meter {
    struct bucket bytes, messages;
};

/* There is one for each client: what it takes is in docs/performance.md. */
struct conn {
    struct conns *conns;
    struct transport *transport; /* `tcp`, or TLS above it */
    const struct conn_limits *limits;
    const struct conn_handlers *handlers;
    void *owner;
    struct list in_dirty;
    struct trouble *trouble;   /* NULL: none */
    struct timeout read_timer; /* OPEN: silence; LINGERING: patience */
    uint32_t last_read_ms;     /* of the loop's clock, its last bits: read_timeout is far shorter */
    uint32_t discarded;        /* bytes read since it is no longer OPEN */
    uint32_t counted;          /* messages of the last read, of a record with TLS */
    enum state state;
    bool held : 1;         /* by the owner */
    bool ended : 1;        /* the peer has sent its end */
    bool reading : 1;      /* the transport is */
    bool urgent : 1;       /* where in_dirty is */
    bool heard : 1;        /* since conn_mark */
    bool silence_seen : 1; /* the read timer is over, and a last look is being taken */
    bool metered : 1;      /* the rates hold */
    bool slow : 1;         /* takes too little, and is being closed */
    bool crowded : 1;      /* the last read was, with small messages */
    struct out_queue out;
    struct transport_tcp tcp;
    struct meter meter[]; /* one where the limits have a rate, else none */
};

static struct trouble *trouble_of(struct conn *conn)
{
    if (conn->trouble)
        return conn->trouble;
    struct trouble *trouble = conn->trouble = xcalloc(1, sizeof *trouble);
    trouble->conn = conn;
    list_init(&trouble->in_paused);
    return trouble;
}

static void settle(struct conn *conn)
{
    struct trouble *trouble = conn->trouble;
    if (!trouble || trouble->in.len > 0 || !list_empty(&trouble->in_paused) ||
        timeout_is_set(&trouble->write_timer) || timeout_is_set(&trouble->rest))
        return;
    free(trouble);
    conn->trouble = NULL;
}

static void set_state(struct conn *conn, enum state state)
{
    CHECK(state > conn->state);
    conn->state = state;
}

bool conn_is_open(const struct conn *conn)
{
    return conn->state == OPEN;
}

void conn_mark(struct conn *conn)
{
    conn->heard = false;
}

bool conn_heard(const struct conn *conn)
{
    return conn->heard || !conn->reading || conn->out.writing > 0;
}

uint64_t conn_weight(struct conn *conn)
{
    return out_queue_weight(&conn->out) + transport_held(conn->transport) +
           (conn->trouble ? conn->trouble->in.cap : 0);
}

/* -- whose turn it is to be flushed -- */

static void mark_dirty(struct conn *conn)
{
    struct conns *conns = conn->conns;
    if (conn->urgent || conn->out.writing > 0 || (conns->fan_out && !list_empty(&conn->in_dirty)))
        return;
    list_remove(&conn->in_dirty);
    list_push_back(conns->fan_out ? &conns->dirty : &conns->urgent, &conn->in_dirty);
    conn->urgent = !conns->fan_out;
}

static void unmark(struct conn *conn)
{
    conn->urgent = false;
    list_remove(&conn->in_dirty);
}

/* -- the end -- */

static void stop_reading(struct conn *conn)
{
    if (conn->reading)
        transport_read_stop(conn->transport);
    conn->reading = false;
}

static bool is_resting(const struct conn *conn)
{
    return conn->trouble && timeout_is_set(&conn->trouble->rest);
}

static void stop_resting(struct conn *conn)
{
    if (conn->trouble)
        wheel_clear(conn->conns->wheel, &conn->trouble->rest);
}

static void stop_write_timer(struct conn *conn)
{
    if (conn->trouble)
        wheel_clear(conn->conns->wheel, &conn->trouble->write_timer);
}

void conn_abort(struct conn *conn)
{
    if (conn->state == CLOSED)
        return;
    set_state(conn, CLOSED);
    unmark(conn);
    if (conn->trouble)
        list_remove(&conn->trouble->in_paused);
    wheel_clear(conn->conns->wheel, &conn->read_timer);
    stop_write_timer(conn);
    stop_resting(conn);
    transport_close(conn->transport);
}

/* Something outside broke the connection, or it broke a limit. */
static void break_off(struct conn *conn, enum close_reason reason, const char *why)
{
    bool told = conn->state != OPEN; /* the owner closed it and expects no news */
    conn_abort(conn);
    if (!told)
        conn->handlers->on_end(conn->owner, reason, why);
}

static void on_linger_over(struct timeout *timeout)
{
    conn_abort(container_of(timeout, struct conn, read_timer));
}

static void read_on(struct conn *conn)
{
    if (conn->reading || conn->ended || conn->state == CLOSED || is_resting(conn))
        return;
    if (conn->trouble) {
        list_remove(&conn->trouble->in_paused);
        settle(conn);
    }
    conn->reading = transport_read_start(conn->transport) == 0;
    if (!conn->reading)
        break_off(conn, CLOSE_RESET, "cannot read");
}

static void start_lingering(struct conn *conn)
{
    set_state(conn, LINGERING);
    stop_write_timer(conn);
    if (transport_shutdown(conn->transport) != 0) {
        conn_abort(conn);
        return;
    }
    conn->discarded = 0;
    read_on(conn);
    if (conn->state == LINGERING)
        wheel_set(conn->conns->wheel, &conn->read_timer, LINGER_MS, on_linger_over);
}

static void on_shutdown(void *owner)
{
    struct conn *conn = owner;
    if (conn->state == LINGERING && conn->ended)
        conn_abort(conn);
}

void conn_close(struct conn *conn)
{
    if (conn->state != OPEN)
        return;
    set_state(conn, FLUSHING);
    wheel_clear(conn->conns->wheel, &conn->read_timer);
    stop_resting(conn);
    read_on(conn); /* to discard, and to see the peer's end */
    if (conn->state == FLUSHING)
        mark_dirty(conn); /* the flush goes on to linger, also when nothing is queued */
}

/* Takes too long, or sends too much: what is queued still goes out. */
static void close_on(struct conn *conn, enum close_reason reason, const char *why)
{
    conn_close(conn);
    conn->handlers->on_end(conn->owner, reason, why);
}

/* -- writing -- */

static void on_write_stalls(struct timeout *timeout)
{
    struct trouble *trouble = container_of(timeout, struct trouble, write_timer);
    struct conn *conn = trouble->conn;
    size_t unwritten = transport_unwritten(conn->transport);
    bool stalls = unwritten == trouble->unwritten;
    if (stalls && trouble->stall_seen) {
        break_off(conn, CLOSE_SLOW, "write timeout");
        return;
    }
    trouble->stall_seen = stalls;
    trouble->unwritten = unwritten;
    wheel_set(conn->conns->wheel, timeout, stalls ? LAST_LOOK_MS : conn->limits->write_timeout,
              on_write_stalls);
}

static void start_write_timer(struct conn *conn)
{
    struct trouble *trouble = trouble_of(conn);
    if (timeout_is_set(&trouble->write_timer))
        return;
    trouble->stall_seen = false;
    trouble->unwritten = transport_unwritten(conn->transport);
    wheel_set(conn->conns->wheel, &trouble->write_timer, conn->limits->write_timeout,
              on_write_stalls);
}

/* The socket is full: hands libuv what is left and waits for its word. */
static void write_later(struct conn *conn)
{
    uv_buf_t bufs[OUT_QUEUE_GATHER_MAX];
    unsigned count = out_queue_begin(&conn->out, &conn->conns->spare, bufs, CONN_WAITING_BYTES);
    if (transport_write(conn->transport, bufs, count) != 0) {
        break_off(conn, CLOSE_RESET, "write error");
        return;
    }
    if (conn->limits->write_timeout)
        start_write_timer(conn);
}

static void count_written(struct conn *conn, size_t bytes)
{
    counter_add(&conn->limits->counters->written_bytes, (int64_t)bytes);
    out_queue_written(&conn->out, &conn->conns->spare, bytes);
}

static void flush(struct conn *conn)
{
    while (conn->out.count > 0) {
        uv_buf_t bufs[OUT_QUEUE_GATHER_MAX];
        size_t wanted;
        unsigned count = out_queue_gather(&conn->out, bufs, SIZE_MAX, &wanted);
        ssize_t n = transport_try_write(conn->transport, bufs, count);
        if (n < 0 && n != UV_EAGAIN) {
            break_off(conn, CLOSE_RESET, "connection reset by peer");
            return;
        }
        if (n > 0)
            count_written(conn, (size_t)n);
        if (n < 0 || (size_t)n < wanted) {
            write_later(conn);
            return;
        }
    }
    if (conn->state == FLUSHING)
        start_lingering(conn);
}

static void on_written(void *owner, int status)
{
    struct conn *conn = owner;
    if (conn->state == CLOSED)
        return;
    stop_write_timer(conn);
    count_written(conn, status == 0 ? out_queue_waiting(&conn->out) : 0);
    if (status != 0) {
        break_off(conn, CLOSE_RESET, "connection reset by peer");
        return;
    }
    flush(conn);
    settle(conn);
}

static uint64_t writing_cost(const struct conn *conn)
{
    return (uint64_t)OUT_QUEUE_FRAME_COST * conn->out.writing;
}

/* What the socket has not taken. */
static uint64_t backlog(struct conn *conn)
{
    size_t waiting = out_queue_waiting(&conn->out);
    size_t left = waiting > 0 ? transport_unwritten(conn->transport) : 0;
    return conn->out.bytes - (left < waiting ? waiting - left : 0);
}

static uint64_t max_backlog(const struct conn *conn)
{
    uint64_t max = conn->limits->max_backlog;
    return max > CONN_WAITING_BYTES && memory_is_short(conn->conns->memory) ? CONN_WAITING_BYTES
                                                                            : max;
}

/* A script can fill memory faster than others look. */
static void look_at_memory(struct conns *conns, size_t len)
{
    conns->grown += len;
    if (conns->grown < GROWN_LOOK_BYTES || !conns->memory)
        return;
    conns->grown = 0;
    memory_guard_look(conns->memory);
}

/* More waits than a client that reads as fast as it is sent to ever has. */
static bool has_room_behind(struct conn *conn, size_t len)
{
    look_at_memory(conn->conns, OUT_QUEUE_FRAME_COST + len);
    uint64_t max = max_backlog(conn);
    if (conn->out.bytes + len <= max)
        return true;
    uint64_t waits = backlog(conn);
    return waits == writing_cost(conn) || waits + len <= max;
}

/* What waits is bounded; a message that nothing waits before makes nobody slow, however large. */
static bool has_room(struct conn *conn, size_t len)
{
    uint64_t waits = conn->out.bytes + len;
    return conn->out.bytes == 0 ||
           (waits <= CONN_WAITING_BYTES && waits <= conn->limits->max_backlog) ||
           has_room_behind(conn, len);
}

/* A ping and its answer go behind a message that is larger than all that may wait. */
static bool has_room_for_control(struct conn *conn, size_t len)
{
    uint64_t max = max_backlog(conn), large = out_queue_waiting(&conn->out);
    return len <= CONTROL_BYTES && large > max && conn->out.bytes - large + len <= max;
}

/* What was not offered to the socket yet does not make a client slow. */
static void flush_early(struct conn *conn)
{
    if (conn->out.writing > 0)
        return;
    unmark(conn);
    flush(conn);
}

/* What is on its way may end, as a frame cut off is no frame, and the owner's last word goes behind
 * it; the rest is dropped. */
static void fall_behind(struct conn *conn, enum close_reason reason, const char *why)
{
    conn->slow = true;
    out_queue_drop_unbegun(&conn->out, &conn->conns->spare);
    conn->handlers->on_end(conn->owner, reason, why);
    conn_close(conn);
    if (conn->state == FLUSHING)
        wheel_set(conn->conns->wheel, &conn->read_timer, LINGER_MS, on_linger_over);
}

void conn_shed(struct conn *conn, const char *why)
{
    if (conn->state == OPEN && out_queue_waiting(&conn->out) <= 2 * CONN_WAITING_BYTES)
        fall_behind(conn, CLOSE_MEMORY, why);
    else
        break_off(conn, CLOSE_MEMORY, why);
}

/* What waits in the socket's way already may leave no room for it, whatever is left out. */
static bool leave_out_for(struct conn *conn, size_t len)
{
    bool room = false;
    size_t stays = transport_unwritten(conn->transport) + writing_cost(conn);
    uint32_t dropped;
    if (stays + len > max_backlog(conn))
        return false;
    while (!room && (dropped = out_queue_drop_oldest(&conn->out, &conn->conns->spare)) > 0) {
        counter_add(&conn->limits->counters->dropped_messages, dropped);
        room = has_room(conn, len);
    }
    return room;
}

enum { LEFT_OUT = 1 };

/* 0: so much more may be queued. LEFT_OUT: it is not, and that is no error. */
static int make_room(struct conn *conn, size_t len, bool message)
{
    if (conn->state == OPEN && !has_room(conn, len))
        flush_early(conn);
    if (conn->state != OPEN)
        return UV_ENOTCONN;
    if (has_room(conn, len) || conn->slow || (!message && has_room_for_control(conn, len)))
        return 0;
    if (conn->limits->drop_oldest && leave_out_for(conn, len))
        return 0;
    if (conn->limits->drop_oldest && message) {
        counter_add(&conn->limits->counters->dropped_messages, 1);
        return LEFT_OUT;
    }
    if (memory_is_short(conn->conns->memory))
        conn_shed(conn, "the engine is at its memoryLimit");
    else
        fall_behind(conn, CLOSE_SLOW, "slow client: more than maxBacklog bytes wait to be written");
    return UV_ENOBUFS;
}

int conn_send(struct conn *conn, struct frame *frame)
{
    int status = make_room(conn, frame->len, frame->messages > 0);
    if (status != 0 || frame->len == 0)
        return status < 0 ? status : 0;
    out_queue_push(&conn->out, &conn->conns->spare, frame_ref(frame));
    mark_dirty(conn);
    return 0;
}

int conn_append(struct conn *conn, const char *head, size_t head_len, const char *data, size_t len,
                bool message)
{
    int status = make_room(conn, head_len + len, message);
    if (status != 0 || head_len + len == 0)
        return status < 0 ? status : 0;
    char *to = out_queue_reserve(&conn->out, &conn->conns->spare, head_len + len, message,
                                 conn->limits->drop_oldest);
    memcpy(to, head, head_len);
    memcpy(to + head_len, data, len);
    mark_dirty(conn);
    return 0;
}

static bool flush_some(struct list *list, unsigned max)
{
    for (; max > 0 && !list_empty(list); max--) {
        struct conn *conn = list_entry(list->next, struct conn, in_dirty);
        unmark(conn);
        flush(conn);
    }
    return !list_empty(list);
}

bool conns_flush(struct conns *conns, unsigned max)
{
    return flush_some(&conns->urgent, max);
}

bool conns_flush_fan_out(struct conns *conns, unsigned max)
{
    return flush_some(&conns->dirty, max);
}

/* -- reading -- */

const char *conn_held(const struct conn *conn, size_t *len)
{
    *len = conn->trouble ? conn->trouble->in.len : 0;
    return conn->trouble ? conn->trouble->in.data : NULL;
}

static size_t held_len(const struct conn *conn)
{
    size_t len;
    conn_held(conn, &len);
    return len;
}

void conn_take(struct conn *conn, size_t len)
{
    struct trouble *trouble = conn->trouble;
    if (!trouble)
        return;
    buf_consume(&trouble->in, len);
    if (trouble->in.len == 0)
        buf_free(&trouble->in); /* a silent connection keeps no buffer */
    settle(conn);
}

void conn_discard(struct conn *conn)
{
    conn_take(conn, held_len(conn));
}

static void hand_over_held(struct conn *conn)
{
    size_t len;
    const char *data = conn_held(conn, &len);
    size_t taken = conn->handlers->on_input(conn->owner, data, len);
    conn_take(conn, conn->state == OPEN ? taken : len);
}

/* libuv reports no hang-up on a stream that is not read. */
static void sweep(struct timeout *timeout)
{
    struct conns *conns = container_of(timeout, struct conns, sweep);
    list_for_each(node, &conns->paused)
    {
        struct conn *conn = list_entry(node, struct trouble, in_paused)->conn;
        bool reset = false;
        if (!transport_hung_up(conn->transport, &reset))
            continue;
        if (reset)
            break_off(conn, CLOSE_RESET, "connection reset by peer");
        else
            conn->handlers->on_hang_up(conn->owner);
    }
    if (!list_empty(&conns->paused))
        wheel_set(conns->wheel, timeout, SWEEP_MS, sweep);
}

static void pause_reading(struct conn *conn)
{
    struct conns *conns = conn->conns;
    stop_reading(conn);
    list_push_back(&conns->paused, &trouble_of(conn)->in_paused);
    if (!timeout_is_set(&conns->sweep))
        wheel_set(conns->wheel, &conns->sweep, SWEEP_MS, sweep);
}

static void hold_limits(struct conn *conn)
{
    if (conn->state != OPEN)
        return;
    if (conn->held && conn->reading && held_len(conn) >= conn->limits->read_ahead)
        pause_reading(conn);
    else if (!conn->held && held_len(conn) > conn->limits->max_input)
        close_on(conn, CLOSE_PROTOCOL,
                 "packet too large: more than maxMessageSize bytes without a complete packet");
}

static uint32_t now_ms(const struct conn *conn)
{
    return (uint32_t)uv_now(conn->conns->loop);
}

static uint64_t now_ns(const struct conn *conn)
{
    return uv_now(conn->conns->loop) * 1000000;
}

static uint64_t owed_by(struct conn *conn)
{
    if (!conn->metered)
        return 0;
    struct meter *meter = conn->meter;
    uint64_t now = now_ns(conn);
    uint64_t bytes = bucket_owe(&meter->bytes, &conn->limits->bytes, 0, now);
    uint64_t messages = bucket_owe(&meter->messages, &conn->limits->messages, 0, now);
    return bytes > messages ? bytes : messages;
}

static void rest(struct conn *conn, uint64_t ns);

static void on_rested(struct timeout *timeout)
{
    struct conn *conn = container_of(timeout, struct trouble, rest)->conn;
    uint64_t owed = owed_by(conn);
    conn->last_read_ms = now_ms(conn);
    if (owed > 0)
        rest(conn, owed);
    else if (!conn->held || held_len(conn) < conn->limits->read_ahead)
        read_on(conn);
    else
        settle(conn);
}

/* Not read until what has come is paid for. What was read with it is served: it is one read at
 * most, or what came while the owner was busy. */
static void rest(struct conn *conn, uint64_t ns)
{
    if (conn->state != OPEN || conn->ended)
        return;
    if (conn->reading)
        pause_reading(conn);
    wheel_set(conn->conns->wheel, &trouble_of(conn)->rest, (ns + 999999) / 1000000, on_rested);
}

static bool take(struct conn *conn, struct bucket *bucket, const struct rate *rate, size_t n,
                 const char *why)
{
    uint64_t owed = bucket_owe(bucket, rate, n, now_ns(conn));
    if (owed == 0)
        return true;
    if (conn->limits->wait)
        rest(conn, owed);
    else
        conn->handlers->on_flood(conn->owner, why);
    return conn->limits->wait;
}

bool conn_count(struct conn *conn, uint32_t messages)
{
    conn->counted += messages;
    return !conn->metered || take(conn, &conn->meter->messages, &conn->limits->messages, messages,
                                  "too many messages");
}

static bool count_bytes(struct conn *conn, size_t len)
{
    return !conn->metered ||
           take(conn, &conn->meter->bytes, &conn->limits->bytes, len, "too many bytes");
}

static uv_buf_t on_room(void *owner)
{
    const struct conn *conn = owner;
    return uv_buf_init(conn->conns->scratch, conn->crowded ? SMALL_READ : TRANSPORT_READ_MAX);
}

static void take_input(struct conn *conn, const char *data, size_t len)
{
    if (conn->held || held_len(conn) > 0) {
        buf_append(&trouble_of(conn)->in, data, len);
        if (!conn->held)
            hand_over_held(conn);
    } else {
        size_t taken = conn->handlers->on_input(conn->owner, data, len);
        if (taken < len && conn->state == OPEN)
            buf_append(&trouble_of(conn)->in, data + taken, len - taken);
    }
    hold_limits(conn);
}

/* Who does not heed the end may not keep us busy with it; what was sent to it still goes out. */
static void discard(struct conn *conn, size_t len)
{
    conn->discarded += (uint32_t)len;
    if (conn->discarded <= LINGER_BYTES)
        return;
    if (conn->state == LINGERING)
        conn_abort(conn);
    else if (conn->reading)
        pause_reading(conn);
}

static void on_full(void *owner, uint64_t took_ns)
{
    struct conn *conn = owner;
    bool busy = conn->crowded || took_ns > BUSY_NS;
    if (!busy || !conn->reading || conn->state == CLOSED)
        return;
    stop_reading(conn);
    list_push_back(&conn->conns->waiting, &trouble_of(conn)->in_paused);
}

void conns_read_on(struct conns *conns)
{
    struct list *node;
    while ((node = list_pop_front(&conns->waiting)))
        read_on(list_entry(node, struct trouble, in_paused)->conn);
}

static void on_bytes(void *owner, const char *data, size_t len)
{
    struct conn *conn = owner;
    conn->last_read_ms = now_ms(conn);
    conn->heard = true;
    counter_add(&conn->limits->counters->read_bytes, (int64_t)len);
    conn->counted = 0;
    if (conn->state != OPEN)
        discard(conn, len);
    else if (count_bytes(conn, len))
        take_input(conn, data, len);
    conn->crowded = conn->counted > len / SMALL_MESSAGE;
}

static void on_end(void *owner, int status)
{
    struct conn *conn = owner;
    conn->ended = true;
    stop_reading(conn);
    if (status != UV_EOF)
        break_off(conn, CLOSE_RESET, "connection reset by peer");
    else if (conn->state == OPEN)
        conn->handlers->on_end(conn->owner, CLOSE_CLIENT, NULL);
    else if (conn->state == LINGERING)
        conn_abort(conn);
}

static void on_silence(struct timeout *timeout)
{
    struct conn *conn = container_of(timeout, struct conn, read_timer);
    bool deaf = conn->held || conn->ended || is_resting(conn);
    uint32_t silent = deaf ? 0 : now_ms(conn) - conn->last_read_ms;
    bool over = silent >= conn->limits->read_timeout;
    if (over && conn->silence_seen) {
        close_on(conn, CLOSE_TIMEOUT, "read timeout");
        return;
    }
    conn->silence_seen = over;
    wheel_set(conn->conns->wheel, timeout,
              over ? LAST_LOOK_MS : conn->limits->read_timeout - silent, on_silence);
}

void conn_hold(struct conn *conn)
{
    conn->held = true;
}

void conn_let_go(struct conn *conn)
{
    conn->held = false;
    conn->last_read_ms = now_ms(conn);
    if (conn->state == OPEN && held_len(conn) > 0)
        hand_over_held(conn);
    hold_limits(conn);
    if (conn->state == OPEN && (!conn->held || held_len(conn) < conn->limits->read_ahead))
        read_on(conn);
}

/* -- life -- */

static void on_closed(void *owner)
{
    struct conn *conn = owner;
    out_queue_fini(&conn->out, &conn->conns->spare);
    conn_discard(conn);
    free(conn->trouble);
    conn->conns->open--;
    conn->handlers->on_closed(conn->owner);
}

static const struct transport_events events = {
    .on_room = on_room,
    .on_bytes = on_bytes,
    .on_full = on_full,
    .on_end = on_end,
    .on_written = on_written,
    .on_shutdown = on_shutdown,
    .on_closed = on_closed,
};

void conns_init(struct conns *conns, uv_loop_t *loop, struct wheel *wheel)
{
    *conns = (struct conns){.loop = loop, .wheel = wheel};
    list_init(&conns->urgent);
    list_init(&conns->dirty);
    list_init(&conns->paused);
    list_init(&conns->waiting);
}

static bool has_rates(const struct conn_limits *limits)
{
    return limits->bytes.per_second || limits->messages.per_second;
}

size_t conn_size(const struct conn_limits *limits)
{
    return sizeof(struct conn) + (has_rates(limits) ? sizeof(struct meter) : 0);
}

void conn_meter(struct conn *conn, bool on)
{
    conn->metered = on && has_rates(conn->limits);
    if (!conn->metered && is_resting(conn))
        rest(conn, 1);
}

bool conns_fan_out(struct conns *conns, bool on)
{
    bool before = conns->fan_out;
    conns->fan_out = on;
    return before;
}

void conns_fini(struct conns *conns)
{
    out_spare_fini(&conns->spare);
    tls_io_fini(&conns->tls);
}

struct conn *conn_open(void *memory, struct conns *conns, int fd, struct ssl_st *tls,
                       const struct conn_limits *limits, const struct conn_handlers *handlers,
                       void *owner)
{
    struct conn *conn = memory;
    *conn = (struct conn){.conns = conns, .limits = limits, .handlers = handlers, .owner = owner};
    list_init(&conn->in_dirty);
    out_queue_init(&conn->out);
    conn->transport = &conn->tcp.transport;
    if (tls)
        conn->transport =
            transport_tls_open(&conns->tls, tls, &conn->tcp, conns->loop, fd, &events, conn);
    else
        transport_tcp_open(&conn->tcp, conns->loop, fd, &events, conn);
    conns->open++;
    conn->last_read_ms = now_ms(conn);
    if (limits->read_timeout)
        wheel_set(conns->wheel, &conn->read_timer, limits->read_timeout, on_silence);
    if (has_rates(limits))
        conn->meter[0] = (struct meter){0};
    conn_meter(conn, true);
    return conn;
}

void conn_start(struct conn *conn)
{
    read_on(conn);
}
