/* The mesh of one process. */
#pragma once

#include "mesh/mesh.h"

/* `boxes`: the mailboxes of the workers, by their number; they outlive the mesh. */
struct mesh *mesh_local_new(unsigned number, struct mailbox **boxes, int count);
void mesh_local_free(struct mesh *mesh);
