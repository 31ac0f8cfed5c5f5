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

static struct weight *lightest(struct weighing *weighing)
{
    struct weight *lightest = weighing->heaviest;
    for (uint32_t i = 1; i < weighing->count; i++)
        if (weighing->heaviest[i].bytes < lightest->bytes)
            lightest = &weighing->heaviest[i];
    return lightest;
}

void weighing_add(struct weighing *weighing, uint64_t id, uint64_t bytes)
{
    struct weight weight = {id, bytes};
    if (bytes < WEIGHT_MIN)
        return;
    if (weighing->count < WEIGHTS_MAX)
        weighing->heaviest[weighing->count++] = weight;
    else if (bytes > lightest(weighing)->bytes)
        *lightest(weighing) = weight;
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
