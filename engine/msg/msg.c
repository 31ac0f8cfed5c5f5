#include "msg/msg.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

struct command *command_new(enum command_kind kind)
{
    struct command *command = xcalloc(1, sizeof *command);
    command->msg.type = MSG_COMMAND;
    command->kind = kind;
    return command;
}

void command_free(struct command *command)
{
    blob_unref(command->name);
    blob_unref(command->data);
    blob_unref(command->result);
    free(command);
}

void strings_add(struct buf *packed, const char *text, size_t len)
{
    uint32_t n = (uint32_t)len;
    buf_append(packed, &n, sizeof n);
    buf_append(packed, text, len);
}

bool strings_next(const struct blob *packed, size_t *offset, const char **text, size_t *len)
{
    uint32_t n;
    if (*offset + sizeof n > packed->len)
        return false;
    memcpy(&n, packed->data + *offset, sizeof n);
    *text = packed->data + *offset + sizeof n;
    *len = n;
    *offset += sizeof n + n;
    return true;
}
