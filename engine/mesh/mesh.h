/* How commands reach clients, wherever they are. A small vtable: one process alone (mesh_local.c)
 * for now, nodes later. Any thread: all it does is post to mailboxes. */
#pragma once

#include "msg/msg.h"

struct mesh {
    const struct mesh_ops *ops;
};

struct mesh_ops {
    int (*submit)(struct mesh *mesh, struct command *command);
    int (*publish)(struct mesh *mesh, int except_worker, struct command *command);
    unsigned (*node)(const struct mesh *mesh);
};

/* Posts a command to the worker of its client. Takes ownership: it comes back to reply_to carried
 * out (or is freed there). Returns UV_ENOENT when no worker can own such an id: then the command is
 * still the caller's. */
static inline int mesh_submit(struct mesh *mesh, struct command *command)
{
    return mesh->ops->submit(mesh, command);
}

/* Posts a copy of a command on a channel (COMMAND_PUBLISH, COMMAND_COUNT) to every worker but
 * `except_worker` (-1: to all). The command itself stays the caller's; returns how many copies will
 * come back to its reply_to. */
static inline int mesh_publish(struct mesh *mesh, int except_worker, struct command *command)
{
    return mesh->ops->publish(mesh, except_worker, command);
}

/* This node's number, below CLIENT_NODES_MAX. */
static inline unsigned mesh_node(const struct mesh *mesh)
{
    return mesh->ops->node(mesh);
}
