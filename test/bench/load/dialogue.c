#include "dialogue.h"

#include "base/clock.h"
#include "loop.h"
#include <string.h>

bool dialogue_go(struct client *client, const struct steps *steps, unsigned *at,
                 const struct template_values *values)
{
    for (; *at < steps->count; ++*at) {
        const struct step *step = &steps->list[*at];
        if (step->send.data)
            client_send(client, step->send, values);
        if (step->waits)
            return false;
    }
    return true;
}

bool dialogue_hears(struct client *client, const struct steps *steps, unsigned at,
                    const struct template_values *values, struct slice message)
{
    if (at >= steps->count || !steps->list[at].waits)
        return false;
    struct slice expect = steps->list[at].expect;
    if (expect.len == 0)
        return true;
    struct buf *text = &client->loop->text;
    text->len = 0;
    template_expand(text, expect, values);
    return memmem(message.data, message.len, text->data, text->len) != NULL;
}

/* ---- the preamble ---- */

/* client->joined is 0 in the preamble itself, n when the nth channel is joined. */
static const struct steps *steps_of(const struct client *client)
{
    static const struct steps none;
    const struct group *group = client->group;
    const struct steps *steps = client->joined == 0 ? group->preamble : group->join;
    return steps ? steps : &none;
}

static unsigned channels_of(const struct client *client)
{
    const struct role *role = client->group->role;
    return role->channel_count ? role->channel_count(client) : 0;
}

static struct template_values values_of(const struct client *client)
{
    struct template_values values = {.connection = client->index};
    values.has_channel = client->joined > 0;
    if (values.has_channel)
        values.channel = client->group->role->channel(client, client->joined - 1);
    return values;
}

static void open_now(struct client *client)
{
    struct loop *loop = client->loop;
    uint64_t now = clock_ns();
    client->state = CLIENT_OPEN;
    loop->under_way--;
    if (client == loop->publisher) {
        tally_add(&loop->tally, COUNT_PUBLISHERS, 1);
        return;
    }
    tally_add(&loop->tally, COUNT_OPEN, 1);
    histogram_add(&loop->tally.connect, now - client->connect_ns);
    histogram_add(&loop->tally.login, now - client->handshake_ns);
}

static void go_on(struct client *client)
{
    unsigned channels = channels_of(client);
    for (;;) {
        struct template_values values = values_of(client);
        bool done = dialogue_go(client, steps_of(client), &client->step, &values);
        if (!done || client->state != CLIENT_PREAMBLE)
            return;
        if (client->joined == channels)
            break;
        client->joined++;
        client->step = 0;
    }
    open_now(client);
}

void dialogue_begin_preamble(struct client *client)
{
    client->state = CLIENT_PREAMBLE;
    client->handshake_ns = clock_ns();
    go_on(client);
}

void dialogue_on_preamble_message(struct client *client, struct slice message)
{
    struct template_values values = values_of(client);
    if (!dialogue_hears(client, steps_of(client), client->step, &values, message))
        return;
    client->step++;
    go_on(client);
}
