#include "echoer.h"

#include "base/clock.h"
#include "base/mem.h"
#include "options.h"
#include "run.h"
#include <stdlib.h>
#include <string.h>

/* By a schedule this many may be under way on one connection; what is due beyond that waits, and
 * its latency runs. */
enum { SCHEDULED_MAX = 256, BURST = 64 };

struct echoer {
    struct client client;
    uint64_t *sent; /* a ring: when the messages under way were sent, or were due */
    uint32_t capacity, oldest, under_way;
    uint32_t answered; /* since the last sending */
};

struct slice echoer_payload(size_t size)
{
    char *data = xmalloc(size);
    for (size_t i = 0; i < size; i++)
        data[i] = (char)('a' + (i * 7 + 3) % 26);
    return (struct slice){data, size};
}

static struct echoer *echoer_of(struct client *client)
{
    return container_of(client, struct echoer, client);
}

static const struct options *options_of(const struct echoer *echoer)
{
    return echoer->client.loop->run->options;
}

/* `count` messages with one write. */
static void send_now(struct echoer *echoer, uint32_t count, uint64_t when)
{
    struct loop *loop = echoer->client.loop;
    enum ws_opcode opcode = options_of(echoer)->binary ? WS_OP_BINARY : WS_OP_TEXT;
    struct slice payload = loop->run->echo;
    loop->scratch.len = 0;
    for (uint32_t i = 0; i < count; i++) {
        frame_write(&loop->scratch, opcode, payload.data, payload.len, loop_mask(loop));
        uint32_t at = echoer->oldest + echoer->under_way++;
        echoer->sent[at < echoer->capacity ? at : at - echoer->capacity] = when;
    }
    tally_add(&loop->tally, COUNT_SENT, count);
    client_write(&echoer->client, loop->scratch.data, loop->scratch.len);
}

static void on_run(struct client *client)
{
    struct echoer *echoer = echoer_of(client);
    bool scheduled = client->group->rate > 0;
    uint32_t depth = options_of(echoer)->depth;
    echoer->capacity = scheduled && depth < SCHEDULED_MAX ? SCHEDULED_MAX : depth;
    echoer->sent = xcalloc(echoer->capacity, sizeof *echoer->sent);
    if (!scheduled)
        send_now(echoer, depth, clock_ns());
}

static void on_answer(struct echoer *echoer, uint64_t now)
{
    struct loop *loop = echoer->client.loop;
    uint64_t sent = echoer->sent[echoer->oldest];
    if (++echoer->oldest == echoer->capacity)
        echoer->oldest = 0;
    echoer->under_way--;
    echoer->answered++;
    tally_add(&loop->tally, COUNT_HEARD, 1);
    if (!run_counts(loop->run, echoer->client.group->rate > 0 ? sent : now))
        return;
    tally_add(&loop->tally, COUNT_MEASURED, 1);
    histogram_add(&loop->tally.latency, now > sent ? now - sent : 0);
}

static void on_message(struct client *client, const char *data, size_t len, uint64_t now)
{
    struct echoer *echoer = echoer_of(client);
    struct slice want = client->loop->run->echo;
    if (echoer->under_way == 0) {
        tally_add(&client->loop->tally, COUNT_UNEXPECTED, 1);
        loop_error(client->loop, "connection %u: an answer to nothing that was sent",
                   client->index);
        return;
    }
    if (!options_of(echoer)->unverified && (len != want.len || memcmp(data, want.data, len) != 0)) {
        tally_add(&client->loop->tally, COUNT_MISMATCHED, 1);
        loop_error(client->loop, "connection %u: an answer differs from what was sent",
                   client->index);
    }
    on_answer(echoer, now);
}

static void on_read(struct client *client)
{
    struct echoer *echoer = echoer_of(client);
    uint32_t count = echoer->answered;
    echoer->answered = 0;
    if (count > 0 && client->group->rate == 0 && run_phase(client->loop->run) == PHASE_RUN)
        send_now(echoer, count, clock_ns());
}

static void on_close(struct client *client)
{
    tally_add(&client->loop->tally, COUNT_ABANDONED, echoer_of(client)->under_way);
}

static void fini(struct client *client)
{
    free(echoer_of(client)->sent);
}

/* ---- by a schedule ---- */

static bool has_room(const struct echoer *echoer)
{
    return echoer->client.state == CLIENT_OPEN && echoer->under_way < echoer->capacity;
}

/* The next connection in turn that can take one; false: there is none. */
static bool send_next(struct loop *loop, uint64_t due)
{
    for (uint32_t i = 0; i < loop->count; i++) {
        struct echoer *echoer = echoer_of(loop_client(loop, loop->turn_of));
        loop->turn_of = (loop->turn_of + 1) % loop->count;
        if (has_room(echoer)) {
            send_now(echoer, 1, due);
            return true;
        }
    }
    return false;
}

static void count_late(struct loop *loop)
{
    uint64_t until = atomic_load(&loop->run->until);
    uint64_t due = pacer_due_by(&loop->pacer, until);
    if (due > loop->pacer.done)
        tally_add(&loop->tally, COUNT_LATE, (int64_t)(due - loop->pacer.done));
    loop->pacer.done = UINT64_MAX / 2;
}

static int64_t on_turn(struct loop *loop, uint64_t now)
{
    double rate = loop->group->rate * loop->count / loop->group->count;
    if (rate == 0)
        return -1;
    if (loop->pacer.interval_ns == 0)
        pacer_start(&loop->pacer, now, rate);
    if (loop->phase != PHASE_RUN) {
        if (loop->pacer.done < UINT64_MAX / 2)
            count_late(loop);
        return -1;
    }
    for (int i = 0; i < BURST; i++) {
        uint64_t due = pacer_due(&loop->pacer);
        if (due > now)
            return (int64_t)(due - now);
        if (!send_next(loop, due))
            return -1;
        loop->pacer.done++;
    }
    return 0;
}

const struct role echoer_role = {
    .size = sizeof(struct echoer),
    .on_run = on_run,
    .on_message = on_message,
    .on_read = on_read,
    .on_close = on_close,
    .fini = fini,
    .on_turn = on_turn,
};
