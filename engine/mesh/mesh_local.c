#include "mesh/mesh_local.h"
#include "base/clock.h"
#include "base/mem.h"
#include "msg/client_id.h"
#include <stdlib.h>

struct mesh_local {
    struct mesh mesh;
    unsigned node;
    struct mailbox **boxes;
    int count;
};

static struct mesh_local *local(struct mesh *mesh)
{
    return container_of(mesh, struct mesh_local, mesh);
}

static int submit(struct mesh *mesh, struct command *command)
{
    struct mesh_local *self = local(mesh);
    unsigned worker = client_worker(command->client);
    if (client_node(command->client) != self->node || worker >= (unsigned)self->count)
        return UV_ENOENT;
    command->msg.type = MSG_COMMAND;
    command->posted_ns = clock_ns();
    mailbox_post(self->boxes[worker], &command->msg);
    return 0;
}

static struct command *copy(const struct command *command)
{
    struct command *twin = command_new(command->kind);
    twin->reply_to = command->reply_to;
    twin->tag = command->tag;
    twin->since = command->since;
    twin->posted_ns = command->posted_ns;
    twin->binary = command->binary;
    twin->hops = command->hops;
    twin->name = blob_ref(command->name);
    twin->data = command->data ? blob_ref(command->data) : NULL;
    return twin;
}

static int publish(struct mesh *mesh, int except_worker, struct command *command)
{
    struct mesh_local *self = local(mesh);
    int posted = 0;
    command->posted_ns = clock_ns();
    for (int i = 0; i < self->count; i++) {
        if (i == except_worker)
            continue;
        mailbox_post(self->boxes[i], &copy(command)->msg);
        posted++;
    }
    return posted;
}

static unsigned node(const struct mesh *mesh)
{
    return container_of(mesh, const struct mesh_local, mesh)->node;
}

static const struct mesh_ops ops = {.submit = submit, .publish = publish, .node = node};

struct mesh *mesh_local_new(unsigned number, struct mailbox **boxes, int count)
{
    struct mesh_local *self = xmalloc(sizeof *self);
    *self = (struct mesh_local){.mesh = {&ops}, .node = number, .boxes = boxes, .count = count};
    return &self->mesh;
}

void mesh_local_free(struct mesh *mesh)
{
    free(local(mesh));
}
